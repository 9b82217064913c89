#!/usr/bin/env python3
"""The S3 store against a gateway that misbehaves on script.

Each row of the tables says which fault, and what the store makes of it: the right bytes and exit 0, or one clear
line and the exit status that stands for it; and how many requests the server saw. Needs RUNCTL_TEST_S3_ENDPOINT
and the AWS_* variables of scripts/s3-server, and the path of store_driver in RUNCTL_STORE_DRIVER.
"""
import email.utils
import os
import secrets
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fault_proxy import FaultProxy  # noqa: E402

DRIVER = os.environ.get("RUNCTL_STORE_DRIVER", "store_driver")
GATEWAY = os.environ.get("RUNCTL_TEST_S3_ENDPOINT")
BUCKET = "runctl-faults"
KEY = "runs/v1/2024-05-01/object"
DATA = bytes(range(256)) * 400  # 102,400 bytes
PATH = "/object"

OK, NOT_FOUND, USAGE, FAILED, CORRUPT = 0, 1, 2, 4, 5


def error_xml(code, extra=""):
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>scripted</Message>{extra}</Error>'


def answer(status, code=None, extra="", **headers):
    """The server answers so without doing anything."""
    body = error_xml(code, extra) if code else ""
    return {"forward": False, "status": status, "body": body,
            "headers": {n.replace("_", "-"): v for n, v in headers.items()}}


def http_date(offset):
    return email.utils.formatdate(time.time() + offset, usegmt=True)


def page(keys, truncated="false", token=""):
    contents = "".join(f"<Contents><Key>{k}</Key><LastModified>2024-05-01T00:00:00.000Z</LastModified>"
                       f"<Size>1</Size></Contents>" for k in keys)
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return {"forward": False, "body": f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{more}"
                                      f"{contents}</ListBucketResult>"}


class FaultCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        cls.file = os.path.join(cls.scratch.name, "data")
        with open(cls.file, "wb") as file:
            file.write(DATA)
        cls.run_driver(GATEWAY, "", "make-bucket")

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    @classmethod
    def run_driver(cls, endpoint, prefix, *arguments, flags=(), env=None):
        command = [DRIVER, "--endpoint-url", endpoint, "--first-delay-ms", "10", "--stall", "2", *flags,
                   f"s3://{BUCKET}/{prefix}", *arguments]
        clean = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        return subprocess.run(command, capture_output=True, timeout=60, env={**clean, **(env or {})})

    def setUp(self):
        self.prefix = "t-" + secrets.token_hex(6)

    def store(self):
        done = self.run_driver(GATEWAY, self.prefix, "put", KEY, self.file)
        self.assertEqual(done.returncode, OK, done.stderr)

    def through(self, rules, *arguments, flags=(), env=None):
        with FaultProxy(GATEWAY, rules) as proxy:
            done = self.run_driver(proxy.url, self.prefix, *arguments, flags=flags, env=env)
        done.requests = proxy.requests
        secret = (env or os.environ).get("AWS_SECRET_ACCESS_KEY", os.environ["AWS_SECRET_ACCESS_KEY"])
        self.assertNotIn(secret.encode(), done.stderr + done.stdout)
        self.assertNotIn(b"Signature=", done.stderr)
        self.assertEqual([r for r in done.requests if r["expect"]], [])  # it would cost a second an upload
        if done.returncode != OK and not flags:
            self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
        return done

    def check(self, done, status, said="", requests=None):
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn(said, done.stderr.decode())
        if requests is not None:
            self.assertEqual(len(done.requests), requests, done.requests)


# What is done to a ranged GET: name, rule (without its match), times, exit status, said, requests.
READS = [
    ("nothing", {}, 0, OK, "", 1),
    ("503 SlowDown twice", answer(503, "SlowDown"), 2, OK, "", 3),
    ("500 once", answer(500, "InternalError"), 1, OK, "", 2),
    ("502 without a body", answer(502), 1, OK, "", 2),
    ("504 with HTML", {**answer(504), "body": "<html>gateway <b>time-out"}, 1, OK, "", 2),
    ("429 once", answer(429, "TooManyRequests"), 1, OK, "", 2),
    ("400 RequestTimeout", answer(400, "RequestTimeout"), 1, OK, "", 2),
    ("503 for ever", answer(503, "SlowDown"), None, FAILED, "SlowDown", 8),
    ("501 is final", answer(501, "NotImplemented"), None, FAILED, "NotImplemented", 1),
    ("403 is final", answer(403, "AccessDenied"), None, USAGE, "s3:GetObject", 1),
    ("unknown key id", answer(403, "InvalidAccessKeyId"), None, USAGE, "access key id", 1),
    ("wrong secret", answer(403, "SignatureDoesNotMatch"), None, USAGE, "secret access key", 1),
    ("404", answer(404, "NoSuchKey"), None, NOT_FOUND, "no such object", 1),
    ("404 of the bucket", answer(404, "NoSuchBucket"), None, USAGE, "does not exist", 1),
    ("416", answer(416, "InvalidRange"), None, CORRUPT, "shorter", 1),
    ("body cut once", {"cut": 1000}, 1, OK, "", 2),
    ("body cut always", {"cut": 1000}, None, FAILED, "", 8),
    ("cut without a length", {"no_length": True, "cut": 1000}, None, FAILED, "ended after 1000 of", 8),
    ("no length, whole", {"no_length": True}, None, OK, "", 1),
    ("range ignored", {"status": 200, "headers": {"Content-Range": None}, "body": "x" * 300_000}, None, FAILED,
     "ignored the range", 8),
    ("range ignored, no length", {"status": 200, "headers": {"Content-Range": None}, "no_length": True}, None,
     FAILED, "ignored the range", 8),
    ("other range", {"headers": {"Content-Range": "bytes 1-50000/102400"}}, 1, OK, "", 2),
    ("other range always", {"headers": {"Content-Range": "bytes 1-50000/102400"}}, None, FAILED, "Content-Range", 8),
    ("no Content-Range", {"headers": {"Content-Range": None}}, None, FAILED, "no Content-Range", 8),
    ("odd Content-Range", {"headers": {"Content-Range": "bytes 0--1/0"}}, None, FAILED, "Content-Range", 8),
    ("object too short", {"headers": {"Content-Range": "bytes 100-999/1000"}}, None, CORRUPT, "1000 bytes", 1),
    ("longer than it says", {"no_length": True, "body": "x" * 200_000}, None, FAILED, "longer", 8),
    ("length contradicts range", {"body": "x" * 10}, None, FAILED, "Content-Length is 10", 8),
    ("reset once", {"forward": False, "reset": True}, 1, OK, "", 2),
    ("reset always", {"forward": False, "reset": True}, None, FAILED, "", 8),
    ("not HTTP", {"forward": False, "garbage": True}, 1, OK, "", 2),
    ("stall once", {"stall": 5000}, 1, OK, "", 2),
    ("silence once", {"silent": True, "forward": False}, 1, OK, "", 2),
    ("redirect elsewhere", answer(302, Location="http://127.0.0.1:1/"), None, USAGE, "redirects", 1),
    ("wrong region", answer(400, "AuthorizationHeaderMalformed", "<Region>eu-central-1</Region>"), 1, OK, "", 2),
    ("wrong region by header", answer(301, x_amz_bucket_region="eu-central-1"), 1, OK, "", 2),
    ("regions in a circle", answer(301, x_amz_bucket_region="eu-central-1"), None, USAGE, "redirects", 2),
    ("hostile region", answer(301, x_amz_bucket_region="evil.example/"), None, USAGE, "redirects", 1),
]


class Reads(FaultCase):
    def test_table(self):
        for name, fault, times, status, said, requests in READS:
            with self.subTest(name):
                self.store()
                match = {"method": "GET", "path": PATH}
                if times is not None:
                    match["times"] = times
                done = self.through([{"match": match, "do": fault}], "get", KEY, "100+50000")
                self.check(done, status, said, requests)
                self.assertEqual(done.stdout, DATA[100:50100] if status == OK else b"")

    def test_retry_after_is_honoured_and_capped_by_the_budget(self):
        self.store()
        rules = [{"match": {"method": "GET", "times": 1}, "do": answer(503, "SlowDown", Retry_After="1")}]
        began = time.monotonic()
        self.check(self.through(rules, "get", KEY, "0+10"), OK, requests=2)
        self.assertGreaterEqual(time.monotonic() - began, 1.0)
        rules = [{"match": {"method": "GET"}, "do": answer(503, "SlowDown", Retry_After="120")}]
        done = self.through(rules, "get", KEY, "0+10", flags=["--budget-ms", "5000"])
        self.check(done, FAILED, "SlowDown", requests=1)

    def test_clock_skew_is_corrected_once(self):
        self.store()
        skewed = answer(403, "RequestTimeTooSkewed", Date=http_date(3600))
        done = self.through([{"match": {"method": "GET", "times": 1}, "do": skewed}], "get", KEY, "0+10")
        # Signed an hour ahead now, which the real gateway refuses: the store believed the server, once.
        self.check(done, USAGE, "clock")
        done = self.through([{"match": {"method": "GET"}, "do": skewed}], "get", KEY, "0+10")
        self.check(done, USAGE, "clock", requests=2)

    def test_clock_that_is_wrong_for_real(self):
        self.store()
        # faketime is not everywhere, so the server's clock is what differs: it refuses, and names a time near ours.
        near = answer(403, "RequestTimeTooSkewed", Date=http_date(400))
        done = self.through([{"match": {"method": "GET", "times": 1}, "do": near}], "get", KEY, "0+10")
        self.check(done, OK, requests=2)
        self.assertEqual(done.stdout, DATA[:10])

    def test_many_ranges_with_some_faults(self):
        self.store()
        rules = [{"match": {"method": "GET", "skip": 3, "times": 4}, "do": answer(503, "SlowDown")},
                 {"match": {"method": "GET", "skip": 9, "times": 3}, "do": {"cut": 7}}]
        ranges = [f"{i * 1000}+1000" for i in range(100)]
        done = self.through(rules, "get", KEY, *ranges)
        self.check(done, OK, requests=107)
        self.assertEqual(done.stdout, DATA[:100_000])

    def test_retries_are_told(self):
        self.store()
        rules = [{"match": {"method": "GET", "times": 1}, "do": answer(503, "SlowDown")}]
        done = self.through(rules, "get", KEY, "0+10", flags=["-v"])
        self.check(done, OK, "retry: GET s3://runctl-faults/")
        self.assertIn("503 SlowDown: attempt 2 of 8", done.stderr.decode())

    def test_no_more_attempts_are_told_than_there_will_be(self):
        done = self.run_driver("http://127.0.0.1:1", self.prefix, "head", KEY, flags=["-v"])
        self.assertIn("attempt 2 of 3", done.stderr.decode())
        self.assertNotIn("of 8", done.stderr.decode())

    def test_expired_credentials_are_read_again_once(self):
        self.store()
        with tempfile.TemporaryDirectory() as home:
            counter = os.path.join(home, "count")
            script = os.path.join(home, "keys")
            with open(script, "w") as file:  # the first keys are expired, the second are good
                file.write(f"""#!/bin/sh
echo x >> {counter}
if [ $(wc -l < {counter}) = 1 ]; then token=',"SessionToken":"OLD"'; fi
echo '{{"Version":1,"AccessKeyId":"{os.environ['AWS_ACCESS_KEY_ID']}","SecretAccessKey":"{os.environ['AWS_SECRET_ACCESS_KEY']}"'"$token"'}}'
""")
            os.chmod(script, 0o700)
            config = os.path.join(home, "config")
            with open(config, "w") as file:
                file.write(f"[profile rotating]\ncredential_process = {script}\n")
            env = {"AWS_CONFIG_FILE": config, "AWS_SHARED_CREDENTIALS_FILE": os.path.join(home, "none")}
            rules = [{"match": {"method": "GET", "times": 1}, "do": answer(400, "ExpiredToken")}]
            done = self.through(rules, "get", KEY, "0+10", flags=["--profile", "rotating"], env=env)
            self.check(done, OK, requests=2)
            self.assertEqual(done.stdout, DATA[:10])
            with open(counter) as file:
                self.assertEqual(len(file.readlines()), 2)
            os.remove(counter)
            rules = [{"match": {"method": "GET"}, "do": answer(400, "ExpiredToken")}]
            done = self.through(rules, "get", KEY, "0+10", flags=["--profile", "rotating"], env=env)
            self.check(done, USAGE, "expired", requests=2)


# What is done to a PUT: the object must be there exactly once and whole, or exit 4.
WRITES = [
    ("nothing", {}, 0, OK, 1),
    ("503 twice", answer(503, "SlowDown"), 2, OK, 3),
    ("stored, but the answer says 500", {"status": 500, "body": error_xml("InternalError")}, 1, OK, 2),
    ("stored, but the connection is reset", {"reset": True}, 1, OK, 2),
    ("stored twice", {"twice": True}, None, OK, 1),
    ("reset before it was stored", {"forward": False, "reset": True}, 1, OK, 2),
    ("a bit flipped on the way", {"corrupt_request": 50_000}, 1, OK, 2),
    ("a bit flipped always", {"corrupt_request": 50_000}, None, FAILED, 8),
    ("409 conflict", answer(409, "ConditionalRequestConflict"), 1, OK, 2),
    ("503 for ever", answer(503, "SlowDown"), None, FAILED, 8),
    ("read-only", answer(403, "AccessDenied"), None, USAGE, 1),
    ("said to be stored, but is not", {"forward": False, "status": 200, "body": ""}, None, FAILED, None),
]


class Writes(FaultCase):
    def stored(self):
        done = self.run_driver(GATEWAY, self.prefix, "list", "")
        self.assertEqual(done.returncode, OK, done.stderr)
        return done.stdout.decode().splitlines()

    def test_table(self):
        for mode in ((), ("--conditional",)):
            for name, fault, times, status, puts in WRITES:
                with self.subTest(name, mode=mode):
                    self.prefix = "t-" + secrets.token_hex(6)
                    match = {"method": "PUT", "path": PATH}
                    if times is not None:
                        match["times"] = times
                    done = self.through([{"match": match, "do": fault}], "put", KEY, self.file, flags=mode)
                    self.check(done, status)
                    if puts is not None:
                        self.assertEqual(sum(r["method"] == "PUT" for r in done.requests), puts)
                    if status == OK:
                        # Of two identical conditional requests the second is told that the object is there.
                        if not (mode and name == "stored twice"):
                            self.assertTrue(done.stdout.startswith(b"created"), done.stdout)
                        self.assertEqual([line.split()[:2] for line in self.stored()], [[KEY, str(len(DATA))]])
                        whole = self.run_driver(GATEWAY, self.prefix, "get", KEY, f"0+{len(DATA)}")
                        self.assertEqual(whole.stdout, DATA)
                    else:
                        self.assertEqual(self.stored(), [])

    def test_cut_short_object_is_replaced(self):
        short = os.path.join(self.scratch.name, "short")
        with open(short, "wb") as file:
            file.write(DATA[:10])
        for mode in ((), ("--conditional",)):
            self.run_driver(GATEWAY, self.prefix, "put", KEY, short)
            done = self.run_driver(GATEWAY, self.prefix, "put", KEY, self.file, flags=mode)
            self.check(done, OK)
            self.assertEqual(self.run_driver(GATEWAY, self.prefix, "get", KEY, "0+102400").stdout, DATA)

    def test_condition_the_wrong_way_round(self):
        rules = [{"match": {"method": "PUT", "times": 1}, "do": answer(412, "PreconditionFailed")}]
        self.check(self.through(rules, "put", KEY, self.file, flags=["--conditional"]), OK)
        self.assertEqual(len(self.stored()), 1)

    def test_probe(self):
        done = self.through([], "probe")
        self.assertEqual(done.stdout, b"honoured\n")
        self.assertEqual([line.split()[0] for line in self.stored()], ["runctl-probe"])
        self.assertEqual(self.through([], "probe").stdout, b"honoured\n", "the object is there now")
        ignoring = [{"match": {"method": "PUT"}, "do": {"forward": False, "status": 200, "body": ""}}]
        self.assertEqual(self.through(ignoring, "probe").stdout, b"ignored\n")
        refusing = [{"match": {"method": "PUT"}, "do": answer(501, "NotImplemented")}]
        self.assertEqual(self.through(refusing, "probe").stdout, b"ignored\n")

    def multipart(self, rules):
        return self.through(rules, "put", KEY, self.big, flags=["--multipart-threshold", "5000000", "--part-size",
                                                                "5242880"])

    def check_multipart(self, rules, status, said="", left_over=0):
        self.big = os.path.join(self.scratch.name, "big")
        data = DATA * 110
        with open(self.big, "wb") as file:
            file.write(data)
        done = self.multipart(rules)
        self.check(done, status, said)
        if status == OK:
            whole = self.run_driver(GATEWAY, self.prefix, "get", KEY, f"0+{len(data)}")
            self.assertEqual(whole.stdout, data)
        else:
            self.assertEqual(self.stored(), [])
        uploads = self.run_driver(GATEWAY, self.prefix, "uploads").stdout.decode().splitlines()
        self.assertEqual(len(uploads), left_over)
        return done

    def test_parts(self):
        done = self.check_multipart([], OK)
        self.assertEqual(sum(r["method"] == "PUT" for r in done.requests), 3)

    def test_part_refused_then_taken(self):
        fault = {"match": {"method": "PUT", "path": "partNumber=2", "times": 2}, "do": answer(503, "SlowDown")}
        self.check_multipart([fault], OK)

    def test_part_refused_for_ever_aborts_the_upload(self):
        fault = {"match": {"method": "PUT", "path": "partNumber=2"}, "do": answer(503, "SlowDown")}
        done = self.check_multipart([fault], FAILED, "SlowDown")
        self.assertTrue(any(r["method"] == "DELETE" for r in done.requests))

    def test_abort_that_fails_leaves_an_upload_that_can_be_listed_and_cleared(self):
        faults = [{"match": {"method": "PUT", "path": "partNumber=2"}, "do": answer(403, "AccessDenied")},
                  {"match": {"method": "DELETE"}, "do": answer(403, "AccessDenied")}]
        self.check_multipart(faults, USAGE, "s3:PutObject", left_over=1)
        self.check(self.run_driver(GATEWAY, self.prefix, "abort-uploads"), OK)
        self.assertEqual(self.run_driver(GATEWAY, self.prefix, "uploads").stdout, b"")

    def test_complete_answers_200_with_an_error(self):
        complete = {"method": "POST", "path": "uploadId=", "times": 1}
        self.check_multipart([{"match": complete, "do": {"forward": False, "status": 200,
                                                         "body": " \n  " + error_xml("InternalError")}}], OK)

    def test_complete_answers_200_with_an_error_for_ever(self):
        complete = {"method": "POST", "path": "uploadId="}
        self.check_multipart([{"match": complete, "do": {"forward": False, "status": 200,
                                                         "body": error_xml("InternalError")}}], FAILED, "InternalError")

    def test_complete_answers_with_cut_xml_after_it_worked(self):
        complete = {"method": "POST", "path": "uploadId=", "times": 1}
        self.check_multipart([{"match": complete, "do": {"body": "<CompleteMultipartUploadRes"}}], OK)

    def test_complete_works_but_its_answer_is_lost(self):
        complete = {"method": "POST", "path": "uploadId=", "times": 1}
        self.check_multipart([{"match": complete, "do": {"reset": True}}], OK)


LISTS = [
    ("503 once", answer(503, "SlowDown"), 1, OK, ""),
    ("cut once", {"cut": 200}, 1, OK, ""),
    ("200 with an error", {"forward": False, "status": 200, "body": error_xml("InternalError")}, 1, OK, ""),
    ("200 with an error, always", {"forward": False, "status": 200, "body": error_xml("InternalError")}, None, FAILED,
     "InternalError"),
    ("broken XML always", {"body": "<ListBucketResult><Contents>"}, None, FAILED, ""),
    ("a document type", {"body": "<!DOCTYPE x [<!ENTITY a 'b'>]><ListBucketResult/>"}, None, FAILED, ""),
    ("nothing said about the end", {"forward": False, "body": "<ListBucketResult></ListBucketResult>"}, None, FAILED,
     "whether more follows"),
    ("more without a token", page(["PREFIX/a"], "true"), None, FAILED, "not where"),
    ("the same token for ever", page([], "true", "again"), None, FAILED, "repeats"),
    ("keys elsewhere", page(["other/a"]), None, FAILED, "outside"),
    ("keys not ascending", page(["PREFIX/b", "PREFIX/a"]), None, FAILED, "after"),
    ("a key twice", page(["PREFIX/a", "PREFIX/a"]), None, FAILED, "after"),
    ("read-protected", answer(403, "AccessDenied"), None, USAGE, "s3:ListBucket"),
]


class Lists(FaultCase):
    def test_table(self):
        self.store()
        whole = self.run_driver(GATEWAY, self.prefix, "list", "").stdout
        self.assertEqual(whole.count(b"\n"), 1)
        for name, fault, times, status, said in LISTS:
            with self.subTest(name):
                match = {"method": "GET", "path": "list-type=2"}
                if times is not None:
                    match["times"] = times
                if "body" in fault:
                    fault = {**fault, "body": fault["body"].replace("PREFIX", self.prefix)}
                done = self.through([{"match": match, "do": fault}], "list", "")
                self.check(done, status, said)
                if status == OK:
                    self.assertEqual(done.stdout, whole)


class Setups(FaultCase):
    """Mistakes in the set-up: each one line that says what to do."""

    def test_wrong_secret(self):
        done = self.run_driver(GATEWAY, self.prefix, "list", "", env={"AWS_SECRET_ACCESS_KEY": "wrong-secret"})
        self.check(done, USAGE, "secret access key (credentials from environment) does not belong")
        self.assertNotIn(b"wrong-secret", done.stderr)

    def test_wrong_key(self):
        done = self.run_driver(GATEWAY, self.prefix, "list", "", env={"AWS_ACCESS_KEY_ID": "nobody"})
        self.check(done, USAGE, "does not know the access key id (credentials from environment)")

    def test_no_credentials(self):
        env = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": self.scratch.name,
               "AWS_EC2_METADATA_DISABLED": "true"}
        self.check(self.run_driver(GATEWAY, self.prefix, "list", "", env=env), USAGE, "set AWS_ACCESS_KEY_ID")

    def test_unsigned_and_private(self):
        done = self.run_driver(GATEWAY, self.prefix, "list", "", flags=["--no-sign-request"])
        self.check(done, USAGE, "access denied with no credentials")

    def test_missing_bucket(self):
        command = [DRIVER, "--endpoint-url", GATEWAY, "s3://runctl-absent", "put", KEY, self.file]
        done = subprocess.run(command, capture_output=True, timeout=30)
        self.check(done, USAGE, "bucket runctl-absent does not exist")

    def test_nobody_listens(self):
        done = self.run_driver("http://127.0.0.1:1", self.prefix, "list", "")
        self.check(done, FAILED, "is the server up")

    def test_no_such_host(self):
        done = self.run_driver("http://runctl.invalid", self.prefix, "list", "")
        self.check(done, FAILED, "check the name")

    def test_certificate_of_an_unknown_authority(self):
        tls = os.environ["RUNCTL_TEST_S3_TLS_ENDPOINT"]
        self.check(self.run_driver(tls, self.prefix, "list", ""), FAILED, "--ca-bundle")
        done = self.run_driver(tls, self.prefix, "list", "", flags=["--ca-bundle", os.environ["RUNCTL_TEST_S3_CA"]])
        self.check(done, OK)

    def test_bad_endpoints(self):
        for url in ("127.0.0.1:80", "ftp://h", "http://", "http://u:secret@h", "http://h/?q", "http://h:99999", "http://h x"):
            with self.subTest(url):
                done = self.run_driver(url, self.prefix, "list", "")
                self.check(done, USAGE, "--endpoint-url")
                self.assertNotIn(b"secret", done.stderr)

    def test_region_is_not_a_host(self):
        done = self.run_driver(GATEWAY, self.prefix, "list", "", flags=["--region", "evil.example/"])
        self.check(done, USAGE, "--region")


if __name__ == "__main__":
    if not GATEWAY:
        print("RUNCTL_TEST_S3_ENDPOINT is not set: start scripts/s3-server", file=sys.stderr)
        sys.exit(77)
    unittest.main()
