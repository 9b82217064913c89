"""The benchmark: what it prints, what it saves and judges, and that nothing of it stays behind."""

import collections
import html.parser
import json
import os
import re
import resource
import signal
import subprocess
import time

import harness
from harness import DONE, FAILED, REJECTED, USAGE

STEPS = ["ingest", "cold get", "cached get", "batch get", "search", "rebuild"]
METRICS = {"min_ms", "q1_ms", "median_ms", "q3_ms", "p95_ms", "p99_ms", "max_ms", "mean_ms", "runs_per_second",
           "mb_per_second", "requests", "bytes_read", "bytes_written", "retries", "peak_memory_bytes"}
PAST = 1
TINY = ("5x100B", "--repeat", "2")


class BenchTest(harness.CliTest):
    def bench(self, *arguments, **options) -> harness.Result:
        return self.runctl("bench", *arguments, **options)

    def bench_json(self, *arguments, **options) -> dict:
        result = self.bench("--json", *arguments, **options)
        self.assertEqual(len(result.lines), 1)
        return json.loads(result.out)

    def leftovers(self) -> list[str]:
        """What benchmarks have left in the store and in TMPDIR."""
        found = [path for top in (self.store, self.home / "tmp") for path in top.glob("**/*")]
        return [str(path) for path in found if "runctl-bench-" in str(path)]

    def assert_nothing_stays(self) -> None:
        self.assertEqual(self.leftovers(), [])
        self.assertEqual(list((self.home / "tmp").iterdir()), [])


class Measuring(BenchTest):
    def test_json_has_every_number(self):
        result = self.bench_json("20x1KB", "--repeat", "3")
        self.assertEqual((result["repeat"], result["store"]), (3, f"file://{self.store}"))
        scenario, = result["scenarios"]
        self.assertEqual((scenario["scenario"], scenario["runs"]), ("20x1KB", 20))
        self.assertGreater(scenario["bytes"], 20 * 3 * 1024)
        self.assertGreater(scenario["bytes"], scenario["bytes_stored"])
        self.assertEqual([step["step"] for step in scenario["steps"]], STEPS)
        steps = {step["step"]: step for step in scenario["steps"]}
        for step in scenario["steps"]:
            self.assertLessEqual(METRICS, set(step))
            order = [step[name] for name in ("min_ms", "q1_ms", "median_ms", "q3_ms", "p95_ms", "p99_ms", "max_ms")]
            self.assertEqual(order, sorted(order))
            self.assertGreater(step["min_ms"], 0)
            self.assertGreater(step["peak_memory_bytes"], 1 << 20)
            self.assertIsNotNone(step["noise"])
        self.assertEqual(steps["ingest"]["operations"], 3)
        self.assertEqual(steps["ingest"]["runs"], 3 * 20)
        self.assertEqual(steps["ingest"]["bytes"], 3 * scenario["bytes"])
        self.assertEqual(steps["ingest"]["bytes_written"], 3 * scenario["bytes_stored"])
        self.assertEqual(steps["cold get"]["operations"], 3 * 20)
        self.assertEqual(steps["cold get"]["requests"], 3 * 20)
        self.assertEqual(steps["cold get"]["bytes"], 3 * (scenario["bytes"] - 20), "all runs, without newlines")
        self.assertEqual(steps["cached get"]["requests"], 0)
        self.assertEqual(steps["cached get"]["runs"], 3 * 20)
        self.assertEqual(steps["batch get"]["runs"], 3 * 5 * 20)
        self.assertEqual(steps["search"]["requests"], 0)
        self.assertGreater(steps["search"]["runs"], 0)
        self.assertEqual(steps["rebuild"]["runs"], 3 * 20)
        self.assert_nothing_stays()

    def test_hit_rates_are_those_asked_for(self):
        result = self.bench_json("20x1KB", "--repeat", "2")
        rates = result["scenarios"][0]["hit_rates"]
        self.assertEqual([rate["rate"] for rate in rates], [0, 25, 50, 75, 90])
        for rate in rates:
            self.assertEqual(rate["hits"] * 100, rate["rate"] * rate["gets"])
            self.assertEqual(rate["requests"], rate["gets"] - rate["hits"])

    def test_table(self):
        result = self.bench(*TINY, "10x200B")
        text = result.out.decode()
        self.assertEqual(result.err, b"")
        self.assertLessEqual(max(len(line) for line in text.splitlines()), 80)
        self.assertEqual(re.findall(r"^(\S+): \d+ runs, ", text, re.MULTILINE), ["5x100B", "10x200B"])
        for step in STEPS:
            self.assertEqual(len(re.findall(rf"^{step} +\d", text, re.MULTILINE)), 2, text)
        self.assertEqual(re.findall(r"^(\d+) % ", text, re.MULTILINE), ["0", "25", "50", "75", "90"] * 2)

    def test_concurrent(self):
        result = self.bench_json("concurrent", "--writers", "3", "--readers", "2", "--runs", "20", "--payload", "200",
                                 "--repeat", "2")
        scenario, = result["scenarios"]
        ingest, get = scenario["steps"]
        self.assertEqual((ingest["step"], ingest["operations"], ingest["runs"]), ("ingest", 2 * 3, 2 * 3 * 20))
        self.assertEqual(get["step"], "cold get")
        self.assertGreaterEqual(get["operations"], 2 * 2)
        self.assertEqual(get["requests"], get["operations"])
        self.assert_nothing_stays()

    def test_runs_of_the_user(self):
        runs = harness.make_runs(30)
        path = self.write("own.ndjson", harness.joined(runs.values()) + b"no run\n")
        result = self.bench_json("--input", path, "--repeat", "1")
        scenario, = result["scenarios"]
        self.assertEqual((scenario["scenario"], scenario["runs"]), ("input", 30))
        self.assertIsNone(scenario["steps"][0]["noise"])
        self.assert_nothing_stays()
        empty = self.write("empty.ndjson", b"\n")
        self.assert_message(self.bench("--input", empty, status=REJECTED), "empty.ndjson")
        self.assert_nothing_stays()

    def test_sizes_of_ones_own(self):
        self.assertEqual(self.bench_json("--runs", "3", "--payload", "2K", "--repeat", "1")["scenarios"][0]["scenario"],
                         "3x2KB")

    def test_the_users_runs_and_index_are_not_touched(self):
        runs = harness.make_runs(3)
        self.ingest_bytes(harness.joined(runs.values()))
        before = self.picture()
        self.bench(*TINY)
        self.assertEqual(self.picture(), before)
        self.assert_comes_back(runs)

    def picture(self) -> dict:
        """All files below the test's directory, and when they were changed."""
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns)
                for top in (self.store, self.home) for path in top.glob("**/*") if path.is_file()}

    def test_a_store_that_was_not_there_is_not_there_afterwards(self):
        self.bench(*TINY, store=self.dir / "new" / "deep")
        self.assertFalse((self.dir / "new").exists())

    def test_wrong_usage(self):
        for arguments in (["50by10"], ["0x10KB"], ["5x10"], ["5x"], ["5x1T"], ["--payload", "1"], ["--runs", "0"],
                          ["--runs", "5", "small"], ["--input", "x", "small"], ["--input", "-"],
                          ["--max-regress", "10%"], ["--compare", "not-there"], ["--budget", "not-there"],
                          ["--show", "not-there"], ["--generate", "-", "all"], ["--repeat", "0"]):
            result = self.bench(*arguments, status=USAGE)
            self.assertEqual((result.out, len(result.messages)), (b"", 1), str(result))
        self.assert_nothing_stays()


class Runs(BenchTest):
    def test_the_same_flags_give_the_same_runs(self):
        first = self.bench("30x1KB", "--generate", "-").out
        self.assertEqual(first, self.bench("30x1KB", "--generate", "-").out)
        self.bench("30x1KB", "--generate", "file")
        self.assertEqual((self.dir / "file").read_bytes(), first)
        self.assertNotEqual(first, self.bench("30x1KB", "--generate", "-", "--seed", "2").out)

    def test_they_are_valid_and_have_their_size(self):
        lines = self.bench("100x1KB", "--generate", "-").lines
        runs = [json.loads(line) for line in lines]
        self.assertEqual(len({run["id"] for run in runs}), 100)
        self.assertEqual(len({run["trace_id"] for run in runs}), 20)
        self.assertGreater(len({run["name"] for run in runs}), 5)
        for line, run in zip(lines, runs):
            for field in ("inputs", "outputs", "metadata"):
                self.assertEqual(len(json.dumps(run[field], separators=(",", ":"))), 1024)
        self.assert_counts(self.ingest_bytes(harness.joined(lines)), read=100, stored=100)

    def test_they_compress_as_text_does(self):
        scenario = self.bench_json("100x10KB", "--repeat", "1")["scenarios"][0]
        self.assertGreater(scenario["bytes"] / scenario["bytes_stored"], 2.7)
        self.assertLess(scenario["bytes"] / scenario["bytes_stored"], 3.6)


class Judging(BenchTest):
    def saved(self, name: str = "base.json", **changes) -> dict:
        """A saved result; with `changes`, its ingest has these numbers."""
        if not (self.dir / "base.json").exists():
            self.bench(*TINY, "--save", "base.json")
        result = json.loads((self.dir / "base.json").read_text())
        result["scenarios"][0]["steps"][0].update(changes)
        (self.dir / name).write_text(json.dumps(result))
        return result

    def test_saved_is_what_json_prints(self):
        result = self.bench_json(*TINY, "--save", "base.json")
        self.assertEqual(json.loads((self.dir / "base.json").read_text()), result)
        self.assertEqual(self.bench_json("--show", "base.json"), result)

    def test_a_regression_fails(self):
        self.saved(median_ms=100, noise=0.01)
        self.saved("slow.json", median_ms=111, noise=0.01)
        result = self.bench("--show", "slow.json", "--compare", "base.json", "--max-regress", "10%", status=PAST)
        self.assertEqual(len(result.messages), 1, str(result))
        self.assert_message(result, "5x100B, ingest: median_ms is 111ms", "110ms is the limit", "100ms", "11.0% worse",
                            "noise is 1.4%")
        self.assertRegex(result.out.decode(), r"5x100B +ingest +median_ms +100ms +111ms +\+11.0% +1.4% +110ms !\n")
        self.assertLessEqual(max(map(len, result.lines)), 80)

    def test_a_small_regression_passes(self):
        self.saved(median_ms=100)
        self.saved("slow.json", median_ms=109)
        result = self.bench("--show", "slow.json", "--compare", "base.json", "--max-regress", "10%")
        self.assertEqual(result.err, b"")
        result = self.bench("--show", "slow.json", "--compare", "base.json", "--max-regress", "8.5%", status=PAST)
        self.assertEqual(len(result.messages), 1)

    def test_noise_is_told_and_changes_no_verdict(self):
        self.saved(median_ms=100, noise=0.3)
        self.saved("slow.json", median_ms=120, noise=0.3)
        result = self.bench("--show", "slow.json", "--compare", "base.json", "--max-regress", "10%", status=PAST)
        self.assert_message(result, "20.0% worse", "noise is 42.4%", "may be nothing else")

    def test_verdicts_in_json(self):
        self.saved(median_ms=100, noise=0.01)
        self.saved("slow.json", median_ms=150, noise=0.01)
        result = self.bench("--json", "--show", "slow.json", "--compare", "base.json", "--max-regress", "10%",
                            status=PAST)
        verdicts = json.loads(result.out)["verdicts"]
        self.assertEqual([verdict["step"] for verdict in verdicts], STEPS)
        self.assertEqual([verdict["past_limit"] for verdict in verdicts], [True] + [False] * 5)
        self.assertAlmostEqual(verdicts[0]["limit"], 110)
        self.assertAlmostEqual(verdicts[0]["regression"], 0.5)

    def test_a_measurement_is_compared(self):
        # A base that was a thousand times slower, and one that was a thousand times faster.
        result = self.saved()
        for name, factor in (("slower.json", 1000), ("faster.json", 0.001)):
            for step in result["scenarios"][0]["steps"]:
                step["median_ms"] *= factor
            (self.dir / name).write_text(json.dumps(result))
            result = self.saved()
        self.bench(*TINY, "--compare", "slower.json", "--max-regress", "10%")
        told = self.bench(*TINY, "--compare", "faster.json", "--max-regress", "10%", status=PAST)
        self.assertEqual(len(told.messages), len(STEPS), str(told))
        self.assert_nothing_stays()

    def test_budgets(self):
        self.saved(median_ms=100, requests=7)
        self.saved("slow.json", median_ms=120, requests=7)

        def judge(limits: dict, status: int, *more) -> harness.Result:
            (self.dir / "budget.json").write_text(json.dumps(limits))
            return self.bench("--show", "slow.json", "--budget", "budget.json", *more, status=status)

        judge({"*": {"ingest": {"median_ms": 121, "requests": 7}}}, DONE)
        result = judge({"*": {"ingest": {"median_ms": 119, "requests": 6}}}, PAST)
        self.assertEqual(len(result.messages), 2, str(result))
        self.assert_message(result, "ingest: median_ms is 120ms, and 119ms is the limit")
        self.assert_message(result, "ingest: requests is 7, and 6 is the limit")
        judge({"5x100B": {"ingest": {"runs_per_second": 1e12}}}, PAST)
        relative = {"5x100B": {"ingest": {"median_ms": "+15%"}}}
        judge(relative, PAST, "--compare", "base.json")
        judge({"5x100B": {"ingest": {"median_ms": "+25%"}}}, DONE, "--compare", "base.json")
        self.assert_message(judge(relative, USAGE), "--compare")
        self.assert_message(judge({"9x9KB": {"ingest": {"median_ms": 1}}}, USAGE), "none of its limits")
        result = judge({"9x9KB": {"ingest": {"median_ms": 1}}, "*": {"search": {"max_ms": 1e9}}}, DONE)
        self.assert_message(result, "9x9KB, ingest: was not measured")
        self.assert_message(judge({"*": {"ingset": {"median_ms": 1}}}, USAGE), '"ingset" is no step')
        self.assert_message(judge({"*": {"ingest": {"median": 1}}}, USAGE), '"median" is no metric')

    def test_a_budget_on_a_measurement(self):
        (self.dir / "hard.json").write_text('{"*": {"cold get": {"median_ms": 0.0000001}}}')
        (self.dir / "soft.json").write_text('{"*": {"cold get": {"median_ms": 1e9}}}')
        self.bench(*TINY, "--budget", "soft.json")
        self.assert_message(self.bench(*TINY, "--budget", "hard.json", status=PAST), "5x100B, cold get: median_ms")

    def test_what_is_no_result_is_refused(self):
        self.saved()
        for text in (b"", b"{}", b"[]", b'{"runctl_bench":1}', (self.dir / "base.json").read_bytes()[:-20]):
            self.write("bad.json", text)
            self.assert_message(self.bench("--show", "bad.json", status=USAGE), "bad.json")
        (self.dir / "next.json").write_text('{"runctl_bench": 2}')
        self.assert_message(self.bench("--show", "next.json", status=USAGE), "another version")


class Page(html.parser.HTMLParser):
    """A page's texts and attributes; that its elements close in order is asserted by the test."""

    VOID = {"meta", "br", "line", "rect", "circle", "link", "img"}

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open, self.faults, self.attributes = [], [], []
        self.elements = collections.Counter()
        self.texts = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


class Html(BenchTest):
    def assert_shown(self, number: float, decimals: int, page: Page) -> None:
        """Rounded up or down, where the number lies half-way."""
        shown = {f"{number + little:.{decimals}f}" for little in (-1e-9, 1e-9)}
        self.assertTrue(shown & set(page.texts), f"{shown} is not in {page.texts}")

    def test_the_page_holds_all_numbers_and_needs_no_network(self):
        self.bench(*TINY, "--save", "one.json")
        other = self.bench_json(*TINY, "--compare", "one.json", "--html", "page.html")
        results = [other, json.loads((self.dir / "one.json").read_text())]
        text = (self.dir / "page.html").read_text()
        page = Page(text)
        self.assertEqual((page.faults, page.open), ([], []))
        self.assertEqual((page.elements["script"], page.elements["svg"]), (0, 4))
        for tag, name, value in page.attributes:
            self.assertNotIn(name, ("href", "src", "xlink:href", "srcset"), tag)
            self.assertNotIn("url(", value or "")
        self.assertNotRegex(text, r"@import|url\(|//[a-z]+\.")
        self.assertIn("prefers-color-scheme:dark", text)
        self.assertIn("one.json", page.texts)
        for result in results:
            for step in result["scenarios"][0]["steps"]:
                for name in ("min_ms", "median_ms", "p95_ms", "p99_ms", "max_ms"):
                    self.assert_shown(step[name], 3, page)
                self.assertIn(str(step["requests"]), page.texts)
                self.assert_shown(step["runs_per_second"], 1, page)
            for rate in result["scenarios"][0]["hit_rates"]:
                self.assert_shown(rate["mean_ms"], 3, page)

    def test_several_results_beside_each_other(self):
        for name in ("a.json", "<b>.json"):
            self.bench(*TINY, "--save", name)
        result = self.bench("--show", "a.json", "--show", "<b>.json", "--html", "page.html")
        self.assertEqual(result.out.count(b"5x100B: "), 2)
        page = Page((self.dir / "page.html").read_text())
        self.assertEqual((page.faults, page.open, page.elements["b"]), ([], [], 0))
        self.assertEqual(page.texts.count("<b>.json"), 1 + len(STEPS) + 5)


class Interruption(BenchTest):
    def start(self, *arguments) -> subprocess.Popen:
        return subprocess.Popen([harness.binary(), "--store", self.store, "bench", *arguments], cwd=self.dir,
                                env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def wait_for_batches(self, child: subprocess.Popen) -> None:
        until = time.monotonic() + 60
        while not list(self.store.glob("runctl-bench-*/**/*.zst")):
            self.assertIsNone(child.poll(), "it ended before its time")
            self.assertLess(time.monotonic(), until)
            time.sleep(0.005)

    def test_signals_leave_nothing(self):
        self.store.mkdir()
        for sign, arguments in ((signal.SIGTERM, ["200x10KB"]), (signal.SIGINT, ["200x10KB"]),
                                (signal.SIGTERM, ["concurrent", "--runs", "100"])):
            child = self.start(*arguments, "--repeat", "500", "--save", "saved.json", "--html", "page.html")
            self.wait_for_batches(child)
            child.send_signal(sign)
            out, err = child.communicate(timeout=self.timeout)
            self.assertEqual((child.returncode, out), (128 + sign, b""), err)
            self.assertEqual(err, b"runctl: interrupted: nothing of the benchmark is kept\n")
            self.assert_nothing_stays()
            self.assertEqual([path.name for path in self.dir.iterdir() if path.name != "home"], ["store"])

    def test_what_a_kill_leaves_is_named_and_removed_by_doctor(self):
        self.ingest_bytes(harness.make_run(1))
        child = self.start("200x10KB", "--repeat", "500")
        self.wait_for_batches(child)
        child.kill()
        child.communicate()
        self.assertNotEqual(self.leftovers(), [])
        # One that is young may be at work.
        self.assertNotIn(b"benchmarks", self.runctl("doctor").out)
        for path in self.store.glob("runctl-bench-*/**/*"):
            os.utime(path, (0, 0))
        os.utime(next(self.store.glob("runctl-bench-*")), (0, 0))
        prefix = next(self.store.glob("runctl-bench-*")).name
        self.assertIn(f"{prefix}/ is of a 'runctl bench' that was killed", self.runctl("doctor").out.decode())
        self.assertIn(f"{prefix}/ removed", self.runctl("doctor", "--clear-leftovers").out.decode())
        self.assertEqual(list(self.store.glob("runctl-bench-*")), [])
        self.assertNotIn(b"benchmarks", self.runctl("doctor").out)
        self.assertEqual(len(self.objects()), 1, "the user's batch stays")

    def test_a_store_that_fails_leaves_nothing(self):
        """The disk takes no file as large as the batch."""
        runs = {harness.run_id(n): harness.make_run(n, outputs=harness.noise(n, 4000)) for n in range(1000)}
        path = self.write("own.ndjson", harness.joined(runs.values()))
        self.store.mkdir()

        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

        result = self.bench("--input", path, "--repeat", "1", status=FAILED, preexec_fn=limit, restore_signals=False)
        self.assert_message(result, "File too large")
        self.assert_nothing_stays()
        self.assertEqual(list(self.store.iterdir()), [])


if __name__ == "__main__":
    harness.main()
