"""`runctl get`: what went in comes out, byte for byte, in the order asked for."""

import json
import subprocess

import harness
from harness import FAILED, NOT_FOUND, USAGE, joined, make_run, make_runs, noise, run_id, split_lines, squeeze


class Exact(harness.CliTest):
    """A run is never re-serialised."""

    def test_odd_but_valid_runs(self):
        """tests/data/odd_but_valid.ndjson: one hazard a line, named by its id."""
        lines = split_lines((harness.OWN_DATA / "odd_but_valid.ndjson").read_bytes())
        runs = {json.loads(line, parse_float=str)["id"]: line for line in lines}
        self.assertEqual(len(runs), len(lines))
        self.assert_counts(self.ingest(harness.OWN_DATA / "odd_but_valid.ndjson"), stored=len(lines), rejected=0)
        for run, line in runs.items():
            with self.subTest(run=run):
                self.assertEqual(self.get(run), [line])

    def test_deep_nesting(self):
        """10,000 levels, of arrays, of objects and of both, are no error."""
        deep = {
            "arrays": b'{"id":"arrays","inputs":' + b"[" * 9999 + b"]" * 9999 + b"}",
            "objects": b'{"id":"objects","inputs":' + b'{"a":' * 9999 + b"1" + b"}" * 9999 + b"}",
            "both": b'{"id":"both","inputs":' + b'[{"a":' * 4999 + b"1e400" + b"}]" * 4999 + b"}",
        }
        self.assert_counts(self.ingest_bytes(joined(deep.values())), stored=3, rejected=0)
        self.assert_comes_back(deep)

    def test_pretty_printed_run_is_one_line(self):
        """Newlines between tokens become spaces; those written as escapes stay."""
        pretty = b'{\n\n  "id" : "p",\n\t"inputs": [\n1.0,\n"a\\nb"\n]\n}\n'
        self.ingest_bytes(pretty)
        self.assertEqual(self.get("p"), [b'{    "id" : "p", \t"inputs": [ 1.0, "a\\nb" ] }'])

    def test_run_larger_than_a_frame(self):
        big = make_run(1, inputs=noise(1, 3_000_000), metadata={"k": "v"}, outputs="x" * 2_000_000)
        self.ingest_bytes(joined([make_run(0), big, make_run(2)]))
        self.assert_comes_back({run_id(0): make_run(0), run_id(1): big, run_id(2): make_run(2)})

    def test_run_of_16_mib(self):
        big = make_run(1, inputs=noise(1, 16 << 20))
        self.ingest_bytes(big)
        self.assert_same_lines(self.get(run_id(1)), [big])

    def test_many_sizes(self):
        """Runs that end just before and after every frame border that could be."""
        runs = {run_id(n): make_run(n, inputs=noise(n, size)) for n, size in enumerate(
            [1, 2, 3, 65400, 65500, 65536, 131000, 131072, 262144, 1048400, 1048500, 1048576, 1048700, 2097152, 5])}
        self.ingest_bytes(joined(runs.values()))
        self.assert_comes_back(runs)


class Order(harness.CliTest):
    def setUp(self) -> None:
        super().setUp()
        self.runs = make_runs(300)
        self.ingest_bytes(joined(self.runs.values()))

    def test_order_asked_for(self):
        ids = sorted(self.runs)
        self.assertEqual(self.get_listed(ids), [self.runs[i] for i in ids])
        self.assertEqual(self.get_listed(ids[::-1]), [self.runs[i] for i in ids[::-1]])

    def test_order_over_many_batches(self):
        more = {run_id(n): make_run(n, inputs=noise(n, 5000)) for n in range(1000, 1200)}
        self.ingest_bytes(joined(more.values()), "--batch-bytes", "100000")
        self.runs.update(more)
        ids = sorted(self.runs)
        self.assertEqual(self.get_listed(ids), [self.runs[i] for i in ids])

    def test_an_id_asked_for_twice_is_printed_twice(self):
        ids = [run_id(n) for n in (5, 7, 5, 5)]
        self.assertEqual(self.get(*ids), [self.runs[i] for i in ids])

    def test_ids_from_stdin(self):
        """Without a last newline, with blank lines and CRLF, as editors and other systems write them."""
        listed = f"{run_id(3)}\r\n\n{run_id(1)}".encode()
        self.assertEqual(self.get("-", stdin=listed), [self.runs[run_id(3)], self.runs[run_id(1)]])

    def test_what_ingest_printed_is_what_get_reads(self):
        printed = self.runctl("ingest", "--print-ids", "-", stdin=joined(make_runs(5, 900).values())).out
        self.assertEqual(self.get("-", stdin=printed), list(make_runs(5, 900).values()))

    def test_missing_ids_are_named_and_the_rest_is_printed(self):
        absent = run_id(999_999)
        result = self.runctl("get", run_id(2), absent, "no such run", run_id(1), status=NOT_FOUND)
        self.assertEqual(result.lines, [self.runs[run_id(2)], self.runs[run_id(1)]])
        self.assert_message(result, absent)
        self.assert_message(result, "no such run")
        self.assertNotIn(run_id(1).encode(), result.err)

    def test_quiet_names_missing_ids_too(self):
        self.assert_message(self.runctl("-q", "get", "nothing", status=NOT_FOUND), "nothing")

    def test_id_that_cannot_be_seen(self):
        """Such ids are named as `ingest --print-ids` prints them."""
        self.ingest_bytes(make_run(1))
        result = self.runctl("get", "", " a", status=NOT_FOUND)
        self.assertEqual(result.err, b'runctl: "": not found\nrunctl: " a": not found\n')

    def test_field_that_runs_of_a_trace_lack(self):
        """Each run is named as it names itself: it was not asked for by its id."""
        self.ingest_bytes(b'{"id":"a","trace_id":"t"}\n{"id":" b","trace_id":"t","status":"done"}\n'
                          b'{"id":"c\\n","trace_id":"t"}')
        result = self.runctl("get", "--trace", "t", "--field", "status", status=NOT_FOUND)
        self.assertEqual(result.out, b'"done"\n')
        self.assertEqual(sorted(result.err.splitlines()), [
            b'runctl: "c\\u000a": the run has no field "status"', b'runctl: a: the run has no field "status"'])

    def test_empty_store(self):
        self.store = self.dir / "never used"
        result = self.runctl("get", "a", status=NOT_FOUND)
        self.assertEqual(result.out, b"")
        self.assert_message(result, "a")

    def test_no_id_is_wrong_usage(self):
        self.assertEqual(self.runctl("get", status=USAGE).out, b"")


class Fields(harness.CliTest):
    def setUp(self) -> None:
        super().setUp()
        self.record = (b'{"id":"f","name":"n\\u0041me", "inputs" : {"a": 1.0,\t"b":[18446744073709551617, 1e400]} ,'
                       b'"outputs":null,"metadata":{ },"tags":[ "x" ],"events":[{"t":-0.0}],"end_time":1.50}')
        self.ingest_bytes(self.record)

    def field(self, name: str, **options) -> list[bytes]:
        return self.get("--field", name, "f", **options)

    def test_raw_bytes(self):
        self.assertEqual(self.field("inputs"), [b'{"a": 1.0,\t"b":[18446744073709551617, 1e400]}'])
        self.assertEqual(self.field("name"), [b'"n\\u0041me"'])
        self.assertEqual(self.field("outputs"), [b"null"])
        self.assertEqual(self.field("metadata"), [b"{ }"])
        self.assertEqual(self.field("tags"), [b'[ "x" ]'])
        self.assertEqual(self.field("end_time"), [b"1.50"])
        self.assertEqual(self.field("id"), [b'"f"'])

    def test_field_that_runctl_does_not_know(self):
        self.assertEqual(self.field("events"), [b'[{"t":-0.0}]'])

    def test_repeated_in_the_order_of_the_flags(self):
        lines = self.get("--field", "tags", "--field", "outputs", "--field", "id", "f")
        self.assertEqual(lines, [b'[ "x" ]', b"null", b'"f"'])

    def test_several_runs(self):
        self.ingest_bytes(b'{"id":"g","inputs":2}')
        self.assertEqual(self.get("--field", "id", "--field", "inputs", "g", "f"),
                         [b'"g"', b"2", b'"f"', b'{"a": 1.0,\t"b":[18446744073709551617, 1e400]}'])

    def test_run_without_the_field(self):
        result = self.runctl("get", "--field", "status", "f", status=NOT_FOUND)
        self.assertEqual(result.out, b"")
        self.assert_message(result, "status")

    def test_nested_key_is_no_field(self):
        self.field("a", status=NOT_FOUND)

    def test_fields_of_a_run_larger_than_a_frame(self):
        """Each field of a run that is cut over several frames, in an order that is not ours."""
        values = {"metadata": b'{"first":1}', "inputs": b'"' + noise(1, 2_500_000).encode() + b'"', "name": b'"big"',
                  "outputs": b'["' + noise(2, 1_500_000).encode() + b'"]', "extra": b'{"last":true}'}
        record = b'{"id":"big",' + b",".join(b'"%s":%s' % (k.encode(), v) for k, v in values.items()) + b"}"
        self.ingest_bytes(record)
        for name, value in values.items():
            with self.subTest(field=name):
                self.assert_same_lines(self.get("--field", name, "big"), [value])
        self.assert_same_lines(self.get("big"), [record])

    def test_pretty_is_the_same_json_over_several_lines(self):
        """--pretty changes the whitespace between tokens and nothing else."""
        text = self.runctl("get", "--pretty", "f").out
        self.assertGreater(text.count(b"\n"), 5)
        self.assertEqual(squeeze(text), squeeze(self.record))

    def test_pretty_with_odd_but_valid_runs(self):
        path = harness.OWN_DATA / "odd_but_valid.ndjson"
        self.ingest(path)
        for line in split_lines(path.read_bytes()):
            run = json.loads(line, parse_float=str)["id"]
            with self.subTest(run=run):
                self.assertEqual(squeeze(self.runctl("get", "--pretty", run).out), squeeze(line))


class Output(harness.CliTest):
    def setUp(self) -> None:
        super().setUp()
        self.runs = make_runs(20)
        self.ingest_bytes(joined(self.runs.values()))

    def test_output_file(self):
        target = self.dir / "out.ndjson"
        result = self.runctl("get", "--output", target, *self.runs)
        self.assertEqual(result.out, b"")
        self.assertEqual(target.read_bytes(), joined(self.runs.values()))

    def test_output_replaces_a_file(self):
        target = self.write("out.ndjson", b"old " * 10000)
        self.runctl("get", "--output", target, run_id(1))
        self.assertEqual(target.read_bytes(), self.runs[run_id(1)] + b"\n")

    def test_output_that_cannot_be_written(self):
        result = self.run_plain("--store", self.store, "get", "--output", self.dir / "none" / "out", run_id(1))
        self.assertIn(result.status, (USAGE, FAILED), str(result))
        self.assert_message(result, "none/out")

    def test_full_disk(self):
        """A short write must not look like success."""
        with open("/dev/full", "wb") as full:
            done = subprocess.run([harness.binary(), "--store", self.store, "get", *self.runs], stdout=full,
                                  stderr=subprocess.PIPE, cwd=self.dir, env=self.environment, timeout=self.timeout)
        self.assertEqual(done.returncode, FAILED, done.stderr)
        self.assertIn(b"runctl: ", done.stderr)

    def test_reader_that_leaves_early(self):
        """`get … | head -1` ends quietly."""
        runs = {run_id(n): make_run(n, inputs="x" * 10000) for n in range(1000, 1100)}
        self.ingest_bytes(joined(runs.values()))
        result = self.run_command(["bash", "-c", '"$@" | head -n 1', "bash", harness.binary(), "--store", self.store,
                                   "get", *runs])
        self.assertEqual(result.lines, [runs[run_id(1000)]])
        self.assertNotIn(b"terminate", result.err)


class Traces(harness.CliTest):
    def setUp(self) -> None:
        super().setUp()
        self.trace = run_id(1)
        self.members = [make_run(n, trace_id=self.trace) for n in range(1, 6)]
        self.ingest_bytes(joined(self.members + list(make_runs(5, 100).values())))

    def test_all_runs_of_a_trace(self):
        self.assertEqual(sorted(self.get("--trace", self.trace)), sorted(self.members))

    def test_by_start_time(self):
        """Runs without a start come last."""
        trace = run_id(30)
        times = {31: 5, 32: None, 33: 1, 34: "1969-12-31", 30: 3, 35: None}
        runs = {n: make_run(n, trace_id=trace, **({} if t is None else {"start_time": t})) for n, t in times.items()}
        for run in runs.values():
            self.ingest_bytes(run)
        lines = self.get("--trace", trace)
        self.assert_same_lines(lines[:4], [runs[n] for n in (34, 33, 30, 31)])
        self.assertEqual(set(lines[4:]), {runs[32], runs[35]})

    def test_over_several_batches(self):
        late = make_run(50, trace_id=self.trace)
        self.ingest_bytes(late)
        self.assertEqual(sorted(self.get("--trace", self.trace)), sorted([*self.members, late]))

    def test_trace_defaults_to_the_id(self):
        self.assertEqual(self.get("--trace", run_id(101)), [make_run(101)])

    def test_null_trace_defaults_to_the_id(self):
        self.ingest_bytes(b'{"id":"alone","trace_id":null}')
        self.assertEqual(self.get("--trace", "alone"), [b'{"id":"alone","trace_id":null}'])

    def test_root_without_trace_id_belongs_to_its_trace(self):
        root, child = b'{"id":"root"}', b'{"id":"child","trace_id":"root"}'
        self.ingest_bytes(joined([root, child]))
        self.assertEqual(sorted(self.get("--trace", "root")), sorted([root, child]))

    def test_derived_id_is_the_trace(self):
        derived, = self.runctl("ingest", "--print-ids", "-", stdin=b'{"name":"no id"}').lines
        self.assertEqual(self.get("--trace", derived), self.get(derived))

    def test_missing_trace(self):
        result = self.runctl("get", "--trace", "no such trace", status=NOT_FOUND)
        self.assertEqual(result.out, b"")
        self.assert_message(result, "no such trace")

    def test_latest_version_of_each_run(self):
        newer = make_run(3, trace_id=self.trace, version=2)
        self.ingest_bytes(newer)
        expected = [run for run in self.members if run_id(3).encode() not in run[:50]] + [newer]
        self.assertEqual(sorted(self.get("--trace", self.trace)), sorted(expected))


if __name__ == "__main__":
    harness.main()
