"""The man pages and completions against the program: every flag, command and setting, in both directions."""

import datetime
import hashlib
import hmac
import json
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import unittest
import urllib.error
import urllib.request

import harness

PROJECT = pathlib.Path(__file__).resolve().parents[2]
MAN = PROJECT / "man"
COMPLETIONS = PROJECT / "scripts" / "completions"
PAGES = ("runctl.1", "runctl-ingest.1", "runctl-get.1", "runctl-search.1", "runctl-index.1", "runctl-cache.1", "runctl-bench.1", "runctl-verify.1",
         "runctl-doctor.1", "runctl-batch.5", "runctl-config.5")
# The line before an example that cannot be typed without a bucket: it is typed only where RUNCTL_TEST_S3_ENDPOINT
# names a server (scripts/s3-server).
NEEDS_BUCKET = '.\\" needs a bucket\n'
EXAMPLE_BUCKET = "my-runs"

FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
CHOICES = {"--color": ("auto", "always", "never"), "--progress": ("auto", "always", "never"),
           "--addressing-style": ("auto", "path", "virtual"), "--on-error": ("continue", "stop"),
           "--order": ("newest", "oldest"), "--format": ("table", "ndjson", "csv", "ids")}


def flags_of_help(text: str) -> set[str]:
    """The flags that a help text lists: those at the start of its indented lines."""
    found = set()
    for line in text.splitlines():
        head = re.match(r"  (-[^ ]*)", line)
        if head:
            found.update(FLAG.findall(head[1].replace(",", " ")))
    return found


def commands_of_help(text: str) -> list[str]:
    _, _, section = text.partition("\nSubcommands:\n")
    return re.findall(r"^  ([a-z]+) ", section, re.MULTILINE)


def source_of(page: str) -> str:
    """A page without its escapes and font changes, one macro a line."""
    text = (MAN / page).read_text()
    text = re.sub(r"\\f[BIRP]", "", text)
    return text.replace("\\-", "-").replace("\\(dq", '"').replace("\\(ga", "`").replace("\\e", "\\")


def section_of(page: str, title: str) -> str:
    found = re.search(rf"^\.SH {title}\n(.*?)(?=^\.SH |\Z)", source_of(page), re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def documented_flags(page: str) -> set[str]:
    """The flags that have a paragraph of their own under OPTIONS."""
    found = set()
    for tag in re.findall(r"^\.T[PQ]\n(.*)$", section_of(page, "OPTIONS"), re.MULTILINE):
        found.update(FLAG.findall(tag))
    return found


class ManTest(harness.CliTest):
    def help_of(self, *command: str) -> str:
        result = self.run_plain(*command, "--help")
        self.assertEqual(result.status, harness.DONE, str(result))
        return result.out.decode()

    def flags(self) -> dict[tuple[str, ...], set[str]]:
        """The flags of each command and subcommand, by its words; of the program itself by ()."""
        flags = {(): flags_of_help(self.help_of())}
        for command in commands_of_help(self.help_of()):
            text = self.help_of(command)
            flags[command,] = flags_of_help(text)
            for subcommand in commands_of_help(text):
                flags[command, subcommand] = flags_of_help(self.help_of(command, subcommand))
        self.assertGreater(len(flags), 4, flags)
        return flags

    def flags_by_page(self) -> dict[str, set[str]]:
        pages: dict[str, set[str]] = {}
        for words, flags in self.flags().items():
            page = f"runctl-{words[0]}.1" if words else "runctl.1"
            pages.setdefault(page, set()).update(flags)
        return pages


class Pages(ManTest):
    def test_every_command_has_a_page(self):
        overview = source_of("runctl.1")
        for command in commands_of_help(self.help_of()):
            self.assertTrue((MAN / f"runctl-{command}.1").is_file(), f"man/runctl-{command}.1 is missing")
            self.assertIn(f".BR runctl-{command} (1)", overview)
            for subcommand in commands_of_help(self.help_of(command)):
                self.assertIn(f"runctl {command} {subcommand}", section_of(f"runctl-{command}.1", "SYNOPSIS"))

    def test_every_page_has_a_command(self):
        commands = {f"runctl-{command}.1" for command in commands_of_help(self.help_of())}
        self.assertEqual({path.name for path in MAN.glob("runctl-*.1")}, commands)
        self.assertEqual({path.name for path in MAN.iterdir()}, set(PAGES))

    def test_every_flag_is_documented(self):
        for page, flags in self.flags_by_page().items():
            self.assertEqual(flags - documented_flags(page), set(), f"{page} lacks these flags")

    def test_no_page_documents_what_is_not_there(self):
        for page, flags in self.flags_by_page().items():
            self.assertEqual(documented_flags(page) - flags, set(), f"{page} documents flags that do not exist")

    def test_no_page_names_a_long_flag_that_is_not_there(self):
        known = set().union(*self.flags().values())
        for page in PAGES:
            named = {flag for flag in FLAG.findall(source_of(page)) if flag.startswith("--")}
            self.assertEqual(named - known, set(), f"{page} names flags that do not exist")

    def test_sections_come_in_order(self):
        order = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES",
                 "SEE ALSO"]
        for page in PAGES:
            titles = re.findall(r"^\.SH (.*)$", source_of(page), re.MULTILINE)
            self.assertEqual([title for title in titles if title in order],
                             [title for title in order if title in titles], page)
            for needed in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "SEE ALSO"):
                self.assertIn(needed, titles, page)

    def test_references_between_pages_exist(self):
        for page in PAGES:
            for name, section in re.findall(r"\b(runctl(?:-[a-z]+)?) ?\((\d)\)", source_of(page)):
                self.assertTrue((MAN / f"{name}.{section}").is_file(), f"{page} refers to {name}({section})")

    def test_every_page_is_referred_to(self):
        overview = section_of("runctl.1", "SEE ALSO")
        for page in PAGES[1:]:
            name, _, section = page.rpartition(".")
            self.assertIn(f".BR {name} ({section})", overview)

    def test_exit_statuses_are_documented(self):
        for status in range(6):
            self.assertRegex(section_of("runctl.1", "EXIT STATUS"), rf"\n\.B {status}\n")

    @unittest.skipUnless(shutil.which("mandoc"), "mandoc is not there")
    def test_lint(self):
        for page in PAGES:
            done = subprocess.run(["mandoc", "-T", "lint", "-W", "style", MAN / page], capture_output=True, text=True)
            self.assertEqual(done.stdout + done.stderr, "", page)

    @unittest.skipUnless(shutil.which("man"), "man is not there")
    def test_man_warns_of_nothing(self):
        for page in PAGES:
            done = subprocess.run(["man", "--warnings", "-l", MAN / page], capture_output=True, text=True,
                                  env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
            self.assertEqual((done.returncode, done.stderr), (0, ""), page)
            # Lines of examples are not broken by man; they must fit by themselves.
            long = [line for line in done.stdout.splitlines() if len(line) > 80]
            self.assertEqual(long, [], f"{page}: lines wider than 80 columns")


class Settings(ManTest):
    def test_every_setting_is_documented(self):
        source = (PROJECT / "cmd" / "settings.cpp").read_text()
        known = re.search(r"k_known = \{(.*?)\}", source, re.DOTALL)
        self.assertTrue(known, "cmd/settings.cpp has no k_known")
        settings = set(re.findall(r'"(\w+)"', known[1]))
        self.assertGreaterEqual(len(settings), 9)
        tags = re.findall(r"^\.TP\n\.B \"(\w+)\"$", section_of("runctl-config.5", "OPTIONS"), re.MULTILINE)
        self.assertEqual(set(tags), settings)

    def test_every_variable_is_documented(self):
        used = set()
        for path in sorted((PROJECT / "cmd").glob("*.cpp")):
            used.update(re.findall(r'"((?:RUNCTL|XDG|NO)_[A-Z_]+)"', path.read_text()))
        self.assertIn("RUNCTL_STORE", used)
        for page in ("runctl.1", "runctl-config.5"):
            named = set(re.findall(r"\b(?:RUNCTL|XDG|NO)_[A-Z_]+\b", section_of(page, "ENVIRONMENT")))
            self.assertEqual(named, used, page)

    def test_every_variable_of_aws_is_documented(self):
        used = set()
        for path in sorted((PROJECT / "src" / "store").glob("*.cpp")):
            used.update(re.findall(r"\bAWS_[A-Z0-9_]+\b", path.read_text()))
        self.assertIn("AWS_REGION", used)
        named = set(re.findall(r"\bAWS_[A-Z0-9_]+\b", section_of("runctl-config.5", "ENVIRONMENT")))
        self.assertEqual(named, used)

    def test_every_key_of_profiles_is_documented(self):
        used = set()
        for path in sorted((PROJECT / "src" / "store").glob("*.cpp")):
            used.update(re.findall(r'profiles\.find(?:_service)?\(\w+(?:\.\w+)?, "([\w.]+)"\)', path.read_text()))
        self.assertGreaterEqual(len(used), 8)
        text = section_of("runctl-config.5", "S3")
        for key in sorted(used):
            self.assertRegex(text, rf"\b{key.rpartition('.')[2]}\b", key)


class Bucket(ManTest):
    """What runctl-config(5) says of buckets, against the sources: numbers, permissions, messages."""

    def source(self, name: str) -> str:
        return (PROJECT / "src" / name).read_text()

    def test_the_policy_is_json_and_names_the_permissions(self):
        text = section_of("runctl-config.5", "S3")
        found = re.search(r'^\{"Version".*?\]\}$', text, re.MULTILINE | re.DOTALL)
        policy = json.loads(found[0])
        actions = set()
        for statement in policy["Statement"]:
            named = statement["Action"]
            actions.update([named] if isinstance(named, str) else named)
        self.assertEqual(set(re.findall(r"^\.TP\n\.B (s3:\w+)$", text, re.MULTILINE)), actions)

    def test_retries(self):
        policy = self.source("http/retry.hpp")
        text = " ".join(section_of("runctl-config.5", "S3").split())
        number = {name: int(value.replace("'", "")) for name, value in
                  re.findall(r"(\w+)(?: = |\{)([\d']+)\}?;", policy)}
        self.assertIn(f"at most {number['attempts']} attempts, {number['connect_attempts']} where", text)
        self.assertIn(f"within {number['budget'] // 1000} seconds", text)
        self.assertIn(f"part of {number['first_delay'] / 1000} seconds, doubled each time up to "
                      f"{number['max_delay'] // 1000},", text)

    def test_sizes(self):
        store = self.source("store/s3_store.hpp")
        threshold = int(re.search(r"multipart_threshold = (\d+)ULL << 20", store)[1])
        part = int(re.search(r"part_size = (\d+)ULL << 20", store)[1])
        for page in ("runctl-config.5", "runctl-ingest.1"):
            self.assertRegex(" ".join(source_of(page).split()), rf"{threshold} MiB .*parts of {part} MiB", page)

    def test_every_message_is_in_the_program(self):
        # Texts of libcurl and words that the program fills in are left out.
        source = "".join(self.source(f"store/{name}.cpp") for name in
                         ("s3_error", "s3_store", "credentials", "s3_endpoint"))
        source = re.sub(r'"\s*\n\s*"', "", source)
        tags = re.findall(r'^\.TP\n\.BR "([^"]+)"', section_of("runctl-config.5", "S3"), re.MULTILINE)
        self.assertGreaterEqual(len(tags), 12)
        for tag in tags:
            if tag.startswith(("Could not", "answered")):
                continue
            for part in tag.split("..."):
                self.assertTrue(part.strip() in source, f"{part!r} of {tag!r} is no message")


class Index(ManTest):
    def test_every_table_is_described(self):
        self.ingest_bytes(harness.make_run(1), "--index", self.dir / "index.sqlite")
        with sqlite3.connect(self.dir / "index.sqlite") as database:
            tables = {name: [row[1] for row in database.execute(f"PRAGMA table_info({name})")]
                      for name, in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' "
                                                "AND name NOT LIKE 'sqlite_%'")}
            views = {name for name, in database.execute("SELECT name FROM sqlite_schema WHERE type = 'view'")}
            version = database.execute("PRAGMA user_version").fetchone()[0]
        text = section_of("runctl-batch.5", "INDEX")
        described = {}
        for line in re.findall(r"^\.TP\n\.BR (\w+ \( .* \))$", text, re.MULTILINE):
            name, *columns = re.findall(r"\w+", line)
            described[name] = columns
        self.assertEqual(described, tables)
        self.assertEqual(set(re.findall(r"^\.TP\n\.B (\w+)$", text, re.MULTILINE)), views)
        self.assertIn(f"is {version}, the version of the tables", text)


    def test_every_setting_of_the_index_is_described(self):
        source = "".join(path.read_text() for room in ("cmd", "src/index")
                         for path in sorted((PROJECT / room).glob("*.?pp")))
        constants = dict(re.findall(r'(k_\w+) = "(\w+)"', source))
        used = {constants[name] for name in re.findall(r"(?:set|write)_setting\((k_\w+)", source)} | {"store"}
        self.assertIn("synced", used)
        text = section_of("runctl-batch.5", "INDEX")
        paragraph = text.partition(".BR setting (")[2].partition(".TP\n")[0]
        self.assertEqual(set(re.findall(r"^\.B (\w+)\nis", paragraph, re.MULTILINE)), used)


class Format(ManTest):
    def test_limits(self):
        source = (PROJECT / "src" / "batch" / "format.hpp").read_text()
        limits = {name: int(base) << int(shift) for name, base, shift in
                  re.findall(r"k_max_(\w+) = (\d+)U << (\d+);", source)}
        text = section_of("runctl-batch.5", "DESCRIPTION").partition(".SS Limits\n")[2]
        for name, label in (("runs", "runs"), ("frames", "frames"), ("items", "texts, tags, fields, each")):
            self.assertRegex(text, rf"(?m)^{label} +{limits[name]:,}$")
        for name, label in (("frame_raw", "decompressed size of a frame"), ("text_bytes", "bytes of all texts")):
            self.assertRegex(text, rf"(?m)^{label} +{limits[name] >> 20} MiB$")

    def test_sizes_of_the_writer(self):
        source = (PROJECT / "src" / "batch" / "writer.cpp").read_text()
        kib = {name: int(base) << (int(shift) - 10) for name, base, shift in
               re.findall(r"k_(\w+) = (\d+)U << (\d+);", source)}
        text = " ".join(section_of("runctl-batch.5", "DESCRIPTION").split())
        self.assertIn(f"about {kib['frame_stored_target']} KiB compressed, and {kib['frame_raw_min']} KiB to "
                      f"{kib['frame_raw_max'] >> 10} MiB decompressed", text)
        self.assertEqual(text.count(f"{kib['own_frame_field']} KiB or more"), 2)

    def test_every_column_of_a_batch_is_described(self):
        source = (PROJECT / "src" / "batch" / "format.hpp").read_text()
        known = {(int(tag), name) for name, tag in re.findall(r"^  (\w+) = (\d+),", source, re.MULTILINE)}
        self.assertGreaterEqual(len(known), 23)
        tags = "\n".join(re.findall(r"^\.T[PQ]\n(.*)$", section_of("runctl-batch.5", "DESCRIPTION"), re.MULTILINE))
        self.assertEqual({(int(tag), name) for tag, name in re.findall(r"(\d+) (\w+)", tags)}, known)


class Completions(ManTest):
    """The three files name the same commands, flags and choices as the program."""

    def long_flags(self) -> set[str]:
        return {flag for flags in self.flags().values() for flag in flags if flag.startswith("--")}

    def test_bash_completes_all_commands_and_flags(self):
        flags = self.flags()
        self.assertEqual(set(self.complete("")), {words[0] for words in flags if len(words) == 1})
        for words, own in flags.items():
            wanted = {flag for flag in own | flags[()] if flag.startswith("--")}
            self.assertEqual(set(self.complete(*words, "--")), wanted, words)
            subcommands = {other[-1] for other in flags if len(other) == len(words) + 1 and other[:-1] == words}
            if words and subcommands:
                self.assertEqual(set(self.complete(*words, "")), subcommands, words)

    def test_bash_completes_values(self):
        for flag, values in CHOICES.items():
            self.assertEqual(sorted(self.complete("ingest", flag, "")), sorted(values))
            self.assertEqual(self.complete("ingest", flag, values[0][:2]), [v for v in values if v.startswith(values[0][:2])])
        self.assertEqual(self.complete("--color", "ne"), ["never"])
        self.assertEqual(self.complete("ingest", "--on-error", "=", "st"), ["stop"])

    def test_bash_completes_files_where_files_are_wanted(self):
        self.write("some.ndjson", b"")
        (self.dir / "some_directory").mkdir()
        both = ["some.ndjson", "some_directory"]
        self.assertEqual(sorted(self.complete("ingest", "some")), both)
        for flag in ("--rejects", "--index", "--config", "--ca-bundle", "--metrics-file"):
            self.assertEqual(sorted(self.complete("ingest", flag, "some")), both, flag)
        self.assertEqual(sorted(self.complete("get", "--output", "some")), both)
        for flag in ("--store", "--cache-dir"):
            self.assertEqual(self.complete("ingest", flag, "some"), ["some_directory"], flag)
        self.assertEqual(self.complete("get", "some"), [])
        self.assertEqual(self.complete("get", "--trace", "some"), [])

    def test_bash_finds_the_command_behind_global_flags(self):
        self.assertIn("--rejects", self.complete("--store", "get", "-q", "ingest", "--re"))
        self.assertEqual(self.complete("--store", "ingest", "index", "st"), ["status"])
        self.assertEqual(self.complete("--profile", "get", "--region", "ingest", "--no-sign-request", "index", "sy"),
                         ["sync"])

    def test_bash_offers_nothing_where_only_the_user_knows(self):
        (self.dir / "some_directory").mkdir()
        for flag in ("--endpoint-url", "--region", "--profile", "--since"):
            self.assertEqual(self.complete("index", "sync", flag, ""), [], flag)
        for flag in self.flags()["search",] - {"-h", "--help", "--error", "--no-error", "--count", "--full", "--no-sync",
                                               *CHOICES}:
            self.assertEqual(self.complete("search", flag, ""), [], flag)

    def test_zsh_and_fish_name_the_same_flags(self):
        for name, pattern in (("_runctl", r"--[a-z][a-z-]*"), ("runctl.fish", r"(?<=-l )[a-z][a-z-]*")):
            # Comments and the shells' own commands hold other flags.
            text = "\n".join(line for line in (COMPLETIONS / name).read_text().splitlines()
                             if not line.lstrip().startswith(("#", "set ")))
            found = {flag if flag.startswith("--") else f"--{flag}" for flag in re.findall(pattern, text)}
            self.assertEqual(found, self.long_flags(), name)
            for words in self.flags():
                for word in words:
                    self.assertRegex(text, rf"\b{word}\b", name)
            for values in CHOICES.values():
                self.assertIn(" ".join(values), text, name)

    def test_the_shells_accept_the_files(self):
        for shell, name in (("bash", "runctl.bash"), ("zsh", "_runctl"), ("fish", "runctl.fish")):
            with self.subTest(shell=shell):
                if shutil.which(shell) is None:
                    self.skipTest(f"{shell} is not there")
                done = subprocess.run([shell, "-n", COMPLETIONS / name], capture_output=True, text=True)
                self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_fish_completes(self):
        if shutil.which("fish") is None:
            self.skipTest("fish is not there")
        def complete(line: str) -> set[str]:
            done = subprocess.run(["fish", "--no-config", "-c", f"source {COMPLETIONS / 'runctl.fish'}; complete -C '{line}'"],
                                  capture_output=True, text=True, cwd=self.dir, env=self.environment)
            self.assertEqual(done.stderr, "")
            return {entry.split("\t")[0] for entry in done.stdout.splitlines()}
        flags = self.flags()
        self.assertEqual(complete("runctl "), {words[0] for words in flags if len(words) == 1})
        self.assertEqual(complete("runctl index "), {"status", "sync", "rebuild"})
        self.assertEqual(complete("runctl cache "), {"stats", "clean", "clear", "verify", "warm", "path"})
        for command in ("ingest", "get", "search", "doctor"):
            wanted = {flag for flag in flags[command,] | flags[()] if flag.startswith("--")}
            self.assertEqual({flag for flag in complete(f"runctl {command} --") if flag.startswith("--")}, wanted)
        self.assertEqual(complete("runctl ingest --on-error "), {"continue", "stop"})
        self.assertEqual(complete("runctl ingest --color "), set(CHOICES["--color"]))

    def complete(self, *words: str) -> list[str]:
        """What bash offers for the last of the words."""
        script = ('compopt() { :; }; source "$1"; shift; COMP_WORDS=(runctl "$@"); COMP_CWORD=$#; '
                  '_runctl; printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "--norc", "-c", script, "bash", COMPLETIONS / "runctl.bash", *words],
                              capture_output=True, text=True, cwd=self.dir, env=self.environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [line for line in done.stdout.splitlines() if line]


class Examples(ManTest):
    """Every example of every page is typed as it stands; `...` in its output stands for anything."""

    def setUp(self) -> None:
        super().setUp()
        for name in list(self.environment):
            if name.startswith("XDG_"):
                del self.environment[name]
        tools = self.dir / "bin"
        tools.mkdir()
        (tools / "runctl").symlink_to(harness.binary())
        self.environment["PATH"] = f"{tools}:{self.environment['PATH']}"
        (self.home / "work").mkdir()

    def test_examples(self):
        for page in PAGES:
            with self.subTest(page=page):
                if "sqlite3" in source_of(page) and shutil.which("sqlite3") is None:
                    self.skipTest("sqlite3 is not there")
                try:
                    self.type_examples(page, self.steps_of(page))
                finally:
                    self.start_anew()

    @unittest.skipUnless("RUNCTL_TEST_S3_ENDPOINT" in os.environ, "no S3 server")
    def test_examples_that_need_a_bucket(self):
        # With the page's other examples, whose files they use.
        endpoint = os.environ["RUNCTL_TEST_S3_ENDPOINT"]
        make_bucket(endpoint, EXAMPLE_BUCKET)
        self.environment["AWS_ENDPOINT_URL_S3"] = endpoint
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            self.environment[name] = os.environ[name]
        pages = [page for page in PAGES if NEEDS_BUCKET in source_of(page)]
        self.assertGreaterEqual(len(pages), 2)
        for page in pages:
            with self.subTest(page=page):
                # Its keys are those of an example; the server's must stay in force behind them.
                steps = [step for step in self.steps_of(page, with_bucket=True) if "AWS_ACCESS_KEY_ID=" not in step[0]]
                self.type_examples(page, steps)
                self.start_anew()

    def test_who_needs_a_bucket_says_so(self):
        for page in PAGES:
            text = source_of(page)
            self.assertEqual(text.count(NEEDS_BUCKET), text.count(NEEDS_BUCKET + ".EX\n"), page)
            self.assertEqual(text.count(NEEDS_BUCKET), len(re.findall(r"\bthis example needs one\b", text)), page)

    def start_anew(self) -> None:
        shutil.rmtree(self.home)
        (self.home / "work").mkdir(parents=True)
        (self.home / "tmp").mkdir()

    def type_examples(self, page: str, steps: list[tuple[str, str]]) -> None:
        self.assertTrue(steps, f"{page} has no examples")
        mark = "=== next step ==="
        script = "".join(f"echo '{mark}' $?\n(exit $last)\n{command}\nlast=$?\n" for command, _ in steps)
        done = subprocess.run(["bash", "--norc", "-c", "exec 2>&1; last=0\n" + script], capture_output=True, text=True,
                              cwd=self.home / "work", env=self.environment, timeout=self.timeout)
        outputs = re.split(rf"{mark} \d+\n", done.stdout)[1:]
        self.assertEqual(len(outputs), len(steps), done.stdout + done.stderr)
        for (command, expected), output in zip(steps, outputs):
            pattern = ".*".join(re.escape(part) for part in expected.split("..."))
            self.assertRegex(output, rf"\A{pattern}\Z", f"{page}: $ {command}")

    @staticmethod
    def steps_of(page: str, with_bucket: bool = False) -> list[tuple[str, str]]:
        """Commands and the output that the page shows for each."""
        steps: list[tuple[str, str]] = []
        text = source_of(page)
        if not with_bucket:
            text = text.replace(f"{NEEDS_BUCKET}.EX\n", ".EX of a bucket\n")
        for block in re.findall(r"^\.EX\n(.*?)^\.EE$", text, re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                if line.startswith("$ "):
                    steps.append((line[2:], ""))
                elif is_open(steps[-1][0]):
                    steps[-1] = (f"{steps[-1][0]}\n{line}", "")
                else:
                    steps[-1] = (steps[-1][0], f"{steps[-1][1]}{line}\n")
        return steps


def is_open(command: str) -> bool:
    """Whether the command goes on in the next line: a here-document, a quotation, or a backslash at its end."""
    here = re.search(r"<<'(\w+)'", command)
    if here:
        return not command.endswith(f"\n{here[1]}")
    return command.count("'") % 2 == 1 or command.endswith("\\")


def make_bucket(endpoint: str, bucket: str) -> None:
    """Makes the bucket where it is not there yet (Signature Version 4, with the keys in the environment)."""
    host = endpoint.partition("://")[2]
    time = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    region = os.environ["AWS_REGION"]
    scope = f"{time[:8]}/{region}/s3/aws4_request"
    payload = hashlib.sha256(b"").hexdigest()
    signed = "host;x-amz-content-sha256;x-amz-date"
    request = (f"PUT\n/{bucket}\n\nhost:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{time}\n\n"
               f"{signed}\n{payload}")
    key = b"AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    headers = {"x-amz-date": time, "x-amz-content-sha256": payload,
               "Authorization": f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}, "
                                f"SignedHeaders={signed}, Signature={signature}"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT", headers=headers)).close()
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise


if __name__ == "__main__":
    harness.main()
