"""Engines kept on disk: what onnxruntime makes of a model, so that the next start has only to map it into memory.

    KEY/graph.onnx, kernels   as `detector.engines.onnxruntime` writes them
    KEY/facts                 a hash, and below it JSON: name, spec, provenance and quantization of the model, and each file's hash

KEY is a hash of the model's content and of all else that the files depend on, so nothing here is ever out of date: what is not asked for
any more goes when MAX_BYTES are full. A folder has its name only when it is whole, and is not trusted then: every file is compared with its
hash whenever it is read.
"""

import hashlib
import json
import logging
import mmap
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from detector.engines.cores import usable_cores
from detector.engines.onnxruntime import GRAPH_FILE, KERNELS_FILE, OnnxEngine
from detector.errors import EngineCacheError, ModelError
from detector.quantization import Quantization
from detector.spec import Model, ModelSpec
from weights.formats.spec_json import quantization_from_json, quantization_to_json, spec_from_json, spec_to_json
from weights.hub import cache

log = logging.getLogger(__name__)

FACTS = "facts"
BLOCK = 2**23
"""Bytes that are hashed at a time."""
MAX_BYTES = 2**30
"""Of all kept engines together; YOLOv2 takes a fifth."""
_ADVICE = "BOXWRIGHT_HOME names another folder, BOXWRIGHT_ENGINES=0 asks for none"
_PACKAGE = Path(__file__).resolve().parents[1]
_ABANDONED_SECONDS = 3600  # after which a folder that never got its name belongs to nobody


class CachedEngine(NamedTuple):
    """An engine, and what there is to say of its model."""

    name: str
    spec: ModelSpec
    provenance: dict[str, str]
    quantization: Quantization | None
    engine: OnnxEngine


def folder() -> Path:
    """Where they lie: beside the pulled files (see `cache.folder`)."""
    return cache.folder().with_name("engines")


def key_of(content: str) -> str:
    """What a model's engine is called here, on this kind of machine and with this code, that which reads models included."""
    digest = hashlib.blake2b(f"{content} {kind()}".encode(), digest_size=16)
    for source in sorted((*_PACKAGE.rglob("*.py"), *_PACKAGE.rglob("*.toml"))):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def read(key: str) -> CachedEngine | None:
    """The engine of that key, or None: where there is none, and where it is damaged, which is logged."""
    place = folder() / key
    if not place.is_dir():
        return None
    try:
        facts = _checked_facts(place)
        spec = spec_from_json(facts["spec"])
        quantization = quantization_from_json(facts["quantization"]) if "quantization" in facts else None
        kept = CachedEngine(facts["name"], spec, facts["provenance"], quantization, OnnxEngine.from_cache(place, len(spec.anchors)))
    except (OSError, ValueError, KeyError, TypeError, ModelError, EngineCacheError) as error:
        log.warning("%s is damaged (%s); the engine is built anew", place, error)
        shutil.rmtree(place, ignore_errors=True)
        return None
    _used_now(place)
    return kept


def keep(key: str, model: Model) -> None:
    """Build the model's engine once more and keep it under that key; where that cannot be, the log says why."""
    if (folder() / key).is_dir():  # another process was quicker
        return
    try:
        with _named_when_whole(key, _size(model)) as place:
            OnnxEngine.of(model, cache_folder=place)
            OnnxEngine.from_cache(place, len(model.spec.anchors))  # can it be read?
            _write_facts(place, model)
    except (OSError, EngineCacheError, RuntimeError) as error:  # the last: the process is ending, and Python begins nothing new
        log.warning("the engine of %s is not kept for the next start: %s. %s", model.name, error, _ADVICE)


def _size(model: Model) -> int:
    return sum(array.nbytes for array in model.arrays.values())


@contextmanager
def _named_when_whole(key: str, size: int) -> Iterator[Path]:
    """A folder to write in, called `key` in the end. Raises KeepError where there is no room, OSError where nothing can be written."""
    home = folder()
    home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home).free
    if size > min(MAX_BYTES, free // 2):
        raise EngineCacheError(
            f"it takes {size:,} bytes, and of {free:,} that are free in {home} half may be used, {MAX_BYTES:,} at the most"
        )
    place = home / f".{secrets.token_hex(8)}.part"
    place.mkdir()
    try:
        yield place
        if not (home / key).exists():
            place.rename(home / key)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    _make_room(home)


def _make_room(home: Path) -> None:
    """Remove what nobody finished, and the engines that have not been used for longest, until MAX_BYTES suffice."""
    by_age = sorted((place for place in home.iterdir() if place.is_dir()), key=_last_used, reverse=True)
    total = 0
    for place in by_age:
        if place.name.startswith("."):
            gone = time.time() - _last_used(place) > _ABANDONED_SECONDS
        else:
            total += _bytes(place)
            gone = total > MAX_BYTES
        if gone:
            shutil.rmtree(place, ignore_errors=True)


def _bytes(place: Path) -> int:
    with suppress(FileNotFoundError):  # another process makes room, too
        return sum(file.stat().st_size for file in place.iterdir())
    return 0


def _last_used(place: Path) -> float:
    with suppress(FileNotFoundError):
        return place.stat().st_mtime
    return 0.0


def _used_now(place: Path) -> None:
    if os.access(place, os.W_OK):
        os.utime(place)


def _write_facts(place: Path, model: Model) -> None:
    facts = {"name": model.name, "spec": spec_to_json(model.spec), "provenance": dict(model.provenance)}
    if model.quantization:
        facts["quantization"] = quantization_to_json(model.quantization)
    facts |= {name: _digest_of_file(place / name) for name in (GRAPH_FILE, KERNELS_FILE) if (place / name).exists()}
    text = json.dumps(facts)
    (place / FACTS).write_text(f"{_digest_of_text(text)}\n{text}", encoding="ascii")


def _checked_facts(place: Path) -> dict[str, Any]:
    digest, _, text = (place / FACTS).read_text(encoding="ascii").partition("\n")
    if _digest_of_text(text) != digest:
        raise EngineCacheError(f"{FACTS} is not what was written")
    facts: dict[str, Any] = json.loads(text)
    for name in (GRAPH_FILE, KERNELS_FILE):
        if (place / name).exists() != (name in facts) or (name in facts and _digest_of_file(place / name) != facts[name]):
            raise EngineCacheError(f"{name} is not what was written")
    return facts


def _digest_of_file(path: Path) -> str:
    """Of the hashes of its blocks, which the cores share: hashing needs no interpreter. Raises ValueError for an empty file."""
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        memoryview(data) as content,
        ThreadPoolExecutor(usable_cores()) as pool,
    ):
        hashes = pool.map(lambda start: hashlib.blake2b(content[start : start + BLOCK]).digest(), range(0, len(content), BLOCK))
        return hashlib.blake2b(b"".join(hashes)).hexdigest()


def _digest_of_text(text: str) -> str:
    return hashlib.blake2b(text.encode("ascii")).hexdigest()
