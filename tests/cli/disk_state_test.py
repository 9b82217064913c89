"""Full and failing disks, and kills at each step, where runctl keeps what is no batch in a store: the spool, how far a
followed file was read, and the metrics.

Whatever happens, each run is stored, or waits in the spool, or the command says that it failed and how much it cost;
with the disk well again and the same command once more, every run is there exactly once.
"""

import hashlib
import itertools
import json
import pathlib
import re
import signal
import subprocess

import exposition
import harness
from disk import DiskTest, FailingDisk, KilledDisk, SmallDisk, is_killed
from harness import DONE, FAILED, LONG

SPOOLED = re.compile(r"(\d{20})\.(\d{4}-\d\d-\d\d|mixed)\.([0-9a-f]{64})\.ndjson\.zst")
WAIT = re.compile(rb"^runctl: (?:.*; )?([\d,]+) runs? in [\d,]+ batch(?:es)? wait in .*ingest --drain", re.MULTILINE)
LOST = re.compile(rb"; ([\d,]+) runs? of those read are neither stored nor in the spool$", re.MULTILINE)
# What is told on the way: the ingest goes on.
ON_THE_WAY = (b"until it can be stored", b"no more is read until the store answers")


def number_in(pattern: re.Pattern, text: bytes) -> int:
    found = pattern.search(text)
    return int(found[1].replace(b",", b"")) if found else 0


class Spooling(DiskTest):
    """What comes through a pipe: three batches, as many as are read before one of them must have found a place."""

    runs = 150
    store_is_on_disk = False
    pipe = ["ingest", "-q", "--flush-interval", "0", "--batch-bytes", "40000", "-"]
    drain = ["ingest", "-q", "--drain"]

    def use(self, disk: pathlib.Path) -> None:
        super().use(disk)
        if not self.store_is_on_disk:
            self.store = self.dir / "store"
        self.state = disk / "state"
        self.environment.update(XDG_STATE_HOME=str(self.state))

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

    # --- checks ---

    def waiting(self) -> list[bytes]:
        """The lines of what waits; every file with a name of its own is a whole batch."""
        lines = []
        for path in sorted((self.state / "runctl/spool").glob("*/[!.]*")):
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

    def assert_no_temporary_file(self) -> None:
        self.assertEqual(list((self.state / "runctl/spool").glob("*/.*")), [])

    def check_delivery(self) -> None:
        """With disk and store well again."""
        self.bring_back()
        before = set(self.waiting())
        self.runctl(*self.drain)
        self.assertEqual(self.waiting(), [])
        self.assertLessEqual(before, set(self.stored_lines()))
        self.runctl(*self.pipe, stdin=self.stdin())
        self.check_all()


class FullSpool(Spooling, SmallDisk):
    sizes = 60 if LONG else 7

    def prepare(self) -> None:
        self.anew(self.store, *self.small.glob("*"), *self.dir.glob("index*"))

    def send_to_full_disk(self) -> harness.Result:
        """The errors alone; all is well where each run is stored or waits."""
        result = self.send()
        self.check_sent(result)
        self.assert_no_temporary_file()
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
        self.store_is_on_disk = True
        self.use(self.small / "disk")
        self.sweep(self.prepare, self.send_to_full_disk, self.check_delivery)

    def test_delivery(self):
        self.store_is_on_disk = True
        self.use(self.small / "disk")

        def prepare() -> None:
            self.prepare()
            self.take_away()
            self.send()
            self.bring_back()

        def check() -> None:
            self.assertEqual(self.waiting(), [])
            self.check_all()

        def deliver() -> harness.Result:
            result = self.deliver()
            self.assertEqual({*self.waiting(), *self.stored_lines()}, set(self.lines))
            return result

        self.sweep(prepare, deliver, check)


class FailingSpool(Spooling, FailingDisk):
    step = 1 if LONG else 6

    def check_after(self, result: harness.Result) -> None:
        self.check_sent(result)
        self.check_delivery()

    def test_spool(self):
        """The store is away."""
        self.fail_at_each(self.take_away, self.send, self.check_after)

    def test_one_disk_for_all(self):
        self.store_is_on_disk = True
        self.fail_at_each(lambda: None, self.send, self.check_after)

    def test_delivery(self):
        self.store_is_on_disk = True

        def prepare() -> None:
            self.take_away()
            self.send()
            self.bring_back()

        def check_after(result: harness.Result) -> None:
            self.assertIn(result.status, (DONE, FAILED))
            if result.status == DONE:
                self.assertEqual(self.waiting(), [])
            else:
                self.assert_clear_failure(result)
            self.assertEqual({*self.waiting(), *self.stored_lines()}, set(self.lines))
            self.check_delivery()

        self.fail_at_each(prepare, self.deliver, check_after)


if __name__ == "__main__":
    harness.main()
