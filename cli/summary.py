"""A model as plain facts: its layers one by one, its totals, its spec, its origin."""

from dataclasses import fields
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from detector.network import Conv, Layer, MaxPool, Network, Reorg, Route, Shortcut
from detector.shapes import operations, parameters, trace
from detector.spec import Model


def summarise(model: Model) -> dict[str, Any]:
    """Facts ready for JSON. Operations are multiplications and additions for one photo."""
    spec = model.spec
    facts = {field.name: getattr(spec, field.name) for field in fields(spec) if field.name != "network"}
    return {
        "name": model.name,
        "layers": _layers(spec.network, spec.input_size),
        "parameters": parameters(spec.network),
        "operations": operations(spec.network, spec.input_size),
        **facts,
        **_in_8_bits(model),
        "provenance": dict(model.provenance),
    }


def _in_8_bits(model: Model) -> dict[str, str]:
    """How much of a quantised model is."""
    if model.quantization is None:
        return {}
    convolutions = sum(isinstance(layer, Conv) for layer in model.spec.network)
    return {"in_8_bits": f"{len(model.quantization.layers)} of {convolutions} convolutions"}


def print_summary(summary: dict[str, Any]) -> None:
    """The facts as a table and lines below it."""
    table = Table("layer", "what")
    for heading in ("output", "parameters", "MFLOP"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in summary["layers"]:
        output = " x ".join(str(side) for side in layer["output"])
        table.add_row(layer["name"], layer["what"], output, f"{layer['parameters']:,}", f"{layer['operations'] / 1e6:,.1f}")
    console = Console()
    console.print(table)
    origin = {f"provenance.{name}": value for name, value in summary["provenance"].items()}
    for name, value in (summary | origin).items():
        if name not in ("layers", "provenance"):
            console.print(Text.assemble((f"{name}: ", "bold"), _shown(value)))


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _layers(network: Network, input_size: int) -> list[dict[str, Any]]:
    """Each layer; its parameters and operations are what it adds to those of the layers before it."""
    rows: list[dict[str, Any]] = []
    before = (0, 0)
    for count, (layer, shape) in enumerate(zip(network, trace(network, input_size).values(), strict=True), start=1):
        total = (parameters(network[:count]), operations(network[:count], input_size))
        row = {"name": layer.name, "what": _what(layer), "output": [shape.side, shape.side, shape.channels]}
        rows.append(row | {"parameters": total[0] - before[0], "operations": total[1] - before[1]})
        before = total
    return rows


def _what(layer: Layer) -> str:
    match layer:
        case Conv():
            groups = f" in {layer.groups} groups" if layer.groups > 1 else ""
            norm = "batch norm" if layer.normalize else "bias"
            return f"convolution {layer.size}x{layer.size} / {layer.stride}{groups}, {norm}, {layer.activation}"
        case MaxPool():
            return f"maxpool {layer.size}x{layer.size} / {layer.stride}"
        case Reorg():
            return f"reorg / {layer.stride}, {layer.order}"
        case Route():
            return f"route of {', '.join(layer.layers)}"
        case Shortcut():
            return f"plus {layer.source}, {layer.activation}"
