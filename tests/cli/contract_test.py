"""No surprise for a shell: flags, help, settings, exit statuses, and what goes to which stream."""

import json
import os
import pty
import subprocess

import harness
from harness import DONE, FAILED, NOT_FOUND, REJECTED, USAGE, joined, make_run, make_runs, run_id

INGEST_FLAGS = ("--rejects", "--on-error", "--expect-count", "--dry-run", "--print-ids", "--batch-bytes", "--level",
                "--jobs", "--new-ids")
GET_FLAGS = ("--field", "--pretty", "--output", "--trace", "--all-versions")
GLOBAL_FLAGS = ("--store", "--index", "--config", "--json", "--quiet", "--verbose", "--color", "--progress",
                "--version", "--help")


class Help(harness.CliTest):
    def assert_help(self, *arguments) -> bytes:
        result = self.run_plain(*arguments)
        self.assertEqual((result.status, result.err), (DONE, b""), str(result))
        self.assertTrue(result.out)
        return result.out

    def test_help_of_the_program(self):
        text = self.assert_help("--help")
        for word in ("ingest", "get", "index", *GLOBAL_FLAGS):
            self.assertIn(word.encode(), text)
        self.assertEqual(self.assert_help("-h"), text)

    def test_help_of_each_command(self):
        for command, flags in (("ingest", INGEST_FLAGS), ("get", GET_FLAGS), ("index", ("status", "rebuild"))):
            text = self.assert_help(command, "--help")
            for flag in flags:
                self.assertIn(flag.encode(), text, command)

    def test_version(self):
        self.assertRegex(self.assert_help("--version"), rb"\Arunctl \d+\.\d+\.\d+[^\n]*\n\Z")

    def test_help_needs_no_home(self):
        for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
            del self.environment[name]
        self.assert_help("--help")

    def test_help_leaves_nothing_behind(self):
        self.assert_help("--help")
        self.assert_help("ingest", "--help")
        self.assertEqual([path for path in self.home.rglob("*") if path.is_file()], [])


class Usage(harness.CliTest):
    """Exit 2 and one line that names the fault; nothing on stdout, nothing stored."""

    def assert_wrong(self, *arguments, names: str = "") -> None:
        with self.subTest(arguments=arguments):
            result = self.run_plain(*arguments, stdin=make_run(1))
            self.assertEqual((result.status, result.out), (USAGE, b""), str(result))
            self.assert_message(result, names)

    def test_no_command(self):
        result = self.run_plain()
        self.assertEqual(result.status, USAGE, str(result))

    def test_wrong_usage(self):
        self.assert_wrong("frobnicate", names="frobnicate")
        self.assert_wrong("ingest", "--frobnicate", "-", names="--frobnicate")
        self.assert_wrong("--frobnicate", "ingest", "-", names="--frobnicate")
        self.assert_wrong("index")
        self.assert_wrong("index", "frobnicate", names="frobnicate")
        self.assert_wrong("get")

    def test_wrong_values(self):
        for flag, value in (("--level", "fast"), ("--level", "9999"), ("--jobs", "-1"), ("--jobs", "many"),
                            ("--batch-bytes", "-5"), ("--batch-bytes", "big"), ("--expect-count", "x"),
                            ("--expect-count", "-1"), ("--on-error", "panic"), ("--color", "blue"),
                            ("--progress", "perhaps")):
            self.assert_wrong("ingest", flag, value, "-", names=flag)
        self.assert_wrong("ingest", "-", "--level")
        self.assertEqual([path for path in self.home.rglob("*.zst")], [])

    def test_empty_store(self):
        self.assert_wrong("--store", "", "get", "x")


class Settings(harness.CliTest):
    """A flag beats the environment, which beats the config file, which beats the default."""

    def stored_in(self, *arguments, env: dict | None = None) -> set[str]:
        """The directories in which an ingest with these settings put a batch."""
        before = set(self.dir.rglob("*.ndjson.zst"))
        result = self.run_plain(*arguments, "ingest", "-", stdin=make_run(1), env=env)
        self.assertEqual(result.status, DONE, str(result))
        new = set(self.dir.rglob("*.ndjson.zst")) - before
        return {path.relative_to(self.dir).as_posix().split("/runs/v1/")[0] for path in new}

    def config(self, name: str, **settings) -> str:
        return str(self.write(name, json.dumps(settings).encode()))

    def test_order(self):
        by_flag, by_environment, by_config = (self.dir / name for name in ("flag", "environment", "config"))
        environment = {"RUNCTL_STORE": str(by_environment)}
        default, = self.stored_in()
        self.assertTrue(default.startswith("home/data/runctl"), default)
        self.config("home/config/runctl/config.json", store=str(by_config))
        self.assertEqual(self.stored_in(), {"config"})
        self.assertEqual(self.stored_in(env=environment), {"environment"})
        self.assertEqual(self.stored_in("--store", str(by_flag), env=environment), {"flag"})

    def test_default_without_xdg(self):
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
            del self.environment[name]
        default, = self.stored_in()
        self.assertTrue(default.startswith("home/.local/share/runctl"), default)

    def test_default_store_answers(self):
        """The first command a person types works, and so does the second."""
        self.stored_in()
        result = self.run_plain("get", run_id(1))
        self.assertEqual((result.status, result.out), (DONE, make_run(1) + b"\n"), str(result))

    def test_config_by_flag(self):
        other = self.config("other.json", store=str(self.dir / "other"))
        self.config("home/config/runctl/config.json", store=str(self.dir / "usual"))
        self.assertEqual(self.stored_in("--config", other), {"other"})

    def test_config_that_is_missing(self):
        result = self.run_plain("--config", self.dir / "none.json", "get", "x")
        self.assertEqual(result.status, USAGE, str(result))
        self.assert_message(result, "none.json")

    def test_config_that_is_broken(self):
        for text in (b"{broken", b"[]", b'{"store":5}'):
            with self.subTest(text=text):
                path = self.write("home/config/runctl/config.json", text)
                result = self.run_plain("get", "x")
                self.assertEqual(result.status, USAGE, str(result))
                self.assert_message(result, path)

    def test_index_by_flag_and_by_environment(self):
        self.runctl("--index", self.dir / "flag.sqlite", "ingest", "-", stdin=make_run(1),
                    env={"RUNCTL_INDEX": str(self.dir / "environment.sqlite")})
        self.assertTrue((self.dir / "flag.sqlite").exists())
        self.assertFalse((self.dir / "environment.sqlite").exists())
        self.runctl("ingest", "-", stdin=make_run(2), env={"RUNCTL_INDEX": str(self.dir / "environment.sqlite")})
        self.assertTrue((self.dir / "environment.sqlite").exists())

    def test_spellings_of_one_store(self):
        """A bare path, a relative path and a file URL mean one store with one index."""
        self.runctl("ingest", "-", stdin=make_run(1))
        for spelling in (str(self.store), "store", "./store", f"{self.store}/", f"file://{self.store}"):
            with self.subTest(spelling=spelling):
                result = self.run_plain("--store", spelling, "get", run_id(1))
                self.assertEqual((result.status, result.out), (DONE, make_run(1) + b"\n"), str(result))

    def test_two_stores_do_not_mix(self):
        self.runctl("ingest", "-", stdin=make_run(1))
        self.runctl("ingest", "-", stdin=make_run(2), store=self.dir / "other")
        self.get(run_id(2), status=NOT_FOUND)
        self.get(run_id(1), store=self.dir / "other", status=NOT_FOUND)
        self.assertEqual(self.get(run_id(2), store=self.dir / "other"), [make_run(2)])

    def test_store_with_space_and_umlaut(self):
        self.store = self.dir / "mein Läufe-Ordner"
        self.ingest_bytes(make_run(1))
        self.assertEqual(self.get(run_id(1)), [make_run(1)])


class Shell(harness.CliTest):
    def test_global_flags_before_and_after_the_command(self):
        flags = ["--store", self.store, "--json"]
        for arguments in ([*flags, "ingest", "-"], ["ingest", *flags, "-"], ["ingest", "-", *flags],
                          ["--json", "ingest", "-", "--store", self.store]):
            result = self.run_plain(*arguments, stdin=make_run(1))
            self.assertEqual(result.status, DONE, str(result))
            self.assert_counts(self.summary_of(result), read=1)
        self.assertEqual(len(self.objects()), 1)

    def test_global_flags_after_a_subcommand(self):
        self.ingest_bytes(make_run(1))
        result = self.run_plain("index", "status", "--json", "--store", self.store)
        self.assertEqual(json.loads(result.out)["runs"], 1)

    def test_flag_with_equals_sign(self):
        self.assertEqual(self.run_plain(f"--store={self.store}", "ingest", "-", stdin=make_run(1)).status, DONE)

    def test_data_on_stdout_and_nothing_else(self):
        """With and without -v: `get` prints runs, `ingest` prints nothing, `--json` one object."""
        for verbose in ([], ["-v"]):
            self.assertEqual(self.runctl(*verbose, "ingest", "-", stdin=make_run(1)).out, b"")
            self.assertEqual(self.runctl(*verbose, "get", run_id(1)).out, make_run(1) + b"\n")
            self.summary_of(self.runctl(*verbose, "ingest", "--json", "-", stdin=make_run(1)))

    def test_get_says_nothing_when_all_is_well(self):
        self.ingest_bytes(make_run(1))
        self.assertEqual(self.runctl("get", run_id(1)).err, b"")

    def test_no_colour_and_no_progress_in_a_pipe(self):
        data = joined([*make_runs(1000).values(), b"{broken"])
        for result in (self.runctl("ingest", "-", stdin=data, status=REJECTED), self.run_plain("--help"),
                       self.runctl("get", "nothing", status=NOT_FOUND), self.run_plain("--frobnicate")):
            self.assertNotIn(b"\x1b", result.out + result.err)
            self.assertNotIn(b"\r", result.out + result.err)

    def on_terminal(self, *arguments, env: dict | None = None) -> tuple[int, bytes]:
        """Status and stderr of a run whose stderr is a terminal."""
        ours, theirs = pty.openpty()
        try:
            child = subprocess.Popen([harness.binary(), "--store", self.store, *arguments], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL, stderr=theirs, cwd=self.dir,
                                     env={**self.environment, "TERM": "xterm", **(env or {})})
            os.close(theirs)
            said = b""
            while True:
                try:
                    piece = os.read(ours, 65536)
                except OSError:  # the last writer has closed the terminal
                    break
                if not piece:
                    break
                said += piece
            return child.wait(self.timeout), said
        finally:
            os.close(ours)

    def test_no_color_on_a_terminal(self):
        path = self.write("broken", b"{broken\n")
        for color, env in ((["--color", "never"], None), ([], {"NO_COLOR": "1"})):
            status, said = self.on_terminal("--progress", "never", *color, "ingest", path, env=env)
            self.assertEqual(status, REJECTED)
            self.assertIn(b"broken:1:", said)
            self.assertNotIn(b"\x1b[3", said)

    def test_color_always_in_a_pipe_keeps_stdout_clean(self):
        self.ingest_bytes(make_run(1))
        self.assertEqual(self.runctl("--color", "always", "get", run_id(1)).out, make_run(1) + b"\n")

    def test_errors_are_one_line_each(self):
        for result in (self.run_plain("frobnicate"), self.runctl("get", "nothing", status=NOT_FOUND),
                       self.runctl("ingest", "missing", status=USAGE)):
            self.assertEqual(len(result.err.splitlines()), 1, str(result))
            self.assertTrue(result.err.startswith(b"runctl: "), str(result))
            self.assertTrue(result.err.endswith(b"\n"), str(result))

    def test_no_prompt(self):
        """With a closed stdin nothing waits."""
        done = subprocess.run([harness.binary(), "--store", self.store, "ingest", "-"], stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=20, cwd=self.dir, env=self.environment)
        self.assertEqual(done.returncode, DONE, done.stderr)

    def test_summary_that_cannot_be_printed(self):
        """`ingest --json > /dev/full`: stored, but not reported, so not done."""
        with open("/dev/full", "wb") as full:
            done = subprocess.run([harness.binary(), "--store", self.store, "ingest", "--json", "-"], input=make_run(1),
                                  stdout=full, stderr=subprocess.PIPE, timeout=20, cwd=self.dir, env=self.environment)
        self.assertEqual(done.returncode, FAILED, done.stderr)

    def test_locale_makes_no_difference(self):
        for locale in ("C", "POSIX", "de_DE.UTF-8", "no_SUCH.locale"):
            self.store = self.dir / locale
            self.environment["LC_ALL"] = locale
            record = '{"id":"Ü","inputs":[1.5,"日本"]}'.encode()
            self.ingest_bytes(record)
            self.assertEqual(self.get("Ü"), [record])


if __name__ == "__main__":
    harness.main()
