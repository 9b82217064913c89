"""Where the rows of scripts/bench-peers find their input, a gateway and a store, and how one process is timed."""

import contextlib
import itertools
import json
import math
import os
import pathlib
import random
import re
import secrets
import shutil
import sqlite3
import subprocess
import sys
import time

PROJECT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests" / "s3"))
from gateway import VARIABLES, Gateway  # noqa: E402

SETS = {"zeroeval-crux": "chat", "zeroeval-gsm": "chat", "taubench": "agent", "intercode": "agent"}
FIRST_ID = re.compile(rb'\{"id": ?"([0-9a-f-]{36})"')


class LeftOut(Exception):
    pass


class Bench:
    """Where everything lies, and how one process is timed."""

    def __init__(self, scratch: pathlib.Path, pairs: int):
        self.dir, self.pairs = scratch, pairs
        self.runctl = str(pathlib.Path(os.environ.get("RUNCTL_BINARY", PROJECT / "build/release/runctl")).resolve())
        self.data = pathlib.Path(os.environ.get("RUNCTL_TEST_DATA", PROJECT.parent / "shared" / "data"))
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(scratch), "LC_ALL": "C.UTF-8"}
        self.own_gateway = not os.environ.get("RUNCTL_TEST_S3_ENDPOINT")
        self.gateway = self.bucket = self.group = None
        self.numbers = itertools.count()
        if not os.access(self.runctl, os.X_OK):
            sys.exit(f"bench-peers: {self.runctl} is not there; RUNCTL_BINARY names another")

    # --- the gateway ---

    def need_gateway(self, group: str) -> None:
        """Rows of one group share a gateway: an own one keeps its objects in memory, and that is bounded."""
        if self.gateway and (group == self.group or not self.own_gateway):
            return
        self.stop_gateway()
        try:
            self.gateway, self.group = Gateway(), group
        except RuntimeError as why:
            raise LeftOut(f"there is no gateway: {' '.join(str(why).split())}") from None
        self.bucket = self.gateway.make_bucket("runctl-peers-" + secrets.token_hex(4))
        url, region = self.gateway.url, self.gateway.region
        self.environment |= {
            **self.gateway.credentials(), "AWS_DEFAULT_REGION": region, "AWS_ENDPOINT_URL": url,
            "AWS_ENDPOINT_URL_S3": url, **{name: os.environ[name] for name in VARIABLES},
            "RCLONE_CONFIG_GATEWAY_TYPE": "s3", "RCLONE_CONFIG_GATEWAY_PROVIDER": "Ceph",
            "RCLONE_CONFIG_GATEWAY_ENDPOINT": url, "RCLONE_CONFIG_GATEWAY_ENV_AUTH": "true"}

    def stop_gateway(self) -> None:
        if self.bucket and not self.own_gateway:
            self.gateway.remove_bucket(self.bucket)
        if self.gateway and self.own_gateway:
            self.gateway.stop()
            for name in VARIABLES:
                os.environ.pop(name, None)
        self.gateway = self.bucket = None

    def curl_options(self) -> str:
        """What each request needs; in a file, for arguments can be seen by everyone."""
        return (f'aws-sigv4 = "aws:amz:{self.gateway.region}:s3"\nuser = "{self.gateway.key}:{self.gateway.secret}"\n'
                'header = "x-amz-content-sha256: UNSIGNED-PAYLOAD"\n')

    # --- input ---

    def set(self, name: str) -> pathlib.Path:
        plain, packed = self.dir / f"{name}.ndjson", self.data / SETS[name] / f"{name}.ndjson.zst"
        if not plain.exists():
            if not packed.exists():
                raise LeftOut(f"{packed} is not there")
            subprocess.run([self.tool("zstd"), "-dqf", packed, "-o", plain], check=True)
        return plain

    def scenario(self, name: str) -> pathlib.Path:
        plain = self.dir / f"{name}.ndjson"
        if not plain.exists():
            self.run([self.runctl, "bench", "--generate", plain, name])
        return plain

    def grown(self, name: str, times: float) -> pathlib.Path:
        """The set so many times over, each time with other ids; of a fraction, every so many lines one."""
        out, source = self.dir / f"{name}-{times:.3f}.ndjson", self.set(name)
        if out.exists() or times == 1:
            return out if out.exists() else source
        step = max(1, round(1 / times))
        with open(out, "wb") as grown:
            for copy in range(math.ceil(times)):
                with open(source, "rb") as lines:
                    for line in itertools.islice(lines, 0, None, step):
                        at = line.index(b'"', 5) + 1  # the id's first digits
                        grown.write(line[:at] + b"%08x" % (int(line[at:at + 8], 16) ^ copy) + line[at + 8:])
        return out

    def chosen(self, file: pathlib.Path, count: int) -> dict[str, bytes]:
        with open(file, "rb") as lines:
            total = sum(1 for _ in lines)
        numbers = set(random.Random(3).sample(range(total), min(count, total)))
        with open(file, "rb") as lines:
            found = [line.rstrip(b"\n") for number, line in enumerate(lines) if number in numbers]
        random.Random(4).shuffle(found)
        return {FIRST_ID.match(line)[1].decode(): line for line in found}

    # --- one process ---

    def run(self, command, stdin=None, report: bool = False) -> float:
        """Seconds of one process; a string is a shell's pipeline. With `report`, its greatest memory in MiB instead."""
        shown, peak = command, self.dir / "peak"
        command = ["bash", "-o", "pipefail", "-c", command] if isinstance(command, str) else [str(c) for c in command]
        if report:
            command = [sys.executable, "-S", str(PROJECT / "tests" / "cli" / "measure.py"), str(peak), *command]
        with open(self.dir / "out", "wb") as out, open(self.dir / "err", "wb") as err:
            began = time.perf_counter()
            process = subprocess.Popen(command, stdin=stdin or subprocess.DEVNULL, stdout=out, stderr=err, cwd=self.dir,
                                       env=self.environment)
            try:
                status = process.wait()
            except BaseException:
                process.kill()
                raise
            seconds = time.perf_counter() - began
        if report:
            measured = json.loads(peak.read_text())
            status, seconds = measured["status"], measured["peak_bytes"] / 2**20
        if status != 0:
            sys.exit(f"bench-peers: {shown}: exit status {status}: {(self.dir / 'err').read_text()}")
        return seconds

    def printed(self) -> bytes:
        return (self.dir / "out").read_bytes().rstrip(b"\n")

    def expect(self, wanted: bytes, who: str) -> None:
        if self.printed() != wanted:
            sys.exit(f"bench-peers: {who}: printed {self.printed()[:200]!r}, not {wanted[:200]!r}")

    def tool(self, name: str) -> str:
        path = shutil.which(name)
        if not path:
            raise LeftOut(f"{name} is not installed")
        if "shims" in path:  # the program, not pyenv's shell script before it
            path = subprocess.run(["pyenv", "which", name], capture_output=True, text=True).stdout.strip() or path
        return path

    def fresh(self, name: str) -> pathlib.Path:
        """A path at which nothing was before. What was used stays until the end: ext4 looks at all inodes that were freed
        within some minutes whenever it makes a file, so that whoever comes after a removal would pay for it."""
        return self.dir / f"{next(self.numbers)}.{name}"

    def forget_cache(self) -> None:
        self.environment["XDG_CACHE_HOME"] = str(self.fresh("cache"))

    def ingest(self, file, store=None, **options) -> float:
        """Into a fresh store with a fresh index; `self.store` and `self.index` are then these."""
        self.store, self.index = store or self.fresh("store"), self.fresh("index.sqlite")
        os.sync()
        return self.run([self.runctl, "--store", self.store, "--index", self.index, "ingest", "-q", file], **options)

    def in_bucket(self) -> str:
        return f"s3://{self.bucket}/{secrets.token_hex(6)}"

    def get(self, *arguments, **options) -> float:
        return self.run([self.runctl, "--store", self.store, "--index", self.index, *arguments], **options)

    def places(self, ids) -> list[tuple[str, int, int]]:
        """The range that holds each of the runs: from the index, as runctl-batch(5) describes it."""
        with contextlib.closing(sqlite3.connect(self.index)) as index:
            return [index.execute(
                "SELECT batch.key, min(frame.offset), max(frame.offset + frame.stored) - 1 "
                "FROM run JOIN batch USING(batch) JOIN frame ON frame.batch = run.batch "
                "AND frame.raw_offset < run.raw_offset + run.length "
                "AND frame.raw_offset + frame.raw > run.raw_offset WHERE run.id = ?",
                (bytes.fromhex(run.replace("-", "")),)).fetchone() for run in ids]

    def url(self, key: str) -> str:
        return f"{self.gateway.url}/{self.store.removeprefix('s3://')}/{key}"
