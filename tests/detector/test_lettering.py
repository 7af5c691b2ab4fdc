import logging

import numpy as np
import pytest
from PIL import ImageFont

from detector.detections import Detections
from detector.imaging.draw import draw_detections
from detector.imaging.lettering import lettering


def test_plain_labels_are_written_in_pillows_own_font():
    text, font = lettering("dog", 3, 20)
    assert text == "dog"
    assert font.getname() == ImageFont.load_default(20).getname()


@pytest.mark.parametrize("label", ["собака", "犬", "łódź", "كلب", "\U000e0041"])
def test_no_letter_is_drawn_as_a_missing_one(label, caplog):
    lettering.cache_clear()
    with caplog.at_level(logging.WARNING):
        text, font = lettering(label, 7, 20)
    missing = bytes(font.getmask("\uffff"))
    assert all(bytes(font.getmask(letter)) != missing for letter in set(text) - {" "})
    assert text == label or (text == "class 7" and repr(label) in caplog.text)


def test_labels_of_any_script_can_be_drawn():
    found = Detections(np.array([[5, 30, 90, 90]], np.float32), np.array([0.5], np.float32), np.array([0]))
    image = np.zeros((100, 100, 3), np.uint8)
    assert (draw_detections(image, found, ["собака"]) != image).any()
