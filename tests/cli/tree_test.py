"""`runctl get --format tree` and the table of `runctl search`, as a terminal and a pipe get them."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios

import harness
from harness import NOT_FOUND, USAGE, joined

COLOR = re.compile(r"\x1b\[[0-9;]*m")
START = 1714557600  # 2024-05-01T10:00:00Z


def run(number: int, parent: int | None, name: str, start: float, end: float | None, **fields) -> bytes:
    known = {"id": f"{number:08}-0000-4000-8000-000000000000", "trace_id": "a trace", "name": name, "run_type": "llm",
             "start_time": START + start}
    if parent is not None:
        known["parent_run_id"] = f"{parent:08}-0000-4000-8000-000000000000"
    if end is not None:
        known["end_time"] = START + end
    return json.dumps({**known, **fields}).encode()


RUNS = [run(1, None, "agent", 0, 4), run(2, 1, "plan", 0, 1), run(3, 1, "act \u4f60\u597d", 1, 4),
        run(4, 3, "search\n\x1b[31m", 2, 2.5, error="no route"), run(5, 3, "write", 3, None),
        run(6, 99, "x" * 500, 3, 3.1)]


class DrawingTest(harness.CliTest):
    def setUp(self) -> None:
        super().setUp()
        self.ingest_bytes(joined(RUNS))

    def tree(self, *arguments, **options) -> list[str]:
        result = self.runctl("get", "--trace", "a trace", "--format", "tree", *arguments, **options)
        return result.out.decode().splitlines()

    def on_terminal(self, columns: int, *arguments, **environment) -> list[str]:
        """The lines that a terminal of this width gets on standard output."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        with subprocess.Popen([harness.binary(), "--store", self.store, *arguments], stdout=theirs,
                              stderr=subprocess.PIPE, cwd=self.dir, env={**self.environment, **environment}) as child:
            os.close(theirs)
            out = b""
            while True:
                try:
                    piece = os.read(ours, 1 << 16)
                except OSError:  # the other end is closed
                    break
                if not piece:
                    break
                out += piece
            err = child.stderr.read()
        os.close(ours)
        self.assertEqual((child.returncode, err), (0, b""))
        return out.decode().replace("\r\n", "\n").splitlines()


class Tree(DrawingTest):
    def test_pipe(self):
        self.assertEqual(self.tree(env={"COLUMNS": "60"}), [
            "trace a trace",
            "2024-05-01 10:00:00, 4.0s, 6 runs, 1 error",
            "?─ 1 run whose parent is not in this trace",
            "                                         0              4.0s",
            "agent                              4.0s  ███████████████████",
            "├─ plan                            1.0s  ████▊",
            "└─ act 你好                        3.0s      ▕██████████████",
            "   ├─ search\\x0a\\x1b[31m       ✗  500ms           ▐█▉",
            "   └─ write                           -                ▎",
            "?─ xxxxxxxxxxxxxxxxxxxxxxxxxx…    100ms                ▌",
        ])

    def test_ascii_where_the_locale_is_not_utf8(self):
        for locale in ({"LC_ALL": "C"}, {"LC_ALL": "", "LC_CTYPE": "POSIX", "LANG": "C.UTF-8"}):
            drawn = "\n".join(self.tree(env=locale))
            self.assertTrue(drawn.isascii(), drawn)
            self.assertIn("`- act \\u4f60\\u597d", drawn)
            self.assertRegex(drawn, r"search\S+ +! ")

    def test_colour_only_on_a_terminal_or_where_asked_for(self):
        plain = self.tree(env={"COLUMNS": "100"})
        arguments = ("get", "--trace", "a trace", "--format", "tree")
        self.assertNotIn("\x1b", "".join(plain))
        for lines in (self.tree("--color", "always", env={"COLUMNS": "100"}), self.on_terminal(100, *arguments)):
            self.assertIn("\x1b[31m✗\x1b[0m", "".join(lines))
            self.assertEqual([COLOR.sub("", line) for line in lines], plain)
        self.assertEqual(self.on_terminal(100, *arguments, NO_COLOR="1"), plain)
        self.assertEqual(self.on_terminal(100, *arguments, "--color", "never"), plain)

    def test_as_wide_as_the_terminal(self):
        for columns in (20, 60, 100, 200):
            lines = self.on_terminal(columns, "get", "--trace", "a trace", "--format", "tree", COLUMNS="70")
            widths = [len(COLOR.sub("", line)) for line in lines]
            self.assertLessEqual(max(widths), columns)
            if columns > 20:
                self.assertEqual(max(widths), columns)

    def test_output_file(self):
        self.assertEqual(self.tree("--output", "tree.txt"), [])
        self.assertEqual((self.dir / "tree.txt").read_text().splitlines(), self.tree())

    def test_all_runs(self):
        self.ingest_bytes(joined(run(100 + i, 2, "call", i / 100, i / 100) for i in range(50)))
        self.assertIn("× 50 call", "\n".join(self.tree()))
        self.assertEqual(sum("call" in line for line in self.tree("--all-runs")), 50)

    def test_the_zone_is_the_users(self):
        self.assertTrue(self.tree(env={"TZ": "UTC-2"})[1].startswith("2024-05-01 12:00:00, "))

    def test_missing_trace(self):
        result = self.runctl("get", "--trace", "none", "--format", "tree", status=NOT_FOUND)
        self.assertEqual(result.out, b"")
        self.assert_message(result, "none: not found")

    def test_wrong_usage(self):
        for arguments in (["--format", "tree"], ["--format", "tree", "some id"], ["--format", "xml", "--trace", "t"],
                          ["--trace", "t", "--all-runs"], ["--trace", "t", "--format", "tree", "some id"],
                          ["--trace", "t", "--format", "tree", "--pretty"],
                          ["--trace", "t", "--format", "tree", "--field", "id"]):
            with self.subTest(arguments=arguments):
                result = self.runctl("get", *arguments, status=USAGE)
                self.assert_message(result, "--format" if "--format" in arguments else "--all-runs")


class Table(DrawingTest):
    def test_fits_the_terminal_with_whole_ids(self):
        for columns in (60, 100, 200):
            lines = [COLOR.sub("", line) for line in self.on_terminal(columns, "search")]
            self.assertEqual(len(lines), len(RUNS) + 1)
            self.assertLessEqual(max(map(len, lines)), columns)
            for line, number in zip(lines[1:], (6, 5, 4, 3, 2, 1)):
                self.assertIn(f" {number:08}-0000-4000-8000-000000000000", line)

    def test_pipe(self):
        result = self.runctl("search", "--format", "table", env={"COLUMNS": "60"})
        self.assertIn(b"x" * 500, result.out)
        self.assertNotIn(b"\x1b", result.out)


if __name__ == "__main__":
    harness.main()
