"""The learning-rate range test."""

import csv

import pytest
from PIL import Image

from training.config.options import Config
from training.data.batches import Batches
from training.data.voc_reader import read_set
from training.modeling.transfer import transfer
from training.run.lr_finder import LearningRateTest, find_learning_rate
from training.run.trainer import Trainer


def test_the_range_test_suggests_a_tenth_of_the_rate_with_the_lowest_loss(tmp_path):
    search = LearningRateTest((1e-4, 1e-3, 1e-2, 1e-1), (3.0, 2.0, 1.0, 5.0))
    assert search.suggestion == pytest.approx(1e-3)
    table, plot = search.write(tmp_path)
    with table.open(encoding="utf-8", newline="") as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == [3, 2, 1, 5]
    with Image.open(plot) as image:
        assert image.size == (840, 600)


def test_the_range_test_raises_the_rate_until_the_loss_increases(rectangles, small_model):
    config = Config(batch_size=3, epochs=40, sizes="64", optimizer="sgd", clip="none", mosaic=0.0)
    start = transfer(small_model, ("blue", "red"), small_model.spec.anchors, config)
    batches = Batches(read_set(rectangles, "train"), start.model.spec, config)
    search = find_learning_rate(Trainer(start, config, frozenset()), batches)
    assert list(search.rates) == sorted(search.rates)
    assert search.rates[0] == pytest.approx(1e-6)
    assert search.rates[-1] < 1  # without clipping, training diverges at a rate of 1
    assert 1e-6 < search.suggestion < 0.1
