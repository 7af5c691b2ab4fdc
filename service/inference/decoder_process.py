"""Decode a heavy image in a child process.

Decoding 64 megapixels takes up to 3 s. The decoder holds the GIL for a part of this time, with WebP for all of it. In a thread of the
service this would stop the event loop. The child has a lower priority and limited processor time and memory. A crash ends only the child.

The child receives pickled arguments. It answers with a line of JSON and raw pixels, because the parent must not trust it.
"""

import ctypes
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from detector import errors
from detector.boxes.placement import Placement
from detector.detector import PreparedImage
from detector.errors import DamagedImage, ImageError
from detector.imaging.draw import drawn_size, shrink_to_draw
from detector.imaging.formats.image_file import ImageFile
from detector.imaging.image import DecodedImage, decode_file
from detector.network.spec import ModelSpec

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

logger = logging.getLogger("boxwright.service")

CPU_SECONDS = 30  # Limit of the child's processor time; more than five times what the slowest known file needs.
SPARE_BYTES = 128 * 2**20
"""Memory that the child may use in addition to that of the image, for example for tables of the decoder."""
NICENESS = 5  # Lowers the child's priority: busy threads of the service get three times its share of a core.
COMMAND = "from service.inference.decoder_process import run_child; run_child()"
BAND_BYTES = 2**20  # Bytes per read and write of the pipe.
SET_PARENT_DEATH_SIGNAL = 1  # Option of Linux's prctl: the kernel sends this process a signal when its parent ends.


@dataclass(frozen=True)
class DecodeTask:
    """What the child does: decode a file, place it in the network's input, and keep a copy to draw on if `draw`."""

    file: ImageFile
    spec: ModelSpec
    min_side: int | None  # see `decode_image`
    draw: bool
    memory_bytes: int  # for the image, see `needed_bytes`


class Cancellation:
    """Ends a child process early, from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self.requested = False

    def watch(self, child: "subprocess.Popen[bytes]") -> None:
        """Kill this child when `cancel` is called, or now if it has been called."""
        with self._lock:
            self._child = child
            if self.requested:
                child.kill()

    def cancel(self) -> None:
        """Kill the child. Do nothing if it has ended."""
        with self._lock:
            self.requested = True
            if self._child is not None:
                self._child.kill()


def decode_in_process(task: DecodeTask, cancellation: Cancellation) -> tuple[PreparedImage, DecodedImage | None]:
    """Decode an image in a child process.

    Args:
        task: What to do.
        cancellation: Ends the process early. Nobody waits for the resulting DamagedImage.

    Returns:
        The image for the network, and the image to draw on if the task includes it.

    Raises:
        ImageError: The image cannot be decoded, or the child process failed.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", COMMAND, str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as child:
        cancellation.watch(child)
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            pickle.dump(task, child.stdin)
            child.stdin.close()
            return _receive(child.stdout, task)
        except (OSError, ValueError, TypeError, LookupError, EOFError) as error:
            child.kill()
            if not cancellation.requested:
                logger.error("the child process for a %s ended with exit code %s: %s", task.file.format, child.wait(), error)
            raise DamagedImage(f"the {task.file.format} cannot be decoded within the limits of this service. Save it again.") from error
        finally:
            child.kill()


def _receive(pipe: IO[bytes], task: DecodeTask) -> tuple[PreparedImage, DecodedImage | None]:
    header: dict[str, Any] = json.loads(pipe.readline(10_000) or "null") or {}
    if "error" in header:
        raise _image_error(str(header["error"]), str(header["message"]))
    if not header:
        raise EOFError("no response")
    placement = Placement.of(task.spec, *task.file.upright_size)
    pixels = np.empty((placement.size, placement.size, 3), np.float32)
    _read_into(pipe, pixels.data.cast("B"))
    image = None
    if task.draw:
        size = int(header["width"]), int(header["height"])
        shorter, longer = sorted(task.file.decoded_size(min(drawn_size(*task.file.size))))
        if not 1 <= min(size) <= shorter or max(size) > longer:
            raise ValueError(f"unexpected size {size}")
        data = bytearray(3 * size[0] * size[1])
        _read_into(pipe, memoryview(data))
        image = DecodedImage(Image.frombytes("RGB", size, data), *task.file.upright_size)
    return PreparedImage(placement, pixels), image


def _read_into(pipe: IO[bytes], target: memoryview) -> None:
    """Fill `target`. Raises EOFError if the pipe ends before `target` is full."""
    position = 0
    while position < len(target):
        count = pipe.readinto(target[position : position + BAND_BYTES])  # type: ignore[attr-defined]  # a BufferedReader
        if not count:
            raise EOFError(f"only {position:,} of {len(target):,} bytes")
        position += count


def _image_error(name: str, message: str) -> ImageError:
    error = getattr(errors, name, DamagedImage)
    return error(message) if isinstance(error, type) and issubclass(error, ImageError) else DamagedImage(message)


def run_child() -> None:
    """Decode the image that stdin describes, and write it to stdout. The argument of the command is the parent's process id."""
    if sys.platform == "linux":
        _end_with_parent(int(sys.argv[1]))
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        os.nice(NICENESS)
    task = pickle.load(sys.stdin.buffer)  # from the parent process
    if resource is not None and sys.platform == "linux":
        _limit_memory(task.memory_bytes + SPARE_BYTES)
    output = sys.stdout.buffer
    try:
        decoded = decode_file(task.file, task.min_side)
        pixels = Placement.of(task.spec, decoded.width, decoded.height).apply(decoded.pillow_image)
        image = _image_to_draw(task, decoded) if task.draw else None
    except ImageError as error:
        output.write(json.dumps({"error": type(error).__name__, "message": str(error)}).encode() + b"\n")
        return
    size = image.size if image is not None else (0, 0)
    output.write(json.dumps({"width": size[0], "height": size[1]}).encode() + b"\n")
    output.write(pixels.data)
    if image is not None:
        rows = max(1, BAND_BYTES // (3 * size[0]))
        for top in range(0, size[1], rows):
            output.write(image.crop((0, top, size[0], min(top + rows, size[1]))).tobytes())
    output.flush()


def _end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, even if the parent is killed."""
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # the parent has ended before the call
        sys.exit(1)


def _limit_memory(count: int) -> None:
    """Limit the private memory of this process to its present size plus `count` bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    limit = pages * resource.getpagesize() + count
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _image_to_draw(task: DecodeTask, decoded: DecodedImage) -> Image.Image:
    side = min(drawn_size(*task.file.size))
    if not decoded.is_full_size:
        decoded = decode_file(task.file, side)
    return shrink_to_draw(decoded)
