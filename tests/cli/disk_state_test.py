"""Full and failing disks, and kills at each step, where runctl keeps what a pipe or a followed file brought: the spool,
and how far the file was read.

Whatever happens, each run is stored, or waits in the spool, or the command says that it failed and how much it cost;
with the disk well again and the same command once more, every run is there exactly once.
"""

import contextlib
import hashlib
import itertools
import json
import pathlib
import re
import shutil
import signal
import subprocess

import harness
from disk import DiskTest, FailingDisk, KilledDisk, SmallDisk, is_killed
from harness import DONE, FAILED, LONG

INTERRUPTED = 128 + signal.SIGTERM
SPOOLED = re.compile(r"(\d{20})\.(\d{4}-\d\d-\d\d|mixed)\.([0-9a-f]{64})\.ndjson\.zst")
WAIT = re.compile(rb"^runctl: (?:.*; )?([\d,]+) runs? in [\d,]+ batch(?:es)? wait in .*ingest --drain", re.MULTILINE)
LOST = re.compile(rb"; ([\d,]+) runs? of those read are neither stored nor in the spool$", re.MULTILINE)
PUT_ASIDE = "temporary spooled batch"
# What is told on the way: the ingest goes on.
ON_THE_WAY = (b"until it can be stored", b"no more is read until the store answers")


def number_in(pattern: re.Pattern, text: bytes) -> int:
    found = pattern.search(text)
    return int(found[1].replace(b",", b"")) if found else 0


class Spooling(DiskTest):
    """What comes through a pipe: three batches, as many as are read before one of them must have found a place."""

    runs = 150
    store_is_on_disk = False
    places = ("spool", "spooled batch", PUT_ASIDE)
    pipe = ["ingest", "-q", "--flush-interval", "0", "--batch-bytes", "40000", "-"]
    drain = ["ingest", "-q", "--drain"]

    def use(self, disk: pathlib.Path) -> None:
        super().use(disk)
        if not self.store_is_on_disk:
            self.store = self.dir / "store"
        self.state = disk / "state"
        self.environment.update(XDG_STATE_HOME=str(self.state))

    def use_for_all(self, disk: pathlib.Path) -> None:
        """The store is on this disk, too."""
        self.store_is_on_disk = True
        self.use(disk)

    def chosen(self, operations) -> list[int]:
        """In the short form mostly what is done to the spool: others test the store and the index."""
        return [number for i, number in enumerate(super().chosen(operations))
                if LONG or i % 9 == 0 or operations[number - 1].place in self.places]

    # --- the store ---

    def take_away(self) -> None:
        """A new store that takes nothing: where the days' directories belong stands a file."""
        subprocess.run(["rm", "-rf", self.store], check=True)
        self.store.mkdir(parents=True)
        (self.store / "runs").write_bytes(b"")

    def bring_back(self) -> None:
        if (self.store / "runs").is_file():
            (self.store / "runs").unlink()

    # --- commands ---

    def stdin(self) -> bytes:
        return harness.joined(self.lines)

    def send(self, fault: str = "kill:0") -> harness.Result:
        return self.meet(fault, *self.pipe, input=self.stdin())

    def deliver(self, fault: str = "kill:0") -> harness.Result:
        return self.meet(fault, *self.drain)

    def let_wait(self) -> None:
        """All of it waits in the spool, and the store is back."""
        self.take_away()
        self.send()
        self.bring_back()

    # --- checks ---

    def spooled(self) -> list[pathlib.Path]:
        return sorted((self.state / "runctl/spool").glob("*/[!.]*"))

    def waiting(self) -> list[bytes]:
        """The lines of what waits; every file with a name of its own is a whole batch."""
        lines = []
        for path in self.spooled():
            match = SPOOLED.fullmatch(path.name)
            self.assertTrue(match, path.name)
            data = path.read_bytes()
            self.assertEqual(hashlib.sha256(data).hexdigest(), match[3], "half a file under a final name")
            lines += harness.split_lines(harness.unzstd(data))
        return lines

    def check_sent(self, result: harness.Result) -> None:
        """Where each run is, and what was said of it."""
        waiting, stored = self.waiting(), self.stored_lines()
        self.assertLessEqual({*waiting, *stored}, set(self.lines))
        if is_killed(result):
            return
        self.assertIn(result.status, (DONE, FAILED), str(result))
        self.assertEqual(result.err.count(b"\n"), len(result.messages), str(result))
        told, lost, errors = number_in(WAIT, result.err), number_in(LOST, result.err), self.errors_of(result)
        self.assertLessEqual(len(errors), 1, str(result))
        self.assertEqual(result.status, FAILED if errors or waiting else DONE, str(result))
        # More than is told where only its name's being synced failed, or where the index did not take it.
        self.assertLessEqual(told, len(set(waiting)), str(result))
        self.assertLessEqual(told + lost, len(self.lines), str(result))
        if lost or not errors:  # otherwise the pipe was not read to its end
            self.assertGreaterEqual(len({*waiting, *stored}) + lost, len(self.lines), str(result))

    def errors_of(self, result: harness.Result) -> list[bytes]:
        return [line for line in result.messages
                if not WAIT.match(line) and not any(line.endswith(told) for told in ON_THE_WAY)]

    def check_delivery(self) -> None:
        """With disk and store well again."""
        self.bring_back()
        before = set(self.waiting())
        self.runctl(*self.drain)
        self.assertEqual(self.waiting(), [])
        self.assertLessEqual(before, set(self.stored_lines()))
        self.runctl(*self.pipe, stdin=self.stdin())
        self.check_all(rebuild=LONG)


class FullSpool(Spooling, SmallDisk):
    sizes = 60 if LONG else 5

    def prepare(self) -> None:
        self.anew(self.store, *self.small.glob("*"), *self.dir.glob("index*"))

    def send_to_full_disk(self) -> harness.Result:
        """The errors alone; all is well where each run is stored or waits."""
        result = self.send()
        self.check_sent(result)
        self.assertEqual(list((self.state / "runctl/spool").glob("*/.*")), [])
        errors = self.errors_of(result)
        return harness.Result(result.status if errors else DONE, b"", b"".join(line + b"\n" for line in errors))

    def test_spool(self):
        """The store is away."""
        self.use(self.small / "disk")
        self.environment.update(RUNCTL_INDEX=str(self.dir / "index"))

        def prepare() -> None:
            self.prepare()
            self.take_away()

        self.sweep(prepare, self.send_to_full_disk, self.check_delivery)

    def test_one_disk_for_all(self):
        self.use_for_all(self.small / "disk")
        self.sweep(self.prepare, self.send_to_full_disk, self.check_delivery)

    def test_delivery(self):
        self.use_for_all(self.small / "disk")

        def prepare() -> None:
            self.prepare()
            self.let_wait()

        def check() -> None:
            self.assertEqual(self.waiting(), [])
            self.check_all(rebuild=LONG)

        def deliver() -> harness.Result:
            result = self.deliver()
            self.assertEqual({*self.waiting(), *self.stored_lines()}, set(self.lines))
            return result

        self.sweep(prepare, deliver, check)


    def test_read_only(self):
        """What waits is delivered and cannot be removed; what comes is stored."""
        self.use(self.small / "disk")
        self.environment.update(RUNCTL_INDEX=str(self.dir / "index"))
        self.take_away()
        half = len(self.lines) // 2
        self.meet("kill:0", *self.pipe, input=harness.joined(self.lines[:half]))
        waiting = self.waiting()
        self.bring_back()
        subprocess.run(["mount", "-o", "remount,ro", self.small], check=True)
        result = self.runctl(*self.pipe, stdin=harness.joined(self.lines[half:]))
        self.assertIn(b"Read-only file system", result.err)
        self.assertEqual((sorted(waiting), self.waiting()), (sorted(self.lines[:half]), waiting))
        self.assertEqual(sorted(self.stored_lines()), sorted(self.lines))
        subprocess.run(["mount", "-o", "remount,rw", self.small], check=True)
        self.check_delivery()


class FailingSpool(Spooling, FailingDisk):
    def check_after(self, result: harness.Result) -> None:
        self.check_sent(result)
        self.check_delivery()

    def test_spool(self):
        """The store is away."""
        def send(fault: str) -> harness.Result:
            result = self.send(fault)
            met = self.operations[int(fault.split(":")[1].rstrip("+")) - 1:][:1]  # fewer: none
            if "EIO" in fault and "+" not in fault and met and met[0].place in self.places:
                self.assertEqual(number_in(WAIT, result.err), len(self.lines), f"a second trial was enough: {result}")
            return result

        self.fail_at_each(self.take_away, send, self.check_after)

    def test_a_spool_that_fails_at_the_end(self):
        """What found no place is told, and what did."""
        self.take_away()
        self.send()
        third = [i for i, o in enumerate(self.operations, 1) if (o.name, o.place) == ("create", PUT_ASIDE)][2]
        for fault in (f"EIO:{third}+", f"ENOSPC:{third}+"):
            self.forget()
            self.take_away()
            result = self.send(fault)
            self.check_sent(result)
            told, lost = number_in(WAIT, result.err), number_in(LOST, result.err)
            self.assertEqual((told, told + lost), (len(self.waiting()), len(self.lines)), str(result))
            self.assertGreater(min(told, lost), 0)
            self.check_delivery()

    def test_one_disk_for_all(self):
        self.use_for_all(self.disk)
        self.fail_at_each(lambda: None, self.send, self.check_after)

    def test_delivery(self):
        self.use_for_all(self.disk)

        def check_after(result: harness.Result) -> None:
            self.assertIn(result.status, (DONE, FAILED))
            if result.status == DONE:
                self.assertEqual(self.waiting(), [])
            # A file that could not be removed is named, and the next is delivered.
            others = [line for line in result.messages if b"/runctl/spool/" not in line]
            self.assertLessEqual(len(others), 1, str(result))
            self.assertEqual(result.err == b"", result.status == DONE, str(result))
            self.assertEqual({*self.waiting(), *self.stored_lines()}, set(self.lines))
            self.check_delivery()

        self.fail_at_each(self.let_wait, self.deliver, check_after)


class KilledSpool(Spooling, KilledDisk):
    step = 1 if LONG else 2

    def test_spool(self):
        """The store is away."""
        tally = self.kill_at_each(self.take_away, self.send, self.check_delivery)
        for step in ("create", "write", "fsync", "rename"):
            self.assertTrue(any(step == each.name and "spool" in each.place for each in tally.counts), step)
        print(tally)

    def test_delivery(self):
        self.use_for_all(self.disk)

        def check_after() -> None:
            self.assertEqual({*self.waiting(), *self.stored_lines()}, set(self.lines))
            self.check_delivery()

        print(self.kill_at_each(self.let_wait, self.deliver, check_after))


class Following(Spooling):
    """A file that is followed: store, index, spool and how far it was read are on one disk."""

    store_is_on_disk = True
    places = ("state", "temporary state")

    def setUp(self) -> None:
        super().setUp()
        self.line_ends = [0, *itertools.accumulate(len(line) + 1 for line in self.lines)]

    def follow_the_first(self) -> None:
        """A third of the file came before; what that left on the disk is what start_there() puts there."""
        self.path.write_bytes(harness.joined(self.lines[:len(self.lines) // 3]))
        self.follow()
        self.before = shutil.copytree(self.disk, self.dir / "before")
        with open(self.path, "ab") as file:
            file.write(harness.joined(self.lines[len(self.lines) // 3:]))

    def start_there(self) -> None:
        shutil.copytree(self.before, self.disk, dirs_exist_ok=True)

    def reached(self) -> int:
        """How far the file was read, as the next command will believe; the file that says so is whole."""
        files = list((self.state / "runctl/follow").glob("[!.]*"))
        self.assertLessEqual(len(files), 1)
        return json.loads(files[0].read_bytes())["offset"] if files else 0

    def follow(self, fault: str | None = None) -> harness.Result:
        """Until all was read, or it cannot go on."""
        def is_done() -> bool:
            return self.reached() == self.path.stat().st_size and (fault or not self.spooled())

        self.began = self.reached()
        error = self.dir / "error"
        # The signal must not come while the library that makes the faults allocates memory, as it does before any
        # write: one that meets a fault has come to rest when it comes, another may be starting.
        faulty = self.faulty(fault) if fault else contextlib.nullcontext(self.environment)
        with faulty as environment, open(error, "wb") as err:
            child = subprocess.Popen([harness.binary(), "--store", self.store, "ingest", "--follow", self.path,
                                      "--flush-interval", "50ms", "--batch-bytes", "40000"],
                                     cwd=self.dir, env=environment, stdin=subprocess.DEVNULL, stderr=err)
            self.addCleanup(child.kill)
            self.wait_until(lambda: child.poll() is not None or is_done() or b"no more is read" in error.read_bytes(),
                            "it does not come to the end")
            self.wait_until_signals_are_caught(child)
            child.send_signal(signal.SIGTERM)
            child.wait(self.timeout)
        return harness.Result(child.returncode, b"", error.read_bytes())

    def check_followed(self, result: harness.Result) -> None:
        """No line that counts as read is anywhere but in the store or in the spool."""
        place = self.reached()
        self.assertIn(place, self.line_ends)
        self.assertGreaterEqual(place, self.began)
        read = self.lines[:self.line_ends.index(place)]
        self.assertLessEqual(set(read), {*self.waiting(), *self.stored_lines()})
        if is_killed(result):
            return
        self.assertIn(result.status, (FAILED, INTERRUPTED), str(result))
        errors = self.errors_of(result)
        self.assertEqual(len(errors), 1 if result.status == FAILED else 0, str(result))
        if result.status == INTERRUPTED:
            self.assertEqual(len(read), len(self.lines))

    def errors_of(self, result: harness.Result) -> list[bytes]:
        return [line for line in super().errors_of(result) if not line.startswith(b"runctl: interrupted: ")]

    def check_rest(self) -> None:
        """With the disk well again, the same command does what is left."""
        result = self.follow()
        self.assertEqual((result.status, self.reached(), self.waiting()), (INTERRUPTED, self.line_ends[-1], []))
        # A batch that was stored and not recorded may be cut anew; its runs count once all the same.
        self.runctl("verify", "--repair", "-q")
        self.assertEqual(set(self.stored_lines()), set(self.lines))
        for again in (False, True)[:1 + LONG]:
            if again:
                self.runctl("index", "rebuild", "-q")
            self.assertEqual(self.runs_in_index(), len(self.lines))
            self.assertEqual(sorted(self.get_listed(self.ids, "--all-versions", "--no-sync")), sorted(self.lines))


class FullFollowing(Following, SmallDisk):
    sizes = 60 if LONG else 5

    def follow_on_full_disk(self) -> harness.Result:
        result = self.follow()
        self.check_followed(result)
        self.assertEqual(list(self.state.glob("runctl/*/.*.tmp")), [])
        errors = self.errors_of(result)
        return harness.Result(result.status if errors else DONE, b"", b"".join(line + b"\n" for line in errors))

    def test_state(self):
        """Only what says how far it came."""
        self.use(self.small / "disk")
        self.store = self.dir / "store"
        self.environment.update(RUNCTL_INDEX=str(self.dir / "index"))
        self.sweep(lambda: self.anew(self.store, *self.small.glob("*"), *self.dir.glob("index*")),
                   self.follow_on_full_disk, self.check_rest)

    def test_one_disk_for_all(self):
        self.use(self.small / "disk")
        self.sweep(lambda: self.anew(*self.small.glob("*")), self.follow_on_full_disk, self.check_rest)


class FailingFollowing(Following, FailingDisk):
    def test_each_step(self):
        def check_after(result: harness.Result) -> None:
            self.check_followed(result)
            self.check_rest()

        self.follow_the_first()
        self.fail_at_each(self.start_there, self.follow, check_after)


class KilledFollowing(Following, KilledDisk):
    def test_each_step(self):
        def run(fault: str) -> harness.Result:
            result = self.follow(fault)
            self.check_followed(result)
            return result

        self.follow_the_first()
        print(self.kill_at_each(self.start_there, run, self.check_rest))


if __name__ == "__main__":
    harness.main()
