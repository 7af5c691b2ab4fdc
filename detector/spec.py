"""Facts about a model, written once: `ModelSpec`; with its arrays and where they come from: `Model`."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol, get_args

from detector.errors import ModelError, NetworkError, join_names
from detector.network import Network
from detector.quantization import Quantization
from detector.shapes import Arrays, check_arrays, trace

Fit = Literal["letterbox", "stretch"]
Resample = Literal["darknet", "antialiased", "cubic"]
Edges = Literal["continuous", "inclusive"]

MAX_INPUT_SIZE = 4096


@dataclass(frozen=True)
class ModelSpec:
    """What a detector is, apart from its arrays. Checked once, here.

    Raises NetworkError where the parts do not fit. A network without labels and anchors is a stem: it can be stored
    and trained upon, not detected with.
    """

    labels: tuple[str, ...]
    anchors: tuple[tuple[float, float], ...]  # (w, h), grid cells
    network: Network
    input_size: int = 416  # network pixels, square, a multiple of the network's stride
    fit: Fit = "letterbox"  # keep the photo's proportions and pad with grey, or fill the square
    resample: Resample = "darknet"  # see `detector.imaging.resample`
    pixel_scale: float = 1 / 255  # the network computes on pixel * pixel_scale + pixel_offset, pixel in 0..255
    pixel_offset: float = 0.0
    edges: Edges = "continuous"  # "inclusive": trained on boxes that end at their last pixel, not behind it, as Darknet's from VOC

    def __post_init__(self) -> None:
        for choices, got in ((Fit, self.fit), (Resample, self.resample), (Edges, self.edges)):
            if got not in get_args(choices):
                raise NetworkError(f"fit, resample and edges: wanted one of {', '.join(get_args(choices))}, got {got!r}.")
        if not 1 <= self.input_size <= MAX_INPUT_SIZE:
            raise NetworkError(f"input_size must be 1 to {MAX_INPUT_SIZE} pixels, got {self.input_size}.")
        for label in self.labels:
            if not label.strip() or not label.isprintable():
                raise NetworkError(f"label {label!r} is not a word that can be shown: it is empty, or has a line break or the like in it.")
        if len(set(self.labels)) != len(self.labels):
            twice = next(label for label, count in Counter(self.labels).items() if count > 1)
            raise NetworkError(f"label {twice!r} is there twice; detections are told apart by label.")
        if any(not 0 < side < MAX_INPUT_SIZE for anchor in self.anchors for side in anchor):
            raise NetworkError(
                f"anchors are positive widths and heights in grid cells, got {join_names([str(pair) for pair in self.anchors])}."
            )
        self._check_output()

    def _check_output(self) -> None:
        output = list(trace(self.network, self.input_size).values())[-1] if self.network else None
        if output is None:
            raise NetworkError("the network has no layers.")
        if self.input_size % output.side:
            raise NetworkError(f"an input of {self.input_size} pixels does not divide into the network's {output.side} cells a side.")
        wanted = len(self.anchors) * (5 + len(self.labels))
        if self.anchors and output.channels != wanted:
            raise NetworkError(
                f"layer {self.network[-1].name!r} has {output.channels} outputs; "
                f"{len(self.anchors)} anchors and {len(self.labels)} labels need {wanted}."
            )

    @property
    def is_detector(self) -> bool:
        """False for a stem, which has no anchors."""
        return bool(self.anchors)

    @cached_property
    def grid(self) -> int:
        """Cells along a side of the output."""
        return list(trace(self.network, self.input_size).values())[-1].side

    @property
    def stride(self) -> int:
        """Network pixels along a side of a cell."""
        return self.input_size // self.grid

    @cached_property
    def size_multiple(self) -> int:
        """Input sizes are multiples of this: network pixels along a side of the coarsest layer's cell, 32 for all shipped networks.

        It is larger than `stride` if the network upsamples.
        """
        return self.input_size // min(shape.side for shape in trace(self.network, self.input_size).values())


class ModelFacts(Protocol):
    """What there is to say of a model, with its arrays or without."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def spec(self) -> ModelSpec:
        """What it is, apart from its arrays."""

    @property
    def provenance(self) -> Mapping[str, str]:
        """Where it comes from."""

    @property
    def quantization(self) -> Quantization | None:
        """Which layers are in 8 bits, if any."""


@dataclass(frozen=True)
class Model:
    """A spec, its arrays (float32, by name; see `shapes.Arrays`) and where they come from."""

    name: str
    spec: ModelSpec
    arrays: Arrays = field(repr=False)
    provenance: Mapping[str, str] = field(default_factory=dict)
    quantization: Quantization | None = None  # of onnxruntime's engine; the others compute the same kernels in float32

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable() or "/" in self.name:
            raise ModelError(f"a model's name can be shown and has no '/', got {self.name[:80]!r}.")
        check_arrays(self.spec.network, self.arrays)
        if self.quantization is not None:
            self.quantization.check(self.spec.network)
