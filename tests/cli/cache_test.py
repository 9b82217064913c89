#!/usr/bin/env python3
"""The cache, of a directory store that asks for one: its commands, its files, and disks that fail it.

What it does on a network is in tests/s3. Tests that mount a file system are skipped, and say so, where that is
not allowed.
"""

import concurrent.futures
import json
import os
import pathlib
import random
import shutil
import stat
import subprocess
import time

import harness
from harness import CORRUPT, FAILED, NOT_FOUND, USAGE, joined, make_run, noise, run_id

RUNS = 1500


def disk_bytes(path: pathlib.Path) -> int:
    """What `du` says."""
    done = subprocess.run(["du", "-s", "--block-size=1", path], capture_output=True, text=True)
    return int(done.stdout.split()[0])


class CacheTest(harness.CliTest):
    def setUp(self) -> None:
        super().setUp()
        self.cache = self.dir / "cache"
        self.runs = {run_id(n): make_run(n, trace_id=f"trace {n % 150}", outputs=noise(n, 750) * 4) for n in range(RUNS)}
        self.ingest_bytes(joined(self.runs.values()), "--batch-bytes", "900000")

    def cached(self, *arguments, **options) -> harness.Result:
        return self.runctl("--cache-dir", self.cache, *map(str, arguments), **options)

    def traffic(self, *arguments, **options) -> dict:
        return json.loads(self.cached("get", "--json", *arguments, **options).err.splitlines()[-1])

    def report(self, *arguments, **options) -> dict:
        return json.loads(self.cached("cache", *arguments, "--json", **options).out)

    def fill(self) -> None:
        self.assert_same_lines(self.cached("get", "-", stdin="\n".join(self.runs).encode()).lines, list(self.runs.values()))

    def entries(self) -> list[pathlib.Path]:
        return sorted(path for path in self.cache.glob("v1/??/*") if not path.name.startswith("."))

    def age(self, path: pathlib.Path, seconds: float) -> None:
        then = time.time() - seconds
        os.utime(path, (then, then), follow_symlinks=False)


class Commands(CacheTest):
    def test_second_get_reads_nothing_from_the_store(self):
        some = list(self.runs)[7]
        first, second = self.traffic(some), self.traffic(some)
        self.assertEqual((first["requests"], first["cache_hits"], first["cache_misses"]), (1, 0, 1))
        self.assertEqual((second["requests"], second["bytes_read"]), (0, 0))
        self.assertEqual((second["cache_hits"], second["cache_misses"]), (1, 0))
        verbose = self.cached("get", "-v", some)
        self.assertEqual(verbose.lines, [self.runs[some]])
        self.assertIn(b"0 requests, 0 B read, 0 B written; 1 of 1 frame from the cache", verbose.err)

    def test_frames_are_found_in_other_company(self):
        """Neighbours are read in one range; what is kept are the frames."""
        ids = list(self.runs)
        self.fill()
        traffic = self.traffic(*random.Random(1).sample(ids, 40), ids[0], ids[-1])
        self.assertEqual((traffic["requests"], traffic["cache_misses"]), (0, 0))
        self.assertEqual(self.cached("get", "--trace", "trace 7", "--json").err.count(b'"requests":0'), 1)

    def test_half_cached(self):
        ids = list(self.runs)
        self.cached("get", *ids[100:160])
        self.assert_same_lines(self.cached("get", "-", stdin="\n".join(ids).encode()).lines, list(self.runs.values()))

    def test_large_runs_are_kept_by_frame(self):
        big = json.dumps({"id": "big", "inputs": noise(1, 9_000_000), "metadata": {"a": 1}}, separators=(",", ":")).encode()
        self.ingest_bytes(big)
        self.assertEqual(self.cached("get", "big").lines, [big])
        whole = self.traffic("big")
        self.assertEqual((whole["requests"], whole["cache_misses"]), (0, 0))
        field = self.cached("get", "--json", "--field", "metadata", "big")
        self.assertEqual((field.lines, json.loads(field.err)["requests"]), ([b'{"a":1}'], 0))
        # Half of the frames are gone: the run is whole all the same.
        for path in self.entries()[::2]:
            path.unlink()
        self.assertEqual(self.cached("get", "big").lines, [big])
        self.assertEqual(self.traffic("big")["requests"], 0)

    def test_off_for_a_directory_unless_asked(self):
        some = list(self.runs)[0]
        self.runctl("get", some)
        self.assertEqual(list((self.home / "cache").iterdir()), [])
        for env in ({"RUNCTL_CACHE_DIR": str(self.cache)}, {"RUNCTL_CONFIG": str(self.config(cache_dir=str(self.cache)))}):
            self.runctl("get", some, env=env)
            self.assertEqual(len(self.entries()), 1, env)
            shutil.rmtree(self.cache)

    def config(self, **settings) -> pathlib.Path:
        return self.write("config.json", json.dumps(settings).encode())

    def test_no_cache_and_size_0_turn_it_off(self):
        self.fill()
        some, before = list(self.runs)[0], self.report("stats")
        for flags in (["--no-cache"], ["--cache-size", "0"]):
            self.assertEqual(self.traffic(some, *flags)["requests"], 1)
            self.cached("cache", "warm", some, *flags, status=USAGE)
        self.assertEqual(self.report("stats"), before)
        result = self.runctl("cache", "warm", some, status=USAGE)
        self.assert_message(result, "the cache is off", "--cache-dir")

    def test_stores_do_not_mix(self):
        other = self.dir / "other"
        shutil.copytree(self.store, other)
        some = list(self.runs)[0]
        self.cached("get", some)
        index = ("--index", self.dir / "other.sqlite")
        self.runctl("index", "rebuild", "-q", *index, store=other)
        traffic = json.loads(self.cached("get", "--json", some, *index, store=other).err)
        self.assertEqual((traffic["requests"], traffic["cache_hits"]), (1, 0))

    def test_broken_batch_is_not_kept(self):
        some = list(self.runs)[0]
        for path in self.objects():
            data = bytearray(path.read_bytes())
            data[100:110] = bytes(10)
            os.chmod(path, 0o600)
            path.write_bytes(data)
        self.cached("get", some, status=CORRUPT)
        self.assertEqual(self.entries(), [])

    def test_stats(self):
        nothing = self.report("stats")
        self.assertEqual((nothing["entries"], nothing["bytes"], nothing["hit_rate"], nothing["oldest"]), (0, 0, None, None))
        self.assertFalse(self.cache.exists())
        self.fill()
        before = self.report("stats")
        self.cached("get", *list(self.runs)[:1])
        stats = self.report("stats")
        self.assertEqual(stats["entries"], len(self.entries()))
        self.assertEqual(stats["bytes"], disk_bytes(self.cache))
        self.assertEqual((stats["limit"], stats["hits"], stats["misses"]), (1 << 30, before["hits"] + 1, before["misses"]))
        self.assertAlmostEqual(stats["hit_rate"], stats["hits"] / (stats["hits"] + stats["misses"]))
        oldest = self.entries()[3]
        self.age(oldest, 5 * 86400)
        self.assertIn(b"(5 days ago)", self.cached("cache", "stats").out)
        self.assertEqual([line.split()[0] for line in self.cached("cache", "stats").lines],
                         [b"cache", b"entries", b"bytes", b"hits", b"misses", b"hit", b"oldest"])

    def test_path(self):
        self.assertEqual(self.runctl("cache", "path").out, f"{self.home}/cache/runctl\n".encode())
        self.assertEqual(self.cached("cache", "path").out, f"{self.cache}\n".encode())
        self.assertEqual(self.report("path"), {"path": str(self.cache)})

    def test_clean(self):
        self.fill()
        for number, path in enumerate(self.entries()):
            self.age(path, 1000 + 100 * number)
        before = self.entries()
        quiet = self.cached("cache", "clean")
        self.assertEqual((quiet.out, quiet.err, self.entries()), (b"", b"", before))
        limit = disk_bytes(self.cache) // 2
        dry = self.cached("cache", "clean", "--max-size", limit, "--dry-run")
        self.assertIn(b"would be removed", dry.err)
        self.assertEqual(self.entries(), before)
        done = self.cached("cache", "clean", "--max-size", limit)
        self.assertRegex(done.err, rb"^runctl: \d+ entr(y|ies) removed, .* freed; .* left\n$")
        left = self.entries()
        self.assertTrue(left)
        self.assertEqual(left, before[:len(left)], "the least recently used went")
        self.assertLessEqual(disk_bytes(self.cache), limit)
        self.assertEqual(self.cached("cache", "clean", "--max-size", limit).err, b"")
        self.assertEqual(self.report("clean", "--older-than", "1250s")["entries"], 3)
        self.assertEqual(len(self.entries()), 3)
        self.assertEqual(self.report("clean", "--older-than", "10m", "--dry-run")["removed"], 3)
        self.assertEqual(self.report("clean", "--max-size", "0")["entries"], 0)
        self.assertEqual(self.cached("cache", "clean", "-q", "--max-size", "0").err, b"")
        self.fill()

    def test_clean_takes_what_killed_writers_left(self):
        self.fill()
        shard = self.entries()[0].parent
        old, young = shard / ".0123.89ab.tmp", shard / ".4567.cdef.tmp"
        for path in (old, young):
            path.write_bytes(bytes(10))
        self.age(old, 3700)
        self.cached("cache", "clean")
        self.assertEqual((old.exists(), young.exists()), (False, True))
        self.assertEqual(self.report("clear")["removed"] > 0, True)

    def test_what_was_not_used_for_the_maximum_age_is_not_there(self):
        some = list(self.runs)[0]
        self.cached("get", some)
        self.age(self.entries()[0], 3 * 3600)
        self.assertEqual(self.traffic(some, "--cache-max-age", "4h")["requests"], 0)  # and is used now
        self.age(self.entries()[0], 3 * 3600)
        self.assertEqual(self.traffic(some, "--cache-max-age", "2h")["requests"], 1)
        self.assertEqual(self.traffic(some, "--cache-max-age", "2h")["requests"], 0)

    def test_clear(self):
        self.cached("cache", "clear")
        self.assertFalse(self.cache.exists())
        self.fill()
        (self.cache / "mine").write_text("not the cache's")
        count = len(self.entries())
        self.assertEqual(self.report("clear")["removed"], count)
        self.assertEqual(self.entries(), [])
        stats = self.report("stats")
        self.assertEqual((stats["entries"], stats["hits"], stats["misses"]), (0, 0, 0))
        self.assertTrue((self.cache / "mine").exists())
        self.fill()

    def test_verify(self):
        self.assertEqual(self.report("verify"), {"checked": 0, "bad": 0})
        self.fill()
        entries = self.entries()
        self.assertEqual(self.report("verify"), {"checked": len(entries), "bad": 0})
        whole = entries[0].read_bytes()
        entries[0].write_bytes(whole[:-1])
        entries[1].write_bytes(bytes([entries[1].read_bytes()[0] ^ 1]) + entries[1].read_bytes()[1:])
        entries[2].write_bytes(entries[3].read_bytes())
        entries[4].unlink()
        entries[4].symlink_to(entries[3])
        result = self.cached("cache", "verify", status=CORRUPT)
        self.assertEqual(len(result.messages), 5, "four bad ones and the sum")
        for path in entries[0:3] + entries[4:5]:
            self.assert_message(result, path, "removed")
            self.assertFalse(path.is_symlink() or path.exists())
        self.assertEqual(self.report("verify"), {"checked": len(entries) - 4, "bad": 0})
        self.fill()

    def test_warm(self):
        ids = list(self.runs)
        report = self.report("warm", *ids[:3], "-", stdin=("\n".join(ids[3:50]) + "\n").encode())
        self.assertEqual((report["runs"], report["broken"], report["not_found"]), (50, 0, 0))
        self.assertEqual(report["fetched"], len(self.entries()))
        self.assertEqual(self.traffic(*ids[:50])["requests"], 0)
        again = self.report("warm", *ids[:50])
        self.assertEqual((again["fetched"], again["there"]), (0, report["fetched"]))
        self.assertEqual(self.report("warm", "--trace", "trace 5")["runs"], 10)
        self.assertEqual(json.loads(self.cached("get", "--json", "--trace", "trace 5").err)["requests"], 0)
        result = self.cached("cache", "warm", "nothing", ids[0], status=NOT_FOUND)
        self.assert_message(result, "nothing: not found")
        self.cached("cache", "warm", "--trace", "none", status=NOT_FOUND)
        self.cached("cache", "warm", status=USAGE)

    def test_warm_knows_what_others_have_stored(self):
        index = ("--index", self.dir / "fresh.sqlite")
        some = list(self.runs)[0]
        self.cached("cache", "warm", "--no-sync", some, *index, status=NOT_FOUND)
        self.assertEqual(self.report("warm", some, *index)["fetched"], 1)

    def test_wrong_values(self):
        for flags in (["--cache-size", "much"], ["--cache-size", "-1"], ["--cache-size", "1GX"], ["--cache-size", ""],
                      ["--cache-size", "99999999999T"], ["--cache-max-age", "7"], ["--cache-max-age", "2 weeks"]):
            result = self.cached("get", "x", *flags, status=USAGE)
            self.assert_message(result, flags[0])
        for flags in (["--max-size", "x"], ["--older-than", "x"]):
            self.assert_message(self.cached("cache", "clean", *flags, status=USAGE), flags[0])
        result = self.runctl("get", "x", env={"RUNCTL_CACHE_SIZE": "big"}, status=USAGE)
        self.assert_message(result, "RUNCTL_CACHE_SIZE")
        self.cached("cache", status=USAGE)
        for size in ("1000000", "500K", "1kb", "2 MiB", "3g", "1T"):
            self.cached("cache", "stats", "--cache-size", size)

    def test_without_a_home_there_is_no_cache(self):
        env = {"HOME": "", "XDG_CACHE_HOME": ""}
        flags = ("--index", self.dir / "index.sqlite", "--config", self.config())
        self.runctl("index", "rebuild", "-q", *flags)
        self.assertEqual(self.runctl("get", list(self.runs)[0], *flags, env=env).err, b"")
        self.runctl("cache", "path", *flags, env=env, status=USAGE)


class OnDisk(CacheTest):
    def test_permissions(self):
        for mask in (0o000, 0o022, 0o077):
            shutil.rmtree(self.cache, ignore_errors=True)
            old = os.umask(mask)
            try:
                self.cached("get", "-", stdin="\n".join(self.runs).encode(), env={"RUNCTL_CACHE_DIR": ""})
            finally:
                os.umask(old)
            modes = {}
            for path in [self.cache, *self.cache.rglob("*")]:
                kind = "directory" if path.is_dir() else "file"
                modes.setdefault(kind, set()).add(stat.S_IMODE(path.lstat().st_mode))
            self.assertEqual(modes, {"directory": {0o700}, "file": {0o600}})

    def test_disk_use_stays_under_the_limit(self):
        limit, entry = 350_000, 0
        ids, choose = list(self.runs), random.Random(4)
        for _ in range(120):
            some = choose.sample(ids, choose.choice((1, 1, 3, 20)))
            result = self.cached("get", *some, "--cache-size", limit)
            self.assert_same_lines(result.lines, [self.runs[i] for i in some])
            entry = max([entry, *(path.stat().st_blocks * 512 for path in self.entries())])
            self.assertLessEqual(disk_bytes(self.cache), limit + entry)
        stats = self.report("stats")
        self.assertGreater(stats["entries"], 1)
        self.assertEqual(stats["bytes"], disk_bytes(self.cache))
        print(f"limit {limit}, du {disk_bytes(self.cache)}, {stats['entries']} entries", end=" ", flush=True)

    def test_hostile_entries_are_misses(self):
        self.fill()
        outside = self.write("outside", b"untouched")
        whole = {path: path.read_bytes() for path in self.entries()}
        paths = list(whole)

        def truncate(path):
            path.write_bytes(whole[path][:len(whole[path]) // 3])

        def flip(path):
            data = bytearray(whole[path])
            data[len(data) // 2] ^= 0x10
            path.write_bytes(data)

        def foreign(path):
            path.write_bytes(whole[paths[(paths.index(path) + 1) % len(paths)]])

        def huge(path):
            path.write_bytes(whole[path][:16] + b"\xff" * 8 + whole[path][24:])

        def empty(path):
            path.write_bytes(b"")

        def link(path):
            path.unlink()
            path.symlink_to(outside)

        def good_link(path):
            copy = self.write(f"copies/{path.name}", whole[path])
            path.unlink()
            path.symlink_to(copy)

        def directory(path):
            path.unlink()
            path.mkdir()

        def pipe(path):
            path.unlink()
            os.mkfifo(path)

        for spoil in (truncate, flip, foreign, huge, empty, link, good_link, directory, pipe):
            with self.subTest(spoil.__name__):
                for path in paths:
                    spoil(path)
                result = self.cached("get", "--json", "-", stdin="\n".join(self.runs).encode())
                self.assert_same_lines(result.lines, list(self.runs.values()))
                traffic = json.loads(result.err)
                self.assertEqual(traffic["cache_misses"], len(paths))
                self.assertEqual({path: path.read_bytes() for path in paths}, whole)
                self.assertFalse(any(path.is_symlink() for path in paths))
        self.assertEqual(outside.read_bytes(), b"untouched")

    def test_readers_and_cleaners_at_once(self):
        """8 readers and 4 cleaners, and the limit keeps all of them busy."""
        ids, ends = list(self.runs), time.monotonic() + 6
        limit = 400_000

        def read(number: int) -> int:
            choose, count = random.Random(number), 0
            while time.monotonic() < ends:
                some = choose.sample(ids, choose.choice((1, 5, 60)))
                result = self.cached("get", *some, "--cache-size", limit)
                self.assert_same_lines(result.lines, [self.runs[i] for i in some])
                self.assertEqual(result.err, b"")
                count += 1
            return count

        def clean(number: int) -> int:
            count = 0
            commands = (("clean", "--max-size", "200000"), ("clean",), ("verify",), ("clear",))
            while time.monotonic() < ends:
                self.cached("cache", *commands[(number + count) % 4], "-q")
                count += 1
                time.sleep(0.01)
            return count

        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            readers = [pool.submit(read, n) for n in range(8)]
            cleaners = [pool.submit(clean, n) for n in range(4)]
            reads, cleans = sum(f.result() for f in readers), sum(f.result() for f in cleaners)
        print(f"{reads} reads, {cleans} cleanings", end=" ", flush=True)
        self.assertLessEqual(disk_bytes(self.cache), limit)
        self.assertEqual(self.report("verify")["bad"], 0)
        self.assertEqual(list(self.cache.rglob("*.tmp")), [])
        self.fill()
        self.assertEqual(self.report("stats")["bytes"], disk_bytes(self.cache))

    def test_hits_of_many_processes_are_counted(self):
        self.fill()
        self.cached("cache", "clear")
        some = list(self.runs)[:8]
        for i in some:
            self.cached("get", i)
        before = self.report("stats")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda i: [self.cached("get", i) for _ in range(10)], some))
        after = self.report("stats")
        self.assertEqual((after["hits"] - before["hits"], after["misses"] - before["misses"]), (80, 0))

    def test_killed_writers_leave_a_sound_cache(self):
        ids, choose = list(self.runs), random.Random(2)
        for _ in range(40):
            child = subprocess.Popen([harness.binary(), "--store", self.store, "--cache-dir", self.cache, "get", "-"],
                                     stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=self.environment)
            child.stdin.write("\n".join(choose.sample(ids, 300)).encode())
            child.stdin.close()
            time.sleep(choose.random() * 0.03)
            child.kill()
            child.wait()
        if self.cache.exists():
            self.assertEqual(self.report("verify")["bad"], 0)
        self.fill()
        for path in self.cache.rglob("*.tmp"):
            self.age(path, 4000)
        self.cached("cache", "clean")
        self.assertEqual(list(self.cache.rglob("*.tmp")), [])
        self.assertEqual(self.report("stats")["bytes"], disk_bytes(self.cache))

    def test_a_stopped_process_stops_no_other(self):
        """Whoever holds the lock and sleeps costs others a second, no more."""
        import fcntl
        self.cached("get", list(self.runs)[0])
        with open(self.cache / "v1" / "usage", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            began = time.monotonic()
            some = list(self.runs)[-1]
            self.assertEqual(self.cached("get", some).lines, [self.runs[some]])
            self.assertLess(time.monotonic() - began, 10)
        self.assertEqual(self.cached("get", some).lines, [self.runs[some]])


class FailingDisks(CacheTest):
    def mount(self, *options: str) -> pathlib.Path:
        place = self.dir / "mounted"
        place.mkdir(exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", place], capture_output=True)
        if done.returncode != 0:
            self.skipTest(f"NO MOUNT: {done.stderr.decode().strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", place], capture_output=True)
        return place

    def check_answers(self, notes: int) -> None:
        """Right answers and not a word; with -v one word at most."""
        for _ in range(2):
            result = self.cached("get", "-", stdin="\n".join(self.runs).encode())
            self.assertEqual(result.err, b"")
            self.assert_same_lines(result.lines, list(self.runs.values()))
        verbose = self.cached("get", "-v", "-", stdin="\n".join(self.runs).encode())
        self.assertEqual(verbose.err.count(b"nothing more is kept"), notes, verbose)

    def test_full_disk(self):
        self.cache = self.mount("size=300k", "mode=700") / "cache"
        self.check_answers(1)
        self.assertEqual(self.report("verify")["bad"], 0)
        self.assertEqual(list(self.cache.rglob("*.tmp")), [])
        kept = len(self.entries())
        self.assertGreater(kept, 0, "what fitted is there")
        result = self.cached("cache", "warm", "-", stdin="\n".join(self.runs).encode(), status=FAILED)
        self.assert_message(result, "No space left on device")
        self.cached("cache", "clear")

    def test_disk_without_room_for_anything(self):
        place = self.mount("size=64k", "mode=700")
        with open(place / "filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                pass
        self.cache = place / "cache"
        self.check_answers(1)

    def test_read_only_disk(self):
        place = self.mount("size=64m", "mode=700")
        self.cache = place / "cache"
        some = list(self.runs)[0]
        self.cached("get", some)
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        self.assertEqual(self.traffic(some)["requests"], 0, "what is there is used")
        self.check_answers(1)
        self.assertEqual(self.report("stats")["entries"], 1)
        self.assertEqual(self.report("verify"), {"checked": 1, "bad": 0})
        self.cached("cache", "clear", status=FAILED)
        self.cached("cache", "clean", "--max-size", "0", status=FAILED)

    def test_read_only_disk_without_a_cache(self):
        place = self.mount("size=64m", "ro")
        self.cache = place / "cache"
        self.check_answers(1)

    def test_cache_that_is_a_file(self):
        self.cache = self.write("cache", b"a file")
        self.check_answers(1)
        self.assert_message(self.cached("cache", "stats", status=FAILED), self.cache)

    def test_cache_that_others_may_write(self):
        self.fill()
        (self.cache / "v1").chmod(0o777)
        self.check_answers(1)
        self.assert_message(self.cached("cache", "clean", status=FAILED), "others may write")

    def test_cache_that_is_another_users(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to give a directory away")
        self.fill()
        os.chown(self.cache / "v1", 12345, 12345)
        self.check_answers(1)


if __name__ == "__main__":
    harness.main()
