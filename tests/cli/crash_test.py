"""`kill -9` of an ingest, at random instants and at each of its steps on the disk; the same command again; then every
run is there exactly once."""

import json
import random
import re
import signal
import subprocess
import time

import harness
from disk import KilledDisk
from harness import DONE, LONG, NOT_FOUND

KILLS = 300 if LONG else 25
FIRST_ID = re.compile(rb'"id": ?"([^"\\]+)"')


class Crash(harness.CliTest):
    def setUp(self) -> None:
        super().setUp()
        lines = harness.split_lines(harness.unzstd(self.real_data("agent/intercode.ndjson.zst")))
        self.lines = list(dict.fromkeys(lines))[:4000]
        self.path = self.write("runs.ndjson", harness.joined(self.lines))
        # Many small batches: many instants between a batch's being stored and its being recorded.
        self.command = ["ingest", "-q", "--batch-bytes", "30000", self.path]
        self.orphans = 0

    def kill_after(self, seconds: float) -> bool:
        """False where it was done before."""
        child = subprocess.Popen([harness.binary(), "--store", self.store, *self.command], cwd=self.dir,
                                 env=self.environment, stderr=subprocess.PIPE)
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
        _, err = child.communicate()
        self.assertIn(child.returncode, (DONE, -signal.SIGKILL), err)
        return child.returncode != DONE

    def check_orphans(self) -> None:
        """What a killed ingest left unrecorded is named, and nothing else is the matter."""
        if not self.store.exists():
            return
        result = self.run_plain("--store", self.store, "verify", "--json")
        report = json.loads(result.out)
        self.assertEqual(report["corrupt"], 0, str(result))
        self.assertEqual(result.status, NOT_FOUND if report["orphans"] else DONE)
        recorded = json.loads(self.runctl("index", "status", "--json").out)["batches"]
        self.assertEqual(report["orphans"], len(self.objects()) - recorded, "a batch is not accounted for")
        self.assertLessEqual(report["orphans"], 2, "one batch is stored while another is recorded")
        self.orphans += report["orphans"]
        if report["orphans"] and random.Random(self.orphans).random() < 0.5:
            repaired = json.loads(self.runctl("verify", "--repair", "--json").out)
            self.assertEqual((repaired["adopted"], repaired["orphans"]), (report["orphans"], 0))

    def check_all(self) -> None:
        stored = [line for path in self.objects() for line in harness.split_lines(harness.unzstd(path))]
        self.assertEqual(sorted(stored), sorted(self.lines), "every run lies in the store exactly once")
        for command in (["verify", "--read-data", "-q"], ["index", "rebuild", "-q"], ["verify", "--read-data", "-q"]):
            self.runctl(*command)
            status = json.loads(self.runctl("index", "status", "--json").out)
            self.assertEqual((status["runs"], status["batches"]), (len(self.lines), len(self.objects())))
        ids = list(dict.fromkeys(FIRST_ID.search(line)[1] for line in self.lines))
        got = self.get_listed(ids, "--all-versions", "--no-sync")
        self.assertEqual(sorted(got), sorted(self.lines))

    def test_kills(self):
        chosen = random.Random(7)
        began = time.monotonic()
        self.runctl(*self.command, store=self.dir / "for the time it takes")
        whole = time.monotonic() - began
        kills = 0
        while kills < KILLS:
            # One history: killed several times, then the same command to its end.
            for _ in range(5):
                kills += self.kill_after(chosen.uniform(0, whole * 0.6))
                self.check_orphans()
            self.runctl(*self.command)
            self.check_all()
            self.store.rename(self.dir / f"done {kills}")
            for path in (self.home / "state").rglob("*.sqlite*"):
                path.unlink()
        print(f"{kills} kills, {self.orphans} orphans named")


class EachStep(KilledDisk):
    def setUp(self) -> None:
        super().setUp()
        self.chosen_by_lot = random.Random(11)
        self.orphans = self.adopted = 0

    def kill_in(self, command, prepare=lambda: None):
        return self.kill_at_each(prepare, lambda fault: self.meet(fault, *command), lambda: self.check_after(command))

    def check_after(self, command) -> None:
        """What is not recorded is named, and adopted if that is asked for; the same command makes it whole."""
        orphans = self.check_accounts()
        self.assertLessEqual(orphans, 2, "one batch is stored while another is recorded")
        self.orphans += orphans
        if orphans and self.chosen_by_lot.random() < 0.5:
            repaired = json.loads(self.runctl("verify", "--repair", "--json").out)
            self.assertEqual((repaired["adopted"], repaired["orphans"]), (orphans, 0))
            self.adopted += 1
        self.runctl(*command)
        self.check_all()

    def test_ingest(self):
        tally = self.kill_in(self.command)
        places = set(tally.counts)
        for step in (("create", "temporary batch"), ("write", "temporary batch"), ("fsync", "temporary batch"),
                     ("rename", "batch"), ("fsync", "directory"), ("mkdir", "directory"), ("rename", "index"),
                     ("pwrite", "index's log"), ("fdatasync", "index"), ("unlink", "index's log")):
            self.assertIn(step, places, "a step that was expected did not come")
        self.assertGreater(self.orphans, 0)
        print(f"{sum(tally.counts.values())} kills, {self.orphans} orphans named, {self.adopted} adopted: {tally}")

    def test_rebuild(self):
        """Whoever is killed in a rebuild leaves the index that was there, or the new one."""
        def prepare() -> None:
            self.runctl(*self.command)

        tally = self.kill_in(["index", "rebuild", "-q"], prepare)
        print(f"{sum(tally.counts.values())} kills: {tally}")


if __name__ == "__main__":
    harness.main()
