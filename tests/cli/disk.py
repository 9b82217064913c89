"""What the tests of failing disks share: a disk of their own, and a program that meets a fault on it.

Faults are made by tests/disk/faulty_disk.cpp, preloaded into the program: see there what FAULTY_DISK may say.
"""

import collections
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

import harness
from harness import DONE, FAILED, LONG, NOT_FOUND

FIRST_ID = re.compile(rb'"id": ?"([^"\\]+)"')
SIZES = 60 if LONG else 13  # of the space that is free
PAGE = 4096
Operation = collections.namedtuple("Operation", "name place")


class DiskTest(harness.CliTest):
    """Store, index and cache lie on `self.disk`; `self.command` ingests `self.lines`, all different."""

    runs = 300

    def setUp(self) -> None:
        super().setUp()
        # In memory, where that is to be had: thousands of fsyncs take a real disk minutes.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        place = pathlib.Path(tempfile.mkdtemp(prefix="runctl_disk_", dir=memory))
        self.addCleanup(shutil.rmtree, place, ignore_errors=True)
        self.disk, self.saved = place / "disk", place / "saved"
        self.forget()
        lines = harness.split_lines(harness.unzstd(self.real_data("agent/intercode.ndjson.zst")))
        self.lines = list(dict.fromkeys(lines))[:self.runs]
        self.ids = list(dict.fromkeys(FIRST_ID.search(line)[1] for line in self.lines))
        self.path = self.write("runs.ndjson", harness.joined(self.lines))
        # Several batches: several instants between a batch's being stored and its being recorded.
        self.command = ["ingest", "-q", "--batch-bytes", "30000", self.path]

    def use(self, disk: pathlib.Path) -> None:
        """The disk, empty."""
        self.disk = disk
        self.store = disk / "store"
        self.environment.update(RUNCTL_INDEX=str(disk / "index" / "index.sqlite"))

    def forget(self) -> None:
        for path in (self.disk, self.saved):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
        self.use(self.disk)

    # --- faults ---

    def meet(self, fault: str, *arguments, **options) -> harness.Result:
        """Runs runctl on the disk while that happens; a killed one has the status -SIGKILL."""
        with self.faulty(fault) as environment:
            done = subprocess.run([harness.binary(), "--store", self.store, *arguments], cwd=self.dir, env=environment,
                                  capture_output=True, timeout=self.timeout, **options)
        result = harness.Result(done.returncode, done.stdout, done.stderr)
        self.assertNotIn(b"Sanitizer", result.err, "a sanitizer reported")
        return result

    @contextlib.contextmanager
    def faulty(self, fault: str):
        """The environment of a program that is to meet it; after that, what it did is in `self.operations`."""
        log = self.dir / "operations"
        log.unlink(missing_ok=True)
        yield {**self.environment, "FAULTY_DISK_ROOT": str(self.disk), "FAULTY_DISK_SAVE": str(self.saved),
               "FAULTY_DISK_LOG": str(log), "FAULTY_DISK": fault, "LD_PRELOAD": str(library())}
        self.operations = [Operation(name, self.place_of(path)) for name, path in
                           (line.split("\t") for line in log.read_text().splitlines())] if log.exists() else []

    def place_of(self, path: str) -> str:
        """What kind of file it is."""
        name = os.path.basename(path)
        kind = "spool" if "/spool" in path else "directory"
        batch = "batch" if kind == "directory" else "spooled batch"
        for part, what in ((".ndjson.zst", batch), ("-wal", "index's log"), ("-journal", "index's journal"),
                           (".sqlite", "index"), (".out", "output"), (".json", "state"), (".prom", "metrics")):
            if part in name:
                kind = what
                break
        else:
            if "/cache/" in path:
                kind = "cache"
        return f"temporary {kind}" if name.startswith(".") else kind

    def all_operations(self, *arguments, **options) -> list[Operation]:
        """What the command does to a fresh disk when nothing fails."""
        result = self.meet("kill:0", *arguments, **options)
        self.assertEqual(result.status, DONE, str(result))
        return self.operations

    def chosen(self, operations: list[Operation]) -> list[int]:
        """The numbers of operations to fail: all of them; in the short form the ends and the middle of each row of
        equal ones."""
        numbers, begin = [], 0
        for end in range(1, len(operations) + 1):
            if end == len(operations) or operations[end] != operations[begin]:
                numbers += sorted({begin + 1, (begin + end + 1) // 2, end}) if not LONG else range(begin + 1, end + 1)
                begin = end
        return numbers

    # --- checks ---

    def stored_lines(self) -> list[bytes]:
        return harness.split_lines(harness.unzstd_all(self.objects()))

    def check_accounts(self) -> int:
        """Every batch is whole, and recorded or named as an orphan; how many are not recorded."""
        if not (self.store / "runs").exists():
            return 0
        result = self.run_plain("--store", self.store, "verify", "--json", "--read-data")
        report = json.loads(result.out)
        self.assertEqual(report["corrupt"], 0, str(result))
        self.assertEqual(result.status, NOT_FOUND if report["orphans"] else DONE, str(result))
        status = self.run_plain("--store", self.store, "index", "status", "--json")
        recorded = json.loads(status.out)["batches"]
        self.assertEqual(report["orphans"], len(self.objects()) - recorded, "a batch is not accounted for")
        return report["orphans"]

    def check_all(self, rebuild: bool = True) -> None:
        """Every run is there exactly once: in the store, in the index, and in one made anew."""
        self.assertEqual(sorted(self.stored_lines()), sorted(self.lines), "every run lies in the store exactly once")
        for again in (False, True)[:1 + rebuild]:
            if again:
                self.runctl("index", "rebuild", "-q")
            status = json.loads(self.runctl("index", "status", "--json").out)
            self.assertEqual((status["runs"], status["batches"]), (len(self.lines), len(self.objects())))
            self.runctl("verify", "--read-data", "-q")
            self.assertEqual(sorted(self.get_listed(self.ids, "--all-versions", "--no-sync")), sorted(self.lines))

    def assert_clear_failure(self, result: harness.Result) -> None:
        self.assertEqual(result.status, FAILED, str(result))
        self.assertEqual((result.err.count(b"\n"), len(result.messages)), (1, 1), str(result))


class Tally:
    """How often something happened at each kind of operation."""

    def __init__(self):
        self.counts = collections.Counter()

    def note(self, operation: Operation) -> None:
        self.counts[operation] += 1

    def __str__(self) -> str:
        return ", ".join(f"{o.name} of {o.place} {n}" for o, n in self.counts.most_common())


class SmallDisk(DiskTest):
    """A file system in memory that is filled so that a given number of bytes is free."""

    runs = 200
    sizes = SIZES

    def setUp(self) -> None:
        super().setUp()
        self.small = self.dir / "small"
        self.small.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", self.small],
                              capture_output=True)
        if done.returncode != 0:
            self.skipTest(f"NO MOUNT: {done.stderr.decode().strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", self.small], capture_output=True)

    def leave_free(self, size: int) -> None:
        """Fills the small disk but for so many bytes, whole pages."""
        disk = os.statvfs(self.small)
        with open(self.small / "filler", "wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, (disk.f_bavail - size // PAGE) * disk.f_bsize)

    def make_space(self) -> None:
        (self.small / "filler").unlink(missing_ok=True)

    def free(self) -> int:
        disk = os.statvfs(self.small)
        return disk.f_bavail * disk.f_bsize

    def sweep(self, prepare, try_it, check) -> None:
        """`try_it` with more and more space, from none to a little more than it needs, then again with all of it.

        `prepare` makes everything anew; `try_it` runs the command and returns its result; `check` looks at what a
        command that ended with 0 has done.
        """
        prepare()
        free = before = self.free()
        # What is needed on the way is more than what lies there at the end, so find out where it begins to go.
        while free > 0:
            prepare()
            self.leave_free(free // 2)
            status = try_it().status
            self.make_space()
            if status != DONE:
                break
            free //= 2
        failed = 0
        for step in range(self.sizes):
            prepare()
            size = free * step // (self.sizes - 1)
            with self.subTest(free=size):
                self.leave_free(size)
                result = try_it()
                if result.status != DONE:
                    self.assert_clear_failure(result)
                    self.assertRegex(result.err, b"No space left on device|disk is full|is the disk full")
                    failed += 1
                self.check_trusted()
                self.make_space()
                if result.status == DONE:
                    check()
                self.assertEqual(try_it().status, DONE)
                check()
        self.assertGreater(failed, self.sizes // 4)
        self.assertLess(failed, self.sizes)
        print(f"{self.sizes} sizes up to {free} of {before} bytes, {failed} failed", end=" ", flush=True)

    def check_trusted(self) -> None:
        """While the disk is full: what can be read is right."""
        if (self.store / "runs").exists():
            self.assertLessEqual(set(self.stored_lines()), set(self.lines))
            got = self.run_plain("--store", self.store, "get", "--all-versions", "-", stdin=b"\n".join(self.ids))
            self.assertLessEqual(set(got.lines), set(self.lines), "wrong bytes")

    def anew(self, *places: pathlib.Path) -> None:
        self.make_space()
        for path in places:
            subprocess.run(["rm", "-rf", path], check=True)

    def ingest(self) -> harness.Result:
        return self.run_plain("--store", self.store, *self.command)


class FailingDisk(DiskTest):
    """Each operation in turn fails: it alone, or with all that come after it."""

    step = 1 if LONG else 2  # of the chosen operations, how many there are for each that fails in one way

    def sweep(self, prepare, command, check) -> None:
        """`check` looks at what a command that ended with 0 has done."""
        def check_after(result: harness.Result) -> None:
            self.assertIn(result.status, (DONE, FAILED), str(result))
            if result.status == FAILED:
                self.assert_clear_failure(result)
            else:
                check()
            self.check_accounts()
            self.runctl(*command)
            check()

        self.fail_at_each(prepare, lambda fault: self.meet(fault, *command), check_after)

    def fail_at_each(self, prepare, run, check_after) -> None:
        """On the disk that `prepare` makes, `run` takes a fault and returns the result of a command that meets it."""
        prepare()
        run("kill:0")
        numbers = self.chosen(self.operations)
        self.assertTrue(numbers, "nothing was done that could fail")
        tally, forgiven = Tally(), Tally()
        faults = ("EIO:{}", "ENOSPC:{}+") + (("EIO:{}+", "ENOSPC:{}", "EROFS:{}+", "EDQUOT:{}") if LONG else ())
        for fault in (fault.format(number) for i, fault in enumerate(faults)
                      for number in numbers[i % self.step::self.step]):
            self.forget()
            prepare()
            result = run(fault)
            number = int(fault.split(":")[1].rstrip("+"))
            met = self.operations[number - 1] if number <= len(self.operations) else None
            with self.subTest(fault=fault, operation=met):
                check_after(result)
                (tally if result.status == FAILED else forgiven).note(met)
        print(f"failed with a clear line: {tally}; did no harm: {forgiven}")


class KilledDisk(DiskTest):
    """Killed just before each operation on the disk in turn: every state in which a file system can be left."""

    step = 1  # how many of the chosen operations there are for each kill

    def kill_at_each(self, prepare, run, check_after) -> Tally:
        """On the disk that `prepare` makes, `run` takes a fault and returns the result of a command that meets it."""
        prepare()
        whole = run("kill:0").status
        tally = Tally()
        numbers = self.chosen(self.operations)[::self.step]
        self.assertTrue(numbers, "nothing was done in which it could be killed")
        for number in numbers:
            self.forget()
            prepare()
            result = run(f"kill:{number}")
            if not is_killed(result):  # threads took turns otherwise, with fewer operations
                self.assertEqual((result.status, number > len(self.operations)), (whole, True), str(result))
                continue
            tally.note(self.operations[-1])
            with self.subTest(number=number, step=self.operations[-1]):
                check_after()
        self.assertGreaterEqual(sum(tally.counts.values()), len(numbers) * 9 // 10)
        return tally


def library() -> pathlib.Path:
    path = harness.binary().parent / "tests" / "disk" / "faulty_disk.so"
    assert path.exists(), f"{path} is not built"
    return path


def is_killed(result: harness.Result) -> bool:
    return result.status == -signal.SIGKILL
