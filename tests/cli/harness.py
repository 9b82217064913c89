"""What every command line test shares: an isolated home, the binary, data, and measures.

The binary is named by RUNCTL_BINARY. Each test gets a fresh directory which holds HOME and all XDG
directories, so that the default store, index, cache and configuration lie inside and no test sees another.
RUNCTL_TEST_DATA names the real sets (default: ../shared/data beside the project); RUNCTL_LONG=1 runs the
long forms.
"""

import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

PROJECT = pathlib.Path(__file__).resolve().parents[2]
OWN_DATA = PROJECT / "tests" / "data"
LONG = os.environ.get("RUNCTL_LONG", "") not in ("", "0")
DONE, NOT_FOUND, USAGE, REJECTED, FAILED, CORRUPT = range(6)
NOBODY = 65534
# A job in the background of a script ignores SIGINT, and what it starts would too.
signal.signal(signal.SIGINT, signal.default_int_handler)
SUMMARY_KEYS = {"read", "stored", "duplicate", "rejected", "spooled", "delivered", "batches", "bytes_in", "bytes_stored", "seconds"}

ENDS = ("stored", "duplicate", "rejected", "spooled")  # one of which every record comes to


def binary() -> pathlib.Path:
    named = os.environ.get("RUNCTL_BINARY")
    if not named:
        sys.exit("harness: RUNCTL_BINARY must name the runctl to test")
    path = pathlib.Path(named).resolve()
    if not os.access(path, os.X_OK):
        sys.exit(f"harness: RUNCTL_BINARY={named} is not an executable file")
    return path


@dataclasses.dataclass
class Result:
    status: int  # as a shell reports it, except that a signal is negative
    out: bytes
    err: bytes

    @property
    def lines(self) -> list[bytes]:
        """The lines of stdout, each without its newline."""
        return split_lines(self.out)

    @property
    def messages(self) -> list[bytes]:
        """The lines of stderr that are errors, warnings or rejects."""
        return [line for line in self.err.splitlines() if line.startswith(b"runctl: ")]

    def __str__(self) -> str:
        return f"exit status {self.status}\nstdout {self.out[:1500]!r}\nstderr {self.err[:3000]!r}"


@dataclasses.dataclass
class Measured:
    status: int
    peak_bytes: int  # largest resident set of the process
    seconds: float  # wall clock of the process
    bytes_read: int  # bytes that read(2) and its kin delivered to the process
    err: bytes


class CliTest(unittest.TestCase):
    timeout = 120  # seconds, for one command

    def setUp(self) -> None:
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="runctl_cli_"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.home = self.dir / "home"
        self.store = self.dir / "store"
        self.environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.home),
            "XDG_DATA_HOME": str(self.home / "data"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_RUNTIME_DIR": str(self.home / "runtime"),
            "TMPDIR": str(self.home / "tmp"),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
        }
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LLVM_PROFILE_FILE", "GCOV_PREFIX"):
            if name in os.environ:
                self.environment[name] = os.environ[name]
        for path in ("home", "home/data", "home/cache", "home/config", "home/state", "home/tmp"):
            (self.dir / path).mkdir()
        (self.home / "runtime").mkdir(mode=0o700)

    # --- running ---

    def run_plain(self, *arguments, stdin: bytes = b"", env: dict | None = None, **options) -> Result:
        """Runs runctl with exactly these arguments, in the test's directory."""
        return self.run_command([binary(), *arguments], stdin=stdin, env=env, **options)

    def run_as_nobody(self, *arguments, **options) -> Result:
        """As run_plain by root, for an ordinary user; a copy of the program is run, for the path to the program may
        be closed to others."""
        copy = self.dir / "runctl"
        if not copy.exists():
            shutil.copyfile(binary(), copy)
            copy.chmod(0o755)
        self.dir.chmod(0o755)
        return self.run_command([copy, *arguments], user=NOBODY, group=NOBODY, **options)

    def run_command(self, command, stdin: bytes = b"", env: dict | None = None, **options) -> Result:
        done = subprocess.run(
            [os.fspath(part) if isinstance(part, os.PathLike) else part for part in command],
            input=stdin, capture_output=True, timeout=self.timeout, cwd=self.dir,
            env={**self.environment, **(env or {})}, **options)
        result = Result(done.returncode, done.stdout, done.stderr)
        self.assertNotIn(b"Sanitizer", result.err, "a sanitizer reported")
        self.assertNotIn(b"runtime error:", result.err, "a sanitizer reported")
        self.assertGreaterEqual(result.status, 0, f"killed by a signal: {result}")
        return result

    def runctl(self, *arguments, store: pathlib.Path | None = None, status: int | None = DONE, **options) -> Result:
        """Runs runctl on the test's store and checks the exit status, unless that is None."""
        result = self.run_plain("--store", store or self.store, *arguments, **options)
        if status is not None:
            self.assertEqual(result.status, status, f"{arguments}: {result}")
        return result

    # --- ingest and get ---

    def ingest(self, *arguments, status: int = DONE, **options) -> dict:
        """`ingest --json`; checks that the summary adds up and returns it."""
        return self.summary_of(self.runctl("ingest", "--json", *arguments, status=status, **options))

    def ingest_bytes(self, data: bytes, *arguments, status: int = DONE, **options) -> dict:
        return self.ingest(*arguments, "-", stdin=data, status=status, **options)

    def summary_of(self, result: Result) -> dict:
        self.assertEqual(len(result.lines), 1, f"--json prints one line: {result}")
        summary = json.loads(result.out)
        self.assertLessEqual(SUMMARY_KEYS, set(summary))
        self.assertEqual(summary["read"], sum(summary[end] for end in ENDS), summary)
        return summary

    def get(self, *ids, status: int = DONE, **options) -> list[bytes]:
        return self.runctl("get", *ids, status=status, **options).lines

    def get_listed(self, ids, *arguments, **options) -> list[bytes]:
        """`get -` with the ids on stdin."""
        return self.runctl("get", *arguments, "-", stdin=b"".join(as_bytes(i) + b"\n" for i in ids), **options).lines

    def assert_counts(self, summary: dict, **expected: int) -> None:
        self.assertEqual({key: summary[key] for key in expected}, expected, summary)

    def assert_message(self, result: Result, *parts) -> None:
        """Some line on stderr is runctl's, and holds all these parts."""
        wanted = [as_bytes(part) for part in parts]
        found = any(all(part in line for part in wanted) for line in result.messages)
        self.assertTrue(found, f"no line `runctl: …` with {wanted} in {result}")

    def assert_comes_back(self, records: dict, **options) -> None:
        """`get` of all ids prints exactly these records: {id: bytes}."""
        lines = self.get_listed(records, **options)
        self.assert_same_lines(lines, list(records.values()))

    def assert_same_lines(self, got: list[bytes], expected: list[bytes]) -> None:
        for number, (one, other) in enumerate(zip(got, expected), 1):
            if one != other:
                at = next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))
                around = slice(max(0, at - 40), at + 60)
                self.fail(f"line {number} differs at byte {at + 1}: got {one[around]!r}, "
                          f"expected {other[around]!r} (lengths {len(one)}, {len(other)})")
        self.assertEqual(len(got), len(expected), "number of lines")

    def runs_in_index(self) -> int:
        """Without asking the store; 0 before there is an index."""
        result = self.run_plain("--store", self.store, "index", "status", "--json")
        return json.loads(result.out)["runs"] if result.status == DONE else 0

    # --- programs that go on beside the test ---

    def wait_until(self, what, message) -> None:
        """`message`: a text, or what makes it when the time is up."""
        until = time.monotonic() + self.timeout
        while not what():
            if time.monotonic() > until:
                self.fail(message() if callable(message) else message)
            time.sleep(0.02)

    def wait_until_signals_are_caught(self, child: subprocess.Popen) -> None:
        """Or it has ended."""
        def caught() -> bool:
            if child.poll() is not None:
                return True
            status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
            mask = int(re.search(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)[1], 16)
            return bool(mask >> (signal.SIGTERM - 1) & 1)
        self.wait_until(caught, "it catches no signals")

    def wait_until_pipe_is_read(self, child: subprocess.Popen) -> None:
        def waiting() -> int:
            return struct.unpack("i", fcntl.ioctl(child.stdin, termios.FIONREAD, bytes(4)))[0]
        self.wait_until(lambda: waiting() == 0, "it does not read what is in the pipe")

    # --- the store's files ---

    def objects(self, store: pathlib.Path | None = None) -> list[pathlib.Path]:
        """The batches of a store, in the order of their keys."""
        return sorted((store or self.store).glob("**/*.ndjson.zst"))

    def keys(self, store: pathlib.Path | None = None) -> list[str]:
        root = store or self.store
        return [path.relative_to(root).as_posix() for path in self.objects(root)]

    def only_object(self) -> pathlib.Path:
        found = self.objects()
        self.assertEqual(len(found), 1, "one batch was expected")
        return found[0]

    def forget_cache(self) -> None:
        """So that what is read next comes from the store."""
        shutil.rmtree(self.home / "cache", ignore_errors=True)

    # --- files ---

    def write(self, name: str, data: bytes) -> pathlib.Path:
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def real_data(self, name: str) -> pathlib.Path:
        """A file of the real sets; the test is skipped, and says so, where it is absent."""
        path = real_data_root() / name
        if not path.exists():
            self.skipTest(f"REAL DATA ABSENT: {name} is not in {real_data_root()}; set RUNCTL_TEST_DATA")
        return path

    def long_form(self) -> None:
        if not LONG:
            self.skipTest("long form: set RUNCTL_LONG=1")

    # --- measuring ---

    def measure(self, *arguments, stdin_from=None, out: pathlib.Path | None = None, timeout: int = 1800) -> Measured:
        """Runs runctl on the test's store and measures it.

        `stdin_from` is an iterable of bytes that is streamed to stdin; stdout goes to the file `out`.
        """
        return self.measure_command([binary(), "--store", self.store, *arguments], stdin_from, out, timeout)

    def measure_command(self, command, stdin_from=None, out=None, timeout: int = 1800) -> Measured:
        report = self.dir / "measured.json"
        error = self.dir / "measured.err"
        with open(out or os.devnull, "wb") as sink, open(error, "wb") as errors:
            child = subprocess.Popen(
                [sys.executable, "-S", pathlib.Path(__file__).with_name("measure.py"), report, *command],
                stdin=subprocess.PIPE if stdin_from is not None else subprocess.DEVNULL,
                stdout=sink, stderr=errors, cwd=self.dir, env=self.environment)
            try:
                if stdin_from is not None:
                    feed(child, stdin_from)
                child.wait(timeout)
            finally:
                if child.poll() is None:
                    child.terminate()
                    child.wait()
        with open(error, "rb") as errors:  # of millions of messages the last are enough
            errors.seek(max(0, error.stat().st_size - (1 << 20)))
            return Measured(err=errors.read(), **json.loads(report.read_text()))


def feed(child: subprocess.Popen, pieces) -> None:
    """Writes the pieces to the child's stdin and closes it; a child that stops reading is no error here."""
    try:
        for piece in pieces:
            child.stdin.write(piece)
    except BrokenPipeError:
        pass
    finally:
        try:
            child.stdin.close()
        except BrokenPipeError:
            pass


# --- bytes ---

def as_bytes(value) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def split_lines(data: bytes) -> list[bytes]:
    """Splits at newlines alone: bytes.splitlines() would also split at a carriage return."""
    lines = data.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    return lines


def joined(records) -> bytes:
    return b"".join(record + b"\n" for record in records)


_TOKEN_OR_SPACE = re.compile(rb'("(?:[^"\\]|\\.)*")|[ \t\r\n]+', re.DOTALL)


def squeeze(text: bytes) -> bytes:
    """JSON without the whitespace between its tokens; every token keeps its bytes."""
    return _TOKEN_OR_SPACE.sub(lambda match: match[1] or b"", text)


def run_id(number: int) -> str:
    """A random-looking UUID, the same for the same number."""
    digits = hashlib.sha256(b"run %d" % number).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"


def make_run(number: int, **fields) -> bytes:
    """A small run; `fields` come after the id."""
    record = {"id": run_id(number), "name": f"step {number % 7}", "inputs": {"n": number}, **fields}
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()


def make_runs(count: int, start: int = 0) -> dict[str, bytes]:
    return {run_id(n): make_run(n) for n in range(start, start + count)}


def noise(seed: int, length: int) -> str:
    """Letters that compress to about half their length, the same for the same seed."""
    return hashlib.shake_256(b"noise %d" % seed).hexdigest(length // 2 + 1)[:length]


def zstd(data: bytes, *flags: str) -> bytes:
    return tool(["zstd", "-q", "-c", *flags], data)


def unzstd(source) -> bytes:
    """What the zstd command makes of a file or of bytes."""
    if isinstance(source, bytes):
        return tool(["zstd", "-dqc", "--long=31"], source)
    return tool(["zstd", "-dqc", "--long=31", os.fspath(source)], b"")


def unzstd_all(paths: list[pathlib.Path]) -> bytes:
    """The contents of many batches, one after the other."""
    return unzstd(b"".join(path.read_bytes() for path in paths)) if paths else b""


def tool(command: list[str], data: bytes) -> bytes:
    done = subprocess.run(command, input=data, capture_output=True, timeout=600)
    if done.returncode != 0:
        raise AssertionError(f"{command} failed: {done.stderr!r}")
    return done.stdout


def real_data_root() -> pathlib.Path:
    named = os.environ.get("RUNCTL_TEST_DATA")
    return pathlib.Path(named).resolve() if named else PROJECT.parent / "shared" / "data"


def main() -> None:
    """Runs the tests of the calling file, or those that its arguments name."""
    binary()
    if shutil.which("zstd") is None:
        sys.exit("harness: the zstd command is needed")
    unittest.main(module="__main__", verbosity=2)
