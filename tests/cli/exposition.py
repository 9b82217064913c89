"""A strict reader of the Prometheus text exposition format, version 0.0.4, as runctl may write it: each family has a
HELP, then a TYPE, then its samples, all together; no time stamps, no comments, no empty lines."""

import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
HELP = re.compile(rf"# HELP ({NAME}) ([^\\]|\\\\|\\n)+")
TYPE = re.compile(rf"# TYPE ({NAME}) (counter|gauge)")
SAMPLE = re.compile(rf"({NAME})\{{(.*)\}} (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,(?=[a-z])|$)')
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


class Malformed(Exception):
    pass


class Metrics:
    """The samples of a file: {(name, labels as a sorted tuple of pairs): number}."""

    def __init__(self, data: bytes):
        self.samples: dict[tuple, float] = {}
        self.types: dict[str, str] = {}
        text = data.decode("utf-8")  # strictly
        if not text.endswith("\n"):
            raise Malformed(f"cut: {text[-80:]!r}")
        self.helped, self.family = "", ""
        for line in text[:-1].split("\n"):
            self.take(line)

    def take(self, line: str) -> None:
        if found := HELP.fullmatch(line):
            if found[1] in self.types:
                raise Malformed(f"a family in two places: {line!r}")
            self.helped = found[1]
        elif found := TYPE.fullmatch(line):
            if found[1] != self.helped or found[1] in self.types:
                raise Malformed(f"TYPE without its HELP: {line!r}")
            if (found[2] == "counter") != found[1].endswith("_total"):
                raise Malformed(f"a counter's name ends in _total, no other's does: {line!r}")
            self.family, self.types[found[1]] = found[1], found[2]
        elif found := SAMPLE.fullmatch(line):
            self.sample(line, found[1], found[2], found[3])
        else:
            raise Malformed(f"no line of this format: {line!r}")

    def sample(self, line: str, name: str, labels: str, number: str) -> None:
        if name != self.family or self.helped != name:
            raise Malformed(f"a sample outside of its family: {line!r}")
        if not NUMBER.fullmatch(number):
            raise Malformed(f"no number: {line!r}")
        pairs, end = [], 0
        while end < len(labels):
            found = LABEL.match(labels, end)
            if not found:
                raise Malformed(f"no labels: {line!r}")
            pairs.append((found[1], re.sub(r"\\.", lambda escape: ESCAPES[escape[0]], found[2])))
            end = found.end()
        key = (name, tuple(sorted(pairs)))
        if key in self.samples or len(dict(pairs)) != len(pairs):
            raise Malformed(f"twice: {line!r}")
        self.samples[key] = float(number)

    def of(self, name: str, **labels: str) -> dict[tuple, float]:
        """The samples of this name that have these labels."""
        return {key: number for key, number in self.samples.items()
                if key[0] == name and set(labels.items()) <= set(key[1])}

    def one(self, name: str, **labels: str) -> float:
        number, = self.of(name, **labels).values()
        return number

    def sum(self, name: str, **labels: str) -> float:
        return sum(self.of(name, **labels).values())

    def by(self, name: str, *labels: str) -> dict[tuple, float]:
        """{(values of these labels): number}."""
        return {tuple(dict(key[1])[label] for label in labels): number for key, number in self.of(name).items()}

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.samples}
