"""Labels that follow their numbers, such as "0: dog", in a file that should have one label per line."""

import re
from collections.abc import Sequence

_NUMBERED = re.compile(r"([0-9]{1,5})(\s*[:.)=,;]\s*|\s+)(\D.*)")


def numbered_labels(lines: Sequence[str]) -> dict[int, str] | None:
    """Return number -> label if every line has a number and the numbers only count the lines.

    Return None if the numbers may be part of the labels.

    Args:
        lines: The lines that are not blank, without surrounding whitespace. Numbers may start at 0, or at 1 if there are several lines.
            If only a space separates them from the labels, they must start at 0: "1 euro" and "2 euros" are labels.
    """
    matches = [match for line in lines if (match := _NUMBERED.fullmatch(line))]
    if not lines or len(matches) < len(lines):
        return None
    numbers, labels = [int(match[1]) for match in matches], [match[3] for match in matches]
    first = numbers[0]
    has_separators = all(match[2].strip() for match in matches)
    may_start = first == 0 or (first == 1 and has_separators)
    counts_lines = numbers == list(range(first, first + len(lines))) and len(set(labels)) == len(labels)
    is_certain = len(lines) > 1 or (first == 0 and has_separators)
    return dict(zip(numbers, labels, strict=True)) if may_start and counts_lines and is_certain else None
