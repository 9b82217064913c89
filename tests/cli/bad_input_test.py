"""Bad input of every kind gets a clear error, and takes nothing good with it."""

import gzip
import os
import random
import re

import harness
from harness import (CORRUPT, DONE, FAILED, LONG, NOT_FOUND, REJECTED, USAGE, joined, make_run, make_runs, noise,
                     run_id, zstd)

GOOD = [make_run(1), make_run(2)]


class BadInputTest(harness.CliTest):
    def ingest_between(self, bad: bytes) -> harness.Result:
        """Ingests the bad bytes on line 2 between good runs, which must be stored; something is rejected."""
        result = self.runctl("ingest", "--json", "-", stdin=GOOD[0] + b"\n" + bad + b"\n" + GOOD[1] + b"\n",
                             status=REJECTED)
        summary = self.summary_of(result)
        self.assertGreaterEqual(summary["rejected"], 1)
        self.assert_comes_back({run_id(1): GOOD[0], run_id(2): GOOD[1]})
        self.assert_printable(result)
        return result

    def assert_printable(self, result: harness.Result) -> None:
        """Messages carry no bytes that could drive a terminal."""
        self.assertNotRegex(result.err, rb"[\x00-\x08\x0b-\x1f\x7f]")


class BrokenGrammar(BadInputTest):
    """`runctl: FILE:LINE:COLUMN: reason`; columns count bytes from 1."""

    broken = {
        b'{"id":"x","inputs":tru}': 20,
        b'{"id":"x" "inputs":1}': 11,
        b'{"id":"x","inputs":01}': 21,
        b'{"id":"x","inputs":1.}': 22,
        b'{"id":"x","inputs":[1,]}': 23,
        b'{"id":"x",}': 11,
        b"{'id':'x'}": 2,
        b'{"id":"x","inputs":NaN}': 20,
        b'{"id":"x","inputs":"\xc3\xa4"; }': 24,
        b'{"id":"x","inputs":"\\x41"}': None,
        b'{"id":"x","inputs":"\\u12g4"}': None,
        b'{"id":"x","inputs":"a\tb"}': 22,
        b'{"id":"x","inputs":"a\x00b"}': 22,
        b'{"id":"x"}}': 11,
        b"nonsense": 1,
        b"}": 1,
        b'{"id":"x","inputs":[1}': 22,
        b'{"id":"x","inputs":"open}': None,
        b'{"id":"x","inputs":1} trailing': 23,
    }

    def test_line_and_column(self):
        """The column is that of the first byte that no valid text has there, or where its token begins."""
        for number, (bad, column) in enumerate(self.broken.items()):
            with self.subTest(bad=bad):
                self.store = self.dir / f"store{number}"
                result = self.ingest_between(bad)
                found = re.search(rb"^runctl: -:2:(\d+): \S", result.err, re.MULTILINE)
                self.assertTrue(found, f"no `runctl: -:2:COLUMN: reason` in {result}")
                if column is not None:
                    token = re.match(rb"[\w.+-]*", bad[column - 1:])[0]
                    self.assertIn(int(found[1]), range(self.token_start(bad, column), column + len(token) + 1))

    @staticmethod
    def token_start(text: bytes, column: int) -> int:
        """The column at which the token or string around `column` begins."""
        return column - len(re.search(rb"[\w.+-]*$", text[:column - 1])[0])

    def test_rejected_run_is_not_stored(self):
        for bad in self.broken:
            self.run_plain("--store", self.store, "ingest", "-", stdin=bad + b"\n")
        self.get("x", status=NOT_FOUND)

    def test_not_utf8(self):
        for number, bad in enumerate((b'{"id":"x","inputs":"\xff"}', b'{"id":"x","inputs":"\xc0\x80"}',
                                      b'{"id":"x","inputs":"\xed\xa0\x80"}', b'{"id":"x","k\xe9":1}',
                                      b'{"id":"x\xf4\x90\x80\x80"}', b'{"id":"x","inputs":"\xe2\x82"}')):
            with self.subTest(bad=bad):
                self.store = self.dir / f"store{number}"
                self.assert_message(self.ingest_between(bad), "-:2:", "UTF-8")

    def test_line_numbers_in_a_large_file(self):
        """Line numbers stay right over buffers, blank lines and runs that span lines."""
        lines = [make_run(n, inputs=noise(n, n % 3000)) for n in range(5000)]
        expected = [17, 2500, 4999]
        for number in expected:
            lines[number - 1] = b'{"id":"x",}'
        lines[9] = b""
        lines[19:22] = [b'{"id":', b'"pretty"', b"}"]
        path = self.write("large.ndjson", joined(lines))
        result = self.runctl("ingest", path, status=REJECTED)
        found = [int(n) for n in re.findall(re.escape(str(path).encode()) + rb":(\d+):11: ", result.err)]
        self.assertEqual(found, expected)

    def test_line_numbers_within_gzip_count_plain_lines(self):
        path = self.write("a.gz", gzip.compress(joined([GOOD[0], b"{broken", GOOD[1]])))
        self.assert_message(self.runctl("ingest", path, status=REJECTED), f"{path}:2:")

    def test_broken_run_over_several_lines(self):
        """Wherever the break is noticed: it is named, all of its bytes are kept, and its neighbours are stored."""
        bad = b'{\n  "id": "x",\n  "inputs": [\n    tru\n  ]\n}'
        rejects = self.dir / "rejects"
        result = self.runctl("ingest", "--rejects", rejects, "-", status=REJECTED,
                             stdin=joined([GOOD[0], bad, GOOD[1]]))
        self.assertRegex(result.err, rb"(?m)^runctl: -:5:[5-8]: \S")
        self.assertEqual(b"".join(rejects.read_bytes().split()), b"".join(bad.split()))
        self.assert_comes_back({run_id(1): GOOD[0], run_id(2): GOOD[1]})
        self.get("x", status=NOT_FOUND)

    def test_each_file_is_named(self):
        first, second = self.write("first", b"{broken\n"), self.write("second", GOOD[0] + b"\n{broken\n")
        result = self.runctl("ingest", first, second, "-", stdin=b"\n\n{broken\n", status=REJECTED)
        for place in (f"{first}:1:", f"{second}:2:", "-:3:"):
            self.assert_message(result, place)

    def test_broken_element_of_an_array(self):
        result = self.runctl("ingest", "-", status=REJECTED,
                             stdin=b"[\n" + GOOD[0] + b',\n{"id":"x","inputs":tru},\n' + GOOD[1] + b"\n]\n")
        self.assert_message(result, "-:3:")
        self.assert_comes_back({run_id(1): GOOD[0], run_id(2): GOOD[1]})
        self.get("x", status=NOT_FOUND)


class WrongShape(BadInputTest):
    """`runctl: FILE:LINE: reason` where the grammar is right and the record is not."""

    def test_not_an_object(self):
        for number, bad in enumerate((b"1", b'"run"', b"null", b"true", b"-1.5e3")):
            with self.subTest(bad=bad):
                self.store = self.dir / f"store{number}"
                self.assert_message(self.ingest_between(bad), "-:2:", "object")

    def test_elements_that_are_no_objects(self):
        summary = self.ingest_bytes(b"[" + GOOD[0] + b',1,"x",[],null,' + GOOD[1] + b"]", status=REJECTED)
        self.assert_counts(summary, read=6, stored=2, rejected=4)

    wrong = {
        "id": ["1", "null", "true", "[]", '{"a":1}'],
        "trace_id": ["1", "[]"],
        "parent_run_id": ["1", "{}"],
        "name": ["1", '["a"]'],
        "run_type": ["1", "{}"],
        "start_time": ["true", "[]", "{}"],
        "end_time": ["false", "[1]"],
        "tags": ['"a"', "[1]", '["a",null]', "{}"],
        "error": ["1", "true", "[]"],
        "metadata": ["1", "[]", '"a"'],
    }

    def test_known_field_of_wrong_type(self):
        for field, values in self.wrong.items():
            for value in values:
                with self.subTest(field=field, value=value):
                    bad = b'{"%s":%s,"x":1}' % (field.encode(), value.encode())
                    result = self.runctl("ingest", "--json", "-", status=REJECTED,
                                         stdin=joined([GOOD[0], bad, GOOD[1]]))
                    self.assertEqual(self.summary_of(result)["rejected"], 1)
                    self.assertRegex(result.err, rb"(?m)^runctl: -:2: .*" + field.encode())

    def test_known_field_twice(self):
        """Two values of one known field: which one counts would be a guess."""
        for bad in (b'{"id":"x","id":"x"}', b'{"id":"x","inputs":1,"inputs":1}', b'{"id":"x","name":"a","name":"b"}',
                    rb'{"id":"x","i\u0064":"y"}', b'{"id":"x","metadata":{},"metadata":null}'):
            with self.subTest(bad=bad):
                result = self.runctl("ingest", "-", stdin=joined([GOOD[0], bad, GOOD[1]]), status=REJECTED)
                self.assertRegex(result.err, rb"(?m)^runctl: -:2: \S")
        self.get("x", status=NOT_FOUND)

    def test_envelope_of_the_wrong_kind_is_not_swallowed(self):
        """A file of scalars: every line is named, nothing vanishes."""
        self.assert_counts(self.ingest_bytes(b"1\n2\n3\n", status=REJECTED), read=3, rejected=3)


class Rejects(BadInputTest):
    bad_lines = [b'{"id":"x","inputs":tru}', b"\xff\xfe\x00 rubbish \x1b[31m", b'{"id":1}', b"  {broken  ", b"nonsense"]

    def rejects_of(self, data: bytes, *flags, status: int = REJECTED) -> bytes:
        path = self.dir / "rejects"
        self.ingest_bytes(data, "--rejects", path, *flags, status=status)
        return path.read_bytes() if path.exists() else b""

    def test_exact_bytes(self):
        """One line each, in input order; what was good is not among them."""
        lines = [line for pair in zip(self.bad_lines, make_runs(5).values()) for line in pair]
        rejects = self.rejects_of(joined(lines))
        self.assertEqual(rejects.removesuffix(b"\n").split(b"\n"), self.bad_lines)
        self.assert_comes_back(make_runs(5))

    def test_every_reject_is_a_whole_line(self):
        """So that two files of rejects can be put one after the other."""
        self.assertEqual(self.rejects_of(joined([GOOD[0], b"{broken", b"nonsense"])), b"{broken\nnonsense\n")

    def test_last_line_without_newline(self):
        self.assertEqual(self.rejects_of(GOOD[0] + b"\n{cut").rstrip(b"\n"), b"{cut")

    def test_repaired_rejects_go_in(self):
        """The way back: repair the rejects file and ingest it."""
        rejects = self.rejects_of(joined([GOOD[0], GOOD[1][:-1] + b",}"]))
        self.assert_counts(self.ingest_bytes(rejects.replace(b",}", b"}")), read=1, stored=1)
        self.assert_comes_back({run_id(1): GOOD[0], run_id(2): GOOD[1]})

    def test_nothing_rejected(self):
        self.assertEqual(self.rejects_of(joined(GOOD), status=DONE), b"")

    def test_input_within_gzip(self):
        path = self.dir / "rejects"
        self.ingest("--rejects", path, self.write("a.gz", gzip.compress(joined([b"{broken", GOOD[0]]))),
                    status=REJECTED)
        self.assertEqual(path.read_bytes().rstrip(b"\n"), b"{broken")

    def test_rejects_that_cannot_be_written(self):
        """Known before anything is stored."""
        result = self.run_plain("--store", self.store, "ingest", "--rejects", self.dir / "none" / "rejects", "-",
                                stdin=joined(GOOD))
        self.assertIn(result.status, (USAGE, FAILED), str(result))
        self.assert_message(result, "none/rejects")

    def test_rejects_in_place_of_the_input(self):
        """`ingest --rejects log log` must not leave of the log what was wrong with it."""
        data = joined([GOOD[0], b"{broken", GOOD[1]])
        path = self.write("log", data)
        (self.dir / "link").symlink_to(path)
        for target in (path, self.dir / "link"):
            self.runctl("ingest", "--rejects", target, path, status=USAGE)
            self.assertEqual(path.read_bytes(), data)
        self.assertEqual(self.objects(), [])

    def test_a_link_stays(self):
        """Whether it leads to a file or, as one to a file that is made later, to nothing yet."""
        (self.dir / "there").mkdir()
        link, target = self.dir / "link", self.dir / "there" / "real"
        link.symlink_to("there/real")
        for bad in (b"{broken", b"{broken too"):
            self.ingest_bytes(bad + b"\n", "--rejects", link, status=REJECTED)
            self.assertTrue(link.is_symlink())
            self.assertEqual(target.read_bytes(), bad + b"\n")

    def test_stop_at_the_first(self):
        """--on-error stop: what came before is stored, what comes after is not read."""
        data = joined([GOOD[0], b"{broken", GOOD[1], b"{broken too"])
        result = self.runctl("ingest", "--json", "--on-error", "stop", "-", stdin=data, status=REJECTED)
        self.assert_counts(self.summary_of(result), read=2, stored=1, rejected=1)
        self.assert_message(result, "-:2:")
        self.assertEqual(self.get(run_id(1)), [GOOD[0]])
        self.get(run_id(2), status=NOT_FOUND)

    def test_stop_without_an_error(self):
        self.assert_counts(self.ingest_bytes(joined(GOOD), "--on-error", "stop"), read=2, stored=2)


class Truncated(BadInputTest):
    """A cut end is an error, and what came before the cut is stored."""

    def setUp(self) -> None:
        super().setUp()
        self.runs = {run_id(n): make_run(n, inputs=noise(n, 2000)) for n in range(300)}
        self.data = joined(self.runs.values())

    def assert_cut(self, data: bytes, at_least: int) -> None:
        path = self.write("cut", data)
        result = self.runctl("ingest", "--json", path, status=REJECTED)
        self.assert_message(result, path)
        self.assert_printable(result)
        stored = self.summary_of(result)["stored"]
        self.assertGreaterEqual(stored, at_least)
        self.assert_comes_back(dict(list(self.runs.items())[:stored]))

    def test_last_record(self):
        self.assert_cut(self.data[:-10], 299)

    def test_array_without_its_end(self):
        self.assert_cut(b"[" + b",\n".join(self.runs.values()), 300)

    def test_array_cut_within_a_run(self):
        self.assert_cut(b"[" + b",\n".join(self.runs.values())[:-10], 299)

    def test_gzip(self):
        self.assert_cut(gzip.compress(self.data)[:-1000], 200)

    def test_gzip_without_its_trailer(self):
        self.assert_cut(gzip.compress(self.data)[:-3], 300)

    def test_gzip_header_alone(self):
        self.assert_cut(gzip.compress(self.data)[:10], 0)

    def test_second_gzip_member(self):
        first, second = (gzip.compress(joined(half)) for half in (list(self.runs.values())[:150],
                                                                  list(self.runs.values())[150:]))
        self.assert_cut(first + second[:-500], 150)

    def test_zstd(self):
        self.assert_cut(zstd(self.data)[:-1000], 100)

    def test_zstd_checksum(self):
        """All runs came, but the end of the frame did not."""
        self.assert_cut(zstd(self.data)[:-2], 0)


class Damaged(BadInputTest):
    """Compressed input whose checksum is wrong is never taken as whole."""

    def assert_not_done(self, data: bytes) -> None:
        path = self.write("damaged", data)
        result = self.runctl("ingest", path, status=REJECTED)
        self.assert_message(result, path)

    def test_gzip_with_a_wrong_checksum(self):
        data = bytearray(gzip.compress(joined(GOOD)))
        data[-6] ^= 1
        self.assert_not_done(bytes(data))

    def test_zstd_with_a_wrong_checksum(self):
        data = bytearray(zstd(joined(GOOD)))
        data[-2] ^= 1
        self.assert_not_done(bytes(data))

    def test_window_beyond_the_limit(self):
        """--long=28 wants 256 MiB: refused in plain words, not with half of memory."""
        self.assert_not_done(zstd(joined(GOOD), "--long=28"))

    def test_rubbish_after_gzip(self):
        """Bytes that belong to no member must not vanish unsaid."""
        self.assert_not_done(gzip.compress(joined(GOOD)) + b"rubbish that follows" * 10)

    def test_rubbish_after_zstd(self):
        self.assert_not_done(zstd(joined(GOOD)) + b"rubbish that follows" * 10)


class NotRuns(BadInputTest):
    def test_empty_file(self):
        result = self.runctl("ingest", "--json", self.write("empty", b""))
        self.assert_counts(self.summary_of(result), read=0, stored=0, rejected=0, batches=0)
        self.assert_message(result, "empty")
        self.assertEqual(self.objects(), [])

    def test_empty_stdin(self):
        result = self.runctl("ingest", "-")
        self.assert_message(result, "empty")

    def test_numbers_where_blocks_are_cut(self):
        """An array of one line is read in blocks, which may end within a number."""
        numbers = b",".join(b"%d" % (10**20 + n) for n in range(100_000))
        summary = self.ingest_bytes(b"[" + numbers + b',{"id":"behind"}]', status=REJECTED)
        self.assert_counts(summary, read=100_001, stored=1, rejected=100_000)

    def test_nothing_but_space(self):
        self.assert_counts(self.ingest_bytes(b" \r\n\n\t\n"), read=0, stored=0)

    def test_nothing_but_a_byte_order_mark(self):
        self.assert_counts(self.ingest_bytes(b"\xef\xbb\xbf"), read=0, stored=0)

    def test_empty_array(self):
        self.assert_counts(self.ingest_bytes(b"[]\n"), read=0, stored=0)

    def test_empty_gzip_and_zstd(self):
        self.assert_counts(self.ingest_bytes(gzip.compress(b"")), read=0, stored=0)
        self.assert_counts(self.ingest_bytes(zstd(b"")), read=0, stored=0)

    def test_directory(self):
        """Checked before anything is stored, wherever it stands among the arguments."""
        good = self.write("good", joined(GOOD))
        directory = self.dir / "directory"
        directory.mkdir()
        result = self.runctl("ingest", good, directory, status=USAGE)
        self.assert_message(result, "directory")
        self.assertEqual(self.objects(), [])

    def test_missing_file(self):
        good = self.write("good", joined(GOOD))
        result = self.runctl("ingest", good, self.dir / "missing.ndjson", status=USAGE)
        self.assert_message(result, "missing.ndjson", "No such file")
        self.assertEqual(self.objects(), [])

    def test_binary_rubbish(self):
        for seed in range(5):
            with self.subTest(seed=seed):
                rubbish = random.Random(seed).randbytes(100_000)
                result = self.runctl("ingest", "--json", "-", stdin=rubbish, status=REJECTED)
                self.assert_counts(self.summary_of(result), stored=0)
                self.assert_printable(result)

    def test_an_executable(self):
        program = b"\x7fELF\x02\x01\x01" + bytes(5000) + random.Random(9).randbytes(9999)
        result = self.runctl("ingest", "-", stdin=program, status=REJECTED)
        self.assert_printable(result)

    def test_utf16(self):
        """With and without a mark: rejected, with words that help, and nothing of it is stored."""
        text = joined(GOOD).decode()
        for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
            with self.subTest(encoding=encoding):
                result = self.runctl("ingest", "--json", "-", stdin=text.encode(encoding), status=REJECTED)
                self.assert_counts(self.summary_of(result), stored=0)
                self.assert_message(result, "-")
                self.assert_printable(result)
        result = self.runctl("ingest", "-", stdin=text.encode("utf-16"), status=REJECTED)
        self.assertRegex(result.err, rb"(?i)utf-?(8|16)")

    def test_nuls_after_a_crash(self):
        """A log that lost power ends, or begins after rotation, with NULs; its runs are stored."""
        for number, data in enumerate((bytes(4096) + b"\n" + joined(GOOD), joined(GOOD) + bytes(4096),
                                       GOOD[0] + b"\n" + bytes(100_000) + b"\n" + GOOD[1] + b"\n")):
            with self.subTest(number=number):
                self.store = self.dir / f"store{number}"
                result = self.run_plain("--store", self.store, "ingest", "-", stdin=data)
                self.assertIn(result.status, (DONE, REJECTED), str(result))
                self.assert_message(result, "-")
                self.assert_printable(result)
                self.assert_comes_back({run_id(1): GOOD[0], run_id(2): GOOD[1]})

    def test_nuls_alone(self):
        self.runctl("ingest", "-", stdin=bytes(100_000), status=REJECTED)

    def test_deeper_than_the_limit(self):
        """A million open brackets is an answer, not a crash."""
        self.assert_message(self.ingest_between(b'{"id":"x","inputs":' + b"[" * 1_000_000), "-:2:")

    def test_million_levels_that_close(self):
        self.assert_message(self.ingest_between(b'{"id":"x","inputs":' + b"[" * 10**6 + b"]" * 10**6 + b"}"), "-:2:")

    def test_line_of_a_gigabyte(self):
        """Longer than a run may be (256 MiB): rejected, the good ones around it stored, memory bounded."""
        self.long_form()
        piece = b"x" * (1 << 20)

        def stream():
            yield GOOD[0] + b'\n{"id":"x","inputs":"'
            for _ in range(1024):
                yield piece
            yield b'"}\n' + GOOD[1] + b"\n"

        rejects = self.dir / "rejects"
        measured = self.measure("ingest", "--rejects", rejects, "-", stdin_from=stream())
        self.assertEqual(measured.status, REJECTED, measured.err)
        self.assertRegex(measured.err, rb"(?m)^runctl: -:2: \S")
        self.assertLess(measured.peak_bytes, 1200 << 20)
        self.assertEqual(rejects.stat().st_size, len(b'{"id":"x","inputs":""}\n') + (1 << 30))
        self.assert_comes_back({run_id(1): GOOD[0], run_id(2): GOOD[1]})


class BadStore(BadInputTest):
    def test_file_in_place_of_the_store(self):
        self.store = self.write("store", b"I am a file")
        for command in (["ingest", "-"], ["get", run_id(1)], ["index", "rebuild"]):
            with self.subTest(command=command):
                result = self.run_plain("--store", self.store, *command, stdin=joined(GOOD))
                self.assertIn(result.status, (USAGE, FAILED), str(result))
                self.assert_message(result, self.store)
        self.assertEqual(self.store.read_bytes(), b"I am a file")

    def test_store_below_a_file(self):
        self.store = self.write("file", b"") / "store"
        self.assert_message(self.runctl("ingest", "-", stdin=joined(GOOD), status=FAILED), "file")

    def test_store_without_permission(self):
        """As an ordinary user, in a directory that only others may write."""
        if os.geteuid() == 0:
            self.check_as_nobody()
        else:
            self.store.mkdir(mode=0o500)
            self.assert_message(self.runctl("ingest", "-", stdin=joined(GOOD), status=FAILED), "ermission")

    def check_as_nobody(self) -> None:
        self.store.mkdir(mode=0o755)
        for path in (self.home, *self.home.rglob("*")):
            os.chown(path, harness.NOBODY, harness.NOBODY)
        result = self.run_as_nobody("--store", self.store, "ingest", "-", stdin=joined(GOOD))
        self.assertEqual(result.status, FAILED, str(result))
        self.assert_message(result, "ermission")
        self.assertEqual(self.objects(), [])

    def test_store_that_cannot_be_read(self):
        """It is not taken for an empty one."""
        self.ingest_bytes(joined(GOOD))
        index = {"RUNCTL_INDEX": str(self.home / "other.sqlite")}
        run = self.run_plain
        if os.geteuid() == 0:
            os.chown(self.home, harness.NOBODY, harness.NOBODY)
            run = self.run_as_nobody
        self.store.chmod(0o000)
        try:
            for arguments in (["index", "sync"], ["doctor"], ["ingest", "-"]):
                result = run("--store", self.store, *arguments, stdin=joined(GOOD), env=index)
                self.assertEqual(result.status, FAILED, str(result))
                self.assertIn(b"ermission", result.out + result.err)
        finally:
            self.store.chmod(0o755)

    def test_store_that_fails_while_a_file_is_read(self):
        """The failure is told, and nothing else: the record at which reading stopped is not broken."""
        self.write("store/runs/v1/2024-05-05", b"a file where a directory should be")
        days = ["2024-05-05T00:00:00Z"] + ["2024-05-06T00:00:00Z"] * 6000
        runs = [make_run(n, start_time=day, inputs=noise(n, 3000)) for n, day in enumerate(days)]
        result = self.runctl("ingest", self.write("runs.ndjson", joined(runs)), status=FAILED)
        self.assertEqual(result.err.count(b"\n"), 1, result.err)

    def test_unknown_scheme(self):
        result = self.run_plain("--store", "gopher://example.org/runs", "ingest", "-", stdin=joined(GOOD))
        self.assertEqual(result.status, USAGE, str(result))
        self.assert_message(result, "gopher")


class CorruptBatch(BadInputTest):
    """Damaged bytes are named with their key (exit 5) and never printed."""

    def setUp(self) -> None:
        super().setUp()
        self.runs = {run_id(n): make_run(n, inputs=noise(n, 2000)) for n in range(300)}
        self.index = self.dir / "index.sqlite"
        self.environment["RUNCTL_INDEX"] = str(self.index)
        self.ingest_bytes(joined(self.runs.values()))
        self.batch = self.only_object()
        self.whole = self.batch.read_bytes()
        self.key = self.keys()[0]

    def damage(self, data: bytes) -> None:
        """Puts other bytes in the batch's place, with the old modification time."""
        times = self.batch.stat()
        self.batch.write_bytes(data)
        os.utime(self.batch, ns=(times.st_atime_ns, times.st_mtime_ns))

    def get_all(self) -> harness.Result:
        self.forget_cache()
        return self.run_plain("--store", self.store, "get", "-", stdin="\n".join(self.runs).encode())

    def get_with_flipped(self, at: int, bits: int) -> harness.Result:
        data = bytearray(self.whole)
        data[at] ^= bits
        self.damage(data)
        return self.get_all()

    def assert_right_or_named(self, result: harness.Result) -> None:
        """Every line printed is a stored run; an error names the key."""
        self.assertLessEqual(set(result.lines), set(self.runs.values()), "wrong bytes were printed")
        if result.status == DONE:
            self.assertEqual(result.lines, list(self.runs.values()))
        else:
            self.assertEqual(result.status, CORRUPT, str(result))
            self.assert_message(result, self.key)

    def test_cut_short(self):
        for length in (0, 1, 100, len(self.whole) // 2, len(self.whole) * 3 // 4):
            with self.subTest(length=length):
                self.damage(self.whole[:length])
                result = self.get_all()
                self.assertEqual(result.status, CORRUPT, str(result))
                self.assert_right_or_named(result)

    def test_flipped_byte_in_a_frame(self):
        for at in (0, 5, 300, 5000, len(self.whole) // 2):
            with self.subTest(at=at):
                result = self.get_with_flipped(at, 0x10)
                self.assertEqual(result.status, CORRUPT, str(result))
                self.assert_right_or_named(result)

    def test_flipped_byte_in_one_of_many_frames(self):
        """They are decompressed several at a time; one that is broken takes none with it."""
        self.batch.unlink()
        self.index.unlink()
        self.runs = {run_id(n): make_run(n, inputs=noise(n, 150_000)) for n in range(40)}
        self.ingest_bytes(joined(self.runs.values()))
        self.batch = self.only_object()
        self.whole, self.key = self.batch.read_bytes(), self.keys()[0]
        for at in (300, len(self.whole) // 2, len(self.whole) * 9 // 10):
            with self.subTest(at=at):
                result = self.get_with_flipped(at, 0x10)
                self.assertEqual(result.status, CORRUPT, str(result))
                self.assert_right_or_named(result)
                self.assertGreaterEqual(len(result.lines), 40 - 3)  # the first frames hold three
                self.assertEqual(result.lines, [run for run in self.runs.values() if run in result.lines])

    def test_flipped_byte_anywhere(self):
        """Also where only a rebuild would look."""
        positions = random.Random(1).sample(range(len(self.whole)), 40 if LONG else 12)
        for at in positions + [len(self.whole) - n for n in (1, 5, 9, 20)]:
            with self.subTest(at=at):
                self.assert_right_or_named(self.get_with_flipped(at, 0x01))

    def test_damage_among_whole_batches(self):
        """The bad batch is named and none of it is printed; asked for alone, the others answer."""
        others = make_runs(5, 1000)
        self.ingest_bytes(joined(others.values()))
        self.damage(self.whole[:len(self.whole) // 4])
        ids = [run_id(1000), run_id(299), run_id(1001)]
        self.forget_cache()
        result = self.run_plain("--store", self.store, "get", *ids)
        self.assertEqual(result.status, CORRUPT, str(result))
        self.assert_message(result, self.key)
        self.assertLessEqual(set(result.lines), set(others.values()))
        self.assert_comes_back(others)

    def test_rebuild_names_a_batch_cut_short(self):
        for path in self.dir.glob("index.sqlite*"):
            path.unlink()
        for length in (0, 4, 100, len(self.whole) // 2, len(self.whole) - 1):
            with self.subTest(length=length):
                self.damage(self.whole[:length])
                self.assert_message(self.runctl("index", "rebuild", status=CORRUPT), self.key)

    def test_rebuild_with_a_flipped_byte_in_the_tail(self):
        """Footer and seek table: named, or of no influence; never wrong answers and no crash."""
        tail = len(self.whole) * 19 // 20
        for at in random.Random(2).sample(range(tail, len(self.whole)), 60 if LONG else 12):
            with self.subTest(at=at):
                for path in self.dir.glob("index.sqlite*"):
                    path.unlink()
                data = bytearray(self.whole)
                data[at] ^= 0x80
                self.damage(data)
                result = self.run_plain("--store", self.store, "index", "rebuild")
                self.assertIn(result.status, (DONE, CORRUPT), str(result))
                if result.status == CORRUPT:
                    self.assert_message(result, self.key)
                else:
                    self.assert_right_or_named(self.get_all())

    def test_rebuild_keeps_the_batches_that_are_whole(self):
        others = make_runs(5, 1000)
        self.ingest_bytes(joined(others.values()))
        self.damage(self.whole[:-10])
        for path in self.dir.glob("index.sqlite*"):
            path.unlink()
        self.assert_message(self.runctl("index", "rebuild", status=CORRUPT), self.key)
        self.assert_comes_back(others)

    def test_rubbish_in_place_of_a_batch(self):
        for data in (b"\x00" * 5000, random.Random(3).randbytes(50_000), b'{"id":"x"}\n' * 100, zstd(b"x" * 10_000)):
            self.damage(data)
            result = self.get_all()
            self.assertEqual(result.status, CORRUPT, str(result))
            self.assert_right_or_named(result)

    def test_batch_deleted(self):
        """The index knows it, the store does not: named, and not mistaken for `no such run`."""
        self.batch.unlink()
        result = self.get_all()
        self.assertIn(result.status, (FAILED, CORRUPT), str(result))
        self.assertEqual(result.out, b"")
        self.assert_message(result, self.key)

    def test_another_batch_in_its_place(self):
        """Whole and valid, but not what this name stands for."""
        other = {run_id(n): make_run(n, inputs=noise(n + 10_000, 2000)) for n in range(300)}
        keep, self.store = self.store, self.dir / "other"
        self.ingest_bytes(joined(other.values()), "--index", self.dir / "other.sqlite")
        data = self.only_object().read_bytes()
        self.store = keep
        self.damage(data)
        self.assertLessEqual(set(self.get_all().lines), set(self.runs.values()))


if __name__ == "__main__":
    harness.main()
