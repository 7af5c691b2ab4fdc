"""The precisions of a model, and the average precision (AP) that its files record for each.

A float32 model may have an 8-bit version. Both versions of `everyday` are embedded. The 8-bit version of FILE.safetensors is
FILE-int8.safetensors in the same folder, which `boxwright quantize` writes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from detector.engines.cores import has_bfloat16, has_vnni
from detector.engines.support import Precision
from detector.errors import SettingError
from weights.embedded import EMBEDDED_INT8
from weights.engines.options import PrecisionChoice
from weights.formats.safetensors import ModelHeader, arrays_checksum, load_memory, load_model, read_header, save_model
from weights.hub.resolve import ModelSource

MAX_AP_LOSS = 0.005  # Largest loss of AP50 against float32 that "auto" accepts.
INT8_SUFFIX = "-int8"  # FILE-int8.safetensors is the 8-bit version of FILE.safetensors.
QUANTIZED_FROM_ARRAYS = "quantized_from_arrays"
"""Provenance key of an 8-bit model: the checksum of the float32 model's arrays."""

_AP_KEYS: Mapping[Precision, tuple[str, ...]] = {
    "float32": ("ap50_float32", "ap50_before", "ap50"),  # the last two: older files, and `boxwright finetune`
    "bfloat16": ("ap50_bfloat16",),
    "int8": ("ap50_int8", "ap50_after"),
}
_FREQUENT_KEY = "ap50_frequent_{}"


class RecordedAp(NamedTuple):
    """An AP50, and what it was measured on."""

    ap50: float
    images: str  # "301 images (animals, val)"


@dataclass(frozen=True)
class Versions:
    """The files of a model by precision."""

    stored: Precision  # precision of the file that the user named
    sources: Mapping[Precision, ModelSource]
    records: tuple[Mapping[str, str], ...]  # provenance of each file

    @classmethod
    def of(cls, source: ModelSource) -> "Versions":
        """Find the versions of a model. Raises ModelFileError for a damaged file."""
        if source.entry is not None:  # a catalogue file has no provenance
            return cls("float32", {"float32": source, "bfloat16": source}, ())
        header = read_header(source.path)
        if header.quantization is not None:
            return cls("int8", {"float32": source, "bfloat16": source, "int8": source}, (header.provenance,))
        sources: dict[Precision, ModelSource] = {"float32": source, "bfloat16": source}
        records: list[Mapping[str, str]] = [header.provenance]
        if (found := _int8_version(source, header)) is not None:
            sources["int8"], provenance = found
            records.append(provenance)
        return cls("float32", sources, tuple(records))

    def allowed(self, choice: PrecisionChoice | None) -> tuple[Precision, ...]:
        """Return the precisions that a choice permits, the one that is probably the fastest first.

        "auto" permits int8 on processors with VNNI, because it is slower than float32 on others, and bfloat16 on processors that support
        it. Both require a recorded AP, except int8 for the file of an 8-bit model. Without either, "auto" permits float32.
        Raises SettingError if the choice is int8 and the model has no 8-bit version.
        """
        if choice is None:
            return (self.stored,)
        if choice == "int8" and "int8" not in self.sources:
            raise SettingError(
                "this model has no 8-bit version. 'boxwright quantize MODEL --calibration DIR' writes one next to the model file; "
                "or choose another precision."
            )
        if choice != "auto":
            return (choice,)
        fast: list[Precision] = []
        if "int8" in self.sources and has_vnni() and (self.stored == "int8" or self.keeps_ap("int8")):
            fast.append("int8")
        if has_bfloat16() and self.keeps_ap("bfloat16"):
            fast.append("bfloat16")
        return tuple(fast) or ("float32",)

    def keeps_ap(self, precision: Precision) -> bool:
        """Return whether the files record, for the same images, that the precision loses at most MAX_AP_LOSS.

        The mean over classes with at least 19 boxes decides, if it is recorded. In the mean over all classes, a single box of a rare class
        can make a difference of several points.
        """
        for frequent in (True, False):
            measured = [found for provenance in self.records if (found := recorded_ap50(provenance, precision, frequent=frequent))]
            exact = [found for provenance in self.records if (found := recorded_ap50(provenance, "float32", frequent=frequent))]
            pairs = [(float32.ap50, other.ap50) for other in measured for float32 in exact if float32.images == other.images]
            if pairs:
                return all(float32 - other <= MAX_AP_LOSS + 1e-9 for float32, other in pairs)
        return False


def recorded_ap50(provenance: Mapping[str, str], precision: Precision, *, frequent: bool = False) -> RecordedAp | None:
    """Read a record such as "0.8043 on 301 images (animals, val)". None if there is no record, or its text has another form.

    frequent: Read the mean over the classes with at least 19 boxes instead of all classes.
    """
    keys = (_FREQUENT_KEY.format(precision),) if frequent else _AP_KEYS[precision]
    text = next((provenance[key] for key in keys if key in provenance), "")
    found = re.fullmatch(r"(\d\.\d+) on (.+)", text)
    return RecordedAp(float(found[1]), found[2]) if found else None


def ap_record(precision: Precision, ap50: float, ap50_frequent: float, images: str) -> dict[str, str]:
    """Return the provenance that `recorded_ap50` reads.

    Args:
        precision: The precision that was measured.
        ap50: Mean AP50 over all classes.
        ap50_frequent: Mean AP50 over the classes with at least 19 boxes.
        images: What it was measured on, such as "301 images (animals, val)". Only records of equal images are compared.
    """
    return {_AP_KEYS[precision][0]: f"{ap50:.4f} on {images}", _FREQUENT_KEY.format(precision): f"{ap50_frequent:.4f} on {images}"}


def add_provenance(path: Path, record: Mapping[str, str]) -> None:
    """Replace a model file by one with more provenance. Raises ModelFileError if it is damaged, OSError if it cannot be written."""
    model, dtype = load_model(path), read_header(path).dtype
    save_model(replace(model, provenance={**model.provenance, **record}), path, dtype=dtype, memory=load_memory(path))


def _int8_version(source: ModelSource, header: ModelHeader) -> tuple[ModelSource, Mapping[str, str]] | None:
    """Find the 8-bit version of a file, under the name of the float32 model. A version of other arrays is ignored."""
    if (included := EMBEDDED_INT8.get(source.path)) is not None:
        return replace(source, path=included, name=header.name), read_header(included).provenance
    path = source.path.with_name(f"{source.path.stem}{INT8_SUFFIX}{source.path.suffix}")
    if not path.is_file():
        return None
    other = read_header(path)
    made_from_this = other.provenance.get(QUANTIZED_FROM_ARRAYS) == arrays_checksum(source.path)
    if other.quantization is None or not made_from_this:
        return None
    return replace(source, path=path, name=header.name), other.provenance
