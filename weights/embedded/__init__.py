"""Models that ship with the package. Each has a .safetensors file and a model card (.md)."""

from pathlib import Path

EVERYDAY = Path(__file__).with_name("everyday.safetensors")
"""The default model: EfficientNet-Lite0 with a YOLOv2 head of stride 16, for the 20 classes of PASCAL VOC.

Its file has a memory of training images, which fine-tuning uses."""

EVERYDAY_INT8 = Path(__file__).with_name("everyday-int8.safetensors")
"""`everyday` in 8 bits, faster on processors with VNNI. Its file has no memory of training images."""

SAMPLE_IMAGE = Path(__file__).with_name("sample.jpg")
"""Chelsea the cat (Stéfan van der Walt, CC0; see docs/photos/README.md). Exports are verified on this image."""

EMBEDDED = {"everyday": EVERYDAY, "everyday-int8": EVERYDAY_INT8}
"""Model name -> file. "everyday-int8" is the name of `everyday` in 8 bits."""

EMBEDDED_INT8 = {EVERYDAY: EVERYDAY_INT8}  # File of a float32 model -> file of its 8-bit version.
