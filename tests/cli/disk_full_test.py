"""Disks that are full, read-only or failing, at any write: one clear line and exit 4, or all is stored; nothing
half-written that a later command trusts; and with space again all is well.

A small file system in memory is filled so that a given number of bytes is free; and, by tests/disk/faulty_disk.cpp,
each operation in turn fails with an error. Tests that mount are skipped, and say so, where that is not allowed.
"""

import json
import subprocess

import harness
from disk import PAGE, SIZES, FailingDisk, SmallDisk
from harness import DONE, REJECTED


class Full(SmallDisk):
    def test_store_and_index(self):
        self.use(self.small / "disk")
        self.sweep(lambda: self.anew(self.disk), self.ingest, self.check_all)

    def test_index(self):
        self.environment.update(RUNCTL_INDEX=str(self.small / "index.sqlite"))

        def prepare() -> None:
            self.anew(self.store, *self.small.glob("*"), *self.small.glob(".*.tmp*"))

        self.sweep(prepare, self.ingest, self.check_all)

    def test_store(self):
        self.store = self.small / "store"
        self.sweep(lambda: self.anew(self.store, self.disk), self.ingest, self.check_all)

    def test_rebuild(self):
        """The index that was there stays, until the new one is whole."""
        index = self.small / "index.sqlite"
        self.environment.update(RUNCTL_INDEX=str(index))
        self.ingest()

        def prepare() -> None:
            self.anew(*self.small.glob("*"))
            self.runctl("index", "rebuild", "-q")

        def rebuild() -> harness.Result:
            return self.run_plain("--store", self.store, "index", "rebuild", "-q")

        self.sweep(prepare, rebuild, self.check_all)

    def test_output(self):
        self.ingest()
        target = self.small / "runs.out"
        whole = self.runctl("get", *(i.decode() for i in self.ids)).out
        old = b"what was there\n"

        def prepare() -> None:
            self.anew(*self.small.glob("*"), *self.small.glob(".*.tmp"))
            target.write_bytes(old)

        def get() -> harness.Result:
            result = self.run_plain("--store", self.store, "get", "--output", target, *(i.decode() for i in self.ids))
            if result.status != DONE:
                self.assertEqual(target.read_bytes(), old, "half a file")
                self.assertEqual(list(self.small.glob(".*.tmp")), [])
            return result

        self.sweep(prepare, get, lambda: self.assertTrue(target.read_bytes() == whole, "not all of it"))

    def test_rejects(self):
        """Lines that cannot be runs, and no room to keep them: that is told, and all others are stored."""
        rejects = self.small / "rejects"
        broken = [b'{"id": "%d", "broken' % n + b"x" * 400 for n in range(500)]
        path = self.write("some.ndjson", harness.joined([*self.lines[:100], *broken, *self.lines[100:]]))

        def prepare() -> None:
            self.anew(self.store, self.disk, *self.small.glob("*"), *self.small.glob(".*.tmp"))

        def ingest() -> harness.Result:
            result = self.run_plain("--store", self.store, "ingest", "-q", "--rejects", rejects, path)
            if result.status == REJECTED:
                self.assertEqual(harness.split_lines(rejects.read_bytes()), broken)
                return harness.Result(DONE, b"", b"")
            self.assertFalse(rejects.exists(), "half a file")
            errors = [line for line in result.messages if b"ndjson:" not in line]
            return harness.Result(result.status, b"", b"".join(line + b"\n" for line in errors))

        self.sweep(prepare, ingest, self.check_all)

    def test_cache(self):
        """A cache without space is no matter for who reads."""
        self.ingest()
        cache = self.small / "cache"
        for step in range(SIZES):
            self.anew(cache)
            self.leave_free(step * 3 * PAGE)
            with self.subTest(free=step * 3 * PAGE):
                for _ in range(2):
                    result = self.runctl("--cache-dir", cache, "get", "--all-versions", "-", stdin=b"\n".join(self.ids))
                    self.assertEqual((sorted(result.lines), result.err), (sorted(self.lines), b""))
                self.make_space()
                self.runctl("--cache-dir", cache, "cache", "warm", "-q", "-", stdin=b"\n".join(self.ids))
                report = json.loads(self.runctl("--cache-dir", cache, "cache", "verify", "--json").out)
                self.assertEqual(report["bad"], 0)

    def test_read_only(self):
        self.use(self.small / "disk")
        subprocess.run(["mount", "-o", "remount,ro", self.small], check=True)
        self.assert_clear_failure(self.ingest())
        subprocess.run(["mount", "-o", "remount,rw", self.small], check=True)
        first = self.write("first.ndjson", harness.joined(self.lines[:100]))
        self.runctl("ingest", "-q", first)
        subprocess.run(["mount", "-o", "remount,ro", self.small], check=True)
        for command in (self.command, ["index", "rebuild", "-q"], ["index", "sync", "-q"],
                        ["get", "--output", self.small / "out", self.ids[0].decode()]):
            result = self.run_plain("--store", self.store, *command)
            self.assert_clear_failure(result)
        # SQLite cannot read a file in WAL mode where it may write nothing beside it.
        self.assert_clear_failure(self.run_plain("--store", self.store, "get", self.ids[0].decode()))
        subprocess.run(["mount", "-o", "remount,rw", self.small], check=True)
        self.runctl(*self.command)
        self.check_all()


class Failing(FailingDisk):
    def test_ingest(self):
        self.sweep(lambda: None, self.command, self.check_all)

    def test_rebuild(self):
        self.sweep(lambda: self.runctl(*self.command), ["index", "rebuild", "-q"], self.check_all)

    def test_output(self):
        def check() -> None:
            lines = harness.split_lines((self.disk / "runs.out").read_bytes())
            self.assertEqual(len(lines), len(self.ids))

        self.sweep(lambda: self.runctl(*self.command),
                   ["get", "--output", self.disk / "runs.out", *(i.decode() for i in self.ids)], check)


if __name__ == "__main__":
    harness.main()
