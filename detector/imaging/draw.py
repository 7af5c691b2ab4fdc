"""Detections drawn on a photo: boxes and labels that can be read on any background and at any size."""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from detector.boxes import box_area
from detector.detections import Boxes, Detections
from detector.imaging.lettering import Font, lettering
from detector.placement import ImageArray

Colour = tuple[int, int, int]
Corners = tuple[float, float, float, float]  # a box: xmin, ymin, xmax, ymax
Area = tuple[int, int, int, int]  # left, top, right, bottom: whole pixels, right and bottom excluded

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
GOLDEN = (math.sqrt(5) - 1) / 2


def draw_detections(image: ImageArray, detections: Detections, labels: Sequence[str]) -> ImageArray:
    """A copy of `image` (H, W, 3) uint8 RGB, read-only, with every box and, on a plate beside it, its label and score.

    detections: in pixels of `image`. labels: name by class id, which also decides the colour. The best scores lie on top,
    and labels on boxes. Lines and text grow with the photo.
    """
    found = sorted(detections, key=lambda detection: -detection.score)
    return _draw(image, [(each.box, each.class_id, f" {each.score:.0%}") for each in found], labels)


def draw_boxes(image: ImageArray, boxes: Boxes, class_ids: NDArray[np.int64], labels: Sequence[str]) -> ImageArray:
    """`draw_detections` of boxes (N, 4) and classes (N,) that have no scores. The smaller lie on top."""
    rising = np.argsort(box_area(boxes), kind="stable")
    pairs = zip(boxes[rising].tolist(), class_ids[rising].tolist(), strict=True)
    return _draw(image, [(tuple(box), class_id, "") for box, class_id in pairs], labels)


def draw_ground_truth(image: ImageArray, boxes: Boxes) -> ImageArray:
    """A copy of `image` with boxes (N, 4) dashed in black and white, without labels: what is there, beside what was found."""
    canvas = Image.fromarray(image)
    pen = _Pen.fit(canvas)
    for box in boxes.tolist():
        pen.draw_dashed(pen.area(box))
    return np.asarray(canvas)


def _draw(image: ImageArray, boxes: Sequence[tuple[Corners, int, str]], labels: Sequence[str]) -> ImageArray:
    """Boxes with their classes and what stands behind the label, the one that lies on top first."""
    canvas = Image.fromarray(image)
    pen = _Pen.fit(canvas)
    marks: list[_Mark] = []
    for box, class_id, more in boxes:
        name, font = lettering(labels[class_id], class_id, pen.text)
        marks.append(pen.mark(box, class_colour(class_id), name + more, font, [mark.plate for mark in marks]))
    for mark in reversed(marks):
        pen.draw_box(mark)
    for mark in reversed(marks):
        pen.draw_label(mark)
    return np.asarray(canvas)


def class_colour(class_id: int) -> Colour:
    """Always the same for a class, and unlike its neighbours': hues by the golden ratio, in three lightnesses."""
    red, green, blue = colorsys.hls_to_rgb(class_id * GOLDEN % 1, (0.55, 0.7, 0.4)[class_id % 3], 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever stands out more: their contrasts multiply to 21, so the better is at least 4.58."""
    return max(BLACK, WHITE, key=lambda ink: contrast(ink, colour))


def contrast(first: Colour, second: Colour) -> float:
    """Contrast ratio of two sRGB colours, 1 to 21 (WCAG 2.2)."""
    darker, lighter = sorted((_luminance(first), _luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Colour) -> float:
    parts = (value / 255 for value in colour)
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@dataclass(frozen=True)
class _Mark:
    """Where a detection's box and label go."""

    box: Area
    plate: Area
    text: str
    font: Font
    colour: Colour


@dataclass(frozen=True)
class _Pen:
    """Draws on one photo; the sizes, in pixels, suit it."""

    draw: ImageDraw.ImageDraw
    size: tuple[int, int]  # width, height of the photo
    line: int
    edge: int  # beside the line on both sides, in black or white: one of the two stands out anywhere
    pad: int  # around a label
    text: int  # height of a label's letters

    @classmethod
    def fit(cls, canvas: Image.Image) -> "_Pen":
        side = math.sqrt(canvas.width * canvas.height)
        text = max(11, round(side / 32))
        line, edge = max(2, round(side / 220)), max(1, round(side / 700))
        return cls(ImageDraw.Draw(canvas), canvas.size, line, edge, round(text * 0.4), text)

    def mark(self, box: Corners, colour: Colour, text: str, font: Font, taken: Sequence[Area]) -> _Mark:
        """The label goes where it covers no other, if there is such a place."""
        area = self.area(box)
        plates = self._plates(area, text, font)
        free = (plate for plate in plates if not _covers(_inset(plate, self.edge), taken))
        return _Mark(area, next(free, plates[0]), text, font, colour)

    def area(self, box: Corners) -> Area:
        """The line runs along the box's border."""
        width, height = self.size
        around = self.edge + self.line / 2
        left, top, right, bottom = box
        return (
            min(max(math.floor(left - around), 0), width - 1),
            min(max(math.floor(top - around), 0), height - 1),
            max(min(math.ceil(right + around), width), 1),
            max(min(math.ceil(bottom + around), height), 1),
        )

    def _plates(self, box: Area, text: str, font: Font) -> list[Area]:
        """Places for a label, the best first: above the box, in it, below it; all within the photo."""
        around = 2 * (self.edge + self.pad)
        wide = min(math.ceil(self.draw.textlength(text, font)) + around, self.size[0])
        high = min(-math.floor(self.draw.textbbox((0, 0), "X", font, anchor="ls")[1]) + around, self.size[1])
        left, top, right, bottom = box
        above, below = top - high + self.edge, bottom - self.edge  # sharing the box's edge
        corners = ((left, above), (left, top), (right - wide, above), (right - wide, top), (left, below), (left, bottom - high))
        inside = ((min(max(x, 0), self.size[0] - wide), min(max(y, 0), self.size[1] - high)) for x, y in corners)
        return [(x, y, x + wide, y + high) for x, y in inside]

    def draw_box(self, mark: _Mark) -> None:
        ink = ink_on(mark.colour)
        self._frame(mark.box, ink, self.line + 2 * self.edge)
        self._frame(_inset(mark.box, self.edge), mark.colour, self.line)

    def draw_dashed(self, area: Area) -> None:
        """Black, with white dashes on it."""
        self._frame(area, BLACK, self.line + 2 * self.edge)
        left, top, right, bottom = _inset(area, self.edge)
        dash = 4 * self.line
        for x in range(left, right, 2 * dash):
            for y in (top, bottom - self.line):
                self._fill((x, max(y, top), min(x + dash, right), min(y + self.line, bottom)), WHITE)
        for y in range(top, bottom, 2 * dash):
            for x in (left, right - self.line):
                self._fill((max(x, left), y, min(x + self.line, right), min(y + dash, bottom)), WHITE)

    def draw_label(self, mark: _Mark) -> None:
        ink = ink_on(mark.colour)
        left, _, _, bottom = _inset(mark.plate, self.edge + self.pad)
        self._fill(mark.plate, ink)
        self._fill(_inset(mark.plate, self.edge), mark.colour)
        self.draw.text((left, bottom), mark.text, ink, mark.font, anchor="ls")

    def _frame(self, area: Area, colour: Colour, width: int) -> None:
        left, top, right, bottom = area
        for side in (
            (left, top, right, top + width),
            (left, bottom - width, right, bottom),
            (left, top, left + width, bottom),
            (right - width, top, right, bottom),
        ):
            self._fill((max(side[0], left), max(side[1], top), min(side[2], right), min(side[3], bottom)), colour)

    def _fill(self, area: Area, colour: Colour) -> None:
        left, top, right, bottom = area
        if left < right and top < bottom:
            self.draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)


def _inset(area: Area, by: int) -> Area:
    left, top, right, bottom = area
    return left + by, top + by, right - by, bottom - by


def _covers(area: Area, others: Sequence[Area]) -> bool:
    left, top, right, bottom = area
    return any(left < other[2] and other[0] < right and top < other[3] and other[1] < bottom for other in others)
