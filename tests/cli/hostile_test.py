#!/usr/bin/env python3
"""Files that someone made to hurt: indexes, configuration, batches, names. None may crash or hang a command, lead it
out of the store, or steer a terminal; each ends in one line and the right exit status."""

import os
import pathlib
import pty
import sqlite3
import struct
import subprocess

import harness
from harness import CORRUPT, DONE, FAILED, NOBODY, NOT_FOUND, USAGE

ESCAPE = "\x1b[31m\n\x07\x9b2J"
BIG = (1 << 63) - 1


class HostileCase(harness.CliTest):
    timeout = 60

    def setUp(self) -> None:
        super().setUp()
        self.index = self.dir / "index.sqlite"
        self.environment["RUNCTL_INDEX"] = str(self.index)

    def assert_harmless(self, result: harness.Result, *statuses: int) -> None:
        """One of these exit statuses, lines that are runctl's, and nothing that a terminal obeys."""
        self.assertIn(result.status, statuses, str(result))
        self.assertNotIn(b"internal error", result.err)
        for line in result.err.split(b"\n")[:-1]:
            self.assertTrue(line.startswith((b"runctl: ", b"{")), str(result))
        text = (result.err + result.out).decode()  # raises where it is no UTF-8
        bad = [c for c in text if (ord(c) < 0x20 and c != "\n") or 0x7F <= ord(c) < 0xA0]
        self.assertEqual(bad, [], str(result))

    def commands(self):
        yield "get", "a"
        yield "get", "--trace", "a"
        yield "search", "--format", "table"
        yield "search", "--full"
        yield "search", "--name-contains", "x"
        yield "search", "--trace-id", "a"
        yield "index", "status"
        yield "index", "sync"
        yield "verify",
        yield "doctor",


class Indexes(HostileCase):
    def setUp(self) -> None:
        super().setUp()
        self.ingest_bytes(b'{"id":"a","name":"x","parent_run_id":"b","start_time":"2024-05-05T00:00:00Z"}\n'
                          b'{"id":"b","name":"y","trace_id":"a","tags":["t"]}\n')
        outside = self.dir / "outside.ndjson.zst"
        outside.write_bytes(self.only_object().read_bytes())

    def change(self, *statements) -> None:
        with sqlite3.connect(self.index) as database:
            database.execute("PRAGMA writable_schema = ON")
            for statement in statements:
                database.execute(statement)
        database.close()

    def assert_survives(self, *statements) -> list[harness.Result]:
        kept = self.index.read_bytes()
        self.change(*statements)
        hurt = self.index.read_bytes()
        results = []
        for command in self.commands():
            self.index.write_bytes(hurt)
            for leftover in (f"{self.index}-wal", f"{self.index}-shm"):
                pathlib.Path(leftover).unlink(missing_ok=True)
            results.append(self.runctl(*command, status=None))
            self.assert_harmless(results[-1], DONE, NOT_FOUND, USAGE, FAILED, CORRUPT)
        self.runctl("index", "rebuild", "-q")
        self.assertEqual(len(self.get("a", "b")), 2)
        self.index.write_bytes(kept)
        return results

    def test_keys_that_lead_out_of_the_store(self):
        for key in ("../outside.ndjson.zst", str(self.dir / "outside.ndjson.zst"), "a//b", "", ESCAPE,
                    "runs/v1/../../../outside.ndjson.zst"):
            with self.subTest(key=key):
                got = self.assert_survives(f"UPDATE batch SET key = {quoted(key)}")[0]
                self.assertEqual((got.status, got.out), (CORRUPT, b""))

    def test_numbers_that_cannot_be(self):
        for column in ("raw_offset", "length", "batch", "fingerprint", "name", "start", "duration", "parent", "tags"):
            for number in (-1, BIG, -BIG - 1, 0xFFFFFFFF):
                with self.subTest(column=column, number=number):
                    self.assert_survives(f"UPDATE run SET {column} = {number}")

    def test_frames_that_cannot_be(self):
        for column in ("raw_offset", "raw", "offset", "stored"):
            for number in (-5, BIG, -BIG - 1, 0xFFFFFFFF):
                with self.subTest(column=column, number=number):
                    got = self.assert_survives(f"UPDATE frame SET {column} = {number}")[0]
                    self.assertEqual((got.status, got.out), (CORRUPT, b""))

    def test_segments_that_cannot_be(self):
        for change in ("filter = x'00'", "filter = zeroblob(63)", f"entries = {BIG}", f"first_block = {-BIG}",
                       f"last_block = {BIG}", f"last_row = {BIG}, first_row = -5", "kind = 3 - kind"):
            with self.subTest(change=change):
                self.assert_survives(f"UPDATE segment SET {change}")

    def test_blocks_that_cannot_be(self):
        for change in ("x''", "x'80'", "x'ffffffffffffffffffff'", "zeroblob(1000)", "'text'", "NULL"):
            with self.subTest(change=change):
                statement = f"UPDATE OR IGNORE block SET entries = {change}"
                if change == "NULL":
                    statement = "DELETE FROM block"
                self.assert_survives(statement)

    def test_texts_that_steer_a_terminal(self):
        self.assert_survives(f"UPDATE name SET value = {quoted(ESCAPE)} || name")
        results = self.assert_survives(f"UPDATE setting SET value = {quoted(ESCAPE)} WHERE name = 'store'")
        self.assertEqual({result.status for result in results}, {USAGE})

    def test_views_and_triggers(self):
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS name, i AS value FROM n"
        for statements in (("DROP TABLE setting", f"CREATE VIEW setting AS {endless}"),
                           ("CREATE TRIGGER t AFTER INSERT ON batch BEGIN DELETE FROM run; END",),
                           ("DROP TABLE block", "CREATE VIRTUAL TABLE block USING fts5(block, rank, entries)"),
                           ("DROP TABLE run",), ("DROP TABLE segment", "CREATE TABLE segment(x)")):
            with self.subTest(statements=statements):
                results = self.assert_survives(*statements)
                self.assertEqual(results[0].status, CORRUPT)

    def test_empty_file_is_no_index_yet(self):
        for command in (("get", "a"), ("search", "--count"), ("ingest", "-q", "-"), ("index", "sync"),
                        ("index", "rebuild")):
            with self.subTest(command=command):
                self.runctl("index", "rebuild", "-q")
                self.index.write_bytes(b"")
                self.runctl(*command, stdin=b'{"id":"a2"}\n')
                self.assertGreater(self.index.stat().st_size, 0)
        self.assertEqual(len(self.get("a", "b", "a2")), 3)

    def test_not_a_file(self):
        self.index.unlink()
        os.mkfifo(self.index)
        result = self.runctl("search", status=USAGE)
        self.assert_message(result, "index.sqlite: is no regular file")


def quoted(text: str) -> str:
    return "CAST(x'" + text.encode().hex() + "' AS TEXT)"


class Configurations(HostileCase):
    def test_what_is_no_config_file(self):
        huge, fifo, directory = self.dir / "huge", self.dir / "fifo", self.dir / "directory"
        with open(huge, "wb") as file:
            file.truncate(1 << 30)
        os.mkfifo(fifo)
        directory.mkdir()
        for path in (huge, fifo, directory, "/dev/zero", "/dev/null"):
            with self.subTest(path=path):
                self.assert_harmless(self.run_plain("--config", path, "search"), USAGE)
                for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
                    env = {name: str(path), "AWS_EC2_METADATA_DISABLED": "true"}
                    command = ("--store", "s3://bucket", "--endpoint-url", "http://127.0.0.1:1", "index", "sync")
                    self.assert_harmless(self.run_plain(*command, env=env), USAGE)

    def test_pipe_of_a_shell(self):
        script = 'exec "$0" --config <(sleep 0.2; echo "{\\"store\\":\\"$1\\"}") cache path'
        result = self.run_command(["bash", "-c", script, harness.binary(), self.store])
        self.assertEqual(result.status, DONE, str(result))

    def test_what_is_repeated(self):
        for text in ('{"\\u001b[2J\\n": "x"}', '{"color": "\\u001b[2J\\u009b"}', "[" * 100000,
                     '{"store": "\\u001b]0;x\\u0007://"}',
                     '{"cache_size": "\\u001b[2J"}', '{"store": ["x"]}', '{"store":"s3://bucket","region":"\\u001b"}'):
            with self.subTest(text=text[:40]):
                self.assert_harmless(self.run_plain("--config", self.write("c.json", text.encode()), "doctor"), USAGE)


class Stores(HostileCase):
    def test_names(self):
        self.ingest_bytes(b'{"id":"a"}\n')
        batch = self.only_object()
        for name in (b"\x1b[2J", b"a\nrunctl: b", b"\xff\xfe", b"\xc2\x9b2J.ndjson.zst", b"a" * 250):
            with open(os.path.join(os.fsencode(batch.parent), name), "wb") as file:
                file.write(b"x")
        os.mkdir(os.path.join(os.fsencode(batch.parent.parent), b"\x1b[2J"))
        os.symlink("..", batch.parent / "around")
        for command in self.commands():
            self.assert_harmless(self.runctl(*command, status=None), DONE)
        self.assert_harmless(self.runctl("verify", "--json"), DONE)
        strange = self.dir / os.fsdecode(b"store\xff\x1b")
        for command in (("doctor", "--json"), ("index", "status", "--json")):
            result = self.run_plain("--store", strange, "--index", os.fsdecode(b"i\xff"), *command)
            self.assert_harmless(result, DONE, NOT_FOUND)

    def test_times_beyond_the_number(self):
        self.ingest_bytes(b'{"id":"a"}\n')
        for year_seconds in (1 << 34, -(1 << 33)):
            os.utime(self.only_object(), (year_seconds, year_seconds))
            for command in (("index", "rebuild"), ("get", "a"), ("verify",), ("doctor",)):
                self.assert_harmless(self.runctl(*command), DONE)

    def test_pipe_in_the_place_of_a_batch(self):
        self.ingest_bytes(b'{"id":"a"}\n')
        batch = self.only_object()
        batch.unlink()
        os.mkfifo(batch)
        self.assert_harmless(self.runctl("get", "a", status=None), CORRUPT)

    def test_seek_tables(self):
        self.ingest_bytes(b'{"id":"a"}\n')
        path = self.only_object()
        whole = path.read_bytes()
        stored, raw, footer, _ = struct.unpack("<IIII", whole[-9 - 16:-9])
        for entries in ([(0xFFFFFFFF, raw), (footer, 0)], [(stored, 0xFFFFFFFF), (footer, 0)],
                        [(stored, raw), (0xFFFFFFFF, 0)], [(0, raw), (footer, 0)], [(stored, raw)] * 3, []):
            for count in (len(entries), 0, 0xFFFFFFFF, 0x8000):
                table = struct.pack("<II", 0x184D2A5E, len(entries) * 8 + 9)
                table += b"".join(struct.pack("<II", *entry) for entry in entries)
                table += struct.pack("<IBI", count & 0xFFFFFFFF, 0, 0x8F92EAB1)
                path.write_bytes(whole[:stored + footer] + table)
                for command in (("index", "rebuild"), ("verify", "--read-data")):
                    self.assert_harmless(self.runctl(*command, status=None), CORRUPT)
        # A sparse file as large as the seek table says.
        table = struct.pack("<IIIIIIIBI", 0x184D2A5E, 25, 0xFFFFFFF0, 1, 0xFFFFFFF0, 0, 2, 0, 0x8F92EAB1)
        with open(path, "wb") as file:
            file.truncate(2 * 0xFFFFFFF0)
            file.seek(0, os.SEEK_END)
            file.write(table)
        self.assert_harmless(self.runctl("index", "rebuild", status=None), CORRUPT)


class Caches(HostileCase):
    def test_clear_where_nothing_may_be_written(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become another user")
        self.ingest_bytes(b'{"id":"a"}\n')
        cache = self.dir / "cache"
        self.runctl("--cache-dir", cache, "get", "a")
        for path in [cache, *cache.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
            path.chmod(0o500 if path.is_dir() else 0o400)
        result = self.run_as_nobody("--cache-dir", cache, "cache", "clear")
        self.assertEqual(result.status, FAILED, str(result))
        self.assert_message(result, f"{cache}/v1/usage: the cache cannot be changed: Permission denied")

    def test_times_beyond_the_number(self):
        self.ingest_bytes(b'{"id":"a"}\n')
        cache = self.dir / "cache"
        for seconds in (1 << 34, -(1 << 33)):
            self.runctl("--cache-dir", cache, "get", "a")
            for path in cache.glob("v1/??/*"):
                os.utime(path, (seconds, seconds))
            for command in (("get", "a"), ("cache", "stats"), ("cache", "clean"), ("cache", "verify")):
                self.assert_harmless(self.runctl("--cache-dir", cache, *command), DONE)


class Outputs(HostileCase):
    def run_shell(self, script: str, *command) -> harness.Result:
        return self.run_command(["sh", "-c", script, "sh", harness.binary(), "--store", self.store, *command])

    def test_closed_standard_output(self):
        self.ingest_bytes(b'{"id":"a"}\n')
        for command in (("search",), ("get", "a"), ("index", "status"), ("--version",), ("search", "--help")):
            for close, why in ((">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")):
                with self.subTest(command=command, close=close):
                    result = self.run_shell(f'exec "$@" {close}', *command)
                    self.assertEqual((result.status, len(result.messages), result.out), (FAILED, 1, b""), str(result))
                    self.assert_message(result, why)

    def test_names_on_a_terminal(self):
        name = '"\\u001b[31m\\u0007\\u009b2J\\n\x9b2J\x7f"'
        self.ingest_bytes(f'{{"id":"a","name":{name},"run_type":{name}}}\n'.encode())
        for form in ("table", "csv", "ndjson", "ids"):
            with self.subTest(form=form):
                ours, theirs = pty.openpty()
                command = [harness.binary(), "--store", self.store, "--color", "never", "search", "--format", form]
                done = subprocess.run(command, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL,
                                      env=self.environment, timeout=self.timeout)
                os.close(theirs)
                text = os.read(ours, 1 << 16).decode()
                os.close(ours)
                self.assertEqual(done.returncode, DONE, text)
                bad = [c for c in text if (ord(c) < 0x20 and c not in "\r\n") or 0x7F <= ord(c) < 0xA0]
                self.assertEqual(bad, [], text)
        # In a pipe the bytes are those of the run.
        self.assertIn("\x1b[31m\x07\x9b2J\n\x9b2J\x7f".encode(), self.runctl("search", "--format", "csv").out)

    def test_nothing_to_print_is_no_failure(self):
        self.ingest_bytes(b'{"id":"a"}\n')
        result = self.run_shell('exec "$@" >&-', "search", "--name", "z")
        self.assertEqual(result.status, DONE, str(result))


if __name__ == "__main__":
    harness.main()
