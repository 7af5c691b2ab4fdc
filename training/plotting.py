"""Colours, escaped labels and PNG output for all plots."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detector.errors import MissingExtra
from weights.atomic_files import atomic_write

try:
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties, findfont, get_font
    from matplotlib.text import Text
except ModuleNotFoundError as error:
    raise MissingExtra("plots need matplotlib, which is not installed. Install the extra 'train'.") from error

COLOURS = ("#3b6fb6", "#e08a1e", "#4f9d69", "#a05195", "#8a8a8a")
MAX_LABEL_LENGTH = 40

logger = logging.getLogger("boxwright.training")


def escape_label(name: str) -> str:
    """Return the name for use in a legend. matplotlib would omit names that start with _ and typeset text between $ as a formula."""
    return f" {name[:MAX_LABEL_LENGTH]}".replace("$", r"\$")


def save_png(figure: Figure, path: Path) -> Path:
    """Write the figure. Log a warning if its font lacks characters of a label. Raises OSError."""
    font = get_font(findfont(FontProperties()))
    texts = "".join(text.get_text() for text in figure.findobj(Text))
    if missing := sorted({letter for letter in texts if letter.isprintable() and not font.get_char_index(ord(letter))}):
        logger.warning("%s: the font has no glyph for %s. These characters are drawn as boxes.", path.name, "".join(missing))
    with glyph_warnings_ignored(), atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)
    return path


@contextmanager
def glyph_warnings_ignored() -> Iterator[None]:
    """Suppress matplotlib's warning for each glyph that its font lacks."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .*missing from")
        yield
