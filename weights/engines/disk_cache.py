"""Engine cache on disk: networks that onnxruntime or OpenVINO has optimised, ready for the next start.

    KEY/graph.onnx, kernels   written by `detector.engines.onnxruntime`
    KEY/compiled.blob         written by `detector.engines.openvino`
    KEY/metadata              a hash, then JSON: engine, precision, name, spec, provenance and quantization, and a hash of each file
    KEY.winner                written by `weights.engines.race`: the fastest engine of a model

KEY is a hash of the model's content and of everything else that the files depend on, so a cached engine is never outdated. The least
recently used engines are deleted when the cache exceeds MAX_CACHE_BYTES. A folder gets its final name only when it is complete, and every
file is compared with its hash whenever it is read.

The hashes detect damage, not an attack: a user who can write the folder can replace the hashes too. So the cache is used only if no
other user can write it.
"""

import hashlib
import json
import logging
import mmap
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from detector.engines import Engine
from detector.engines.cores import usable_cores
from detector.engines.onnxruntime import GRAPH_FILE, KERNELS_FILE, OnnxEngine, engine_fingerprint
from detector.errors import EngineCacheError, ModelError
from detector.network.quantization import Quantization
from detector.network.spec import Model, ModelSpec
from weights.formats.spec_json import quantization_from_json, quantization_to_json, spec_from_json, spec_to_json
from weights.hub import cache

if TYPE_CHECKING:
    from detector.engines.openvino import OpenvinoEngine

logger = logging.getLogger(__name__)

METADATA = "metadata"
HASH_BLOCK_BYTES = 2**23
MAX_CACHE_BYTES = 2**30  # Size limit of the cache. YOLOv2 takes a fifth of it.
_HINT = "BOXWRIGHT_HOME sets another folder, BOXWRIGHT_ENGINES=0 turns the engine cache off"
_PACKAGE = Path(__file__).resolve().parents[1]
_FILES = (GRAPH_FILE, KERNELS_FILE, "compiled.blob")
_ABANDONED_SECONDS = 3600  # age at which an incomplete folder is assumed to belong to a killed process


class CachedEngine(NamedTuple):
    """An engine from the cache, with the description of its model."""

    name: str
    spec: ModelSpec
    provenance: dict[str, str]
    quantization: Quantization | None
    engine: Engine


def engines_folder() -> Path:
    """Return the cache's folder, which is next to the folder of pulled files."""
    return cache.weights_folder().with_name("engines")


def engine_key(content: str) -> str:
    """Return the cache key of a model's content for this kind of machine, these library versions and this code."""
    digest = hashlib.blake2b(f"{content} {engine_fingerprint()}".encode(), digest_size=16)
    for source in sorted((*_PACKAGE.rglob("*.py"), *_PACKAGE.rglob("*.toml"))):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def read_engine(key: str, *, concurrent_sessions: bool = True) -> CachedEngine | None:
    """Read an engine from the cache. Return None if it is missing, damaged or unsafe; the last two are logged.

    concurrent_sessions: Prepare OpenVINO for parallel calls. onnxruntime always has a second session, because it costs nothing.
    """
    folder = engines_folder() / key
    if not folder.is_dir() or not is_private(folder.parent, folder):
        return None
    try:
        metadata = _checked_metadata(folder)
        spec = spec_from_json(metadata["spec"])
        quantization = quantization_from_json(metadata["quantization"]) if "quantization" in metadata else None
        engine = _load_engine(folder, metadata, len(spec.anchors), concurrent_sessions)
        cached = CachedEngine(metadata["name"], spec, metadata["provenance"], quantization, engine)
    except (OSError, ValueError, KeyError, TypeError, ModelError, EngineCacheError) as error:
        logger.warning("the cached engine %s is damaged (%s); the engine is built again", folder, error)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    _mark_as_used(folder)
    return cached


def is_private(*paths: Path) -> bool:
    """Return whether only the owner of the process can write the paths. Log the first path that other users can write."""
    if unsafe := next((path for path in paths if not _only_owner_can_write(path)), None):
        logger.warning("%s is not used: other users can write it. Delete it, or restrict its owner and permissions. %s", unsafe, _HINT)
    return unsafe is None


def _load_engine(folder: Path, metadata: dict[str, Any], anchors: int, concurrent_sessions: bool) -> Engine:
    if metadata["engine"] != "openvino":
        return OnnxEngine.from_cache(folder, anchors, precision=metadata["precision"])
    from detector.engines.openvino import OpenvinoEngine

    return OpenvinoEngine.from_cache(folder, anchors, precision=metadata["precision"], concurrent_sessions=concurrent_sessions)


def persist_engine(key: str, model: Model, engine: "OnnxEngine | OpenvinoEngine") -> None:
    """Write the model's engine to the cache, and log the reason if that fails. onnxruntime builds the engine again for this."""
    if (engines_folder() / key).is_dir():  # another process wrote it first
        return
    try:
        with _complete_folder(key, sum(array.nbytes for array in model.arrays.values())) as folder:
            if isinstance(engine, OnnxEngine):
                OnnxEngine.of(model, cache_folder=folder)  # onnxruntime writes its graph only while it loads one
            else:
                engine.write_cache(folder)
            facts = {"engine": engine.name, "precision": engine.precision}
            _load_engine(folder, facts, len(model.spec.anchors), concurrent_sessions=False)  # raises if it cannot be read again
            _write_metadata(folder, model, facts)
    except (OSError, EngineCacheError) as error:
        logger.warning("the engine of %s is not cached for the next start: %s. %s", model.name, error, _HINT)


@contextmanager
def _complete_folder(key: str, size: int) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `key` when the block ends.

    Raises EngineCacheError if there is not enough space, and OSError if the folder cannot be written.
    """
    home = engines_folder()
    make_private_folder(home)
    free = shutil.disk_usage(home).free
    if size > min(MAX_CACHE_BYTES, free // 2):
        raise EngineCacheError(
            f"it takes {size:,} bytes; the cache uses at most {MAX_CACHE_BYTES:,} bytes and half of the {free:,} free bytes in {home}"
        )
    folder = home / f".{secrets.token_hex(8)}.part"
    make_private_folder(folder)
    try:
        yield folder
        if not (home / key).exists():
            folder.rename(home / key)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _delete_least_recently_used(home)


def make_private_folder(folder: Path) -> None:
    """Create a folder, or restrict an existing folder of this user, so that only its owner can write it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not _only_owner_can_write(folder) and folder.stat().st_uid == os.geteuid():
        folder.chmod(0o755)


def _only_owner_can_write(folder: Path) -> bool:
    """True if the folder belongs to this user or root, and no other user can write it. A symbolic link is not accepted."""
    if not hasattr(os, "geteuid"):  # Windows, where the folder inherits the access rights of the user's profile
        return True
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _delete_least_recently_used(home: Path) -> None:
    """Delete engines until the cache fits into MAX_CACHE_BYTES. Also delete incomplete folders that a killed process left."""
    folders = sorted((path for path in home.iterdir() if path.is_dir()), key=_last_used, reverse=True)
    total = 0
    for folder in folders:
        if folder.name.startswith("."):
            delete = time.time() - _last_used(folder) > _ABANDONED_SECONDS
        else:
            total += _size_of(folder)
            delete = total > MAX_CACHE_BYTES
        if delete:
            shutil.rmtree(folder, ignore_errors=True)


def _size_of(folder: Path) -> int:
    with suppress(FileNotFoundError):  # another process may delete it at the same time
        return sum(file.stat().st_size for file in folder.iterdir())
    return 0


def _last_used(folder: Path) -> float:
    with suppress(FileNotFoundError):
        return folder.stat().st_mtime
    return 0.0


def _mark_as_used(folder: Path) -> None:
    if os.access(folder, os.W_OK):
        os.utime(folder)


def _write_metadata(folder: Path, model: Model, engine: dict[str, str]) -> None:
    metadata: dict[str, Any] = {"name": model.name, "spec": spec_to_json(model.spec), "provenance": dict(model.provenance)} | engine
    if model.quantization:
        metadata["quantization"] = quantization_to_json(model.quantization)
    metadata |= {name: _file_hash(folder / name) for name in _FILES if (folder / name).exists()}
    text = json.dumps(metadata)
    (folder / METADATA).write_text(f"{_text_hash(text)}\n{text}", encoding="ascii")


def _checked_metadata(folder: Path) -> dict[str, Any]:
    expected, _, text = (folder / METADATA).read_text(encoding="ascii").partition("\n")
    if _text_hash(text) != expected:
        raise EngineCacheError(f"{METADATA} does not match its hash")
    metadata: dict[str, Any] = json.loads(text)
    for name in _FILES:
        exists = (folder / name).exists()
        if exists != (name in metadata) or (exists and _file_hash(folder / name) != metadata[name]):
            raise EngineCacheError(f"{name} does not match its hash")
    return metadata


def _file_hash(path: Path) -> str:
    """Hash the hashes of a file's blocks, computed on all cores. Raises ValueError for an empty file.

    A thread pool of `concurrent.futures` refuses work as soon as the main thread ends. Plain threads work until the process ends, so that
    a command can print its result and cache its engine afterwards.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data, memoryview(data) as content:
        starts = range(0, len(content), HASH_BLOCK_BYTES)
        hashes = [b""] * len(starts)

        def hash_every(step: int, first: int) -> None:
            for index in range(first, len(starts), step):
                hashes[index] = hashlib.blake2b(content[starts[index] : starts[index] + HASH_BLOCK_BYTES]).digest()

        workers = min(usable_cores(), len(starts))
        threads = [Thread(target=hash_every, args=(workers, first)) for first in range(1, workers)]
        for thread in threads:
            thread.start()
        hash_every(workers, 0)
        for thread in threads:
            thread.join()
        return hashlib.blake2b(b"".join(hashes)).hexdigest()


def _text_hash(text: str) -> str:
    return hashlib.blake2b(text.encode("ascii")).hexdigest()
