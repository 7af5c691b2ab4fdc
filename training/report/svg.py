"""A matplotlib figure as SVG that stands in a page: it takes the page's colour of text, and nothing from outside."""

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any
from xml.etree.ElementTree import Element, tostring

from defusedxml.ElementTree import fromstring

from detector.errors import MissingExtra

try:
    from matplotlib import rc_context
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise MissingExtra("plots need matplotlib, which is not installed: pip install 'boxwright[train]'.") from error

INK = "#010203"
"""Stands for the page's colour of text until the figure is SVG."""
_INKED = ("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color", "grid.color")
_STYLE: Any = dict.fromkeys(_INKED, INK) | {
    "font.size": 9,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "svg.fonttype": "none",  # letters stay letters
    "svg.hashsalt": "boxwright",  # the same figure, the same file
}
_REFERENCE = re.compile(r"url\(#|^#")
PIXELS_AN_INCH = 96


def figure_svg(name: str, draw: Callable[[], Figure]) -> str:
    """What `draw` draws, as an <svg> element. name: a word of its own in the page, in front of every id."""
    file = BytesIO()
    with rc_context(_STYLE):
        figure = draw()
        figure.savefig(file, format="svg", transparent=True, dpi=150, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    root = fromstring(file.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        _settle(element, name)
    width, height = (round(float(side) * PIXELS_AN_INCH) for side in figure.get_size_inches())
    root.attrib |= {"role": "img", "width": str(width), "height": str(height)}
    return tostring(root, encoding="unicode")


def _settle(element: Element, name: str) -> None:
    """Plain names, as HTML has them; ids of its own; the page's colour."""
    element.tag = _local(element.tag)
    attributes = {_local(key): value.replace(INK, "currentColor") for key, value in element.attrib.items()}
    for key, value in attributes.items():
        if key == "id":
            attributes[key] = f"{name}-{value}"
        elif key in ("href", "clip-path"):
            attributes[key] = _REFERENCE.sub(lambda found: f"{found.group()}{name}-", value)
    element.attrib.clear()
    element.attrib.update({key: value for key, value in attributes.items() if key != "version"})


def _local(name: str) -> str:
    return name.rpartition("}")[2]
