"""The sections and options of a .cfg, before they become layers.

The syntax is that of Darknet (src/parser.c, read_cfg, and src/option_list.c). Whitespace is ignored everywhere. A comment line begins with
# or ;. A number ends at the first character that does not belong to it (atoi, atof).
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from detector.errors import NetworkError
from weights.formats.bounded_io import MAX_INTEGER

TRAINING_OPTIONS = frozenset({"stopbackward", "onlyforward", "learning_rate", "burnin_update", "train_only_bn"})
"""Options of any layer that only matter when Darknet trains."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_WHITESPACE = str.maketrans("", "", " \t")
_COMMENT = re.compile(r"#|;|//")
_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,30}\.?[0-9]{0,30}|\.[0-9]{1,30})([eE][+-]?[0-9]{1,3})?")
_OWN_LINE = "If the rest is a comment, move it to a separate line that begins with #."


class CfgOption(NamedTuple):
    """The text after the "=", without whitespace."""

    value: str  # the text before a comment
    line: int
    comment: str = ""  # including the character that begins it

    @property
    def text(self) -> str:
        """Value and comment, as Darknet reads a text."""
        return self.value + self.comment


@dataclass(frozen=True)
class Section:
    """A "[kind]" with its options. Every error names line, section and option."""

    kind: str
    line: int
    options: dict[str, CfgOption] = field(default_factory=dict)  # the first option of each name
    conflicts: dict[str, CfgOption] = field(default_factory=dict)  # a later option of that name with another value

    def error(self, problem: str, line: int | None = None) -> NetworkError:
        """Return an error that describes a problem of this section."""
        return NetworkError(f"line {line or self.line}: [{_short(self.kind)}] {problem}")

    def option(self, key: str, default: str | None = None) -> CfgOption:
        """Return an option or its default; it is required if the default is None.

        Raises NetworkError if the option is missing, or the section gives it twice with different values.
        """
        if key in self.conflicts:
            line, value = self.conflicts[key].line, _short(self.conflicts[key].text)
            first = self.options[key]
            raise self.error(
                f"{_short(key)}={value} contradicts {_short(key)}={_short(first.text)} in line {first.line}. "
                "Darknet uses the first, OpenCV the last. Delete one of the lines.",
                line,
            )
        if key in self.options:
            return self.options[key]
        if default is None:
            raise self.error(f"has no {key!r}, which is required.")
        return CfgOption(default, self.line)

    def text(self, key: str, default: str) -> CfgOption:
        """Return a text option. Raises NetworkError if a comment follows it, which Darknet reads as a part of it."""
        option = self.option(key, default)
        if option.comment:
            raise self.error(
                f"{key}={_short(option.text)}: Darknet reads the comment as a part of the value. "
                "Move it to a separate line that begins with #.",
                option.line,
            )
        return option

    def integer(self, key: str, default: int | None = None, *, at_least: int = 0) -> int:
        """Return an integer option."""
        option = self.option(key, None if default is None else str(default))
        number = self._integer(key, option.value.removesuffix(","), option)
        if number < at_least:
            raise self.error(f"{key} must be at least {at_least}, got {number}.", option.line)
        return number

    def integers(self, key: str) -> tuple[int, ...]:
        """Return a list of integers, which may be negative. Darknet counts the commas, so a surplus comma is refused."""
        option = self.option(key)
        if option.value.endswith(",") or "," in option.comment:
            where = "in its comment" if "," in option.comment else "at its end"
            raise self.error(
                f"{key}={_short(option.text)} has a surplus comma {where}; Darknet adds layer 0 for it. Delete the comma.", option.line
            )
        return tuple(self._integer(key, item, option) for item in option.value.split(","))

    def numbers(self, key: str) -> tuple[float, ...]:
        """Return a list of numbers. A comma after the last one is ignored."""
        option = self.option(key)
        return tuple(self._number(key, item, option) for item in option.value.removesuffix(",").split(","))

    def allow(self, known: Collection[str], neutral: Mapping[str, float]) -> None:
        """Refuse every option that may change what the network computes.

        Args:
            known: Options that the caller reads.
            neutral: Options that are accepted only with this value, which has no effect.
        """
        for key, option in self.options.items():
            if key in known or key in TRAINING_OPTIONS or (key in neutral and self.numbers(key) == (neutral[key],)):
                continue
            raise self.error(
                f"{_short(key)}={_short(option.text)} is not supported. If the network computes the same without it, delete the line.",
                option.line,
            )

    def _integer(self, key: str, item: str, option: CfgOption) -> int:
        if _INTEGER.fullmatch(item) and abs(int(item)) <= MAX_INTEGER:
            return int(item)
        raise self._not_a_number(key, "an integer of 32 bits", item, option)

    def _number(self, key: str, item: str, option: CfgOption) -> float:
        if _NUMBER.fullmatch(item) and math.isfinite(float(item)):
            return float(item)
        raise self._not_a_number(key, "a number", item, option)

    def _not_a_number(self, key: str, expected: str, item: str, option: CfgOption) -> NetworkError:
        if not item:
            return self.error(f"{key}={_short(option.text)} has a surplus comma or no value. Each item must be {expected}.", option.line)
        hint = f" {_OWN_LINE}" if _NUMBER.match(item) else ""
        return self.error(f"{key} must be {expected}, got {_short(item)!r}.{hint}", option.line)


def parse_sections(text: str) -> list[Section]:
    """Return the sections of a .cfg in order.

    A comment after a section or an option is accepted; see `Section.text` for the exception. Raises NetworkError with the number of the
    line if a line is not a section, an option or a comment.
    """
    sections: list[Section] = []
    for number, raw in enumerate(_LINE_END.split(text), start=1):
        line = raw.translate(_WHITESPACE)
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            sections.append(Section(_section_kind(line, number), number))
        else:
            _add_option(sections, line, number)
    return sections


def _section_kind(line: str, number: int) -> str:
    kind, closed, rest = line[1:].partition("]")
    if not closed or (rest and not _COMMENT.match(rest)):
        raise NetworkError(f"line {number}: {_short(line)!r} is not a section: write [name], and after it only a comment.")
    return kind


def _add_option(sections: list[Section], line: str, number: int) -> None:
    key, equals, text = line.partition("=")
    comment = _COMMENT.search(text)
    value = text[: comment.start()] if comment else text
    if not (key and equals):
        raise NetworkError(
            f"line {number}: {_short(line)!r} is not a [section], an option=value or a comment, which begins with #. Is this a .cfg?"
        )
    if not value:
        raise NetworkError(f"line {number}: {_short(line)!r} has no value. Add the value or delete the line.")
    if not sections:
        raise NetworkError(f"line {number}: {_short(line)!r} is before the first [section].")
    option = CfgOption(value, number, text[len(value) :])
    first = sections[-1].options.setdefault(key, option)
    if first.value != option.value:
        sections[-1].conflicts.setdefault(key, option)


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
