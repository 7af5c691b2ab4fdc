"""How much memory models take, and how much there is for them."""

import os
from math import prod
from pathlib import Path

from detector.engines.cores import CGROUP_ROOT, PROCESS_CGROUPS, cgroup_folders
from detector.engines.onnxruntime import MAX_SECOND_SESSION_BYTES
from detector.quantization import Quantization
from detector.shapes import array_shapes, output_shapes
from detector.spec import ModelSpec

SHARE = 0.5
"""Of the process's memory, for loaded models where nobody has said."""

WHILE_LOADING = 4
"""Times its size that a model takes while it is loaded. By the process's peak: everyday and everyday-int8 3.6, YOLOv2 4.1."""


def needed_bytes(spec: ModelSpec, quantization: Quantization | None) -> int:
    """What a loaded model takes, about: its numbers, and twice the most that lies between two layers; if it is no larger than
    LANES_UP_TO, the same once more for calls beside one another.

    Against what onnxruntime's process really grew by, without the latter: everyday 48 for 43 MiB, everyday-int8 26 for 26,
    YOLOv2 246 for 239.
    """
    in_8_bits = {f"{name}/kernel" for name in quantization.layers} if quantization else set()
    numbers = sum(prod(shape) * (1 if name in in_8_bits else 4) for name, shape in array_shapes(spec.network).items())
    between = [shape.side**2 * shape.channels * 4 for shape in output_shapes(spec.network, spec.input_size).values()]
    once = numbers + 2 * max(one + other for one, other in zip(between, [*between[1:], 0], strict=True))
    return 2 * once if numbers <= MAX_SECOND_SESSION_BYTES else once


def usable_bytes(cgroup: Path = CGROUP_ROOT, member: Path = PROCESS_CGROUPS) -> int:
    """The least of: the machine's memory, and the cgroups' limits (version 2, memory.max; version 1, memory.limit_in_bytes)."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    files = (group / name for group in cgroup_folders("memory", cgroup, member) for name in ("memory.max", "memory.limit_in_bytes"))
    limits = (file.read_text(encoding="ascii").strip() for file in files if file.is_file())
    return min([machine, *(int(limit) for limit in limits if limit != "max")])
