"""Convert a memory to the entries of a model file and back. Reading checks everything, because the file is not trusted.

index     JSON: layers with their numbers of channels and components, labels, and for each image its input size, the length of its
          compressed features, its boxes, their labels (as numbers) and roles, and the labels of which all objects have a box
bases     for each layer: mean (float16), components (float16), steps (float32)
features  the compressed features of all images, one after the other
"""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from detector.errors import ModelFileError
from detector.network.shapes import output_shapes
from detector.network.spec import MAX_INPUT_SIZE, Model
from training.data.ground_truth import Role
from training.features.basis import Basis
from training.features.memory import Memory, RememberedImage
from training.features.split_point import stored_layers
from weights.formats.memory_entries import MemoryEntries, parse_memory_index

FORMAT = 1
MAX_MEMORY_IMAGES = 20_000
MAX_DECODED_BYTES = 2**31  # Limit for the decompressed features of all images, which training keeps in RAM.


def memory_to_entries(memory: Memory) -> dict[str, bytes]:
    """Return the entries for `weights.formats.safetensors.save_model`."""
    labels = sorted({label for image in memory.images for label in (*image.labels, *image.labelled)})
    numbers = {label: number for number, label in enumerate(labels)}
    bases = [memory.bases[layer] for layer in memory.layers]
    index = {
        "format": FORMAT,
        "layers": [[layer, basis.channels, len(basis.steps)] for layer, basis in zip(memory.layers, bases, strict=True)],
        "labels": labels,
        "images": [
            {
                "size": image.size,
                "bytes": len(image.compressed),
                "boxes": [[round(float(side), 2) for side in box] for box in image.boxes],
                "labels": [numbers[label] for label in image.labels],
                "roles": image.roles.tolist(),
                "labelled": sorted(numbers[label] for label in image.labelled),
            }
            for image in memory.images
        ],
    }
    return {
        "index": json.dumps(index, separators=(",", ":")).encode("ascii"),
        "bases": b"".join(_basis_bytes(basis) for basis in bases),
        "features": b"".join(image.compressed for image in memory.images),
    }


def memory_from_entries(entries: MemoryEntries, model: Model) -> Memory:
    """Parse the entries of a model file.

    Args:
        entries: Entries from `weights.formats.safetensors.load_memory`.
        model: The model of the same file.

    Raises:
        ModelFileError: The entries do not describe a memory of this model.
    """
    try:
        return _parse(parse_memory_index(entries["index"]), entries, model)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError, struct.error) as error:
        raise ModelFileError(
            f"{model.name}: its memory is invalid ({type(error).__name__}: {error}). Remove it with 'boxwright weights strip'."
        ) from error


def _parse(index: Any, entries: MemoryEntries, model: Model) -> Memory:
    _check(index["format"] == FORMAT, f"its format is {index['format']!r}, and this Boxwright reads {FORMAT}")
    layers = tuple(str(name) for name, _, _ in index["layers"])
    _check(0 < len(layers) == len(set(layers)), "it has no layers, or names a layer twice")
    _check_layers(layers, index["layers"], model)
    bases, position = {}, 0
    for name, channels, components in index["layers"]:
        bases[name], position = _basis(entries["bases"], position, channels, components)
    _check(position == len(entries["bases"]), "its bases are too long")
    images = _images(index, entries["features"])
    _check(all(image.size % model.spec.size_multiple == 0 for image in images), "an input size does not fit the network")
    memory = Memory(layers, bases, images)
    decoder = memory.decoder(model)
    sizes = {image.size for image in images}
    bytes_by_size = {size: sum(int(np.prod(shape)) for shape in decoder.code_shapes(size).values()) for size in sizes}
    _check(sum(bytes_by_size[image.size] for image in images) <= MAX_DECODED_BYTES, f"its features exceed {MAX_DECODED_BYTES:,} bytes")
    return memory


def _check(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


def _check_layers(layers: tuple[str, ...], described: Any, model: Model) -> None:
    names = [layer.name for layer in model.spec.network]
    _check(all(layer in names for layer in layers), "it names layers that the network does not have")
    positions = [names.index(layer) for layer in layers]
    _check(positions == sorted(positions), "its layers are not in the order of the network")
    shapes = output_shapes(model.spec.network, model.spec.input_size)
    for stored, (_, channels, components) in zip(stored_layers(model.spec.network, layers), described, strict=True):
        expected = shapes[stored.name].channels
        _check(channels == expected, f"layer {stored.name} has {expected} channels, not {channels}")
        _check(type(components) is int and 0 < components <= channels, f"layer {stored.name} has {components} components")


def _basis_bytes(basis: Basis) -> bytes:
    halves = [basis.mean.astype("<f2").tobytes(), basis.components.astype("<f2").tobytes()]
    return b"".join([*halves, basis.steps.astype("<f4").tobytes()])


def _basis(data: bytes, position: int, channels: int, components: int) -> tuple[Basis, int]:
    arrays = []
    for kind, shape in (("<f2", (channels,)), ("<f2", (components, channels)), ("<f4", (components,))):
        count = int(np.prod(shape))
        array = np.frombuffer(data, kind, count, position).astype(np.float32).reshape(shape)
        _check(bool(np.isfinite(array).all()), "its bases have numbers that are not finite")
        arrays.append(array)
        position += count * np.dtype(kind).itemsize
    _check(bool((arrays[2] > 0).all()), "a rounding step is not positive")
    return Basis(*arrays), position


def _images(index: Mapping[str, Any], features: bytes) -> tuple[RememberedImage, ...]:
    _check(0 < len(index["images"]) <= MAX_MEMORY_IMAGES, f"it has {len(index['images'])} images; the limit is {MAX_MEMORY_IMAGES}")
    labels: list[str] = index["labels"]
    _check(all(isinstance(label, str) for label in labels) and len(set(labels)) == len(labels), "its labels are not unique strings")
    images, position = [], 0
    for each in index["images"]:
        size, length = each["size"], each["bytes"]
        _check(type(size) is int and 0 < size <= MAX_INPUT_SIZE, f"an input size is {size!r}")
        _check(type(length) is int and 0 < length <= len(features) - position, f"the features of an image have {length!r} bytes")
        boxes = np.array(each["boxes"], np.float32).reshape(-1, 4)
        _check(bool(np.isfinite(boxes).all() and (boxes >= 0).all() and (boxes <= size).all()), "a box is outside of its image")
        _check(bool((boxes[:, 2:] > boxes[:, :2]).all()), "a box is empty")
        roles = np.array(each["roles"], np.int8)
        _check(len(boxes) == len(roles) == len(each["labels"]), "boxes, labels and roles differ in number")
        _check(set(roles.tolist()) <= {int(role) for role in Role}, "a role is unknown")
        numbers = [*each["labels"], *each["labelled"]]
        _check(all(type(number) is int and number >= 0 for number in numbers), "a label has no valid number")
        images.append(
            RememberedImage(
                size,
                features[position : position + length],
                boxes,
                tuple(labels[number] for number in each["labels"]),
                roles,
                frozenset(labels[number] for number in each["labelled"]),
            )
        )
        position += length
    _check(position == len(features), "its features are too long")
    return tuple(images)
