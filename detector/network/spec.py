"""`ModelSpec`: everything about a model except its weights. `Model`: a spec with its arrays and provenance."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, Protocol, get_args

from detector.errors import ModelError, NetworkError, SettingError
from detector.messages import count_of, join_names
from detector.network.layers import Network
from detector.network.quantization import Quantization
from detector.network.shapes import Arrays, check_arrays, output_shapes

Fit = Literal["letterbox", "stretch"]
Resample = Literal["darknet", "antialiased", "cubic"]
Edges = Literal["continuous", "inclusive"]

MAX_INPUT_SIZE = 4096
MAX_NAME_LENGTH = 1000
"""Maximum length of a label and of a model's name. Responses repeat the label of each box, and drawing it takes time and memory."""


@dataclass(frozen=True)
class ModelSpec:
    """A detector without its arrays, validated when it is created.

    Raises NetworkError if the parts do not fit together. A network without labels and anchors is a backbone: it can be stored and
    trained, but it cannot detect.
    """

    labels: tuple[str, ...]
    anchors: tuple[tuple[float, float], ...]  # (w, h), grid cells
    network: Network
    input_size: int = 416  # network pixels, square, a multiple of the network's stride
    fit: Fit = "letterbox"  # "letterbox": keep the proportions and pad with grey; "stretch": fill the square
    resample: Resample = "darknet"  # see `detector.imaging.resample`
    pixel_scale: float = 1 / 255  # the network computes on pixel * pixel_scale + pixel_offset, pixel in 0..255
    pixel_offset: float = 0.0
    edges: Edges = "continuous"  # "inclusive": trained on boxes that contain their last pixel, as Darknet's models from VOC are

    def __post_init__(self) -> None:
        for name, choices, got in (("fit", Fit, self.fit), ("resample", Resample, self.resample), ("edges", Edges, self.edges)):
            if got not in get_args(choices):
                raise NetworkError(f"{name}: expected one of {', '.join(get_args(choices))}, got {got!r}.")
        if not 1 <= self.input_size <= MAX_INPUT_SIZE:
            raise NetworkError(f"input_size must be 1 to {MAX_INPUT_SIZE} pixels, got {self.input_size}.")
        for label in self.labels:
            if not label.strip() or not label.isprintable():
                raise NetworkError(f"label {label[:80]!r} is empty or has unprintable characters, such as a line break.")
            if len(label) > MAX_NAME_LENGTH:
                raise NetworkError(f"label {label[:80]!r}... has {len(label):,} characters; the limit is {MAX_NAME_LENGTH:,}.")
        if len(set(self.labels)) != len(self.labels):
            repeated = next(label for label, count in Counter(self.labels).items() if count > 1)
            raise NetworkError(f"label {repeated!r} appears twice; labels must be unique.")
        if any(not 0 < side < MAX_INPUT_SIZE for anchor in self.anchors for side in anchor):
            raise NetworkError(
                f"anchors must be positive widths and heights in grid cells, got {join_names([str(pair) for pair in self.anchors])}."
            )
        self._check_output()

    def _check_output(self) -> None:
        output = list(output_shapes(self.network, self.input_size).values())[-1] if self.network else None
        if output is None:
            raise NetworkError("the network has no layers.")
        if self.input_size % output.side:
            raise NetworkError(
                f"an input of {self.input_size} pixels is not a multiple of the network's {count_of(output.side, 'cell')} per side."
            )
        needed = len(self.anchors) * (5 + len(self.labels))
        if self.anchors and output.channels != needed:
            raise NetworkError(
                f"layer {self.network[-1].name!r} has {count_of(output.channels, 'output')}; "
                f"{count_of(len(self.anchors), 'anchor')} and {count_of(len(self.labels), 'label')} need {needed}."
            )

    @property
    def is_detector(self) -> bool:
        """False for a backbone, which has no anchors."""
        return bool(self.anchors)

    @cached_property
    def grid(self) -> int:
        """Cells along a side of the output."""
        return list(output_shapes(self.network, self.input_size).values())[-1].side

    @property
    def stride(self) -> int:
        """Network pixels along a side of a cell."""
        return self.input_size // self.grid

    @cached_property
    def size_multiple(self) -> int:
        """Input sizes are multiples of this: network pixels along a side of the coarsest layer's cell, 32 for all shipped networks.

        It is larger than `stride` if the network upsamples.
        """
        return self.input_size // min(shape.side for shape in output_shapes(self.network, self.input_size).values())

    def at_input_size(self, input_size: int | None) -> "ModelSpec":
        """Return the same detector for images of another size in network pixels; None keeps the size.

        Raises SettingError if the size is not a multiple of `size_multiple`, or not between that and MAX_INPUT_SIZE.
        """
        if input_size is None or input_size == self.input_size:
            return self
        multiple, largest = self.size_multiple, MAX_INPUT_SIZE - MAX_INPUT_SIZE % self.size_multiple
        if not multiple <= input_size <= largest or input_size % multiple:
            nearest = min(max(multiple, round(input_size / multiple) * multiple), largest)
            raise SettingError(
                f"input size {input_size}: this network needs a multiple of {multiple} from {multiple} to {largest} pixels, "
                f"such as {nearest}."
            )
        return replace(self, input_size=input_size)


class ModelDescription(Protocol):
    """The properties of a model that do not need its arrays."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def spec(self) -> ModelSpec:
        """The model's spec."""

    @property
    def provenance(self) -> Mapping[str, str]:
        """Origin of the weights, by key."""

    @property
    def quantization(self) -> Quantization | None:
        """The quantized layers, or None for a float32 model."""


@dataclass(frozen=True)
class Model:
    """A spec, its arrays (float32, by name; see `shapes.Arrays`) and their provenance."""

    name: str
    spec: ModelSpec
    arrays: Arrays = field(repr=False)
    provenance: Mapping[str, str] = field(default_factory=dict)
    quantization: Quantization | None = None  # for onnxruntime and OpenVINO; other engines compute the rounded kernels in float32

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.name.isprintable() or "/" in self.name:
            raise ModelError(f"a model's name must be printable and have no '/', got {self.name[:80]!r}.")
        if len(self.name) > MAX_NAME_LENGTH:
            raise ModelError(f"a model's name has {len(self.name):,} characters; the limit is {MAX_NAME_LENGTH:,}.")
        check_arrays(self.spec.network, self.arrays)
        if self.quantization is not None:
            self.quantization.check(self.spec.network)

    def at_input_size(self, input_size: int | None) -> "Model":
        """Return the model with another input size; see `ModelSpec.at_input_size`."""
        return self if input_size in (None, self.spec.input_size) else replace(self, spec=self.spec.at_input_size(input_size))
