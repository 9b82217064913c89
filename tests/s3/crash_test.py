#!/usr/bin/env python3
"""`kill -9` of a program that works on a bucket: at random instants, at each request in turn (its body half sent, sent,
answered), at each operation on the index, within an upload in parts and between the pages of a listing, and at all that
while the server misbehaves; the same command again; then every run is there exactly once. Needs what cli_test.py needs.
"""

import concurrent.futures
import json
import random
import secrets
import signal
import subprocess
import threading
import time
import unittest

import cli_test
import gateway
import harness
from cli_test import day_run
from disk import library
from gateway import S3Case
from harness import CORRUPT, DONE, FAILED, LONG, NOT_FOUND, USAGE, joined, make_runs, noise, run_id

AT_ONCE = 4  # cases: most of their time is waiting
KILLS = 100 if LONG else 10
ROUNDS = 5 if LONG else 1
# What the server may do to an upload in parts.
IN_PARTS = [
    [cli_test.rule(cli_test.answer(503, "SlowDown"), "PUT", "partNumber=2", 0, 2)],
    [cli_test.rule(cli_test.answer(503, "SlowDown"), "PUT", "partNumber=2")],
    [cli_test.rule(cli_test.answer(403, "AccessDenied"), "PUT", "partNumber=2"),
     cli_test.rule(cli_test.answer(403, "AccessDenied"), "DELETE")],
    [cli_test.rule({"forward": False, "status": 200, "body": cli_test.AGAIN}, "POST", "uploadId=", 0, 1)],
    [cli_test.rule({"forward": False, "status": 200, "body": cli_test.AGAIN}, "POST", "uploadId=")],
    [cli_test.rule({"body": "<CompleteMultipartUploadRes"}, "POST", "uploadId=", 0, 1)],
    [cli_test.rule({"reset": True}, "POST", "uploadId=", 0, 1)],
]


def setUpModule() -> None:
    S3Case.gateway = gateway.Gateway()
    unittest.addModuleCleanup(S3Case.gateway.stop)
    S3Case.bucket = S3Case.gateway.make_bucket("runctl-crash-" + secrets.token_hex(4))


def all_runs() -> dict[str, bytes]:
    """In input order, of three days."""
    return {run_id(n): day_run(f"2024-05-0{1 + n // 40}", n, outputs=noise(n, 1000)) for n in range(120)}


class Victim(S3Case):
    """A case of its own for each kill, so that several can run side by side."""

    command = ("ingest", "-q", "--batch-bytes", "20000", "--spool-max", "0", "-")
    runs = all_runs()

    def start(self, *command: str, stdin: bytes, env: dict | None = None) -> subprocess.Popen:
        with open(self.write("stdin", stdin), "rb") as source:
            return subprocess.Popen(
                [harness.binary(), "--store", self.store, *command], stdin=source, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, cwd=self.dir, env={
                    **self.environment, "RUNCTL_INDEX": str(self.index_of(self.machine)),
                    "AWS_ENDPOINT_URL_S3": self.endpoint, **(env or {})})

    def end(self, child: subprocess.Popen) -> harness.Result:
        out, err = child.communicate(timeout=self.timeout)
        return harness.Result(child.returncode, out, err)

    def killed_at(self, request: int, when: str, *command: str, stdin: bytes) -> harness.Result:
        """Killed at that request of its, as fault_proxy.py says; not at all where it makes fewer."""
        started = threading.Event()
        child = None

        def victim() -> int:
            started.wait(self.timeout)
            return child.pid

        self.proxy.kill_at(request, when, victim)
        child = self.start(*command, stdin=stdin)
        started.set()
        result = self.end(child)
        self.proxy.kill_at(0, "", None)
        return result

    def check_killed(self, result: harness.Result) -> bool:
        self.assertIn(result.status, (DONE, -signal.SIGKILL), str(result))
        self.assertEqual(result.err, b"")
        return result.status != DONE

    def orphans(self) -> int:
        """What the killed one left unrecorded, and `verify` names; sometimes it is adopted."""
        result = self.run_plain("--store", self.store, "verify", "--json")
        report = json.loads(result.out)
        self.assertEqual(report["corrupt"], 0, str(result))
        self.assertEqual(result.status, NOT_FOUND if report["orphans"] else DONE)
        self.assertLessEqual(report["orphans"], 2, "one batch is stored while another is recorded")
        recorded = json.loads(self.run_plain("--store", self.store, "index", "status", "--json").out)["batches"]
        self.assertEqual(report["orphans"], len(self.keys()) - recorded, "a batch is not accounted for")
        if report["orphans"] and random.Random(self.prefix).random() < 0.5:
            repaired = json.loads(self.runctl("verify", "--repair", "--json").out)
            self.assertEqual((repaired["adopted"], repaired["orphans"]), (report["orphans"], 0))
        return report["orphans"]

    def check_again(self) -> None:
        """The same command to its end: every run exactly once."""
        again = self.run_plain("--store", self.store, *self.command, stdin=joined(self.runs.values()))
        self.assertEqual((again.status, again.err), (DONE, b""), str(again))
        self.check_whole()

    def check_whole(self) -> None:
        self.assert_comes_back(self.runs)
        self.runctl("verify", "--read-data", "-q")
        self.assert_exactly_once(self.runs)

    # --- one kill each; they return what is to be counted ---

    def in_ingest(self, request: int, when: str) -> dict:
        killed = self.check_killed(self.killed_at(request, when, *self.command, stdin=joined(self.runs.values())))
        orphans = self.orphans() if self.keys() and self.index_of("a").exists() else 0
        self.check_again()
        return {"kills": killed, "orphans": orphans}

    def at_random(self, seconds: float) -> dict:
        child = self.start(*self.command, stdin=joined(self.runs.values()))
        time.sleep(seconds)
        child.kill()
        killed = self.check_killed(self.end(child))
        orphans = self.orphans() if self.keys() and self.index_of("a").exists() else 0
        self.check_again()
        return {"kills": killed, "orphans": orphans}

    def at_the_index(self, operation: int) -> dict:
        """Before its Nth operation on the local disk: a batch is stored, and not, or only half, recorded."""
        disk = self.dir / "disk"
        disk.mkdir()
        self.index_of = lambda machine: disk / f"{machine}.sqlite"
        child = self.start(*self.command, stdin=joined(self.runs.values()), env={
            "FAULTY_DISK_ROOT": str(disk), "FAULTY_DISK": f"kill:{operation}", "LD_PRELOAD": str(library())})
        killed = self.check_killed(self.end(child))
        orphans = self.orphans() if self.keys() and self.index_of("a").exists() else 0
        self.check_again()
        return {"kills": killed, "orphans": orphans}

    def in_listing(self, command: str, request: int, when: str) -> dict:
        """A rebuild or a sync on another machine: the index is as it was before, or knows more, never anything wrong."""
        self.run_plain("--store", self.store, *self.command, stdin=joined(self.runs.values()))
        with self.on("b"):
            self.ingest_bytes(self.runs[run_id(0)], "--no-sync")  # so that it knows a little
            killed = self.check_killed(self.killed_at(request, when, "index", command, "-q", stdin=b""))
            if command == "rebuild" and killed:
                self.assertEqual(json.loads(self.runctl("index", "status", "--json").out)["runs"], 1)
            self.runctl("index", command, "-q")
            self.assert_comes_back(self.runs)
        return {"kills": killed}

    def in_fault(self, rules: list, request: int, when: str) -> dict:
        """Killed while the server misbehaves, and again the same command against the same: stored, or a clear line."""
        data = joined(self.runs.values())
        self.misbehave(*rules)
        killed = self.killed_at(request, when, *self.command, stdin=data)
        self.misbehave(*rules)
        again = self.run_plain("--store", self.store, *self.command, stdin=data)
        if again.status == DONE:
            self.assertEqual(again.err, b"")
        else:
            self.assertNotEqual(again.status, CORRUPT, str(again))
            self.assert_one_line(again)
        self.behave()
        if again.status != DONE:
            self.check_again()
        self.check_whole()
        return {"kills": killed.status == -signal.SIGKILL, "again failed": again.status != DONE}


    def killed_after_fault(self, rules: list, seconds: float, *command: str, stdin: bytes) -> harness.Result:
        """Killed so long after the server began to misbehave; which it does no more afterwards."""
        self.misbehave(*rules)
        child = self.start(*command, stdin=stdin)
        while rules and child.poll() is None and not self.proxy.faulted.wait(0.02):
            pass
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
        result = self.end(child)
        self.proxy.settle(self.timeout)
        self.behave()
        return result

    def after_fault(self, rules: list, seconds: float) -> dict:
        result = self.killed_after_fault(rules, seconds, *self.command, stdin=joined(self.runs.values()))
        self.assertIn(result.status, (-signal.SIGKILL, DONE, USAGE, FAILED), str(result))
        orphans = self.orphans() if self.keys() and self.index_of("a").exists() else 0
        self.check_again()
        return {"kills": result.status == -signal.SIGKILL, "orphans": orphans}

    def listing_after_fault(self, command: str, rules: list, seconds: float) -> dict:
        self.run_plain("--store", self.store, *self.command, stdin=joined(self.runs.values()))
        with self.on("b"):
            self.ingest_bytes(self.runs[run_id(0)], "--no-sync")
            result = self.killed_after_fault(rules, seconds, "index", command, "-q", stdin=b"")
            known = json.loads(self.runctl("index", "status", "--json").out)["runs"]
            if command == "rebuild":
                whole = len(self.runs) if result.status != CORRUPT else known
                self.assertIn(known, (1, whole), "as before, or all")
            self.runctl("index", command, "-q")
            self.runctl("verify", "--read-data", "-q")
            self.assert_comes_back(self.runs)
        return {"kills": result.status == -signal.SIGKILL}


class PartsVictim(Victim):
    """One batch, that goes up in parts; what was uploaded of it is no object before all of it is."""

    command = ("ingest", "-q", "--batch-bytes", "1GiB", "--flush-interval", "0", "--spool-max", "0", "-")
    runs = {run_id(n): harness.make_run(n, outputs=noise(n, 2_000_000)) for n in range(75 if LONG else 12)}

    def setUp(self) -> None:
        super().setUp()
        if not LONG:  # there it is above 64 MiB
            self.environment["AWS_CONFIG_FILE"] = str(self.write(
                "aws", b"[default]\ns3 =\n  multipart_threshold = 5MB\n  multipart_chunksize = 5MB\n"))

    def uploads(self) -> list[str]:
        return self.gateway.uploads(self.bucket, self.prefix + "/")

    def in_parts(self, request: int, when: str) -> dict:
        killed = self.check_killed(self.killed_at(request, when, *self.command, stdin=joined(self.runs.values())))
        left, stored = self.uploads(), self.keys()
        self.assertLessEqual(len(left) + len(stored), 1, "an upload is an upload, or else an object")
        orphans = self.orphans() if stored else 0
        self.check_again()
        self.assertEqual((len(self.keys()), self.uploads()), (1, left), "the second attempt leaves nothing behind")
        for upload in left:
            self.check_leftover(upload)
        return {"kills": killed, "orphans": orphans, "uploads": len(left)}

    def check_leftover(self, upload: str) -> None:
        """`doctor` names it once it is so old that nobody can be at work on it, and takes it away when told to."""
        self.misbehave(cli_test.old_upload(f"{self.prefix}/{self.keys()[0]}", upload))
        for flags, said in (((), "1 unfinished upload"), (("--clear-leftovers",), "removed")):
            self.assertIn(upload, self.uploads())
            findings = json.loads(self.runctl("doctor", "--json", *flags, status=None).out)["findings"]
            leftovers = next(finding for finding in findings if finding["check"] == "leftovers")
            self.assertIn(said, leftovers["text"])
        self.assertNotIn(upload, self.uploads())
        self.behave()


class Kills(S3Case):
    def all_of(self, trials: list[tuple], kind=Victim) -> dict[str, int]:
        """Each trial is a method of Victim and what it takes; what they count, added up."""
        def run(trial):
            case = kind()
            try:
                case.setUp()
                return trial, getattr(case, trial[0])(*trial[1:]), None
            except Exception as error:  # what unittest would do, but side by side
                return trial, {}, error
            finally:
                case.doCleanups()

        total = {"trials": len(trials)}
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            for trial, counts, failure in pool.map(run, trials):
                with self.subTest(trial=trial):
                    if failure:
                        raise failure
                for name, count in counts.items():
                    total[name] = total.get(name, 0) + count
        print(total, end=" ", flush=True)
        return total

    def requests_of(self, *command: str, prepare=lambda case: None, stdin: bytes = b"", kind=Victim) -> list[dict]:
        """What a command that nobody kills asks the server, in order."""
        case = kind()
        case.setUp()
        self.addCleanup(case.doCleanups)
        prepare(case)
        case.forget_requests()
        result = case.run_plain("--store", case.store, *command, stdin=stdin)
        self.assertEqual(result.status, DONE, str(result))
        return list(case.proxy.requests)

    def test_each_request_of_an_ingest(self):
        requests = self.requests_of(*Victim.command, stdin=joined(Victim.runs.values()))
        trials = []
        for number, request in enumerate(requests, 1):
            is_batch = request["method"] == "PUT" and "ndjson" in request["path"]
            trials += [("in_ingest", number, when) for when in (("body",) if is_batch else ()) + ("request", "answer")]
        counts = self.all_of(trials)
        self.assertGreater(counts["kills"], len(trials) * 9 // 10)
        self.assertGreater(counts["orphans"], 0)

    def test_random_instants(self):
        began = time.monotonic()
        self.requests_of(*Victim.command, stdin=joined(Victim.runs.values()))
        whole, lot = time.monotonic() - began, random.Random(3)
        counts = self.all_of([("at_random", lot.uniform(0, whole)) for _ in range(KILLS)])
        self.assertGreater(counts["kills"], 0)

    def test_each_operation_on_the_index(self):
        steps = range(1, 400, 1 if LONG else 23)
        counts = self.all_of([("at_the_index", step) for step in steps])
        self.assertGreater(counts["kills"], 0)
        self.assertGreater(counts["orphans"], 0)

    def test_each_request_of_a_rebuild_and_a_sync(self):
        def prepare(case: Victim) -> None:
            case.run_plain("--store", case.store, *case.command, stdin=joined(case.runs.values()))
            case.forget_index()
            case.ingest_bytes(case.runs[run_id(0)], "--no-sync")

        for command in ("rebuild", "sync"):
            requests = self.requests_of("index", command, "-q", prepare=prepare)
            numbers = range(1, len(requests) + 1, 1 if LONG else 3)
            self.all_of([("in_listing", command, n, when) for n in numbers for when in ("request", "answer")])

    def test_each_fault(self):
        """The table of what a server may do to an ingest, with a kill in the midst."""
        lot = random.Random(5)
        rows = cli_test.INGEST + (cli_test.INGEST_LONG if LONG else [])
        trials = []
        for _, rules, _, _ in rows:
            trials += [("in_fault", rules, lot.randint(1, 20), lot.choice(("body", "request", "answer")))
                       for _ in range(5 if LONG else 1)]
        counts = self.all_of(trials)
        self.assertGreater(counts["kills"], len(trials) // 2)

    def test_each_fault_then_a_kill_then_no_fault(self):
        """The whole table again: the server misbehaves, the program is killed a moment later, and once more."""
        lot = random.Random(7)
        moment, short = (lambda: lot.uniform(0, 0.3)), (lambda: lot.uniform(0, 0.08))  # within what follows a fault
        rows = cli_test.INGEST + (cli_test.INGEST_LONG if LONG else [])
        counts = self.all_of([("after_fault", rules, moment()) for _, rules, _, _ in rows for _ in range(ROUNDS)])
        self.assertGreater(counts["kills"], 0)
        self.assertGreater(counts["orphans"], 0)
        lists = [("listing_after_fault", command, rules, short()) for n, (_, rules, _, _) in enumerate(cli_test.LISTS)
                 for command in (("rebuild", "sync") if LONG else (("rebuild", "sync")[n % 2],))]
        self.assertGreater(self.all_of(lists)["kills"], 0)
        counts = self.all_of([("after_fault", rules, moment()) for rules in IN_PARTS], PartsVictim)
        self.assertGreater(counts["kills"], 0)

    def test_between_the_pages_of_a_listing(self):
        runs = make_runs(1100 if LONG else 110)
        self.ingest_bytes(joined(runs.values()), "--batch-bytes", "1")
        self.assertEqual(len(self.keys()), len(runs))
        listed = self.gateway.tree("GET", f"/{self.bucket}", {"list-type": "2", "max-keys": "1000", "prefix": self.prefix})
        if listed.findtext("IsTruncated") != "true":
            self.skipTest("a page of this server holds more; the long form makes more")
        for command in ("rebuild", "sync"):
            victim = Victim()
            victim.setUp()
            self.addCleanup(victim.doCleanups)
            victim.store, victim.prefix = self.store, self.prefix
            victim.ingest_bytes(runs[run_id(0)], "--no-sync")
            # The days, the first page of them and the next one.
            for number, when in [(number, when) for number in (1, 2, 3) for when in ("request", "answer")]:
                victim.forget_requests()
                killed = victim.killed_at(number, when, "index", command, "-q", stdin=b"")
                self.assertTrue(victim.check_killed(killed), f"{command} makes fewer than {number} requests")
                self.assertEqual(len(victim.requests("GET", "list-type=2")), number - 1)
                self.assertEqual(json.loads(victim.runctl("index", "status", "--json").out)["runs"], 1)
            victim.forget_requests()
            victim.runctl("index", command, "-q")
            self.assertGreater(len(victim.requests("GET", "continuation-token")), 0)
            victim.assert_comes_back(runs)

    def test_within_an_upload_in_parts(self):
        data = joined(PartsVictim.runs.values())
        requests = self.requests_of(*PartsVictim.command, stdin=data, kind=PartsVictim)
        of_batch = [n for n, request in enumerate(requests, 1) if "ndjson" in request["path"]]
        parts = [n for n in of_batch if "partNumber" in requests[n - 1]["path"]]
        self.assertGreater(len(parts), 2)
        begin = next(n for n in of_batch if requests[n - 1]["path"].endswith("?uploads="))
        complete = parts[-1] + 1
        steps = [(begin, "answer"), (parts[0], "body"), (parts[0], "answer"), (parts[1], "answer"),
                 (parts[-1], "answer"), (complete, "request"), (complete, "answer"), (complete + 1, "request")]
        if LONG:
            steps = [(number, when) for number in of_batch for when in ("body", "request", "answer")]
        counts = self.all_of([("in_parts", *step) for step in steps], PartsVictim)
        self.assertEqual(counts["kills"], len(steps))
        self.assertGreater(counts["uploads"], 0)
        self.assertGreater(counts["orphans"], 0)


if __name__ == "__main__":
    harness.main()
