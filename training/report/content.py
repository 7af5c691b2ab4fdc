"""The parts that the report's template displays."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table. Every cell is plain text."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Collection[int] = ()  # columns aligned to the right
    highlighted: Collection[int] = ()  # rows


@dataclass(frozen=True)
class Plot:
    """An SVG element and its caption."""

    svg: str
    caption: str = ""


@dataclass(frozen=True)
class ReportImage:
    """A JPEG and its caption."""

    base64: str
    width: int
    height: int
    caption: str


@dataclass(frozen=True)
class ImageSheet:
    """Images of one kind."""

    title: str
    images: Sequence[ReportImage]


@dataclass(frozen=True)
class NextStep:
    """Advice, and the commands that carry it out, one per line."""

    text: str
    command: str


@dataclass(frozen=True)
class Results:
    """The best model on the validation set."""

    image_set: str
    data_changed: bool
    ap50: float  # NaN without boxes
    images: int
    boxes: Mapping[str, int]  # by label
    facts: Sequence[tuple[str, str]]  # further measures: value, description
    speed: str
    classes: Table
    sizes: Table
    plots: Sequence[Plot]
    mistakes: Sequence[ImageSheet]
    best: Sequence[ImageSheet]
