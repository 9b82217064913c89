"""Memory, stored bytes and bytes read stay within their bounds, whatever the size of the input.

The short form uses smaller inputs with the same bounds where those still mean something.
"""

import random
import re
import shutil
import statistics
import time

import harness
from harness import DONE, LONG, REJECTED, joined, make_run, noise, run_id, split_lines, unzstd

MIB = 1 << 20


class BoundsTest(harness.CliTest):
    timeout = 900

    def setUp(self) -> None:
        super().setUp()
        if b"__asan_init" in harness.binary().read_bytes() or b"__tsan_init" in harness.binary().read_bytes():
            self.skipTest("a sanitizer changes what memory and time mean")

    def cold_get(self, *arguments) -> harness.Measured:
        """`get` of what no cache holds."""
        self.forget_cache()
        return self.measure("get", *arguments)

    def assert_peak(self, measured: harness.Measured, limit: int, status: int = DONE) -> None:
        print(f"    {self.id().split('.')[-1]}: peak {measured.peak_bytes / MIB:.0f} MiB, "
              f"{measured.seconds:.2f} s", flush=True)
        self.assertEqual(measured.status, status, measured.err)
        self.assertLessEqual(measured.peak_bytes, limit)


class Memory(BoundsTest):
    def stream(self, total: int):
        """At least `total` bytes of agent/intercode over and over, each time with other ids."""
        lines = split_lines(unzstd(self.real_data("agent/intercode.ndjson.zst")))[:20_000]
        block = re.sub(rb'(?m)^\{"id": "[0-9a-f]{8}', b'{"id": "@@@@@@@@', joined(lines))
        for number in range(total // len(block) + 1):
            yield block.replace(b"@@@@@@@@", b"%08x" % (number * 2654435761 % 2**32))

    def test_long_stream(self):
        """Peak memory of `ingest` is at most 128 MiB, for 1 GB as for 300 MB."""
        measured = self.measure("ingest", "-", stdin_from=self.stream(10**9 if LONG else 300 * 10**6))
        self.assert_peak(measured, 128 * MIB)

    def test_long_array(self):
        """An array needs no more than lines do."""
        def array():
            yield b"["
            for number, block in enumerate(self.stream(10**9 if LONG else 200 * 10**6)):
                yield (b"," if number else b"") + block[:-1].replace(b"\n", b",\n")
            yield b"]"

        self.assert_peak(self.measure("ingest", "-", stdin_from=array()), 128 * MIB)

    def test_highly_compressed_input(self):
        """1 GB of blank lines in a few kB, as a bomb would be."""
        size = 10**9 if LONG else 300 * 10**6
        bomb = self.write("bomb.zst", b"".join(harness.zstd(b"\n" * 10**7) for _ in range(size // 10**7)))
        self.assert_peak(self.measure("ingest", bomb), 128 * MIB)

    def test_tiny_rejects(self):
        """What is kept of a rejected record of two bytes is far larger than it."""
        text = (b"1\n" * 10**6 for _ in range(10 if LONG else 1))
        self.assert_peak(self.measure("ingest", "-", stdin_from=text), 128 * MIB, REJECTED)

    def test_tiny_rejects_behind_a_long_record(self):
        """A record of many blocks is read in pieces that double: the last holds millions of others."""
        record = b'{"id":"long","inputs":"' + noise(1, 9 * MIB).encode() + b'"}\n'
        text = [record] + [b"1\n" * 10**6] * (4 if LONG else 1)
        self.assert_peak(self.measure("ingest", "-", stdin_from=text), 128 * MIB, REJECTED)

    def test_tiny_runs(self):
        """So is what is kept of a run of twelve bytes."""
        def runs():
            for start in range(0, 3_600_000 if LONG else 400_000, 10_000):
                yield b"".join(b'{"id":"%d"}\n' % number for number in range(start, start + 10_000))

        self.assert_peak(self.measure("ingest", "-", stdin_from=runs()), 128 * MIB)

    def test_tiny_runs_without_ids(self):
        def runs():
            for start in range(0, 1_500_000 if LONG else 300_000, 10_000):
                yield b"".join(b'{"n":%d}\n' % number for number in range(start, start + 10_000))

        self.assert_peak(self.measure("ingest", "-", stdin_from=runs()), 128 * MIB)

    def test_one_large_run(self):
        """A run of 200 MB goes in and out within 4 times its size."""
        size = 200 * 10**6 if LONG else 64 * 10**6
        piece = noise(1, MIB).encode()
        pieces = [b'{"id":"large","metadata":{"small":true},"inputs":"'] + [piece] * (size // MIB) + [b'"}\n']
        record = b"".join(pieces)
        self.assert_peak(self.measure("ingest", "-", stdin_from=pieces), 4 * len(record))
        out = self.dir / "out"
        self.assert_peak(self.measure("get", "large", out=out), 4 * len(record))
        self.assertTrue(out.read_bytes() == record, "what came out is not what went in")
        self.assertEqual(self.get("--field", "metadata", "large"), [b'{"small":true}'])

    def test_get_of_many(self):
        """Printing a whole set needs no more than ingesting it."""
        runs = {run_id(n): make_run(n, inputs=noise(n % 50, 20_000)) for n in range(10_000)}  # 200 MB
        self.ingest_bytes(joined(runs.values()))
        ids = ("\n".join(runs) + "\n").encode()
        out = self.dir / "out"
        self.assert_peak(self.measure("get", "-", stdin_from=[ids], out=out), 256 * MIB)
        self.assertTrue(out.read_bytes() == joined(runs.values()), "what came out is not what went in")


class StoredBytes(BoundsTest):
    """Footers included, against `zstd -3` of the whole file."""

    def check(self, name: str, limit: float) -> None:
        path = self.real_data(name)
        text = unzstd(path)
        whole = len(harness.zstd(text, "-3"))
        summary = self.ingest(path)
        ratio = summary["bytes_stored"] / whole
        print(f"    {name}: stored {summary['bytes_stored']}, zstd -3 {whole}, ratio {ratio:.3f}, limit {limit}",
              flush=True)
        self.assertLessEqual(ratio, limit)
        self.check_bytes_read([match.decode() for match in re.findall(rb'(?m)^\{"id": ?"([^"]+)"', text)])

    def check_bytes_read(self, ids: list[str]) -> None:
        """The median `get` reads at most 128 KiB of compressed bytes: more than a `get` of nothing reads."""
        nothing = self.cold_get(run_id(999_999)).bytes_read
        if nothing == 0:
            self.skipTest("the kernel does not count the bytes that a process reads")
        read = []
        for run in random.Random(1).sample(ids, min(len(ids), 41)):
            measured = self.cold_get(run)
            self.assertEqual(measured.status, DONE, measured.err)
            read.append(measured.bytes_read - nothing)
        median = statistics.median(read)
        print(f"    median bytes read for one get: {median}", flush=True)
        self.assertLessEqual(median, 128 * 1024)

    def test_taubench(self):
        self.check("agent/taubench.ndjson.zst", 1.5)

    def test_intercode(self):
        self.long_form()
        self.check("agent/intercode.ndjson.zst", 1.7)

    def test_zeroeval_crux(self):
        self.long_form()
        self.check("chat/zeroeval-crux.ndjson.zst", 1.35)

    def test_zeroeval_gsm(self):
        self.long_form()
        self.check("chat/zeroeval-gsm.ndjson.zst", 1.35)


class ReadsLittle(BoundsTest):
    def test_metadata_of_a_large_run(self):
        """Reading `metadata` does not fetch the megabytes of `inputs` around it."""
        large = make_run(1, x=noise(1, 6 * 10**6), metadata={"small": True}, outputs=noise(2, 6 * 10**6))
        self.ingest_bytes(joined([make_run(0), large, make_run(2)]))
        measured = self.cold_get("--field", "metadata", run_id(1))
        self.assertEqual(measured.status, DONE, measured.err)
        whole = self.cold_get(run_id(1)).bytes_read
        self.assertGreater(whole, 5 * 10**6, "the run is read from the store")
        self.assertLess(measured.bytes_read, 10**6)

    def test_many_runs_of_one_frame_share_its_read(self):
        """500 neighbours are not 500 reads of their frame."""
        runs = {run_id(n): make_run(n) for n in range(500)}
        self.ingest_bytes(joined(runs.values()))
        one = self.cold_get(run_id(1)).bytes_read
        all_of_them = self.cold_get(*runs).bytes_read
        stored = self.only_object().stat().st_size
        index = sum(path.stat().st_size for path in self.home.rglob("*") if path.is_file())
        self.assertLess(all_of_them, one + 2 * stored + 4 * index)


class QuickToStart(BoundsTest):
    def test_get_against_sqlite3(self):
        """`get` of one run takes at most twice the wall time of the sqlite3 command that looks up one key."""
        self.long_form()
        if not shutil.which("sqlite3"):
            self.skipTest("the sqlite3 command is absent")
        runs = {run_id(n): make_run(n) for n in range(20_000)}
        self.ingest_bytes(joined(runs.values()))
        table = self.dir / "table.sqlite"
        rows = [b"insert into t values('%s', '%s');" % (i.encode(), run) for i, run in runs.items()]
        harness.tool(["sqlite3", str(table)], joined(
            [b"create table t(k text primary key, v text) without rowid;", b"begin;", *rows, b"commit;"]))
        pairs = []
        for number in range(201):
            run = run_id(number * 97 % 20_000)
            pairs.append((self.wall([harness.binary(), "--store", self.store, "get", run]),
                          self.wall([shutil.which("sqlite3"), table, f"select v from t where k = '{run}'"])))
        ours, theirs = (statistics.median(times) for times in zip(*pairs))
        print(f"    get {ours * 1000:.2f} ms, sqlite3 {theirs * 1000:.2f} ms, ratio {ours / theirs:.2f}", flush=True)
        self.assertLessEqual(ours, 2 * theirs)

    def wall(self, command) -> float:
        started = time.perf_counter()
        self.assertEqual(self.run_command(command).status, DONE)
        return time.perf_counter() - started


if __name__ == "__main__":
    harness.main()
