"""Full and failing disks, and kills at each step, where `--metrics-file` lies: the metrics are the old ones or the new
ones, whole; and whatever becomes of them, no run is lost."""

import pathlib
import subprocess

import exposition
import harness
from disk import DiskTest, FailingDisk, KilledDisk, SmallDisk, is_killed
from harness import DONE, FAILED, LONG


class Measured(DiskTest):
    """Only the file of the metrics is on the disk."""

    runs = 60

    def use(self, disk: pathlib.Path) -> None:
        super().use(disk)
        self.store = self.dir / "store"
        self.environment.update(RUNCTL_INDEX=str(self.dir / "index"))
        self.file = disk / "job.prom"

    def prepare(self) -> None:
        """The metrics are there, of an ingest of the first runs."""
        # The filler of a full disk, too.
        subprocess.run(["rm", "-rf", self.store, *self.dir.glob("index*"), *self.disk.glob("*")], check=True)
        first = self.write("first.ndjson", harness.joined(self.lines[:20]))
        self.runctl("ingest", "-q", "--metrics-file", self.file, first)

    def runs_read(self) -> float:
        """As the metrics say, which are whole."""
        metrics = exposition.Metrics(self.file.read_bytes())
        self.assertEqual(metrics.one("runctl_build_info"), 1)
        return metrics.one("runctl_runs_read_total")

    def ingest_measured(self, fault: str = "kill:0") -> harness.Result:
        self.old, self.read_before = self.file.read_bytes(), self.runs_read()
        return self.meet(fault, "ingest", "-q", "--metrics-file", self.file, self.path)

    def check_measured(self, result: harness.Result) -> None:
        """Whatever became of the metrics, all runs are stored."""
        self.check_all(rebuild=False)
        is_new = self.file.read_bytes() != self.old
        if is_new:
            self.assertEqual(self.runs_read(), self.read_before + len(self.lines))
        if result.status == FAILED:
            self.assert_clear_failure(result)
            self.assertIn(b"runctl: --metrics-file: %s" % bytes(self.disk), result.err)
        elif not is_killed(result):
            self.assertEqual((result.status, result.err, is_new), (DONE, b"", True))

    def check_again(self) -> None:
        """With the disk well again the counters go on."""
        self.check_measured(self.ingest_measured())


class FullMeasured(Measured, SmallDisk):
    sizes = 24 if LONG else 6
    runs = 60

    def test_metrics(self):
        self.use(self.small)

        def ingest() -> harness.Result:
            result = self.ingest_measured()
            self.check_measured(result)
            self.assertEqual(list(self.small.glob(".*")), [])
            if result.status != DONE:
                self.assertEqual(self.file.read_bytes(), self.old)
            return result

        self.sweep(self.prepare, ingest, lambda: None)


class FailingMeasured(Measured, FailingDisk):
    step = 1

    def test_metrics(self):
        def check_after(result: harness.Result) -> None:
            self.check_measured(result)
            self.check_again()

        self.fail_at_each(self.prepare, self.ingest_measured, check_after)


class KilledMeasured(Measured, KilledDisk):
    def test_metrics(self):
        def run(fault: str) -> harness.Result:
            result = self.ingest_measured(fault)
            self.check_measured(result)
            return result

        print(self.kill_at_each(self.prepare, run, self.check_again))


if __name__ == "__main__":
    harness.main()
