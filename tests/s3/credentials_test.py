#!/usr/bin/env python3
"""Credentials from servers: instance metadata, container endpoint, AWS STS, each a small fake on loopback.

Only store_driver (its path in RUNCTL_STORE_DRIVER) is needed; no gateway is.
"""
import http.server
import os
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse

DRIVER = os.environ.get("RUNCTL_STORE_DRIVER", "store_driver")
PATIENCE = 15  # seconds, for one command
KEYS = '{"Code":"Success","AccessKeyId":"FAKE","SecretAccessKey":"fake-secret","Token":"fake-token",' \
       '"Expiration":"2099-01-01T00:00:00Z"}'
STS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><SessionToken>fake-token</SessionToken>
<SecretAccessKey>fake-secret</SecretAccessKey><Expiration>2099-01-01T00:00:00Z</Expiration>
<AccessKeyId>FAKE</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""


class Fake:
    """Answers by a function of (method, path, headers, body) that returns (status, text) or None for silence."""

    def __init__(self, answer):
        self.requests = []
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                fake.requests.append((self.command, self.path, dict(self.headers), body))
                reply = answer(self.command, self.path, self.headers, body)
                if reply is None:
                    time.sleep(2 * PATIENCE)
                    return
                text = reply[1].encode()
                self.send_response(reply[0])
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PUT = do_POST = serve

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def metadata(method, path, headers, _):
    if method == "PUT" and path == "/latest/api/token":
        return (200, "the-token") if headers["X-aws-ec2-metadata-token-ttl-seconds"] == "21600" else (400, "")
    if headers["X-aws-ec2-metadata-token"] != "the-token":
        return 401, ""
    roles = "/latest/meta-data/iam/security-credentials/"
    return {roles: (200, "my-role"), roles + "my-role": (200, KEYS)}.get(path, (404, ""))


class Credentials(unittest.TestCase):
    def describe(self, **env):
        with tempfile.TemporaryDirectory() as home:
            # A proxy that is not there: these services are asked directly.
            env = {"HOME": home, "PATH": os.environ["PATH"], "http_proxy": "http://127.0.0.1:1", **env}
            done = subprocess.run([DRIVER, "s3://bucket", "describe"], env=env, capture_output=True, timeout=PATIENCE)
        for secret in (b"fake-secret", b"fake-token", b"the-token", b"web-token"):
            self.assertNotIn(secret, done.stdout + done.stderr)
        return done

    def test_instance_metadata(self):
        with Fake(metadata) as fake:
            done = self.describe(AWS_EC2_METADATA_SERVICE_ENDPOINT=fake.url)
        self.assertIn(b"credentials instance metadata\n", done.stdout, done.stderr)
        self.assertEqual([r[0] for r in fake.requests], ["PUT", "GET", "GET"])

    def test_instance_metadata_that_is_silent_is_not_waited_for(self):
        with Fake(lambda *_: None) as fake:
            done = self.describe(AWS_EC2_METADATA_SERVICE_ENDPOINT=fake.url)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"set AWS_ACCESS_KEY_ID", done.stderr)
        self.assertEqual(len(fake.requests), 1)

    def test_instance_without_a_role(self):
        with Fake(lambda method, *_: (200, "the-token") if method == "PUT" else (404, "")) as fake:
            self.assertEqual(self.describe(AWS_EC2_METADATA_SERVICE_ENDPOINT=fake.url).returncode, 2)

    def test_metadata_is_asked_last_and_can_be_switched_off(self):
        with Fake(metadata) as fake:
            done = self.describe(AWS_EC2_METADATA_SERVICE_ENDPOINT=fake.url, AWS_ACCESS_KEY_ID="a",
                                 AWS_SECRET_ACCESS_KEY="b")
            self.assertIn(b"credentials environment\n", done.stdout)
            done = self.describe(AWS_EC2_METADATA_SERVICE_ENDPOINT=fake.url, AWS_EC2_METADATA_DISABLED="true")
            self.assertEqual(done.returncode, 2)
        self.assertEqual(fake.requests, [])

    def test_container_endpoint(self):
        with Fake(lambda *_: (200, KEYS)) as fake, tempfile.NamedTemporaryFile("w") as token:
            token.write("web-token\n")
            token.flush()
            done = self.describe(AWS_CONTAINER_CREDENTIALS_FULL_URI=fake.url + "/v1/keys?a=b",
                                 AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=token.name)
        self.assertIn(b"credentials container endpoint\n", done.stdout, done.stderr)
        self.assertEqual(fake.requests[0][1], "/v1/keys?a=b")
        self.assertEqual(fake.requests[0][2]["Authorization"], "web-token")

    def test_container_endpoint_that_fails(self):
        with Fake(lambda *_: (500, "fake-secret")) as fake:
            done = self.describe(AWS_CONTAINER_CREDENTIALS_FULL_URI=fake.url)
        self.assertEqual(done.returncode, 4)
        self.assertIn(b"container endpoint: answered with status 500", done.stderr)
        self.assertEqual(len(fake.requests), 3)

    def web_identity(self, answer):
        with Fake(answer) as fake, tempfile.NamedTemporaryFile("w") as token:
            token.write("web-token+/=\n")
            token.flush()
            done = self.describe(AWS_ENDPOINT_URL_STS=fake.url, AWS_WEB_IDENTITY_TOKEN_FILE=token.name,
                                 AWS_ROLE_ARN="arn:aws:iam::1:role/x", AWS_ROLE_SESSION_NAME="me", http_proxy="")
        return done, fake

    def test_web_identity(self):
        done, fake = self.web_identity(lambda *_: (200, STS))
        self.assertIn(b"credentials web identity", done.stdout, done.stderr)
        form = dict(urllib.parse.parse_qsl(fake.requests[0][3]))
        self.assertEqual(form, {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15",
                                "RoleArn": "arn:aws:iam::1:role/x", "RoleSessionName": "me",
                                "WebIdentityToken": "web-token+/="})
        self.assertNotIn("Authorization", fake.requests[0][2])

    def test_web_identity_refused(self):
        done, fake = self.web_identity(
            lambda *_: (400, "<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>"))
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"InvalidIdentityToken", done.stderr)
        self.assertEqual(len(fake.requests), 1)


if __name__ == "__main__":
    unittest.main()
