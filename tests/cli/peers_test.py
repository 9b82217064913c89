"""scripts/bench-peers on a tiny set: its rows come out well formed; what they say of time is nobody's matter here."""

import re
import shutil
import sys
import unittest

import harness
from harness import DONE, PROJECT, USAGE, joined, make_run, zstd

TIME = r"\d+\.\d\d s|\d+(\.\d)? ms"
RATIO = r"\d+\.\d\d\d?"
LIMIT = r"(≤ [\d.]+)?"


class Peers(harness.CliTest):
    def setUp(self) -> None:
        super().setUp()
        for name in ("zeroeval-crux", "zeroeval-gsm"):
            runs = [make_run(n, metadata={"session_id": f"s{n % 40}"}) for n in range(200)]
            self.write(f"data/chat/{name}.ndjson.zst", zstd(joined(runs)))

    def bench(self, *arguments, status: int = DONE):
        result = self.run_command(
            [sys.executable, PROJECT / "scripts" / "bench-peers", *arguments],
            env={"RUNCTL_BINARY": str(harness.binary()), "RUNCTL_TEST_DATA": str(self.dir / "data")})
        self.assertEqual(result.status, status, str(result))
        self.assertEqual(list((self.home / "tmp").iterdir()), [], "nothing stays")
        return result

    def rows(self, result) -> list[list[str]]:
        """The cells of the rows of a table in Markdown, after a line about the machine and an empty one."""
        machine, empty, *table = result.out.decode().splitlines()
        self.assertRegex(machine, r"cores, \d+ GiB, Linux .*; runctl \d.*zstd \d.*; 1 pairs, load")
        self.assertEqual(empty, "")
        cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table]
        self.assertEqual({len(row) for row in cells}, {9})
        return [[cell.strip() for cell in row] for row in cells[2:]]

    def check(self, row: list[str]) -> None:
        for cell, form in zip(row, (".+", ".+", TIME, TIME, RATIO, RATIO, RATIO, LIMIT, LIMIT)):
            self.assertRegex(cell, f"^({form})$", str(row))

    def test_a_row(self):
        row, = self.rows(self.bench("--rows", "ingest/local/zeroeval-crux/zstd", "--pairs", "1", "--markdown"))
        self.check(row)
        self.assertEqual(row[:2] + row[-2:], ["ingest zeroeval-crux, directory", "`zstd -3 -T2`", "≤ 1.5", "≤ 1"])

    def test_rows_that_ask(self):
        """Both sides found the same, or it had ended with an error; a peer that is not there is named."""
        peers = {"get/local/one/grep": "grep", "search/local/metadata/jq": "jq", "search/local/metadata/grep": "grep"}
        result = self.bench("--rows", "[gs]*/local/*", "--pairs", "1", "--markdown")
        there = [row for row, tool in peers.items() if shutil.which(tool)]
        rows = self.rows(result)
        self.assertEqual(len(rows), len(there))
        for row in rows:
            self.check(row)
        out = [f"{row}: left out, {tool} is not installed" for row, tool in peers.items() if row not in there]
        self.assertEqual(result.err.decode().splitlines(), out)

    def test_a_set_that_is_not_there(self):
        result = self.bench("--rows", "ingest/local/taubench/*", "--pairs", "1", "--markdown")
        self.assertEqual(self.rows(result), [])
        self.assertRegex(result.err, rb"^ingest/local/taubench/zstd: left out, .*taubench.ndjson.zst is not there\n$")

    @unittest.skipUnless(shutil.which("grep"), "grep is not installed")
    def test_a_wrong_answer_is_no_figure(self):
        """A runctl that prints another run is found out."""
        wrong = self.write("wrong", b'#!/bin/sh\ncase " $* " in *" get "*) echo "{}";; *) exec %s "$@";; esac\n'
                           % str(harness.binary()).encode())
        wrong.chmod(0o755)
        result = self.run_command(
            [sys.executable, PROJECT / "scripts" / "bench-peers", "--rows", "get/local/*", "--pairs", "1"],
            env={"RUNCTL_BINARY": str(wrong), "RUNCTL_TEST_DATA": str(self.dir / "data")})
        self.assertEqual(result.status, 1, str(result))
        self.assertIn(b"bench-peers: get by id: printed b'{}', not", result.err)

    def test_no_such_row(self):
        self.assertIn(b"no such row: nothing", self.bench("--rows", "nothing", status=USAGE).err)


if __name__ == "__main__":
    harness.main()
