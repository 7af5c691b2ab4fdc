"""Darknet's .weights: arrays <-> bytes, in the order of the .cfg's layers.

The format (Darknet src/parser.c, load_weights_upto and load_convolutional_weights), all little-endian:

    version           three int32
    seen              number of training images, uint64 or, before version 0.2, uint32
    per convolution   float32: bias; scale, mean and variance if it has batch norm; kernel (out, in / groups, height, width)
"""

import struct
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.errors import ArraysError, ModelFileError, NetworkError
from detector.messages import count_of
from detector.network.layers import Conv, Network
from detector.network.shapes import Array, array_shapes
from detector.network.spec import Edges, Model
from weights.atomic_files import atomic_write_all
from weights.formats.bounded_io import open_regular_file, read_small_text
from weights.formats.darknet.cfg import DARKNET_EPSILON, format_cfg, read_cfg
from weights.formats.numbered_labels import numbered_labels
from weights.formats.other_formats import describe_other_format

MAX_NAMES_BYTES = 2**20
ZERO_TAIL = 4096  # Bytes. No trained model ends with that many zeros.


class WeightsHeader(NamedTuple):
    """The start of a .weights file."""

    major: int = 0
    minor: int = 2
    revision: int = 0
    seen: int = 0  # images seen in the whole training

    @property
    def layout(self) -> str:
        """Format string for `struct`. `seen` has 8 bytes from version 0.2 on, and 4 before it or if the version is implausible."""
        return "<iiiQ" if self.major * 10 + self.minor >= 2 and self.major < 1000 and self.minor < 1000 else "<iiii"


def read_darknet(
    cfg: Path, weights: Path, *, labels: Sequence[str] = (), layers: int | None = None, edges: Edges = "inclusive", name: str | None = None
) -> Model:
    """Read the model in a .cfg and its .weights. The provenance contains the file names and the header of the .weights.

    Args:
        cfg: The .cfg.
        weights: The .weights. Data after the last layer is an error, unless `layers` is given.
        labels: One label per class; see `read_cfg`.
        layers: Read only the first layers; see `read_cfg`.
        edges: How the model was evaluated; see `read_cfg`.
        name: The model's name. By default that of the .cfg.

    Raises:
        ModelFileError: The .weights are too short or too long, or contain NaN, infinity or a negative variance. The message names array
            and byte.
        NetworkError, SettingError: As `read_cfg` raises them.
    """
    spec = read_cfg(cfg, labels=labels, layers=layers, edges=edges)
    arrays, provenance = read_weights(weights, spec.network, complete=layers is None)
    return Model(name or cfg.stem, spec, arrays, {"cfg": cfg.name} | provenance)


def read_weights(weights: Path, network: Network, *, complete: bool = True) -> tuple[dict[str, Array], dict[str, str]]:
    """Read the arrays of a known network.

    Args:
        weights: The .weights.
        network: Its layers.
        complete: Refuse a file with data after the last layer.

    Returns:
        The arrays and their provenance.

    Raises:
        ModelFileError: As `read_darknet` raises it.
    """
    with open_regular_file(weights) as (file, size):
        try:
            _check_format(file)
            header = _read_header(file, size)
            _check_size(network, size, struct.calcsize(header.layout), complete=complete)
            _check_downloaded(file, size)
            arrays = dict(_read_arrays(file, network))
        except ModelFileError as error:
            raise ModelFileError(f"{weights}: {error}") from error
    provenance = {"format": "darknet", "weights": weights.name}
    return arrays, provenance | {f"darknet.{part}": str(number) for part, number in header._asdict().items()}


def _check_format(file: BinaryIO) -> None:
    """Raise ModelFileError for a file of another format, such as the web page that a failed download leaves."""
    start = file.read(16)
    file.seek(0)
    if other := describe_other_format(start, ".weights file"):
        raise ModelFileError(other)


def write_darknet(model: Model, cfg: Path, weights: Path) -> None:
    """Write a model for Darknet. Both files appear together when they are complete.

    `read_darknet` returns the same network and arrays. Reading a .weights and writing it again gives identical bytes. The header comes from
    the provenance, or is version 0.2.0 with 0 images seen. If a batch norm's epsilon differs from Darknet's, its variance is adjusted
    so that sqrt(written) + 1e-6 = sqrt(variance + epsilon).

    Raises:
        NetworkError: A .cfg cannot express the network; see `format_cfg`.
        ArraysError: An array is not finite, or has a negative variance.
        OSError: A file cannot be written.
    """
    text = format_cfg(model.spec)
    header = _header_bytes(model)
    with atomic_write_all(cfg, weights) as (cfg_file, weights_file):
        cfg_file.write(text.encode("ascii"))
        weights_file.write(header)
        for array in _written_arrays(model):
            weights_file.write(array.data)


def read_labels(names: Path) -> tuple[str, ...]:
    """Read the labels in a .names file, one per line. Blank lines at the end and numbers of the lines (0: dog) are ignored.

    Raises ModelFileError if the file is not UTF-8 text, or has a blank line before the last label.
    """
    text = read_small_text(names, encoding="utf-8", limit=MAX_NAMES_BYTES)
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ModelFileError(f"{names}: the file contains no label; it must have one line per class.")
    if "" in lines:
        raise ModelFileError(f"{names}: line {lines.index('') + 1} is blank; every line must contain the label of a class.")
    return tuple((numbered_labels(lines) or dict(enumerate(lines))).values())


def _read_header(file: BinaryIO, size: int) -> WeightsHeader:
    layout = "<iii"
    if size >= struct.calcsize(layout):
        layout = WeightsHeader(*struct.unpack(layout, file.read(12))).layout
    if size < struct.calcsize(layout):
        raise ModelFileError(f"truncated: the header needs {struct.calcsize(layout)} bytes, but the file has only {size}.")
    file.seek(0)
    return WeightsHeader(*struct.unpack(layout, file.read(struct.calcsize(layout))))


def _file_shapes(network: Network) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield name and shape of every array, in the layout and order of the file."""
    shapes = array_shapes(network)
    for layer in network:
        if isinstance(layer, Conv):
            for part in ("beta", "gamma", "mean", "variance") if layer.normalize else ("bias",):
                yield f"{layer.name}/{part}", (layer.filters,)
            height, width, inputs, outputs = shapes[f"{layer.name}/kernel"]
            yield f"{layer.name}/kernel", (outputs, inputs, height, width)


def _check_size(network: Network, size: int, position: int, *, complete: bool) -> None:
    """Compare the file's size with what the network needs, before reading or allocating anything."""
    last = "the header"
    for name, shape in _file_shapes(network):
        needed, left = 4 * prod(shape), size - position
        if needed > left:
            raise ModelFileError(
                f"array {name!r} needs {needed} bytes at byte {position}, but the file has only {left} more. "
                "The file is truncated, or belongs to another .cfg."
            )
        position += needed
        last = f"the last array, {name!r}"
    if complete and position != size:
        raise ModelFileError(
            f"the file has {count_of(size - position, 'byte')} more at byte {position}, after {last}. The file belongs to another .cfg."
        )


def _check_downloaded(file: BinaryIO, size: int) -> None:
    """Raise ModelFileError if a file ends with zeros. Some programs reserve space on the disk for a file, and then download it."""
    position = file.tell()
    if size >= 2 * ZERO_TAIL and any(file.read(ZERO_TAIL)):
        file.seek(size - ZERO_TAIL)
        if not any(file.read(ZERO_TAIL)):
            raise ModelFileError(f"the last {ZERO_TAIL:,} bytes are zeros, so the download is incomplete. Download the file again.")
    file.seek(position)


def _read_arrays(file: BinaryIO, network: Network) -> Iterator[tuple[str, Array]]:
    for name, shape in _file_shapes(network):
        position = file.tell()
        values = np.fromfile(file, "<f4", prod(shape))
        if values.size < prod(shape):
            raise ModelFileError(f"array {name!r} at byte {position} is incomplete: another program is changing the file.")
        if problem := _invalid_values(name, values):
            raise ModelFileError(f"array {name!r} at byte {position} {problem}. The file is damaged, or its model diverged in training.")
        if name.endswith("/kernel"):  # (out, in, height, width) -> (height, width, in, out)
            values = np.ascontiguousarray(values.reshape(shape).transpose(2, 3, 1, 0))
        yield name, values


def _invalid_values(name: str, values: Array) -> str:
    """Return why these values cannot belong to a working model, or "" if they can."""
    if not np.isfinite(values).all():
        return "contains NaN or infinity"
    if name.endswith("/variance") and values.min() < 0:
        return "contains a negative variance"
    return ""


def _header_bytes(model: Model) -> bytes:
    numbers = {part: model.provenance.get(f"darknet.{part}", str(number)) for part, number in WeightsHeader()._asdict().items()}
    try:
        header = WeightsHeader(**{part: int(number) for part, number in numbers.items()})
        return struct.pack(header.layout, *header)
    except (ValueError, struct.error) as error:
        raise NetworkError(f"the provenance contains no valid .weights header: {numbers} ({error}).") from error


def _written_arrays(model: Model) -> Iterator[NDArray[np.float32]]:
    epsilons = {layer.name: layer.epsilon for layer in model.spec.network if isinstance(layer, Conv)}
    for name, _ in _file_shapes(model.spec.network):
        values = model.arrays[name]
        layer, _, part = name.rpartition("/")
        if problem := _invalid_values(name, values):
            raise ArraysError(f"array {name!r} {problem}, so the model cannot detect anything.")
        if part == "variance" and epsilons[layer] != DARKNET_EPSILON:
            values = _with_epsilon(values, epsilons[layer])
        yield np.ascontiguousarray(values.transpose(3, 2, 0, 1) if part == "kernel" else values, "<f4")


def _with_epsilon(variance: Array, epsilon: float) -> Array:
    """Return the variance with which Darknet's divisor, sqrt(variance) + 1e-6, equals sqrt(variance + epsilon)."""
    divisor = np.sqrt(variance.astype(np.float64) + epsilon)
    return np.asarray(np.maximum(divisor - 1e-6, 0) ** 2, np.float32)
