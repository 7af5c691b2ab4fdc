"""Splitting a data set into training and validation sets."""

import os
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.errors import ImageTooLarge, SettingError
from training.data.voc_lists import image_names
from training.data.voc_reader import read_sample, read_set
from training.datasets.check import check_dataset
from training.datasets.split import _improve, _Shares, split_dataset, write_split
from training.errors import DatasetError

DOG = ("dog", 1, 1, 30, 40)


@pytest.fixture
def varied(make_dataset):
    """50 images; a few have a cat, some have several dogs."""
    objects = {f"p{index:02}": [DOG] * (index % 4) + [("cat", 1, 1, 9, 9)] * (index % 10 == 0) for index in range(50)}
    return make_dataset(objects)


def test_every_image_is_in_one_set_in_order(varied):
    samples = read_set(varied, "all")
    parts = split_dataset(samples, val=0.2)
    names = [sample.name for sample in samples]
    assert sorted(parts.train + parts.val) == names
    assert list(parts.val) == [name for name in names if name in parts.val]
    assert parts.boxes == Counter(dog=73, cat=5)


@pytest.mark.parametrize("val", [0.1, 0.2, 0.5, 0.8])
def test_images_and_boxes_of_each_class_have_the_requested_fraction(varied, val):
    parts = split_dataset(read_set(varied, "all"), val=val)
    assert len(parts.val) == pytest.approx(50 * val, abs=1)
    assert parts.val_boxes["dog"] == pytest.approx(73 * val, abs=2)
    assert parts.val_boxes["cat"] == pytest.approx(5 * val, abs=0.5)


def test_the_split_depends_on_the_seed(varied):
    samples = read_set(varied, "all")
    assert split_dataset(samples, seed=3) == split_dataset(samples, seed=3)
    assert split_dataset(samples, seed=3).val != split_dataset(samples, seed=4).val


def test_identical_images_stay_together(varied):
    images = varied / "JPEGImages"
    for index in range(0, 50, 2):
        (images / f"p{index + 1:02}.jpg").write_bytes((images / f"p{index:02}.jpg").read_bytes())
    for seed in range(5):
        write_split(varied, split_dataset(read_set(varied, "all"), seed=seed), force=True)
        assert check_dataset(varied).errors == 0


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 6), st.floats(0.05, 0.95))
def test_no_single_move_would_improve_a_split(seed, images, columns, val):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 5, (images, columns)).astype(float)
    counts[:, 0] = 1
    fractions = counts[:, counts.sum(axis=0) > 0] / counts.sum(axis=0)[counts.sum(axis=0) > 0]
    before = rng.random(images) < val

    def cost(in_val):
        return ((fractions[in_val].sum(axis=0) - val) ** 2).sum()

    group, column = np.nonzero(fractions)
    after = _improve(_Shares(images, fractions.shape[1], group, column, fractions[group, column]), before, val)
    assert cost(after) <= cost(before) + 1e-9
    moves = np.eye(images, dtype=bool)
    assert cost(after) <= min(cost(after ^ move) for move in moves) + 1e-9


def test_classes_of_a_real_data_set_are_split_evenly(shared):
    everyday = shared / "data" / "everyday"
    every_tenth = [read_sample(everyday, name) for name in image_names(everyday, "train")[::10]]
    for samples in (read_set(shared / "data" / "bccd", "all"), every_tenth):
        parts = split_dataset(samples, val=0.2)
        for label, count in parts.boxes.items():
            assert abs(parts.val_boxes[label] - 0.2 * count) <= max(1, 0.004 * count), label


@pytest.mark.parametrize("val", [0, 1, -0.5, 2, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(varied, val):
    with pytest.raises(SettingError, match="fraction of val"):
        split_dataset(read_set(varied, "all"), val=val)


def test_too_few_images_are_refused(make_dataset):
    with pytest.raises(DatasetError, match=r"too few images for a val fraction of 0\.2: 1 image, 1 without duplicates"):
        split_dataset(read_set(make_dataset({"a": [DOG]}), "all"))
    with pytest.raises(DatasetError, match=r"too few images .* 0 images"):
        split_dataset([])


def test_the_lists_are_read_back(varied):
    parts = split_dataset(read_set(varied, "all"))
    write_split(varied, parts)
    for name, expected in (("train", parts.train), ("val", parts.val)):
        assert tuple(sample.name for sample in read_set(varied, name)) == expected


def test_existing_lists_are_replaced_only_with_force(varied):
    lists = varied / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("p00\n")
    parts = split_dataset(read_set(varied, "all"))
    with pytest.raises(DatasetError, match=r"divided already: there is .*val\.txt\. Use --force"):
        write_split(varied, parts)
    assert [path.name for path in lists.iterdir()] == ["val.txt"]
    assert (lists / "val.txt").read_text() == "p00\n"
    write_split(varied, parts, force=True)
    assert sorted(path.name for path in lists.iterdir()) == ["train.txt", "val.txt"]
    assert tuple((lists / "val.txt").read_text().split()) == parts.val


def test_a_list_that_cannot_be_written_leaves_the_other_unchanged(varied):
    lists = varied / "ImageSets" / "Main"
    (lists / "val.txt").mkdir(parents=True)
    parts = split_dataset(read_set(varied, "all"))
    for before in (None, "p00\n"):
        if before:
            (lists / "train.txt").write_text(before)
        with pytest.raises(IsADirectoryError):
            write_split(varied, parts, force=True)
        assert [path.name for path in sorted(lists.iterdir())] == (["train.txt", "val.txt"] if before else ["val.txt"])
    assert (lists / "train.txt").read_text() == "p00\n"


def test_images_with_labels_of_their_own_need_little_memory(make_dataset):
    """A matrix of 100 images and 30,000 labels would have 24 MB, and 2,000 such annotations would need 10 GB."""
    samples = read_set(
        make_dataset({f"{name:03}": [(f"{name} {label}", 1, 1, 9, 9) for label in range(300)] for name in range(100)}), "all"
    )
    tracemalloc.start()
    parts = split_dataset(samples, val=0.5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(parts.train + parts.val) == 100
    assert peak < 30_000_000


def test_a_file_that_is_far_too_large_for_an_image_is_not_read(make_dataset):
    samples = read_set(make_dataset({"a": [DOG], "b": [DOG]}), "all")
    os.truncate(samples[0].image_path, 2**40)
    with pytest.raises(ImageTooLarge, match=f"{samples[0].image_path.name}: the image file has 1,099,511,627,776 bytes"):
        split_dataset(samples)
