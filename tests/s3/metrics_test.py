#!/usr/bin/env python3
"""--metrics-file before a bucket: what went over the wire, by the log of the proxy between.

Needs what cli_test.py needs.
"""

import collections
import json
import secrets
import unittest

import gateway
import harness
from exposition import Metrics
from gateway import S3Case
from harness import DONE, NOT_FOUND, joined, make_runs, run_id


def setUpModule() -> None:
    S3Case.gateway = gateway.Gateway()
    unittest.addModuleCleanup(S3Case.gateway.stop)
    S3Case.bucket = S3Case.gateway.make_bucket("runctl-metrics-" + secrets.token_hex(4))


class OnBucket(S3Case):
    def setUp(self) -> None:
        super().setUp()
        self.file = self.dir / "job.prom"
        self.runs = make_runs(50)

    def after(self, *arguments, **options) -> tuple[Metrics, harness.Result]:
        """The metrics of one command alone, and what else it said."""
        self.file.unlink(missing_ok=True)
        self.forget_requests()
        result = self.runctl(*arguments, "--metrics-file", self.file, **options)
        data = self.file.read_bytes()
        for secret in (*self.secrets, self.gateway.key):
            self.assertNotIn(secret.encode(), data)
        return Metrics(data), result

    def sent(self) -> dict[tuple, int]:
        """What the proxy saw, by kind and status."""
        def kind(request: dict) -> str:
            if request["method"] == "GET" and "list-type=2" in request["path"]:
                return "list"
            return request["method"].lower()
        return collections.Counter((kind(request), str(request["status"])) for request in self.requests())

    def counted(self, metrics: Metrics) -> dict[tuple, float]:
        return metrics.by("runctl_store_requests_total", "kind", "status")

    def test_requests_by_kind_and_status(self):
        metrics, result = self.after("ingest", "--json", "--batch-bytes", "1000", "-", stdin=joined(self.runs.values()))
        summary = self.summary_of(result)
        self.assertEqual(self.counted(metrics), self.sent())
        self.assertEqual(self.counted(metrics)["put", "412"], 1, "the bucket was asked whether it honours conditions")
        self.assertEqual(self.counted(metrics)["put", "200"], summary["batches"] + 1)
        self.assertIn(("list", "200"), self.counted(metrics))
        self.assertIn(("head", "200"), self.counted(metrics))
        self.assertEqual(metrics.one("runctl_runs_stored_total"), 50)
        self.assertGreater(metrics.one("runctl_store_written_bytes_total"), summary["bytes_stored"])
        self.assertEqual(metrics.one("runctl_store_retries_total"), 0)
        self.assertEqual(set(metrics.by("runctl_phase_seconds", "phase")), {("sync",), ("ingest",)})

        with self.on("b"):  # whose index is new
            metrics, result = self.after("get", "--json", *self.runs)
        traffic = json.loads(result.err)
        self.assertEqual(self.counted(metrics), self.sent())
        self.assertEqual(sum(self.sent().values()), traffic["requests"])
        self.assertEqual(metrics.one("runctl_store_read_bytes_total"), traffic["bytes_read"])
        self.assertEqual(set(metrics.by("runctl_phase_seconds", "phase")), {("sync",), ("lookup",), ("fetch",)})
        self.assertEqual(metrics.one("runctl_runs_returned_total"), 50)

    def test_cache(self):
        self.ingest_bytes(joined(self.runs.values()))
        metrics, result = self.after("get", "--json", run_id(1))
        misses = json.loads(result.err)["cache_misses"]
        self.assertGreater(misses, 0)
        self.assertEqual((metrics.one("runctl_cache_hits_total"), metrics.one("runctl_cache_misses_total")), (0, misses))
        metrics, _ = self.after("get", run_id(1))
        self.assertEqual((metrics.one("runctl_cache_hits_total"), metrics.one("runctl_cache_misses_total")), (misses, 0))
        self.assertEqual((self.counted(metrics), self.requests()), ({}, []))
        metrics, _ = self.after("get", "--no-cache", run_id(1))
        self.assertEqual(metrics.of("runctl_cache_hits_total"), {})

    def test_requests_that_are_sent_again(self):
        self.ingest_bytes(joined(self.runs.values()))
        self.misbehave({"match": {"method": "GET", "times": 1}, "do": {"forward": False, "status": 503}},
                       {"match": {"method": "GET", "times": 1}, "do": {"cut": 1}})
        metrics, result = self.after("get", "--json", "--no-cache", run_id(1))
        self.assertEqual(json.loads(result.err)["retries"], 2)
        self.assertEqual(metrics.one("runctl_store_retries_total"), 2)
        self.assertEqual(self.counted(metrics), {("get", "503"): 1, ("get", "none"): 1, ("get", "206"): 1})

    def test_a_store_that_refuses(self):
        self.ingest_bytes(joined(self.runs.values()))
        body = "<Error><Code>AccessDenied</Code></Error>"
        self.misbehave({"match": {"method": "GET"}, "do": {"forward": False, "status": 403, "body": body}})
        metrics, result = self.after("get", "--no-cache", run_id(1), status=None)
        self.assertNotIn(result.status, (DONE, NOT_FOUND))
        self.assertEqual(metrics.one("runctl_exit_status"), result.status)
        self.assertEqual(metrics.sum("runctl_store_requests_total", kind="get", status="403"), 1)
        self.assertEqual(metrics.one("runctl_runs_returned_total"), 0)


if __name__ == "__main__":
    harness.main()
