"""The models that ship with the package: one .safetensors each, and a card (.md) that says what it is good for."""

from pathlib import Path

EVERYDAY = Path(__file__).with_name("everyday.safetensors")
"""People, animals and vehicles: YOLOv2 on EfficientNet-Lite0, 11 classes. The default of `boxwright serve` and `detect`."""

EVERYDAY_INT8 = Path(__file__).with_name("everyday-int8.safetensors")
"""The same in 8 bits: half the file, and about half the time on processors with VNNI."""

SAMPLE_PHOTO = Path(__file__).with_name("sample.jpg")
"""Chelsea the cat: Stéfan van der Walt, CC0 (docs/photos/README.md). What exports are compared on."""

EMBEDDED = {"everyday": EVERYDAY, "everyday-int8": EVERYDAY_INT8}
"""By name."""
