"""What scripts/bench-peers measures: for each row, what does the i-th turn of runctl, what that of the peer."""

import contextlib
import json
import math
import os
import sqlite3
import statistics
import subprocess
import sys

from bench import FIRST_ID, PROJECT, SETS, Bench

SCENARIOS = ("50x10KB", "200x25KB", "500x10KB", "1000x5KB", "50x100KB", "100x50KB", "10x1MB")
MANY, OF_MANY = 1000, 100_000  # runs asked for at once, and among how many
IDS = 64  # runs that a row about single runs chooses from
KEY = "session_id"  # an entry of the metadata of the zeroeval sets, that some 40 runs share


def ingest_local(bench: Bench, name: str):
    file, zstd = bench.set(name), bench.tool("zstd")

    def theirs(_):
        os.sync()
        return bench.run([zstd, "-q", "-3", "-T2", file, "-o", bench.fresh("zst")])

    return lambda _: bench.ingest(file), theirs


def ingest_gateway(bench: Bench, name: str, tool: str):
    file, zstd, tool_path = bench.set(name), bench.tool("zstd"), bench.tool(tool)
    bench.need_gateway("ingest " + name)

    def theirs(i):
        os.sync()
        upload = f"s3 cp --quiet - {bench.in_bucket()}" if tool == "aws" else \
            f"rcat gateway:{bench.in_bucket().removeprefix('s3://')}"
        return bench.run(f"{zstd} -q -3 -T2 -c {file} | {tool_path} {upload}")

    return lambda _: bench.ingest(file, bench.in_bucket()), theirs


def ingest_python(bench: Bench, name: str, *flags: str):
    file = bench.scenario(name)
    bench.need_gateway("python")

    def theirs(_):
        os.sync()
        bench.run([sys.executable, PROJECT / "scripts/peers/ingest.py", *flags, file,
                   bench.in_bucket().removeprefix("s3://"), bench.fresh("sqlite")])
        return float(bench.printed())

    return lambda _: bench.ingest(file, bench.in_bucket()), theirs


def get_one(bench: Bench, cached: bool):
    tool, zstd, file = bench.tool("sqlite3" if cached else "curl"), bench.tool("zstd"), bench.set("zeroeval-gsm")
    bench.need_gateway("get")
    bench.ingest(file, bench.in_bucket())
    runs = list(bench.chosen(file, IDS).items())
    if cached:
        database, read = bench.dir / "plain.sqlite", "SELECT json FROM run WHERE id = '{}'"
        with contextlib.closing(sqlite3.connect(database)) as plain, open(file, "rb") as lines:
            plain.execute("CREATE TABLE run(id TEXT PRIMARY KEY, json TEXT) WITHOUT ROWID")
            plain.executemany("INSERT INTO run VALUES(?, ?)",
                              ((FIRST_ID.match(line)[1].decode(), line.rstrip(b"\n").decode()) for line in lines))
            plain.commit()
        bench.get("cache", "warm", "-q", *(run for run, _ in runs))
    else:
        places, secret = bench.places(run for run, _ in runs), bench.dir / "curl.conf"
        secret.touch(0o600)
        secret.write_text(bench.curl_options())

    def ours(i):
        run, line = runs[i % len(runs)]
        if not cached:
            bench.forget_cache()
        seconds = bench.get("get", run)
        bench.expect(line, "runctl get")
        return seconds

    def theirs(i):
        run, line = runs[i % len(runs)]
        if cached:
            seconds = bench.run([tool, database, read.format(run)])
            bench.expect(line, "sqlite3")
            return seconds
        key, begin, end = places[i % len(runs)]
        seconds = bench.run([tool, "-sSf", "-K", secret, "-r", f"{begin}-{end}", bench.url(key)])
        frames = subprocess.run([zstd, "-dqc", bench.dir / "out"], capture_output=True, check=True).stdout
        if (bench.dir / "out").stat().st_size != end - begin + 1 or line not in frames:
            sys.exit("bench-peers: curl did not get the run")
        return seconds

    return ours, theirs


def get_many(bench: Bench):
    curl, file = bench.tool("curl"), bench.dir / "many.ndjson"
    with open(file, "wb") as out:
        lines = (line for name in SETS if name != "intercode" for line in open(bench.set(name), "rb"))
        out.writelines(line for line, _ in zip(lines, range(OF_MANY)))
    bench.need_gateway("get")
    bench.ingest(file, bench.in_bucket())
    runs = bench.chosen(file, MANY)
    ids, secret, places = bench.dir / "ids", bench.dir / "curl.conf", bench.places(runs)
    ids.write_text("".join(f"{run}\n" for run in runs))
    secret.touch(0o600)
    secret.write_text("next\n".join(
        f'{bench.curl_options()}url = "{bench.url(key)}"\nrange = "{begin}-{end}"\noutput = "/dev/null"\n'
        'write-out = "%{http_code} %{size_download}\\n"\n' for key, begin, end in places))
    wanted, sizes = b"\n".join(runs.values()), sorted(f"206 {end - begin + 1}" for _, begin, end in places)

    def ours(_):
        bench.forget_cache()
        with open(ids, "rb") as stdin:
            seconds = bench.get("get", "-", stdin=stdin)
        bench.expect(wanted, "runctl get")
        return seconds

    def theirs(_):
        seconds = bench.run([curl, "-sS", "--parallel", "-K", secret])
        if sorted(bench.printed().decode().split("\n")) != sizes:
            sys.exit("bench-peers: curl did not get the ranges")
        return seconds

    return ours, theirs


def search(bench: Bench, tool: str):
    """Of all runs with one entry in their metadata, the ids (jq) or the whole runs (grep)."""
    path, file = bench.tool(tool), bench.set("zeroeval-gsm")
    bench.ingest(file)
    value = json.loads(next(iter(bench.chosen(file, 1).values())))["metadata"][KEY]
    flags = ("--format", "ids") if tool == "jq" else ("--full",)
    command = [path, "-r", f"select(.metadata.{KEY} == \"{value}\") | .id", file] if tool == "jq" else \
        [path, "-F", f'"{KEY}":"{value}"', file]
    found = {}

    def check(who, seconds):
        found[who] = sorted(bench.printed().split(b"\n"))
        if not found[who][0] or any(other != found[who] for other in found.values()):
            sys.exit(f"bench-peers: runctl search and {tool} found different runs: {KEY}={value}")
        return seconds

    return (lambda _: check("runctl", bench.get("search", "--metadata", f"{KEY}={value}", "--limit", "0", *flags)),
            lambda _: check(tool, bench.run(command)))


def get_local(bench: Bench):
    grep, file = bench.tool("grep"), bench.set("zeroeval-gsm")
    bench.ingest(file)
    runs = list(bench.chosen(file, IDS).items())

    def turn(i, command):
        run, line = runs[i % len(runs)]
        seconds = command(run)
        bench.expect(line, "get by id")
        return seconds

    return (lambda i: turn(i, lambda run: bench.get("get", "--no-cache", run)),
            lambda i: turn(i, lambda run: bench.run([grep, "-m1", "-F", f'{{"id":"{run}"', file])))


def memory(bench: Bench):
    big, batch = bench.grown("zeroeval-crux", 8), bench.scenario("500x10KB")

    def ours(_):
        with subprocess.Popen(["cat", big], stdout=subprocess.PIPE) as stream:
            return bench.ingest("-", stdin=stream.stdout, report=True)

    return ours, lambda _: bench.ingest(batch, report=True)


def growth(bench: Bench) -> list[tuple[float, list[float]]]:
    """For each round, the slope, and the seconds of each size."""
    files = [bench.grown("zeroeval-crux", times) for times in (1 / 13, 1 / 4, 1, 3, 8)]
    sizes = [math.log(file.stat().st_size) for file in files]
    rounds = []
    for turn in range(bench.pairs + 1):  # the first is not counted
        seconds = {file: bench.ingest(file) for file in files[::1 if turn % 2 else -1]}
        times = [seconds[file] for file in files]
        rounds.append((statistics.linear_regression(sizes, [math.log(t) for t in times]).slope, times))
    return rounds[1:]


def all_rows() -> dict[str, tuple]:
    """name: (work, peer, required, aim, what makes the turns, its arguments)"""
    rows = {}
    for name in SETS:
        limits = (4, 1.5) if name == "intercode" else (1.5, 1.0)
        rows[f"ingest/local/{name}/zstd"] = (f"ingest {name}, directory", "`zstd -3 -T2`", *limits, ingest_local, name)
    for name in SETS:
        for tool, command, *limits in (("aws", "aws s3 cp -", 0.6, 0.4), ("rclone", "rclone rcat", None, None)):
            rows[f"ingest/gateway/{name}/{tool}"] = (
                f"ingest {name}, gateway", f"`zstd -3 -T2 \\| {command}`", *limits, ingest_gateway, name, tool)
    for name in SCENARIOS:
        rows[f"ingest/gateway/{name}/python"] = (
            f"ingest {name}, gateway", "Python script", 0.25, 0.1, ingest_python, name)
    rows["ingest/gateway/500x10KB/python-plain"] = (
        "ingest 500x10KB, gateway", "Python script, not compressing", None, None, ingest_python, "500x10KB", "--plain")
    rows |= {
        "get/gateway/one/curl": (
            "get a run, gateway, cache empty", "`curl`, signed, same range", 1.5, 1.1, get_one, False),
        "get/gateway/cached/sqlite3": ("get a run, cached", "`sqlite3`, by key", 2, 1.2, get_one, True),
        "get/gateway/many/curl": (f"get {MANY:,} of {OF_MANY:,} runs, gateway, cache empty",
                                  f"one `curl --parallel`, {MANY:,} ranges", 0.5, 0.2, get_many),
        "get/local/one/grep": ("get a run, directory", "`grep -m1` for its id", None, None, get_local),
        "search/local/metadata/jq": ("search by metadata, ids", "`jq select`", None, None, search, "jq"),
        "search/local/metadata/grep": ("search by metadata, whole runs", "`grep`", None, None, search, "grep"),
        "ingest/local/memory": ("peak memory, 1 GB from a pipe", "the same, a file of 15 MB", 128, 64, memory),
        "ingest/local/growth": ("ingest 1 GB, directory", "the same, 10 MB; slope of log time", 1.05, 1.0, growth)}
    return rows
