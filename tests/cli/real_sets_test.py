"""The real sets: every line goes in, and `get` returns each identical to what went in.

The three sets over 100 MB are sampled in the short form and whole with RUNCTL_LONG=1.
"""

import json
import re

import harness
from harness import LONG, joined, split_lines, squeeze, unzstd

FIRST_ID = re.compile(rb'\{"id": ?"([^"\\]+)"')


class RealSets(harness.CliTest):
    timeout = 900

    def lines_of(self, name: str) -> list[bytes]:
        path = self.real_data(name)
        return split_lines(unzstd(path) if path.suffix == ".zst" else path.read_bytes())

    def by_id(self, lines: list[bytes]) -> dict[str, bytes]:
        runs = {FIRST_ID.match(line)[1].decode(): line for line in lines}
        self.assertEqual(len(runs), len(lines), "the set's ids are unique")
        return runs

    def check_stored(self, runs: dict[str, bytes]) -> None:
        """By id in the order of input and in another order; and the batches themselves, without runctl."""
        self.assert_comes_back(runs)
        some = sorted(runs)[::max(1, len(runs) // 1000)]
        self.assert_same_lines(self.get_listed(some), [runs[i] for i in some])
        stored = [line for path in self.objects() for line in split_lines(unzstd(path))]
        self.assertEqual(len(stored), len(runs))
        self.assertEqual(set(stored), set(runs.values()))

    def check_set(self, name: str, sample: slice = slice(None)) -> None:
        """As it lies there when it is taken whole; the sampled lines else."""
        lines = self.lines_of(name)
        taken = lines if LONG else lines[sample]
        runs = self.by_id(taken)
        if len(taken) == len(lines):
            summary = self.ingest(self.real_data(name))
        else:
            summary = self.ingest_bytes(joined(taken))
        self.assert_counts(summary, read=len(runs), stored=len(runs), duplicate=0, rejected=0)
        self.check_stored(runs)

    def test_taubench(self):
        self.check_set("agent/taubench.ndjson.zst")

    def test_sweagent(self):
        self.check_set("agent/sweagent_demos.ndjson.zst")

    def test_langsmith_merged(self):
        self.check_set("langsmith_raw/run_ops_merged.ndjson.zst")

    def test_json_suite_spliced(self):
        self.check_set("JSONTestSuite/y_spliced_runs.ndjson")

    def test_intercode(self):
        self.check_set("agent/intercode.ndjson.zst", slice(None, None, 10))

    def test_zeroeval_crux(self):
        self.check_set("chat/zeroeval-crux.ndjson.zst", slice(8000))

    def test_zeroeval_gsm(self):
        self.check_set("chat/zeroeval-gsm.ndjson.zst", slice(8000))

    def test_array_of_runs(self):
        """The pretty-printed array, whitespace between tokens aside; the same runs as in taubench.ndjson."""
        path = self.real_data("agent/taubench_first20traces.array.json.zst")
        ids = [run["id"] for run in json.loads(unzstd(path))]
        self.assert_counts(self.ingest(path), read=428, stored=428, rejected=0)
        whole = self.by_id(self.lines_of("agent/taubench.ndjson.zst"))
        lines = self.get_listed(ids)
        self.assert_same_lines([squeeze(line) for line in lines], [squeeze(whole[i]) for i in ids])

    def test_array_of_records_without_ids(self):
        """200 pretty-printed results of another tool: each gets an id and loses nothing."""
        path = self.real_data("agent/taubench_gpt-4o-airline.original.json.zst")
        text = unzstd(path)
        ids = [line.decode() for line in self.runctl("ingest", "--print-ids", path).lines]
        self.assertEqual(len(ids), 200)
        lines = self.get_listed(ids)
        without = [line.replace(b'"id":"%s",' % i.encode(), b"", 1) for i, line in zip(ids, lines)]
        self.assertEqual(squeeze(b"[" + b",".join(without) + b"]"), squeeze(text))
        self.assert_counts(self.ingest(path), stored=0, duplicate=200)

    def test_a_trace_of_the_set(self):
        runs = self.by_id(self.lines_of("agent/taubench.ndjson.zst"))
        self.ingest(self.real_data("agent/taubench.ndjson.zst"))
        traces: dict[str, list[bytes]] = {}
        for line in runs.values():
            traces.setdefault(json.loads(line)["trace_id"], []).append(line)
        for trace in list(traces)[::40]:
            self.assertEqual(sorted(self.get("--trace", trace)), sorted(traces[trace]))

    def test_fields_of_the_set(self):
        """--field returns the bytes that stand in the line."""
        lines = self.lines_of("langsmith_raw/run_ops_merged.ndjson.zst")
        self.ingest_bytes(joined(lines))
        for line in lines[::5]:
            record = json.loads(line)
            for name in ("inputs", "outputs", "events", "name"):
                if name not in record:
                    continue
                value, = self.get("--field", name, record["id"])
                self.assertIn(b'"%s":%s' % (name.encode(), value), line)
                self.assertEqual(json.loads(value), record[name])

    def test_twice(self):
        path = self.real_data("agent/sweagent_demos.ndjson.zst")
        self.ingest(path)
        keys = self.keys()
        self.assert_counts(self.ingest(path), read=475, stored=0, duplicate=475, batches=0)
        self.assertEqual(self.keys(), keys)


if __name__ == "__main__":
    harness.main()
