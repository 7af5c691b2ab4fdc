"""Progress events of long operations."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class CacheProgress:
    """Progress of computing a feature file."""

    done: int  # views
    total: int  # views
    file_size: int  # bytes, of the complete file
    path: Path


class Events:
    """Receives progress. Every method does nothing; override the ones you need."""

    def step_finished(self, metrics: Mapping[str, Any]) -> None:
        """A training step is done. metrics: the step's line of metrics.jsonl."""

    def features_cached(self, progress: CacheProgress) -> None:
        """Features of further views are computed. The first call has 0 views done."""

    def image_evaluated(self) -> None:
        """The detector has processed one more image."""

    def image_checked(self, total: int) -> None:
        """One more image of a data set is checked. total: images in the data set."""


SILENT = Events()
