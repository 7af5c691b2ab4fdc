"""Draw detections on an image, with boxes and labels that are legible on any background and at any image size."""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from detector.boxes.detections import Boxes, Corners, Detections
from detector.boxes.geometry import box_area
from detector.boxes.placement import ImageArray
from detector.imaging.image import DecodedImage
from detector.imaging.lettering import Font, label_text_and_font

Colour = tuple[int, int, int]
_LabelledBox = tuple[Corners, int, str]  # box, class id, text after the label
Area = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom are excluded

MAX_DRAWN_PIXELS = 16_000_000  # Maximum size of an annotated image. A PNG of this size has at most 48 MB.

MAX_DRAWN_BOXES = 200
"""Maximum number of boxes on an annotated image. Drawing one of them across an image of MAX_DRAWN_PIXELS takes about 2 ms."""

BLACK, WHITE = (0, 0, 0), (255, 255, 255)
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, eq=False)
class DrawnImage:
    """An annotated image and its scale."""

    image: Image.Image
    scale: float  # width of the drawing / width of the image


def drawn_size(width: int, height: int, max_pixels: int = MAX_DRAWN_PIXELS) -> tuple[int, int]:
    """Return the size, with at most `max_pixels` pixels, at which an image of `width` x `height` pixels is drawn."""
    scale = min(1.0, math.sqrt(max_pixels / (width * height)))
    drawn_width = max(1, math.floor(width * scale))
    drawn_height = max(1, min(math.floor(height * scale), max_pixels // drawn_width))
    return min(drawn_width, max_pixels // drawn_height), drawn_height


def shrink_to_draw(decoded: DecodedImage, max_pixels: int = MAX_DRAWN_PIXELS) -> Image.Image:
    """Return the image, reduced to its `drawn_size` if it is larger."""
    size, image = drawn_size(decoded.width, decoded.height, max_pixels), decoded.pillow_image
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0) if image.width > size[0] else image


def draw_limited(decoded: DecodedImage, detections: Detections, labels: Sequence[str], *, max_pixels: int = MAX_DRAWN_PIXELS) -> DrawnImage:
    """Draw the best MAX_DRAWN_BOXES detections on an image, at reduced size if the image is larger than `max_pixels`.

    Args:
        decoded: The image. To decode no more pixels than needed, use `min_side=min(drawn_size(width, height))`.
        detections: Boxes in pixels of the full-size image.
        labels: Labels by class id.
        max_pixels: Maximum pixels of the result.
    """
    canvas = shrink_to_draw(decoded, max_pixels)
    canvas = canvas.copy() if canvas is decoded.pillow_image else canvas
    scale = np.array([canvas.width / decoded.width, canvas.height / decoded.height] * 2, np.float32)
    _draw(canvas, _best_first(detections.moved(lambda boxes: boxes * scale))[:MAX_DRAWN_BOXES], labels)
    return DrawnImage(canvas, canvas.width / decoded.width)


def draw_detections(image: ImageArray, detections: Detections, labels: Sequence[str]) -> ImageArray:
    """Draw every box with its label and score.

    Labels are drawn over boxes, and higher scores over lower ones. Lines and text grow with the image.

    Args:
        image: (H, W, 3) uint8 RGB; it does not change.
        detections: Boxes in pixels of `image`.
        labels: Labels by class id. The class id also determines the colour.

    Returns:
        A read-only copy of the image with the boxes.
    """
    return _drawn(image, _best_first(detections), labels)


def draw_boxes(image: ImageArray, boxes: Boxes, class_ids: NDArray[np.int64], labels: Sequence[str]) -> ImageArray:
    """Draw boxes (N, 4) with classes (N,) but without scores, as `draw_detections` does. Smaller boxes are drawn over larger ones."""
    smallest_first = np.argsort(box_area(boxes), kind="stable")
    pairs = zip(boxes[smallest_first].tolist(), class_ids[smallest_first].tolist(), strict=True)
    return _drawn(image, [(tuple(box), class_id, "") for box, class_id in pairs], labels)


def draw_ground_truth(image: ImageArray, boxes: Boxes) -> ImageArray:
    """Return a copy of `image` with ground-truth boxes (N, 4), dashed in black and white and without labels."""
    canvas = Image.fromarray(image)
    pen = _Pen.fit(canvas)
    for box in boxes.tolist():
        pen.draw_dashed(pen.area(box))
    return np.asarray(canvas)


def _best_first(detections: Detections) -> list[_LabelledBox]:
    best_first = sorted(detections, key=lambda detection: -detection.score)
    return [(each.box, each.class_id, f" {each.score:.0%}") for each in best_first]


def _drawn(image: ImageArray, boxes: Sequence[_LabelledBox], labels: Sequence[str]) -> ImageArray:
    canvas = Image.fromarray(image)
    _draw(canvas, boxes, labels)
    return np.asarray(canvas)


def _draw(canvas: Image.Image, boxes: Sequence[_LabelledBox], labels: Sequence[str]) -> None:
    """Draw boxes, given in the order from the topmost to the lowest layer."""
    pen = _Pen.fit(canvas)
    marks: list[_Mark] = []
    for box, class_id, suffix in boxes:
        text, font = label_text_and_font(labels[class_id], class_id, pen.text_height)
        marks.append(pen.place(box, class_colour(class_id), text + suffix, font, [mark.label_area for mark in marks]))
    for mark in reversed(marks):
        pen.draw_box(mark)
    for mark in reversed(marks):
        pen.draw_label(mark)


def class_colour(class_id: int) -> Colour:
    """Return the fixed colour of a class. Hues step by the golden ratio, in three lightnesses, so neighbouring ids differ."""
    red, green, blue = colorsys.hls_to_rgb(class_id * GOLDEN_RATIO % 1, (0.52, 0.36, 0.72)[class_id % 3], 0.9)
    return round(red * 255), round(green * 255), round(blue * 255)


def text_colour_on(colour: Colour) -> Colour:
    """Return black or white, whichever has more contrast. The product of their contrasts is 21, so the higher one is at least 4.58."""
    return max(BLACK, WHITE, key=lambda text_colour: contrast(text_colour, colour))


def contrast(first: Colour, second: Colour) -> float:
    """Return the contrast ratio of two sRGB colours, 1 to 21 (WCAG 2.2)."""
    darker, lighter = sorted((_luminance(first), _luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Colour) -> float:
    parts = (value / 255 for value in colour)
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@dataclass(frozen=True)
class _Mark:
    """The position and style of a detection's box and label."""

    box: Area
    label_area: Area
    text: str
    font: Font
    colour: Colour


@dataclass(frozen=True)
class _Pen:
    """Draws on one image, with line widths and text heights that suit the image's size."""

    draw: ImageDraw.ImageDraw
    size: tuple[int, int]  # width, height of the image
    line: int
    edge: int  # width of the outline on both sides of the line, in black or white, whichever contrasts more
    pad: int  # margin between the text and the outline of a label
    text_height: int

    @classmethod
    def fit(cls, canvas: Image.Image) -> "_Pen":
        side = math.sqrt(canvas.width * canvas.height)
        text_height = max(11, round(side / 32))
        line, edge = max(2, round(side / 220)), max(1, round(side / 700))
        return cls(ImageDraw.Draw(canvas), canvas.size, line, edge, round(text_height * 0.4), text_height)

    def place(self, box: Corners, colour: Colour, text: str, font: Font, taken: Sequence[Area]) -> _Mark:
        """Place the label where it covers no other label, if possible."""
        area = self.area(box)
        candidates = self._label_areas(area, text, font)
        free = (candidate for candidate in candidates if not _overlaps(_inset(candidate, self.edge), taken))
        return _Mark(area, next(free, candidates[0]), text, font, colour)

    def area(self, box: Corners) -> Area:
        """Return the area of a box, including half of the line on its border."""
        width, height = self.size
        margin = self.edge + self.line / 2
        left, top, right, bottom = box
        return (
            min(max(math.floor(left - margin), 0), width - 1),
            min(max(math.floor(top - margin), 0), height - 1),
            max(min(math.ceil(right + margin), width), 1),
            max(min(math.ceil(bottom + margin), height), 1),
        )

    def _label_areas(self, box: Area, text: str, font: Font) -> list[Area]:
        """Return candidate areas for a label, best first: above the box, in it, below it; all within the image."""
        margins = 2 * (self.edge + self.pad)
        label_width = min(math.ceil(self.draw.textlength(text, font)) + margins, self.size[0])
        label_height = min(-math.floor(self.draw.textbbox((0, 0), "X", font, anchor="ls")[1]) + margins, self.size[1])
        left, top, right, bottom = box
        above, below = top - label_height + self.edge, bottom - self.edge  # the label and the box share an edge
        corners = (
            (left, above),
            (left, top),
            (right - label_width, above),
            (right - label_width, top),
            (left, below),
            (left, bottom - label_height),
        )
        inside = ((min(max(x, 0), self.size[0] - label_width), min(max(y, 0), self.size[1] - label_height)) for x, y in corners)
        return [(x, y, x + label_width, y + label_height) for x, y in inside]

    def draw_box(self, mark: _Mark) -> None:
        outline = text_colour_on(mark.colour)
        self._frame(mark.box, outline, self.line + 2 * self.edge)
        self._frame(_inset(mark.box, self.edge), mark.colour, self.line)

    def draw_dashed(self, area: Area) -> None:
        """Draw a black frame with white dashes."""
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
        outline = text_colour_on(mark.colour)
        left, _, _, bottom = _inset(mark.label_area, self.edge + self.pad)
        self._fill(mark.label_area, outline)
        self._fill(_inset(mark.label_area, self.edge), mark.colour)
        self.draw.text((left, bottom), mark.text, outline, mark.font, anchor="ls")

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


def _inset(area: Area, margin: int) -> Area:
    left, top, right, bottom = area
    return left + margin, top + margin, right - margin, bottom - margin


def _overlaps(area: Area, others: Sequence[Area]) -> bool:
    left, top, right, bottom = area
    return any(left < other[2] and other[0] < right and top < other[3] and other[1] < bottom for other in others)
