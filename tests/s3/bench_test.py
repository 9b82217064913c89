#!/usr/bin/env python3
"""The benchmark on a bucket: its requests are the server's, and nothing of it stays there.

Needs what cli_test.py needs.
"""

import json
import secrets
import signal
import subprocess
import time
import unittest

import gateway
import harness
from gateway import S3Case
from harness import FAILED


def setUpModule() -> None:
    S3Case.gateway = gateway.Gateway()
    unittest.addModuleCleanup(S3Case.gateway.stop)
    S3Case.bucket = S3Case.gateway.make_bucket("runctl-bench-test-" + secrets.token_hex(4))


class Bench(S3Case):
    def assert_nothing_stays(self) -> None:
        self.assertEqual(self.gateway.keys(self.bucket, self.prefix), [])
        self.assertEqual(list((self.home / "tmp").iterdir()), [])

    def test_a_short_one(self):
        result = json.loads(self.runctl("bench", "--json", "20x5KB", "--repeat", "2").out)
        steps = {step["step"]: step for step in result["scenarios"][0]["steps"]}
        self.assertEqual(steps["ingest"]["requests"], 2 * 2, "a batch is put, and asked for its time")
        self.assertEqual(steps["cold get"]["requests"], 2 * 20, "a get is one request")
        self.assertEqual(steps["cached get"]["requests"], 0)
        self.assertEqual(steps["batch get"]["requests"], 2 * 5)
        self.assertEqual(steps["ingest"]["bytes_written"], 2 * result["scenarios"][0]["bytes_stored"])
        for rate in result["scenarios"][0]["hit_rates"]:
            self.assertEqual(rate["requests"], rate["gets"] - rate["hits"])
        # What the proxy saw: all below the prefix, and no fewer than was told.
        paths = {request["path"].partition("?")[0] for request in self.requests("PUT")}
        self.assertTrue(paths)
        for path in paths:
            self.assertRegex(path, rf"^/{self.bucket}/{self.prefix}/runctl-bench-[0-9a-f]{{16}}/")
        self.assertEqual(len(self.requests("PUT", "ndjson")), 2)
        self.assertGreaterEqual(len(self.requests("GET", "ndjson")),
                                steps["cold get"]["requests"] + steps["batch get"]["requests"])
        self.assert_nothing_stays()

    def test_concurrent(self):
        result = json.loads(self.runctl("bench", "--json", "concurrent", "--runs", "20", "--payload", "1K", "--repeat",
                                        "1").out)
        ingest, get = result["scenarios"][0]["steps"]
        self.assertEqual((ingest["runs"], ingest["operations"]), (4 * 20, 4))
        self.assertGreaterEqual(get["operations"], 4)
        self.assert_nothing_stays()

    def test_a_store_that_fails_leaves_nothing(self):
        # It takes one batch, and no more.
        self.misbehave({"match": {"method": "PUT", "path": "ndjson", "skip": 1},
                        "do": {"status": 403, "code": "AccessDenied"}})
        result = self.runctl("bench", "20x5KB", "--repeat", "2", status=None)
        self.assertIn(result.status, (harness.USAGE, FAILED), str(result))
        self.assertEqual(len(self.requests("PUT", "ndjson")), 2)
        self.assertEqual((result.out, len(result.messages)), (b"", 1), str(result))
        self.assert_nothing_stays()

    def test_a_signal_leaves_nothing(self):
        child = subprocess.Popen([harness.binary(), "--store", self.store, "bench", "20x5KB", "--repeat", "500"],
                                 env={**self.environment, "AWS_ENDPOINT_URL_S3": self.endpoint}, cwd=self.dir,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        until = time.monotonic() + 60
        while len(self.requests("GET", "ndjson")) < 3 and time.monotonic() < until:
            time.sleep(0.01)
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=self.timeout)
        self.assertEqual((child.returncode, out), (143, b""), err)
        self.assert_nothing_stays()

    def test_doctor_finds_what_a_kill_left(self):
        key = f"{self.prefix}/runctl-bench-0123456789abcdef/0/runs/v1/mixed/x.ndjson.zst"
        self.gateway.ask("PUT", f"/{self.bucket}/{key}", body=b"left")
        self.assertNotIn(b"benchmarks", self.runctl("doctor").out, "it is young: it may be at work")
        self.assertEqual([k for k in self.keys()], [key.removeprefix(self.prefix + "/")])


if __name__ == "__main__":
    harness.main()
