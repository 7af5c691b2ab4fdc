"""Training batches: order of the images, input sizes, and independence of threads."""

from dataclasses import replace

import numpy as np
import pytest

from detector.boxes.placement import Placement
from detector.detector import Detector
from detector.engines import load_engine
from detector.errors import ImageError
from detector.imaging.image import read_image
from training.config.options import Config
from training.data.batches import Batches
from training.data.tf_dataset import stream_batches
from training.data.voc_reader import read_set

SETTINGS = {"epochs": 4, "batch_size": 4, "sizes": "32:0.5,64", "mosaic": 0.5}


def batches(rectangles, small_model, augmented=True, **settings):
    return Batches(read_set(rectangles, "train"), small_model.spec, Config.of(SETTINGS | settings), augmented)


def assert_same_batch(first, second):
    np.testing.assert_array_equal(first[0], second[0])
    for name in first[1]:
        np.testing.assert_array_equal(first[1][name], second[1][name])


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_do_not_depend_on_threads_or_the_first_step(rectangles, small_model, threads):
    made = batches(rectangles, small_model)
    expected = [made.batch(step) for step in range(made.steps)]
    for first in (0, 5):
        streamed = list(stream_batches(made, first, made.steps, threads=threads))
        assert len(streamed) == made.steps - first
        for batch, other in zip(streamed, expected[first:], strict=True):
            assert_same_batch((batch[0].numpy(), {name: value.numpy() for name, value in batch[1].items()}), other)


def test_another_seed_gives_other_batches(rectangles, small_model):
    first, second = (batches(rectangles, small_model, seed=seed).batch(0)[0] for seed in (0, 1))
    assert np.abs(first - second).max() > 50


def test_every_image_is_used_once_per_epoch(rectangles, small_model):
    made = batches(rectangles, small_model)
    images = [made._index(position) for position in range(9 * 4)]
    assert sorted(images) == sorted(list(range(9)) * 4)
    assert images[:9] != images[9:18]


def test_images_of_rare_classes_are_used_more_often_in_epochs_of_equal_length(rectangles, small_model):
    made = batches(rectangles, small_model, augmented=True, repeat_rare=1.0)
    common = replace(made.samples[0], labels=("red",), boxes=made.samples[0].boxes[:1], difficult=made.samples[0].difficult[:1])
    many = replace(made, samples=[*[common] * 80, *[replace(common, labels=("blue",))] * 20])
    counts = np.bincount([many._index(position) for position in range(100 * 50)], minlength=100)
    assert counts.sum() == 100 * 50
    rare, frequent = counts[80:], counts[:80]
    assert rare.mean() / frequent.mean() == pytest.approx(np.sqrt(0.8 / 0.2), rel=0.02)
    assert set(frequent) <= set(range(34, 50))
    assert [many._index(position) for position in range(100)] != [many._index(position) for position in range(100, 200)]
    copy = replace(many, samples=list(many.samples))
    assert [copy._index(position) for position in (7, 512, 4999)] == [many._index(position) for position in (7, 512, 4999)]


def test_input_sizes_follow_the_plan(rectangles, small_model):
    made = batches(rectangles, small_model)
    assert (made.steps_per_epoch, made.steps) == (3, 12)
    assert [made.input_size_of(step) for step in range(12)] == [32] * 6 + [64] * 6
    images, targets = made.batch(0)
    assert images.shape == (4, 32, 32, 3)
    assert targets["responsible"].shape == (4, 2, 2, 2)


def test_multi_scale_keeps_a_size_for_ten_batches(rectangles, small_model):
    made = batches(rectangles, small_model, multi_scale=2, epochs=40, sizes="96")
    sizes = np.array([made.input_size_of(step) for step in range(120)]).reshape(12, 10)
    assert (sizes == sizes[:, :1]).all()
    assert set(sizes.ravel()) == {64, 80, 96, 112, 128}


def test_an_image_without_augmentation_equals_the_detectors_input(rectangles, small_model):
    made = batches(rectangles, small_model, augmented=False, sizes="64")
    images, targets = made.batch(0)
    for pixels, truth, sample in zip(images, targets["truth"], made.samples, strict=False):
        image = read_image(sample.image_path.read_bytes())
        np.testing.assert_array_equal(pixels, Detector(small_model.spec, load_engine(small_model)).preprocess(image).pixels)
        boxes = Placement.fit(small_model.spec, image).to_network(sample.boxes[[label == "red" for label in sample.labels]])
        assert sorted(map(tuple, truth[truth[:, 2] > 0])) == sorted(map(tuple, boxes))


def test_the_error_of_a_damaged_image_names_the_file(rectangles, small_model, tmp_path):
    made = batches(rectangles, small_model)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    samples = [replace(sample, image_path=broken) for sample in made.samples]
    with pytest.raises(ImageError, match=r"broken\.jpg: .*the image format is unknown"):
        list(stream_batches(replace(made, samples=samples), 0, 1))
