"""Model files: round trips, their layout, and values that are not written."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from detector.errors import ArraysError, ModelError, ModelFileError
from detector.network.layers import Conv
from tests.weights.formats.model_files import models_equal, split_file
from weights.formats.darknet.weights import read_darknet, write_darknet
from weights.formats.safetensors import load_model, read_header, save_model


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_loading_is_the_inverse_of_saving(any_models, tmp_path_factory, data):
    model, path = data.draw(any_models), tmp_path_factory.getbasetemp() / "any.safetensors"
    save_model(model, path)
    assert models_equal(load_model(path), model)
    assert read_header(path) == (model.spec, model.provenance, model.name, "float32", None, None)


def test_float16_rounds_only_the_kernels(tmp_path, small_model):
    save_model(small_model, tmp_path / "half.safetensors", dtype="float16")
    loaded = load_model(tmp_path / "half.safetensors")
    for name, array in small_model.arrays.items():
        stored = array.astype(np.float16).astype(np.float32) if name.endswith("/kernel") else array
        assert loaded.arrays[name].dtype == np.float32
        np.testing.assert_array_equal(loaded.arrays[name], stored)
    assert read_header(tmp_path / "half.safetensors").dtype == "float16"
    save_model(loaded, tmp_path / "again.safetensors", dtype="float16")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "half.safetensors").read_bytes()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_saving_is_deterministic_and_the_safetensors_library_reads_the_file(tmp_path, small_model, dtype):
    for name in ("one", "two"):
        save_model(small_model, tmp_path / name, dtype=dtype)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    arrays = load_file(tmp_path / "one")
    assert arrays.keys() == small_model.arrays.keys()
    assert {array.dtype.name for name, array in arrays.items() if name.endswith("/kernel")} == {dtype}
    header, data = split_file(tmp_path / "one")
    assert header.pop("__metadata__")["format"] == "boxwright"
    start = (tmp_path / "one").stat().st_size - len(data)
    for entry in header.values():  # aligned, so that a reader can map them
        assert (start + entry["data_offsets"][0]) % (4 if entry["dtype"] == "F32" else 2) == 0


def test_the_file_has_the_documented_layout(small_file, small_model):
    metadata = split_file(small_file)[0]["__metadata__"]
    digest = hashlib.sha256()
    for layer in small_model.spec.network:
        if isinstance(layer, Conv):
            for part in ("kernel", *(("gamma", "beta", "mean", "variance") if layer.normalize else ("bias",))):
                digest.update(f"{layer.name}/{part}\0".encode() + small_model.arrays[f"{layer.name}/{part}"].tobytes())
    assert metadata["arrays"] == digest.hexdigest()
    assert (metadata["format"], metadata["version"], metadata["name"], metadata["dtype"]) == ("boxwright", "1", "small", "float32")
    assert json.loads(metadata["provenance"]) == {"source": "test data"}
    assert [layer["type"] for layer in json.loads(metadata["spec"])["network"]] == [
        *("conv", "maxpool", "conv", "conv", "shortcut", "maxpool", "route", "reorg", "route", "conv"),
    ]


def test_an_imported_darknet_model_survives_a_round_trip(shared, tmp_path):
    source = shared / "weights" / "yolo-lite-voc-bn"
    model = read_darknet(source.with_suffix(".cfg"), source.with_suffix(".weights"))
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert models_equal(loaded, model)
    write_darknet(loaded, tmp_path / "a.cfg", tmp_path / "a.weights")
    assert (tmp_path / "a.weights").read_bytes() == source.with_suffix(".weights").read_bytes()


@pytest.mark.parametrize(("number", "dtype"), [(np.nan, "float32"), (np.inf, "float16"), (1e6, "float16")])
def test_values_that_are_not_finite_are_refused_and_the_old_file_stays(small_file, small_model, number, dtype):
    before = small_file.read_bytes()
    arrays = {**small_model.arrays, "conv2_1/kernel": np.full((1, 1, 4, 4), number, np.float32)}
    with pytest.raises(ArraysError, match=f"array 'conv2_1/kernel' contains NaN, infinity or a number too large for {dtype}"):
        save_model(replace(small_model, arrays=arrays), small_file, dtype=dtype)
    assert small_file.read_bytes() == before
    assert list(small_file.parent.iterdir()) == [small_file]


def test_large_statistics_survive_float16(tmp_path, small_model):
    arrays = {**small_model.arrays, "conv1/variance": np.array([1e6, 1e-9, 0, 3e38], np.float32)}
    save_model(replace(small_model, arrays=arrays), tmp_path / "half", dtype="float16")
    np.testing.assert_array_equal(load_model(tmp_path / "half").arrays["conv1/variance"], arrays["conv1/variance"])


@pytest.mark.parametrize("change", [{"provenance": {"a": 1}}, {"provenance": {1: "a"}}])
def test_values_that_json_does_not_preserve_are_not_written(tmp_path, small_model, change):
    with pytest.raises(ModelFileError, match=r"JSON does not preserve|is not text|must be an object of strings"):
        save_model(replace(small_model, **change), tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", " ", "\ud800", "../evil", "two\nlines", "\x1b[31m"])
def test_an_unprintable_model_name_or_a_path_is_refused(minimal_model, name):
    with pytest.raises(ModelError, match="a model's name must be printable and have no '/'"):
        replace(minimal_model, name=name)


def test_a_very_long_model_name_is_refused(minimal_model):
    """Every response would repeat it."""
    with pytest.raises(ModelError, match="a model's name has 1,001 characters; the limit is 1,000"):
        replace(minimal_model, name="a" * 1001)


def test_a_quantized_model_survives_a_round_trip_bit_for_bit(tmp_path, quantized_model):
    path, second_path = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    save_model(quantized_model, path)
    loaded = load_model(path)
    assert loaded.quantization == read_header(path).quantization == quantized_model.quantization
    for layer in quantized_model.quantization.layers:
        np.testing.assert_array_equal(loaded.arrays[f"{layer}/kernel"], quantized_model.arrays[f"{layer}/kernel"])
    save_model(loaded, second_path)
    assert second_path.read_bytes() == path.read_bytes()
    dtypes = {name: array.dtype.name for name, array in load_file(path).items() if name.endswith(("/kernel", "/step"))}
    assert {"int8", "float16", "float32"} == set(dtypes.values())
    assert all(dtype == "float32" for name, dtype in dtypes.items() if name.endswith("/step"))


def test_only_quantized_files_have_format_version_2(tmp_path, small_file, quantized_model):
    save_model(quantized_model, tmp_path / "8.safetensors")
    assert split_file(small_file)[0]["__metadata__"]["version"] == "1"
    assert split_file(tmp_path / "8.safetensors")[0]["__metadata__"]["version"] == "2"
    with pytest.raises(ModelFileError, match="int8 requires a quantized model"):
        save_model(quantized_model, tmp_path / "no", dtype="float32")
