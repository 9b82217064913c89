#!/usr/bin/env python3
"""The whole program on a bucket: over http and https, on several machines, and with a server that misbehaves.

Needs RUNCTL_BINARY; takes the gateway that RUNCTL_TEST_S3_ENDPOINT names (scripts/s3-server prints what is
needed) or starts one of its own. Each test has its own prefix. RUNCTL_LONG=1: whole sets, and faults that are
only noticed after the stall time-out.
"""

import concurrent.futures
import datetime
import email.utils
import json
import random
import re
import secrets
import signal
import subprocess
import time
import unittest

import gateway
import harness
from gateway import S3Case
from harness import CORRUPT, DONE, FAILED, LONG, NOT_FOUND, USAGE, joined, make_run, make_runs, noise, run_id

FIRST_ID = re.compile(rb'\{"id": ?"([^"\\]+)"')
ROWS_AT_ONCE = 8  # of the tables of faults: most of their time is waiting
TABLE_RUNS = 240


def setUpModule() -> None:
    S3Case.gateway = gateway.Gateway()
    unittest.addModuleCleanup(S3Case.gateway.stop)
    S3Case.bucket = S3Case.gateway.make_bucket("runctl-cli-" + secrets.token_hex(4))


def v7_id(milliseconds: int, number: int) -> str:
    digits = f"{milliseconds:012x}7{number:03x}8{number:015x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def wait_for_the_next_second() -> None:
    """The server tells the times of objects in whole seconds."""
    time.sleep(1.02 - time.time() % 1)


def day_run(day: str, number: int, **fields) -> bytes:
    return make_run(number, start_time=f"{day}T12:00:{number % 60:02}Z", **fields)


class Everything:
    """What works on a directory works on the gateway."""

    def lines_of(self, name: str, short: int) -> list[bytes]:
        lines = harness.split_lines(harness.unzstd(self.real_data(name)))
        return lines if LONG else lines[:short]

    def check_set(self, name: str, short: int) -> None:
        lines = self.lines_of(name, short)
        runs = {FIRST_ID.match(line)[1].decode(): line for line in lines}
        summary = self.ingest_bytes(joined(lines))
        self.assert_counts(summary, read=len(runs), stored=len(runs), duplicate=0, rejected=0)
        self.assert_comes_back(runs)
        keys = self.keys()
        self.assert_counts(self.ingest_bytes(joined(lines)), stored=0, duplicate=len(runs), batches=0)
        self.assertEqual(self.keys(), keys, "the same data again added an object")
        some = random.Random(1).sample(sorted(runs), 50)
        self.assertEqual(self.get(*some), [runs[i] for i in some])
        self.forget_index()
        self.runctl("index", "rebuild", "-q")
        self.assert_comes_back(runs)
        self.assert_exactly_once(runs)

    def test_zeroeval_gsm(self):
        self.check_set("chat/zeroeval-gsm.ndjson.zst", 4000)

    def test_taubench(self):
        self.check_set("agent/taubench.ndjson.zst", 1500)

    def test_array_of_runs(self):
        path = self.real_data("agent/taubench_first20traces.array.json.zst")
        records = json.loads(harness.unzstd(path))
        self.assert_counts(self.ingest(path), read=428, stored=428, rejected=0)
        lines = self.get_listed([record["id"] for record in records])
        self.assertEqual([json.loads(line) for line in lines], records)

    def test_same_data_from_a_machine_that_does_not_know_it(self):
        runs = make_runs(50)
        self.ingest_bytes(joined(runs.values()))
        keys = self.keys()
        with self.on("b"):
            self.ingest_bytes(joined(runs.values()))
            self.assert_comes_back(runs)
        self.assertEqual(self.keys(), keys)
        self.assert_exactly_once(runs)

    def test_versions(self):
        versions = [make_run(1, version=v) for v in range(3)]
        for version in versions:
            wait_for_the_next_second()
            self.ingest_bytes(version)
        self.assertEqual(self.get(run_id(1)), [versions[2]])
        self.assertEqual(self.get("--all-versions", run_id(1)), versions[::-1])
        with self.on("b"):
            self.runctl("index", "sync", "-q")
            self.assertEqual(self.get("--all-versions", run_id(1)), versions[::-1])

    def test_versions_in_one_input(self):
        versions = [make_run(1, version=v) for v in range(4)]
        self.ingest_bytes(joined(versions))
        self.assertEqual(self.get("--all-versions", run_id(1)), versions[::-1])
        with self.on("b"):
            self.assertEqual(self.get(run_id(1)), [versions[3]])

    def test_large_run(self):
        values = {"inputs": b'"' + noise(1, 5_000_000).encode() + b'"', "metadata": b'{"a": 1.0}', "tags": b'["x"]'}
        record = b'{"id":"big",' + b",".join(b'"%s":%s' % (k.encode(), v) for k, v in values.items()) + b"}"
        self.ingest_bytes(joined([*make_runs(5).values(), record]))
        self.assert_same_lines(self.get("big"), [record])
        for name, value in values.items():
            self.assert_same_lines(self.get("--field", name, "big"), [value])
        traffic = json.loads(self.runctl("get", "--json", "--field", "metadata", "big").err)
        self.assertLess(traffic["bytes_read"], 300_000, "the field alone was asked for")
        self.assertEqual(self.get("--field", "inputs", run_id(3)), [b'{"n":3}'])

    def test_trace(self):
        trace = run_id(1)
        members = [make_run(n, trace_id=trace) for n in range(1, 6)]
        self.ingest_bytes(joined(members[:3] + list(make_runs(5, 100).values())))
        self.ingest_bytes(joined(members[3:]))
        self.assertEqual(sorted(self.get("--trace", trace)), sorted(members))
        with self.on("b"):
            self.assertEqual(sorted(self.get("--trace", trace)), sorted(members))
        self.assertEqual(self.get("--trace", "none", status=NOT_FOUND), [])

    def test_odd_but_valid_runs(self):
        lines = harness.split_lines((harness.OWN_DATA / "odd_but_valid.ndjson").read_bytes())
        runs = {json.loads(line, parse_float=str)["id"]: line for line in lines}
        self.ingest(harness.OWN_DATA / "odd_but_valid.ndjson")
        for run, line in runs.items():
            self.assertEqual(self.get(run), [line])
        self.forget_index()
        self.runctl("index", "rebuild", "-q")
        self.assert_comes_back(dict(list(runs.items())[:5]))

    def test_odd_prefix(self):
        """What needs encoding in a URL, in a query, in a listing, or in a signature."""
        self.prefix += "/a b+c%20d=e&f,g'h(i)*~/\u00fc@:$!"
        self.store = f"s3://{self.bucket}/{self.prefix}"
        runs = make_runs(30)
        self.ingest_bytes(joined(runs.values()), "--batch-bytes", "1000")
        self.assertGreater(len(self.keys()), 1)
        self.forget_index()
        self.runctl("index", "rebuild", "-q")
        self.assert_comes_back(runs)

    def test_doctor(self):
        self.ingest_bytes(joined(make_runs(5).values()))
        findings = json.loads(self.runctl("doctor", "--json").out)["findings"]
        self.assertEqual([f for f in findings if f["verdict"] != "ok"], [])
        self.assertEqual(self.keys(), [k for k in self.keys() if k.startswith("runs/v1/")], "the probe was left there")


class OverHttp(Everything, S3Case):
    direct = "http"


class OverHttps(Everything, S3Case):
    direct = "https"


class Machines(S3Case):
    """Several indexes on one bucket."""

    def status(self) -> dict:
        return json.loads(self.runctl("index", "status", "--json").out)

    def answers(self, ids) -> list:
        return [self.get_listed(ids, "--no-sync"), self.get_listed(ids, "--no-sync", "--all-versions"),
                self.get_listed(ids, "--no-sync", "--field", "inputs"), self.get("--no-sync", "--trace", run_id(1))]

    def test_what_one_ingests_the_other_finds_after_a_sync(self):
        first, second = make_runs(20), make_runs(20, 100)
        self.ingest_bytes(joined(first.values()))
        with self.on("b"):
            report = json.loads(self.runctl("index", "sync", "--json").out)
            self.assertEqual((report["batches"], report["runs"], report["broken"]), (1, 20, []))
            self.assertEqual(self.get_listed(first, "--no-sync"), list(first.values()))
            self.ingest_bytes(joined(second.values()))
        self.runctl("index", "sync", "-q")
        self.assertEqual(self.get_listed(second, "--no-sync"), list(second.values()))

    def test_sync_is_incremental(self):
        self.ingest_bytes(joined(make_runs(20).values()))
        with self.on("b"):
            self.runctl("index", "sync", "-q")
        self.ingest_bytes(joined(make_runs(20, 100).values()))
        with self.on("b"):
            self.forget_requests()
            report = json.loads(self.runctl("index", "sync", "--json").out)
            self.assertEqual(report["batches"], 1)
            gets = self.requests("GET", "ndjson")
            self.assertLessEqual(len(gets), 2, gets)
            self.forget_requests()
            self.assertEqual(json.loads(self.runctl("index", "sync", "--json").out)["batches"], 0)
            self.assertEqual(self.requests("GET", "ndjson"), [])

    def test_since_lists_only_those_days_and_mixed(self):
        for number, day in enumerate(("2024-05-01", "2024-05-02", "2024-05-03")):
            self.ingest_bytes(day_run(day, number))
        self.ingest_bytes(joined([day_run("2024-05-01", 11), day_run("2024-05-02", 12), day_run("2024-05-01", 13),
                                  day_run("2024-05-03", 14), day_run("2024-05-01", 15), make_run(16)]))
        groups = {key.split("/")[2] for key in self.keys()}
        self.assertLessEqual({"2024-05-01", "2024-05-02", "2024-05-03", "mixed"}, groups)
        with self.on("b"):
            self.forget_requests()
            self.runctl("index", "sync", "-q", "--since", "2024-05-02")
            self.assertEqual(sorted(self.listed()), ["", "2024-05-02", "2024-05-03", "mixed"])
            self.assertIsNone(self.status()["synced"], "a part of the store is not all of it")
            self.assertEqual(self.get("--no-sync", run_id(2)), [day_run("2024-05-03", 2)])
            self.get("--no-sync", run_id(0), status=NOT_FOUND)
        self.fails("index", "sync", "--since", "some day", status=USAGE, said="--since")

    def test_unknown_id_syncs_once(self):
        self.ingest_bytes(joined(make_runs(5).values()))
        with self.on("b"):
            self.ingest_bytes(make_run(900), "--no-sync")  # so that there is an index
            self.forget_requests()
            self.assertEqual(self.get("--no-sync", run_id(3), status=NOT_FOUND), [])
            self.assertEqual(self.requests(), [])
            self.forget_requests()
            result = self.runctl("get", run_id(3), "absent", "absent too", run_id(4), status=NOT_FOUND)
            self.assertEqual(result.lines, [make_run(3), make_run(4)])
            self.assertEqual(self.listed().count(""), 1, "synced once, however many are unknown")
            self.forget_requests()
            self.get("absent", status=NOT_FOUND)
            self.assertEqual(self.listed().count(""), 1)

    def test_no_sync_without_an_index(self):
        self.ingest_bytes(make_run(1))
        with self.on("b"):
            self.forget_requests()
            self.fails("get", "--no-sync", run_id(1), status=NOT_FOUND, said="index sync")
            self.assertEqual(self.requests(), [])

    def test_the_day_of_a_v7_id_is_looked_at_first(self):
        milliseconds = 1714564800000  # 2024-05-01T12:00:00Z
        run = v7_id(milliseconds, 5)
        record = b'{"id":"%s","start_time":"2024-05-01T12:00:00Z","inputs":1}' % run.encode()
        self.ingest_bytes(record)
        for number, day in enumerate(("2024-04-01", "2024-05-02", "2024-06-01")):
            self.ingest_bytes(day_run(day, number))
        with self.on("b"):
            self.ingest_bytes(make_run(900), "--no-sync")
            self.forget_requests()
            self.assertEqual(self.get(run), [record])
            self.assertLessEqual(set(self.listed()), {"", "2024-05-01", "mixed"})
            self.forget_requests()
            absent = v7_id(milliseconds, 6)
            self.get(absent, status=NOT_FOUND)
            days = [day for day in self.listed() if day not in ("", "mixed")]
            self.assertEqual(days[0], "2024-05-01")
            self.assertEqual(set(days), {"2024-04-01", "2024-05-01", "2024-05-02", "2024-06-01"})

    def test_index_status_says_how_old_it_is(self):
        self.ingest_bytes(make_run(1), "--no-sync")
        self.assertIsNone(self.status()["synced"])
        self.assertIn(b"never", self.runctl("index", "status").out)
        before = time.time()
        self.runctl("index", "sync", "-q")
        synced = self.status()["synced"]
        self.assertRegex(synced, r"^\d{4}-\d\d-\d\dT")
        self.assertRegex(self.runctl("index", "status").out.decode(), r"synced .*\(\d+ s ago\)")
        self.assertLess(abs(before - seconds_of(synced)), 30)
        self.forget_requests()
        self.runctl("index", "status")
        self.assertEqual(self.requests(), [], "the index alone is asked")

    def test_same_answers_after_a_rebuild(self):
        """Traces, odd ids, several versions in one batch and over several, all within a second or two."""
        runs = {run_id(n): make_run(n, trace_id=run_id(n % 3), outputs=noise(n, 2000)) for n in range(120)}
        runs["no uuid"] = b'{"id":"no uuid","inputs":null}'
        self.ingest_bytes(joined(runs.values()), "--batch-bytes", "50000")
        self.ingest_bytes(joined(make_run(n, trace_id=run_id(n % 3), version=v) for v in (1, 2) for n in range(9)))
        for version in range(3, 9):
            self.ingest_bytes(make_run(1, trace_id=run_id(1), version=version))
        before, status = self.answers(runs), self.status()
        self.forget_index()
        self.runctl("index", "rebuild", "-q")
        self.assertEqual(self.answers(runs), before)
        self.assertEqual((self.status()["runs"], self.status()["batches"]), (status["runs"], status["batches"]))
        with self.on("b"):
            self.runctl("index", "sync", "-q")
            self.assertEqual(self.answers(runs), before)

    def test_versions_within_a_second_have_one_latest_everywhere(self):
        versions = [make_run(1, version=v) for v in range(8)]
        for version in versions:
            self.ingest_bytes(version)
        here = self.get("--all-versions", run_id(1))
        self.assertEqual(sorted(here), sorted(versions))
        with self.on("b"):
            self.assertEqual(self.get("--all-versions", run_id(1)), here)
        self.forget_index()
        self.assertEqual(self.get("--all-versions", run_id(1)), here)

    def test_the_last_of_several_versions_within_a_second_answers(self):
        wait_for_the_next_second()
        versions = [make_run(1, version=v) for v in range(6)]
        for version in versions:
            self.ingest_bytes(version)
            self.assertEqual(self.get(run_id(1)), [version])

    def test_versions_ingested_on_both_in_turn(self):
        for version in range(4):
            wait_for_the_next_second()
            with self.on("ab"[version % 2]):
                self.ingest_bytes(make_run(1, version=version))
        expected = [make_run(1, version=v) for v in (3, 2, 1, 0)]
        for machine in "abc":
            with self.on(machine):
                self.runctl("index", "sync", "-q")
                self.assertEqual(self.get("--no-sync", "--all-versions", run_id(1)), expected, machine)

    def test_a_run_in_two_batches_is_one_run_after_a_sync(self):
        """b stores again, in another batch, what a has stored: sync and rebuild must count and print it once."""
        self.ingest_bytes(make_run(1))
        with self.on("b"):
            self.ingest_bytes(joined([make_run(1), make_run(2)]))
        with self.on("c"):
            self.runctl("index", "sync", "-q")
            synced = self.status()["runs"], self.get("--no-sync", "--all-versions", run_id(1))
            self.runctl("index", "rebuild", "-q")
            rebuilt = self.status()["runs"], self.get("--no-sync", "--all-versions", run_id(1))
        self.assertEqual(rebuilt, (2, [make_run(1)]))
        self.assertEqual(synced, rebuilt)

    def test_both_ingest_the_same_at_the_same_time(self):
        runs = {run_id(n): make_run(n, outputs=noise(n, 1000)) for n in range(300)}
        self.misbehave(rule({"delay": 0.05}, "PUT", "ndjson"))
        path = self.write("in.ndjson", joined(runs.values()))
        children = [subprocess.Popen(
            [harness.binary(), "--store", self.store, "ingest", "-q", "--batch-bytes", "60000", path],
            stderr=subprocess.PIPE, cwd=self.dir,
            env={**self.environment, "RUNCTL_INDEX": str(self.index_of(m)), "AWS_ENDPOINT_URL_S3": self.endpoint})
            for m in "abc"]
        for child in children:
            _, err = child.communicate(timeout=60)
            self.assertEqual((child.returncode, err), (DONE, b""))
        self.behave()
        self.assert_exactly_once(runs)
        for machine in "abc":
            with self.on(machine):
                self.assert_comes_back(runs)

    def test_what_is_not_ours_in_the_bucket(self):
        """Other objects are passed over; one with the name of a batch is named, and the rest is indexed."""
        runs = make_runs(20)
        self.ingest_bytes(joined(runs.values()))
        for key in ("note.txt", "runs/v1/mixed/note.txt", "runs/v1/other/x/y", "runs/v1/2024-05-01/half.ndjson.zst"):
            self.gateway.ask("PUT", f"/{self.bucket}/{self.prefix}/{key}", body=b"not a batch")
        with self.on("b"):
            self.runctl("index", "rebuild", "-q")
            self.assert_comes_back(runs)
        bad = f"runs/v1/2024-05-01/{'0' * 64}.ndjson.zst"
        self.gateway.ask("PUT", f"/{self.bucket}/{self.prefix}/{bad}", body=b"not a batch" * 100)
        for command in ("sync", "rebuild"):
            with self.on(f"fresh {command}"):
                result = self.runctl("index", command, "-q", status=CORRUPT)
                self.assert_message(result, bad)
                self.assert_comes_back(runs)

    def test_more_batches_than_a_page_of_the_listing(self):
        self.long_form()
        runs = make_runs(1100)
        self.ingest_bytes(joined(runs.values()), "--batch-bytes", "1")
        self.assertGreater(len(self.keys()), 1000)
        with self.on("b"):
            self.runctl("index", "rebuild", "-q")
            self.assert_comes_back(runs)

    def test_an_old_version_stored_again_elsewhere(self):
        """b does not know that a holds the old version, and stores it again: all must agree on the latest."""
        old, new = make_run(1, version=1), make_run(1, version=2)
        self.ingest_bytes(old)
        wait_for_the_next_second()
        self.ingest_bytes(new)
        wait_for_the_next_second()
        with self.on("b"):
            self.ingest_bytes(joined([old, make_run(2)]))
        answers = {}
        for machine in "abc":
            with self.on(machine):
                self.runctl("index", "sync", "-q")
                answers[f"{machine} synced"] = self.get("--no-sync", run_id(1))
                self.runctl("index", "rebuild", "-q")
                answers[f"{machine} rebuilt"] = self.get("--no-sync", run_id(1))
        self.assertEqual(len({tuple(answer) for answer in answers.values()}), 1, answers)


def seconds_of(text: str) -> float:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Requests(S3Case):
    """Counted by the proxy before the gateway: the server's side."""

    def test_one_request_for_one_run(self):
        runs = {run_id(n): make_run(n, outputs=noise(n, 2000)) for n in range(500)}
        self.ingest_bytes(joined(runs.values()), "--batch-bytes", "200000")
        for number in (0, 123, 499):
            self.forget_cache()
            self.forget_requests()
            result = self.runctl("get", "--json", run_id(number))
            self.assertEqual(result.lines, [runs[run_id(number)]])
            self.assertEqual([r["method"] for r in self.requests()], ["GET"], self.requests())
            self.assertRegex(self.requests()[0]["range"], r"^bytes=\d+-\d+$")
            self.assertEqual(json.loads(result.err)["requests"], 1)
        self.forget_cache()
        self.assertIn(b"1 request,", self.runctl("get", "-v", run_id(7)).err)

    def test_a_thousand_random_ids(self):
        lines = harness.split_lines(harness.unzstd(self.real_data("chat/zeroeval-gsm.ndjson.zst")))
        lines = lines if LONG else lines[:12000]
        runs = {FIRST_ID.match(line)[1].decode(): line for line in lines}
        self.ingest_bytes(joined(lines))
        some = random.Random(7).sample(sorted(runs), 1000)
        self.forget_cache()
        self.forget_requests()
        self.assert_same_lines(self.get_listed(some), [runs[i] for i in some])
        print(f"1,000 random ids of {len(runs)}: {len(self.requests())} requests", end=" ", flush=True)
        self.assertLessEqual(len(self.requests()), 100)

    def test_ingest_and_rebuild(self):
        """Two requests a batch, and four the first time: whether the server honours If-None-Match."""
        runs = {run_id(n): make_run(n, outputs=noise(n, 2000)) for n in range(400)}
        summary = self.ingest_bytes(joined(runs.values()), "--batch-bytes", "50000")
        batches = summary["batches"]
        self.assertGreater(batches, 10)
        probes = self.requests("", "/runctl-probe")
        self.assertLessEqual(len(probes), 4)
        listings = self.requests("GET", "list-type")  # with a new index: what the store holds already
        self.assertLessEqual(len(self.requests()) - len(probes) - len(listings), 2 * batches, "at most two a batch")
        self.assertEqual(len(self.requests("PUT", "ndjson")), batches)
        self.assertEqual([r for r in self.requests() if r["expect"]], [])
        self.forget_requests()
        self.ingest_bytes(make_run(1000))
        self.assertLessEqual(len(self.requests()), 2, "the probe is remembered")
        self.forget_requests()
        self.ingest_bytes(joined(runs.values()), "--batch-bytes", "50000")
        asked = [(r["method"], r["path"]) for r in self.requests()]
        self.assertEqual({method for method, _ in asked}, {"HEAD"}, "nothing new: are the batches still there?")
        self.assertEqual(len(asked), len(set(asked)), "each is asked for once")
        with self.on("b"):
            self.runctl("index", "rebuild", "-q")
            lists = self.requests("GET", "list-type")
            self.assertLessEqual(len(self.requests()) - len(lists), 2 * (batches + 1))
            self.assertEqual(len(lists), len(set(self.listed())))
            self.assert_comes_back(runs)


# --- faults ---

def error_xml(code: str, extra: str = "") -> str:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>scripted</Message>{extra}</Error>'


def answer(status: int, code: str = "", extra: str = "", **headers) -> dict:
    return {"forward": False, "status": status, "body": error_xml(code, extra) if code else "",
            "headers": {n.replace("_", "-"): v for n, v in headers.items()}}


def http_date(offset: int) -> str:
    return email.utils.formatdate(time.time() + offset, usegmt=True)


def rule(do: dict, method: str = "", path: str = "", skip: int = 0, times: int | None = None) -> dict:
    match = {"path": path, "skip": skip}
    if method:
        match["method"] = method
    if times is not None:
        match["times"] = times
    return {"match": match, "do": do}


def put(do: dict, times: int | None = 1, skip: int = 1) -> list[dict]:
    return [rule(do, "PUT", "ndjson", skip, times)]


def read(do: dict, times: int | None = 1, skip: int = 0) -> list[dict]:
    return [rule(do, "GET", "ndjson", skip, times)]


def listing(do: dict, times: int | None = 1, skip: int = 1) -> list[dict]:
    """By default not the list of days, but that of a day."""
    return [rule(do, "GET", "list-type", skip, times)]


RESET = {"forward": False, "reset": True}
AGAIN = error_xml("InternalError")
REGION = answer(400, "AuthorizationHeaderMalformed", "<Region>eu-central-1</Region>")

# Name, rules, exit status, what the line says. Afterwards, and where it failed after the same command again
# without faults, everything is stored exactly once.
INGEST = [
    ("nothing", [], DONE, ""),
    ("503 with Retry-After", put(answer(503, "SlowDown", Retry_After="1")), DONE, ""),
    ("429 twice", put(answer(429, "TooManyRequests"), 2), DONE, ""),
    ("a burst of 500", put(answer(500, "InternalError"), 3), DONE, ""),
    ("502 with HTML", put({**answer(502), "body": "<html>bad <b>gateway"}), DONE, ""),
    ("400 RequestTimeout", put(answer(400, "RequestTimeout")), DONE, ""),
    ("reset before it was stored", put(RESET, 2), DONE, ""),
    ("stored, but the answer is lost", put({"reset": True}), DONE, ""),
    ("stored, but the answer says 500", put({"status": 500, "body": AGAIN}), DONE, ""),
    ("every answer says 500 the first time", put({"status": 500, "body": AGAIN}, 1, 0) +
     put({"status": 500, "body": AGAIN}, 1, 2), DONE, ""),
    ("stored twice", put({"twice": True}, None), DONE, ""),
    ("a bit flipped on the way", put({"corrupt_request": 20_000}), DONE, ""),
    ("not HTTP", put({"forward": False, "garbage": True}), DONE, ""),
    ("409 conflict", put(answer(409, "ConditionalRequestConflict")), DONE, ""),
    ("200 with an error body", put({"forward": False, "status": 200, "body": AGAIN}), DONE, ""),
    ("said to be stored and is not", put({"forward": False, "status": 200, "body": ""}, None), FAILED, ""),
    ("clock skew", put(answer(403, "RequestTimeTooSkewed", Date=http_date(400))), DONE, ""),
    ("clock skew for ever", put(answer(403, "RequestTimeTooSkewed", Date=http_date(4000)), None), USAGE, "clock"),
    ("expired token", put(answer(400, "ExpiredToken"), None), USAGE, "expired"),
    ("wrong region once", put(REGION), DONE, ""),
    ("wrong region for ever", put(REGION, None), USAGE, "--region"),
    ("redirect elsewhere", put(answer(307, Location="http://127.0.0.1:1/"), None), USAGE, "redirects"),
    ("403 in the middle", put(answer(403, "AccessDenied"), None, 2), USAGE, "s3:PutObject"),
    ("the bucket goes in the middle", put(answer(404, "NoSuchBucket"), None, 2), USAGE, "does not exist"),
    ("501 in the middle", put(answer(501, "NotImplemented"), None, 2), FAILED, "NotImplemented"),
    ("the check behind the upload: 503", [rule(answer(503), "HEAD", "ndjson", 1, 2)], DONE, ""),
    ("the check behind the upload: wrong length",
     [rule({"headers": {"Content-Length": "17"}}, "HEAD", "ndjson", 1)], FAILED, ""),
    ("the check behind the upload: 404", [rule(answer(404), "HEAD", "ndjson", 1)], FAILED, "does not have it"),
    ("the probe: 503", [rule(answer(503, "SlowDown"), "PUT", "/runctl-probe", 0, 1)], DONE, ""),
    ("the probe: not honoured", [rule({"status": 200}, "PUT", "/runctl-probe", 1)], DONE, ""),
    ("the probe: 501", [rule(answer(501, "NotImplemented"), "PUT", "/runctl-probe")], DONE, ""),
    ("the probe: inverted", [rule({"forward": False, "status": 412, "body": ""}, "PUT", "/runctl-probe", 0, 1)], DONE, ""),
    ("slow", put({"delay": 2}), DONE, ""),
    # These use up the retries, about ten seconds:
    ("the server is gone in the middle", [rule(RESET, skip=9)], FAILED, ""),
    ("a bit flipped always", put({"corrupt_request": 20_000}, None), FAILED, ""),
    ("503 for ever", put(answer(503, "SlowDown"), None), FAILED, "SlowDown"),
]
INGEST_LONG = [
    ("silence", put({"silent": True}), DONE, ""),
    ("stored, then silence", put({"silent": True, "forward": True}), DONE, ""),
]

# The same for `get` of all runs. The exit status may be one of several; what is printed is right in any case.
GET = [
    ("nothing", [], {DONE}, ""),
    ("503 with Retry-After", read(answer(503, "SlowDown", Retry_After="1")), {DONE}, ""),
    ("429 twice", read(answer(429), 2), {DONE}, ""),
    ("a burst of 500", read(answer(500, "InternalError"), 4), {DONE}, ""),
    ("reset instead of an answer", read(RESET, 2), {DONE}, ""),
    ("cut body", read({"cut": 1000}, 2), {DONE}, ""),
    ("cut without a length", read({"no_length": True, "cut": 1000}), {DONE}, ""),
    ("wrong Content-Range", read({"headers": {"Content-Range": "bytes 1-5000/102400"}}), {DONE}, ""),
    ("no Content-Range", read({"headers": {"Content-Range": None}}), {DONE}, ""),
    ("Range ignored", read({"status": 200, "headers": {"Content-Range": None}, "body": "x" * 500_000}), {DONE}, ""),
    ("a corrupted byte", read({"corrupt": 700}), {DONE, CORRUPT}, ""),
    ("a corrupted byte always", read({"corrupt": 700}, None), {CORRUPT}, "runs/v1/"),
    ("200 with an error body", read({"forward": False, "status": 200, "body": AGAIN}), {DONE}, ""),
    ("not HTTP", read({"forward": False, "garbage": True}), {DONE}, ""),
    ("clock skew", read(answer(403, "RequestTimeTooSkewed", Date=http_date(400))), {DONE}, ""),
    ("expired token", read(answer(400, "ExpiredToken"), None), {USAGE}, "expired"),
    ("wrong region once", read(REGION), {DONE}, ""),
    ("wrong region for ever", read(REGION, None), {USAGE}, "--region"),
    ("403", read(answer(403, "AccessDenied"), None), {USAGE}, "s3:GetObject"),
    ("the batches are gone", read(answer(404, "NoSuchKey"), None), {CORRUPT}, "no such object"),
    ("the batches are shorter", read(answer(416, "InvalidRange"), None), {CORRUPT}, "shorter"),
    ("slow", read({"delay": 2}), {DONE}, ""),
    ("Range ignored for ever", read({"status": 200, "headers": {"Content-Range": None}, "body": "x" * 500_000}, None),
     {FAILED}, "ignored the range"),
]
GET_LONG = [
    ("stall in the body", read({"stall": 1000}), {DONE}, ""),
    ("silence", read({"silent": True, "forward": False}), {DONE}, ""),
]

# The same for `index rebuild` and `index sync`; with {PREFIX} in a body. Where it fails, the index stays as it was.
LISTS = [
    ("503 with Retry-After", listing(answer(503, "SlowDown", Retry_After="1")), {DONE}, ""),
    ("days: 500 twice", listing(answer(500), 2, 0), {DONE}, ""),
    ("cut listing", listing({"cut": 200}), {DONE}, ""),
    ("200 with an error", listing({"forward": False, "body": AGAIN}), {DONE}, ""),
    ("nothing said about the end", listing({"forward": False, "body": "<ListBucketResult></ListBucketResult>"}, None),
     {FAILED}, "whether more follows"),
    ("more without a token", listing({"forward": False, "body":
     "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"}, None), {FAILED}, "not where"),
    ("the same token for ever", listing({"forward": False, "body":
     "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"
     "</ListBucketResult>"}, None), {FAILED}, "repeats"),
    ("a footer is cut", read({"cut": 20}, 2), {DONE}, ""),
    ("a footer: reset", read(RESET, 2, 1), {DONE}, ""),
    ("a footer: wrong Content-Range", read({"headers": {"Content-Range": "bytes 0-9/10"}}), {DONE, CORRUPT}, ""),
    ("a footer with a corrupted byte", read({"corrupt": 100}, 1, 2), {DONE, CORRUPT}, ""),
    ("403 for the listing", listing(answer(403, "AccessDenied"), None), {USAGE}, "s3:ListBucket"),
    ("403 for a footer", read(answer(403, "AccessDenied"), None, 1), {USAGE}, "s3:GetObject"),
]


def old_upload(key: str, upload: str) -> dict:
    """What the gateway would list of this upload, were it two hours old."""
    then = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - 7200))
    return rule({"forward": False, "body":
                 "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload>"
                 f"<Key>{key}</Key><UploadId>{upload}</UploadId>"
                 f"<Initiated>{then}</Initiated></Upload></ListMultipartUploadsResult>"}, "GET", "uploads")


class Row(S3Case):
    """One row of a table: a case of its own, so that rows can run side by side."""

    @staticmethod
    def runs() -> dict[str, bytes]:
        """In input order, of two days."""
        return {run_id(n): day_run("2024-05-01" if n < TABLE_RUNS // 2 else "2024-05-02", n, outputs=noise(n, 1000))
                for n in range(TABLE_RUNS)}

    def ingest_all(self) -> harness.Result:
        return self.run_plain("--store", self.store, "ingest", "-q", "--batch-bytes", "60000", "--spool-max", "0", "-",
                              stdin=joined(self.runs().values()))

    def check_ingest(self, rules: list, status: int, said: str) -> None:
        self.misbehave(*rules)
        result = self.ingest_all()
        self.assertEqual(result.status, status, str(result))
        self.assertFalse(rules and not any(r["fault"] for r in self.requests()), "the fault did not happen")
        if status == DONE:
            self.assertEqual(result.err, b"")
        else:
            self.assert_one_line(result, said)
            self.behave()
            again = self.ingest_all()
            self.assertEqual(again.status, DONE, str(again))
        self.behave()
        self.assert_exactly_once(self.runs())
        self.assert_comes_back(self.runs())

    def check_get(self, rules: list, statuses: set, said: str) -> None:
        self.ingest_all()
        self.misbehave(*rules)
        runs = self.runs()
        result = self.run_plain("--store", self.store, "get", "-", stdin="\n".join(runs).encode())
        self.assertIn(result.status, statuses, str(result))
        self.assertFalse(rules and not any(r["fault"] for r in self.requests()), "the fault did not happen")
        if result.status == DONE:
            self.assert_same_lines(result.lines, list(runs.values()))
            self.assertEqual(result.err, b"")
        else:
            self.assertEqual([line for line in result.lines if line not in set(runs.values())], [], "wrong bytes")
            self.assert_message(result, said)
            if result.status != CORRUPT:
                self.assert_one_line(result, said)
        self.behave()
        self.forget_cache()
        self.assert_comes_back(runs)

    def check_index(self, command: str, rules: list, statuses: set, said: str) -> None:
        self.ingest_all()
        if command == "sync":
            self.forget_index()
            first = self.runs()[run_id(0)]
            self.ingest_bytes(first, "--no-sync")  # an index that knows a little
        before = self.runctl("index", "status", "--json").out
        self.misbehave(*rules)
        result = self.run_plain("--store", self.store, "index", command, "-q")
        self.assertIn(result.status, statuses, str(result))
        self.assertFalse(rules and not any(r["fault"] for r in self.requests()), "the fault did not happen")
        if result.status != DONE:
            self.assert_message(result, said)
        if result.status in (USAGE, FAILED):
            self.assert_one_line(result, said)
            if command == "rebuild":
                self.assertEqual(self.runctl("index", "status", "--json").out, before, "the index stays as it was")
        self.behave()
        self.runctl("index", command, "-q")
        self.assert_comes_back(self.runs())


class Faults(S3Case):
    """Each row: exit 0, or one clear line; never a wrong byte, never a lost run."""

    def run_table(self, rows: list[tuple]) -> None:
        def run(row):
            name, check, arguments = row
            case = Row()
            try:
                case.setUp()
                getattr(case, check)(*arguments)
            except Exception as error:  # what unittest would do, but side by side
                return name, error
            finally:
                case.doCleanups()
            return name, None

        with concurrent.futures.ThreadPoolExecutor(ROWS_AT_ONCE) as pool:
            # The last rows of a table take longest.
            for name, failure in pool.map(run, rows[::-1]):
                with self.subTest(name):
                    if failure:
                        raise failure
        print(f"({len(rows)} faults)", end=" ", flush=True)

    def test_ingest(self):
        rows = INGEST + (INGEST_LONG if LONG else [])
        self.run_table([(name, "check_ingest", rest) for name, *rest in rows])

    def test_get(self):
        rows = GET + (GET_LONG if LONG else [])
        self.run_table([(name, "check_get", rest) for name, *rest in rows])

    def test_rebuild_and_sync(self):
        self.run_table([(f"{command}: {name}", "check_index", (command, *rest))
                        for name, *rest in LISTS for command in ("rebuild", "sync")])

    def test_listing_that_is_short_removes_nothing(self):
        """A listing that is complete by its own word, and yet leaves out what is there."""
        runs = make_runs(30)
        self.ingest_bytes(joined(runs.values()))
        empty = {"forward": False, "body": "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"}
        for command in ("sync", "rebuild"):
            with self.subTest(command):
                self.misbehave(rule(empty, "GET", "list-type"))
                self.run_plain("--store", self.store, "index", command, "-q")
                self.behave()
                self.assertEqual(self.get_listed(runs, "--no-sync"), list(runs.values()))

    def test_server_gone_then_another_machine_does_it_again(self):
        runs = Row.runs()
        self.misbehave(rule(answer(501, "NotImplemented"), "PUT", "ndjson", 2))
        command = ("ingest", "-q", "--batch-bytes", "60000", "--spool-max", "0", "-")
        self.fails(*command, status=FAILED, stdin=joined(runs.values()))
        self.behave()
        with self.on("b"):
            self.runctl(*command, stdin=joined(runs.values()))
        self.assert_exactly_once(runs)

    def test_object_that_was_cut_lies_in_the_way(self):
        """As a careless copy leaves it: the name is there, the bytes are not."""
        runs = make_runs(100)
        self.ingest_bytes(joined(runs.values()))
        key, = self.keys()
        path = f"/{self.bucket}/{self.prefix}/{key}"
        whole = self.gateway.ask("GET", path)
        self.gateway.ask("PUT", path, body=whole[:-100])
        self.forget_index()
        self.ingest_bytes(joined(runs.values()))
        self.assertEqual(self.gateway.ask("GET", path), whole)
        self.assert_comes_back(runs)

    def test_known_runs_are_printed_where_the_sync_for_an_unknown_one_fails(self):
        self.ingest_bytes(make_run(1))
        self.misbehave(rule(answer(403, "AccessDenied"), "GET", "list-type"))
        result = self.run_plain("--store", self.store, "get", run_id(1), "absent")
        self.assertEqual(result.lines, [make_run(1)], str(result))
        self.assertNotEqual(result.status, DONE)

    def test_interrupted(self):
        """A store that answers gets the time to; one that does not is given up, or at once with a second signal."""
        runs = make_runs(5)
        self.ingest_bytes(runs[run_id(4)])  # what a first ingest asks the server is asked
        for number, (sign, delay, signals, least, most, status) in enumerate((
                (signal.SIGINT, 3, 1, 0.5, 9, 130), (signal.SIGTERM, 30, 1, 5, 20, 143),
                (signal.SIGTERM, 30, 2, 0, 4, -15), (signal.SIGINT, 30, 2, 0, 4, -2))):
            with self.subTest(f"{sign.name}, {signals} times"):
                self.misbehave(rule({"delay": delay}, "PUT", "ndjson"))
                self.forget_requests()
                child = subprocess.Popen(
                    [harness.binary(), "--store", self.store, "ingest", self.write("in", make_run(number))],
                    stderr=subprocess.PIPE, cwd=self.dir, env={
                        **self.environment, "RUNCTL_INDEX": str(self.index_of("a")), "AWS_ENDPOINT_URL_S3": self.endpoint})
                self.assertTrue(self.proxy.faulted.wait(60), "nothing is put")
                began = time.monotonic()
                for _ in range(signals):
                    child.send_signal(sign)
                    time.sleep(0.7)  # what comes sooner is the same wish
                child.communicate(timeout=60)
                self.assertTrue(least <= time.monotonic() - began <= most, time.monotonic() - began)
                self.assertEqual(child.returncode, status)
        self.behave()
        self.assert_comes_back({id: runs[id] for id in (run_id(4), run_id(0))})
        self.ingest_bytes(joined(runs.values()))
        self.assert_exactly_once(runs)

    def test_large_batch_in_parts(self):
        """Above 64 MiB an object goes in parts: part faults, and what an interrupted upload leaves behind."""
        self.long_form()
        runs = {run_id(n): make_run(n, outputs=noise(n, 2_000_000)) for n in range(75)}
        command = ("ingest", "-q", "--batch-bytes", "1GiB", "-")
        self.misbehave(rule(answer(501, "NotImplemented"), "PUT", "partNumber=3"))
        self.fails(*command, status=FAILED, said="NotImplemented", stdin=joined(runs.values()))
        self.assertEqual(self.keys(), [])
        self.assertEqual(self.gateway.uploads(self.bucket, self.prefix + "/"), [], "a failed upload is taken back")
        self.misbehave(rule(answer(503, "SlowDown"), "PUT", "partNumber=2", 0, 2), rule({"reset": True}, "POST", "uploadId", 0, 1))
        self.runctl(*command, stdin=joined(runs.values()))
        self.behave()
        self.assertEqual(len(self.keys()), 1)
        self.assert_exactly_once(runs)

    def test_killed_in_the_middle(self):
        runs = Row.runs()
        self.misbehave(rule({"delay": 0.2}, "PUT", "ndjson"))
        command = [harness.binary(), "--store", self.store, "ingest", "-q", "--batch-bytes", "60000", "-"]
        for kills_after in (1, 2):
            self.forget_requests()
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.dir, env={
                **self.environment, "RUNCTL_INDEX": str(self.index_of("a")), "AWS_ENDPOINT_URL_S3": self.endpoint})
            child.stdin.write(joined(runs.values()))
            child.stdin.close()
            deadline = time.monotonic() + 30
            while len(self.requests("PUT", "ndjson")) < kills_after and time.monotonic() < deadline:
                time.sleep(0.01)
            child.kill()
            child.wait()
            child.stderr.close()
        self.behave()
        self.runctl(*command[3:], stdin=joined(runs.values()))
        self.assert_exactly_once(runs)
        self.assert_comes_back(runs)


class Setups(S3Case):
    """Mistakes in the set-up: one line each, which says what to do."""

    def commands(self, status: int, said: str, **options) -> None:
        """The same mistake in every command that needs the server."""
        for command in (("ingest", "-q", "-"), ("index", "sync"), ("index", "rebuild"), ("get", run_id(1))):
            with self.subTest(command[0], said=said):
                self.fails(*command, status=status, said=said, stdin=make_run(1) if command[0] == "ingest" else b"",
                           **options)

    def test_wrong_key(self):
        self.commands(USAGE, "access key id", env={"AWS_ACCESS_KEY_ID": "nobody"})

    def test_wrong_secret(self):
        self.secrets.append("not-the-secret")
        self.commands(USAGE, "secret access key", env={"AWS_SECRET_ACCESS_KEY": "not-the-secret"})

    def test_no_credentials(self):
        self.commands(USAGE, "AWS_ACCESS_KEY_ID", env={"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""})

    def test_unknown_profile(self):
        self.commands(USAGE, "no profile", env={"AWS_PROFILE": "nobody"})

    def test_unsigned(self):
        self.fails("--no-sign-request", "get", run_id(1), status=USAGE, said="no credentials")

    def test_missing_bucket(self):
        self.store = "s3://runctl-absent-bucket/x"
        self.commands(USAGE, "bucket runctl-absent-bucket does not exist")

    def test_read_only_bucket(self):
        bucket = self.deny("s3:PutObject", "s3:DeleteObject")
        try:
            self.gateway.ask("PUT", f"/{bucket}/x", body=b"x", expect=(403,))
        except AssertionError as error:
            self.skipTest(f"this gateway does not hold its owner to a bucket policy: {error}")
        self.fails("ingest", "-q", "-", status=USAGE, said="s3:PutObject", stdin=make_run(2))
        self.assertEqual(self.get(run_id(1)), [make_run(1)])
        with self.on("b"):
            self.fails("ingest", "-q", "-", status=USAGE, said="s3:PutObject", stdin=make_run(2))
            self.assertEqual(self.get(run_id(1)), [make_run(1)])
            doctor = json.loads(self.runctl("doctor", "--json", status=USAGE).out)["findings"]
            self.assertEqual([f["check"] for f in doctor if f["verdict"] == "failed"], ["writable"])

    def deny(self, *actions: str) -> str:
        """A bucket with a batch, in which these actions are denied."""
        bucket = self.gateway.make_bucket("runctl-deny-" + secrets.token_hex(4))
        self.store = f"s3://{bucket}/x"
        self.ingest_bytes(make_run(1))
        self.gateway.ask("PUT", f"/{bucket}", {"policy": ""}, json.dumps({
            "Version": "2012-10-17", "Statement": [{
                "Effect": "Deny", "Principal": "*", "Action": actions,
                "Resource": [f"arn:aws:s3:::{bucket}/*", f"arn:aws:s3:::{bucket}"]}]}).encode())
        return bucket

    def test_bucket_from_which_nothing_may_be_removed(self):
        """Ingest removes nothing that matters, so it must not need s3:DeleteObject."""
        bucket = self.deny("s3:DeleteObject")
        with self.on("b"):
            self.runctl("ingest", "-q", "-", stdin=make_run(2))
            self.runctl("ingest", "-q", "-", stdin=make_run(3))
            self.assertEqual(self.get(run_id(3)), [make_run(3)])
        left = [key for key in self.gateway.keys(bucket) if "probe" in key]
        self.assertLessEqual(len(left), 1, "probes pile up")

    def test_bucket_that_may_not_be_listed(self):
        self.deny("s3:ListBucket")
        self.assertEqual(self.get(run_id(1)), [make_run(1)])
        self.fails("index", "sync", status=USAGE, said="s3:ListBucket")
        self.runctl("ingest", "-q", "-", stdin=make_run(2))

    def test_dry_run_asks_nothing(self):
        self.ingest_bytes(make_run(1), "--dry-run")
        self.assertEqual(self.requests(), [])

    def test_no_route(self):
        self.endpoint = "http://127.0.0.1:1"
        self.commands(FAILED, "is the server up")

    def test_unknown_host(self):
        self.endpoint = "http://runctl.invalid"
        self.fails("index", "sync", status=FAILED, said="check the name")

    def test_certificate_that_is_not_trusted(self):
        self.endpoint = self.gateway.tls_url
        self.commands(FAILED, "--ca-bundle")
        self.runctl("--ca-bundle", self.gateway.ca, "index", "sync", "-q")

    def test_certificate_of_another_host(self):
        self.endpoint = self.gateway.tls_url.replace("127.0.0.1", "127.0.0.2")
        result = self.run_plain("--store", self.store, "--ca-bundle", self.gateway.ca, "index", "sync")
        if b"connect" in result.err:
            self.skipTest("the gateway listens on 127.0.0.1 alone")
        self.assertEqual(result.status, FAILED, str(result))

    def test_authority_file_that_is_not_there(self):
        self.endpoint = self.gateway.tls_url
        self.fails("--ca-bundle", self.dir / "none.pem", "index", "sync", status=USAGE, said="none.pem")

    def test_plain_port_spoken_to_in_tls(self):
        """A mistake that no repetition cures: told at once, with what to do."""
        self.endpoint = self.gateway.url.replace("http:", "https:")
        self.fails("--metrics-file", "m.prom", "index", "sync", status=USAGE, said="http://")
        self.assertRegex((self.dir / "m.prom").read_text(), r"(?m)^runctl_store_retries_total\{.*\} 0$")

    def test_tls_port_spoken_to_in_plain(self):
        self.long_form()
        self.endpoint = self.gateway.tls_url.replace("https:", "http:")
        self.fails("index", "sync", status=FAILED)

    def test_malformed_endpoints(self):
        self.secrets.append("pass-word")
        for url in ("127.0.0.1:80", "ftp://host", "http://", "http://u:pass-word@host", "http://host:99999", "http://h x"):
            with self.subTest(url):
                self.fails("--endpoint-url", url, "index", "sync", status=USAGE, said="--endpoint-url")
                self.endpoint = url
                self.fails("index", "sync", status=USAGE, said="AWS_ENDPOINT_URL_S3")

    def test_malformed_store_urls(self):
        for url in ("s3://", "s3:///prefix", "s3://ab", "s3://bad bucket/x", "s3://bucket/a/../b", "s3://bucket/a//b",
                    "s4://bucket", "S3://bucket"):
            with self.subTest(url):
                self.store = url
                self.fails("index", "sync", status=USAGE, said=url)

    def test_malformed_region_and_style(self):
        self.fails("--region", "evil.example/", "index", "sync", status=USAGE, said="--region")
        self.fails("--addressing-style", "odd", "index", "sync", status=USAGE, said="--addressing-style")

    def test_index_of_another_store(self):
        self.ingest_bytes(make_run(1))
        self.store += "/other"
        self.fails("get", run_id(1), status=USAGE, said="--index")

    def test_slashes_around_the_prefix_make_no_other_store(self):
        self.ingest_bytes(make_run(1))
        self.store += "/"
        self.assertEqual(self.get("--no-sync", run_id(1)), [make_run(1)])

    def test_config_file(self):
        config = self.write("config.json", json.dumps({"store": self.store, "endpoint_url": self.endpoint}).encode())
        env = {"AWS_ENDPOINT_URL_S3": "", "RUNCTL_CONFIG": str(config)}
        self.assertEqual(self.run_plain("ingest", "-q", "-", stdin=make_run(1), env=env).status, DONE)
        self.assertEqual(self.run_plain("get", run_id(1), env=env).lines, [make_run(1)])

    def test_shared_files(self):
        """No AWS_* variable at all: a profile of the shared files, with its endpoint."""
        self.write("home/.aws/credentials", f"[work]\naws_access_key_id = {self.gateway.key}\n"
                   f"aws_secret_access_key = {self.gateway.secret}\n".encode())
        self.write("home/.aws/config", f"[profile work]\nregion = us-east-1\nendpoint_url = {self.endpoint}\n".encode())
        env = {name: "" for name in (*self.gateway.credentials(), "AWS_ENDPOINT_URL_S3")}
        result = self.run_plain("--store", self.store, "--profile", "work", "ingest", "-q", "-", stdin=make_run(1), env=env)
        self.assertEqual(result.status, DONE, str(result))
        self.assertEqual(len(self.keys()), 1)

    def test_virtual_hosted_addressing(self):
        """The bucket in the host: here only that it is tried, for the name does not resolve everywhere."""
        self.long_form()
        self.endpoint = self.endpoint.replace("127.0.0.1", "localhost")
        result = self.run_plain("--store", self.store, "--addressing-style", "virtual", "index", "sync")
        self.assertIn(result.status, (DONE, USAGE, FAILED), str(result))
        if result.status != DONE:
            self.assert_one_line(result)

    def test_verbose_and_doctor_show_no_secret(self):
        """run_command looks into all output for the secret; here into the longest."""
        self.misbehave(*put(answer(503, "SlowDown"), 1, 0))
        self.runctl("-v", "ingest", "-", stdin=make_run(1))
        self.runctl("-v", "get", run_id(1))
        self.runctl("-v", "doctor", "--json")


class Doctor(S3Case):
    def findings(self, *flags, status: int = DONE, **options) -> dict[str, tuple[str, str]]:
        result = self.runctl("doctor", "--json", *flags, status=status, **options)
        self.assertEqual(len(result.lines), 1)
        return {f["check"]: (f["verdict"], f["text"]) for f in json.loads(result.out)["findings"]}

    def test_all_well(self):
        self.ingest_bytes(make_run(1))
        found = self.findings()
        self.assertLessEqual({"store", "index file", "endpoint", "region", "credentials", "readable", "clock", "writable",
                              "conditional create", "leftovers", "index"}, set(found))
        self.assertEqual({verdict for verdict, _ in found.values()}, {"ok"}, found)
        self.assertIn("environment", found["credentials"][1])
        self.assertIn("AWS_ENDPOINT_URL_S3", found["endpoint"][1])
        self.assertIn("AWS_REGION", found["region"][1])
        self.assertIn("honoured", found["conditional create"][1])
        text = self.runctl("doctor").out.decode()
        self.assertEqual(text.count("\n"), len(found))
        self.assertTrue(all(line.startswith("ok ") for line in text.splitlines()), text)

    def test_no_index_yet(self):
        self.assertEqual(self.findings()["index"][0], "warning")

    def test_wrong_secret(self):
        self.secrets.append("not-the-secret")
        found = self.findings(status=USAGE, env={"AWS_SECRET_ACCESS_KEY": "not-the-secret"})
        self.assertEqual(found["readable"][0], "failed")
        self.assertIn("secret access key", found["readable"][1])

    def test_no_credentials(self):
        found = self.findings(status=USAGE, env={"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""})
        self.assertEqual(found["credentials"][0], "failed")
        self.assertIn("AWS_ACCESS_KEY_ID", found["credentials"][1])

    def test_unreachable(self):
        self.endpoint = "http://127.0.0.1:1"
        found = self.findings(status=FAILED)
        self.assertEqual(found["readable"][0], "failed")
        self.assertIn("index", found, "what needs no server is checked all the same")

    def test_missing_bucket(self):
        self.store = "s3://runctl-absent-bucket"
        self.assertIn("does not exist", self.findings(status=USAGE)["readable"][1])

    def test_clock(self):
        self.misbehave(rule({"headers": {"Date": http_date(-200)}}))
        verdict, text = self.findings()["clock"]
        self.assertEqual(verdict, "warning")
        self.assertRegex(text, r"\b(19\d|20\d) s")

    def test_conditional_create_not_honoured(self):
        self.misbehave(rule({"status": 200}, "PUT", "/runctl-probe", 1))
        verdict, text = self.findings()["conditional create"]
        self.assertEqual(verdict, "ok")
        self.assertIn("not honoured", text)

    def test_leftovers(self):
        key = f"{self.prefix}/runs/v1/mixed/x"
        upload, other = self.gateway.begin_upload(self.bucket, key), self.gateway.begin_upload(self.bucket, f"{key}y")
        self.assertEqual(self.findings()["leftovers"][0], "ok", "a young one may belong to a command at work")
        self.findings("--clear-leftovers")
        self.assertLessEqual({upload, other}, set(self.gateway.uploads(self.bucket)))
        self.misbehave(old_upload(key, upload))
        verdict, text = self.findings()["leftovers"]
        self.assertEqual(verdict, "warning")
        self.assertIn("--clear-leftovers", text)
        self.assertIn(upload, self.gateway.uploads(self.bucket), "looking removes nothing")
        self.assertIn("removed", self.findings("--clear-leftovers")["leftovers"][1])
        self.assertNotIn(upload, self.gateway.uploads(self.bucket))
        self.assertIn(other, self.gateway.uploads(self.bucket))

    def test_leftovers_beyond_the_first_page(self):
        then = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(time.time() - 7200))

        def page(number: int, more: str) -> str:
            return (f"<ListMultipartUploadsResult>{more}<Upload><Key>{self.prefix}/runs/v1/mixed/{number}</Key>"
                    f"<UploadId>u{number}</UploadId><Initiated>{then}</Initiated></Upload></ListMultipartUploadsResult>")

        more = ("<IsTruncated>true</IsTruncated><NextKeyMarker>mixed 1</NextKeyMarker>"
                "<NextUploadIdMarker>u1</NextUploadIdMarker>")
        self.misbehave(
            rule({"forward": False, "body": page(2, "<IsTruncated>false</IsTruncated>")}, "GET",
                 "key-marker=mixed%201&prefix=.*&upload-id-marker=u1&uploads"),
            rule({"forward": False, "body": page(1, more)}, "GET", "uploads"))
        self.assertIn("2 unfinished uploads", self.findings()["leftovers"][1])
        self.misbehave(rule({"forward": False, "body": page(1, more)}, "GET", "uploads"))
        self.assertIn("100 unfinished uploads", self.findings()["leftovers"][1], "a listing without an end has one")

    def test_nothing_is_left_by_doctor(self):
        self.findings()
        self.assertEqual(self.keys(), [])


if __name__ == "__main__":
    harness.main()
