"""Darknet .weights files: array order, header versions, and truncated or invalid files."""

import os
import struct
import tracemalloc
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from detector.errors import ArraysError, ModelFileError, NetworkError
from detector.network import Conv
from detector.shapes import array_shapes, check_arrays
from detector.spec import Model, ModelSpec
from weights.formats.darknet.cfg import DARKNET_EPSILON, read_cfg
from weights.formats.darknet.weights import WeightsHeader, read_darknet, read_labels, read_weights, write_darknet
from weights.formats.other_formats import describe_other_format

YOLO_LITE = ["yolo-lite-voc-nobn", "yolo-lite-voc-bn", "yolo-lite-coco"]
HEADER = {"darknet.major": "0", "darknet.minor": "1", "darknet.revision": "0", "darknet.seen": "32000"}


@pytest.fixture
def files(tmp_path):
    return tmp_path / "a.cfg", tmp_path / "a.weights"


def ones_for(network):
    return {name: np.ones(shape, np.float32) for name, shape in array_shapes(network).items()}


def array_offsets(network, header):
    """Return the start of each array in a .weights and the end of the file, computed from the layers alone."""
    offsets, position, channels = {}, header, 3
    for layer in network:
        assert isinstance(layer, Conv) or layer.name.startswith("pool")
        if isinstance(layer, Conv):
            sizes = dict.fromkeys(("beta", "gamma", "mean", "variance") if layer.normalize else ("bias",), layer.filters)
            for part, size in {**sizes, "kernel": layer.filters * channels * layer.size**2}.items():
                offsets[f"{layer.name}/{part}"] = position
                position += 4 * size
            channels = layer.filters
    return offsets, position


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


@pytest.mark.parametrize("value", ["x", "", "99999999999", "-1"])
def test_an_invalid_header_is_refused(files, small_model, value):
    with pytest.raises(NetworkError, match=r"the provenance contains no valid \.weights header"):
        write_darknet(replace(small_model, provenance={"darknet.seen" if value == "-1" else "darknet.major": value}), *files)
    assert not files[0].exists()


@pytest.mark.parametrize("name", YOLO_LITE)
def test_a_truncated_file_is_refused_and_the_message_names_array_and_byte(shared, files, name):
    cfg, weights = (shared / "weights" / f"{name}.{kind}" for kind in ("cfg", "weights"))
    files[1].write_bytes(weights.read_bytes())
    offsets, end = array_offsets(read_cfg(cfg).network, 16)
    assert end == weights.stat().st_size
    for array, start in reversed(offsets.items()):  # so that the file is only shortened
        for cut in (end - 1, (start + end) // 2, start + 1, start):
            os.truncate(files[1], cut)
            with pytest.raises(
                ModelFileError,
                match=f"a.weights: array '{array}' needs {end - start} bytes at byte {start}, but the file has only {cut - start} more",
            ):
                read_darknet(cfg, files[1])
        end = start
    for cut in (15, 12, 11, 1, 0):
        os.truncate(files[1], cut)
        needed = 16 if cut >= 12 else 12
        with pytest.raises(ModelFileError, match=f"the header needs {needed} bytes, but the file has only {cut}"):
            read_darknet(cfg, files[1])


@pytest.mark.parametrize("name", YOLO_LITE)
def test_one_extra_byte_is_refused(shared, files, name):
    cfg, weights = (shared / "weights" / f"{name}.{kind}" for kind in ("cfg", "weights"))
    files[1].write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(
        ModelFileError, match=f"the file has 1 byte more at byte {weights.stat().st_size}, after the last array, 'conv6_2/kernel'"
    ):
        read_darknet(cfg, files[1])


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


def test_darknet19_448_conv_23_is_a_stem(shared, files):
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
    stem = read_darknet(*files, layers=4)
    assert [layer.name for layer in stem.spec.network] == ["conv1", "pool1", "conv2_1", "conv2_2"]
    assert (stem.spec.labels, stem.spec.anchors) == ((), ())
    assert all(np.array_equal(array, small_model.arrays[name]) for name, array in stem.arrays.items())


def test_a_cfg_larger_than_the_file_allocates_no_memory(files):
    cfg, weights = files
    cfg.write_text(
        "[net]\nwidth=32\nheight=32\nchannels=3\n[convolutional]\nfilters=1000000000\nsize=101\nstride=32\npad=1\nactivation=leaky\n"
    )
    weights.write_bytes(bytes(100))
    tracemalloc.start()
    with pytest.raises(ModelFileError, match="array 'conv1/bias' needs 4000000000 bytes at byte 16, but the file has only 84 more"):
        read_darknet(cfg, weights)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("array", "number", "problem"),
    [
        ("conv2_1/kernel", np.nan, "contains NaN or infinity"),
        ("conv2_1/gamma", np.inf, "contains NaN or infinity"),
        ("conv3/bias", -np.inf, "contains NaN or infinity"),
        ("conv1/variance", -1.0, "contains a negative variance"),
    ],
)
def test_values_that_are_not_finite_and_negative_variances_are_refused(files, small_model, array, number, problem):
    write_darknet(small_model, *files)
    data = bytearray(files[1].read_bytes())
    values = small_model.arrays[array]
    first = np.float32(values.transpose(3, 2, 0, 1).ravel()[0] if values.ndim == 4 else values[0]).tobytes()
    position = data.index(first)
    data[position : position + 4] = np.float32(number).tobytes()
    files[1].write_bytes(data)
    with pytest.raises(ModelFileError, match=f"array '{array}' at byte {position} {problem}"):
        read_darknet(*files)
    bad = {**small_model.arrays, array: np.full_like(values, number)}
    before = [path.read_bytes() for path in files]
    with pytest.raises(ArraysError, match=f"array '{array}' {problem}"):
        write_darknet(replace(small_model, arrays=bad), *files)
    assert [path.read_bytes() for path in files] == before
    assert len(list(files[0].parent.iterdir())) == 2


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


@settings(max_examples=200)
@given(data=st.binary(max_size=200) | st.binary(min_size=108, max_size=112), complete=st.booleans())
def test_random_bytes_give_valid_arrays_or_are_refused(tmp_path_factory, data, complete):
    network = (Conv("a", 2, size=1), Conv("b", 1, size=2, normalize=False, padding=(0, 0)))  # 23 numbers
    path = tmp_path_factory.getbasetemp() / "any.weights"
    path.write_bytes(data)
    right_size = len(data) in (108, 112) or (not complete and len(data) > 108)
    with suppress(ModelFileError):  # any other exception fails the test
        arrays, provenance = read_weights(path, network, complete=complete)
        assert right_size
        check_arrays(network, arrays)
        assert all(np.isfinite(array).all() for array in arrays.values())
        assert provenance["darknet.major"] == str(struct.unpack("<i", data[:4])[0])


@settings(max_examples=100)
@given(header=st.binary(min_size=20, max_size=20), numbers=st.lists(st.floats(0, 10, width=32), min_size=23, max_size=23))
def test_every_header_version_survives_a_round_trip(tmp_path_factory, header, numbers):
    assume(not describe_other_format(header[:16], ".weights file"))  # Hypothesis tries the signatures in our code
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


def test_a_missing_file_is_reported(files):
    with pytest.raises(ModelFileError, match=r"a\.cfg cannot be read: No such file or directory"):
        read_darknet(*files)


def test_a_pipe_is_refused_without_waiting(files):
    files[0].write_text("[net]\nwidth=8\nheight=8\nchannels=3\n[maxpool]\n")
    os.mkfifo(files[1])
    with pytest.raises(ModelFileError, match=r"a\.weights is not a regular file"):
        read_darknet(*files)


@pytest.mark.parametrize("data", [b"cat\ndog\n", b"cat\r\ndog\r\n\r\n", b"\xef\xbb\xbfcat \ndog\n\n\n", b"cat\ndog"])
def test_each_line_is_a_label(tmp_path, data):
    (tmp_path / "a.names").write_bytes(data)
    assert read_labels(tmp_path / "a.names") == ("cat", "dog")


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"cat\n\ndog\n", "line 2 is blank"), (b"caf\xe9\n", "is not utf-8 text: byte 3"), (b"\n", "the file contains no label")],
)
def test_invalid_label_files_are_refused(tmp_path, data, message):
    (tmp_path / "a.names").write_bytes(data)
    with pytest.raises(ModelFileError, match=message):
        read_labels(tmp_path / "a.names")


def test_the_official_names_fit_the_official_networks(shared):
    labels = read_labels(shared / "weights" / "voc.names")
    assert read_cfg(shared / "weights" / "yolov2-voc.cfg", labels=labels).labels[:3] == ("aeroplane", "bicycle", "bird")
    assert len(read_labels(shared / "weights" / "coco.names")) == 80


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5\n", "this is a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>Not found</html>", "this is a web page, not a .weights file"),
        (b"<HTML><body>Login</body></HTML>", "this is a web page, not a .weights file"),
        (b"PK\x03\x04" + bytes(100), "this is a zip archive"),
    ],
)
def test_what_a_failed_download_leaves_is_recognised(tmp_path, content, message):
    (tmp_path / "a.weights").write_bytes(content)
    with pytest.raises(ModelFileError, match=message):
        read_weights(tmp_path / "a.weights", (Conv("a", 8, 3),))
