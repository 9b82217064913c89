"""A second reader of batches, written from runctl-batch(5) alone: what it finds must be what went in.

It shares no code with runctl. XXH3 is not in Python, so the footer's checksum, fingerprints and ids that are no
UUID are not computed here; the runs themselves are compared byte for byte.
"""

import dataclasses
import datetime
import hashlib
import json
import pathlib
import re
import struct
import subprocess

import harness

TAIL = 128 << 10
KEY = re.compile(r"runs/v1/([^/]*)/([0-9a-f]{64})\.ndjson\.zst")


@dataclasses.dataclass
class Frame:
    offset: int
    stored: int
    raw_offset: int
    raw: int


@dataclasses.dataclass
class Run:
    id: bytes
    fingerprint: int
    raw_offset: int
    length: int
    trace: bytes
    parent: bytes | None
    name: str
    run_type: str
    status: str
    start: int | None
    end: int | None
    error: bool
    tags: list[str]
    metadata: list[str]  # KEY=VALUE
    fields: list[tuple[str, int, int]]  # key, offset, length


class Numbers:
    """Takes little-endian numbers off the front of bytes."""

    def __init__(self, data: bytes):
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise ValueError("cut")
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def rest(self) -> bytes:
        return self.data[self.at:]


def expect(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def unzigzag(number: int) -> int:
    return number // 2 if number % 2 == 0 else -(number + 1) // 2


def signed(number: int) -> int:
    number %= 1 << 64
    return number - (1 << 64) if number >> 63 else number


class Batch:
    """One batch, read with at most two reads before any frame."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.reads = 0
        self.size = path.stat().st_size
        tail_size = min(self.size, TAIL)
        tail = self.read(self.size - tail_size, tail_size)
        footer_offset, footer_size = self.read_seek_table(tail)
        tail_offset = self.size - tail_size
        if footer_offset >= tail_offset:
            begin = footer_offset - tail_offset
            footer = tail[begin:begin + footer_size]
        else:
            missing = min(tail_offset - footer_offset, footer_size)
            footer = self.read(footer_offset, missing) + tail[:footer_size - missing]
        self.runs = self.read_footer(footer)

    def read(self, offset: int, size: int) -> bytes:
        self.reads += 1
        with open(self.path, "rb") as file:
            file.seek(offset)
            return file.read(size)

    def read_seek_table(self, tail: bytes) -> tuple[int, int]:
        entries, descriptor, magic = struct.unpack("<IBI", tail[-9:])
        expect(magic == 0x8F92EAB1 and descriptor == 0 and 1 <= entries <= 8193, "no seek table")
        table_size = 17 + 8 * entries
        table = Numbers(tail[-table_size:])
        expect(table.number(4) == 0x184D2A5E and table.number(4) == 8 * entries + 9, "the seek table's head")
        self.frames: list[Frame] = []
        offset = raw_offset = 0
        for _ in range(entries - 1):
            frame = Frame(offset, table.number(4), raw_offset, table.number(4))
            self.frames.append(frame)
            offset += frame.stored
            raw_offset += frame.raw
        footer_size = table.number(4)
        expect(table.number(4) == 0, "the footer's entry")
        expect(offset + footer_size + table_size == self.size, "the sizes do not add up")
        return offset, footer_size

    def read_footer(self, footer: bytes) -> list[Run]:
        head = Numbers(footer)
        expect(head.number(4) == 0x184D2A5B and head.number(4) == len(footer) - 8, "the footer's head")
        expect(head.take(8) == b"RUNCTLB1", "the version")
        runs, frames, texts, traces, tags, fields, columns = (head.number(4) for _ in range(7))
        expect(runs <= 1 << 20 and frames <= 1 << 15 and traces <= 2 * runs, "the counts")
        self.columns: dict[int, bytes] = {}
        for _ in range(columns):
            tag, size = head.number(4), head.number(4)
            self.columns[tag] = head.take(size)
        expect(len(head.rest()) == 8, "the checksum's place")

        self.texts = self.read_texts(texts)
        ids = self.ids(1, 2, runs)
        foreign = self.ids(6, 7, traces)
        references = self.numbers(5, runs)
        fingerprints, lengths = self.numbers(3, runs), self.numbers(4, runs)
        names, types, statuses = (self.numbers(tag, runs) for tag in (10, 11, 12))
        starts, ends, flags = (self.numbers(tag, runs) for tag in (13, 14, 15))
        tag_counts, tag_texts = self.numbers(16, runs), self.numbers(17, tags)
        split = list(zip(*(self.numbers(tag, fields) for tag in (18, 19, 20, 21))))
        expect(self.numbers(22, frames) == [frame.stored for frame in self.frames], "frame sizes")
        expect(self.numbers(23, frames) == [frame.raw for frame in self.frames], "frame sizes")
        expect(sum(tag_counts) == tags, "the tag counts")
        parents = self.numbers(24, runs) if 24 in self.columns else [0] * runs
        entry_counts = self.numbers(25, runs) if 25 in self.columns else [0] * runs
        entry_texts = self.numbers(26, sum(entry_counts)) if 26 in self.columns else []

        found = []
        raw_offset = last_start = next_tag = next_entry = 0
        for i in range(runs):
            start = end = None
            if flags[i] & 1:
                start = last_start = signed(last_start + unzigzag(starts[i]))
            if flags[i] & 2:
                end = signed(last_start + unzigzag(ends[i]))
            own_tags = tag_texts[next_tag:next_tag + tag_counts[i]]
            next_tag += tag_counts[i]
            own_entries = entry_texts[next_entry:next_entry + entry_counts[i]]
            next_entry += entry_counts[i]
            trace = self.trace(i, references[i], ids, foreign)
            parent = (None if parents[i] == 0 else trace if parents[i] == 1
                      else self.trace(i, parents[i] - 1, ids, foreign))
            found.append(Run(
                ids[i], fingerprints[i], raw_offset, lengths[i], trace, parent,
                self.texts[names[i]], self.texts[types[i]], self.texts[statuses[i]], start, end, bool(flags[i] & 4),
                [self.texts[number] for number in own_tags], [self.texts[number] for number in own_entries],
                [(self.texts[name], offset, length) for run, name, offset, length in split if run == i]))
            raw_offset += lengths[i] + 1
        expect(raw_offset == sum(frame.raw for frame in self.frames), "the runs do not fill the frames")
        return found

    @staticmethod
    def trace(i: int, reference: int, ids: list[bytes], foreign: list[bytes]) -> bytes:
        if reference == 0:
            return ids[i]
        if reference % 2 == 1:
            return foreign[(reference - 1) // 2]
        position = i + unzigzag(reference // 2)
        expect(0 <= position < len(ids), "a trace is out of range")
        return ids[position]

    def read_texts(self, count: int) -> list[str]:
        column = Numbers(self.columns[9])
        size, coding = column.number(8), column.number(1)
        data = Numbers(self.uncoded(coding, column.rest(), size))
        texts = [data.take(length).decode("utf-8", "surrogatepass") for length in self.numbers(8, count)]
        expect(not data.rest() and len(set(texts)) == count and "" not in texts, "the texts")
        return ["", *texts]

    def ids(self, high: int, low: int, count: int) -> list[bytes]:
        return [struct.pack(">QQ", *halves) for halves in zip(self.numbers(high, count), self.numbers(low, count))]

    def numbers(self, tag: int, count: int) -> list[int]:
        column = Numbers(self.columns[tag])
        divisor, width, coding = column.number(8), column.number(1), column.number(1)
        expect(divisor > 0 and width <= 8, "a column's head")
        planes = self.uncoded(coding, column.rest(), width * count)
        return [divisor * sum(planes[k * count + i] << (8 * k) for k in range(width)) % (1 << 64)
                for i in range(count)]

    @staticmethod
    def uncoded(coding: int, stored: bytes, size: int) -> bytes:
        expect(coding in (0, 1), "a column's coding")
        data = harness.unzstd(stored) if coding == 1 else stored
        expect(len(data) == size, "a column's size")
        return data

    def bytes_at(self, raw_offset: int, length: int) -> bytes:
        """Bytes of the NDJSON, from the frames that hold them alone."""
        found = b""
        for frame in self.frames:
            begin, end = max(raw_offset, frame.raw_offset), min(raw_offset + length, frame.raw_offset + frame.raw)
            if begin < end:
                raw = harness.unzstd(self.read(frame.offset, frame.stored))
                expect(len(raw) == frame.raw, "a frame's size")
                found += raw[begin - frame.raw_offset:end - frame.raw_offset]
        return found


def uuid_bytes(text: str) -> bytes | None:
    if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        return None
    return bytes.fromhex(text.replace("-", ""))


def microseconds(value) -> int | None:
    if value is None:
        return None
    if isinstance(value, int):
        return value * 10**6 if value < 10**11 else value * 1000 if value < 10**14 else value
    time = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    if time.tzinfo is None:
        time = time.replace(tzinfo=datetime.timezone.utc)
    return (time - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(microseconds=1)


class BatchReader(harness.CliTest):
    def read_store(self) -> list[Batch]:
        batches = []
        for path in self.objects():
            key = KEY.fullmatch(path.relative_to(self.store).as_posix())
            self.assertTrue(key, path)
            self.assertEqual(hashlib.sha256(path.read_bytes()).hexdigest(), key[2])
            batch = Batch(path)
            self.assertLessEqual(batch.reads, 2)
            days = {self.day_of(run) for run in batch.runs}
            self.assertEqual(key[1], days.pop() if len(days) == 1 and None not in days else "mixed")
            batches.append(batch)
        return batches

    @staticmethod
    def day_of(run: Run) -> str | None:
        if run.start is None:
            return None
        epoch = datetime.datetime(1970, 1, 1)
        return (epoch + datetime.timedelta(microseconds=run.start)).strftime("%Y-%m-%d")

    def assert_run(self, batch: Batch, run: Run, line: bytes) -> None:
        record = json.loads(line)
        known = uuid_bytes(record["id"])
        if known is not None:
            self.assertEqual(run.id, known)
        trace = record.get("trace_id") or record["id"]
        if uuid_bytes(trace) is not None:
            self.assertEqual(run.trace, uuid_bytes(trace))
        self.assertEqual(run.trace == run.id, trace == record["id"])
        self.assertEqual(run.length, len(line))
        for field in ("name", "run_type", "status"):
            self.assertEqual(getattr(run, field), record.get(field) or "")
        self.assertEqual(run.start, microseconds(record.get("start_time")))
        self.assertEqual(run.end, microseconds(record.get("end_time")))
        self.assertEqual(run.error, record.get("error") is not None)
        self.assertEqual(run.tags, (record.get("tags") or [])[:256])
        parent = record.get("parent_run_id") or record["id"]
        if uuid_bytes(parent) is not None:
            self.assertEqual(run.parent, None if parent == record["id"] else uuid_bytes(parent))
        self.assertEqual(run.parent is None, parent == record["id"])
        for key, value in (record.get("metadata") or {}).items():
            if isinstance(value, str) and len(value) < 100 and len(record["metadata"]) <= 32:
                self.assertIn(f"{key}={value}", run.metadata)
        for key, offset, length in run.fields:
            self.assertEqual(json.loads(line[offset:offset + length]), record[key])

    def assert_store_holds(self, lines: list[bytes]) -> list[Batch]:
        """The store's runs, of all batches, are these lines."""
        wanted = {line: json.loads(line) for line in lines}
        batches = self.read_store()
        for batch in batches:
            text = harness.unzstd(batch.path)
            for run in batch.runs:
                line = text[run.raw_offset:run.raw_offset + run.length]
                self.assertEqual(text[run.raw_offset + run.length:run.raw_offset + run.length + 1], b"\n")
                self.assertIn(line, wanted)
                del wanted[line]
                self.assert_run(batch, run, line)
            # One run in many through its frames alone.
            for run in batch.runs[::max(1, len(batch.runs) // 7)]:
                self.assertEqual(batch.bytes_at(run.raw_offset, run.length),
                                 text[run.raw_offset:run.raw_offset + run.length])
        self.assertEqual(wanted, {}, "runs that are in no batch")
        return batches

    def test_one_run(self):
        line = b'{"id":"x"}'
        self.ingest_bytes(line + b"\n")
        batch, = self.assert_store_holds([line])
        self.assertEqual(batch.reads, 2)  # the tail, and the frame

    def test_every_known_field(self):
        ids = [harness.run_id(number) for number in range(4)]
        lines = [json.dumps(record, ensure_ascii=False).encode() for record in (
            {"id": ids[0], "name": "plan", "run_type": "chain", "status": "ok",
             "start_time": "2024-05-01T10:00:00.123456Z", "end_time": "2024-05-01T12:00:01+02:00", "tags": ["a", "b"]},
            {"id": ids[1], "trace_id": ids[0], "name": "plan", "error": "timeout", "end_time": 1714557600},
            {"id": ids[2], "trace_id": harness.run_id(99), "start_time": 1714557599_000, "tags": ["b", "", "ü"]},
            {"id": "no uuid", "trace_id": ids[3], "error": {"code": 7}, "start_time": "1969-12-31 23:59:59"},
            {"id": ids[3], "trace_id": "elsewhere", "name": "früh", "error": None, "tags": None},
            {"id": "another", "trace_id": "elsewhere"},
            {"id": "third", "trace_id": "no uuid", "tags": [str(n) for n in range(300)]},
            {"id": "in trace", "trace_id": ids[0], "parent_run_id": ids[0], "metadata": {"k": "v", "o": {"p": 1.5}}},
            {"id": "below", "trace_id": ids[0], "parent_run_id": "in trace", "metadata": {"k": "v"}},
            {"id": "adopted", "parent_run_id": harness.run_id(98), "metadata": {}},
            {"id": "its own", "parent_run_id": "its own"},
            {"id": "later", "parent_run_id": "last"}, {"id": "last", "trace_id": "gone", "parent_run_id": "gone"},
        )]
        self.ingest_bytes(harness.joined(lines))
        batch, = self.assert_store_holds(lines)
        by_position = batch.runs
        self.assertEqual(by_position[4].trace, by_position[5].trace)
        self.assertEqual(by_position[6].trace, by_position[3].id)
        self.assertEqual(by_position[3].start, -1_000_000)
        self.assertEqual([run.metadata for run in by_position[6:10]], [[], ["k=v", "o.p=1.5"], ["k=v"], []])
        self.assertEqual(by_position[8].parent, by_position[7].id)
        self.assertEqual(by_position[11].parent, by_position[12].id)
        self.assertEqual(by_position[12].parent, by_position[12].trace)

    def test_many_runs_of_several_days_and_batches(self):
        lines = [harness.make_run(number, trace_id=harness.run_id(number - number % 5), tags=[f"t{number % 3}"],
                                  start_time=1714500000 + number * 60, end_time=1714500001 + number * 61,
                                  outputs={"text": harness.noise(number, 100 + number % 400)})
                 for number in range(6000)]
        self.ingest_bytes(harness.joined(lines), "--batch-bytes", "1MiB")
        batches = self.assert_store_holds(lines)
        self.assertGreater(len(batches), 4)
        self.assertTrue(any(len(batch.frames) > 1 for batch in batches))

    def test_footer_longer_than_the_first_read(self):
        lines = [harness.make_run(number) for number in range(20000)]
        self.ingest_bytes(harness.joined(lines))
        batch, = self.read_store()
        self.assertEqual(batch.reads, 2)
        self.assertEqual([run.length for run in batch.runs], [len(line) for line in lines])

    def test_run_over_several_frames(self):
        line = harness.make_run(1, inputs={"text": harness.noise(1, 3 << 20)}, metadata={"k": 1},
                                outputs=harness.noise(2, 100_000))
        small = harness.make_run(2)
        self.ingest_bytes(harness.joined([line, small]))
        batch, = self.assert_store_holds([line, small])
        keys = {key for key, _, _ in batch.runs[0].fields}
        self.assertEqual(keys, set(json.loads(line)))
        self.assertEqual(batch.runs[1].fields, [])
        # A field by itself takes its own frames only.
        run = batch.runs[0]
        key, offset, length = next(field for field in run.fields if field[0] == "outputs")
        before = batch.reads
        self.assertEqual(batch.bytes_at(run.raw_offset + offset, length), line[offset:offset + length])
        self.assertEqual(batch.reads, before + 1)

    def test_real_runs(self):
        path = self.real_data("langsmith_raw/run_ops_merged.ndjson.zst")
        lines = harness.split_lines(harness.unzstd(path))
        self.ingest(path)
        self.assert_store_holds(lines)

    def test_zstd_accepts_the_batch(self):
        self.ingest_bytes(harness.joined(harness.make_runs(100).values()))
        path = self.only_object()
        done = subprocess.run(["zstd", "-tq", path], capture_output=True)
        self.assertEqual((done.returncode, done.stderr), (0, b""))


if __name__ == "__main__":
    harness.main()
