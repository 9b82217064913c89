"""scripts/bench-peers on a gateway and a tiny set, and the script in Python that it sets runctl against.

Needs what cli_test.py needs; rows whose peer is not installed are left out.
"""

import json
import os
import re
import secrets
import shutil
import sqlite3
import sys
import unittest
import zlib

import gateway
import harness
from gateway import S3Case
from harness import PROJECT, joined, make_run, unzstd, zstd


def setUpModule() -> None:
    S3Case.gateway = gateway.Gateway()
    unittest.addModuleCleanup(S3Case.gateway.stop)
    S3Case.bucket = S3Case.gateway.make_bucket("runctl-peers-test-" + secrets.token_hex(4))


class Peers(S3Case):
    direct = "http"

    def setUp(self) -> None:
        super().setUp()
        self.environment.update({name: os.environ[name] for name in gateway.VARIABLES})

    def buckets(self) -> set[str]:
        """Those that bench-peers has made: other suites make theirs on the same gateway meanwhile."""
        names = {each.findtext("Name") for each in self.gateway.tree("GET", "/").iter("Bucket")}
        return {name for name in names if name.startswith("runctl-peers-")}

    def bench(self, *rows: str) -> list[list[str]]:
        before = self.buckets()
        self.assertIn(self.bucket, before)
        for at, name in enumerate(("chat/zeroeval-crux", "chat/zeroeval-gsm", "agent/taubench")):
            runs = [make_run(n, metadata={"step": n}) for n in range(200 * at, 200 * at + 200)]
            self.write(f"data/{name}.ndjson.zst", zstd(joined(runs)))
        chosen = [word for row in rows for word in ("--rows", row)]
        result = self.run_command(
            [sys.executable, PROJECT / "scripts" / "bench-peers", "--pairs", "1", "--markdown", *chosen],
            env={"RUNCTL_BINARY": str(harness.binary()), "RUNCTL_TEST_DATA": str(self.dir / "data")})
        self.assertEqual(result.status, 0, str(result))
        self.assertEqual(list((self.home / "tmp").iterdir()), [], "nothing stays")
        self.assertEqual(self.buckets(), before)
        table = result.out.decode().splitlines()[4:]
        return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]

    def assert_peers(self, rows: list[list[str]], peers: dict[str, str]) -> None:
        """A row for each of the peers whose tool is there, with times and a ratio."""
        self.assertEqual([row[1] for row in rows], [peer for peer, tool in peers.items() if shutil.which(tool)])
        for row in rows:
            self.assertRegex(" ".join(row[2:5]), r"^([\d.]+ m?s ){2}\d+\.\d\d\d?$")

    def test_ingest(self):
        self.assert_peers(self.bench("ingest/gateway/zeroeval-crux/*", "ingest/gateway/50x10KB/*"),
                          {"`zstd -3 -T2 \\| aws s3 cp -`": "aws", "`zstd -3 -T2 \\| rclone rcat`": "rclone",
                           "Python script": sys.executable})

    def test_get(self):
        self.assert_peers(self.bench("get/gateway/*"),
                          {"`curl`, signed, same range": "curl", "`sqlite3`, by key": "sqlite3",
                           "one `curl --parallel`, 1,000 ranges": "curl"})

    def test_the_script_keeps_every_value(self):
        """What it is compared with does the work: each value is where its database says, and the other fields in it."""
        runs = [make_run(n, outputs=[n, "é"], metadata={"step": n}) for n in range(50)]
        file = self.write("runs.ndjson", joined(runs))
        for flags in ((), ("--plain",)):
            key, database = self.prefix + "/values" + "".join(flags), self.dir / f"database{len(flags)}"
            result = self.run_command([sys.executable, PROJECT / "scripts" / "peers" / "ingest.py", *flags, file,
                                       f"{self.bucket}/{key}", database])
            self.assertEqual(result.status, 0, str(result))
            self.assertRegex(result.out, rb"^[\d.e-]+\n$")
            stored, plain = self.gateway.read(self.bucket, key), sqlite3.connect(database)
            plain.row_factory = sqlite3.Row
            rows = {row["id"]: row for row in plain.execute("SELECT * FROM run")}
            plain.close()
            for record in map(json.loads, runs):
                row = rows.pop(record["id"])
                self.assertEqual((row["name"], row["key"]), (record["name"], f"{self.bucket}/{key}"))
                for name in ("inputs", "outputs", "metadata"):
                    value = stored[row[f"{name}_offset"]:][:row[f"{name}_length"]]
                    if not flags:
                        value = unzstd(value) if value.startswith(b"\x28\xb5\x2f\xfd") else zlib.decompress(value)
                    self.assertEqual(json.loads(value), record[name])
            self.assertEqual(rows, {})


if __name__ == "__main__":
    harness.main()
