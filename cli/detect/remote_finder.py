"""Has a service find things in photos."""

from dataclasses import dataclass
from pathlib import Path

from cli.detect.found import Found, Wanted
from cli.detect.inputs import read_photo
from detector.errors import UnknownLabel, UnknownModel
from service.client.client import Client
from service.schemas.models import ModelDescription

MOST = 1000
"""Boxes that the service answers at most."""


@dataclass(frozen=True)
class RemoteFinder:
    """A service, one of its models, and what is asked of it."""

    client: Client
    model: str
    wanted: Wanted

    @classmethod
    def connect(cls, client: Client, model: str | None, wanted: Wanted) -> "RemoteFinder":
        """Raises ClientError, and UnknownModel or UnknownLabel before any photo is sent."""
        chosen = _chosen(client, model)
        if unknown := set(wanted.classes) - set(chosen.labels):
            raise UnknownLabel(f"{chosen.name} at {client.display_url} has no class {min(unknown)[:80]!r}; it knows {', '.join(chosen.labels)}.")
        return cls(client, chosen.name, wanted)

    def find(self, photo: Path) -> Found:
        """Raises OSError and ImageError for a photo that cannot be read, and ClientError."""
        wanted = self.wanted
        answer = self.client.detect(
            read_photo(photo),
            model=self.model,
            confidence=wanted.confidence,
            iou=wanted.iou,
            classes=wanted.classes,
            max_detections=MOST,
            include_annotated=wanted.annotate,
        )
        annotated = answer.annotated.decoded() if answer.annotated else None
        return Found(photo, answer.model, answer.image.width, answer.image.height, answer.detections, annotated)


def _chosen(client: Client, name: str | None) -> ModelDescription:
    models = client.models()
    chosen = next((model for model in models if model.name == name or (name is None and model.default)), None)
    if chosen is None:
        raise UnknownModel(
            f"no model {str(name)[:80]!r} is served at {client.display_url}; there are {', '.join(model.name for model in models)}."
        )
    return chosen
