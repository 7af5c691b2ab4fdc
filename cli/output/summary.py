"""A model as plain facts: its layers one by one, its totals, its spec, its origin."""

from dataclasses import fields
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cli.output.shown import shown
from detector.network import Conv, Layer, MaxPool, Network, Reorg, Route, Shortcut, Upsample
from detector.shapes import operations_by_layer, parameters_by_layer, trace
from detector.spec import Model

WIDTH_IN_A_PIPE = 200


def summarise(model: Model) -> dict[str, Any]:
    """Facts ready for JSON. Operations are multiplications and additions for one photo. in_8_bits: the layers that are computed so."""
    spec = model.spec
    layers = _layers(spec.network, spec.input_size)
    facts = {field.name: getattr(spec, field.name) for field in fields(spec) if field.name != "network"}
    return {
        "name": model.name,
        "layers": layers,
        "parameters": sum(layer["parameters"] for layer in layers),
        "operations": sum(layer["operations"] for layer in layers),
        "in_8_bits": model.quantization.layers if model.quantization else (),
        **facts,
        "provenance": dict(model.provenance),
    }


def print_summary(summary: dict[str, Any]) -> None:
    """The facts as a table and lines below it. In a pipe no line is folded."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH_IN_A_PIPE
    console.print(_table(summary["layers"]))
    convolutions = sum(layer["operations"] > 0 for layer in summary["layers"])
    facts = summary | {"in_8_bits": f"{len(summary['in_8_bits'])} of {convolutions} convolutions"}
    facts |= {f"provenance.{name}": value for name, value in summary["provenance"].items()}
    for name, value in facts.items():
        if name not in ("layers", "provenance"):
            console.print(Text.assemble((f"{shown(name)}: ", "bold"), shown(_text(value))), soft_wrap=True)


def _table(layers: list[dict[str, Any]]) -> Table:
    table = Table(Column("layer", no_wrap=True), Column("what", overflow="fold"))
    for heading in ("output", "parameters", "MFLOP"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in layers:
        output = " x ".join(str(side) for side in layer["output"])
        table.add_row(layer["name"], layer["what"], output, f"{layer['parameters']:,}", f"{layer['operations'] / 1e6:,.1f}")
    return table


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _layers(network: Network, input_size: int) -> list[dict[str, Any]]:
    parameters, operations = parameters_by_layer(network), operations_by_layer(network, input_size)
    return [
        {
            "name": layer.name,
            "what": _what(layer),
            "output": [shape.side, shape.side, shape.channels],
            "parameters": parameters[layer.name],
            "operations": operations[layer.name],
        }
        for layer, shape in zip(network, trace(network, input_size).values(), strict=True)
    ]


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
        case Upsample():
            return f"upsample x {layer.stride}"
