"""What one process of an archive run does: load the model once, then chunk after chunk."""

import json
import os
import struct
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cli.batch.manifest import Plan
from cli.batch.parquet import Row, part_path, shown, write_part
from cli.detect.inputs import read_photo
from detector.detector import Detector
from detector.errors import ImageError
from detector.imaging.image import read_reduced
from service.schemas.detections import Detection
from service.schemas.problem_kinds import PROBLEM_KINDS
from weights.engines.factory import EngineName, load_engine
from weights.hub.resolve import load

DEATHS = 3
"""A photo at which so many processes have died is taken for the reason, and left out: the others shall be answered."""


class Worker:
    """A model with one thread, and the plan."""

    def __init__(self, folder: str, model: str | None, engine: EngineName) -> None:
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"
        self._folder = Path(folder)
        self._plan = Plan.read(self._folder)
        loaded = load(model)
        self._detector = Detector(loaded.spec, load_engine(loaded, engine, threads=1))
        asked = self._plan.asked
        self._class_ids = self._detector.class_ids(asked.classes) if asked.classes else None
        self._about = json.dumps(asdict(asked))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """{"chunk": numbers} -> {"photos": how many that was, for each}, when their answers are on the disk."""
        return {"photos": np.array([self._answer(int(chunk)) for chunk in batch["chunk"]])}

    def _answer(self, chunk: int) -> int:
        photos = self._plan.chunk(chunk)
        if not part_path(self._folder, chunk).exists():
            with Journal(self._folder, chunk) as journal:
                rows = [self._killer(photo, journal) or self._row(photo) for photo in journal.each(photos)]
                write_part(self._folder, chunk, rows, self._about)
        return len(photos)

    def _killer(self, photo: Path, journal: "Journal") -> Row | None:
        if journal.deaths < DEATHS:
            return None
        sentence = f"{journal.deaths} processes have died while they read it; it may take too much memory, or find a fault of ours."
        return Row(shown(photo), kind="killer", problem=sentence)

    def _row(self, photo: Path) -> Row:
        try:
            return self._found(photo)
        except ImageError as error:
            return Row(
                shown(photo), kind=PROBLEM_KINDS[type(error)].slug if type(error) in PROBLEM_KINDS else "bad-file", problem=str(error)
            )
        except OSError as error:
            return Row(shown(photo), kind="bad-file", problem=error.strerror or str(error))

    def _found(self, photo: Path) -> Row:
        """As the service does it. Raises OSError, ImageError."""
        asked, detector = self._plan.asked, self._detector
        reduced = read_reduced(read_photo(Path(asked.folder) / photo), detector.enough)
        prepared = detector.prepare(reduced)
        raw = detector.network(prepared.pixels[None])[0]
        found = detector.select(raw, prepared, score_threshold=asked.confidence, iou_threshold=asked.iou, class_ids=self._class_ids)
        listed = [one.model_dump() for one in Detection.from_detections(found, detector.spec.labels)]
        boxes = [{"label": one["label"], "score": one["score"], **one["box"]} for one in listed]
        return Row(shown(photo), reduced.width, reduced.height, boxes)


class Journal:
    """Which photo of a chunk is being read, beside its answers-to-be: it survives the process, which the photo may not let."""

    _FORM = struct.Struct("<qq")  # the photo's place in the chunk, and how many processes have died there

    def __init__(self, folder: Path, chunk: int) -> None:
        self._path = folder / f".{chunk:08d}.journal"
        self._died_at, self._died = -1, 0
        self.deaths = 0
        """How many processes have died at the photo that is being read."""

    def __enter__(self) -> "Journal":
        """What an earlier process has left there counts as one death more."""
        if self._path.is_file() and len(left := self._path.read_bytes()) == self._FORM.size:
            self._died_at, before = self._FORM.unpack(left)
            self._died = before + 1
        self._file = self._path.open("wb", buffering=0)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """The process lives."""
        self._file.close()
        self._path.unlink()

    def each(self, photos: Iterable[Path]) -> Iterable[Path]:
        """The photos, one after another, each noted before it is read."""
        for place, photo in enumerate(photos):
            self.deaths = self._died if place == self._died_at else 0
            os.pwrite(self._file.fileno(), self._FORM.pack(place, self.deaths), 0)
            yield photo
