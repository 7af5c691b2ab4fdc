"""The sections of a .cfg: what stands there, line by line, before any of it means a layer."""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from detector.errors import NetworkError
from weights.formats.bounded_io import INTEGER_LIMIT

OF_TRAINING = frozenset({"stopbackward", "onlyforward", "learning_rate", "burnin_update", "train_only_bn"})
"""Options of any layer that matter to Darknet's training only."""

_BLANKS = str.maketrans("", "", " \t\r")
_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,30}\.?[0-9]{0,30}|\.[0-9]{1,30})([eE][+-]?[0-9]{1,3})?")


class Option(NamedTuple):
    """What stands after the "=", without blanks, and in which line."""

    value: str
    line: int


@dataclass(frozen=True)
class Section:
    """A "[kind]" and the options below it; it answers with the value, the default, or NetworkError naming line, section and option."""

    kind: str
    line: int
    options: dict[str, Option] = field(default_factory=dict)

    def error(self, problem: str, line: int | None = None) -> NetworkError:
        """To be raised: what is wrong with this section."""
        return NetworkError(f"line {line or self.line}: [{_short(self.kind)}] {problem}")

    def option(self, key: str, default: str | None = None) -> Option:
        """The option, or its default (None: it must be there)."""
        if key in self.options:
            return self.options[key]
        if default is None:
            raise self.error(f"has no {key!r}, which it needs.")
        return Option(default, self.line)

    def integer(self, key: str, default: int | None = None, *, at_least: int = 0) -> int:
        """A whole number."""
        option = self.option(key, None if default is None else str(default))
        number = self._integer(key, option.value, option.line)
        if number < at_least:
            raise self.error(f"{key} must be at least {at_least}, got {number}.", option.line)
        return number

    def integers(self, key: str) -> tuple[int, ...]:
        """Whole numbers with commas between them; they may be negative."""
        option = self.option(key)
        return tuple(self._integer(key, item, option.line) for item in option.value.split(","))

    def numbers(self, key: str) -> tuple[float, ...]:
        """Numbers with commas between them."""
        option = self.option(key)
        return tuple(self._number(key, item, option.line) for item in option.value.split(","))

    def allow(self, known: Collection[str], neutral: Mapping[str, float]) -> None:
        """Refuse every option that is not known, of training, or set to the `neutral` value that changes nothing.

        An option we overlooked might change what the network computes.
        """
        for key, (value, line) in self.options.items():
            if key in known or key in OF_TRAINING or (key in neutral and self.numbers(key) == (neutral[key],)):
                continue
            raise self.error(f"{key}={_short(value)} is not supported. If the network computes the same without it, delete the line.", line)

    def _integer(self, key: str, text: str, line: int) -> int:
        if _INTEGER.fullmatch(text) and abs(int(text)) <= INTEGER_LIMIT:
            return int(text)
        raise self.error(f"{key} must be made of whole numbers of 32 bits, got {_short(text)!r}.", line)

    def _number(self, key: str, text: str, line: int) -> float:
        if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
            return float(text)
        raise self.error(f"{key} must be made of numbers, got {_short(text)!r}.", line)


def parse_sections(text: str) -> list[Section]:
    """The sections of a .cfg in order. Raises NetworkError, with its number, for a line that is no section, option or comment.

    As Darknet does (src/parser.c, read_cfg): blanks count nowhere, and a comment is a line that begins with # or ;.
    An option given twice with two values is refused: Darknet takes the first, OpenCV the last.
    """
    sections: list[Section] = []
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.translate(_BLANKS)
        if not line or line[0] in "#;":
            continue
        if line[0] == "[" and line[-1] == "]":
            sections.append(Section(line[1:-1], number))
        else:
            _add_option(sections, line, number)
    return sections


def _add_option(sections: list[Section], line: str, number: int) -> None:
    key, equals, value = line.partition("=")
    if not (key and equals and value):
        raise NetworkError(f"line {number}: {_short(line)!r} is neither a [section], an option=value nor a # comment. Is this a .cfg?")
    if not sections:
        raise NetworkError(f"line {number}: {_short(line)!r} stands before the first [section].")
    earlier = sections[-1].options.setdefault(key, Option(value, number))
    if earlier.value != value:
        raise sections[-1].error(f"{_short(key)} is given twice with two values, in line {earlier.line} too.", number)


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
