"""Many programs at once on one store, one index and one cache: all succeed without a word, and nothing is doubled."""

import collections
import concurrent.futures
import json
import random
import re
import threading

import harness
from harness import LONG

WRITERS, READERS, CLEANERS = 16, 8, 2
SLICES = 2 if LONG else 1  # that each writer brings
FIRST_ID = re.compile(rb'"id": ?"([^"\\]+)"')


class Crowd:
    """For a directory here, for a bucket in tests/s3/crowd_s3_test.py."""

    runs = 12000 if LONG else 6000
    timeout = 600

    def setUp(self) -> None:
        super().setUp()
        lines = harness.split_lines(harness.unzstd(self.real_data("chat/zeroeval-gsm.ndjson.zst")))
        versions = collections.defaultdict(dict)
        for line in lines[:self.runs]:
            versions[FIRST_ID.search(line)[1]][line] = None
        self.lines = [line for lines in versions.values() for line in lines]
        self.versions = {id: list(lines) for id, lines in versions.items()}
        self.stored = {}  # ids that an ingest which has ended has stored
        self.done = threading.Event()
        self.environment.update(RUNCTL_CACHE_DIR=str(self.dir / "cache"))

    def write_slice(self, number: int) -> dict:
        """A slice of the lines that begins in the middle of another writer's, in batches of its own size."""
        total = {}
        for turn in range(SLICES):
            width = len(self.lines) // 8
            begin = (number + turn * 5) % WRITERS * (len(self.lines) - width) // (WRITERS - 1)
            lines = self.lines[begin:begin + width]
            path = self.write(f"slice {number}.{turn}", harness.joined(lines))
            result = self.runctl("ingest", "--json", "--batch-bytes", str(20_000 + 7_000 * (number % 4)), path)
            self.assertEqual(result.err, b"")
            summary = self.summary_of(result)
            self.assert_counts(summary, read=len(lines), rejected=0)
            for line in lines:
                id = FIRST_ID.search(line)[1]
                self.stored[id] = True
            total = {key: total.get(key, 0) + summary[key] for key in ("read", "stored", "duplicate")}
        return total

    def read_some(self, number: int) -> int:
        """What an ingest has reported as stored is found, by all and at once."""
        lot, count = random.Random(number), 0
        while not self.done.is_set() or count == 0:
            known = list(self.stored)
            if not known:
                self.done.wait(0.05)
                continue
            some = lot.sample(known, min(50, len(known)))
            result = self.runctl("get", "-", stdin=b"\n".join(some))
            self.assertEqual(result.err, b"")
            self.assertEqual(len(result.lines), len(some))
            for id, line in zip(some, result.lines):
                self.assertTrue(line in self.versions[id], id)
            count += 1
        return count

    def clean(self, number: int) -> int:
        count = 0
        while not self.done.wait(0.05):
            result = self.runctl("cache", "clean", "--max-size", "100000", "-q")
            self.assertEqual((result.out, result.err), (b"", b""))
            count += 1
        return count

    def test_crowd(self):
        with concurrent.futures.ThreadPoolExecutor(WRITERS + READERS + CLEANERS) as pool:
            others = [pool.submit(self.read_some, n) for n in range(READERS)]
            others += [pool.submit(self.clean, n) for n in range(CLEANERS)]
            try:
                totals = list(pool.map(self.write_slice, range(WRITERS)))
            finally:
                self.done.set()
            counts = [other.result() for other in others]
        print(f"{sum(t['read'] for t in totals)} read, {sum(t['stored'] for t in totals)} stored by {WRITERS} writers; "
              f"{sum(counts[:READERS])} reads, {sum(counts[READERS:])} cleanings", end=" ", flush=True)
        self.check_everything(sum(total["stored"] for total in totals))

    def check_everything(self, stored: int) -> None:
        self.assertEqual(len(self.stored), len(self.versions))
        self.assertEqual(stored, len(self.lines), "each run is stored by one of them")
        for again in (False, True):
            if again:
                self.runctl("index", "rebuild", "-q")
            self.assertEqual(json.loads(self.runctl("index", "status", "--json").out)["runs"], len(self.lines))
            self.assertEqual(int(self.runctl("search", "--count").out), len(self.versions))
            got = self.runctl("get", "--all-versions", "-", stdin=b"\n".join(self.versions))
            self.assertEqual(got.err, b"")
            self.assertTrue(sorted(got.lines) == sorted(self.lines), "every run is found once")
            self.runctl("verify", "--read-data", "-q")
        self.assertEqual(json.loads(self.runctl("cache", "verify", "--json").out)["bad"], 0)
        leftovers = [path for path in self.dir.rglob("*.tmp*") if not path.is_relative_to(self.home / "tmp")]
        self.assertEqual(leftovers, [])


class Directory(Crowd, harness.CliTest):
    def test_recorded_by_another_first(self):
        """Programs that make the index agree with the store beside an ingest: what it has stored is not a duplicate."""
        lines = self.lines[:3000]
        path = self.write("runs", harness.joined(lines))
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            def sync(_) -> None:
                while not self.done.is_set():
                    self.runctl("index", "sync", "-q", status=None)

            others = [pool.submit(sync, n) for n in range(3)]
            try:
                summary = self.ingest("--batch-bytes", "5000", path)
            finally:
                self.done.set()
            for other in others:
                other.result()
        self.assert_counts(summary, stored=len(lines), duplicate=0)


if __name__ == "__main__":
    harness.main()
