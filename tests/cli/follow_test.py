"""`ingest --follow`: a file that grows, is rotated, is truncated; and where it stopped, it goes on."""

import os
import random
import signal
import subprocess
import time

import harness
from harness import LONG, USAGE, joined, make_run, make_runs, run_id


class Follow(harness.CliTest):
    def setUp(self) -> None:
        super().setUp()
        self.log = self.dir / "app.log"
        self.log.write_bytes(b"")
        self.number = 0
        self.runs = {}

    def more(self, count: int) -> bytes:
        runs = make_runs(count, start=self.number)
        self.number += count
        self.runs.update(runs)
        return joined(runs.values())

    def append(self, data: bytes, path=None) -> None:
        with open(path or self.log, "ab") as log:
            log.write(data)

    def start(self, *arguments) -> subprocess.Popen:
        self.err = open(self.dir / "err", "ab")
        self.addCleanup(self.err.close)
        child = subprocess.Popen([harness.binary(), "--store", self.store, "ingest", "--follow", self.log,
                                  "--flush-interval", "100ms", *arguments],
                                 cwd=self.dir, env=self.environment, stdin=subprocess.DEVNULL, stderr=self.err)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return child

    def said(self) -> bytes:
        return (self.dir / "err").read_bytes()

    def wait_for_all(self) -> None:
        self.wait_until(lambda: self.runs_in_index() == len(self.runs),
                        lambda: f"{self.runs_in_index()} of {len(self.runs)} are stored; {self.said()!r}")

    def stop(self, child: subprocess.Popen, sign: int = signal.SIGTERM) -> bytes:
        """What it said at its end."""
        self.wait_until_signals_are_caught(child)
        child.send_signal(sign)
        child.wait(self.timeout)
        self.assertEqual(child.returncode, 128 + sign, self.said())
        return self.said().splitlines()[-1]

    def check_all(self) -> None:
        self.assert_comes_back(self.runs)
        self.assertEqual(self.runs_in_index(), len(self.runs))
        stored = [line for path in self.objects() for line in harness.split_lines(harness.unzstd(path))]
        self.assertEqual(sorted(stored), sorted(self.runs.values()), "every run lies in the store exactly once")

    def test_a_growing_file_and_where_it_stopped(self):
        self.append(self.more(10))
        child = self.start()
        self.wait_for_all()
        for _ in range(3):
            line = self.more(5)
            self.append(line[:37])
            time.sleep(0.3)
            self.append(line[37:])
            self.wait_for_all()
        self.append(b'{"id": "half')
        time.sleep(0.3)
        self.assertIn(b"read 25, stored 25, duplicate 0", self.stop(child))
        self.runs['half'] = b'{"id": "half"}'
        self.append(b'"}\n' + self.more(3))
        child = self.start()
        self.wait_for_all()
        # Nothing was read twice.
        self.assertIn(b"read 4, stored 4, duplicate 0", self.stop(child, signal.SIGINT))
        self.check_all()

    def test_rotation(self):
        self.append(self.more(10))
        child = self.start()
        self.wait_for_all()
        rotated = self.dir / "app.log.1"
        for _ in range(2):
            self.append(self.more(5)[:-1])  # the last line has no newline
            self.log.rename(rotated)
            self.log.write_bytes(self.more(5))
            self.append(b"\n" + self.more(5), rotated)  # its writer has it open for a while
            self.wait_for_all()
        self.assertIn(b"read 40, stored 40, duplicate 0, rejected 0", self.stop(child))
        self.check_all()

    def test_rotation_while_nobody_reads(self):
        self.append(self.more(10))
        child = self.start()
        self.wait_for_all()
        self.stop(child)
        self.append(self.more(5))
        self.log.rename(self.dir / "app.log.1")
        self.log.write_bytes(self.more(5))
        child = self.start()
        self.wait_for_all()
        self.assertIn(b"read 10, stored 10, duplicate 0", self.stop(child))
        # Twice, and the file is gone: it says so, and reads what is there.
        self.append(self.more(1))
        (self.dir / "app.log.1").unlink()
        self.log.unlink()
        self.log.write_bytes(self.more(5))
        self.runs.pop(run_id(self.number - 6))
        child = self.start()
        self.wait_for_all()
        self.stop(child)
        self.assertIn(b"is not the file that was read up to byte", self.said())
        self.check_all()

    def test_truncation(self):
        self.append(self.more(10))
        child = self.start()
        self.wait_for_all()
        for count in (3, 30):  # shorter than before, and longer
            data = self.more(count)
            with open(self.log, "r+b") as log:  # as logrotate's copytruncate, and the writer goes on at once
                log.truncate(0)
                log.write(data)
            self.wait_for_all()
        self.assertIn(b"read 43, stored 43, duplicate 0", self.stop(child))
        self.assertEqual(self.said().count(b"was truncated"), 2, self.said())
        with open(self.log, "r+b") as log:
            log.truncate(0)
            log.write(self.more(50))
        child = self.start()
        self.wait_for_all()
        self.assertIn(b"read 50, stored 50, duplicate 0", self.stop(child))
        self.check_all()

    def test_truncation_of_what_is_not_read_yet(self):
        """The store is away, the spool is full: what the reader has before it is cut, and written anew."""
        def much(count: int) -> bytes:
            first, self.number = self.number, self.number + count
            self.runs = {run_id(n): make_run(n, outputs=harness.noise(n, 600)) for n in range(first, self.number)}
            return joined(self.runs.values())

        self.store.mkdir()
        (self.store / "runs").write_bytes(b"")
        self.append(much(15_000))
        child = self.start("--batch-bytes", "200000", "--spool-max", "300KB", "--jobs", "1")
        self.wait_until(lambda: b"is full (--spool-max)" in self.said(), self.said)
        time.sleep(0.5)
        with open(self.log, "r+b") as log:
            log.truncate(0)
            log.write(much(15_000))
        (self.store / "runs").unlink()
        last = list(self.runs)[-1]
        self.wait_until(lambda: self.run_plain("--store", self.store, "get", "--no-sync", last).status == 0, self.said)
        self.stop(child)
        self.assertIn(b"was truncated", self.said())
        self.assert_comes_back(self.runs)

    def test_rejects_name_their_line(self):
        self.append(self.more(3) + b"nonsense\n" + self.more(2))
        child = self.start()
        self.wait_for_all()
        self.stop(child)
        self.assertIn(b"app.log:4:", self.said())
        self.append(self.more(1) + b"more nonsense\n")
        child = self.start()
        self.wait_for_all()
        self.wait_until(lambda: b"app.log:8:" in self.said(), self.said)
        self.stop(child)
        # Only rejects and duplicates came: that is remembered too.
        child = self.start()
        time.sleep(0.5)
        self.assertIn(b"read 0,", self.stop(child))

    def test_rejects_are_added(self):
        """What an earlier command rejected is not read again: its bytes stay in the file."""
        rejects = self.dir / "rejects"
        for text in (b"one\n", b"two\n", b"three\n"):
            self.append(self.more(2) + text)
            child = self.start("--rejects", rejects)
            self.wait_until(lambda text=text: rejects.exists() and text[:-1] in rejects.read_bytes(), self.said)
            self.wait_for_all()
            self.stop(child)
        self.assertEqual(rejects.read_bytes(), b"one\ntwo\nthree\n")
        rejects.write_bytes(b"one")  # as a command leaves it that is killed
        self.append(self.more(1) + b"four\n" + self.more(1))
        child = self.start("--rejects", rejects)
        self.wait_for_all()
        child.kill()
        child.wait()
        self.assertEqual(rejects.read_bytes(), b"one\nfour", "written before the runs behind it are told as stored")

    def test_kills(self):
        chosen = random.Random(5)
        known = False
        for _ in range(60 if LONG else 9):
            child = self.start("--batch-bytes", "4000")
            self.append(self.more(chosen.randrange(1, 200)))
            if not known:  # what is rotated twice before it was seen is not found
                self.wait_for_all()
                self.stop(child)
                known = True
                continue
            time.sleep(chosen.uniform(0, 0.5))
            child.kill()
            child.wait()
            if chosen.random() < 0.4:
                known = False
                self.log.replace(self.dir / "app.log.1")
                self.log.write_bytes(self.more(10))
        child = self.start()
        self.wait_for_all()
        self.stop(child)
        # A batch that was stored but not recorded is cut anew; its runs count once all the same.
        self.runctl("verify", "--repair", "-q")
        for _ in range(2):
            self.assertEqual(self.runs_in_index(), len(self.runs))
            self.assertEqual(sorted(self.get_listed(self.runs, "--all-versions")), sorted(self.runs.values()))
            self.runctl("index", "rebuild", "-q")

    def test_a_growing_file_without_follow(self):
        """The same command on a file that has grown stores only what is new."""
        self.append(self.more(1000))
        self.assert_counts(self.ingest(self.log), stored=1000)
        before = self.objects()
        self.append(self.more(7))
        self.assert_counts(self.ingest(self.log), read=1007, stored=7, duplicate=1000)
        self.assertEqual(len(self.objects()), len(before) + 1)
        self.check_all()

    def test_what_makes_no_sense(self):
        os.mkfifo(self.dir / "fifo")
        packed = self.write("packed.gz", harness.tool(["gzip", "-c"], make_run(1)))
        for arguments in ([], ["-"], [self.log, self.log], [self.dir / "none"], [self.dir], [self.dir / "fifo"],
                          [self.log, "--new-ids"], [self.log, "--dry-run"], [self.log, "--drain"], [packed]):
            self.runctl("ingest", "--follow", *arguments, status=USAGE)


if __name__ == "__main__":
    harness.main()
