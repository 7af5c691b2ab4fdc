"""Images with ground truth and detections: the worst and the best results of a detector."""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from detector.imaging.draw import draw_detections, draw_ground_truth
from training.data.voc_reader import Sample
from training.evaluation.per_image import ImageResult, select_examples
from training.report.content import ImageSheet, ReportImage

MAX_SHEET_IMAGES = 6  # Images of each kind.
MAX_IMAGE_SIDE = 800  # Pixels. The page shows the images smaller until they are opened.
_JPEG_QUALITY = 80

TITLES = {
    "worst": "Wrong detections with the highest scores",
    "missed": "Images with the most missed objects",
    "best": "Best images: all objects found, with the highest scores and the most exact boxes",
}


def image_sheets(samples: Sequence[Sample], results: Sequence[ImageResult], labels: Sequence[str]) -> dict[str, ImageSheet]:
    """Return a sheet for each kind that has images: "worst", "missed", "best". Raises ImageError, OSError."""
    selected = select_examples(results, MAX_SHEET_IMAGES)
    return {
        kind: ImageSheet(TITLES[kind], [_draw(samples[result.index], result, labels) for result in chosen])
        for kind, chosen in selected.items()
        if chosen
    }


def _draw(sample: Sample, result: ImageResult, labels: Sequence[str]) -> ReportImage:
    image = Image.fromarray(sample.load_image())
    width, height = image.size
    image.thumbnail((MAX_IMAGE_SIDE, MAX_IMAGE_SIDE))
    scale = np.array([image.width / width, image.height / height] * 2, np.float32)
    detections = result.detections.moved(lambda boxes: boxes * scale)
    drawn = draw_detections(draw_ground_truth(np.asarray(image), result.truth.boxes * scale), detections, labels)
    file = BytesIO()
    Image.fromarray(drawn).save(file, "JPEG", quality=_JPEG_QUALITY)
    return ReportImage(b64encode(file.getvalue()).decode(), image.width, image.height, f"{sample.name}: {result.describe(labels)}")
