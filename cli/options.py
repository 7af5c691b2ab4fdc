"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

# The names in `weights.engines.options`, repeated because that module imports numpy.
EngineChoice = Literal["auto", "onnxruntime", "openvino", "tensorflow", "tensornets"]
DeviceChoice = Literal["auto", "cpu", "gpu", "npu", "cuda", "tensorrt", "coreml", "directml"]
PrecisionName = Literal["auto", "float32", "bfloat16", "int8"]

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME_OR_FILE",
        help="Use this model: a name from 'boxwright weights list', or a .safetensors file. [dim]\\[default: everyday][/dim]",
        rich_help_panel="Model",
    ),
]
EngineOption = Annotated[
    EngineChoice | None,
    typer.Option(
        "--engine", help="Run the network with this engine; auto chooses one. [dim]\\[default: auto][/dim]", rich_help_panel="Model"
    ),
]
DeviceOption = Annotated[
    DeviceChoice | None,
    typer.Option("--device", help="Run the network on this device. [dim]\\[default: auto][/dim]", rich_help_panel="Model"),
]
PrecisionOption = Annotated[
    PrecisionName | None,
    typer.Option(
        "--precision",
        help="Compute in this precision; auto is the fastest that loses at most half a point of AP50. [dim]\\[default: auto][/dim]",
        rich_help_panel="Model",
    ),
]
InputSizeOption = Annotated[
    int | None,
    typer.Option(
        "--input-size",
        metavar="PIXELS",
        min=1,
        help="Set the side length of the network's input, a multiple of 32. Smaller is faster. [dim]\\[default: the model's][/dim]",
        rich_help_panel="Model",
    ),
]
DatasetArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATASET",
        exists=True,
        file_okay=False,
        show_default=False,
        help="A VOC-style folder (JPEGImages, Annotations, ImageSets), or a folder of images with .xml files next to them.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
SettingsFileOption = Annotated[
    Path | None,
    typer.Option(
        "--config", envvar="BOXWRIGHT_CONFIG", metavar="FILE", help="Read settings from this TOML file.", rich_help_panel="Settings"
    ),
]
TrainingConfigOption = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE_OR_RECIPE", help="Read training options from a TOML file or recipe. Other options override it."),
]
