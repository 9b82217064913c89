"""A pipe that stays open: what came through it is stored soon, whatever comes next."""

import gzip
import os
import subprocess
import time

import harness
from harness import CORRUPT, USAGE, joined, make_run, make_runs, run_id


class Stream(harness.CliTest):
    def start(self, *arguments) -> subprocess.Popen:
        child = subprocess.Popen([harness.binary(), "--store", self.store, "ingest", *arguments, "-"], cwd=self.dir,
                                 env=self.environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(child.stderr.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return child

    def send(self, child: subprocess.Popen, data: bytes) -> None:
        child.stdin.write(data)
        child.stdin.flush()

    def wait_for(self, number: int, run: bytes) -> float:
        """How long it takes until `get` prints the run."""
        began = time.monotonic()
        while time.monotonic() - began < 60:
            # Without a sync: that might record a batch before the ingest does, which would count it as a duplicate.
            result = self.run_plain("--store", self.store, "get", "--no-sync", run_id(number))
            if result.lines == [run]:
                return time.monotonic() - began
            time.sleep(0.05)
        self.fail(f"run {number} was not stored")

    def finish(self, child: subprocess.Popen) -> bytes:
        _, err = child.communicate(timeout=self.timeout)
        self.assertEqual(child.returncode, 0, err)
        return err

    def test_a_quiet_pipe(self):
        child = self.start("--flush-interval", "200ms")
        for number in range(3):
            self.send(child, make_run(number) + b"\n" + make_run(number + 10)[:15])
            self.wait_for(number, make_run(number))
            self.send(child, make_run(number + 10)[15:] + b"\n")
            self.wait_for(number + 10, make_run(number + 10))
        self.assertIn(b"stored 6", self.finish(child))
        self.runctl("verify", "--read-data", "-q")

    def test_the_default(self):
        child = self.start()
        self.send(child, make_run(1) + b"\n")
        self.assertLess(self.wait_for(1, make_run(1)), 20)
        self.finish(child)

    def test_a_pretty_record_and_a_compressed_stream(self):
        child = self.start("--flush-interval", "100ms")
        self.send(child, b'{\n "id": "%s"\n}\n' % run_id(1).encode())
        self.wait_for(1, b'{  "id": "%s" }' % run_id(1).encode())
        self.finish(child)
        child = self.start("--flush-interval", "100ms")
        packed = gzip.compress(make_run(2) + b"\n") + gzip.compress(make_run(3) + b"\n")
        half = len(gzip.compress(make_run(2) + b"\n"))
        self.send(child, packed[:2])
        time.sleep(0.5)
        self.send(child, packed[2:half])
        self.wait_for(2, make_run(2))
        self.send(child, packed[half:])
        self.wait_for(3, make_run(3))
        self.finish(child)

    def test_off(self):
        child = self.start("--flush-interval", "0")
        self.send(child, make_run(1) + b"\n")
        time.sleep(1)
        self.assertEqual(self.objects(), [])
        self.finish(child)
        self.assertEqual(len(self.objects()), 1)

    def test_a_steady_pipe(self):
        """Lines all the time: they are stored while the pipe is open, and not one batch each."""
        child = self.start("--flush-interval", "500ms")
        runs = make_runs(300)
        began = time.monotonic()
        for run in runs.values():
            self.send(child, run + b"\n")
            time.sleep(0.01)
        self.wait_for(299, runs[run_id(299)])
        self.finish(child)
        self.assertGreater(len(self.objects()), 1)
        self.assertLessEqual(len(self.objects()), 1 + (time.monotonic() - began) / 0.5)
        self.assert_comes_back(runs)

    def test_files_are_cut_by_size_alone(self):
        path = self.write("runs.ndjson", joined(make_runs(5000).values()))
        self.ingest(path, "--flush-interval", "1ms")
        self.only_object()

    def test_nothing_is_taken_of_a_pipe_that_nothing_can_be_done_with(self):
        """Of a file blocks are read before the index is opened; of a pipe they would be lost where that fails."""
        broken = self.write("broken", b"no database, but long enough to be taken for one" * 9)
        data = joined(make_runs(50).values())
        reading, writing = os.pipe()
        with open(reading, "rb") as pipe, open(writing, "wb") as feed:
            feed.write(data)
            feed.flush()
            result = subprocess.run([harness.binary(), "--store", self.store, "--index", broken, "ingest", "-"],
                                    stdin=pipe, stderr=subprocess.PIPE, cwd=self.dir, env=self.environment,
                                    timeout=self.timeout, check=False)
            feed.close()
            self.assertEqual(result.returncode, CORRUPT)
            self.assertIn(b"broken: ", result.stderr)
            self.assertEqual(pipe.read(), data)

    def test_a_broken_index_ends_the_reading_of_a_file(self):
        """Which is held up by then: it is longer than what is read ahead."""
        broken = self.write("broken", b"no database, but long enough to be taken for one" * 9)
        path = self.write("runs", joined(make_run(n, outputs="x" * 100_000) for n in range(200)))
        self.assert_message(self.runctl("--index", broken, "ingest", "-q", path, status=CORRUPT), "broken: ")

    def test_what_is_no_time(self):
        for text in ("-1s", "soon", "1us", "2d", ""):
            self.assert_message(self.runctl("ingest", f"--flush-interval={text}", status=USAGE), "--flush-interval")


if __name__ == "__main__":
    harness.main()
