"""The catalogue of pretrained models: where their files are, how to verify them, and which network each contains.

The data is in catalogue.toml. This module turns it into `Entry` objects, and an entry into the `ModelSpec` of its file.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Literal

from detector.errors import UnknownModel
from detector.messages import did_you_mean
from detector.network.architectures import darknet19, tiny_yolov2, yolov2
from detector.network.layers import Conv, Network, ReorgOrder
from detector.network.shapes import parameters
from detector.network.spec import Edges, Fit, ModelSpec, Resample
from weights.embedded import EMBEDDED
from weights.formats.darknet.cfg import DARKNET_EPSILON

WeightsFormat = Literal["darknet", "tensornets"]
Architecture = Literal["yolov2", "tiny-yolov2", "darknet19"]

MAX_UNKNOWN_BYTES = 1 << 30  # Limit for a file of unknown size: five times the largest file of known size.


@dataclass(frozen=True)
class Entry:
    """One model of the catalogue."""

    name: str
    description: str
    file: str  # file name in the cache and on a mirror
    format: WeightsFormat
    addresses: tuple[str, ...]  # in order of preference
    sizes: tuple[int, ...]  # possible sizes in bytes; empty if unknown
    hashes: Mapping[str, str]  # published hashes in hex by algorithm; may be empty
    licence: str
    network: Architecture
    input_size: int
    fit: Fit
    resample: Resample
    reorg: ReorgOrder
    labels: tuple[str, ...] = ()  # empty for a backbone
    anchors: tuple[tuple[float, float], ...] = ()  # (w, h), grid cells
    filters: int = 1024  # of the head
    edges: Edges = "continuous"

    @property
    def max_bytes(self) -> int:
        """Largest size that the file may have."""
        return max(self.sizes, default=MAX_UNKNOWN_BYTES)

    @property
    def sizes_text(self) -> str:
        """The possible sizes as text: "63,471,556 or 63,471,560"."""
        return " or ".join(f"{size:,}" for size in self.sizes) or f"at most {MAX_UNKNOWN_BYTES:,}"

    @property
    def epsilon(self) -> float:
        """`Conv.epsilon` of the batch norms. tensornets' layers.py uses 1e-5, as our layers do by default."""
        return DARKNET_EPSILON if self.format == "darknet" else Conv.epsilon


@cache
def entries() -> Mapping[str, Entry]:
    """Return all entries of the catalogue by name."""
    with resources.files("weights.hub").joinpath("catalogue.toml").open("rb") as file:
        table = tomllib.load(file)
    return {name: _entry(name, fields, table) for name, fields in table["models"].items()}


def _entry(name: str, fields: Mapping[str, Any], table: Mapping[str, Any]) -> Entry:
    fields = table["families"][fields["family"]] | fields
    return Entry(
        name=name,
        labels=tuple(table["labels"][fields["labels"]]) if "labels" in fields else (),
        anchors=tuple((width, height) for width, height in table["anchors"][fields["anchors"]]) if "anchors" in fields else (),
        addresses=tuple(fields["addresses"]),
        sizes=tuple(fields["sizes"]),
        **{key: value for key, value in fields.items() if key not in {"family", "labels", "anchors", "addresses", "sizes"}},
    )


def entry_of(name: str) -> Entry:
    """Return the catalogue entry of that name. Raises UnknownModel, with the nearest name and all names."""
    if name in EMBEDDED:
        raise UnknownModel(f"{name} ships with the package; there is nothing to pull, verify or remove.")
    if name not in entries():
        hint = did_you_mean(name, (*EMBEDDED, *entries()))
        raise UnknownModel(f"the catalogue has no model {name!r}.{hint} It has {', '.join(entries())}.")
    return entries()[name]


def spec_of(entry: Entry) -> ModelSpec:
    """Return the spec of the model in the entry's file."""
    network = tuple(
        replace(layer, epsilon=entry.epsilon) if isinstance(layer, Conv) and layer.normalize else layer for layer in _network(entry)
    )
    return ModelSpec(entry.labels, entry.anchors, network, entry.input_size, entry.fit, entry.resample, edges=entry.edges)


def approximate_size(entry: Entry) -> int:
    """Return the size of the entry's file in bytes, or four bytes per parameter if the size is unknown."""
    return max(entry.sizes, default=4 * parameters(spec_of(entry).network))


def _network(entry: Entry) -> Network:
    match entry.network:
        case "yolov2":
            return yolov2(entry.labels, anchors=len(entry.anchors), filters=entry.filters, order=entry.reorg)
        case "tiny-yolov2":
            return tiny_yolov2(entry.labels, anchors=len(entry.anchors), filters=entry.filters)
        case "darknet19":
            return darknet19().layers
