"""JSONTestSuite/test_parsing: each file's text as the `inputs` value of a run, between good runs.

The second, strict reading by RFC 8259 is the verdict that counts: all y_ come back exactly, all n_ are rejected,
and the i_, which the RFC leaves open, have the verdicts of IMPLEMENTATION_DEFINED below.
"""

import re
import uuid

import harness
from harness import NOT_FOUND, REJECTED, joined, make_run, run_id

ACCEPTED, NOT_UTF8, NOT_GRAMMAR = "accepted", "rejected: not UTF-8", "rejected: the grammar has no such byte"

# Numbers out of every range and lone surrogate escapes are grammatical, and are kept as they are written.
IMPLEMENTATION_DEFINED = {
    "i_number_double_huge_neg_exp": ACCEPTED,
    "i_number_huge_exp": ACCEPTED,
    "i_number_neg_int_huge_exp": ACCEPTED,
    "i_number_pos_double_huge_exp": ACCEPTED,
    "i_number_real_neg_overflow": ACCEPTED,
    "i_number_real_pos_overflow": ACCEPTED,
    "i_number_real_underflow": ACCEPTED,
    "i_number_too_big_neg_int": ACCEPTED,
    "i_number_too_big_pos_int": ACCEPTED,
    "i_number_very_big_negative_int": ACCEPTED,
    "i_object_key_lone_2nd_surrogate": ACCEPTED,
    "i_string_1st_surrogate_but_2nd_missing": ACCEPTED,
    "i_string_1st_valid_surrogate_2nd_invalid": ACCEPTED,
    "i_string_UTF-16LE_with_BOM": NOT_UTF8,
    "i_string_UTF-8_invalid_sequence": NOT_UTF8,
    "i_string_UTF8_surrogate_U+D800": NOT_UTF8,
    "i_string_incomplete_surrogate_and_escape_valid": ACCEPTED,
    "i_string_incomplete_surrogate_pair": ACCEPTED,
    "i_string_incomplete_surrogates_escape_valid": ACCEPTED,
    "i_string_invalid_lonely_surrogate": ACCEPTED,
    "i_string_invalid_surrogate": ACCEPTED,
    "i_string_invalid_utf-8": NOT_UTF8,
    "i_string_inverted_surrogates_U+1D11E": ACCEPTED,
    "i_string_iso_latin_1": NOT_UTF8,
    "i_string_lone_second_surrogate": ACCEPTED,
    "i_string_lone_utf8_continuation_byte": NOT_UTF8,
    "i_string_not_in_unicode_range": NOT_UTF8,
    "i_string_overlong_sequence_2_bytes": NOT_UTF8,
    "i_string_overlong_sequence_6_bytes": NOT_UTF8,
    "i_string_overlong_sequence_6_bytes_null": NOT_UTF8,
    "i_string_truncated-utf-8": NOT_UTF8,
    "i_string_utf16BE_no_BOM": NOT_UTF8,
    "i_string_utf16LE_no_BOM": NOT_UTF8,
    "i_structure_500_nested_arrays": ACCEPTED,
    # RFC 8259, section 8.1: a mark may be ignored where a text begins; within a value it is no whitespace.
    "i_structure_UTF-8_BOM_empty_object": NOT_GRAMMAR,
}


class JsonSuite(harness.CliTest):
    def setUp(self) -> None:
        super().setUp()
        self.folder = self.real_data("JSONTestSuite/test_parsing")

    def cases(self, prefix: str) -> dict[str, tuple[str, bytes]]:
        """{name: (id, the run which holds the file's bytes)}"""
        found = {}
        for path in sorted(self.folder.glob(f"{prefix}_*.json")):
            run = str(uuid.uuid5(uuid.NAMESPACE_URL, path.name))
            found[path.stem] = (run, b'{"id":"%s","inputs":%s}' % (run.encode(), path.read_bytes()))
        return found

    def between_good_runs(self, cases) -> tuple[bytes, dict[str, bytes]]:
        """All cases, each with a good run before and after it; and those good runs."""
        good = {run_id(n): make_run(n) for n in range(len(cases) + 1)}
        records = list(good.values())
        woven = [record for pair in zip(records, (case for _, case in cases.values())) for record in pair]
        return joined([*woven, records[-1]]), good

    def test_the_set_is_whole(self):
        self.assertEqual([len(self.cases(prefix)) for prefix in "yni"], [95, 188, 35])
        self.assertEqual(set(self.cases("i")), set(IMPLEMENTATION_DEFINED))

    def test_valid_texts_come_back_exactly(self):
        cases = self.cases("y")
        data, good = self.between_good_runs(cases)
        self.assert_counts(self.ingest_bytes(data), stored=len(cases) + len(good), rejected=0)
        self.assert_comes_back(good)
        for name, (run, record) in cases.items():
            with self.subTest(name):
                self.assertEqual(self.get(run), [record.replace(b"\n", b" ")])
                self.assertEqual(self.get("--field", "inputs", run),
                                 [record[len(b'{"id":"","inputs":') + len(run):-1].strip().replace(b"\n", b" ")])

    def test_invalid_texts_each_alone_between_good_runs(self):
        """Whatever a broken text leaves open, the run before it and the run after it are stored."""
        for number, (name, (run, record)) in enumerate(self.cases("n").items()):
            with self.subTest(name):
                self.store = self.dir / f"store{number}"
                data = joined([make_run(1), record, make_run(2)])
                result = self.runctl("ingest", "--json", "-", stdin=data, status=REJECTED)
                self.assert_counts(self.summary_of(result), stored=2)
                lines = [int(line) for line in re.findall(rb"(?m)^runctl: -:(\d+):", result.err)]
                self.assertTrue(lines, str(result))
                self.assertLessEqual(set(lines), set(range(2, 4 + record.count(b"\n"))), "it is named where it is")
                self.assert_comes_back({run_id(1): make_run(1), run_id(2): make_run(2)})
                self.get(run, status=NOT_FOUND)

    def test_invalid_texts_all_in_one_file(self):
        cases = self.cases("n")
        data, good = self.between_good_runs(cases)
        result = self.runctl("ingest", "--json", "-", stdin=data, status=REJECTED)
        summary = self.summary_of(result)
        self.assertEqual(summary["stored"], len(good))
        self.assertGreaterEqual(summary["rejected"], len(cases))
        self.assertGreaterEqual(len(result.messages), len(cases))
        self.assert_comes_back(good)

    def test_implementation_defined_texts_have_their_verdict(self):
        cases = self.cases("i")
        data, good = self.between_good_runs(cases)
        result = self.runctl("ingest", "-", stdin=data, status=REJECTED)
        self.assert_comes_back(good)
        for name, (run, record) in cases.items():
            with self.subTest(name):
                line = 2 + 2 * list(cases).index(name)
                if IMPLEMENTATION_DEFINED[name] == ACCEPTED:
                    self.assertEqual(self.get(run), [record])
                else:
                    self.get(run, status=NOT_FOUND)
                    self.assert_message(result, f"-:{line}:")

    def test_transforms_are_not_applied(self):
        """JSONTestSuite/test_transform: texts that parsers like to change come back as they are."""
        self.folder = self.real_data("JSONTestSuite/test_transform")
        for prefix in ("number", "object", "string"):
            for name, (run, record) in self.cases(prefix).items():
                with self.subTest(name):
                    try:
                        record.decode()
                    except UnicodeDecodeError:
                        self.runctl("ingest", "-", stdin=record, status=REJECTED)
                        continue
                    self.assert_counts(self.ingest_bytes(record), stored=1)
                    self.assertEqual(self.get(run), [record.replace(b"\n", b" ")])


if __name__ == "__main__":
    harness.main()
