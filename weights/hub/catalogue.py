"""The catalogue: which pretrained models there are, where their files lie, and what network each file holds.

The data is catalogue.toml; here it becomes an `Entry`, and an entry becomes the `ModelSpec` that its file fits.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Literal

from detector.errors import UnknownModel
from detector.network import Conv, Network, ReorgOrder, darknet19, tiny_yolov2, yolov2
from detector.shapes import parameters
from detector.spec import Edges, Fit, ModelSpec, Resample
from weights.embedded import EMBEDDED
from weights.formats.darknet.cfg import DARKNET_EPSILON

Format = Literal["darknet", "tensornets"]
Builder = Literal["yolov2", "tiny-yolov2", "darknet19"]

MOST = 1 << 30
"""Bytes that a file may have where nobody has said how large it is: five times the largest whose size is known."""


@dataclass(frozen=True)
class Entry:
    """One model of the catalogue."""

    name: str
    description: str
    file: str  # its name in the cache and on a mirror
    format: Format
    addresses: tuple[str, ...]  # in order of preference
    sizes: tuple[int, ...]  # bytes; more than one where the header is not known for sure, none where nobody has said
    hashes: Mapping[str, str]  # published ones, by algorithm, in hex; may be empty
    licence: str
    network: Builder
    input_size: int
    fit: Fit
    resample: Resample
    reorg: ReorgOrder
    labels: tuple[str, ...] = ()  # none: a stem
    anchors: tuple[tuple[float, float], ...] = ()  # (w, h), grid cells
    filters: int = 1024  # width of the head
    edges: Edges = "continuous"

    @property
    def largest(self) -> int:
        """Bytes that the file has at most."""
        return max(self.sizes, default=MOST)

    @property
    def sizes_text(self) -> str:
        """Its sizes for a sentence: "63,471,556 or 63,471,560"."""
        return " or ".join(f"{size:,}" for size in self.sizes) or f"at most {MOST:,}"

    @property
    def epsilon(self) -> float:
        """What is added to the variance: tensornets' layers.py says 1e-5, as our layers do."""
        return DARKNET_EPSILON if self.format == "darknet" else Conv.epsilon


@cache
def entries() -> Mapping[str, Entry]:
    """All models of the catalogue, by name."""
    with resources.files("weights.hub").joinpath("catalogue.toml").open("rb") as file:
        table = tomllib.load(file)
    return {name: _entry(name, facts, table) for name, facts in table["models"].items()}


def _entry(name: str, facts: Mapping[str, Any], table: Mapping[str, Any]) -> Entry:
    facts = table["families"][facts["family"]] | facts
    return Entry(
        name=name,
        labels=tuple(table["labels"][facts["labels"]]) if "labels" in facts else (),
        anchors=tuple((width, height) for width, height in table["anchors"][facts["anchors"]]) if "anchors" in facts else (),
        addresses=tuple(facts["addresses"]),
        sizes=tuple(facts["sizes"]),
        **{key: value for key, value in facts.items() if key not in {"family", "labels", "anchors", "addresses", "sizes"}},
    )


def entry_of(name: str) -> Entry:
    """The model of that name. Raises UnknownModel, naming those there are."""
    if name in EMBEDDED:
        raise UnknownModel(f"{name} ships with the package; there is nothing to pull, verify or remove.")
    if name not in entries():
        raise UnknownModel(f"the catalogue has no model {name!r}; it has {', '.join(entries())}.")
    return entries()[name]


def spec_of(entry: Entry) -> ModelSpec:
    """What the entry's file is a model of."""
    network = tuple(
        replace(layer, epsilon=entry.epsilon) if isinstance(layer, Conv) and layer.normalize else layer for layer in _network(entry)
    )
    return ModelSpec(entry.labels, entry.anchors, network, entry.input_size, entry.fit, entry.resample, edges=entry.edges)


def size_about(entry: Entry) -> int:
    """Bytes that the entry's file has; where nobody has said, roughly: four a parameter."""
    return max(entry.sizes, default=4 * parameters(spec_of(entry).network))


def _network(entry: Entry) -> Network:
    match entry.network:
        case "yolov2":
            return yolov2(entry.labels, anchors=len(entry.anchors), filters=entry.filters, order=entry.reorg)
        case "tiny-yolov2":
            return tiny_yolov2(entry.labels, anchors=len(entry.anchors), filters=entry.filters)
        case "darknet19":
            return darknet19().layers
