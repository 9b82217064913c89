"""What the tests of the whole program on a bucket share: a gateway, a small client of its own, a test case.

The gateway is the one that RUNCTL_TEST_S3_ENDPOINT names, else one is started with scripts/s3-server and
stopped at the end. The client signs by itself, so that what the tests find in the bucket does not rest on
the program under test.
"""

import datetime
import hashlib
import hmac
import http.client
import os
import pathlib
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cli")]
import harness  # noqa: E402
from fault_proxy import FaultProxy, Rule  # noqa: E402

SERVER = HERE.parents[1] / "scripts" / "s3-server"
VARIABLES = ("RUNCTL_TEST_S3_ENDPOINT", "RUNCTL_TEST_S3_TLS_ENDPOINT", "RUNCTL_TEST_S3_CA", "AWS_ACCESS_KEY_ID",
             "AWS_SECRET_ACCESS_KEY", "AWS_REGION")


class Gateway:
    """A running S3 server, as scripts/s3-server describes it."""

    def __init__(self):
        self.scratch = None
        if not os.environ.get("RUNCTL_TEST_S3_ENDPOINT"):
            self.scratch = tempfile.mkdtemp(prefix="runctl_gateway_")
            printed = subprocess.run([SERVER, "start", self.scratch], capture_output=True, text=True, timeout=300)
            if printed.returncode != 0:
                shutil.rmtree(self.scratch, ignore_errors=True)
                raise RuntimeError(f"scripts/s3-server start: {printed.stdout}{printed.stderr}")
            os.environ.update(re.findall(r"(\w+)=(\S+)", printed.stdout))
        self.url, self.tls_url, self.ca, self.key, self.secret, self.region = (os.environ[v] for v in VARIABLES)

    def stop(self) -> None:
        if self.scratch:
            subprocess.run([SERVER, "stop", self.scratch], capture_output=True, timeout=120)

    def credentials(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_REGION": self.region,
                "AWS_EC2_METADATA_DISABLED": "true"}

    # --- a client that is not the one under test ---

    def ask(self, method: str, path: str, query: dict | None = None, body: bytes = b"", expect=(200, 204)) -> bytes:
        """One signed request; the body of the answer."""
        parts = urllib.parse.urlsplit(self.url)
        canonical = "&".join(f"{quote(k)}={quote(v)}" for k, v in sorted((query or {}).items()))
        stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        headers = {"host": parts.netloc, "x-amz-content-sha256": digest, "x-amz-date": stamp}
        names = ";".join(sorted(headers))
        lines = "".join(f"{n}:{headers[n]}\n" for n in sorted(headers))
        request = f"{method}\n{urllib.parse.quote(path)}\n{canonical}\n{lines}\n{names}\n{digest}"
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = ("AWS4" + self.secret).encode()
        for part in (*scope.split("/"), text):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={self.key}/{scope}, SignedHeaders={names}, "
                                    f"Signature={key.hex()}")
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        connection.request(method, urllib.parse.quote(path) + (f"?{canonical}" if canonical else ""), body, headers)
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        if response.status not in expect:
            raise AssertionError(f"{method} {path} {query}: {response.status} {answer!r}")
        return answer

    def make_bucket(self, name: str) -> str:
        self.ask("PUT", f"/{name}")
        return name

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        found, token = [], {}
        while True:
            answer = self.tree("GET", f"/{bucket}", {"list-type": "2", "prefix": prefix, **token})
            found += [each.findtext("Key") for each in answer.findall("Contents")]
            if answer.findtext("IsTruncated") != "true":
                return found
            token = {"continuation-token": answer.findtext("NextContinuationToken")}

    def remove_bucket(self, name: str) -> None:
        """With all that is in it."""
        for upload in self.tree("GET", f"/{name}", {"uploads": ""}).findall("Upload"):
            self.ask("DELETE", f"/{name}/{upload.findtext('Key')}", {"uploadId": upload.findtext("UploadId")})
        for key in self.keys(name):
            self.ask("DELETE", f"/{name}/{key}")
        self.ask("DELETE", f"/{name}")

    def read(self, bucket: str, key: str) -> bytes:
        return self.ask("GET", f"/{bucket}/{key}")

    def tree(self, *arguments) -> xml.etree.ElementTree.Element:
        text = re.sub(rb' xmlns="[^"]*"', b"", self.ask(*arguments))
        return xml.etree.ElementTree.fromstring(text)

    def begin_upload(self, bucket: str, key: str) -> str:
        """An upload in parts that nobody finishes; its id."""
        upload = self.tree("POST", f"/{bucket}/{key}", {"uploads": ""}).findtext("UploadId")
        self.ask("PUT", f"/{bucket}/{key}", {"uploadId": upload, "partNumber": "1"}, b"part")
        return upload

    def uploads(self, bucket: str, prefix: str = "") -> list[str]:
        answer = self.tree("GET", f"/{bucket}", {"uploads": "", "prefix": prefix})
        return [each.findtext("UploadId") for each in answer.findall("Upload")]


def quote(text: str) -> str:
    return urllib.parse.quote(text, safe="-_.~")


class S3Case(harness.CliTest):
    """A test on a prefix of its own in a bucket; `self.gateway` is set by setUpModule of the test file.

    `machine` names an index: "a", "b"... are machines that know nothing of each other but the bucket. All go
    through a fault proxy without rules, whose log is the server's side; the index belongs to the endpoint, so
    one proxy serves the whole test and `misbehave` changes its rules. `direct` is for tests without it.
    """

    gateway: Gateway = None
    bucket: str = ""
    direct: str | None = None  # "http" or "https"
    machine = "a"

    def setUp(self) -> None:
        super().setUp()
        self.prefix = "t" + secrets.token_hex(6)
        self.store = f"s3://{self.bucket}/{self.prefix}"
        self.environment.update(self.gateway.credentials())
        self.secrets = [self.gateway.secret]
        if self.direct == "https":
            self.endpoint = self.gateway.tls_url
            self.environment["AWS_CA_BUNDLE"] = self.gateway.ca
        elif self.direct == "http":
            self.endpoint = self.gateway.url
        else:
            self.proxy = self.new_proxy()
            self.endpoint = self.proxy.url

    def new_proxy(self, rules=()) -> FaultProxy:
        proxy = FaultProxy(self.gateway.url, list(rules))
        proxy.__enter__()
        self.addCleanup(proxy.__exit__)
        return proxy

    def misbehave(self, *rules) -> None:
        self.proxy.faulted.clear()
        self.proxy.rules = [Rule(rule) for rule in rules]

    def behave(self) -> None:
        self.misbehave()

    # --- running ---

    def run_command(self, command, stdin: bytes = b"", env: dict | None = None, **options) -> harness.Result:
        result = super().run_command(command, stdin, {"RUNCTL_INDEX": str(self.index_of(self.machine)),
                                                      "AWS_ENDPOINT_URL_S3": self.endpoint, **(env or {})}, **options)
        for secret in self.secrets:
            self.assertNotIn(secret.encode(), result.out + result.err, "a secret was printed")
        self.assertNotIn(b"Signature=", result.err)
        return result

    def fails(self, *arguments, status: int, said: str = "", **options) -> harness.Result:
        """One line on stderr that says what is the matter, and this exit status."""
        result = self.run_plain("--store", self.store, *arguments, **options)
        self.assertEqual(result.status, status, f"{arguments}: {result}")
        self.assert_one_line(result, said)
        return result

    def assert_one_line(self, result: harness.Result, said: str = "") -> None:
        self.assertEqual((result.err.count(b"\n"), len(result.messages)), (1, 1), str(result))
        self.assertIn(said, result.err.decode())

    # --- indexes ---

    def index_of(self, machine: str) -> pathlib.Path:
        return self.dir / f"{machine}.sqlite"

    def forget_index(self, machine: str = "a") -> None:
        for path in self.dir.glob(f"{machine}.sqlite*"):
            path.unlink()

    def on(self, machine: str):
        """`with self.on("b"):` runs what follows on another machine."""
        return Turn(self, machine)

    # --- the server's side ---

    def requests(self, method: str = "", path: str = "") -> list[dict]:
        return [r for r in self.proxy.requests if r["method"].startswith(method) and re.search(path, r["path"])]

    def forget_requests(self) -> None:
        with self.proxy.lock:
            del self.proxy.requests[:]

    def listed(self) -> list[str]:
        """The prefixes below runs/v1/ that were listed, in order; the list of the days themselves is ""."""
        out = []
        for request in self.requests("GET", "list-type=2"):
            query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(request["path"]).query))
            out.append(query["prefix"].removeprefix(f"{self.prefix}/runs/v1/").rstrip("/"))
        return out

    def keys(self, store=None) -> list[str]:
        """All objects but the one by which a bucket is asked whether it honours conditions."""
        keys = [key.removeprefix(self.prefix + "/") for key in self.gateway.keys(self.bucket, self.prefix + "/")]
        return [key for key in keys if key != "runctl-probe"]

    def stored_lines(self) -> list[bytes]:
        """All runs in the bucket, as the zstd command makes them of the objects: no index, no runctl."""
        lines = []
        for key in self.keys():
            self.assertRegex(key, r"^runs/v1/([0-9-]{10}|mixed)/[0-9a-f]{64}\.ndjson\.zst$")
            data = self.gateway.read(self.bucket, f"{self.prefix}/{key}")
            self.assertEqual(hashlib.sha256(data).hexdigest(), key.split("/")[-1].split(".")[0])
            lines += harness.split_lines(harness.unzstd(data))
        return lines

    def assert_exactly_once(self, runs: dict[str, bytes]) -> None:
        """In the bucket, byte for byte; and an index that knows nothing but the bucket finds each."""
        lines = self.stored_lines()
        self.assertEqual(len(lines), len(runs))
        self.assertEqual(set(lines), set(runs.values()))
        with self.on(f"fresh{time.monotonic_ns()}"):
            self.runctl("index", "rebuild", "-q")
            self.assert_comes_back(runs)


class Turn:
    def __init__(self, case: S3Case, machine: str):
        self.case, self.machine = case, machine

    def __enter__(self):
        self.case.machine, self.machine = self.machine, self.case.machine

    def __exit__(self, *_):
        self.case.machine = self.machine
