"""Ingest as a script of one's own would do it; what scripts/bench-peers sets runctl against.

    ingest.py [--plain] FILE BUCKET/KEY DATABASE

Reads NDJSON with orjson (else json), puts the compressed values of each run's inputs, outputs and metadata one after
the other into one object, sends that with one signed PUT to the gateway of RUNCTL_TEST_S3_ENDPOINT, then writes the
other fields and where the values lie to SQLite with one executemany and a commit that is synced. Values are compressed
with the zstandard package, else with zlib at its fastest; --plain leaves them as they are. Prints the seconds it took
after its imports.
"""

import hashlib  # noqa: F401  (so that its import is not counted)
import pathlib
import sqlite3
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "s3"))
from gateway import Gateway  # noqa: E402

try:
    from orjson import dumps, loads
except ImportError:
    from json import dumps as dumps_text, loads

    def dumps(value) -> bytes:
        return dumps_text(value, separators=(",", ":"), ensure_ascii=False).encode()

try:
    import zstandard
    compress = zstandard.ZstdCompressor(level=3).compress
except ImportError:
    import zlib

    def compress(data: bytes) -> bytes:
        return zlib.compress(data, 1)

VALUES = ("inputs", "outputs", "metadata")
OTHERS = ("id", "trace_id", "parent_run_id", "name", "run_type", "start_time", "end_time")


def ingest(gateway: Gateway, file: str, place: str, database: str, pack) -> None:
    parts, rows, offset = [], [], 0
    with open(file, "rb") as lines:
        for line in lines:
            run = loads(line)
            row = [run.get(name) for name in OTHERS]
            row.append(place)
            for name in VALUES:
                part = pack(dumps(run.get(name)))
                parts.append(part)
                row += (offset, len(part))
                offset += len(part)
            rows.append(row)
    gateway.ask("PUT", f"/{place}", body=b"".join(parts))
    with sqlite3.connect(database) as rows_of:
        rows_of.execute("PRAGMA journal_mode=WAL")
        rows_of.execute("PRAGMA synchronous=FULL")
        columns = [*OTHERS, "key", *(f"{name}_{what}" for name in VALUES for what in ("offset", "length"))]
        rows_of.execute(f"CREATE TABLE run({', '.join(columns)}, PRIMARY KEY(id)) WITHOUT ROWID")
        rows_of.executemany(f"INSERT INTO run VALUES({', '.join('?' * len(columns))})", rows)


def main() -> None:
    arguments = sys.argv[1:]
    plain = arguments[0] == "--plain"
    gateway = Gateway()
    began = time.perf_counter()
    ingest(gateway, *arguments[plain:], (lambda data: data) if plain else compress)
    print(time.perf_counter() - began)


main()
