#!/usr/bin/env python3
"""`runctl verify` on a bucket: what tests/cli/verify_test.py shows on a directory, in short.

Needs RUNCTL_BINARY; takes the gateway that RUNCTL_TEST_S3_ENDPOINT names, or starts one of its own.
"""

import json
import secrets
import unittest

import gateway
import harness
from gateway import S3Case
from harness import CORRUPT, DONE, NOT_FOUND, joined, make_runs, run_id


def setUpModule() -> None:
    S3Case.gateway = gateway.Gateway()
    unittest.addModuleCleanup(S3Case.gateway.stop)
    S3Case.bucket = S3Case.gateway.make_bucket("runctl-verify-" + secrets.token_hex(4))


class Verify(S3Case):
    def faults(self, *arguments, status: int) -> list[tuple]:
        result = self.runctl("verify", "--json", *arguments, status=status)
        return [(fault["fault"], fault["key"], fault["runs"]) for fault in json.loads(result.out)["faults"]]

    def path(self, key: str) -> str:
        return f"/{self.bucket}/{self.prefix}/{key}"

    def test_a_bucket(self):
        stored = {}
        for n in range(12):  # more than are read at once
            known = set(self.keys())
            self.ingest_bytes(joined(make_runs(10, 10 * n).values()))
            (key,) = set(self.keys()) - known
            stored[key] = make_runs(10, 10 * n)
        first, second, third, *_ = stored
        self.assertEqual(self.faults("--read-data", status=DONE), [])
        before = self.gateway.read(self.bucket, f"{self.prefix}/{first}")
        # What another machine stored, an object that is none of ours, a batch that is gone, a flipped bit.
        with self.on("b"):
            self.ingest_bytes(joined(make_runs(5, 500).values()))
        (orphan,) = set(self.keys()) - set(stored)
        self.assertEqual(self.faults(status=NOT_FOUND), [("orphan", orphan, 5)])
        self.assertEqual(self.faults("--repair", status=DONE), [("adopted", orphan, 5)])
        self.assertEqual(self.get(run_id(502), "--no-sync"), [make_runs(1, 502)[run_id(502)]])
        self.gateway.ask("PUT", self.path("runs/v1/mixed/note.txt"), body=b"mine")
        self.gateway.ask("DELETE", self.path(second))
        self.gateway.ask("PUT", self.path(first), body=before[:30] + bytes([before[30] ^ 1]) + before[31:])
        self.gateway.ask("PUT", self.path(third), body=before[:-1])
        found = self.faults("--read-data", status=CORRUPT)
        self.assertEqual(sorted(found), [("broken", *each) for each in sorted([(first, 10), (third, 10)])] +
                         [("foreign", "runs/v1/mixed/note.txt", 0), ("missing", second, 10)])
        self.assertNotIn(("broken", first, 10), self.faults(status=CORRUPT), "only the data is flipped")
        self.runctl("get", *stored[first], status=CORRUPT)


if __name__ == "__main__":
    harness.main()
