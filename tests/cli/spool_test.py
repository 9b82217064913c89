"""A store that is away while a pipe brings runs: they wait in the spool, and nothing is lost or doubled."""

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import threading
import time

import harness
from harness import CORRUPT, DONE, FAILED, LONG, joined, make_run, make_runs, noise, run_id


class Spool(harness.CliTest):
    def setUp(self) -> None:
        super().setUp()
        self.spool = self.home / "state/runctl/spool"
        (self.store / "here").mkdir(parents=True)
        (self.store / "away").write_bytes(b"")
        self.bring_back()

    def take_away(self) -> None:
        """Until bring_back(), every batch fails to be stored: where the days' directories belong stands a file."""
        self.let_runs_be("away")

    def bring_back(self) -> None:
        self.let_runs_be("here")

    def let_runs_be(self, name: str) -> None:
        """From one instant to the next: what is stored meanwhile finds the one or the other."""
        link = self.store / "link"
        link.symlink_to(name)
        link.replace(self.store / "runs")

    def waiting(self) -> list[pathlib.Path]:
        return sorted(self.spool.glob("*/*.ndjson.zst"))

    def let_three_wait(self) -> None:
        """In files of their own, and the store is back."""
        self.take_away()
        for number in range(3):
            self.runctl("ingest", stdin=make_run(number) + b"\n", status=FAILED)
        self.bring_back()

    def start(self, *arguments) -> subprocess.Popen:
        child = subprocess.Popen([harness.binary(), "--store", self.store, "ingest", *arguments, "-"], cwd=self.dir,
                                 env=self.environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(child.stderr.close)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return child

    def check_all(self, runs: dict) -> None:
        """All of them are stored exactly once, and nothing waits."""
        self.assertEqual(self.waiting(), [])
        self.assert_comes_back(runs)
        self.runctl("verify", "--read-data", "-q")
        for _ in range(2):
            self.assertEqual(int(self.runctl("search", "--count").out), len(runs))
            self.runctl("index", "rebuild", "-q")

    def test_runs_wait_and_are_delivered(self):
        runs = make_runs(3000)
        self.take_away()
        result = self.runctl("ingest", "--json", "--batch-bytes", "50000", stdin=joined(runs.values()), status=FAILED)
        self.assert_counts(self.summary_of(result), read=3000, stored=0, duplicate=0, spooled=3000)
        self.assertLessEqual(len(result.messages), 2, str(result))
        self.assert_message(result, "3,000 runs in ", "ingest --drain", self.spool)
        self.assertEqual(result.err.count(b"cannot be made"), 1, "why is said once")
        self.assertEqual(self.spool.glob("*").__next__().stat().st_mode & 0o777, 0o700)
        waiting = [line for path in self.waiting() for line in harness.split_lines(harness.unzstd(path))]
        self.assertEqual(waiting, list(runs.values()), "in order, readable without us")
        # As long as it is away, nothing is lost by asking.
        self.assert_message(self.runctl("ingest", "--drain", status=FAILED), "cannot be made")
        self.assertGreater(len(self.waiting()), 1)
        self.assertIn(b"ingest --drain", self.run_plain("--store", self.store, "doctor").out)
        self.bring_back()
        result = self.runctl("ingest", "--drain")
        self.assert_message(result, "delivered ", "3,000 new runs")
        self.check_all(runs)
        self.assert_message(self.runctl("ingest", "--drain"), "nothing waits")

    def test_the_next_ingest_delivers(self):
        runs = make_runs(100)
        self.take_away()
        self.runctl("ingest", stdin=joined(runs.values()), status=FAILED)
        self.bring_back()
        # The same lines again, and new ones: what waited is stored first, so they are known.
        more = make_runs(20, start=90)
        summary = self.ingest_bytes(joined(more.values()))
        self.assert_counts(summary, read=20, stored=10, duplicate=10, delivered=100, spooled=0)
        self.check_all({**runs, **more})

    def test_a_file_is_still_there_and_does_not_wait(self):
        path = self.write("runs.ndjson", joined(make_runs(10).values()))
        self.take_away()
        self.assert_message(self.runctl("ingest", path, status=FAILED), "cannot be made")
        self.assertEqual(self.waiting(), [])

    def test_without_a_spool(self):
        self.take_away()
        self.runctl("ingest", "--spool-max", "0", stdin=joined(make_runs(10).values()), status=FAILED)
        self.assertEqual(self.waiting(), [])

    def test_a_store_that_comes_back_while_the_pipe_is_open(self):
        runs = make_runs(60)
        child = self.start("--flush-interval", "100ms")
        lines = iter(runs.values())

        def send(count: int) -> None:
            for _ in range(count):
                child.stdin.write(next(lines) + b"\n")
            child.stdin.flush()

        send(20)
        self.wait_until(lambda: self.runs_in_index() == 20, "the first are not stored")
        self.take_away()
        send(20)
        self.wait_until(lambda: len(self.waiting()) == 1, "the next do not wait")
        self.bring_back()
        self.wait_until(lambda: not self.waiting(), "what waits is not delivered before something new comes")
        send(20)
        _, err = child.communicate(timeout=self.timeout)
        self.assertEqual(child.returncode, DONE, err)
        self.assertIn(b"waits in", err)
        self.assertIn(b"stored 60,", err)
        self.check_all(runs)

    def test_a_batch_that_is_gone_is_not_called_stored(self):
        """Neither delivered by another process, nor there: whoever took it away is told."""
        self.take_away()
        child = self.start("--flush-interval", "50ms")
        child.stdin.write(joined(make_runs(5).values()))
        child.stdin.flush()
        self.wait_until(lambda: len(self.waiting()) == 1, "nothing comes to the spool")
        gone = self.waiting()[0]
        gone.unlink()
        _, err = child.communicate(timeout=self.timeout)
        self.assertEqual(child.returncode, FAILED, err)
        self.assertIn(b"%s: is gone" % os.fsencode(gone), err)
        self.assertIn(b"stored 0,", err)

    def test_the_latest_version_stays_the_latest(self):
        old, new = make_run(1, outputs="old"), make_run(1, outputs="new")
        self.take_away()
        for run in (old, new):
            self.runctl("ingest", stdin=run + b"\n", status=FAILED)
        self.bring_back()
        self.runctl("ingest", "--drain")
        self.assertEqual(self.get(run_id(1)), [new])
        self.assertEqual(self.get("--all-versions", run_id(1)), [new, old])

    def full(self, child: subprocess.Popen) -> tuple[dict, int]:
        """Writes to the pipe until it is held back; the runs that were written whole, and the bytes behind them."""
        os.set_blocking(child.stdin.fileno(), False)
        runs = {run_id(n): make_run(n, outputs=noise(n, 4000)) for n in range(6000)}
        whole = joined(runs.values())
        sent, quiet = 0, 0
        while quiet < 30:
            try:
                sent += os.write(child.stdin.fileno(), whole[sent:sent + 65536])
                quiet = 0
            except BlockingIOError:
                quiet += 1
                time.sleep(0.05)
        os.set_blocking(child.stdin.fileno(), True)
        self.assertLess(sent, len(whole), "it was not held back")
        lines = whole[:sent].count(b"\n")
        return dict(list(runs.items())[:lines]), sent - whole[:sent].rfind(b"\n") - 1

    def test_a_full_spool_holds_the_pipe_back(self):
        self.take_away()
        child = self.start("--batch-bytes", "200000", "--spool-max", "1MB")
        runs, _ = self.full(child)
        size = sum(path.stat().st_size for path in self.waiting())
        self.assertGreater(size, 500_000)
        self.assertLessEqual(size, 1 << 20)
        self.bring_back()
        child.stdin.write(b"\n")  # ends the line that is half in the pipe; it is no run
        _, err = child.communicate(timeout=self.timeout)
        self.assertIn(child.returncode, (DONE, harness.REJECTED), err)
        self.assertIn(b"is full (--spool-max)", err)
        self.check_all(runs)

    def test_a_signal_while_the_pipe_is_held_back(self):
        self.take_away()
        child = self.start("--batch-bytes", "200000", "--spool-max", "1MB")
        runs, _ = self.full(child)
        child.send_signal(signal.SIGTERM)
        child.wait(self.timeout)
        self.assertEqual(child.returncode, 143)
        err = child.stderr.read()
        read = int(re.search(rb"read (\d+), stored 0, duplicate 0, rejected 0, spooled (\d+)", err)[1])
        child.stdin.close()
        waiting = [line for path in self.waiting() for line in harness.split_lines(harness.unzstd(path))]
        self.assertEqual(waiting, list(runs.values())[:read], "all that was read waits")
        self.bring_back()
        self.runctl("ingest", "--drain")
        self.check_all(dict(list(runs.items())[:read]))

    def test_a_broken_file_stops_nothing(self):
        self.let_three_wait()
        broken = self.waiting()[1]
        data = bytearray(broken.read_bytes())
        data[len(data) // 2] ^= 1
        broken.write_bytes(data)
        result = self.runctl("ingest", "--drain", status=CORRUPT)
        self.assert_message(result, broken, "SHA-256")
        self.assertEqual(self.waiting(), [broken])
        self.assertEqual(self.get(run_id(0), run_id(2)), [make_run(0), make_run(2)])

    def test_a_file_that_cannot_be_read_stops_nothing(self):
        self.let_three_wait()
        unreadable = self.waiting()[1]
        kept = self.dir / "kept"
        unreadable.rename(kept)
        unreadable.symlink_to("/proc/self/mem")  # its first bytes are an input/output error
        result = self.runctl("ingest", "--drain", status=FAILED)
        self.assert_message(result, unreadable, "Input/output error")
        self.assertNotIn(b"nothing waits", self.runctl("ingest", "--drain", status=FAILED).err)
        self.assertEqual(self.waiting(), [unreadable])
        kept.replace(unreadable)
        self.runctl("ingest", "--drain")
        self.check_all(make_runs(3))

    def test_the_first_ingest_of_all(self):
        """There is no index yet, and the store cannot even be listed."""
        self.let_runs_be("runs")  # a link to itself
        runs = make_runs(30)
        result = self.runctl("ingest", stdin=joined(runs.values()), status=FAILED)
        self.assert_message(result, "30 runs in 1 batch wait in", "symbolic link")
        self.bring_back()
        self.runctl("ingest", "--drain")
        self.check_all(runs)

    def test_what_killed_writers_leave(self):
        """A half-written file takes room, as what it is; one that is old is of a writer that was killed."""
        self.take_away()
        self.runctl("ingest", stdin=make_run(0) + b"\n", status=FAILED)
        left, written = (self.waiting()[0].parent / f".half{n}.0123456789abcdef.tmp" for n in range(2))
        for path in (left, written):
            path.write_bytes(bytes(100_000))
        stuck = left.parent / ".stuck.0123456789abcdef.tmp"
        stuck.mkdir()  # what cannot be removed keeps nothing else
        two_hours_ago = time.time() - 7200
        for path in (left, stuck):
            os.utime(path, (two_hours_ago, two_hours_ago))
        child = self.start("--spool-max", "90000", "--flush-interval", "10ms")
        child.stdin.write(make_run(1) + b"\n")
        child.stdin.flush()
        told = []
        reader = threading.Thread(target=lambda: told.extend(child.stderr))
        reader.start()
        self.wait_until(lambda: b"--spool-max" in b"".join(told), "it is not held back")
        child.stdin.close()
        self.assertEqual(child.wait(self.timeout), FAILED)
        reader.join()
        self.assertTrue(written.exists())
        self.assertFalse(left.exists())
        self.bring_back()
        self.runctl("ingest", "--drain")
        self.check_all(make_runs(2))

    def test_a_spool_that_cannot_be_used_keeps_nothing_from_the_store(self):
        self.spool.parent.mkdir(parents=True, exist_ok=True)
        self.spool.write_bytes(b"")  # a file where its directory belongs
        runs = make_runs(4)
        first, *others = runs.values()
        result = self.runctl("ingest", stdin=first + b"\n")
        self.assert_message(result, self.spool, "Not a directory")
        self.assertEqual(self.get(run_id(0)), [first])
        self.runctl("ingest", self.write("others.ndjson", joined(others)))
        self.assertEqual(self.run_plain("--store", self.store, "ingest", "--drain").status, FAILED)
        self.take_away()
        result = self.runctl("ingest", stdin=make_run(4) + b"\n", status=FAILED)
        self.assert_message(result, "1 run of those read", "neither stored nor in the spool")
        self.bring_back()
        self.assert_comes_back(runs)

    def test_what_was_read_before_an_error(self):
        """A run that is there already cannot be looked up; those of a pipe around it are new, and nowhere else."""
        runs = make_runs(5)
        lines = list(runs.values())
        self.runctl("ingest", stdin=lines[2] + b"\n")
        day = self.objects()[0].parent
        kept = day.rename(self.dir / "kept")
        day.symlink_to(day)
        result = self.runctl("ingest", stdin=joined(lines), status=FAILED)
        self.assert_message(result, "wait in", "symbolic link")
        waiting = {line for path in self.waiting() for line in harness.split_lines(harness.unzstd(path))}
        self.assertLessEqual({*lines} - {lines[2]}, waiting)
        day.unlink()
        kept.rename(day)
        self.runctl("ingest", "--drain")
        self.assertEqual(self.waiting(), [])
        self.assert_comes_back(runs)
        self.assertEqual(int(self.runctl("search", "--count").out), len(runs))

    def test_many_deliver_at_once(self):
        runs = make_runs(400)
        self.take_away()
        self.runctl("ingest", "--batch-bytes", "2000", stdin=joined(runs.values()), status=FAILED)
        self.bring_back()
        children = [subprocess.Popen([harness.binary(), "--store", self.store, "ingest", "--drain"], cwd=self.dir,
                                     env=self.environment, stderr=subprocess.PIPE) for _ in range(6)]
        for child in children:
            _, err = child.communicate(timeout=self.timeout)
            self.assertTrue(child.returncode == DONE or b"another process" in err, err)
        self.runctl("ingest", "--drain")
        self.check_all(runs)

    def test_kills(self):
        """`kill -9` while batches go to the spool, and while they are delivered."""
        chosen = random.Random(3)
        count = 400
        rounds = 60 if LONG else 8
        for number in range(rounds):
            self.take_away()
            child = self.start("--batch-bytes", "3000")
            child.stdin.write(joined(make_runs(count, start=number * count).values()))
            child.stdin.flush()
            self.wait_until(self.waiting, "nothing comes to the spool")
            time.sleep(chosen.uniform(0, 0.1))
            child.kill()
            child.communicate()
            self.bring_back()
            waiting = self.waiting()
            before = {line for path in waiting for line in harness.split_lines(harness.unzstd(path))}
            self.assertTrue(before)
            drain = subprocess.Popen([harness.binary(), "--store", self.store, "ingest", "--drain", "-q"],
                                     cwd=self.dir, env=self.environment, stderr=subprocess.PIPE)
            if number % 2:
                self.wait_until(lambda: len(self.waiting()) < len(waiting), "nothing is delivered")
            time.sleep(chosen.uniform(0, 0.05))
            drain.kill()
            drain.communicate()
            self.runctl("ingest", "--drain", "-q")
            self.assertEqual(self.waiting(), [])
            ids = [json.loads(line)["id"] for line in before]
            self.assertEqual(set(self.get_listed(ids)), before, "what was in the spool is stored")
        runs = make_runs(rounds * count)
        self.runctl("ingest", stdin=joined(runs.values()))
        self.assert_comes_back(runs)
        self.assertEqual(int(self.runctl("search", "--count").out), len(runs))
        self.runctl("verify", "--read-data", "-q")

    def test_what_makes_no_sense(self):
        for arguments in (["--drain", "file"], ["--drain", "-"], ["--drain", "--dry-run"], ["--spool-max", "lots"]):
            self.runctl("ingest", *arguments, status=harness.USAGE)


if __name__ == "__main__":
    harness.main()
