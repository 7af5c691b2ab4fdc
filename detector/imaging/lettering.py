"""A font that has the letters of a label, or else a name that can be written."""

import logging
from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

log = logging.getLogger(__name__)

SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "arial.ttf", "Arial Unicode.ttf", "Helvetica.ttc")
"""Looked for, in this order, where Pillow's own font lacks a letter; Pillow knows the folders of each system."""


@lru_cache(maxsize=1024)
def lettering(label: str, class_id: int, size: int) -> tuple[str, Font]:
    """What to write for a class, and a font of `size` pixels that has all its letters.

    Pillow's own font has ASCII and some of Latin-1. Where no font at hand has a label's letters the class's number is written
    instead, and the log says so.
    """
    for font in _fonts(size):
        if all(_has(font, letter) for letter in set(label)):
            return label, font
    log.warning("no font here has the letters of %r: class %d is written instead. Installing DejaVu or Noto fonts helps.", label, class_id)
    return f"class {class_id}", _fonts(size)[0]


@lru_cache(maxsize=64)
def _fonts(size: int) -> tuple[Font, ...]:
    return (ImageFont.load_default(size), *(font for name in SYSTEM_FONTS if (font := _system_font(name, size))))


def _system_font(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:  # it is not installed
        return None


def _has(font: Font, letter: str) -> bool:
    """Whether it is drawn as itself, not as the sign for a letter that is missing."""
    return letter.isspace() or bytes(font.getmask(letter)) != bytes(font.getmask("\uffff"))
