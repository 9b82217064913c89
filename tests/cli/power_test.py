"""The power is cut, and what was not synced is gone: tests/disk/faulty_disk.cpp takes it back.

Whatever a command has reported as done is still there. The index may miss its last batches after that (it syncs
less often than it commits); the store is the truth, and no more is needed than what any index that fell behind needs.
"""

import json

import harness
from disk import DiskTest, Tally, is_killed
from harness import DONE, LONG

LOTS, STEP = (8, 8) if LONG else (2, 12)  # ways in which some of what was not synced stays all the same


class PowerCut(DiskTest):
    def cuts(self, operations) -> list[str]:
        """At the end of the program, and at its operations."""
        numbers = [0] + self.chosen(operations)
        return [f"cut:{n}" for n in numbers] + [f"cut:{n}:{lot}" for lot in range(LOTS) for n in numbers[lot::STEP]]

    def check_cut(self, fault: str, command) -> bool:
        """Cuts the power in the command and checks what every cut must leave; whether the command had ended."""
        result = self.meet(fault, *command)
        self.assertTrue(is_killed(result) or result.status == DONE, str(result))
        self.behind += self.check_accounts()
        if result.status == DONE:
            self.assertEqual(sorted(self.stored_lines()), sorted(self.lines), "stored, it was said")
        return result.status == DONE

    def setUp(self) -> None:
        super().setUp()
        self.behind = 0  # batches that an index missed

    def test_ingest(self):
        tally, ends = Tally(), 0
        for fault in self.cuts(self.all_operations(*self.command)):
            self.forget()
            with self.subTest(fault):
                ended = self.check_cut(fault, self.command)
                ends += ended
                if not ended:
                    tally.note(self.operations[-1])
                if self.store.exists():
                    repaired = self.run_plain("--store", self.store, "verify", "--repair", "--json")
                    self.assertEqual((repaired.status, json.loads(repaired.out)["orphans"]), (DONE, 0), str(repaired))
                self.runctl(*self.command)
                self.check_all()
        self.assertGreater(ends, 0)
        print(f"{sum(tally.counts.values()) + ends} cuts, {ends} at the end; the index missed {self.behind} batches: {tally}")

    def test_after_a_kill(self):
        """An ingest is killed, the same command ends well, the power is cut: what the killed one did and did not sync
        is as much at stake as what the second did."""
        carried = self.dir / "carried"
        self.environment.update(FAULTY_DISK_CARRY=str(carried))
        operations = self.all_operations(*self.command)
        # What lies in the index may be lost; of the store each operation counts.
        stores = [n for n, operation in enumerate(operations, 1) if "index" not in operation.place]
        numbers = sorted({*stores, *self.chosen(operations)}) if LONG else stores
        for between in ([], [["index", "sync", "-q"]], [["verify", "--repair", "-q"]]):
            for n in numbers[::1 if LONG or not between else 2]:
                self.forget()
                carried.unlink(missing_ok=True)
                with self.subTest(between=between, operation=operations[n - 1], number=n):
                    self.assertTrue(is_killed(self.meet(f"kill:{n}", *self.command)))
                    for command in between:
                        result = self.meet("kill:0", *command)
                        # Before there is a store, there is nothing to look at.
                        self.assertTrue(result.status == DONE or not self.store.exists(), str(result))
                    result = self.meet("cut:0", *self.command)
                    self.assertEqual(result.status, DONE, str(result))
                    self.assertEqual(sorted(self.stored_lines()), sorted(self.lines), "stored, it was said")
                    self.check_accounts()
        print(f"{len(numbers)} kills, a second program or two, a cut")

    def test_what_was_stored_before_stays(self):
        """An index and batches that are there, more of the same set goes in, the power is cut."""
        half = len(self.lines) // 2
        first = self.write("first.ndjson", harness.joined(self.lines[:half]))

        def prepare() -> None:
            self.forget()
            self.runctl("ingest", "-q", "--batch-bytes", "30000", first)

        prepare()
        cuts = self.cuts(self.all_operations(*self.command))
        for fault in cuts:
            prepare()
            with self.subTest(fault):
                self.check_cut(fault, self.command)
                got = self.get_listed(self.ids, "--all-versions", status=None)
                self.assertLessEqual(set(self.lines[:half]), set(got))
                self.assertLessEqual(set(got), set(self.lines), "wrong bytes")
                self.runctl(*self.command)
                self.check_all()
        print(f"{len(cuts)} cuts; the index missed {self.behind} batches")

    def test_rebuild(self):
        def prepare() -> None:
            self.forget()
            self.runctl(*self.command)

        prepare()
        command = ["index", "rebuild", "-q"]
        cuts = self.cuts(self.all_operations(*command))
        for fault in cuts:
            prepare()
            with self.subTest(fault):
                self.check_cut(fault, command)
                self.runctl("index", "sync", "-q")
                self.check_all()
        print(f"{len(cuts)} cuts")

    def test_output(self):
        """A file that --output names is the old one or the whole new one."""
        self.runctl(*self.command)
        old = b"what was there\n"
        target = self.disk / "runs.out"
        command = ["get", "--output", target, *(i.decode() for i in self.ids)]
        target.write_bytes(old)
        cuts = self.cuts(self.all_operations(*command))
        whole = target.read_bytes()
        self.assertEqual(len(harness.split_lines(whole)), len(self.ids))
        for fault in cuts:
            target.write_bytes(old)
            with self.subTest(fault):
                result = self.meet(fault, *command)
                possible = (whole,) if result.status == DONE else (old, whole)
                self.assertTrue(target.read_bytes() in possible, "neither the old file nor the whole new one")
        print(f"{len(cuts)} cuts")

    def test_cache(self):
        """What the cache keeps is not synced; it is checked when it is read."""
        self.runctl(*self.command)
        reading = ["--cache-dir", self.disk / "cache", "get", "--all-versions", "-"]
        ids = b"\n".join(self.ids)
        cuts = self.cuts(self.all_operations(*reading, input=ids))
        for fault in cuts:
            with self.subTest(fault):
                self.meet(fault, *reading, input=ids)
                result = self.runctl(*reading, stdin=ids)
                self.assertEqual((sorted(result.lines), result.err), (sorted(self.lines), b""))
                self.runctl("--cache-dir", self.disk / "cache", "cache", "clear", "-q")
        print(f"{len(cuts)} cuts")


if __name__ == "__main__":
    harness.main()
