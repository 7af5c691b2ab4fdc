"""Plots of a checked data set."""

import pytest

from detector.imaging.image import read_image
from training.datasets.check import check_dataset
from training.datasets.plots import MAX_BARS, write_plots
from training.plotting import COLOURS


def pixels_per_colour(path):
    """Count the pixels of each of the first three colours."""
    pixels = read_image(path.read_bytes())
    return [int((pixels == [int(colour[index : index + 2], 16) for index in (1, 3, 5)]).all(axis=-1).sum()) for colour in COLOURS[:3]]


def test_bar_lengths_are_proportional_to_box_counts(make_dataset, tmp_path):
    boxes = [("dog", 1 + index, 1, 30, 40) for index in range(8)]
    folder = make_dataset({"a": boxes[:6], "b": boxes[:2]}, {"train": ["a"], "val": ["b"]})
    classes, sizes = write_plots(check_dataset(folder), tmp_path / "new" / "plots")
    assert (classes.name, sizes.name) == ("classes.png", "boxes.png")
    first, second, third = pixels_per_colour(classes)
    assert third == 0
    assert first > 2.5 * second > 0  # 6 boxes and 2 boxes, and one patch each in the legend
    assert sorted(path.name for path in classes.parent.iterdir()) == ["boxes.png", "classes.png"]


@pytest.mark.parametrize("label", ["$\\frac", "_hidden", "a" * 200, "<b>&"])
def test_special_characters_in_names_are_drawn_literally(make_dataset, tmp_path, label):
    folder = make_dataset({"a": [("dog", 1, 1, 9, 9)]}, {label[:40].replace("\\", "").replace("<b>&", "_b$x$"): ["a"]})
    xml = folder / "Annotations" / "a.xml"
    xml.write_text(xml.read_text().replace("dog", label.replace("&", "&amp;").replace("<", "&lt;")))
    for path in write_plots(check_dataset(folder), tmp_path / "plots"):
        assert read_image(path.read_bytes()).shape[1] > 400


def test_a_plot_of_many_labels_is_higher_than_one_without_labels(make_dataset, tmp_path):
    many = make_dataset({"a": [(f"label {index}", 1, 1, 30, 40) for index in range(MAX_BARS + 5)]})
    empty = make_dataset({"a": []}, folder="empty")
    plots = [write_plots(check_dataset(folder), tmp_path / folder.name / "plots")[0] for folder in (many, empty)]
    high, low = (len(read_image(path.read_bytes())) for path in plots)
    assert high > 4 * low


def test_glyphs_missing_from_the_font_give_one_boxwright_warning(make_dataset, tmp_path, caplog):
    write_plots(check_dataset(make_dataset({"a": [("猫", 1, 1, 30, 40)]})), tmp_path / "plots")
    assert [record.getMessage() for record in caplog.records] == [
        "classes.png: the font has no glyph for 猫. These characters are drawn as boxes."
    ]
