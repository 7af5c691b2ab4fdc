"""Darknet .weights files: array order, header versions and round trips."""

import os
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from detector.errors import ModelFileError
from detector.network.layers import Conv
from detector.network.shapes import array_shapes
from detector.network.spec import Model, ModelSpec
from tests.weights.formats.darknet.weights_files import YOLO_LITE
from weights.formats.darknet.cfg import DARKNET_EPSILON, read_cfg
from weights.formats.darknet.weights import WeightsHeader, read_darknet, read_weights, write_darknet
from weights.formats.other_formats import describe_other_format

HEADER = {"darknet.major": "0", "darknet.minor": "1", "darknet.revision": "0", "darknet.seen": "32000"}


def ones_for(network):
    return {name: np.ones(shape, np.float32) for name, shape in array_shapes(network).items()}


@pytest.mark.parametrize("name", YOLO_LITE)
def test_reading_and_writing_gives_identical_bytes(shared, files, name):
    cfg, weights = (shared / "weights" / f"{name}.{kind}" for kind in ("cfg", "weights"))
    model = read_darknet(cfg, weights)
    write_darknet(model, *files)
    assert files[1].read_bytes() == weights.read_bytes()
    assert read_cfg(files[0]) == model.spec
    assert read_darknet(*files, labels=model.spec.labels, edges="continuous").spec == replace(model.spec, edges="continuous")
    assert model.name == name
    assert model.provenance["weights"] == f"{name}.weights"
    assert model.provenance["darknet.minor"] == "1"


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_reading_is_the_inverse_of_writing(darknet_models, tmp_path_factory, data):
    model, folder = data.draw(darknet_models), tmp_path_factory.getbasetemp()
    write_darknet(model, folder / "a.cfg", folder / "a.weights")
    loaded = read_darknet(folder / "a.cfg", folder / "a.weights", name="model")
    assert loaded.spec == model.spec
    assert loaded.arrays.keys() == model.arrays.keys()
    assert all(np.array_equal(loaded.arrays[name], array) for name, array in model.arrays.items())
    assert model.provenance.items() <= loaded.provenance.items()


def test_arrays_are_in_the_order_of_darknet(files):
    network = (Conv("conv1_1", 2, size=1, epsilon=DARKNET_EPSILON), Conv("conv1_2", 1, size=2, normalize=False, padding=(0, 0)))
    numbers = np.arange(1, 24, dtype="<f4")
    write_darknet(Model("a", ModelSpec((), (), network, 2), ones_for(network)), *files)
    files[1].write_bytes(struct.pack("<iiiQ", 0, 2, 5, 2**40) + numbers.tobytes())
    model = read_darknet(*files)
    assert {name: array.ravel().tolist() for name, array in model.arrays.items() if not name.endswith("kernel")} == {
        **{"conv1_1/beta": [1, 2], "conv1_1/gamma": [3, 4], "conv1_1/mean": [5, 6], "conv1_1/variance": [7, 8]},
        "conv1_2/bias": [15],
    }
    assert model.arrays["conv1_1/kernel"][0, 0].tolist() == [[9, 12], [10, 13], [11, 14]]  # (in, out)
    assert model.arrays["conv1_2/kernel"][..., 0].transpose(2, 0, 1).ravel().tolist() == list(range(16, 24))  # channel, row, column
    assert {key: value for key, value in model.provenance.items() if key.startswith("darknet.")} == {
        **{"darknet.major": "0", "darknet.minor": "2", "darknet.revision": "5", "darknet.seen": str(2**40)},
    }


@pytest.mark.parametrize(
    ("version", "size"),
    [((0, 1, 0), 16), ((0, 2, 0), 20), ((0, 2, 5), 20), ((1, 0, 0), 20), ((1000, 2, 0), 16), ((0, 1000, 0), 16), ((-1, 5, 0), 16)],
)
def test_seen_has_eight_bytes_from_version_0_2_on(files, small_model, version, size):
    header = dict(zip(HEADER, map(str, (*version, 7)), strict=True))
    write_darknet(replace(small_model, provenance=header), *files)
    start = files[1].read_bytes()[:size]
    assert struct.unpack("<iii", start[:12]) == version
    assert int.from_bytes(start[12:], "little") == 7
    assert header.items() <= read_darknet(*files).provenance.items()


def test_a_model_of_another_origin_is_written_as_version_0_2_0(files, small_model):
    write_darknet(small_model, *files)
    assert files[1].read_bytes()[:20] == struct.pack("<iiiQ", 0, 2, 0, 0)


@pytest.mark.parametrize(
    ("name", "version", "size"),
    [
        ("yolov2-voc", (0, 2, 0), 202_704_264),
        ("yolov2-coco", (0, 1, 0), 203_934_260),
        ("yolov2-tiny-voc", (0, 1, 0), 63_471_556),
        ("yolov2-tiny-coco", (0, 2, 0), 44_948_600),
    ],
)
def test_official_files_have_exactly_the_size_that_their_cfg_needs(shared, files, name, version, size):
    files[1].write_bytes(struct.pack("<iii", *version))
    os.truncate(files[1], size + 1)  # a sparse file
    with pytest.raises(ModelFileError, match=f"the file has 1 byte more at byte {size}, after the last array, 'linear/kernel'"):
        read_darknet(shared / "weights" / f"{name}.cfg", files[1])
    os.truncate(files[1], size - 1)
    with pytest.raises(ModelFileError, match="'linear/kernel' needs"):
        read_darknet(shared / "weights" / f"{name}.cfg", files[1])


def test_darknet19_448_conv_23_is_a_backbone(shared, files):
    cfg = shared / "weights" / "darknet19_448.cfg"
    files[1].write_bytes(struct.pack("<iii", 0, 1, 0))
    os.truncate(files[1], 79_327_120)  # the published size
    model = read_darknet(cfg, files[1], layers=23)
    assert (len(model.arrays), model.spec.network[-1].name, model.spec.is_detector) == (18 * 5, "conv6_5", False)
    os.truncate(files[1], 79_327_119)
    with pytest.raises(ModelFileError, match="'conv6_5/kernel' needs 18874368 bytes at byte 60452752, but the file has only 18874367 more"):
        read_darknet(cfg, files[1], layers=23)


def test_the_first_layers_of_a_longer_file_can_be_read(files, small_model):
    write_darknet(small_model, *files)
    backbone = read_darknet(*files, layers=4)
    assert [layer.name for layer in backbone.spec.network] == ["conv1", "pool1", "conv2_1", "conv2_2"]
    assert (backbone.spec.labels, backbone.spec.anchors) == ((), ())
    assert all(np.array_equal(array, small_model.arrays[name]) for name, array in backbone.arrays.items())


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5, 0.0])
def test_the_batch_norm_divisor_of_darknet_equals_ours_for_every_epsilon(files, small_model, epsilon):
    variance = np.array([0.0, 1e-6, 0.04, 100.0], np.float32)
    network = (replace(small_model.spec.network[0], epsilon=epsilon), *small_model.spec.network[1:])
    spec = replace(small_model.spec, network=network)
    write_darknet(replace(small_model, spec=spec, arrays={**small_model.arrays, "conv1/variance": variance}), *files)
    loaded = read_darknet(*files)
    written = loaded.arrays["conv1/variance"].astype(np.float64)
    ours = np.sqrt(variance.astype(np.float64) + epsilon)
    np.testing.assert_allclose(np.sqrt(written) + 1e-6, ours, rtol=1e-6, atol=1e-6)
    read_back = np.sqrt(written + DARKNET_EPSILON)
    np.testing.assert_allclose(read_back[ours > 0.1], ours[ours > 0.1], rtol=2e-5)


@settings(max_examples=100)
@given(header=st.binary(min_size=20, max_size=20), numbers=st.lists(st.floats(0, 10, width=32), min_size=23, max_size=23))
def test_every_header_version_survives_a_round_trip(tmp_path_factory, header, numbers):
    assume(not describe_other_format(header, ".weights file"))  # hypothesis also tries the signatures in our source code
    network = (Conv("conv1_1", 2, size=1, epsilon=DARKNET_EPSILON), Conv("conv1_2", 1, size=2, normalize=False, padding=(0, 0)))
    folder = tmp_path_factory.getbasetemp()
    size = struct.calcsize(WeightsHeader(*struct.unpack("<iii", header[:12])).layout)
    (folder / "any.weights").write_bytes(header[:size] + np.array(numbers, "<f4").tobytes())
    arrays, provenance = read_weights(folder / "any.weights", network)
    write_darknet(Model("a", ModelSpec((), (), network, 2), arrays, provenance), folder / "again.cfg", folder / "again.weights")
    assert (folder / "again.weights").read_bytes() == (folder / "any.weights").read_bytes()


def test_opencv_reads_the_written_files(files, small_model):
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV")
    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        pytest.skip("OpenCV 5 cannot import Darknet files; 4.10 can")
    write_darknet(small_model, *files)
    network = cv2.dnn.readNetFromDarknet(*map(str, files))
    network.setInput(np.ones((1, 3, 16, 16), np.float32))
    assert network.forward().shape == (4 * 4 * 2, 5 + 2)  # one row per cell and anchor


def test_opencv_computes_our_batch_norm_for_every_epsilon(files):
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV")
    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        pytest.skip("OpenCV 5 cannot import Darknet files; 4.10 can")
    network = (Conv("conv1", 5, size=1, activation="linear", epsilon=1e-3),)
    rng = np.random.default_rng(3)
    arrays = {f"conv1/{part}": rng.random(5, np.float32) + 0.1 for part in ("beta", "gamma", "mean", "variance")}
    arrays["conv1/kernel"] = rng.standard_normal((1, 1, 3, 5), np.float32)
    write_darknet(Model("a", ModelSpec((), (), network, 8), arrays), *files)
    image = rng.random((8, 8, 3), np.float32)
    theirs = cv2.dnn.readNetFromDarknet(*map(str, files))
    theirs.setInput(image.transpose(2, 0, 1)[None])
    scale = arrays["conv1/gamma"] / np.sqrt(arrays["conv1/variance"] + 1e-3)
    ours = (image @ arrays["conv1/kernel"][0, 0] - arrays["conv1/mean"]) * scale + arrays["conv1/beta"]
    np.testing.assert_allclose(theirs.forward()[0].transpose(1, 2, 0), ours, rtol=1e-4, atol=1e-5)
