"""Convert a matplotlib figure to an inline SVG element. It has the text colour of the page and no external resources."""

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any
from xml.etree.ElementTree import Element, tostring

from defusedxml.ElementTree import fromstring
from matplotlib import rc_context
from matplotlib.figure import Figure

from training.plotting import glyph_warnings_ignored

PLACEHOLDER_COLOUR = "#010203"
"""Colour of texts and axes in the figure, which `currentColor` replaces in the SVG."""
_TEXT_COLOURS = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color", "grid.color")
_STYLE: Any = dict.fromkeys(_TEXT_COLOURS, PLACEHOLDER_COLOUR) | {
    "font.size": 9,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "svg.fonttype": "none",  # keep text as text
    "svg.hashsalt": "boxwright",  # reproducible ids
}
_REFERENCE = re.compile(r"url\(#|^#")
PIXELS_PER_INCH = 96


def figure_svg(name: str, draw: Callable[[], Figure]) -> str:
    """Return the figure as an <svg> element.

    Args:
        name: Prefix of every id, unique in the page.
        draw: Creates the figure. It is called with the report's matplotlib style.
    """
    file = BytesIO()
    with rc_context(_STYLE), glyph_warnings_ignored():  # the browser draws the text
        figure = draw()
        figure.savefig(file, format="svg", transparent=True, dpi=150, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    root = fromstring(file.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        _make_inline(element, name)
    width, height = (round(float(side) * PIXELS_PER_INCH) for side in figure.get_size_inches())
    root.attrib |= {"role": "img", "width": str(width), "height": str(height)}
    return tostring(root, encoding="unicode")


def _make_inline(element: Element, name: str) -> None:
    """Remove XML namespaces, make ids unique and use the colour of the page."""
    element.tag = _local(element.tag)
    attributes = {_local(key): value.replace(PLACEHOLDER_COLOUR, "currentColor") for key, value in element.attrib.items()}
    for key, value in attributes.items():
        if key == "id":
            attributes[key] = f"{name}-{value}"
        elif key in ("href", "clip-path"):
            attributes[key] = _REFERENCE.sub(lambda found: f"{found.group()}{name}-", value)
    element.attrib.clear()
    element.attrib.update({key: value for key, value in attributes.items() if key != "version"})


def _local(name: str) -> str:
    return name.rpartition("}")[2]
