"""Worker process of a batch run. It loads the model once and processes a sequence of chunks."""

import json
import os
import struct
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cli.batch.manifest import Manifest
from cli.batch.parquet import BatchRow, chunk_path, path_text, write_chunk
from cli.detect.inputs import read_input
from detector.detector import Detector
from detector.errors import ImageError
from detector.imaging.image import decode_image
from service.schemas.detections import Detection
from service.schemas.problem_kinds import PROBLEM_KINDS
from weights.engines.factory import choose_engine
from weights.engines.options import EngineOptions
from weights.hub.resolve import find_model

MAX_CRASHES = 3  # Number of crashed processes after which the image that they were reading is skipped.


class BatchWorker:
    """A model with one thread, and the manifest of the run."""

    def __init__(self, folder: str, model: str | None, engine: EngineOptions) -> None:
        os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"
        self._folder = Path(folder)
        self._manifest = Manifest.read(self._folder)
        choice = choose_engine(find_model(model), engine)
        loaded = choice.load()
        self._detector = Detector(loaded.spec, choice.build(loaded, threads=1))
        task = self._manifest.task
        self._class_ids = self._detector.class_ids(task.classes) if task.classes else None
        self._metadata = json.dumps(asdict(task))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Process chunks: {"chunk": numbers} -> {"images": the number of images of each}."""
        return {"images": np.array([self._process_chunk(int(chunk)) for chunk in batch["chunk"]])}

    def _process_chunk(self, chunk: int) -> int:
        images = self._manifest.chunk(chunk)
        if not chunk_path(self._folder, chunk).exists():
            with CrashJournal(self._folder, chunk) as journal:
                rows = [self._poison_image(image, journal) or self._row(image) for image in journal.track(images)]
                write_chunk(self._folder, chunk, rows, self._metadata)
        return len(images)

    def _poison_image(self, image: Path, journal: "CrashJournal") -> BatchRow | None:
        """Return a row with the problem if reading the image has crashed MAX_CRASHES processes, else None."""
        if journal.crashes < MAX_CRASHES:
            return None
        problem = f"{journal.crashes} processes died while reading this image. It may need too much memory, or trigger a bug in Boxwright."
        return BatchRow(path_text(image), kind="worker-crash", problem=problem)

    def _row(self, image: Path) -> BatchRow:
        try:
            return self._detect(image)
        except ImageError as error:
            return BatchRow(
                path_text(image), kind=PROBLEM_KINDS[type(error)].slug if type(error) in PROBLEM_KINDS else "bad-file", problem=str(error)
            )
        except OSError as error:
            return BatchRow(path_text(image), kind="bad-file", problem=error.strerror or str(error))

    def _detect(self, image: Path) -> BatchRow:
        """Detect objects exactly as the service does. Raises OSError, ImageError."""
        task, detector = self._manifest.task, self._detector
        reduced = decode_image(read_input(Path(task.folder) / image), detector.min_decode_side)
        prepared = detector.preprocess(reduced)
        logits = detector.forward(prepared.pixels[None])[0]
        found = detector.postprocess(logits, prepared, score_threshold=task.confidence, iou_threshold=task.iou, class_ids=self._class_ids)
        detections = [each.model_dump() for each in Detection.from_detections(found, detector.spec.labels)]
        boxes = [{"label": each["label"], "score": each["score"], **each["box"]} for each in detections]
        return BatchRow(path_text(image), reduced.width, reduced.height, boxes)


class CrashJournal:
    """A file with the index of the image that is being read. It survives a crash that the image causes."""

    _FORMAT = struct.Struct("<qq")  # the image's index in the chunk, and the number of processes that died while reading it

    def __init__(self, folder: Path, chunk: int) -> None:
        self._path = folder / f".{chunk:08d}.journal"
        self._crash_index, self._crash_count = -1, 0
        self.crashes = 0  # The number of processes that died while reading the current image.

    def __enter__(self) -> "CrashJournal":
        """Count one more crash if an earlier process left its journal."""
        if self._path.is_file() and len(entry := self._path.read_bytes()) == self._FORMAT.size:
            self._crash_index, before = self._FORMAT.unpack(entry)
            self._crash_count = before + 1
        self._file = self._path.open("wb", buffering=0)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Delete the journal: the process has not crashed."""
        self._file.close()
        self._path.unlink()

    def track(self, images: Iterable[Path]) -> Iterable[Path]:
        """Yield the images; write each to the journal before it is read."""
        for index, image in enumerate(images):
            self.crashes = self._crash_count if index == self._crash_index else 0
            os.pwrite(self._file.fileno(), self._FORMAT.pack(index, self.crashes), 0)
            yield image
