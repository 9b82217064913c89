"""--metrics-file: whatever a command does and however it ends, what it says to Prometheus is well-formed and true."""

import json
import os
import pathlib
import re
import resource
import signal
import stat
import subprocess
import threading
import time

import exposition
import harness
from exposition import Metrics
from harness import DONE, FAILED, LONG, NOT_FOUND, REJECTED, USAGE, joined, make_run, make_runs, noise, run_id
from man_test import commands_of_help, section_of

# What a command wants besides the file for its metrics.
ARGUMENTS = {"get": ["nothing"], "bench": ["4x1KB", "--repeat", "1"], "cache warm": ["nothing"]}
SUMMARY = {"read": "runs_read", "stored": "runs_stored", "duplicate": "runs_duplicate", "rejected": "runs_rejected",
           "spooled": "runs_spooled", "delivered": "runs_delivered", "batches": "batches_stored",
           "bytes_in": "input_bytes", "bytes_stored": "stored_bytes"}
HEAD = b"# HELP runctl_runs_read_total Records that ingest read.\n"  # by such a one an own file is known
FOREIGN = "is not a file of metrics that runctl wrote; name another"
LAST_SUCCESS = "runctl_last_success_timestamp_seconds"


def limit_files(size: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error from write() instead
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


class MetricsTest(harness.CliTest):
    def setUp(self) -> None:
        super().setUp()
        self.file = self.dir / "job.prom"

    def metrics(self, path: pathlib.Path | None = None) -> Metrics:
        return Metrics((path or self.file).read_bytes())

    def measured(self, *arguments, **options) -> harness.Result:
        return self.runctl(*arguments, "--metrics-file", self.file, **options)

    def after(self, *arguments, **options) -> Metrics:
        self.measured(*arguments, **options)
        return self.metrics()

    def assert_no_leftover(self, directory: pathlib.Path | None = None) -> None:
        left = [path.name for path in (directory or self.dir).iterdir() if path.name.endswith(".tmp")]
        self.assertEqual(left, [])


class Commands(MetricsTest):
    def all_commands(self) -> list[str]:
        found = []
        for command in commands_of_help(self.run_plain("--help").out.decode()):
            below = commands_of_help(self.run_plain(command, "--help").out.decode())
            found += [f"{command} {word}" for word in below] or [command]
        self.assertGreater(len(found), 12)
        return found

    def test_every_command_writes(self):
        self.ingest_bytes(joined(make_runs(5).values()))
        helps = {}
        for command in self.all_commands():
            with self.subTest(command=command):
                self.file.unlink(missing_ok=True)
                begin = time.time()
                result = self.measured(*command.split(), *ARGUMENTS.get(command, []), status=None)
                metrics = self.metrics()
                for _, labels in metrics.samples:
                    self.assertEqual(labels[:2], (("command", command), ("file", "job.prom")))
                self.assertEqual(metrics.one("runctl_exit_status"), result.status)
                self.assertEqual(metrics.one("runctl_build_info", version=self.version()), 1)
                ended = metrics.one("runctl_last_run_timestamp_seconds")
                self.assertTrue(begin - 0.01 <= ended <= time.time() + 0.01, (begin, ended))
                self.assertEqual(metrics.one(LAST_SUCCESS), ended if result.status == DONE else 0)
                self.assertGreater(metrics.one("runctl_duration_seconds"), 0)
                self.assertLessEqual(metrics.sum("runctl_phase_seconds"), metrics.one("runctl_duration_seconds"))
                # The collector wants one help text for each name, over all files.
                for line in self.file.read_text().splitlines():
                    if line.startswith("# HELP "):
                        name = line.split()[2]
                        self.assertEqual(helps.setdefault(name, line), line)

    def version(self) -> str:
        return self.run_plain("--version").out.decode().split()[1]

    def test_every_name_is_documented(self):
        source = (harness.PROJECT / "cmd" / "metrics.cpp").read_text()
        named = set(re.findall(r'"(runctl_\w+)"', source))
        self.assertGreater(len(named), 20)
        documented = re.findall(r"^\.T[PQ]\n\.B (runctl_\w+)$", section_of("runctl.1", "METRICS"), re.MULTILINE)
        self.assertEqual(sorted(documented), sorted(named))
        metrics = self.after("ingest", "-", stdin=make_run(1))
        self.assertLessEqual(metrics.names, named)

    def test_nothing_is_written_where_nobody_asks(self):
        before = sorted(self.dir.iterdir())
        self.runctl("ingest", "-", stdin=make_run(1))
        self.assertEqual(sorted(self.dir.iterdir()), sorted([*before, self.store]))


class Figures(MetricsTest):
    def assert_summary(self, metrics: Metrics, *summaries: dict) -> None:
        for key, name in SUMMARY.items():
            self.assertEqual(metrics.one(f"runctl_{name}_total"), sum(each[key] for each in summaries), key)

    def test_ingest_says_what_its_report_says(self):
        data = joined(make_runs(300).values()) + b"no run\n" + joined(make_runs(100).values())
        flags = ("--metrics-file", self.file, "--batch-bytes", "5000")
        summary = self.ingest_bytes(data, *flags, status=REJECTED)
        self.assertGreater(summary["batches"], 1)
        metrics = self.metrics()
        self.assert_summary(metrics, summary)
        self.assert_counts(summary, read=401, stored=300, duplicate=100, rejected=1)
        self.assertEqual(metrics.one("runctl_exit_status"), REJECTED)
        requests = metrics.by("runctl_store_requests_total", "kind", "status")
        self.assertEqual(requests["put", "none"], summary["batches"])
        stored = sum(path.stat().st_size for path in self.objects())
        self.assertEqual(metrics.one("runctl_store_written_bytes_total"), stored)
        self.assertEqual(metrics.one("runctl_stored_bytes_total"), stored)
        self.assertIn(("ingest",), metrics.by("runctl_phase_seconds", "phase"))

    def test_counters_go_on(self):
        """As counters must, or two equal nights would look like none to increase()."""
        first = self.ingest_bytes(joined(make_runs(30).values()), "--metrics-file", self.file)
        again = self.ingest_bytes(joined(make_runs(50).values()), "--metrics-file", self.file)
        self.assert_summary(self.metrics(), first, again)
        self.assertEqual(self.metrics().one("runctl_runs_stored_total"), 50)
        self.assertEqual(self.metrics().one("runctl_runs_duplicate_total"), 30)
        requests = self.metrics().one("runctl_store_requests_total", kind="put")
        self.assertEqual(requests, len(self.objects()))
        # Another command's begin anew.
        self.assertEqual(self.after("get", run_id(1)).of("runctl_runs_stored_total"), {})
        self.assertEqual(self.after("get", run_id(1)).one("runctl_runs_returned_total"), 2)

    def test_a_dry_run_stores_nothing(self):
        metrics = self.after("ingest", "--dry-run", "-", stdin=make_run(1))
        self.assertEqual(metrics.of("runctl_runs_stored_total"), {})

    def test_an_ingest_that_fails_in_the_middle(self):
        """Its disk takes small batches, and not the last one."""
        runs = self.write("runs", joined(make_runs(200).values()) + make_run(1000, outputs=noise(1, 6_000_000)) + b"\n")
        result = self.measured("ingest", "--batch-bytes", "5000", runs, status=FAILED,
                               preexec_fn=lambda: limit_files(1 << 20))
        self.assert_message(result, "File too large")
        metrics = self.metrics()
        self.assertEqual(metrics.one("runctl_exit_status"), result.status)
        held = json.loads(self.runctl("index", "status", "--json").out)
        self.assertGreater(held["runs"], 0)
        self.assertEqual(metrics.one("runctl_runs_stored_total"), held["runs"])
        self.assertEqual(metrics.one("runctl_batches_stored_total"), held["batches"])
        self.assertEqual(metrics.one("runctl_stored_bytes_total"), held["bytes_stored"])
        self.assertGreaterEqual(metrics.one("runctl_runs_read_total"), held["runs"])
        self.assertEqual(metrics.one("runctl_runs_duplicate_total"), 0)

    def test_get(self):
        runs = make_runs(20)
        self.ingest_bytes(joined(runs.values()))
        cache = ("--cache-dir", self.dir / "cache")
        result = self.measured("get", "--json", *cache, *runs)
        traffic, metrics = json.loads(result.err), self.metrics()
        self.assertEqual(metrics.one("runctl_runs_returned_total"), 20)
        self.assertEqual(metrics.one("runctl_output_bytes_total"), len(result.out))
        self.assertEqual(metrics.sum("runctl_store_requests_total", kind="get"), traffic["requests"])
        self.assertEqual(metrics.one("runctl_store_read_bytes_total"), traffic["bytes_read"])
        self.assertEqual(metrics.one("runctl_store_retries_total"), traffic["retries"])
        self.assertEqual(metrics.one("runctl_cache_hits_total"), traffic["cache_hits"])
        self.assertEqual(metrics.one("runctl_cache_misses_total"), traffic["cache_misses"])
        self.assertEqual(traffic["cache_hits"], 0)
        self.assertEqual(set(metrics.by("runctl_phase_seconds", "phase")), {("lookup",), ("fetch",)})
        again = json.loads(self.measured("get", "--json", *cache, *runs).err)
        self.assertGreater(again["cache_hits"], 0)
        self.assertEqual(self.metrics().one("runctl_cache_hits_total"), again["cache_hits"])

    def test_runs_returned(self):
        self.ingest_bytes(joined(make_run(n, trace_id="t") for n in range(20)))
        for arguments, runs, status in (
                ([run_id(1), "nothing", run_id(2)], 2, NOT_FOUND),
                (["--field", "name", "--field", "inputs", run_id(1), run_id(2)], 2, DONE),
                (["--field", "name", "--field", "absent", run_id(1), run_id(2)], 2, NOT_FOUND),
                (["--trace", "t"], 20, DONE),
                (["--trace", "t", "--format", "tree"], 20, DONE)):
            self.file.unlink(missing_ok=True)
            result = self.measured("get", *arguments, status=status)
            self.assertEqual(self.metrics().one("runctl_runs_returned_total"), runs, arguments)
            self.assertEqual(self.metrics().one("runctl_output_bytes_total"), len(result.out), arguments)
        for arguments, runs in ((["--limit", "7"], 7), (["--format", "table", "--limit", "0"], 20), (["--full"], 20),
                                (["--count"], 0), (["--name", "nobody"], 0)):
            self.file.unlink()
            result = self.measured("search", *arguments)
            self.assertEqual(self.metrics().one("runctl_runs_returned_total"), runs, arguments)
            self.assertEqual(self.metrics().one("runctl_output_bytes_total"), len(result.out), arguments)


class Ends(MetricsTest):
    def test_a_failure_keeps_the_last_success(self):
        self.ingest_bytes(make_run(1), "--metrics-file", self.file)
        success = self.metrics().one(LAST_SUCCESS)
        self.assertEqual(success, self.metrics().one("runctl_last_run_timestamp_seconds"))
        for _ in range(2):  # from one failure to the next, too
            self.ingest_bytes(b"no run\n", "--metrics-file", self.file, status=REJECTED)
            self.assertEqual(self.metrics().one(LAST_SUCCESS), success)
            self.assertGreater(self.metrics().one("runctl_last_run_timestamp_seconds"), success)
        self.ingest_bytes(make_run(2), "--metrics-file", self.file)
        self.assertGreater(self.metrics().one(LAST_SUCCESS), success)

    def test_the_last_success_is_that_of_the_same_command(self):
        self.after("ingest", "-", stdin=make_run(1))
        self.assertEqual(self.after("get", "nothing", status=NOT_FOUND).one(LAST_SUCCESS), 0)

    def test_a_renamed_file_goes_on(self):
        self.after("ingest", "-", stdin=make_run(1))
        success = self.metrics().one(LAST_SUCCESS)
        self.file = self.file.rename(self.dir / 'a"b\\c.prom')
        metrics = self.after("ingest", "-", stdin=b"no run\n", status=REJECTED)
        self.assertEqual(metrics.one(LAST_SUCCESS, file='a"b\\c.prom'), success)
        self.assertEqual(self.after("ingest", "-", stdin=b"no run\n", status=REJECTED).one(LAST_SUCCESS), success)
        self.assertEqual(self.metrics().one("runctl_runs_rejected_total"), 2)

    def test_settings_that_are_wrong(self):
        self.assertEqual(self.after("get", "a", "--cache-size", "lots", status=USAGE).one("runctl_exit_status"), USAGE)

    def test_an_own_file_that_is_broken(self):
        """Nothing of it that text() would not have written comes out again."""
        for content in (b"", HEAD, HEAD + b"runctl_runs_read_total{command=\"ingest\",file=\"\n", HEAD + b"} {\n{} \n",
                        HEAD + b'runctl_runs_read_total{command="ingest",file="x"} many\n', HEAD + bytes(range(256)) * 20,
                        HEAD + f'{LAST_SUCCESS}{{command="ingest",file="x"}} soon\n'.encode(),
                        HEAD + f'{LAST_SUCCESS}{{command="ingest",file="x"}} nan\n'.encode(),
                        HEAD + b'runctl_runs_read_total{command="ingest",file="x"!!! \xff} 3\n',
                        HEAD + b'runctl_runs_read_total{command="ingest",file="x",kind="get",status="200"} 3\n'):
            self.file.write_bytes(content)
            for times in (1, 2):
                metrics = self.after("ingest", "-", stdin=b"no run\n", status=REJECTED)
                self.assertEqual(metrics.one("runctl_runs_read_total"), times, content)
                self.assertEqual(metrics.one(LAST_SUCCESS), 0, content)

    def test_requests_of_an_own_file_that_is_broken(self):
        good = [("get", "200"), ("put", "none")]
        bad = [',kind="get"', ',kind="get",status="200",more="1"', ',kind="GET",status="200"', ',kind="",status="200"',
               ',kind="get",status=""', ',kind="get",status="nonesuch"', ',status="200",kind="get"', ""]
        labels = [f',kind="{kind}",status="{status}"' for kind, status in good]
        self.file.write_bytes(HEAD + "".join(
            f'runctl_store_requests_total{{command="index status",file="x"{each}}} 3\n' for each in labels + bad).encode())
        for _ in range(2):
            metrics = self.after("index", "status")
            self.assertEqual(metrics.by("runctl_store_requests_total", "kind", "status"), dict.fromkeys(good, 3))

    def test_interrupted(self):
        child = subprocess.Popen([harness.binary(), "--store", self.store, "ingest", "--metrics-file", self.file, "-"],
                                 stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.dir, env=self.environment)
        with child.stdin, child.stderr:
            child.stdin.write(joined(make_runs(10).values()))
            child.stdin.flush()
            while not self.objects():  # until it is at work: a batch is stored at the latest 5 s after
                time.sleep(0.05)
                self.assertIsNone(child.poll())
            child.send_signal(signal.SIGTERM)
            child.wait(self.timeout)
        self.assertEqual(child.returncode, 143)
        metrics = self.metrics()
        self.assertEqual(metrics.one("runctl_exit_status"), 143)
        self.assertEqual(metrics.one("runctl_runs_stored_total"), 10)
        self.assertEqual(metrics.one(LAST_SUCCESS), 0)


class File(MetricsTest):
    def test_flag_variable_and_config(self):
        files = {name: self.dir / f"{name}.prom" for name in ("flag", "variable", "config")}
        self.write("home/config/runctl/config.json", json.dumps({"metrics_file": str(files["config"])}).encode())
        env = {"RUNCTL_METRICS_FILE": str(files["variable"])}
        for wanted, flags, variables in (("config", (), {}), ("variable", (), env),
                                         ("flag", ("--metrics-file", files["flag"]), env), (None, ("--metrics-file=",), env)):
            self.runctl("index", "status", *flags, env=variables)
            written = [name for name, path in files.items() if path.exists()]
            self.assertEqual(written, [wanted] if wanted else [])
            for path in files.values():
                path.unlink(missing_ok=True)

    def test_mode_and_label(self):
        self.file = self.dir / "näch\nste.prom"
        self.measured("index", "status", preexec_fn=lambda: os.umask(0o077))
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o644)
        self.assertEqual(self.metrics().one("runctl_exit_status", file="näch\\x0aste.prom"), 0)
        self.assert_no_leftover()

    def test_a_link_stays(self):
        there = self.dir / "there"
        there.mkdir()
        (there / "real.prom").touch()
        self.file.symlink_to(there / "real.prom")
        for _ in range(2):
            self.measured("index", "status")
        self.assertTrue(self.file.is_symlink())
        self.assertEqual(self.metrics(there / "real.prom").one("runctl_exit_status", file="job.prom"), 0)
        self.assert_no_leftover()
        self.assert_no_leftover(there)

    def test_a_link_to_nothing_stays(self):
        (self.dir / "there").mkdir()
        self.file.symlink_to("there/next")
        (self.dir / "there" / "next").symlink_to("real.prom")
        self.measured("index", "status")
        self.assertTrue(self.file.is_symlink())
        self.assertTrue((self.dir / "there" / "next").is_symlink())
        self.assertEqual(self.metrics(self.dir / "there" / "real.prom").one("runctl_exit_status", file="job.prom"), 0)
        self.file.unlink()
        self.file.symlink_to(self.file)
        result = self.measured("index", "status", status=FAILED)
        self.assert_message(result, "--metrics-file: ", "Too many levels of symbolic links")
        self.assertTrue(self.file.is_symlink())

    def test_a_foreign_file_stays(self):
        """Above all the input, or a store's index."""
        for data in (joined(make_runs(3).values()), b"\n", b"# only a comment", b"# HELP runctl", b"\0" * 100,
                     HEAD + b" " * (1 << 20)):
            path = self.write("in.ndjson", data)
            (self.dir / "link").unlink(missing_ok=True)
            (self.dir / "link").symlink_to(path)
            for name in (path, self.dir / "link"):
                result = self.runctl("ingest", "--metrics-file", name, path, status=USAGE)
                self.assert_message(result, "--metrics-file: ", f"{name.name}: {FOREIGN}")
                self.assertEqual(path.read_bytes(), data)
            self.assertFalse(self.store.exists(), "nothing was done")

    def test_what_the_command_itself_makes_stays(self):
        index = self.dir / "index.sqlite"
        result = self.runctl("ingest", "-q", "--index", index, "--metrics-file", index, "-", stdin=make_run(1),
                             status=FAILED)
        self.assert_message(result, "--metrics-file: ", f"index.sqlite: {FOREIGN}")
        self.assertTrue(index.read_bytes().startswith(b"SQLite format 3\0"))
        self.runctl("get", "-q", "--index", index, "--output", self.file, "--metrics-file", self.file, run_id(1),
                    status=FAILED)
        self.assertEqual(self.file.read_bytes(), make_run(1) + b"\n")
        self.runctl("get", "-q", "--index", index, "--metrics-file", self.file, run_id(1), status=USAGE)

    def test_no_file_to_be_replaced(self):
        link = self.dir / "link"
        link.symlink_to("/dev/null")
        for name in ("-", "/dev/stdout", "/dev/null", "//dev//null", "/proc/self/fd/1", "/tmp/../dev/stdout",
                     "/dev/shm/../stdout"):
            result = self.runctl("ingest", "--metrics-file", name, "-", stdin=make_run(1), status=USAGE)
            self.assertEqual(result.out, b"")
            self.assert_message(result, "--metrics-file", name)
            self.assertFalse(self.store.exists(), "nothing was done")
        os.mkfifo(self.dir / "pipe")
        for name in ("pipe", "home", "link"):
            result = self.runctl("ingest", "--metrics-file", self.dir / name, "-", stdin=make_run(1), status=USAGE)
            self.assertEqual(len(result.messages), 1, str(result))
            self.assert_message(result, "--metrics-file: ", f"{name}: {FOREIGN}")
            self.assertFalse(self.store.exists(), "nothing was done")

    def test_a_way_by_dev(self):
        self.runctl("index", "status", "--metrics-file", f"/dev/..{self.file}")
        self.assertEqual(self.metrics().one("runctl_exit_status"), 0)

    def test_it_cannot_be_written(self):
        for arguments, status, otherwise in ((["-"], FAILED, b""), (["-", "--expect-count", "2"], REJECTED, b"--expect-count")):
            result = self.runctl("ingest", "-q", "--metrics-file", self.dir / "absent" / "a.prom", *arguments,
                                 stdin=make_run(1), status=status)
            self.assert_message(result, "--metrics-file: ", "a.prom: cannot be written: No such file or directory")
            self.assertEqual(len(result.messages), 2 if otherwise else 1, str(result))
            self.assertIn(otherwise, result.err)
        self.assert_comes_back({run_id(1): make_run(1)})  # the work itself is done

    def test_there_is_no_room(self):
        self.measured("index", "status")
        before = self.file.read_bytes()

        result = self.measured("index", "status", status=FAILED, preexec_fn=lambda: limit_files(100))
        self.assert_message(result, "job.prom: cannot be written: File too large")
        self.assertEqual(self.file.read_bytes(), before)
        self.assert_no_leftover()

    def test_a_directory_that_is_closed(self):
        closed = self.dir / "closed"
        closed.mkdir()
        (closed / "a.prom").write_bytes(HEAD)
        closed.chmod(0o555)
        result = self.run_as_nobody("--store", "/nowhere", "--index", "/nowhere/index", "index", "status", "-q",
                                    "--metrics-file", closed / "a.prom")
        self.assertEqual(result.status, FAILED, str(result))
        self.assert_message(result, "a.prom: cannot be written: Permission denied")
        self.assertEqual((closed / "a.prom").read_bytes(), HEAD)
        self.assertEqual([path.name for path in closed.iterdir()], ["a.prom"])

    def test_a_reader_never_sees_a_part(self):
        self.measured("index", "status")
        faults, seen, stop = [], set(), threading.Event()

        def read() -> None:
            while not stop.is_set():
                try:
                    metrics = self.metrics()
                    self.assertEqual(metrics.names & {LAST_SUCCESS, "runctl_build_info"}, {LAST_SUCCESS, "runctl_build_info"})
                    seen.add(metrics.one("runctl_last_run_timestamp_seconds"))
                except Exception as fault:  # noqa: BLE001
                    faults.append(fault)
                    return
                # What the collector would take.
                if {path.name for path in self.dir.glob("*.prom")} != {"job.prom"}:
                    faults.append("another file ends in .prom")

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for _ in range(300 if LONG else 40):
                self.measured("index", "status")
        finally:
            stop.set()
            reader.join()
        self.assertEqual(faults, [])
        self.assertGreater(len(seen), 5)
        self.assert_no_leftover()


class Reader(harness.unittest.TestCase):
    """The reader of this test is strict."""

    HEAD = "# HELP a_total Text.\n# TYPE a_total counter\n"

    def test_faults(self):
        for text in ("", self.HEAD + "a_total{} 1", self.HEAD + "a_total{} 1\na_total{} 1\n", "a_total{} 1\n",
                     self.HEAD.replace("counter", "gauge"), self.HEAD + "b{} 1\n", self.HEAD + "a_total{} x\n",
                     self.HEAD + 'a_total{x="1"y="2"} 1\n', self.HEAD + 'a_total{x="\\t"} 1\n', self.HEAD + "\n",
                     self.HEAD + self.HEAD, "# TYPE a_total counter\na_total{} 1\n", self.HEAD + 'a_total{x="1",} 1\n',
                     self.HEAD + 'a_total{x="1",x="2"} 1\n', self.HEAD + "a_total{} 1 1700000000\n"):
            with self.assertRaises(exposition.Malformed, msg=text):
                Metrics(text.encode())
        good = Metrics((self.HEAD + 'a_total{x="q\\"\\\\\\n",y=""} 1.5\n').encode())
        self.assertEqual(good.samples, {("a_total", (("x", 'q"\\\n'), ("y", ""))): 1.5})


if __name__ == "__main__":
    harness.main()
