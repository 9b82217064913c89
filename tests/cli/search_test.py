"""`runctl search` against a brute-force answer: Python reads the files and looks at every run.

The real sets are sampled in the short form and whole with RUNCTL_LONG=1.
"""

import csv
import datetime
import io
import json
import os
import random
import re
import shutil
import subprocess
import time
import unicodedata

import harness
from harness import DONE, LONG, NOT_FOUND, USAGE, joined, make_run, run_id, split_lines, unzstd

COLUMNS = ["id", "trace_id", "parent_run_id", "name", "run_type", "status", "start_time", "end_time", "latency", "error",
           "cursor"]
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
SECOND = 1_000_000
# What runctl-search(1) says of the index.
MAX_ENTRY, MAX_DEPTH, DEFAULT_ENTRIES, MOST_ENTRIES = 256, 8, 32, 256


# --- the model ---

class Number(str):
    """A number of JSON as it is written."""


class Pairs(list):
    """The members of an object, of which one key may have several."""


def wtf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def parsed(line: bytes) -> dict:
    return dict(json.loads(line, object_pairs_hook=Pairs, parse_int=Number, parse_float=Number))


def microseconds(value) -> int | None:
    """Of a time in a run; numbers are seconds here."""
    if value is None:
        return None
    if isinstance(value, Number):
        whole, _, part = value.partition(".")
        return int(whole) * SECOND + int(f"{part:0<6}"[:6])
    when = datetime.datetime.fromisoformat(value)
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.timezone.utc)
    return (when - EPOCH) // datetime.timedelta(microseconds=1)


def iso(value: int | None) -> str | None:
    if value is None:
        return None
    when = EPOCH + datetime.timedelta(microseconds=value)
    text = when.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}Z" if value % SECOND == 0 else f"{text}.{value % SECOND:06}Z"


def seconds(value: int | None) -> str | None:
    if value is None:
        return None
    return f"{'-' if value < 0 else ''}{abs(value) // SECOND}.{abs(value) % SECOND:06}"


def metadata_entries(members: Pairs, most: int) -> list[bytes]:
    """The first `most` scalar entries, as KEY=VALUE."""
    found: list[bytes] = []

    def read(members: Pairs, before: str, depth: int) -> None:
        for key, value in members:
            if len(found) == most:
                return
            if isinstance(value, Pairs):
                if depth < MAX_DEPTH:
                    read(value, f"{before}{key}.", depth + 1)
            elif isinstance(value, str) or isinstance(value, bool):
                text = str(value).lower() if isinstance(value, bool) else value
                entry = wtf8(f"{before}{key}={text}")
                if len(entry) <= MAX_ENTRY:
                    found.append(entry)

    read(members, "", 1)
    return found


class Run:
    """What the index knows of a run."""

    def __init__(self, line: bytes, entries: int = DEFAULT_ENTRIES):
        record = parsed(line)
        self.line = line
        self.id = record["id"].lower()
        self.trace = (record.get("trace_id") or self.id).lower()
        parent = (record.get("parent_run_id") or self.id).lower()
        self.parent = None if parent == self.id else parent
        self.name = wtf8(record.get("name") or "")
        self.run_type = wtf8(record.get("run_type") or "")
        self.status = wtf8(record.get("status") or "")
        self.start = microseconds(record.get("start_time"))
        end = microseconds(record.get("end_time"))
        self.end = None if self.start is None else end
        self.latency = None if self.start is None or end is None else end - self.start
        self.error = record.get("error") is not None
        self.tags = {wtf8(tag) for tag in record.get("tags") or ()}
        metadata = record.get("metadata")
        if metadata is None and isinstance(record.get("extra"), Pairs):
            metadata = next((value for key, value in record["extra"]
                             if key == "metadata" and isinstance(value, Pairs)), None)
        self.metadata = set(metadata_entries(metadata or Pairs(), entries))
        self.order = (self.start is not None, self.start or 0)

    def shown(self) -> dict:
        """As ndjson has it, latency as text."""
        def text(value: bytes):
            return value.decode("utf-8", "surrogatepass") or None
        return {"id": self.id, "trace_id": self.trace, "parent_run_id": self.parent, "name": text(self.name),
                "run_type": text(self.run_type), "status": text(self.status), "start_time": iso(self.start),
                "end_time": iso(self.end), "latency": seconds(self.latency), "error": self.error}


# The filters: the flag, how a run is compared with the value, and how a value makes the flag's text. Times and
# latencies are microseconds.
FILTERS = {
    "--trace-id": lambda run, value: run.trace == value,
    "--name": lambda run, value: run.name == value,
    "--name-contains": lambda run, value: value in run.name,
    "--name-prefix": lambda run, value: run.name.startswith(value),
    "--run-type": lambda run, value: run.run_type == value,
    "--tag": lambda run, value: value in run.tags,
    "--metadata": lambda run, value: value in run.metadata,
    "--error": lambda run, value: run.error,
    "--no-error": lambda run, value: not run.error,
    "--since": lambda run, value: run.start is not None and run.start >= value,
    "--until": lambda run, value: run.start is not None and run.start < value,
    "--min-latency": lambda run, value: run.latency is not None and run.latency >= value,
    "--max-latency": lambda run, value: run.latency is not None and run.latency <= value,
}
REPEATABLE = ("--tag", "--metadata")


def latest(lines, entries: int = DEFAULT_ENTRIES) -> list[Run]:
    """Of each id the last; a line that comes again does not make its version the latest."""
    runs: dict[str, Run] = {}
    seen = set()
    for line in lines:
        if line not in seen:
            seen.add(line)
            run = Run(line, entries)
            runs[run.id] = run
    return list(runs.values())


def matching(runs: list[Run], filters: list[tuple]) -> list[Run]:
    found = runs
    for flag, value in filters:
        found = [run for run in found if FILTERS[flag](run, value)]
    return found


def words_of(filters: list[tuple], dice: random.Random) -> list:
    """The filters as a person types them."""
    words: list = []
    for flag, value in filters:
        if flag in ("--error", "--no-error"):
            words.append(flag)
            continue
        if flag in ("--since", "--until"):
            value = typed_time(value, dice)
        elif flag in ("--min-latency", "--max-latency"):
            value = dice.choice((f"{value}us", f"{value / 1000:.3f}ms", f"{value / SECOND:.6f}s"))
        if dice.random() < 0.2 and value:
            words.append(b"%s=%s" % (flag.encode(), harness.as_bytes(value)))
        else:
            words += [flag, value]
    return words


def typed_time(value: int, dice: random.Random) -> str:
    text = iso(value)
    if value % (86_400 * SECOND) == 0 and dice.random() < 0.5:
        return text[:10]
    zone = dice.choice(("Z", "", "zone"))
    if zone == "zone":
        return iso(value + 5400 * SECOND)[:-1] + "+01:30"
    return text[:-1].replace("T", dice.choice("T ")) + zone


class Values:
    """Values of filters, taken from the runs, so that most searches find some."""

    def __init__(self, runs: list[Run], dice: random.Random):
        self.runs = runs
        self.dice = dice

    def of(self, flag: str, run: Run):
        """A value that is near what this run has, or None."""
        dice = self.dice
        if flag == "--trace-id":
            return run.trace
        if flag == "--name":
            return run.name
        if flag == "--name-contains":
            begin = dice.randrange(len(run.name) + 1)
            return run.name[begin:begin + dice.randrange(1, 9)]
        if flag == "--name-prefix":
            return run.name[:dice.randrange(len(run.name) + 1)]
        if flag == "--run-type":
            return run.run_type
        if flag in REPEATABLE:
            have = sorted(run.tags if flag == "--tag" else run.metadata)
            return dice.choice(have) if have else None
        if flag in ("--since", "--until"):
            return None if run.start is None else run.start + dice.choice((0, 0, 1, -1, SECOND, 3600 * SECOND))
        if flag in ("--min-latency", "--max-latency"):
            return None if run.latency is None else max(0, run.latency + dice.choice((0, 0, 1, -1, SECOND)))
        return ""

    def one(self, flag: str):
        value = self.of(flag, self.dice.choice(self.runs))
        if value is None or (isinstance(value, bytes) and b"\0" in value):
            return None
        if isinstance(value, bytes) and self.dice.random() < 0.05:
            value += b"~"
        return (flag, value)

    def several(self) -> list[tuple]:
        """Filters together; half of the time of one run, so that it matches them all."""
        flags = self.dice.sample(sorted(FILTERS), self.dice.randint(2, 5))
        if {"--error", "--no-error"} <= set(flags):
            flags.remove("--error")
        flags += [flag for flag in REPEATABLE if flag in flags and self.dice.random() < 0.4]
        if self.dice.random() < 0.5:
            return [found for flag in flags if (found := self.one(flag))]
        run = self.dice.choice(self.runs)
        if "--error" in flags and not run.error:
            flags.remove("--error")
        if "--no-error" in flags and run.error:
            flags.remove("--no-error")
        found = []
        for flag in flags:
            value = self.of(flag, run)
            if value is None or (isinstance(value, bytes) and b"\0" in value):
                continue
            if flag == "--until":
                value = run.start + self.dice.choice((1, SECOND, 86_400 * SECOND))
            elif flag == "--since":
                value = run.start - self.dice.choice((0, 1, SECOND, 86_400 * SECOND))
            found.append((flag, value))
        return found


class SearchTest(harness.CliTest):
    timeout = 900

    def search(self, *arguments, status: int = DONE, **options) -> list[bytes]:
        return self.runctl("search", *arguments, status=status, **options).lines

    def ids(self, *arguments) -> list[str]:
        return [line.decode() for line in self.search("--limit", "0", "--format", "ids", *arguments)]

    def records(self, *arguments) -> list[dict]:
        return [json.loads(line) for line in self.search("--limit", "0", "--format", "ndjson", *arguments)]

    def count(self, *arguments) -> int:
        line, = self.search("--count", *arguments)
        return int(line)

    def ingest_lines(self, lines, *arguments) -> None:
        self.ingest_bytes(joined(lines), *arguments)

    def assert_found(self, ids: list[str], expected: list[Run], newest: bool, what) -> None:
        """Exactly these runs, by start time; equal starts in any order."""
        by_id = {run.id: run for run in expected}
        self.assertEqual(sorted(ids), sorted(by_id), f"{what}: other runs")
        orders = [by_id[i].order for i in ids]
        self.assertEqual(orders, sorted(orders, reverse=newest), f"{what}: wrong order")

    def check(self, runs: list[Run], filters: list[tuple], dice: random.Random) -> int:
        """One search in all its forms; returns how many runs match."""
        expected = matching(runs, filters)
        words = words_of(filters, dice)
        newest = dice.random() < 0.5
        order = [] if newest and dice.random() < 0.5 else ["--order", "newest" if newest else "oldest"]
        ids = self.ids(*words, *order)
        self.assert_found(ids, expected, newest, words)
        self.assertEqual(self.count(*words, *order), len(expected), words)
        if dice.random() < 0.3:
            limit = dice.randint(1, 60)
            some = self.search(*words, *order, "--limit", str(limit), "--format", "ids")
            self.assertEqual([line.decode() for line in some], ids[:limit], words)
            self.assertEqual(self.count(*words, "--limit", str(limit)), len(expected), "--count knows no limit")
        if expected and dice.random() < 0.15:
            self.assertEqual(self.paged(words + order, dice.randint(1, len(expected))), ids, words)
        if expected and dice.random() < 0.1:
            other = self.ids(*words, "--order", "oldest" if newest else "newest")
            self.assertEqual(other[::-1], ids, "one order is the other, reversed")
        return len(expected)

    def paged(self, words: list, limit: int, between=lambda: None) -> list[str]:
        """All pages, one behind the other; at most 8 of them in full."""
        ids: list[str] = []
        after: list[str] = []
        for page in range(10_000):
            # The last pages are taken as one, else large answers take thousands of commands.
            size = limit if page < 8 else 0
            lines = self.search(*words, *after, "--limit", str(size), "--format", "ndjson")
            found = [json.loads(line) for line in lines]
            ids += [record["id"] for record in found]
            if size == 0 or len(found) < size:
                return ids
            after = ["--after", found[-1]["cursor"]]
            between()
        self.fail("there is no end")

    def check_facts(self, runs: list[Run]) -> None:
        """What is printed of each run, in ndjson and csv."""
        by_id = {run.id: run.shown() for run in runs}
        lines = self.search("--limit", "0", "--format", "ndjson")
        self.assertEqual(len(lines), len(runs))
        cursors = []
        for line in lines:
            record = json.loads(line, parse_float=str, parse_int=str)
            self.assertEqual(list(record), COLUMNS)
            cursors.append(record.pop("cursor"))
            self.assertEqual(record, by_id[record["id"]])
        self.assertEqual(len(set(cursors)), len(cursors))
        rows = self.csv_rows("--limit", "0")
        self.assertEqual(len(rows), len(runs))
        for row, cursor in zip(rows, cursors):
            self.assertEqual(row.pop("cursor"), cursor)
            expected = {key: "" if value is None else value for key, value in by_id[row["id"]].items()}
            expected["error"] = str(expected["error"]).lower()
            self.assertEqual(row, expected)

    def csv_rows(self, *arguments) -> list[dict]:
        text = self.runctl("search", "--format", "csv", *arguments).out.decode("utf-8", "surrogatepass")
        header, *rows = csv.reader(io.StringIO(text, newline=""))
        self.assertEqual(header, COLUMNS)
        self.assertEqual({len(row) for row in rows} - {len(COLUMNS)}, set())
        return [dict(zip(COLUMNS, row)) for row in rows]

    def check_runs(self, runs: list[Run], filters: list[tuple], dice: random.Random) -> None:
        """The runs themselves, by --full and by `get`."""
        words = words_of(filters, dice)
        lines = {run.id: run.line for run in runs}
        ids = self.ids(*words)
        expected = [lines[i] for i in ids]
        self.assert_same_lines(self.search("--limit", "0", "--full", *words), expected)
        self.assert_same_lines(self.get_listed(ids), expected)


class RealSets(SearchTest):
    def lines_of(self, name: str) -> list[bytes]:
        path = self.real_data(name)
        return split_lines(unzstd(path) if path.suffix == ".zst" else path.read_bytes())

    def check_lines(self, lines: list[bytes], seed: str, searches: int) -> None:
        """Of lines that are ingested: each filter alone, and many together."""
        dice = random.Random(seed)
        runs = latest(lines)
        values = Values(runs, dice)
        self.assert_found(self.ids(), runs, True, "all")
        self.assertEqual(self.count(), len(runs))
        self.check_facts(runs)
        found = {flag: 0 for flag in FILTERS}
        for flag in FILTERS:
            for _ in range(max(6, searches // 10)):
                filters = values.one(flag)
                if filters:
                    found[flag] += self.check(runs, [filters], dice) > 0
        hits = 0
        for number in range(searches):
            filters = values.several()
            hits += self.check(runs, filters, dice) > 0
            if number % 20 == 0:
                self.check_runs(runs, filters, dice)
        self.assertGreater(hits, searches // 3, "too many searches that find nothing prove little")
        # What the set has, some search has found.
        for flag in ("--trace-id", "--name", "--name-contains", "--name-prefix", "--run-type", "--since", "--until"):
            self.assertGreater(found[flag], 0, flag)

    def check_set(self, name: str, short: int, searches: int) -> None:
        lines = self.lines_of(name)
        if not LONG:
            lines = lines[:short]
        self.ingest_lines(lines)
        self.check_lines(lines, name, searches * 2 if LONG else searches)

    def test_intercode(self):
        self.check_set("agent/intercode.ndjson.zst", 4000, 40)

    def test_taubench(self):
        self.check_set("agent/taubench.ndjson.zst", 2000, 40)

    def test_sweagent(self):
        self.check_set("agent/sweagent_demos.ndjson.zst", 475, 30)

    def test_zeroeval_gsm(self):
        self.check_set("chat/zeroeval-gsm.ndjson.zst", 3000, 40)

    def test_zeroeval_crux(self):
        self.check_set("chat/zeroeval-crux.ndjson.zst", 1500, 20)

    def test_langsmith_merged(self):
        self.check_set("langsmith_raw/run_ops_merged.ndjson.zst", 81, 40)

    def test_json_suite_spliced(self):
        self.check_set("JSONTestSuite/y_spliced_runs.ndjson", 91, 30)

    def varied(self, lines: list[bytes], dice: random.Random) -> list[bytes]:
        """The same runs with what the sets lack: tags, errors, several versions, runs without times, and more."""
        varied = []
        for line in lines:
            record = json.loads(line)
            if dice.random() < 0.3:
                record["tags"] = dice.choices(["red", "green", "blue", "50%", "a_b", "", "red\n", "\u05d0"],
                                              k=dice.randint(0, 3))
            if dice.random() < 0.15:
                record["error"] = dice.choice(["boom", {"message": "boom"}, ""])
            if dice.random() < 0.2:
                record["status"] = dice.choice(["success", "error", ""])
            if dice.random() < 0.1:
                del record["start_time"]
            if dice.random() < 0.1:
                record.pop("end_time", None)
            elif dice.random() < 0.05:
                record["end_time"] = record.get("start_time")
            if dice.random() < 0.05:
                record["name"] = dice.choice(["", None, "rare %d" % dice.randrange(50)])
            if dice.random() < 0.05:
                record["run_type"] = dice.choice(["", None, "LLM"])
            if dice.random() < 0.3:
                record["metadata"] = {"env": dice.choice(["prod", "test"]), "n": dice.randrange(5), "ok": True,
                                      "user": {"name": dice.choice(["ann", "bob"]), "tier": {"level": 1.5}},
                                      "list": [1], "none": None}
            if dice.random() < 0.1:
                record["extra"] = {"metadata": {"env": "of extra", "deep": {"er": False}}}
                if dice.random() < 0.7:
                    record.pop("metadata", None)
            varied.append(json.dumps(record).encode())
            if dice.random() < 0.1:
                # A later version of this or of an earlier run.
                newer = json.loads(dice.choice((varied[-1], dice.choice(varied))))
                newer["name"] = "newer " + (newer.get("name") or "")
                newer["outputs"] = {"n": dice.random()}
                varied.append(json.dumps(newer).encode())
        return varied

    def test_what_the_sets_lack(self):
        """Tags, errors, versions; recorded by many commands, so that the index has many segments, and merges them."""
        dice = random.Random("varied")
        lines = self.varied(self.lines_of("agent/intercode.ndjson.zst")[:30_000 if LONG else 3000], dice)
        lines += self.varied(self.lines_of("langsmith_raw/run_ops_merged.ndjson.zst"), dice)
        at = 0
        while at < len(lines):
            size = dice.randint(1, max(2, len(lines) // 12))
            self.ingest_lines(lines[at:at + size])
            at += size
        searches = 300 if LONG else 120
        self.check_lines(lines, "varied", searches)
        # The same from the store, whose batches come in another order.
        self.runctl("index", "rebuild")
        self.check_lines(lines, "rebuilt", searches // 4)

    def test_of_a_pipeline(self):
        """search --format ids | get -"""
        lines = self.lines_of("agent/taubench.ndjson.zst")[:1500]
        self.ingest_lines(lines)
        runs = {run.id: run for run in latest(lines)}
        name = harness.as_bytes(next(iter(runs.values())).name)
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c",
             '"$1" --store "$2" search --name "$3" --limit 0 --format ids | "$1" --store "$2" get -',
             "bash", harness.binary(), self.store, name], capture_output=True, env=self.environment)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        expected = [run for run in runs.values() if run.name == name]
        got = split_lines(done.stdout)
        self.assertEqual(sorted(got), sorted(run.line for run in expected))
        self.assert_same_lines(got, [runs[i].line for i in self.ids("--name", name)])

    def test_paging_while_others_ingest(self):
        """No run that was there is missed or comes twice, whatever is recorded meanwhile."""
        lines = self.lines_of("agent/intercode.ndjson.zst")[:2000]
        self.ingest_lines(lines)
        before = {run.id: run for run in latest(lines)}
        dice = random.Random("paging")
        starts = sorted(run.start for run in before.values())
        numbers = iter(range(1_000_000))

        def add_some() -> None:
            """Before, between and behind what is there, some without a start."""
            self.ingest_lines(make_run(next(numbers), start_time=dice.choice((
                starts[0] // SECOND - 5, dice.choice(starts) // SECOND, starts[-1] // SECOND + 5, None)))
                for _ in range(dice.randint(1, 40)))

        for order in ("newest", "oldest"):
            with self.subTest(order=order):
                ids = self.paged(["--order", order], 173, between=add_some)
                self.assertEqual(len(set(ids)), len(ids), "a run came twice")
                there = [i for i in ids if i in before]
                self.assert_found(there, list(before.values()), order == "newest", order)
        # And while another process is at it all the time.
        feeder = subprocess.Popen([harness.binary(), "--store", self.store, "ingest", "-q", "--batch-bytes", "2K", "-"],
                                  stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment)
        try:
            feeder.stdin.write(joined(make_run(n, start_time=dice.choice(starts) / SECOND)
                                      for n in range(1_000_000, 1_003_000)))
            feeder.stdin.close()
            ids = self.paged([], 300)
            self.assertEqual(len(set(ids)), len(ids), "a run came twice")
            self.assertLessEqual(set(before), set(ids))
        finally:
            feeder.wait(self.timeout)
            error = feeder.stderr.read()
            feeder.stderr.close()
        self.assertEqual((feeder.returncode, error), (0, b""))


class Times(SearchTest):
    def test_ages(self):
        """--since and --until as how long ago."""
        now = int(time.time())
        # Far enough from each other that a slow machine does not matter.
        ages = {"900s": 900, "30m": 1800, "2h": 7200, "1.5h": 5400, "7d": 7 * 86_400, "9000000ms": 9000, "0s": 0}
        starts = {run_id(n): now - age for n, age in enumerate((-5000, 300, 2400, 6300, 8000, 86_400, 10**6))}
        self.ingest_lines(make_run(n, start_time=start) for n, start in enumerate(starts.values()))
        self.ingest_lines([make_run(100)])
        for text, age in ages.items():
            self.assertEqual(set(self.ids("--since", text)), {i for i, s in starts.items() if s >= now - age}, text)
            self.assertEqual(set(self.ids("--until", text)), {i for i, s in starts.items() if s < now - age}, text)

    def test_windows(self):
        self.ingest_lines(make_run(n, start_time=f"2024-05-0{n + 1}T00:00:00Z") for n in range(5))
        self.ingest_lines([make_run(9), make_run(8, start_time="1969-12-31T23:59:59.999999Z"),
                           make_run(7, start_time=0)])
        for words, expected in (
                ((), {0, 1, 2, 3, 4, 7, 8, 9}),
                (("--since", "2024-05-03"), {2, 3, 4}),
                (("--since", "2024-05-03T00:00:00.000001"), {3, 4}),
                (("--until", "2024-05-03"), {0, 1, 7, 8}),
                (("--until", "2024-05-03 00:00:00.000001Z"), {0, 1, 2, 7, 8}),
                (("--since", "2024-05-02", "--until", "2024-05-04"), {1, 2}),
                (("--since", "2024-05-02T02:00+02:00", "--until", "2024-05-02T00:00:01"), {1}),
                (("--since", "2024-05-04", "--until", "2024-05-02"), set()),
                (("--since", "2024-05-02", "--until", "2024-05-02"), set()),
                (("--since", "1970-01-01", "--until", "1970-01-02"), {7}),
                (("--since", "0001-01-01", "--until", "1970-01-01"), {8}),
                (("--since", "0001-01-01"), {0, 1, 2, 3, 4, 7, 8}),
                (("--until", "9999-12-31"), {0, 1, 2, 3, 4, 7, 8}),
                (("--since", "100y"), None)):
            if expected is None:
                self.search(*words, status=USAGE)
                continue
            self.assertEqual(set(self.ids(*words)), {run_id(n) for n in expected}, words)
            self.assertEqual(self.count(*words), len(expected), words)

    def test_runs_without_a_start_are_the_oldest(self):
        self.ingest_lines([make_run(1, start_time="2024-05-01"), make_run(2), make_run(3, start_time="1950-01-01"),
                           make_run(4, end_time="2024-05-01")])
        newest = self.ids()
        self.assertEqual(newest[:2], [run_id(1), run_id(3)])
        self.assertEqual(set(newest[2:]), {run_id(2), run_id(4)})
        self.assertEqual(self.ids("--order", "oldest"), newest[::-1])

    def test_latencies(self):
        """To the microsecond, both ends included; a clock that went backwards."""
        self.ingest_lines(make_run(n, start_time="2024-05-01T00:00:00Z", end_time=f"2024-05-01T00:00:0{n}.{n:06}Z")
                          for n in range(5))
        self.ingest_lines([make_run(8, start_time="2024-05-01"), make_run(9, end_time="2024-05-01"),
                           make_run(7, start_time="2024-05-01T00:00:01Z", end_time="2024-05-01T00:00:00.5Z")])
        for words, expected in (
                (("--min-latency", "2000002us"), {2, 3, 4}), (("--min-latency", "2000.003ms"), {3, 4}),
                (("--min-latency", "0s"), {0, 1, 2, 3, 4}), (("--max-latency", "0s"), {0, 7}),
                (("--max-latency", "1.000001s"), {0, 1, 7}), (("--max-latency", "1.0s"), {0, 7}),
                (("--min-latency", "1m"), set()), (("--max-latency", "1d"), {0, 1, 2, 3, 4, 7}),
                (("--min-latency", "1s", "--max-latency", "4h"), {1, 2, 3, 4})):
            self.assertEqual(set(self.ids(*words)), {run_id(n) for n in expected}, words)
            self.assertEqual(self.count(*words), len(expected), words)
        self.assertEqual({r["id"]: r["latency"] for r in self.records()}[run_id(7)], -0.5)


class Versions(SearchTest):
    def test_only_the_latest_is_found(self):
        old = make_run(1, name="old", tags=["t"], metadata={"v": 1}, error="boom", run_type="llm", start_time=10, end_time=20)
        new = make_run(1, name="new", metadata={"v": 2}, start_time=1000)
        other = make_run(2, name="old", start_time=5)
        self.ingest_lines([old, other])
        self.assertEqual(self.ids(), [run_id(1), run_id(2)])
        self.ingest_lines([new])

        def check() -> None:
            self.assertEqual(self.search("--full"), [new, other])
            self.assertEqual(self.count(), 2)
            for words in (("--tag", "t"), ("--metadata", "v=1"), ("--error",), ("--run-type", "llm"),
                          ("--min-latency", "1s"), ("--since", "1970-01-01T00:00:10Z", "--until", "1970-01-01T00:00:11Z")):
                self.assertEqual((self.ids(*words), self.count(*words)), ([], 0), words)
            self.assertEqual(self.ids("--name", "old"), [run_id(2)])
            self.assertEqual(self.ids("--name-contains", "l"), [run_id(2)])
            self.assertEqual(self.count("--name", "old"), 1)
            self.assertEqual(self.ids("--name", "new", "--metadata", "v=2"), [run_id(1)])

        check()
        # The older version again changes nothing.
        self.ingest_lines([old])
        check()
        self.runctl("index", "rebuild")
        check()
        self.ingest_lines([make_run(3, name="old"), make_run(3, name="new"), make_run(3, name="newest")])
        self.assertEqual(self.ids("--name", "newest"), [run_id(3)])
        self.assertEqual(self.count(), 3)

    def test_versions_heard_of_in_another_order(self):
        """An index that syncs the newer version first answers as one that saw them come."""
        old, new = make_run(1, name="old", start_time=5), make_run(1, name="new", start_time=6)
        again = make_run(2, name="again")
        self.ingest_lines([old, again])
        first, = self.objects()
        self.ingest_lines([new])
        second, = set(self.objects()) - {first}
        for path, modified in ((first, 1_700_000_000), (second, 1_700_000_100)):
            os.utime(path, (modified, modified))
        index = ["--index", self.dir / "other.sqlite"]
        for hidden in (first, second):
            index[1].unlink(missing_ok=True)
            aside = self.dir / "aside"
            hidden.rename(aside)
            self.runctl("index", "sync", *index)
            aside.rename(hidden)
            self.runctl("index", "sync", *index)
            self.assertEqual(self.search("--full", *index), [new, again])
            self.assertEqual(self.count("--name", "old", *index), 0)
            self.assertEqual(self.count(*index), 2)

    def test_a_version_in_another_trace(self):
        self.ingest_lines([make_run(1, trace_id=run_id(10)), make_run(2, trace_id=run_id(10))])
        self.ingest_lines([make_run(1, trace_id=run_id(11))])
        self.assertEqual(self.ids("--trace-id", run_id(10)), [run_id(2)])
        self.assertEqual(self.ids("--trace-id", run_id(11)), [run_id(1)])
        self.assertEqual(self.ids("--trace-id", run_id(1)), [])


# Every byte that could steer a terminal, every character that means something in a pattern, a shell, JSON or CSV.
NAUGHTY = [
    "", " ", "  lead", "trail  ", "\t", "a\tb", "line\nbreak", "\r\n", "a\rb", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07",
    "\x1bP1$q\x1b\\", "\x7f", "".join(map(chr, range(1, 32))), "\x80\x9b31m", "\u0085", "nul\0inside", "\0", "quote\"d",
    "'", "\"", "\"\"", "a,b", "a;b", "=1+1", "-", "--", "--name", "-x", "100%", "100x", "%", "%%", "%s%n", "a_b", "axb",
    "_", "*", "a*", "?", "[a]", "[", "{}", "{a,b}", "\\", "a\\b", "a\\\\b", "\\u0041", "A", "a", "Aa", "$HOME", "`id`",
    "${x}", "\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627", "abc\u202edef", "\u2066x\u2069", "\u200b", "\ufeff",
    "\ud800", "a\ud800", "\udc00", "\udfff\ud800", "\ud83d", "\U0001f600", "e\u0301", "\u00e9", "\u00c9", "\u4e2d\u6587", "\ufffd", "\ufffe",
    "\U0010ffff", "n\u0303" * 40, "null", "true", "1", "1.0", "01", "k=v", "=", "a=b=c", "a.b", "..", "/etc/passwd",
    "x" * 10_000, "\u05d0" * 5000, "long " * 2000, "x" * 9_999 + "y",
]


def typed(text: str) -> bytes:
    """As a shell can pass it: the bytes of WTF-8."""
    return os.fsencode(wtf8(text))


class NaughtyStrings(SearchTest):
    def runs_with(self, field: str, make) -> list[Run]:
        """One run for each string, as escapes and, where that is possible, as the characters themselves."""
        lines = []
        for number, text in enumerate(NAUGHTY):
            record = {"id": run_id(number), "start_time": number % 5, field: make(text)}
            try:
                lines.append(json.dumps(record, ensure_ascii=number % 2 == 0).encode())
            except UnicodeEncodeError:
                lines.append(json.dumps(record).encode())
        self.ingest_lines(lines)
        return [Run(line) for line in lines]

    def check_texts(self, runs: list[Run], flags, texts) -> int:
        checked = 0
        for text in texts:
            if "\0" in text:
                continue
            for flag in flags:
                filters = [(flag, wtf8(text))]
                expected = matching(runs, filters)
                for words in ([flag, typed(text)], [b"%s=%s" % (flag.encode(), typed(text))]):
                    if not text and len(words) == 1:
                        continue
                    self.assert_found(self.ids(*words), expected, True, words)
                self.assertEqual(self.count(flag, typed(text)), len(expected), (flag, text))
                checked += 1
        return checked

    def test_names(self):
        runs = self.runs_with("name", lambda text: text)
        self.check_facts(runs)
        self.check_texts(runs, ("--name", "--name-contains", "--name-prefix"), NAUGHTY)
        # Strings with a zero byte cannot be typed; parts of them can.
        self.assertEqual(self.ids("--name-contains", "inside"), [run_id(NAUGHTY.index("nul\0inside"))])
        self.assertEqual(set(self.ids("--name-prefix", "nul")),
                         {run_id(NAUGHTY.index(text)) for text in ("null", "nul\0inside")})

    def test_parts_of_names(self):
        runs = self.runs_with("name", lambda text: text)
        self.check_texts(runs, ("--name-contains", "--name-prefix"),
                         ["\x1b", "[", "31", "%", "_", "\\", "\n", "\ud800", "\u05d0", "x" * 9_999, "xx", "ng lo", "\u0301", "e", "E",
                          ".", "*", "^", "$", "|", "(", ")"])
        # Bytes, not characters: the first half of a letter is part of it.
        self.assertIn(run_id(NAUGHTY.index("\u00e9")), self.ids("--name-contains", b"\xc3"))
        self.assertEqual(self.ids("--name-contains", b"\xff"), [])

    def test_types_and_tags(self):
        runs = self.runs_with("run_type", lambda text: text)
        self.check_texts(runs, ("--run-type",), NAUGHTY)
        shutil.rmtree(self.store)
        shutil.rmtree(self.home / "state")
        runs = self.runs_with("tags", lambda text: [text, "all", text])
        self.check_texts(runs, ("--tag",), NAUGHTY)
        self.assertEqual(self.count("--tag", "all"), len(NAUGHTY))
        self.assertEqual(self.count("--tag", "all", "--tag", "100%"), 1)

    def test_statuses(self):
        self.check_facts(self.runs_with("status", lambda text: text))

    def test_metadata(self):
        runs = self.runs_with("metadata", lambda text: {"k": text, text: "v", "in": {text: {"side": text}}})
        texts = []
        for text in NAUGHTY:
            texts += [f"k={text}", f"{text}=v", f"in.{text}.side={text}"]
        self.check_texts(runs, ("--metadata",), texts[::1 if LONG else 2])
        self.check_texts(runs, ("--metadata",), ["k=100", "K=100%", "k=100%25", "k= ", "k", "in=", "in.=", "=", "k=\\u0041"][:4])

    def test_the_table_is_harmless(self):
        self.runs_with("name", lambda text: text)
        before = self.runctl("search", "--format", "table", "--limit", "0").out
        shutil.rmtree(self.store)
        shutil.rmtree(self.home / "state")
        self.runs_with("run_type", lambda text: text)
        for out in (before, self.runctl("search", "--format", "table", "--limit", "0").out):
            lines = split_lines(out)
            self.assertEqual(len(lines), 1 + len(NAUGHTY), "one line a run")
            for line in lines:
                text = line.decode()  # UTF-8, whatever the name was
                steering = [c for c in text if unicodedata.category(c) in ("Cc", "Cs") or c in "\u2028\u2029\u202d\u202e"]
                self.assertEqual(steering, [], line)

    def test_texts_that_are_cut(self):
        """The index keeps 65,536 bytes of a name."""
        name = "y" * 70_000
        self.ingest_lines([make_run(1, name=name)])
        self.assertEqual(self.ids("--name", name[:65_536]), [run_id(1)])
        self.assertEqual(self.ids("--name", name), [])
        self.assertEqual(self.records()[0]["name"], name[:65_536])
        self.assertEqual(len(self.search("--full")[0]), len(make_run(1, name=name)))


class Metadata(SearchTest):
    def test_what_is_searchable(self):
        deep = {"end": 1}
        for n in range(MAX_DEPTH - 1, 0, -1):
            deep = {f"k{n}": deep}
        too_deep = {"k0": deep}
        self.ingest_lines([
            b'{"id":"%s","metadata":{"s":"text","n":1.50,"big":18446744073709551617,"e":1E400,"t":true,"f":false,"nul":null,'
            b'"list":["x"],"o":{"p":{"q":"r"}},"":"empty","d.ot":"ted","esc":"\\u0041\\/","twice":1,"twice":2}}'
            % run_id(1).encode(),
            make_run(2, metadata=deep), make_run(3, metadata=too_deep),
            make_run(4, metadata={"long": "v" * 251, "longer": "v" * 250, "after": "it"}),
            make_run(5, extra={"metadata": {"of": "extra"}}),
            make_run(6, metadata={"of": "own"}, extra={"metadata": {"of": "extra"}}),
            make_run(7, metadata={}, extra={"metadata": {"of": "extra"}}),
            make_run(8, metadata=None, extra={"metadata": {"of": "extra"}}),
            make_run(9, extra=[{"metadata": {"of": "extra"}}]),
            make_run(10, metadata={"o": {"p": "q"}, "o.p": "q"}),
        ])
        path = ".".join(f"k{n}" for n in range(1, MAX_DEPTH))
        for entry, expected in (
                ("s=text", {1}), ("s=Text", set()), ("s=tex", set()), ("S=text", set()), ('s="text"', set()),
                ("n=1.50", {1}), ("n=1.5", set()), ("big=18446744073709551617", {1}), ("e=1E400", {1}), ("e=1e400", set()),
                ("t=true", {1}), ("t=True", set()), ("t=1", set()), ("f=false", {1}), ("nul=null", set()), ("nul=", set()),
                ("list=x", set()), ('list=["x"]', set()), ("list.0=x", set()), ("o.p.q=r", {1}), ("o=", set()),
                ("=empty", {1}), ("d.ot=ted", {1}), ("esc=A/", {1}), ("twice=1", {1}), ("twice=2", {1}),
                (f"{path}.end=1", {2}), (f"k0.{path}.end=1", set()),
                ("long=" + "v" * 251, {4}), ("longer=" + "v" * 250, set()), ("after=it", {4}),
                ("of=extra", {5, 8}), ("of=own", {6}), ("o.p=q", {10})):
            self.assertEqual(set(self.ids("--metadata", entry)), {run_id(n) for n in expected}, entry)
            self.assertEqual(self.count("--metadata", entry), len(expected), entry)
        self.assertEqual(self.count("--metadata", "s=text", "--metadata", "t=true"), 1)
        self.assertEqual(self.count("--metadata", "s=text", "--metadata", "of=own"), 0)

    def test_how_many_entries(self):
        """--metadata-entries: the first ones, in the order in which they stand in the run."""
        lines = [make_run(1, metadata={**{f"k{n}": n for n in range(300)}}),
                 make_run(2, metadata={"a": {"b": 1, "c": [2], "d": None}, "e": "f", "g": "x" * 300, "h": True})]
        for entries in (0, 1, 3, None, 200, MOST_ENTRIES):
            with self.subTest(entries=entries):
                shutil.rmtree(self.store, ignore_errors=True)
                shutil.rmtree(self.home / "state", ignore_errors=True)
                self.ingest_lines(lines, *([] if entries is None else ["--metadata-entries", str(entries)]))
                runs = [Run(line, DEFAULT_ENTRIES if entries is None else entries) for line in lines]
                wanted = [f"k{n}={n}" for n in (0, 1, 2, 3, 31, 32, 199, 200, 255, 256, 299)]
                for entry in wanted + ["a.b=1", "e=f", "h=true", "a.c=2"]:
                    expected = matching(runs, [("--metadata", entry.encode())])
                    self.assertEqual(self.ids("--metadata", entry), [run.id for run in expected], entry)
                # The store remembers, not the index alone.
                self.runctl("index", "rebuild")
                for entry in ("k0=0", "k31=31", "k32=32", "e=f"):
                    expected = matching(runs, [("--metadata", entry.encode())])
                    self.assertEqual(self.ids("--metadata", entry), [run.id for run in expected], entry)
                self.assertEqual(self.get(run_id(1)), [lines[0]], "the run is whole")
        for wrong in ("-1", "257", "x", "1.5"):
            self.runctl("ingest", "--metadata-entries", wrong, "-", stdin=lines[0], status=USAGE)


class Usage(SearchTest):
    def assert_usage(self, *arguments, parts=()) -> None:
        """Exit 2, nothing on stdout, one clear line on stderr."""
        result = self.runctl("search", *arguments, status=USAGE)
        self.assertEqual(result.out, b"", arguments)
        self.assertEqual(len(split_lines(result.err)), 1, result)
        self.assert_message(result, *parts)
        self.assertNotRegex(result.err[:-1], rb"[\x00-\x1f\x7f]")

    def test_wrong_values(self):
        self.ingest_lines([make_run(1)])
        for flag in ("--since", "--until"):
            for wrong in ("", "x", "2024", "2024-13-01", "2024-02-30", "2024-05-05T25:00", "yesterday", "2", "-2h", "2 h", "2w",
                          "nan", "1e3s", "\x1b[31m", "2024-05-05T10:00:00+99:00", "99999999d"):
                self.assert_usage(flag, wrong, parts=[flag, "is no time"])
        for flag in ("--min-latency", "--max-latency"):
            for wrong in ("", "x", "5", "-1s", "1 s", "1S", "s", "1s1", "inf", "2024-05-05", "1e400s"):
                self.assert_usage(flag, wrong, parts=[flag, "is no duration"])
        for wrong in ("", "key", "\x1b[31m"):
            self.assert_usage("--metadata", wrong, parts=["--metadata", "must be KEY=VALUE"])
        for wrong in ("-1", "x", "1.5", "99999999999999999999", "18446744073709551616", "1k"):
            self.assert_usage("--limit", wrong, parts=["--limit"])
        self.assert_usage("--order", "random", parts=["--order", "newest"])
        self.assert_usage("--format", "xml", parts=["--format", "ndjson"])

    def test_what_does_not_go_together(self):
        self.ingest_lines([make_run(1)])
        self.assert_usage("--full", "--count", parts=["--full", "--count"])
        for form in ("table", "ndjson", "csv", "ids"):
            self.assert_usage("--full", "--format", form, parts=["--full", "--format"])
        self.assert_usage("--error", "--no-error", parts=["--error", "--no-error"])
        self.assert_usage("word", parts=["word"])
        self.assert_usage("--nothing", parts=["--nothing"])
        self.assert_usage("--name", parts=["--name"])

    def test_cursors(self):
        self.ingest_lines([make_run(n, start_time=n) for n in range(5)])
        records = self.records()
        cursor = records[1]["cursor"]
        self.assertEqual(self.ids("--after", cursor), [r["id"] for r in records[2:]])
        self.assertEqual(self.ids("--after", ""), [r["id"] for r in records], "none: from the start")
        for wrong in ("x", cursor[:-1], cursor[:-2], cursor + "0", cursor + "00", cursor.replace(cursor[5], "z"),
                      cursor[:-1] + ("0" if cursor[-1] != "0" else "1"), "0" * 44, "\x1b[31m", records[0]["id"]):
            self.assert_usage("--after", wrong, parts=["--after", "no cursor"])
        self.assert_usage("--after", cursor, "--order", "oldest", parts=["--after", "other order"])
        # The same run from another index, and after a rebuild.
        other = ["--index", self.dir / "other.sqlite"]
        self.runctl("index", "sync", *other)
        result = self.runctl("search", "--after", cursor, *other, status=USAGE)
        self.assert_message(result, "--after", "another index")
        self.runctl("index", "rebuild")
        self.assert_usage("--after", cursor, parts=["--after", "rebuild"])

    def test_count_behind_a_cursor(self):
        """Counts what a search with the same flags prints."""
        self.ingest_lines([make_run(n, start_time=n, run_type="llm") for n in range(9)])
        for order in ("newest", "oldest"):
            for at, record in enumerate(self.records("--order", order), 1):
                for words in ((), ("--run-type", "llm"), ("--no-error",), ("--until", "1970-01-01T00:00:05Z")):
                    words += ("--order", order, "--after", record["cursor"])
                    self.assertEqual(self.count(*words), len(self.ids(*words)), words)
                self.assertEqual(self.count("--order", order, "--after", record["cursor"]), 9 - at)

    def test_a_cursor_of_a_run_that_does_not_match(self):
        self.ingest_lines([make_run(n, start_time=n, run_type="llm" if n % 2 else "tool") for n in range(6)])
        cursor = next(r["cursor"] for r in self.records() if r["id"] == run_id(4))
        self.assertEqual(self.ids("--run-type", "llm", "--after", cursor), [run_id(3), run_id(1)])

    def test_json(self):
        self.ingest_lines([make_run(1), make_run(2)])
        self.assertEqual(self.search("--count", "--json"), [b'{"count":2}'])
        self.assertEqual(len(self.search("--json")), 2)
        self.assertEqual(len(self.search("--full", "--json")), 2)

    def test_nothing_found_is_done(self):
        self.ingest_lines([make_run(1)])
        for form in ("ndjson", "ids"):
            self.assertEqual(self.search("--name", "none", "--format", form), [])
        self.assertEqual(self.csv_rows("--name", "none"), [])
        self.assertEqual(self.search("--name", "none", "--full"), [])
        self.assertEqual(self.count("--name", "none"), 0)
        result = self.runctl("search", "--name", "none", "--format", "table")
        self.assertEqual(result.out, b"")
        self.assert_message(result, "no run matches")
        self.assertEqual(self.runctl("search", "--name", "none", "--format", "table", "-q").err, b"")

    def test_the_next_page_of_a_table(self):
        """Runs are printed a thousand at a time: the cursor is that of the last one all the same."""
        self.ingest_bytes(harness.joined(harness.make_runs(1300).values()))
        for limit in (999, 1000, 1001):
            result = self.runctl("search", "--format", "table", "--limit", str(limit))
            cursor = result.err.split()[-1].decode()
            rest = self.runctl("search", "--format", "ids", "--limit", "0", "--after", cursor)
            self.assertEqual(len(rest.lines), 1300 - limit)

    def test_limits(self):
        """50 without a flag; a table says where to go on."""
        self.ingest_lines([make_run(n, start_time=n) for n in range(60)])
        self.assertEqual(len(self.search()), 50)
        self.assertEqual(len(self.search("--limit", "0")), 60)
        self.assertEqual(len(self.search("--limit", "60")), 60)
        self.assertEqual(len(self.search("--full")), 50)
        result = self.runctl("search", "--format", "table")
        self.assertEqual(len(result.lines), 51)
        cursor = re.search(rb"--after ([0-9a-f]{44})$", result.err.strip())[1].decode()
        self.assertEqual(self.ids("--after", cursor), [run_id(n) for n in range(9, -1, -1)])
        self.assertEqual(self.runctl("search", "--format", "table", "--limit", "60").err, b"")
        self.assertEqual(self.runctl("search", "--format", "ids").err, b"", "a pipe is told nothing")


class Indexes(SearchTest):
    def test_an_index_that_is_not_there(self):
        self.ingest_lines([make_run(n, name="n", start_time=n) for n in range(5)])
        shutil.rmtree(self.home / "state")
        result = self.runctl("search", "--no-sync", status=NOT_FOUND)
        self.assertEqual(result.out, b"")
        self.assert_message(result, "there is no index", "runctl index sync")
        self.assertFalse((self.home / "state").exists(), "nothing is made")
        self.assertEqual(self.ids("--name", "n"), [run_id(n) for n in range(4, -1, -1)])
        self.assertEqual(len(self.search("--no-sync")), 5)
        shutil.rmtree(self.home / "state")
        self.assertEqual(self.count(), 5)

    def test_a_broken_batch_while_the_index_is_made(self):
        """What could not be read is named, and exit 0 would say that nothing is missing."""
        self.ingest_lines([make_run(1, start_time=1)])
        broken, = self.objects()
        self.ingest_lines([make_run(2, start_time=2)])
        broken.write_bytes(broken.read_bytes()[:-1])
        shutil.rmtree(self.home / "state")
        result = self.runctl("search", "--format", "ids", status=harness.CORRUPT)
        self.assertEqual(result.lines, [run_id(2).encode()])
        self.assert_message(result, broken.name)
        self.assertEqual(self.ids(), [run_id(2)])

    def test_a_store_that_is_not_there(self):
        result = self.runctl("search", status=NOT_FOUND)
        self.assertEqual(result.out, b"")
        self.assertEqual(len(result.messages), 1)
        self.assertFalse(self.store.exists())

    def test_the_index_alone_is_asked(self):
        """What others store is found after a sync."""
        self.ingest_lines([make_run(1)])
        other = ["--index", self.dir / "other.sqlite"]
        self.assertEqual(len(self.search(*other)), 1)
        self.ingest_lines([make_run(2)])
        self.assertEqual(len(self.search(*other)), 1)
        self.runctl("index", "sync", *other)
        self.assertEqual(len(self.search(*other)), 2)
        # The store itself is not needed, but for --full.
        self.store.rename(self.dir / "away")
        self.assertEqual(len(self.search()), 2)
        self.assertEqual(self.count(), 2)
        self.forget_cache()
        self.assertEqual(self.runctl("search", "--full", status=harness.CORRUPT).out, b"")

    def test_ids_that_are_no_uuids(self):
        """The UUID that stands for such an id is printed, and `get` knows it."""
        names = ["plain", "", "two\nlines", "\"quoted\"", "\u05d0", " blank ", "x" * 500, "1b0aac85-b4d9-d9ff-49b7-d57ffed16a3"]
        lines = [json.dumps({"id": name, "trace_id": "the trace", "parent_run_id": names[0], "start_time": n}).encode()
                 for n, name in enumerate(names)]
        self.ingest_lines(lines)
        records = self.records("--order", "oldest")
        for record, line in zip(records, lines):
            self.assertRegex(record["id"], r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
            self.assertEqual(self.get(record["id"]), [line])
        self.assertEqual([r["parent_run_id"] for r in records], [None] + [records[0]["id"]] * 7)
        self.assertEqual(len({r["trace_id"] for r in records}), 1)
        self.assertEqual(self.get_listed(self.ids("--order", "oldest")), lines)
        for trace in ("the trace", records[0]["trace_id"], records[0]["trace_id"].upper()):
            self.assertEqual(self.count("--trace-id", trace), len(lines), trace)
        self.assertEqual(self.search("--full", "--order", "oldest"), lines)

    def test_a_trace_that_is_a_run(self):
        self.ingest_lines([make_run(1), make_run(2, trace_id=run_id(1)), make_run(3, trace_id=run_id(1).upper()), make_run(4)])
        self.assertEqual(set(self.ids("--trace-id", run_id(1))), {run_id(1), run_id(2), run_id(3)})
        self.assertEqual(self.ids("--trace-id", run_id(4).upper()), [run_id(4)])
        self.assertEqual(self.ids("--trace-id", run_id(2)), [])

    def test_runs_that_are_lost(self):
        """--full of a batch that is gone: the others are printed, exit 5."""
        self.ingest_lines([make_run(1, start_time=1)])
        lost, = self.objects()
        self.ingest_lines([make_run(2, start_time=2)])
        lost.unlink()
        self.forget_cache()
        result = self.runctl("search", "--full", status=harness.CORRUPT)
        self.assertEqual(result.lines, [make_run(2, start_time=2)])
        self.assertEqual(len(result.messages), 1)
        self.assertEqual(len(self.search()), 2)


if __name__ == "__main__":
    harness.main()
