"""A reader of the index's segments, written from runctl-batch(5), INDEX, alone.

It shares no code with runctl. XXH3 is not in Python, so keys are not computed here: the rows that stand under one key
must be those of one term.
"""

import collections
import json
import random
import sqlite3

import harness

ID, TERM = 1, 3
MASK = (1 << 64) - 1


def unzigzag(number: int) -> int:
    return number // 2 if number % 2 == 0 else -(number + 1) // 2


def as_stored(number: int) -> int:
    """With the highest bit inverted, as SQLite's signed integer."""
    return number - (1 << 63)


def decoded(kind: int, block: bytes) -> list[tuple[int, int, int]]:
    numbers = []
    number = shift = 0
    for byte in block:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(number)
            number = shift = 0
    assert shift == 0, "a number is cut"
    size = 3 if kind == TERM else 2
    assert len(numbers) % size == 0, "an entry is cut"
    entries = []
    key = order = row = 0
    for at in range(0, len(numbers), size):
        key = (key + numbers[at]) & MASK
        if kind == TERM:
            order = (order + unzigzag(numbers[at + 1])) & MASK
        row += unzigzag(numbers[at + size - 1])
        entries.append((key, order, row))
    return entries


def mix(x: int) -> int:
    x = (x ^ (x >> 33)) * 0xFF51AFD7ED558CCD & MASK
    x = (x ^ (x >> 33)) * 0xC4CEB9FE1A85EC53 & MASK
    return x ^ (x >> 33)


def may_contain(bits: bytes, key: int) -> bool:
    hashed = mix(key)
    line = ((hashed >> 32) * (len(bits) // 64)) >> 32
    rest = mix(hashed)
    probes = [(rest >> (9 * k)) & 511 for k in range(6)]
    return all(bits[line * 64 + i // 8] >> (i & 7) & 1 for i in probes)


class IndexReader(harness.CliTest):
    def setUp(self) -> None:
        super().setUp()
        self.dice = random.Random("index")
        self.entries = {}  # metadata and tags by id, as the program was given them
        self.index = self.dir / "index.sqlite"

    def add(self, first: int, count: int) -> None:
        lines = []
        for number in range(first, first + count):
            fields = {}
            identity = harness.run_id(number)
            if self.dice.random() < 0.5:
                # A UUIDv7.
                identity = f"{1714557600000 + number:012x}"
                identity = f"{identity[:8]}-{identity[8:]}-7{number % 4096:03x}-8abc-{number:012x}"
            if self.dice.random() < 0.8:
                fields["start_time"] = self.dice.choice((1714557600, -5, 0)) + self.dice.randrange(1000)
            if self.dice.random() < 0.5:
                fields["trace_id"] = harness.run_id(number // 7)
            if self.dice.random() < 0.2:
                fields["error"] = "boom"
            if self.dice.random() < 0.7:
                fields["run_type"] = self.dice.choice(("llm", "tool"))
            tags = self.dice.choices(("red", "green", "blue"), k=self.dice.randrange(3))
            metadata = {key: self.dice.randrange(50) for key in self.dice.sample(("a", "b", "c"), self.dice.randrange(4))}
            name = self.dice.choice(("", "plan", f"rare {self.dice.randrange(90)}"))
            lines.append(json.dumps({"id": identity, "name": name, "tags": tags, "metadata": metadata, **fields}).encode())
            self.entries[identity.replace("-", "")] = (set(tags), {f"{key}={value}" for key, value in metadata.items()})
        self.ingest_bytes(harness.joined(lines), "--index", self.index)

    def check(self) -> None:
        database = sqlite3.connect(self.index)
        self.addCleanup(database.close)
        rows = {row: rest for row, *rest in database.execute(
            "SELECT run, hex(run.id), trace, name.value, text.value, start, error FROM run "
            "LEFT JOIN name USING(name) LEFT JOIN text ON text = run_type")}
        wanted = collections.defaultdict(set)
        for row, (identity, trace, name, run_type, start, error) in rows.items():
            wanted["all"].add(row)
            for letter, text in (("trace", trace), ("name", name), ("type", run_type), ("error", error or None)):
                if text is not None:
                    wanted[letter, text].add(row)
            tags, metadata = self.entries[identity.lower()]
            for text in [("tag", tag) for tag in tags] + [("metadata", entry) for entry in metadata]:
                wanted[text].add(row)
        found = collections.defaultdict(set)
        ids = {}
        for kind in (ID, TERM):
            next_row = 1
            for segment in self.segments(database, kind):
                self.assertEqual(segment["first_row"], next_row)
                next_row = segment["last_row"] + 1
                for key, order, row in self.read(database, segment):
                    self.assertTrue(segment["first_row"] <= row <= segment["last_row"])
                    start = rows[row][4]
                    if kind == ID:
                        self.assertEqual(order, 0)
                        self.assertNotIn(row, ids)
                        ids[row] = key
                    else:
                        self.assertEqual(order, 0 if start is None else start + (1 << 63))
                        found[key].add(row)
            self.assertEqual(next_row, len(rows) + 1)
        self.assertEqual(set(ids), set(rows))
        for row, key in ids.items():
            identity = rows[row][0].lower()
            if identity[12] == "7":
                self.assertEqual(f"{key >> 16:012x}", identity[:12])
        self.assertEqual(sorted(map(sorted, found.values())), sorted(map(sorted, wanted.values())))

    @staticmethod
    def segments(database, kind: int) -> list[dict]:
        select = database.execute("SELECT * FROM segment WHERE kind = ? ORDER BY first_row", (kind,))
        names = [column[0] for column in select.description]
        return [dict(zip(names, values)) for values in select]

    def read(self, database, segment: dict) -> list[tuple[int, int, int]]:
        entries: list[tuple[int, int, int]] = []
        places = []
        for block in range(segment["first_block"], segment["last_block"] + 1):
            rank, stored = database.execute("SELECT rank, entries FROM block WHERE block = ?", (block,)).fetchone()
            self.assertEqual(rank, len(entries))
            read = decoded(segment["kind"], stored)
            key, order, row = read[0]
            places.append((as_stored(key), as_stored(order), row, block))
            entries += read
        self.assertEqual(entries, sorted(set(entries)))
        self.assertEqual(len(entries), segment["entries"])
        self.assertEqual((segment["least"], segment["greatest"]), (as_stored(entries[0][0]), as_stored(entries[-1][0])))
        self.assertEqual(places, list(database.execute(
            "SELECT key, start, row, block FROM place WHERE segment = ? ORDER BY block", (segment["segment"],))))
        bits = segment["filter"]
        if segment["kind"] == TERM:
            self.assertEqual(bits, b"")
            return entries
        self.assertEqual(len(bits), (12 * len(entries) + 511) // 512 * 64)
        for key, _, _ in entries:
            self.assertTrue(may_contain(bits, key))
        strangers = sum(may_contain(bits, self.dice.getrandbits(64)) for _ in range(2000))
        self.assertLess(strangers, 100, "the filter tells of few ids that they are not there")
        return entries

    def test_one_segment(self):
        self.add(0, 3000)
        self.check()

    def test_merged_segments(self):
        first = 0
        for count in (1, 2, 3000, 40, 500, 1, 1, 7, 900, 12, 5, 5, 5, 5, 5, 5, 5, 30):
            self.add(first, count)
            first += count
        self.check()
        with sqlite3.connect(self.index) as database:
            levels = {level for level, in database.execute("SELECT level FROM segment")}
        database.close()
        self.assertEqual(levels, {0, 1})


if __name__ == "__main__":
    harness.main()
