"""Options that several commands have."""

from typing import Annotated, Literal

import typer

Engine = Literal["auto", "onnxruntime", "tensorflow", "tensornets"]
"""The same names as `weights.engines.factory.EngineKind`, without importing what is behind them."""

ModelOption = Annotated[str | None, typer.Option("--model", "-m", metavar="NAME_OR_FILE", help="A model's .safetensors file, or its name.")]
EngineOption = Annotated[Engine | None, typer.Option("--engine", help="What computes the network; auto is onnxruntime.")]
