"""SIGINT and SIGTERM: what is in flight is finished and told, the same command again goes on, nothing is left behind."""

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
from harness import DONE, LONG, joined, make_run, make_runs, run_id

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAID = re.compile(rb"runctl: interrupted: read (\d+), stored (\d+), duplicate (\d+), rejected 0; .* again to go on")


class InterruptTest(harness.CliTest):
    def start(self, *arguments, **options) -> subprocess.Popen:
        return subprocess.Popen([harness.binary(), "--store", self.store, *arguments], cwd=self.dir,
                                env=self.environment, stderr=subprocess.PIPE, **options)

    def told(self, child: subprocess.Popen, sign: int) -> tuple[int, ...]:
        """What the interrupted ingest says it has read, stored and had before; its input stays open until its end."""
        child.wait(self.timeout)
        with child.stderr:
            err = child.stderr.read()
        child.stdin.close()
        self.assertEqual(child.returncode, 128 + sign, err)
        messages = [line for line in err.splitlines() if line.startswith(b"runctl: ")]
        self.assertEqual(len(messages), 1, err)
        said = SAID.fullmatch(messages[0])
        self.assertTrue(said, messages)
        return tuple(int(number) for number in said.groups())

    def check_all(self, runs: dict) -> None:
        """Every run is there exactly once, by this index and by one made anew."""
        for _ in range(2):
            self.assertEqual(self.runs_in_index(), len(runs))
            self.runctl("verify", "--read-data", "-q")
            self.runctl("index", "rebuild", "-q")
        stored = [line for path in self.objects() for line in harness.split_lines(harness.unzstd(path))]
        self.assertEqual(sorted(stored), sorted(runs.values()), "every run lies in the store exactly once")


class Ingest(InterruptTest):
    def test_a_slow_pipe(self):
        """The signal comes at a random instant, in the middle of a line too."""
        chosen = random.Random(1)
        runs = {run_id(n): make_run(n, outputs="x" * 50) for n in range(2000)}
        data = joined(runs.values())
        for attempt in range(40 if LONG else 6):
            child = self.start("ingest", "-q", "--batch-bytes", "20000", stdin=subprocess.PIPE)
            sent = chosen.randrange(len(data))

            def feed():
                for begin in range(0, sent, 7001):
                    child.stdin.write(data[begin:min(begin + 7001, sent)])
                    child.stdin.flush()

            feeder = threading.Thread(target=feed)
            feeder.start()
            feeder.join()
            self.wait_until_signals_are_caught(child)
            time.sleep(chosen.uniform(0, 0.3))  # mostly it waits for more
            before = self.runs_in_index()
            child.send_signal(SIGNALS[attempt % 2])
            read, stored, duplicate = self.told(child, SIGNALS[attempt % 2])
            whole = data[:sent].count(b"\n")
            self.assertLessEqual(read, whole)
            self.assertEqual(read, stored + duplicate)
            self.assertGreaterEqual(self.runs_in_index(), before)
        summary = self.ingest_bytes(data)
        self.assert_counts(summary, read=2000, rejected=0)
        self.check_all(runs)

    def test_a_pipe_on_which_nothing_comes(self):
        for sign in SIGNALS:
            child = self.start("ingest", "-", stdin=subprocess.PIPE)
            self.wait_until_signals_are_caught(child)
            time.sleep(0.5)
            child.send_signal(sign)
            self.assertEqual(self.told(child, sign), (0, 0, 0))

    def test_what_has_come_is_stored(self):
        runs = make_runs(50)
        child = self.start("ingest", "-", stdin=subprocess.PIPE)
        child.stdin.write(joined(runs.values()) + make_run(51)[:20])
        child.stdin.flush()
        self.wait_until_pipe_is_read(child)
        time.sleep(0.5)
        child.send_signal(signal.SIGTERM)
        self.assertEqual(self.told(child, signal.SIGTERM), (50, 50, 0))
        self.assert_comes_back(runs)

    def test_a_large_file(self):
        chosen = random.Random(2)
        runs = {run_id(n): make_run(n, outputs=harness.noise(n, 400)) for n in range(40_000)}
        path = self.write("runs.ndjson", joined(runs.values()))
        interrupted = 0
        for attempt in range(40 if LONG else 6):
            child = self.start("ingest", "-q", "--batch-bytes", "200000", path)
            self.wait_until_signals_are_caught(child)
            time.sleep(chosen.uniform(0, 0.2))
            sign = SIGNALS[attempt % 2]
            child.send_signal(sign)
            _, err = child.communicate(timeout=self.timeout)
            # Behind its end the signal does what it does to every program.
            self.assertIn(child.returncode, (128 + sign, -sign, DONE), err)
            if child.returncode == 128 + sign:
                interrupted += 1
                self.assertRegex(err, SAID)
        self.assertGreater(interrupted, 0)
        self.assert_counts(self.ingest(path), read=len(runs), rejected=0)
        self.check_all(runs)

    def test_json_and_ids(self):
        child = self.start("ingest", "--json", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        child.stdin.write(joined(make_runs(5).values()))
        child.stdin.flush()
        self.wait_until_pipe_is_read(child)
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=self.timeout)
        self.assertEqual(child.returncode, 130, err)
        self.assertEqual(json.loads(out)["stored"], 5)

    def test_a_second_signal_ends_it_at_once(self):
        # Nobody reads the ids, so that it cannot finish.
        ids = {f"{n:0200}": json.dumps({"id": f"{n:0200}"}).encode() for n in range(3000)}
        path = self.write("runs.ndjson", joined(ids.values()))
        for sign in SIGNALS:
            store = self.dir / f"store {sign.name}"
            child = subprocess.Popen([harness.binary(), "--store", store, "ingest", "--print-ids", "--rejects",
                                      "rejects", "--batch-bytes", "2000", path], cwd=self.dir, env=self.environment,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.wait_until_signals_are_caught(child)
            time.sleep(1)
            child.send_signal(sign)
            time.sleep(1)
            self.assertIsNone(child.poll(), "it waits for what is in flight")
            child.send_signal(sign)
            child.wait(self.timeout)
            self.assertEqual(child.returncode, -sign)
            child.stdout.close()
            child.stderr.close()
            self.assertEqual(leftovers(self.dir), [])

    def test_a_signal_that_is_sent_twice_is_one(self):
        """As timeout(1) does it: to the program, and to the group that the program is in."""
        for attempt in range(10):
            child = self.start("ingest", "-q", stdin=subprocess.PIPE)
            child.stdin.write(make_run(attempt) + b"\n")
            child.stdin.flush()
            self.wait_until_pipe_is_read(child)
            time.sleep(0.5)
            child.send_signal(signal.SIGTERM)
            time.sleep(attempt / 1000)
            child.send_signal(signal.SIGTERM)
            self.assertEqual(self.told(child, signal.SIGTERM), (1, 1, 0))
        self.check_all({run_id(n): make_run(n) for n in range(10)})

    def test_before_the_first_run_is_read(self):
        """A new index is first filled with what the store holds."""
        runs = {run_id(n): make_run(n) for n in range(300)}
        self.runctl("ingest", "-q", "--batch-bytes", "100", stdin=joined(runs.values()))
        index = self.dir / "other.sqlite"
        self.environment["RUNCTL_INDEX"] = str(index)
        more = make_runs(5, 300)
        reading, writing = os.pipe()
        with open(reading, "rb") as pipe, open(writing, "wb") as feed:
            feed.write(joined(more.values()))
            feed.flush()
            child = self.start("ingest", "-", stdin=pipe)
            while not index.exists():
                time.sleep(0.001)
            child.send_signal(signal.SIGINT)
            with child.stderr:
                err = child.stderr.read()
            self.assertEqual(child.wait(self.timeout), 128 + signal.SIGINT, err)
            feed.close()
            left = pipe.read()
        read = re.fullmatch(rb"runctl: interrupted: (\d+) of 300 new batches were read; run the same command again to go "
                            rb"on\n", err)
        if read:
            self.assertEqual(json.loads(self.runctl("index", "status", "--json").out)["batches"], int(read[1]))
            self.assertEqual(left, joined(more.values()), "nothing of the pipe is taken before that")
        else:  # the signal came later
            self.assertRegex(err, rb"\Arunctl: interrupted: (read|stored) \d.* to go on\n\Z")
        runs |= more
        self.runctl("ingest", "-q", "-", stdin=joined(runs.values()))
        self.check_all(runs)

    def test_a_signal_that_is_ignored_stays_so(self):
        child = self.start("ingest", "-", stdin=subprocess.PIPE,
                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        child.stdin.write(joined(make_runs(5).values()))
        child.stdin.flush()
        self.wait_until_pipe_is_read(child)
        child.send_signal(signal.SIGINT)
        child.stdin.write(joined(make_runs(5, 5).values()))
        _, err = child.communicate(timeout=self.timeout)
        self.assertEqual(child.returncode, DONE, err)
        self.assertIn(b"stored 10", err)


class Output(InterruptTest):
    def test_no_half_written_file_stays(self):
        runs = make_runs(5)
        self.ingest_bytes(joined(runs.values()))
        for sign in SIGNALS:
            child = self.start("get", "--output", "out", "-", stdin=subprocess.PIPE)
            child.stdin.write(f"{run_id(1)}\n".encode())
            child.stdin.flush()
            self.wait_until(lambda: leftovers(self.dir), "nothing is being written")
            self.wait_until_signals_are_caught(child)  # the file is there an instant before
            child.send_signal(sign)
            child.communicate(timeout=self.timeout)
            self.assertEqual(child.returncode, -sign)
            self.assertEqual(leftovers(self.dir), [])
            self.assertFalse((self.dir / "out").exists())


def leftovers(directory: pathlib.Path) -> list[str]:
    return [name for name in os.listdir(directory) if name.endswith(".tmp")]


if __name__ == "__main__":
    harness.main()
