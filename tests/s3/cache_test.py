#!/usr/bin/env python3
"""The cache before a bucket: what it saves, and that a hit asks nobody.

Needs what cli_test.py needs.
"""

import json
import random
import secrets
import shutil
import unittest

import gateway
import harness
from gateway import S3Case
from harness import DONE, FAILED, joined, make_run, noise, run_id

RUNS = 2000


def setUpModule() -> None:
    S3Case.gateway = gateway.Gateway()
    unittest.addModuleCleanup(S3Case.gateway.stop)
    S3Case.bucket = S3Case.gateway.make_bucket("runctl-cache-" + secrets.token_hex(4))


class Cache(S3Case):
    def setUp(self) -> None:
        super().setUp()
        self.runs = {run_id(n): make_run(n, outputs=noise(n, 750) * 4) for n in range(RUNS)}
        self.ids = list(self.runs)
        self.ingest_bytes(joined(self.runs.values()), "--batch-bytes", "1500000")
        self.cache = self.home / "cache" / "runctl"
        self.forget_requests()

    def traffic(self, *arguments) -> dict:
        return json.loads(self.runctl("get", "--json", *arguments).err)

    def die(self) -> None:
        """From here on nobody listens at the endpoint."""
        self.proxy.__exit__()

    def test_second_get_asks_nobody(self):
        self.assertEqual(self.get(*self.ids[:20]), list(self.runs.values())[:20])
        self.assertGreater(len(self.requests()), 0)
        self.forget_requests()
        result = self.runctl("get", "-v", *self.ids[:20])
        self.assert_same_lines(result.lines, list(self.runs.values())[:20])
        self.assertRegex(result.err.decode(), r"^runctl: 0 requests, 0 B read, 0 B written; (\d+) of \1 frames? from the cache\n$")
        self.assertEqual(self.requests(), [])

    def test_dead_endpoint(self):
        self.get(self.ids[5])
        self.die()
        env = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}  # and no credentials either
        result = self.runctl("get", "-v", self.ids[5], env=env)
        self.assertEqual(result.lines, [self.runs[self.ids[5]]])
        self.assertIn(b"runctl: 0 requests, 0 B read", result.err)
        self.fails("get", "--no-cache", self.ids[5], status=FAILED)
        self.fails("get", self.ids[-1], status=FAILED)  # in another batch

    def test_everything_warmed_then_dead(self):
        report = json.loads(self.runctl("cache", "warm", "--json", "-", stdin="\n".join(self.ids).encode()).out)
        self.assertEqual((report["runs"], report["broken"]), (RUNS, 0))
        self.die()
        self.assert_comes_back(self.runs)
        self.assertEqual(self.get("--field", "outputs", self.ids[0]), [json.dumps(noise(0, 750) * 4).encode()])

    @unittest.skipUnless(shutil.which("strace"), "STRACE ABSENT: what a hit opens was not watched")
    def test_a_hit_loads_no_network_and_no_credentials(self):
        self.get(self.ids[5])
        log = self.dir / "trace"
        command = ["strace", "-f", "-o", log, "-e", "trace=network,openat", harness.binary(), "--store", self.store, "get"]
        self.assertEqual(self.run_command([*command, self.ids[5]], env={"ASAN_OPTIONS": "detect_leaks=0"}).lines,
                         [self.runs[self.ids[5]]])
        trace = log.read_text()
        self.assertIn("/v1", trace)
        for word in ("socket(", "connect(", "libcurl", "libcrypto", "resolv.conf", "/.aws/sso"):
            self.assertNotIn(word, trace)
        self.run_command([*command, "--no-cache", self.ids[5]], env={"ASAN_OPTIONS": "detect_leaks=0"})
        self.assertIn("libcurl", log.read_text(), "the watching works")

    def test_only_what_is_missing_is_asked_for(self):
        choose = random.Random(3)
        self.get_listed(choose.sample(self.ids, 1000))
        self.forget_requests()
        asked, hits, misses = 0, 0, 0
        for _ in range(30):
            some = choose.sample(self.ids, 3)
            result = self.runctl("get", "--json", *some)
            self.assert_same_lines(result.lines, [self.runs[i] for i in some])
            traffic = json.loads(result.err)
            asked, hits = asked + traffic["requests"], hits + traffic["cache_hits"]
            misses += traffic["cache_misses"]
        self.assertEqual(len(self.requests()), asked)
        self.assertLessEqual(asked, misses)
        self.assertGreater(hits, misses)

    def test_bad_entry_costs_one_request(self):
        self.get(self.ids[5])
        entry, = (path for path in self.cache.glob("v1/??/*"))
        data = bytearray(entry.read_bytes())
        data[-9] ^= 1
        entry.write_bytes(data)
        self.forget_requests()
        self.assertEqual(self.get(self.ids[5]), [self.runs[self.ids[5]]])
        self.assertEqual(len(self.requests()), 1)
        self.assertEqual(self.get(self.ids[5]), [self.runs[self.ids[5]]])
        self.assertEqual(len(self.requests()), 1)

    def test_two_buckets_share_a_cache_and_not_their_entries(self):
        some = self.ids[5]
        self.get(some)
        other, machine = f"s3://{self.bucket}/{self.prefix}-other", "b"
        with self.on(machine):
            self.ingest_bytes(joined(self.runs.values()), "--batch-bytes", "1500000", store=other)
            result = self.runctl("get", "--json", some, store=other)
        self.assertEqual(result.lines, [self.runs[some]])
        self.assertEqual(json.loads(result.err)["cache_hits"], 0)

    def test_no_cache_when_the_server_lies(self):
        """A frame that came over the network broken is not kept."""
        self.misbehave({"match": {"method": "GET", "path": "ndjson"}, "do": {"corrupt": 100}})
        result = self.run_plain("--store", self.store, "get", self.ids[5])
        self.assertNotEqual(result.status, DONE)
        self.behave()
        self.assertEqual(self.get(self.ids[5]), [self.runs[self.ids[5]]])
        self.assertEqual(json.loads(self.runctl("cache", "verify", "--json").out)["bad"], 0)


if __name__ == "__main__":
    harness.main()
