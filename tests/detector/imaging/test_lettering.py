"""Fonts for labels of any script."""

import logging

import numpy as np
import pytest
from PIL import ImageFont

from detector.boxes.detections import Detections
from detector.imaging.draw import draw_detections
from detector.imaging.lettering import label_text_and_font


def test_ascii_labels_use_pillows_own_font():
    text, font = label_text_and_font("dog", 3, 20)
    assert text == "dog"
    assert font.getname() == ImageFont.load_default(20).getname()


@pytest.mark.parametrize("label", ["собака", "犬", "łódź", "كلب", "\U000e0041"])
def test_a_label_without_glyphs_is_replaced_by_its_class_number(label, caplog):
    label_text_and_font.cache_clear()
    with caplog.at_level(logging.WARNING):
        text, font = label_text_and_font(label, 7, 20)
    missing = bytes(font.getmask("\uffff"))
    assert all(bytes(font.getmask(letter)) != missing for letter in set(text) - {" "})
    assert text == label or (text == "class 7" and repr(label) in caplog.text)


def test_labels_of_any_script_can_be_drawn():
    detections = Detections(np.array([[5, 30, 90, 90]], np.float32), np.array([0.5], np.float32), np.array([0]))
    image = np.zeros((100, 100, 3), np.uint8)
    assert (draw_detections(image, detections, ["собака"]) != image).any()
