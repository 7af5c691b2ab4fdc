"""The facts that `boxwright weights info` prints: of a model, or of a catalogue entry that is not downloaded."""

from dataclasses import fields
from typing import Any

from rich.console import Console
from rich.text import Text

from cli.output.tables import megabytes, print_table
from cli.output.terminal import escape_control_characters
from detector.messages import count_of
from detector.network.layers import Conv, Layer, MaxPool, Network, Reorg, Route, Shortcut, Upsample
from detector.network.shapes import operations_by_layer, output_shapes, parameters_by_layer
from detector.network.spec import Model
from weights.formats.memory_entries import MemoryEntries, summarise_memory
from weights.hub import cache
from weights.hub.catalogue import Entry, approximate_size, entries


def absent_entry(name: str) -> Entry | None:
    """Return the catalogue entry of that name if its file is not downloaded; None for every other model."""
    entry = entries().get(name)
    return entry if entry and not cache.cached_path(entry).exists() else None


def summarise_entry(entry: Entry) -> dict[str, Any]:
    """Return an entry's facts for JSON. `sizes` has the possible sizes of the file in bytes; it is empty if none is published."""
    names = ("name", "description", "file", "format", "input_size", "fit", "resample", "labels", "addresses", "sizes", "licence")
    return {
        "pulled": False,
        **{name: getattr(entry, name) for name in names},
        "size_about": approximate_size(entry),
        "hashes": dict(entry.hashes),
    }


def print_entry(summary: dict[str, Any]) -> None:
    """Print the facts of `summarise_entry`, and how to download the model."""
    name = summary["name"]
    facts = summary | {
        "pulled": f"no; run: boxwright weights pull {name}",
        "labels": ", ".join(summary["labels"]) or "none (a backbone)",
        "addresses": "".join(f"\n  {address}" for address in summary["addresses"]),
        "sizes": " or ".join(f"{size:,} bytes" for size in summary["sizes"])
        or f"not published; about {megabytes(summary['size_about'], approximate=True)[1:]}",
        "hashes": "".join(f"\n  {algorithm} {text}" for algorithm, text in summary["hashes"].items()) or "none published",
    }
    del facts["size_about"]
    _print_facts(facts)


def summarise(model: Model, memory: MemoryEntries | None = None) -> dict[str, Any]:
    """Return a model's facts for JSON.

    Operations are multiplications and additions for one image. `in_8_bits` lists the layers that compute in 8 bits.

    Args:
        model: The model.
        memory: The entries of its memory.

    Raises:
        ModelFileError: The index of the memory is invalid.
    """
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
        "memory": summarise_memory(memory) if memory else None,
        "provenance": dict(model.provenance),
    }


def print_summary(summary: dict[str, Any], *, with_layers: bool) -> None:
    """Print the facts of `summarise`, then the table of layers if requested."""
    layers = summary["layers"]
    convolutions = sum(layer["operations"] > 0 for layer in layers)
    facts = {name: value for name, value in summary.items() if name not in ("layers", "provenance")}
    if memory := summary["memory"]:
        boxes = ", ".join(f"{count} {label}" for label, count in memory["boxes"].items())
        facts["memory"] = f"{count_of(memory['images'], 'image')}, {megabytes(memory['bytes'])}; boxes: {boxes}"
    else:
        facts["memory"] = "none"
    facts |= {
        "operations": f"{summary['operations'] / 1e9:.2f} GFLOP per image",
        "input_size": f"{summary['input_size']} px",
        "layers": f"{len(layers)}{'' if with_layers else ' (--layers lists them)'}",
        "in_8_bits": f"{len(summary['in_8_bits'])} of {convolutions} convolutions",
        "anchors": ", ".join(f"{width:.2f} x {height:.2f}" for width, height in summary["anchors"]),
        "labels": f"{len(summary['labels'])}: {', '.join(summary['labels'])}",
    }
    _print_facts(facts | {f"provenance.{name}": value for name, value in summary["provenance"].items()})
    if with_layers:
        columns = ("layer", "output", "parameters", "MFLOP", "description")
        rows = [
            (
                layer["name"],
                " x ".join(map(str, layer["output"])),
                f"{layer['parameters']:,}",
                f"{layer['operations'] / 1e6:,.1f}",
                layer["what"],
            )
            for layer in layers
        ]
        print_table(columns, rows, numeric=("output", "parameters", "MFLOP"))


def _print_facts(facts: dict[str, Any]) -> None:
    """Print one line for each fact; a long line is never folded."""
    console = Console()
    for name, value in facts.items():
        text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
        console.print(Text.assemble((f"{escape_control_characters(name)}: ", "bold"), escape_control_characters(text)), soft_wrap=True)


def _layers(network: Network, input_size: int) -> list[dict[str, Any]]:
    parameters, operations = parameters_by_layer(network), operations_by_layer(network, input_size)
    return [
        {
            "name": layer.name,
            "what": _description(layer),
            "output": [shape.side, shape.side, shape.channels],
            "parameters": parameters[layer.name],
            "operations": operations[layer.name],
        }
        for layer, shape in zip(network, output_shapes(network, input_size).values(), strict=True)
    ]


def _description(layer: Layer) -> str:
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
            return f"sum with {layer.source}, {layer.activation}"
        case Upsample():
            return f"upsample x {layer.stride}"
