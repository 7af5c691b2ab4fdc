"""Darknet's .weights: arrays <-> bytes, in the order of the .cfg's layers.

The file (Darknet src/parser.c, load_weights_upto and load_convolutional_weights): three int32 for the version, a count of the photos
seen in training, then for each convolution its bias, with batch norm its scale, mean and variance, and its kernel (out, in / groups,
height, width); all little-endian, the numbers float32.
"""

import struct
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detector.errors import ArraysError, ModelFileError, NetworkError
from detector.network import Conv, Network
from detector.shapes import Array, array_shapes
from detector.spec import Edges, Model
from weights.atomic_files import atomic_write_all
from weights.formats.bounded_io import opened, read_text
from weights.formats.darknet.cfg import DARKNET_EPSILON, format_cfg, read_cfg

MAX_NAMES_BYTES = 2**20


class Header(NamedTuple):
    """The start of a .weights file."""

    major: int = 0
    minor: int = 2
    revision: int = 0
    seen: int = 0  # photos, over the whole training

    @property
    def layout(self) -> str:
        """As `struct` writes it: `seen` has 8 bytes from version 0.2 on, and 4 before (and where a version is out of all reason)."""
        return "<iiiQ" if self.major * 10 + self.minor >= 2 and self.major < 1000 and self.minor < 1000 else "<iiii"


def read_darknet(
    cfg: Path,
    weights: Path,
    *,
    labels: Sequence[str] = (),
    layers: int | None = None,
    edges: Edges = "inclusive",
    name: str | None = None,
) -> Model:
    """The model in a .cfg and its .weights.

    labels, layers, edges: see `darknet_cfg.read_cfg`. With `layers`, the file may hold those first layers only, as
    darknet19_448.conv.23 does, or more of them; without, it is read to its last byte. name: that of the .cfg if not given. The
    header is kept in the provenance.
    Raises what `read_cfg` raises, and ModelFileError, naming layer, array and byte, for a file that is too short, too long, or holds
    numbers that no detection can come of (NaN, infinity, a variance below 0).
    """
    spec = read_cfg(cfg, labels=labels, layers=layers, edges=edges)
    arrays, provenance = read_weights(weights, spec.network, whole=layers is None)
    return Model(name or cfg.stem, spec, arrays, {"cfg": cfg.name} | provenance)


def read_weights(weights: Path, network: Network, *, whole: bool = True) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays of a network whose layers are known, and the provenance that the file gives them; `read_darknet` without a .cfg.

    whole: refuse a file that goes on after them. Raises ModelFileError as `read_darknet` does.
    """
    with opened(weights) as (file, size):
        try:
            header = _read_header(file, size)
            _check_size(network, size, struct.calcsize(header.layout), whole=whole)
            arrays = dict(_read_arrays(file, network))
        except ModelFileError as error:
            raise ModelFileError(f"{weights}: {error}") from error
    provenance = {"format": "darknet", "weights": weights.name}
    return arrays, provenance | {f"darknet.{part}": str(number) for part, number in header._asdict().items()}


def write_darknet(model: Model, cfg: Path, weights: Path) -> None:
    """Writes the model for Darknet; `read_darknet` gives its network and arrays back, and a file that it read comes out the same.

    Both files appear when both are whole. The header is that in the provenance, or version 0.2.0 with 0 photos seen. Where a batch
    norm's epsilon is not Darknet's, the variance takes it in: sqrt(written) + 1e-6 = sqrt(variance + epsilon).
    Raises NetworkError for what a .cfg cannot say (see `darknet_cfg.format_cfg`), ArraysError for arrays that are not finite or have
    a variance below 0, and OSError where the disk refuses.
    """
    text = format_cfg(model.spec)
    header = _packed(model)
    with atomic_write_all(cfg, weights) as (cfg_file, weights_file):
        cfg_file.write(text.encode("ascii"))
        weights_file.write(header)
        for array in _written_arrays(model):
            weights_file.write(array.data)


def read_labels(names: Path) -> tuple[str, ...]:
    """The labels in a .names file: UTF-8, one a line; blank lines at the end do not count.

    Raises ModelFileError for a file that is not such text, or has a blank line before its last label.
    """
    text = read_text(names, encoding="utf-8", limit=MAX_NAMES_BYTES).removeprefix("\ufeff")  # an editor's byte order mark
    lines = [line.strip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ModelFileError(f"{names}: there is no label in it; it must have one for each class, a line each.")
    if "" in lines:
        raise ModelFileError(f"{names}: line {lines.index('') + 1} is blank; every line must be the label of a class.")
    return tuple(lines)


def _read_header(file: BinaryIO, size: int) -> Header:
    layout = "<iii"
    if size >= struct.calcsize(layout):
        layout = Header(*struct.unpack(layout, file.read(12))).layout
    if size < struct.calcsize(layout):
        raise ModelFileError(f"cut short: the header needs {struct.calcsize(layout)} bytes at byte 0, and {size} are there.")
    file.seek(0)
    return Header(*struct.unpack(layout, file.read(struct.calcsize(layout))))


def _file_shapes(network: Network) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every array as the file has them, in its order."""
    shapes = array_shapes(network)
    for layer in network:
        if isinstance(layer, Conv):
            for part in ("beta", "gamma", "mean", "variance") if layer.normalize else ("bias",):
                yield f"{layer.name}/{part}", (layer.filters,)
            height, width, inputs, outputs = shapes[f"{layer.name}/kernel"]
            yield f"{layer.name}/kernel", (outputs, inputs, height, width)


def _check_size(network: Network, size: int, position: int, *, whole: bool) -> None:
    """Compare the file's size with what the network needs, before any of it is read or any memory taken."""
    last = "the header"
    for name, shape in _file_shapes(network):
        needed, left = 4 * prod(shape), size - position
        if needed > left:
            raise ModelFileError(
                f"array {name!r} needs {needed} bytes at byte {position}, and {left} are left. "
                "The file is cut short, or belongs to another .cfg."
            )
        position += needed
        last = f"the last array, {name!r}"
    if whole and position != size:
        raise ModelFileError(f"{size - position} bytes are left at byte {position}, after {last}. The file belongs to another .cfg.")


def _read_arrays(file: BinaryIO, network: Network) -> Iterator[tuple[str, Array]]:
    for name, shape in _file_shapes(network):
        position = file.tell()
        values = np.fromfile(file, "<f4", prod(shape))
        if values.size < prod(shape):
            raise ModelFileError(f"array {name!r} at byte {position} ended early: the file is changing while it is read.")
        if problem := _useless(name, values):
            raise ModelFileError(f"array {name!r} at byte {position} {problem}. The file is damaged, or its training diverged.")
        yield name, _hwio(values.reshape(shape)) if name.endswith("/kernel") else values


def _hwio(kernel: Array) -> Array:
    """(out, in, height, width) -> (height, width, in, out)."""
    return np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))


def _useless(name: str, values: Array) -> str:
    """Why nothing could ever be detected with these numbers, or "" if there is no such reason."""
    if not np.isfinite(values).all():
        return "holds NaN or infinity"
    if name.endswith("/variance") and values.min() < 0:
        return "holds a variance below 0"
    return ""


def _packed(model: Model) -> bytes:
    numbers = {part: model.provenance.get(f"darknet.{part}", str(number)) for part, number in Header()._asdict().items()}
    try:
        header = Header(**{part: int(number) for part, number in numbers.items()})
        return struct.pack(header.layout, *header)
    except (ValueError, struct.error) as error:
        raise NetworkError(f"the provenance holds no .weights header: {numbers} ({error}).") from error


def _written_arrays(model: Model) -> Iterator[NDArray[np.float32]]:
    epsilons = {layer.name: layer.epsilon for layer in model.spec.network if isinstance(layer, Conv)}
    for name, _ in _file_shapes(model.spec.network):
        values = model.arrays[name]
        layer, _, part = name.rpartition("/")
        if problem := _useless(name, values):
            raise ArraysError(f"array {name!r} {problem}; nothing could be detected with it.")
        if part == "variance" and epsilons[layer] != DARKNET_EPSILON:
            values = _with_epsilon(values, epsilons[layer])
        yield np.ascontiguousarray(values.transpose(3, 2, 0, 1) if part == "kernel" else values, "<f4")


def _with_epsilon(variance: Array, epsilon: float) -> Array:
    """The variance that Darknet, dividing by sqrt(variance) + 1e-6, needs to divide by sqrt(variance + epsilon)."""
    divisor = np.sqrt(variance.astype(np.float64) + epsilon)
    return np.asarray(np.maximum(divisor - 1e-6, 0) ** 2, np.float32)
