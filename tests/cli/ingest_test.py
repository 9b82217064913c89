"""`runctl ingest`: every form of input goes in, the summary is honest, the batches are an open format."""

import concurrent.futures
import gzip
import hashlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import uuid

import harness
from harness import NOT_FOUND, REJECTED, joined, make_run, make_runs, noise, run_id, split_lines, tool, unzstd, zstd

BOM = b"\xef\xbb\xbf"


class Forms(harness.CliTest):
    """The same runs in every form that input may have; told apart by content, never by name."""

    def setUp(self) -> None:
        super().setUp()
        self.runs = make_runs(50)
        self.ndjson = joined(self.runs.values())

    def check(self, data: bytes, *flags, name: str = "input") -> None:
        """From a file and from stdin: everything is stored, then everything is a duplicate."""
        path = self.write(name, data)
        self.assert_counts(self.ingest(*flags, path), read=50, stored=50, duplicate=0, rejected=0)
        self.assert_comes_back(self.runs)
        self.assert_counts(self.ingest_bytes(data, *flags), read=50, stored=0, duplicate=50, rejected=0)

    def test_ndjson(self):
        self.check(self.ndjson)

    def test_ndjson_without_a_last_newline(self):
        self.check(self.ndjson[:-1])

    def test_crlf(self):
        self.check(self.ndjson.replace(b"\n", b"\r\n"))

    def test_byte_order_mark(self):
        self.check(BOM + self.ndjson)

    def test_blank_lines(self):
        self.check(b"\n\r\n  \t\n" + self.ndjson.replace(b"\n", b"\n\n \r\n"))

    def test_array_on_one_line(self):
        self.check(b"[" + b",".join(self.runs.values()) + b"]")

    def test_array_with_one_run_a_line(self):
        self.check(b"[\n" + b",\n".join(self.runs.values()) + b"\n]\n")

    def test_array_after_byte_order_mark_with_crlf(self):
        self.check(BOM + b"[\r\n" + b",\r\n".join(self.runs.values()) + b"\r\n]\r\n")

    def test_concatenated(self):
        self.check(b"".join(self.runs.values()))

    def test_concatenated_with_spaces(self):
        self.check(b" \t ".join(self.runs.values()) + b" ")

    def test_pretty_printed(self):
        pretty = [json.dumps(json.loads(run), indent=2).encode() for run in self.runs.values()]
        self.runs = {i: text.replace(b"\n", b" ") for i, text in zip(self.runs, pretty)}
        self.check(joined(pretty))

    def test_pretty_printed_array(self):
        pretty = json.dumps([json.loads(run) for run in self.runs.values()], indent=1).encode()
        self.assert_counts(self.ingest_bytes(pretty), read=50, stored=50)
        lines = self.get_listed(self.runs)
        self.assert_same_lines([harness.squeeze(line) for line in lines], list(self.runs.values()))

    def test_pretty_printed_with_crlf_has_no_line_end_inside(self):
        """Whether the CR becomes a space is not promised; that a run is one line is."""
        pretty = json.dumps(json.loads(make_run(1)), indent=2).replace("\n", "\r\n").encode()
        self.ingest_bytes(pretty)
        line, = self.get(run_id(1))
        self.assertEqual(line.replace(b"\r", b" ").replace(b"  ", b" ").replace(b"  ", b" "),
                         pretty.replace(b"\r\n", b" ").replace(b"  ", b" ").replace(b"  ", b" "))

    def test_gzip(self):
        self.check(gzip.compress(self.ndjson), name="input.ndjson")

    def test_gzip_of_several_members(self):
        half = len(self.ndjson) // 2  # in the middle of a line
        self.check(gzip.compress(self.ndjson[:half]) + gzip.compress(b"") + gzip.compress(self.ndjson[half:]))

    def test_gzip_with_a_file_name_in_its_header(self):
        path = self.write("named.ndjson", self.ndjson)
        tool(["gzip", "-k", str(path)], b"")
        self.check(path.with_suffix(".ndjson.gz").read_bytes())

    def test_zstd(self):
        self.check(zstd(self.ndjson), name="input.json.gz")

    def test_zstd_of_several_frames(self):
        half = len(self.ndjson) // 2
        skippable = b"\x51\x2a\x4d\x18\x05\x00\x00\x00hello"
        self.check(zstd(self.ndjson[:half]) + skippable + zstd(self.ndjson[half:]))

    def test_zstd_with_a_window_of_128_mib(self):
        self.check(zstd(self.ndjson, "--long=27", "--no-check"))

    def test_array_in_gzip(self):
        self.check(gzip.compress(b"[" + b",\n".join(self.runs.values()) + b"]"))

    def test_name_says_zstd_content_says_json(self):
        self.check(self.ndjson, name="input.ndjson.zst")

    def test_a_batch_is_input_too(self):
        """The bucket is open: a batch can be fed to another store."""
        self.ingest_bytes(self.ndjson)
        batch = self.only_object()
        self.store = self.dir / "other"
        self.assert_counts(self.ingest(batch), read=50, stored=50)
        self.assert_comes_back(self.runs)

    def test_name_with_space_and_umlaut(self):
        self.check(self.ndjson, name="Läufe vom Mai.ndjson")


class Sources(harness.CliTest):
    def test_several_files_and_stdin_together(self):
        """Order of the arguments is the order of input; forms may differ."""
        first = self.write("a", joined(make_runs(3).values()))
        second = self.write("b", gzip.compress(joined(make_runs(3, 3).values())[:-1]))
        last = self.write("c", b"[" + make_run(9) + b"]")
        stdin = joined(make_runs(3, 6).values())[:-1]
        result = self.runctl("ingest", "--print-ids", first, second, "-", last, stdin=stdin)
        self.assertEqual(result.lines, [run_id(n).encode() for n in range(10)])
        self.assert_comes_back(make_runs(10))

    def test_end_of_file_ends_a_record(self):
        """A cut record at the end of one file must not swallow the beginning of the next."""
        cut = self.write("cut", make_run(1)[:-3])
        whole = self.write("whole", make_run(2) + b"\n")
        result = self.runctl("ingest", cut, whole, status=REJECTED)
        self.assert_message(result, f"{cut}:1:")
        self.assert_comes_back({run_id(2): make_run(2)})
        self.get(run_id(1), status=NOT_FOUND)

    def test_same_file_named_twice(self):
        path = self.write("a", joined(make_runs(3).values()))
        self.assert_counts(self.ingest(path, path), read=6, stored=3, duplicate=3)

    def test_named_pipe(self):
        """`ingest <(zcat log.gz)`: a file that cannot seek."""
        pipe = self.dir / "pipe"
        os.mkfifo(pipe)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            written = pool.submit(pipe.write_bytes, joined(make_runs(3).values()))
            try:
                self.assert_counts(self.ingest(pipe), read=3, stored=3)
            finally:
                os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))  # frees a writer that nobody read from
            written.result()


class Twice(harness.CliTest):
    def rows(self, index) -> int:
        """All rows of all tables of the index."""
        with sqlite3.connect(index) as database:
            tables = [name for name, in database.execute("select name from sqlite_schema where type = 'table'")
                      if not name.startswith("sqlite_")]
            return sum(database.execute(f'select count(*) from "{name}"').fetchone()[0] for name in tables)

    def test_same_file_twice_adds_no_object_and_no_row(self):
        index = self.dir / "index.sqlite"
        path = self.write("runs", joined(make_runs(500).values()))
        self.ingest("--index", index, path)
        keys, rows = self.keys(), self.rows(index)
        again = self.ingest("--index", index, path)
        self.assert_counts(again, read=500, stored=0, duplicate=500, rejected=0, batches=0, bytes_stored=0)
        self.assertEqual(self.keys(), keys)
        self.assertEqual(self.rows(index), rows)

    def test_new_runs_among_known_ones(self):
        self.ingest_bytes(joined(make_runs(10).values()))
        self.assert_counts(self.ingest_bytes(joined(make_runs(20).values())), read=20, stored=10, duplicate=10)
        self.assert_comes_back(make_runs(20))

    def test_same_line_twice_in_one_file(self):
        self.assert_counts(self.ingest_bytes(joined([make_run(1), make_run(2), make_run(1)])),
                           read=3, stored=2, duplicate=1)
        self.assertEqual(unzstd(self.only_object()).count(run_id(1).encode()), 1)

    def test_killed_and_run_again(self):
        """SIGKILL at any instant; the same command again leaves every run present exactly once."""
        runs = {run_id(n): make_run(n, inputs=noise(n, 4000)) for n in range(2000)}
        data = joined(runs.values())
        for share in (0.1, 0.5, 0.95, 1.0):
            with self.subTest(share=share):
                self.store = self.dir / f"killed_at_{share}"
                child = subprocess.Popen(
                    [harness.binary(), "--store", self.store, "ingest", "--batch-bytes", "200000", "-"],
                    stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=self.dir, env=self.environment)
                child.stdin.write(data[:int(len(data) * share)])
                child.kill()
                child.wait()
                try:
                    child.stdin.close()
                except BrokenPipeError:
                    pass
                again = self.ingest_bytes(data, "--batch-bytes", "200000")
                self.assert_counts(again, read=2000, rejected=0)
                stored = [line for path in self.objects() for line in split_lines(unzstd(path))]
                self.assertEqual(sorted(stored), sorted(runs.values()))
                self.assert_comes_back(runs)

    def test_killed_between_object_and_index(self):
        """A batch that was stored but not recorded: the same command again doubles no run."""
        runs = {run_id(n): make_run(n, inputs=noise(n, 4000)) for n in range(400)}
        path = self.write("runs", joined(runs.values()))
        self.ingest("--batch-bytes", "300000", path)
        keys, whole = self.keys(), self.store
        ids = {key: re.findall(rb'(?m)^\{"id":"([^"]+)', unzstd(whole / key)) for key in keys}
        in_order = sorted(keys, key=lambda key: list(runs).index(ids[key][0].decode()))
        self.assertGreaterEqual(len(in_order), 3)
        for recorded in range(len(in_order) - 1):
            with self.subTest(recorded=recorded):
                self.store = self.dir / f"killed_after_{recorded}"
                for key in in_order[:recorded]:
                    self.write(f"{self.store.name}/{key}", (whole / key).read_bytes())
                if recorded:
                    self.runctl("index", "rebuild")
                lost = in_order[recorded]
                self.write(f"{self.store.name}/{lost}", (whole / lost).read_bytes())
                self.assert_counts(self.ingest("--batch-bytes", "300000", path), read=400, rejected=0)
                stored = [line for batch in self.objects() for line in split_lines(unzstd(batch))]
                self.assertEqual(sorted(stored), sorted(runs.values()))
                self.assert_comes_back(runs)

    def test_interrupted_and_run_again(self):
        """SIGTERM and SIGINT: 143 and 130, whatever was stored stays whole."""
        runs = {run_id(n): make_run(n, inputs=noise(n, 4000)) for n in range(500)}
        data = joined(runs.values())
        for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
            with self.subTest(signal=number.name):
                self.store = self.dir / number.name
                child = subprocess.Popen(
                    [harness.binary(), "--store", self.store, "ingest", "-"],
                    stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=self.dir, env=self.environment)
                child.stdin.write(data)  # more than a pipe holds: when this returns, runctl is reading
                child.stdin.flush()
                child.send_signal(number)
                self.assertIn(child.wait(self.timeout), (status, -number))
                child.stdin.close()
                self.assert_counts(self.ingest_bytes(data), read=500, rejected=0)
                self.assert_comes_back(runs)

    def test_many_at_once_on_one_store(self):
        """Several writers share store and index: all succeed, every run is found, none is doubled."""
        shares = [make_runs(100, start) for start in (0, 100, 200, 300, 50)]
        with concurrent.futures.ThreadPoolExecutor(len(shares)) as pool:
            list(pool.map(lambda runs: self.ingest_bytes(joined(runs.values())), shares))
        self.assert_comes_back(make_runs(400))


class Summary(harness.CliTest):
    def test_human_summary_on_stderr(self):
        data = joined([make_run(1), make_run(2), make_run(2), b"{broken"])
        result = self.runctl("ingest", "-", stdin=data, status=REJECTED)
        self.assertEqual(result.out, b"")
        for part in (b"read 4", b"stored 2", b"duplicate 1", b"rejected 1"):
            self.assertIn(part, result.err)

    def test_quiet(self):
        result = self.runctl("-q", "ingest", "-", stdin=make_run(1))
        self.assertEqual((result.out, result.err), (b"", b""))

    def test_quiet_still_says_what_was_rejected(self):
        result = self.runctl("-q", "ingest", "-", stdin=b"{broken\n", status=REJECTED)
        self.assert_message(result, "-:1:")
        self.assertNotIn(b"read 1", result.err)

    def test_json_numbers(self):
        data = joined(make_runs(100).values())
        summary = self.ingest_bytes(data)
        self.assert_counts(summary, read=100, stored=100, duplicate=0, rejected=0, batches=1, bytes_in=len(data))
        self.assertEqual(summary["bytes_stored"], sum(path.stat().st_size for path in self.objects()))
        self.assertGreaterEqual(summary["seconds"], 0)

    def test_print_ids_in_input_order(self):
        numbers = [5, 3, 9, 1, 7]
        result = self.runctl("ingest", "--print-ids", "-", stdin=joined(make_run(n) for n in numbers))
        self.assertEqual(result.lines, [run_id(n).encode() for n in numbers])

    def test_print_ids_in_input_order_over_many_batches_and_jobs(self):
        runs = {run_id(n): make_run(n, inputs=noise(n, 3000)) for n in range(1000)}
        result = self.runctl("ingest", "--print-ids", "--batch-bytes", "100000", "--jobs", "4", "-",
                             stdin=joined(runs.values()))
        self.assertEqual(result.lines, [i.encode() for i in runs])

    def test_print_ids_leaves_out_what_was_rejected(self):
        result = self.runctl("ingest", "--print-ids", "-", status=REJECTED,
                             stdin=joined([make_run(1), b"{broken", make_run(2)]))
        self.assertEqual(result.lines, [run_id(1).encode(), run_id(2).encode()])

    def test_expect_count(self):
        data = joined(make_runs(5).values())
        self.ingest_bytes(data, "--expect-count", "5")
        self.ingest_bytes(data, "--expect-count", "5")  # duplicates count as read

    def test_expect_count_missed(self):
        """The producer died: what it sent is stored, and the status says that it was not all."""
        for expected in ("4", "6"):
            result = self.runctl("ingest", "--expect-count", expected, "-", status=REJECTED,
                                 stdin=joined(make_runs(5).values()))
            self.assert_message(result, expected, "5")
            self.assert_comes_back(make_runs(5))

    def test_dry_run_stores_nothing(self):
        data = joined([make_run(1), make_run(2), make_run(1), b"{broken"])
        summary = self.ingest_bytes(data, "--dry-run", status=REJECTED)
        self.assert_counts(summary, read=4, stored=2, duplicate=1, rejected=1)
        would_be = self.runctl("ingest", "--dry-run", "--print-ids", "-", stdin=data, status=REJECTED)
        self.assertEqual(would_be.lines, [run_id(1).encode(), run_id(2).encode()])
        self.assertEqual(self.objects(), [])
        self.get(run_id(1), status=NOT_FOUND)
        self.assert_counts(self.ingest_bytes(data, status=REJECTED), read=4, stored=2)


class Batches(harness.CliTest):
    """The bucket is the truth, in an open format."""

    def big_runs(self, count: int = 400) -> dict[str, bytes]:
        return {run_id(n): make_run(n, inputs=noise(n, 20000)) for n in range(count)}

    def test_names_and_content(self):
        """<runs/v1/DAY|mixed>/<SHA-256 of the file>; `zstd -t` passes; `zstd -dc` gives NDJSON of all runs."""
        runs = self.big_runs()
        self.ingest_bytes(joined(runs.values()), "--batch-bytes", "1000000")
        found = []
        for path, key in zip(self.objects(), self.keys()):
            self.assertRegex(key, r"^runs/v1/(\d{4}-\d\d-\d\d|mixed)/[0-9a-f]{64}\.ndjson\.zst$")
            self.assertEqual(path.name.split(".")[0], hashlib.sha256(path.read_bytes()).hexdigest())
            tool(["zstd", "-q", "-t", str(path)], b"")
            text = unzstd(path)
            self.assertTrue(text.endswith(b"\n"))
            found += split_lines(text)
        self.assertEqual(sorted(found), sorted(runs.values()))

    def test_nothing_else_lies_in_the_bucket(self):
        self.ingest_bytes(joined(make_runs(10).values()))
        self.ingest_bytes(joined(make_runs(20).values()))
        files = [path for path in (self.store / "runs").rglob("*") if path.is_file()]
        self.assertEqual(sorted(files), self.objects())

    def test_batch_bytes_cuts(self):
        data = joined(self.big_runs().values())  # 8 MB, about 4 MB compressed
        few = self.ingest_bytes(data)["batches"]
        self.store = self.dir / "small"
        many = self.ingest_bytes(data, "--batch-bytes", "400000")["batches"]
        self.assertGreater(many, few)
        self.assertGreaterEqual(many, 5)
        self.assertEqual(many, len(self.objects()))
        self.assert_comes_back(self.big_runs())

    def test_jobs_make_no_difference(self):
        """Same input cut the same way gives the same objects, however many workers there are."""
        data = joined(self.big_runs().values())
        keys = []
        for jobs in ("1", "4"):
            self.store = self.dir / f"jobs{jobs}"
            self.ingest_bytes(data, "--jobs", jobs, "--batch-bytes", "500000")
            keys.append(self.keys())
        self.assertEqual(keys[0], keys[1])

    def test_same_input_same_objects_anywhere(self):
        """Nothing in a batch depends on when, where, or in which form it came."""
        runs = make_runs(200)
        first = self.write("first", joined(runs.values()))
        other = self.write("other.gz", gzip.compress(b"[" + b",\n".join(runs.values()) + b"]"))
        self.ingest(first)
        keys = self.keys()
        self.store = self.dir / "elsewhere"
        self.ingest(other)
        self.assertEqual(self.keys(), keys)

    def test_level(self):
        data = joined(make_run(n, inputs=f"the quick brown fox {n} jumps over {n * 7919 % 1000} dogs " * 20)
                      for n in range(2000))
        sizes = []
        for level in ("1", "19"):
            self.store = self.dir / f"level{level}"
            sizes.append(self.ingest_bytes(data, "--level", level)["bytes_stored"])
            self.assertEqual(b"".join(unzstd(path) for path in self.objects()), data)
        self.assertLess(sizes[1], sizes[0])


class Days(harness.CliTest):
    """A batch under a day holds runs of that day (UTC) alone; whoever asks about a day lists it and `mixed`."""

    def day_of_keys(self) -> list[str]:
        return [key.split("/")[2] for key in self.keys()]

    def ingest_times(self, times, *flags) -> None:
        """`times` are JSON texts of start times; None for a run without one."""
        runs = [make_run(n) if text is None else make_run(n)[:-1] + b',"start_time":' + text.encode() + b"}"
                for n, text in enumerate(times)]
        self.assert_counts(self.ingest_bytes(joined(runs), *flags), stored=len(runs))
        self.assert_comes_back({run_id(n): run for n, run in enumerate(runs)})

    def test_cut_at_a_change_of_day(self):
        self.ingest_times([f'"2024-05-0{day}T0{hour}:00:00Z"' for day in (1, 2, 3) for hour in range(5)])
        self.assertEqual(self.day_of_keys(), ["2024-05-01", "2024-05-02", "2024-05-03"])
        for path in self.objects():
            day = path.parent.name.encode()
            self.assertEqual(unzstd(path).count(b'"start_time":"' + day), 5)

    def test_days_in_disorder(self):
        """Wherever the runs land: a day's batches hold nothing else, and 300 runs do not make 300 batches."""
        self.ingest_times([f'"2024-05-0{1 + n * 7 % 5}T00:00:00Z"' for n in range(300)])
        for path in self.objects():
            starts = re.findall(rb'"start_time":"(\d{4}-\d\d-\d\d)', unzstd(path))
            if path.parent.name != "mixed":
                self.assertEqual({start.decode() for start in starts}, {path.parent.name})
        self.assertLess(len(self.objects()), 30)

    def test_without_a_start_time(self):
        self.ingest_times([None, None])
        self.assertEqual(self.day_of_keys(), ["mixed"])

    def test_null_start_time(self):
        self.ingest_times(["null"])
        self.assertEqual(self.day_of_keys(), ["mixed"])

    def test_day_is_utc(self):
        self.ingest_times(['"2024-05-01T23:30:00-02:00"'])
        self.assertEqual(self.day_of_keys(), ["2024-05-02"])
        self.environment["TZ"] = "Pacific/Kiritimati"  # 14 hours ahead
        self.store = self.dir / "local"
        self.ingest_times(['"2024-05-01T23:30:00"'])
        self.assertEqual(self.day_of_keys(), ["2024-05-01"])

    def test_spellings_of_one_day(self):
        """ISO 8601 with or without zone, and numbers told apart by size, all on 2024-05-02 UTC."""
        spellings = ['"2024-05-02T12:00:00Z"', '"2024-05-02T12:00:00.123456Z"', '"2024-05-02T12:00:00.123456789+00:00"',
                     '"2024-05-02T12:00:00"', '"2024-05-02 12:00:00.5"', '"2024-05-03T01:00:00+05:30"',
                     "1714651200", "1714651200.25", "1714651200000", "1714651200000000", "1714651200000000000"]
        for number, text in enumerate(spellings):
            with self.subTest(start_time=text):
                self.store = self.dir / f"spelling{number}"
                self.ingest_times([text])
                self.assertEqual(self.day_of_keys(), ["2024-05-02"])


class Identity(harness.CliTest):
    def ids_of(self, data: bytes, *flags) -> list[str]:
        return [line.decode() for line in self.runctl("ingest", "--print-ids", *flags, "-", stdin=data).lines]

    def test_derived_id(self):
        """A record without an id gets one, written directly after its brace; nothing else is touched."""
        record = b'{ "name":"no id",  "inputs":{"id":"not mine"}, "x":1.0 }'
        derived, = self.ids_of(record)
        self.assertEqual(str(uuid.UUID(derived)), derived)
        line, = self.get(derived)
        self.assertEqual(line, b'{"id":"' + derived.encode() + b'",' + record[1:])

    def test_derived_id_is_stable(self):
        """The same line sent twice is one run, in one file or in two, and in another store it has the same id."""
        record = b'{"name":"no id"}\n'
        self.assert_counts(self.ingest_bytes(record * 2), read=2, stored=1, duplicate=1)
        self.assert_counts(self.ingest_bytes(record), read=1, stored=0, duplicate=1)
        self.store = self.dir / "other"
        first = self.ids_of(record)
        self.store = self.dir / "third"
        self.assertEqual(self.ids_of(record), first)

    def test_derived_ids_differ(self):
        ids = self.ids_of(joined(b'{"name":"no id","inputs":%d}' % n for n in range(100)))
        self.assertEqual(len(set(ids)), 100)

    def test_derived_ids_are_in_order_of_start_time(self):
        ids = self.ids_of(joined(b'{"name":"n%d","start_time":"2024-05-01T00:%02d:00Z"}' % (n, n) for n in range(60)))
        self.assertEqual(ids, sorted(ids))

    def test_empty_object(self):
        derived, = self.ids_of(b"{}\n")
        line, = self.get(derived)
        self.assertEqual(json.loads(line), {"id": derived})

    def test_stored_without_id_goes_in_again(self):
        """What `get` printed is the same run when it comes back as input."""
        derived, = self.ids_of(b'{"name":"no id"}\n')
        self.assert_counts(self.ingest_bytes(self.get(derived)[0]), stored=0, duplicate=1)

    def test_new_ids(self):
        """--new-ids: the same line twice is two runs, with fresh UUIDv7; a record's own id stays."""
        ids = self.ids_of(b'{"name":"no id"}\n' * 2 + make_run(1) + b"\n", "--new-ids")
        self.assertEqual(len(set(ids)), 3)
        self.assertEqual([uuid.UUID(i).version for i in ids[:2]], [7, 7])
        self.assertEqual(ids[2], run_id(1))

    def test_null_id_is_rejected(self):
        result = self.runctl("ingest", "-", stdin=b'{"id":null}\n', status=REJECTED)
        self.assert_message(result, "-:1:", "id")

    def test_ids_that_are_no_uuid(self):
        ids = {"run-1": b'{"id":"run-1"}', "7": b'{"id":"7"}', "Łódź/№ 5": '{"id":"Łódź/№ 5"}'.encode(),
               "x" * 5000: b'{"id":"' + b"x" * 5000 + b'"}',
               "00000000-0000-0000-0000-00000000000": b'{"id":"00000000-0000-0000-0000-00000000000"}'}
        self.assert_counts(self.ingest_bytes(joined(ids.values())), stored=len(ids))
        self.assert_comes_back(ids)

    def test_ids_with_escapes(self):
        """The id is the string that JSON means, and the run keeps its spelling."""
        spelled = {'say "hi"': rb'{"id":"say \"hi\""}', "Ab": rb'{"id":"\u0041b"}', "😀": rb'{"id":"\ud83d\ude00"}',
                   "back\\slash": rb'{"id":"back\\slash"}', "a/b": rb'{"id":"a\/b"}'}
        self.assert_counts(self.ingest_bytes(joined(spelled.values())), stored=len(spelled))
        for run, record in spelled.items():
            self.assertEqual(self.get(run), [record])

    def test_two_spellings_of_one_id(self):
        self.ingest_bytes(joined([rb'{"id":"Ab"}', rb'{"id":"\u0041b"}']))
        self.assertEqual(self.get("Ab"), [rb'{"id":"\u0041b"}'])
        self.assertEqual(len(self.get("--all-versions", "Ab")), 2)

    def test_key_with_an_escape_is_the_key(self):
        self.ingest_bytes(rb'{"i\u0064":"escaped key"}')
        self.assertEqual(self.get("escaped key"), [rb'{"i\u0064":"escaped key"}'])

    def test_uuid_in_upper_case(self):
        record = make_run(1).replace(run_id(1).encode(), run_id(1).upper().encode())
        self.ingest_bytes(record)
        self.assertEqual(self.get(run_id(1).upper()), [record])
        self.assertEqual(self.get(run_id(1)), [record])

    def test_same_id_other_bytes_keeps_both(self):
        """In one file and in two: the latest answers, none is lost."""
        versions = [make_run(1, version=n) for n in range(4)]
        self.assert_counts(self.ingest_bytes(joined(versions[:2])), stored=2, duplicate=0)
        self.assertEqual(self.get(run_id(1)), [versions[1]])
        self.assert_counts(self.ingest_bytes(joined(versions[2:])), stored=2)
        self.assertEqual(self.get(run_id(1)), [versions[3]])
        self.assertEqual(sorted(self.get("--all-versions", run_id(1))), versions)

    def test_old_version_again_is_a_duplicate(self):
        """Its bytes are stored; so the latest stays the latest."""
        old, new = make_run(1, version=1), make_run(1, version=2)
        self.ingest_bytes(joined([old, new]))
        self.assert_counts(self.ingest_bytes(old), stored=0, duplicate=1)
        self.assertEqual(sorted(self.get("--all-versions", run_id(1))), [old, new])

    def test_whitespace_makes_other_bytes(self):
        self.assert_counts(self.ingest_bytes(b'{"id":"a","x":1}\n{"id":"a", "x":1}\n'), stored=2, duplicate=0)


if __name__ == "__main__":
    harness.main()
