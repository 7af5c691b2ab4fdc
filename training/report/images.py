"""The photos that show a detector at its worst and at its best, small, with what is there and what was found drawn on them."""

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from detector.imaging.draw import draw_detections, draw_ground_truth
from training.data.voc_reader import Sample
from training.evaluation.per_image import Verdict, telling
from training.report import html as html

MOST = 6
"""Photos of a kind."""
SIDE = 480
"""Pixels of a photo's longer side."""
QUALITY = 80

TITLES = {
    "worst": "Worst: the surest mistakes",
    "missed": "Missed: where something was not found",
    "best": "Best: all found, the surest and most exact",
}


def photo_sheets(samples: Sequence[Sample], verdicts: Sequence[Verdict], labels: Sequence[str]) -> list[str]:
    """HTML: a sheet for each kind of which there are any. Raises ImageError, OSError."""
    parts = []
    for kind, chosen in telling(verdicts, MOST).items():
        if chosen:
            photos = (_photo(samples[one.place], one, labels) for one in chosen)
            parts += [html.heading(TITLES[kind], 3), html.grid("photos", photos)]
    return parts


def _photo(sample: Sample, verdict: Verdict, labels: Sequence[str]) -> str:
    image = Image.fromarray(sample.picture())
    width, height = image.size
    image.thumbnail((SIDE, SIDE))
    scale = np.array([image.width / width, image.height / height] * 2, np.float32)
    found = verdict.found.moved(lambda boxes: boxes * scale)
    drawn = draw_detections(draw_ground_truth(np.asarray(image), verdict.truth.boxes * scale), found, labels)
    file = BytesIO()
    Image.fromarray(drawn).save(file, "JPEG", quality=QUALITY)
    return html.photo(file.getvalue(), image.size, f"{sample.name}: {verdict.sentence(labels)}")
