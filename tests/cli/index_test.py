"""`runctl index`: the index only repeats what the footers say, and can be thrown away."""

import json
import os
import sqlite3

import harness
from harness import DONE, FAILED, NOT_FOUND, REJECTED, USAGE, joined, make_run, make_runs, noise, run_id


class IndexTest(harness.CliTest):
    def setUp(self) -> None:
        super().setUp()
        self.index = self.dir / "index.sqlite"
        self.environment["RUNCTL_INDEX"] = str(self.index)

    def forget(self) -> None:
        """Deletes the index with its write-ahead log."""
        for path in self.dir.glob("index.sqlite*"):
            path.unlink()

    def status(self) -> dict:
        result = self.runctl("index", "status", "--json")
        self.assertEqual(len(result.lines), 1)
        return json.loads(result.out)


class Damaged(IndexTest):
    def test_a_rebuild_mends_what_opening_does_not_show(self):
        self.ingest_bytes(joined(make_runs(3000).values()))
        whole = self.index.read_bytes()
        self.assertGreater(len(whole), 20 * 8192)
        for page in (2, 8, len(whole) // 8192 // 2, len(whole) // 8192 - 3):
            with self.subTest(page=page):
                self.forget()
                self.index.write_bytes(whole[:page * 8192] + bytes(12288) + whole[page * 8192 + 12288:])
                self.runctl("index", "rebuild")
                self.assertEqual(self.runctl("search", "--count").out, b"3000\n")

    def test_a_log_that_is_left_is_not_replayed_into_a_new_index(self):
        self.ingest_bytes(joined(make_runs(50).values()))
        with sqlite3.connect(self.index) as reader:
            reader.execute("SELECT count(*) FROM run").fetchone()  # keeps the log from being removed
            self.ingest_bytes(joined(make_runs(50, 50).values()))
            log = self.dir / "index.sqlite-wal"
            left = log.read_bytes()
            self.assertTrue(left)
        reader.close()
        self.forget()
        log.write_bytes(left)
        self.runctl("index", "rebuild")
        self.assertEqual(self.runctl("search", "--count").out, b"100\n")


class FirstSync(IndexTest):
    """A new index asks the store what it holds, whichever command has made it."""

    def test_an_index_of_some_days_learns_the_rest_before_it_stores(self):
        runs = joined(make_run(n, start_time="2024-05-05T00:00:00Z") for n in range(100))
        self.ingest_bytes(runs)
        self.forget()
        self.runctl("index", "sync", "--since", "1d")
        self.assertEqual(self.runctl("search", "--count", "--no-sync").out, b"0\n")
        self.runctl("ingest", "--batch-bytes", "2000", "-", stdin=runs)
        self.assertEqual(len(list((self.dir / "store").rglob("*.ndjson.zst"))), 1)

    def test_a_search_asks_again_a_store_that_did_not_answer(self):
        for _ in range(2):
            self.runctl("search", "--store", str(self.dir / "absent"), "--count", status=NOT_FOUND)

    def test_a_rebuild_is_one(self):
        self.ingest_bytes(joined(make_runs(3).values()))
        self.forget()
        self.runctl("index", "rebuild")
        with sqlite3.connect(self.index) as reader:
            self.assertEqual(reader.execute("SELECT value FROM setting WHERE name = 'first_sync'").fetchone(), ("done",))


class Status(IndexTest):
    def test_counts(self):
        self.ingest_bytes(joined(make_runs(30).values()))
        self.ingest_bytes(joined(make_runs(40).values()))
        status = self.status()
        self.assertLessEqual({"runs", "batches", "store", "index"}, set(status))
        self.assertEqual((status["runs"], status["batches"]), (40, len(self.objects())))
        self.assertIn(str(self.store), status["store"])
        self.assertIn(self.index.name, json.dumps(status["index"]))

    def test_empty_store(self):
        status = self.status()
        self.assertEqual((status["runs"], status["batches"]), (0, 0))

    def test_for_a_person(self):
        self.ingest_bytes(joined(make_runs(30).values()))
        self.assertIn(b"30", self.runctl("index", "status").out)


class Rebuild(IndexTest):
    def answers(self, ids) -> list[list[bytes]]:
        """What the store says to every question that `get` knows."""
        return [
            self.get_listed(ids),
            self.get_listed(ids, "--all-versions"),
            self.get_listed(ids, "--field", "inputs"),
            self.get("--trace", run_id(1)),
            self.get("--trace", run_id(2)),
        ]

    def test_same_answers_after_the_index_is_lost(self):
        """Versions in one batch and over several, traces, odd ids and derived ids: all come from footers alone."""
        runs = {run_id(n): make_run(n, trace_id=run_id(n % 3), outputs=noise(n, 3000)) for n in range(300)}
        runs["no uuid"] = b'{"id":"no uuid","inputs":null}'
        runs['es"caped'] = rb'{"id":"es\"caped","inputs":null}'
        self.ingest_bytes(joined(runs.values()), "--batch-bytes", "100000")
        self.ingest_bytes(joined(make_run(n, trace_id=run_id(n % 3), version=v) for v in (1, 2) for n in range(9)))
        self.ingest_bytes(joined(make_run(n, trace_id=run_id(n % 3), version=3) for n in range(3)))
        derived, = self.runctl("ingest", "--print-ids", "-", stdin=b'{"name":"no id","inputs":{}}').lines
        ids = [*runs, derived.decode()]
        before, status = self.answers(ids), {**self.status(), "synced": None}
        self.forget()
        self.runctl("index", "rebuild")
        self.assertEqual(self.answers(ids), before)
        self.assertEqual({**self.status(), "synced": None}, status)
        self.runctl("index", "rebuild")
        self.assertEqual(self.answers(ids), before, "rebuilt over a whole index")

    def test_footers_are_enough(self):
        """Frames whose payload is damaged do not matter to a rebuild: it reads footers alone."""
        self.ingest_bytes(joined(make_run(n, inputs=noise(n, 2000)) for n in range(100)))
        path = self.only_object()
        data = bytearray(path.read_bytes())
        data[200:260] = bytes(60)  # inside the first frame
        times = path.stat()
        path.write_bytes(data)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        self.forget()
        self.runctl("index", "rebuild")
        self.assertEqual(self.status()["runs"], 100)

    def test_latest_follows_the_modification_time_of_the_batch(self):
        """Which version is the latest does not depend on the index that was lost."""
        old, new = make_run(1, version=1), make_run(1, version=2)
        self.ingest_bytes(old)
        old_batch = self.only_object()
        self.ingest_bytes(new)
        new_batch, = set(self.objects()) - {old_batch}
        os.utime(old_batch, ns=(0, 2_000_000_000_000_000_000))
        os.utime(new_batch, ns=(0, 1_000_000_000_000_000_000))
        self.forget()
        self.runctl("index", "rebuild")
        self.assertEqual(self.get(run_id(1)), [old])

    def test_duplicates_are_known_after_a_rebuild(self):
        data = joined(make_runs(50).values())
        self.ingest_bytes(data)
        self.forget()
        self.runctl("index", "rebuild")
        self.assert_counts(self.ingest_bytes(data), stored=0, duplicate=50, batches=0)

    def test_lost_index_and_the_same_file_again(self):
        """Without a rebuild: whatever runctl knows then, no run is doubled and none is lost."""
        runs = make_runs(50)
        self.ingest_bytes(joined(runs.values()))
        keys = self.keys()
        self.forget()
        self.ingest_bytes(joined(runs.values()))
        self.assertEqual(self.keys(), keys)
        self.assert_comes_back(runs)

    def test_batches_of_another_machine(self):
        """Two machines write one store with an index each; a rebuild brings both together."""
        self.ingest_bytes(joined(make_runs(10).values()))
        self.environment["RUNCTL_INDEX"] = str(self.dir / "other.sqlite")
        self.ingest_bytes(joined(make_runs(10, 10).values()))
        self.runctl("index", "rebuild")
        self.assert_comes_back(make_runs(20))

    def test_copied_store(self):
        """A store is files: moved elsewhere and indexed anew it is the same."""
        runs = make_runs(20)
        self.ingest_bytes(joined(runs.values()))
        self.store = self.store.rename(self.dir / "moved")
        self.forget()
        self.runctl("index", "rebuild")
        self.assert_comes_back(runs)

    def test_empty_store(self):
        self.store.mkdir()
        self.runctl("index", "rebuild")
        self.assertEqual(self.status()["runs"], 0)

    def test_stranger_in_the_store(self):
        """Files that are no batches do not hinder a rebuild."""
        self.ingest_bytes(joined(make_runs(5).values()))
        self.write("store/runs/v1/README", b"hello")
        self.write("store/notes.txt", b"hello")
        self.forget()
        self.runctl("index", "rebuild")
        self.assert_comes_back(make_runs(5))


class Broken(IndexTest):
    def test_index_of_a_newer_version(self):
        """A later runctl wrote it: refused in plain words and left as it is."""
        self.ingest_bytes(joined(make_runs(5).values()))
        database = sqlite3.connect(self.index)
        database.execute("PRAGMA user_version = 9999")
        database.close()
        for command in (["get", run_id(1)], ["ingest", "-"], ["index", "status"]):
            with self.subTest(command=command[0]):
                result = self.run_plain("--store", self.store, *command, stdin=make_run(7))
                self.assertIn(result.status, (USAGE, FAILED), str(result))
                self.assertEqual(result.out, b"")
                self.assert_message(result, "index.sqlite")
        self.assertEqual(len(self.objects()), 1, "nothing was stored that could not be recorded")
        database = sqlite3.connect(self.index)
        self.assertEqual(database.execute("PRAGMA user_version").fetchone(), (9999,))
        database.close()

    def test_index_that_is_no_database(self):
        self.ingest_bytes(joined(make_runs(5).values()))
        self.forget()
        self.index.write_bytes(b"this is no database " * 1000)
        result = self.run_plain("--store", self.store, "get", run_id(1))
        self.assertGreater(result.status, NOT_FOUND, str(result))
        self.assert_message(result, "index.sqlite")

    def test_index_cut_short(self):
        """Never a wrong answer: the run, or an error that names the index."""
        self.ingest_bytes(joined(make_runs(500).values()))
        database = sqlite3.connect(self.index)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        whole = self.index.read_bytes()
        for share in (0.2, 0.5, 0.9):
            with self.subTest(share=share):
                self.forget()
                self.index.write_bytes(whole[:int(len(whole) * share)])
                result = self.run_plain("--store", self.store, "get", run_id(1))
                if result.status == DONE:
                    self.assertEqual(result.lines, [make_run(1)])
                else:
                    self.assert_message(result, "index.sqlite")

    def test_index_in_a_directory_that_cannot_be(self):
        blocker = self.write("file", b"")
        result = self.run_plain("--store", self.store, "--index", blocker / "index.sqlite", "ingest", "-",
                                stdin=make_run(1))
        self.assertIn(result.status, (USAGE, FAILED), str(result))
        self.assert_message(result, blocker)

    def test_rejects_do_not_reach_the_index(self):
        self.ingest_bytes(joined([make_run(1), b"{broken"]), status=REJECTED)
        self.assertEqual(self.status()["runs"], 1)


if __name__ == "__main__":
    harness.main()
