"""`runctl verify`: whatever happens to a store or an index is noticed, and named with the runs that it concerns."""

import json
import pathlib
import random
import shutil
import sqlite3

import harness
from harness import CORRUPT, DONE, FAILED, LONG, NOT_FOUND, USAGE, joined, make_run, make_runs, noise, run_id


class VerifyTest(harness.CliTest):
    def setUp(self) -> None:
        super().setUp()
        self.index = self.dir / "index.sqlite"
        self.environment["RUNCTL_INDEX"] = str(self.index)

    def verify(self, *arguments, status: int = DONE) -> dict:
        """`verify --json`; checks that its report, its messages and its exit status say the same."""
        result = self.runctl("verify", "--json", *arguments, status=status)
        report = json.loads(result.out)
        faults = report["faults"]
        kinds = [fault["fault"] for fault in faults]
        self.assertEqual(report["orphans"], kinds.count("orphan"))
        self.assertEqual(report["adopted"], kinds.count("adopted"))
        self.assertEqual(report["corrupt"], len(set_of_corrupt(faults)))
        self.assertEqual(status, CORRUPT if report["corrupt"] else NOT_FOUND if report["orphans"] else DONE)
        self.assertEqual(len(result.messages), len(faults), str(result))
        for fault in faults:
            self.assert_message(result, fault["key"], fault["why"], *fault["ids"])
        return report

    def only_fault(self, *arguments, status: int = CORRUPT) -> dict:
        faults = self.verify(*arguments, status=status)["faults"]
        self.assertEqual(len(faults), 1, faults)
        return faults[0]

    def ingest_runs(self, runs: dict[str, bytes]) -> pathlib.Path:
        """Stores these runs; returns the file of the one batch that it made."""
        before = set(self.objects())
        self.ingest_bytes(joined(runs.values()))
        made = set(self.objects()) - before
        self.assertEqual(len(made), 1)
        return made.pop()

    def key_of(self, path: pathlib.Path) -> str:
        return path.relative_to(self.store).as_posix()


def set_of_corrupt(faults: list[dict]) -> list[dict]:
    return [fault for fault in faults if fault["fault"] not in ("orphan", "adopted", "foreign")]


class Whole(VerifyTest):
    def test_report(self):
        self.ingest_runs(make_runs(30))
        batch = self.ingest_runs(make_runs(12, 30))
        report = self.verify()
        self.assertEqual({key: report[key] for key in ("batches", "runs", "frames_read", "bytes_read", "faults")},
                         {"batches": 2, "runs": 42, "frames_read": 0, "bytes_read": 0, "faults": []})
        self.assertEqual(report["bytes"], sum(path.stat().st_size for path in self.objects()))
        read = self.verify("--read-data")
        self.assertEqual(read["frames_read"], read["frames"])
        self.assertEqual(read["bytes_read"], read["bytes"], "every byte of every object is read")
        self.assertIn(str(batch.parents[3]), read["store"])

    def test_for_a_person(self):
        self.ingest_runs(make_runs(30))
        result = self.runctl("verify", "--read-data")
        self.assertEqual(result.out, b"")
        self.assert_message(result, "verified 30 runs of 1 batch", "1 of 1 frame read", "no fault")
        self.assertEqual(self.runctl("verify", "-q").err, b"")

    def test_a_part(self):
        # Noise in frames of about 64 KiB: some 200 of them.
        self.ingest_bytes(joined(make_run(n, inputs=noise(n, 60_000)) for n in range(400)))
        for arguments in (["--read-data=10%"], ["--read-data", "10%"]):
            report = self.verify(*arguments)
            self.assertGreater(report["frames"], 100)
            self.assertGreater(report["frames_read"], 0)
            self.assertLess(report["frames_read"], report["frames"] * 0.35)
        self.assertEqual(self.verify("--read-data=100%")["bytes_read"], report["bytes"])

    def test_a_part_that_is_none(self):
        for text in ("0%", "-1%", "101%", "10", "ten", "nan%", "inf%", "1%%"):
            self.assert_message(self.runctl("verify", f"--read-data={text}", status=USAGE), "--read-data", text)

    def test_runs_over_several_frames(self):
        runs = {run_id(1): make_run(1), run_id(2): make_run(2, outputs=noise(2, 3_000_000), metadata={"k": noise(3, 200_000)}),
                run_id(3): make_run(3)}
        self.ingest_bytes(joined(runs.values()))
        self.assertGreater(self.verify("--read-data")["frames"], 3)
        for _ in range(10):
            self.verify("--read-data=50%")

    def test_old_versions_and_copies(self):
        self.ingest_runs({run_id(1): make_run(1, status="old"), run_id(2): make_run(2)})
        self.ingest_runs({run_id(1): make_run(1, status="new"), run_id(3): make_run(3)})
        other = self.dir / "other.sqlite"
        self.ingest_bytes(joined([make_run(2), make_run(4)]), "--index", other, "--no-sync")
        self.runctl("index", "sync")
        self.verify("--read-data")
        self.runctl("index", "rebuild")
        self.verify("--read-data")

    def test_without_an_index(self):
        self.ingest_runs(make_runs(30))
        self.index.unlink()
        result = self.runctl("verify", "--json")
        self.assertIsNone(json.loads(result.out)["index"])
        self.assert_message(result, "there is no index yet")
        self.assertFalse(self.index.exists())

    def test_there_is_no_store(self):
        self.assert_message(self.runctl("verify", status=FAILED), "no such store directory")

    def test_real_sets(self):
        for name in ("agent/intercode.ndjson.zst", "chat/zeroeval-crux.ndjson.zst"):
            self.ingest(self.real_data(name))
        self.assertGreater(self.verify("--read-data")["runs"], 1000)


class Store(VerifyTest):
    def test_missing_batch(self):
        lost = make_runs(30)
        self.ingest_runs(make_runs(5, 30))
        batch = self.ingest_runs(lost)
        batch.unlink()
        fault = self.only_fault()
        self.assertEqual((fault["fault"], fault["key"], fault["runs"]), ("missing", self.key_of(batch), 30))
        self.assertEqual(len(fault["ids"]), 3)
        self.assertLessEqual(set(fault["ids"]), set(lost))

    def test_all_batches_missing(self):
        for n in range(5):
            self.ingest_runs(make_runs(3, 3 * n)).unlink()
        self.assertEqual(self.verify(status=CORRUPT)["corrupt"], 5)

    def test_orphan(self):
        self.ingest_runs(make_runs(5))
        runs = make_runs(30, 5)
        self.ingest_bytes(joined(runs.values()), "--index", self.dir / "other.sqlite")
        fault = self.only_fault("--read-data", status=NOT_FOUND)
        self.assertEqual((fault["fault"], fault["runs"], fault["ids"]), ("orphan", 30, list(runs)[:3]))
        self.assertEqual(self.get_listed(runs, "--no-sync", status=NOT_FOUND), [])
        adopted = self.only_fault("--repair", status=DONE)
        self.assertEqual((adopted["fault"], adopted["key"]), ("adopted", fault["key"]))
        self.assertEqual(self.get_listed(runs, "--no-sync"), list(runs.values()))
        self.verify("--read-data")

    def test_repair_makes_an_index(self):
        runs = make_runs(30)
        self.ingest_runs(runs)
        self.index.unlink()
        self.assertEqual(self.verify("--repair")["adopted"], 1)
        self.assertEqual(self.get_listed(runs, "--no-sync"), list(runs.values()))

    def test_repair_leaves_the_store_alone(self):
        self.ingest_runs(make_runs(5))
        batch = self.ingest_runs(make_runs(30, 5))
        batch.write_bytes(batch.read_bytes()[:-1])
        self.write("store/runs/v1/mixed/notes.txt", b"mine")
        self.index.unlink()
        before = {path: path.read_bytes() for path in self.store.rglob("*") if path.is_file()}
        faults = self.verify("--repair", "--read-data", status=CORRUPT)["faults"]
        self.assertEqual(sorted(fault["fault"] for fault in faults), ["adopted", "broken", "foreign"])
        self.assertEqual({path: path.read_bytes() for path in self.store.rglob("*") if path.is_file()}, before)

    def test_swapped_content(self):
        one = self.ingest_runs(make_runs(30))
        other = self.ingest_runs(make_runs(30, 30))
        first, second = one.read_bytes(), other.read_bytes()
        one.write_bytes(second)
        other.write_bytes(first)
        for arguments in ([], ["--read-data"]):
            faults = self.verify(*arguments, status=CORRUPT)["faults"]
            self.assertEqual({fault["key"] for fault in faults}, {self.key_of(one), self.key_of(other)})
        self.assertEqual(len([fault for fault in faults if "name was made from" in fault["why"]]), 2)
        self.get_listed(make_runs(60), status=CORRUPT)

    def test_a_batch_under_another_name(self):
        batch = self.ingest_runs(make_runs(30))
        batch.rename(batch.with_name("0" * 64 + ".ndjson.zst"))
        self.index.unlink()
        self.verify("--repair")  # the footer is whole; only its name is not
        fault = self.only_fault("--read-data")
        self.assertEqual((fault["fault"], fault["runs"]), ("broken", 30))

    def test_a_batch_under_another_day(self):
        self.ingest_bytes(make_run(1, start_time="2024-05-01T10:00:00Z"))
        batch = self.only_object()
        day = batch.parents[1] / "2024-05-02"
        day.mkdir()
        batch.rename(day / batch.name)
        shutil.rmtree(batch.parent)
        self.index.unlink()
        faults = self.verify("--repair", status=CORRUPT)["faults"]
        self.assertEqual([fault["fault"] for fault in faults], ["broken", "adopted"])
        self.assertIn("2024-05-01", faults[0]["why"])

    def test_foreign_objects(self):
        self.ingest_runs(make_runs(30))
        names = ["runs/v1/notes.txt", "runs/v1/mixed/copy of a batch.zst", "runs/v1/2024-13-01/" + "0" * 64 + ".ndjson.zst"]
        for name in names:
            self.write(f"store/{name}", b"mine")
        self.write("store/elsewhere.txt", b"mine")
        faults = self.verify("--read-data")["faults"]
        self.assertEqual({fault["fault"] for fault in faults}, {"foreign"})
        self.assertEqual({fault["key"] for fault in faults}, set(names))

    def test_size(self):
        batch = self.ingest_runs(make_runs(30))
        # Before the frames a skippable one: a whole batch still, but not the one that was stored.
        data = batch.read_bytes()
        batch.write_bytes(data + b"\0")
        fault = self.only_fault()
        self.assertEqual((fault["fault"], fault["runs"]), ("broken", 30))


class Index(VerifyTest):
    def change(self, *statements: str) -> None:
        with sqlite3.connect(self.index) as database:
            for statement in statements:
                database.execute(statement)
        database.close()

    def test_runs_that_the_index_lost(self):
        runs = make_runs(30)
        batch = self.ingest_runs(runs)
        self.change("DELETE FROM run WHERE run IN (4, 9)")
        fault = self.only_fault()
        self.assertEqual((fault["fault"], fault["key"], fault["runs"]), ("index", self.key_of(batch), 2))
        self.assertEqual(fault["ids"], [list(runs)[3], list(runs)[8]])
        self.runctl("index", "rebuild")
        self.verify()

    def test_a_batch_that_the_index_lost(self):
        # The first of two, so that its number is not given again.
        runs = make_runs(30)
        self.ingest_runs(runs)
        self.ingest_runs(make_runs(5, 30))
        self.change("DELETE FROM batch WHERE batch = 1")
        faults = self.verify(status=CORRUPT)["faults"]
        self.assertEqual([(fault["fault"], fault["runs"]) for fault in faults], [("index", 30), ("orphan", 30)])
        self.verify("--repair", status=CORRUPT)  # it knows the runs, under a batch that it does not know
        self.runctl("index", "rebuild")
        self.verify()
        self.assert_comes_back(runs)

    def test_runs_at_other_places(self):
        self.ingest_runs(make_runs(30))
        self.change("UPDATE run SET raw_offset = raw_offset + 1 WHERE run = 7")
        faults = self.verify(status=CORRUPT)["faults"]
        self.assertEqual([(fault["fault"], fault["runs"]) for fault in faults], [("index", 1), ("index", 1)])

    def test_frames_at_other_places(self):
        self.ingest_runs(make_runs(30))
        self.change("UPDATE frame SET offset = offset + 1")
        self.assertEqual(self.only_fault()["runs"], 30)

    def test_runs_that_were_never_there(self):
        self.ingest_runs(make_runs(30))
        self.change("INSERT INTO run(run, id, fingerprint, batch, raw_offset, length, error) "
                    "VALUES(31, x'00', 1, 1, 0, 5, 0)")
        self.assertEqual(self.only_fault()["runs"], 1)

    def test_another_size(self):
        batch = self.ingest_runs(make_runs(30))
        self.change("UPDATE batch SET size = size + 1")
        fault = self.only_fault()
        self.assertEqual((fault["fault"], fault["key"], fault["runs"]), ("size", self.key_of(batch), 30))

    def test_an_index_that_is_no_index(self):
        self.ingest_runs(make_runs(30))
        self.write("index.sqlite", b"SQLite format 3\0" + b"x" * 5000)
        for path in self.dir.glob("index.sqlite-*"):
            path.unlink()
        self.runctl("verify", status=CORRUPT)


class Damage(VerifyTest):
    """One byte of a batch changed, or its end cut off: always noticed, and never a wrong byte printed."""

    flips = 2000 if LONG else 150
    cuts = 200 if LONG else 20

    def setUp(self) -> None:
        super().setUp()
        self.runs = {run_id(n): make_run(n, outputs=noise(n, 1500), metadata={"team": f"t{n % 5}"}) for n in range(300)}
        self.runs[run_id(500)] = make_run(500, outputs=noise(500, 1_200_000), inputs=noise(501, 300_000))  # over several frames
        self.batch = self.ingest_runs(self.runs)
        self.whole = self.batch.read_bytes()
        self.verify("--read-data")
        with sqlite3.connect(self.index) as database:
            self.frames = database.execute("SELECT offset, stored FROM frame ORDER BY offset").fetchall()
        database.close()
        self.assertGreater(len(self.frames), 3)

    def check(self, data: bytes, touched: bool, what: str, free: bool = False) -> None:
        """`touched`: whether a get of all runs reads what is damaged; `free`: whether that may say nothing."""
        self.batch.write_bytes(data)
        with self.subTest(what):
            faults = self.verify("--read-data", status=CORRUPT)["faults"]
            self.assertIn(self.key_of(self.batch), [fault["key"] for fault in faults])
            self.assertGreater(faults[0]["runs"], 0)
            result = self.runctl("get", "-", stdin="\n".join(self.runs).encode(),
                                 status=None if free else CORRUPT if touched else DONE)
            lines = iter(self.runs.values())
            for line in result.lines[:-1]:
                self.assertTrue(any(line == other for other in lines), "a line that was not stored, or not in order")
            if result.lines:
                # The last may have been broken off: what there is of it must be right.
                last = result.lines[-1]
                self.assertTrue(any(other.startswith(last) for other in lines), "the last line is wrong")
            if result.status == DONE:
                self.assert_same_lines(result.lines, list(self.runs.values()))

    def test_flips(self):
        chosen = random.Random(5)
        end_of_frames = sum(self.frames[-1])
        starts = {offset for offset, _ in self.frames}
        positions = set(range(12)) | set(range(len(self.whole) - 40, len(self.whole)))
        positions |= {offset + n for offset, stored in self.frames for n in (0, 4, stored - 1)}
        positions |= {chosen.randrange(end_of_frames, len(self.whole)) for _ in range(self.flips // 5)}
        while len(positions) < self.flips:
            positions.add(chosen.randrange(len(self.whole)))
        for position in sorted(positions):
            data = bytearray(self.whole)
            data[position] ^= 1 << chosen.randrange(8)
            # Decoders pay no heed to one bit of a frame's fifth byte (RFC 8878, 3.1.1.1.1.4, unused bit).
            self.check(bytes(data), position < end_of_frames, f"byte {position} of {len(data)}",
                       free=data[position] ^ self.whole[position] == 16 and position - 4 in starts)

    def test_cuts(self):
        chosen = random.Random(6)
        end_of_frames = sum(self.frames[-1])
        lengths = {0, 1, len(self.whole) - 1, end_of_frames, end_of_frames - 1}
        while len(lengths) < self.cuts:
            lengths.add(chosen.randrange(len(self.whole)))
        for length in sorted(lengths):
            self.check(self.whole[:length], length < end_of_frames, f"cut to {length} of {len(self.whole)}")


if __name__ == "__main__":
    harness.main()
