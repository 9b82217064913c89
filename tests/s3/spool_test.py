#!/usr/bin/env python3
"""A bucket that is away while a pipe brings runs: nothing that was read is lost, and it comes there once.

Needs what cli_test.py needs.
"""

import pathlib
import secrets
import subprocess
import unittest
import urllib.parse

import gateway
import harness
from fault_proxy import FaultProxy
from gateway import S3Case
from harness import DONE, FAILED, USAGE, joined, make_run, make_runs, run_id


def setUpModule() -> None:
    S3Case.gateway = gateway.Gateway()
    unittest.addModuleCleanup(S3Case.gateway.stop)
    S3Case.bucket = S3Case.gateway.make_bucket("runctl-spool-" + secrets.token_hex(4))


class Spool(S3Case):
    def go_away(self) -> None:
        """Nobody listens at the endpoint, until come_back()."""
        self.proxy.__exit__()

    def come_back(self) -> None:
        self.proxy = FaultProxy(self.gateway.url, [], listen=urllib.parse.urlsplit(self.endpoint).port)
        self.proxy.__enter__()
        self.addCleanup(self.proxy.__exit__)

    def waiting(self) -> list[pathlib.Path]:
        return sorted((self.home / "state/runctl/spool").glob("*/*.ndjson.zst"))

    def test_away_from_the_start(self):
        """Not even what the bucket can do is known, and the index is new."""
        runs = make_runs(500)
        self.go_away()
        result = self.runctl("ingest", "--json", "--batch-bytes", "20000", stdin=joined(runs.values()), status=FAILED)
        self.assert_counts(self.summary_of(result), read=500, stored=0, spooled=500)
        self.assert_message(result, "500 runs in ", "ingest --drain")
        self.runctl("ingest", "--drain", status=FAILED)
        self.come_back()
        # Another machine has stored some of them meanwhile.
        with self.on("b"):
            self.ingest_bytes(joined(list(runs.values())[:100]), env={"XDG_STATE_HOME": str(self.dir / "b")})
        self.assert_message(self.runctl("ingest", "--drain"), "delivered ")
        self.assertEqual(self.waiting(), [])
        self.runctl("index", "sync")
        self.assertEqual(int(self.runctl("search", "--count").out), 500)
        self.assert_comes_back(runs)
        self.runctl("verify", "--read-data", "-q")

    def test_away_for_a_while(self):
        runs = make_runs(90)
        lines = iter(runs.values())
        child = subprocess.Popen(
            [harness.binary(), "--store", self.store, "ingest", "--flush-interval", "100ms", "-"], cwd=self.dir,
            env={**self.environment, "RUNCTL_INDEX": str(self.index_of("a")), "AWS_ENDPOINT_URL_S3": self.endpoint},
            stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(child.stderr.close)
        self.addCleanup(child.kill)

        def send_and_wait(what) -> None:
            for _ in range(30):
                child.stdin.write(next(lines) + b"\n")
            child.stdin.flush()
            self.wait_until(what, "nothing came of it")

        send_and_wait(lambda: self.runs_in_index() == 30)
        self.misbehave({"do": {"forward": False, "reset": True}})
        send_and_wait(lambda: len(self.waiting()) == 1)
        self.behave()
        send_and_wait(lambda: len(self.keys()) >= 3 and not self.waiting())
        _, err = child.communicate(timeout=self.timeout)
        self.assertEqual(child.returncode, DONE, err)
        self.assertIn(b"stored 90,", err)
        self.assert_exactly_once(runs)

    def test_a_new_index_asks_the_store_later(self):
        """What could not be asked when the index was new is asked as soon as the store answers."""
        run = make_run(1)
        with self.on("b"):
            self.ingest_bytes(run + b"\n")
        self.go_away()
        self.runctl("ingest", stdin=make_run(2) + b"\n", status=FAILED)
        self.come_back()
        self.assert_counts(self.ingest_bytes(run + b"\n"), stored=0, duplicate=1, delivered=1)
        self.assert_exactly_once({run_id(1): run, run_id(2): make_run(2)})

    def test_a_store_that_refuses(self):
        """Wrong credentials from the start: nothing is read, nothing waits. Later: what was read waits."""
        self.misbehave({"match": {"method": "PUT", "path": "runs/v1"},
                        "do": {"forward": False, "status": 403, "body": "<Error><Code>AccessDenied</Code></Error>"}})
        result = self.runctl("ingest", "--json", stdin=joined(make_runs(50).values()), status=USAGE)
        self.assert_counts(self.summary_of(result), read=50, spooled=50)
        self.behave()
        self.runctl("ingest", "--drain")
        self.assert_exactly_once(make_runs(50))
        with self.on("b"):  # a new index, so the bucket is asked before anything is read
            result = self.run_plain("--store", self.store, "ingest", stdin=make_run(60),
                                    env={"AWS_SECRET_ACCESS_KEY": "x"})
        self.assertEqual((result.status, self.waiting()), (USAGE, []))


if __name__ == "__main__":
    harness.main()
