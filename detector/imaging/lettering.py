"""Fonts for class labels of any script."""

import logging
from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

logger = logging.getLogger(__name__)

SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "arial.ttf", "Arial Unicode.ttf", "Helvetica.ttc")
"""Fonts to try, in this order, if Pillow's own font lacks a letter. Pillow knows the font folders of each system."""


@lru_cache(maxsize=1024)
def label_text_and_font(label: str, class_id: int, size: int) -> tuple[str, Font]:
    """Return the text to draw for a class and a font of `size` pixels that has all its letters.

    Pillow's own font has ASCII and a part of Latin-1. If no font has all letters of the label, the text is the class number, and a
    warning is logged.
    """
    for font in _fonts(size):
        if all(_has_letter(font, letter) for letter in set(label)):
            return label, font
    logger.warning(
        "no installed font has all letters of %r: drawing 'class %d' instead. Install the DejaVu or Noto fonts.", label, class_id
    )
    return f"class {class_id}", _fonts(size)[0]


@lru_cache(maxsize=64)
def _fonts(size: int) -> tuple[Font, ...]:
    return (ImageFont.load_default(size), *(font for name in SYSTEM_FONTS if (font := _system_font(name, size))))


def _system_font(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:  # not installed
        return None


def _has_letter(font: Font, letter: str) -> bool:
    """Return whether the font draws the letter and not its symbol for a missing letter."""
    return letter.isspace() or bytes(font.getmask(letter)) != bytes(font.getmask("\uffff"))
