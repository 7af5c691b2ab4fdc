"""Model files: round trips, checksums, and damaged, forged or foreign files that are refused."""

import hashlib
import json
import os
import random
import struct
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from detector.engines import load_engine
from detector.errors import ArraysError, ModelError, ModelFileError
from detector.network.layers import Conv, MaxPool, Route
from detector.network.quantization import Quantization
from detector.network.shapes import array_shapes
from detector.network.spec import Model, ModelSpec
from weights.formats.darknet.weights import read_darknet, write_darknet
from weights.formats.memory_entries import MAX_MEMORY_BYTES, memory_checksum
from weights.formats.safetensors import MAX_HEADER_BYTES, content_checksum, load_memory, load_model, read_header, save_model
from weights.quantization.quantize import round_kernels


@pytest.fixture
def small_file(tmp_path, small_model):
    path = tmp_path / "small.safetensors"
    save_model(small_model, path)
    return path


@pytest.fixture
def minimal_model():
    network = (Conv("a", 2, size=1), MaxPool("b"), Route("c", ("a",)))
    arrays = {name: np.ones(shape, np.float32) for name, shape in array_shapes(network).items()}
    return Model("tiny", ModelSpec((), (), network, 2), arrays)


@pytest.fixture
def minimal_file(tmp_path, minimal_model):
    """A file small enough to change each of its bytes."""
    path = tmp_path / "tiny.safetensors"
    save_model(minimal_model, path)
    return path


def models_equal(first, second):
    """Return whether two models have the same facts and arrays."""
    equal = (first.name, first.spec, dict(first.provenance)) == (second.name, second.spec, dict(second.provenance))
    return (
        equal
        and first.arrays.keys() == second.arrays.keys()
        and all(np.array_equal(first.arrays[key], second.arrays[key]) for key in first.arrays)
    )


def split_file(path):
    """Return the header and the bytes of the arrays, according to the safetensors format."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_file(path, header, arrays, *, sign=True):
    """Write a file with another header and, if `sign`, with matching checksums, as a later or hostile program could."""
    metadata = header["__metadata__"]
    if sign:
        metadata.pop("sha256", None)
        metadata["sha256"] = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + arrays)


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


def test_every_truncation_is_refused(minimal_file):
    for length in reversed(range(minimal_file.stat().st_size)):
        os.truncate(minimal_file, length)
        for read in (load_model, read_header):
            with pytest.raises(ModelFileError, match=r"tiny\.safetensors: .*(damaged|truncated).* Download or save it again\."):
                read(minimal_file)


@pytest.mark.parametrize("suffix", [b"\0", b" " * 100])
def test_a_longer_file_is_refused(small_file, suffix):
    small_file.write_bytes(small_file.read_bytes() + suffix)
    with pytest.raises(ModelFileError, match="damaged"):
        load_model(small_file)


def test_every_changed_byte_is_refused_or_changes_nothing(minimal_file, minimal_model):
    data, rng = minimal_file.read_bytes(), random.Random(1)
    refused, header_end = 0, 8 + int.from_bytes(data[:8], "little")
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << rng.randrange(8)
        minimal_file.write_bytes(changed)
        try:
            assert models_equal(load_model(minimal_file), minimal_model)
        except ModelFileError:
            refused += 1
        try:
            assert read_header(minimal_file) == (minimal_model.spec, {}, "tiny", "float32", None, None)
        except ModelFileError:
            assert position < header_end
    assert refused > len(data) - 20  # some changes only affect the spaces that pad the JSON


def test_random_bytes_are_refused(tmp_path):
    rng, path = random.Random(3), tmp_path / "noise"
    for _ in range(300):
        body = rng.randbytes(rng.randrange(200))
        path.write_bytes(struct.pack("<Q", len(body)) + body if rng.random() < 0.7 else body)
        with pytest.raises(ModelFileError):
            load_model(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "damaged, truncated, or not a .safetensors file: the first 8 of its 0 bytes"),
        (b"\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94.", r"this is a pickle \(\.pt, \.pkl\), not a model file\.$"),
        (b"PK\x03\x04" + bytes(100), r"this is a zip archive \(\.npz, \.keras, \.pt\), not a model file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "this is an HDF5 file"),
        (b"<!DOCTYPE html><html></html>", "this is a web page"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), r"this is a PNG image, not a model file\.$"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(100), "this is a JPEG image"),
        (b"[net]\nwidth=416\n", "this is a Darknet .cfg, not a model file. `boxwright weights import` converts"),
        (struct.pack("<iiiQ", 0, 2, 0, 32) + bytes(100), "this is a Darknet .weights file"),
        (struct.pack("<iiii", 0, 1, 0, 32) + bytes(100), "this is a Darknet .weights file"),
        (struct.pack("<Q", 2**63) + b"{}", "damaged, truncated, or not"),
        (struct.pack("<Q", 2) + b"{}", "a .safetensors file of another program"),
        (struct.pack("<Q", 2) + b"[]", "damaged, truncated, or not"),
        (struct.pack("<Q", 100_000) + b"[" * 100_000, "damaged, truncated, or not"),
    ],
)
def test_a_file_of_another_format_is_recognised_and_refused(tmp_path, data, message):
    (tmp_path / "other").write_bytes(data)
    with pytest.raises(ModelFileError, match=rf"other: {message}"):
        load_model(tmp_path / "other")


def test_a_header_beyond_the_limit_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "long"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{")
        file.truncate(MAX_HEADER_BYTES + 100)
    with pytest.raises(ModelFileError, match=f"the first 8 of its {MAX_HEADER_BYTES + 100} bytes are not the length of a header"):
        read_header(path)


def test_a_safetensors_file_of_another_program_is_refused(tmp_path):
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "other", {"format": "pt"})
    with pytest.raises(ModelFileError, match=r"a \.safetensors file of another program: its metadata lacks format=boxwright"):
        load_model(tmp_path / "other")


def test_a_network_that_takes_too_long_is_refused(tmp_path, random_arrays):
    network = (Conv("a", 64), Conv("b", 64, size=31))
    model = Model("slow", ModelSpec((), (), network, 1024), random_arrays(network, 1))
    with pytest.raises(ModelFileError, match=r"the network needs 8,[\d,]+ operations per image; the limit is 1,000,000,000,000"):
        save_model(model, tmp_path / "slow.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_later_format_version_is_refused_with_advice_to_update(small_file):
    header, arrays = split_file(small_file)
    header["__metadata__"] |= {"version": "4", "something": "new"}
    write_file(small_file, header, arrays)
    with pytest.raises(
        ModelFileError, match=r"its format version is '4', but this Boxwright reads versions 1 to 3\. Install the latest Boxwright"
    ):
        load_model(small_file)


def test_a_changed_label_is_detected_without_reading_the_arrays(small_file):
    header, arrays = split_file(small_file)
    header["__metadata__"]["spec"] = header["__metadata__"]["spec"].replace("cat", "cow")
    write_file(small_file, header, arrays, sign=False)
    with pytest.raises(ModelFileError, match="its header does not match its checksum"):
        read_header(small_file)


def test_a_changed_array_is_detected(small_file):
    data = bytearray(small_file.read_bytes())
    data[-1] ^= 1
    small_file.write_bytes(data)
    with pytest.raises(ModelFileError, match="the arrays do not match their checksum"):
        load_model(small_file)


def test_arrays_that_do_not_fit_the_network_are_refused_before_reading_them(small_file):
    header, arrays = split_file(small_file)
    header["__metadata__"]["spec"] = header["__metadata__"]["spec"].replace('"conv3"', '"last"')
    write_file(small_file, header, arrays)
    with pytest.raises(ModelFileError, match=r"array 'conv3/bias' is \('F32', \(14,\)\), but the network needs no such array"):
        read_header(small_file)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"dtype": "int8"}, "dtype must be one of float32, float16, got 'int8'"),
        ({"dtype": "float16"}, r"array 'conv1/kernel' is \('F32', \(3, 3, 3, 4\)\), but the network needs \('F16', \(3, 3, 3, 4\)\)"),
        ({"spec": "{}"}, r"small\.safetensors: spec lacks the field 'anchors'"),
        ({"provenance": "[]"}, "provenance must be an object of strings"),
        ({"provenance": '{"a": 1}'}, "provenance must be an object of strings"),
        ({"provenance": "{"}, "provenance is not valid JSON"),
        ({"arrays": "0" * 64}, "the arrays do not match their checksum"),
        ({"more": ""}, "its header does not match its checksum"),
    ],
)
def test_inconsistent_metadata_is_refused(small_file, edit, message):
    header, arrays = split_file(small_file)
    header["__metadata__"] |= edit
    write_file(small_file, header, arrays)
    with pytest.raises(ModelFileError, match=message):
        load_model(small_file)


ARBITRARY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 2**40)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from([2**31 - 1, "conv"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)


def json_paths(value, path=()):
    """Yield the path to every value in a JSON document."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from json_paths(part, (*path, key))


def replace_value(value, path, new):
    if not path:
        return new
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[path[0]] = replace_value(value[path[0]], path[1:], new)
    return copy


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_forged_spec_with_valid_checksums_is_refused_or_runs(small_files, data):
    path = small_files / "small.safetensors"
    header, arrays = split_file(path)
    spec = json.loads(header["__metadata__"]["spec"])
    for _ in range(data.draw(st.integers(1, 3))):
        spec = replace_value(spec, data.draw(st.sampled_from(list(json_paths(spec)))), data.draw(ARBITRARY_JSON))
    header["__metadata__"]["spec"] = json.dumps(spec)
    write_file(small_files / "hostile.safetensors", header, arrays)
    with suppress(ModelFileError):  # any other exception fails the test
        model = load_model(small_files / "hostile.safetensors")
        size = model.spec.input_size  # for example, only a label or a fit has changed: the arrays still fit, and the model runs
        assert load_engine(model)(np.zeros((1, size, size, 3), np.float32)).shape[:3] == (1, model.spec.grid, model.spec.grid)


@pytest.fixture(scope="module")
def small_files(tmp_path_factory, small_model):
    folder = tmp_path_factory.mktemp("small")
    save_model(small_model, folder / "small.safetensors")
    return folder


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


@pytest.fixture
def quantized_model(small_model):
    """Every second convolution in 8 bits."""
    layers = [layer.name for layer in small_model.spec.network if isinstance(layer, Conv)][::2]
    ranges = dict.fromkeys(small_model.arrays, (-1.5, 6.0))
    return round_kernels(replace(small_model, quantization=Quantization(tuple(layers), ranges)))


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


FORGERIES = [
    ({"version": "1"}, "does not match its checksum"),
    ({"dtype": "float16"}, "dtype must be one of int8, got 'float16'"),
    ({"quantization": "[]"}, "quantization must be an object"),
    ({"quantization": '{"layers": ["missing"], "ranges": {}}'}, "the quantized layer 'missing' is not a convolution of the network"),
    ({"quantization": '{"layers": [], "ranges": {"a": [1, 0]}}'}, "the range of 'a' must go from a lower to a higher number"),
    ({"quantization": '{"layers": [], "ranges": {"a": [1]}}'}, r"quantization\.ranges\.a must be a list of 2"),
    ({"quantization": '{"layers": [], "ranges": {}}'}, "array '.*' is .*, but the network needs"),
]


@pytest.mark.parametrize(("change", "message"), FORGERIES)
def test_a_forged_quantized_file_is_refused(tmp_path, quantized_model, change, message):
    path = tmp_path / "8.safetensors"
    save_model(quantized_model, path)
    header, arrays = split_file(path)
    header["__metadata__"] |= change
    write_file(path, header, arrays)
    for read in (load_model, read_header):
        with pytest.raises(ModelFileError, match=message):
            read(path)


MEMORY = {"index": b'{"images": []}', "bases": b"\1\2\3", "features": bytes(range(200))}


@pytest.fixture
def file_with_memory(tmp_path, minimal_model):
    path = tmp_path / "memory.safetensors"
    save_model(minimal_model, path, memory=MEMORY)
    return path


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_memory_is_stored_and_read_separately(tmp_path, small_model, dtype):
    path, plain_path = tmp_path / "memory.safetensors", tmp_path / "plain.safetensors"
    save_model(small_model, path, dtype=dtype, memory=MEMORY)
    save_model(small_model, plain_path, dtype=dtype)
    assert load_memory(path) == MEMORY
    assert load_memory(plain_path) is None
    assert models_equal(load_model(path), load_model(plain_path))
    assert (read_header(path).memory, read_header(plain_path).memory) == (memory_checksum(MEMORY), None)
    assert content_checksum(path) != content_checksum(plain_path)
    assert split_file(path)[0]["__metadata__"]["version"] == "3"
    assert split_file(plain_path)[0]["__metadata__"]["version"] == "1"
    data = path.read_bytes()
    assert data.endswith(MEMORY["index"] + MEMORY["bases"] + MEMORY["features"])  # at the end, where serving reads nothing


def test_a_damaged_memory_is_refused_but_the_model_still_loads(file_with_memory, minimal_model):
    data = file_with_memory.read_bytes()
    for position in range(len(data) - sum(map(len, MEMORY.values())), len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        file_with_memory.write_bytes(changed)
        assert models_equal(load_model(file_with_memory), minimal_model)
        with pytest.raises(ModelFileError, match=r"memory\.safetensors: its memory is damaged.*weights strip"):
            load_memory(file_with_memory)


def test_every_truncation_of_a_file_with_a_memory_is_refused(file_with_memory):
    for length in reversed(range(file_with_memory.stat().st_size)):
        os.truncate(file_with_memory, length)
        with pytest.raises(ModelFileError, match="damaged"):
            load_memory(file_with_memory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header.pop("memory/index"), "damaged|memory/index"),
        (lambda header: header["memory/index"].update(dtype="I8"), "'memory/index' is I8"),
        (lambda header: header["memory/index"].update(shape=[2, 7]), r"'memory/index' is U8 \[2, 7\]"),
        (lambda header: header["__metadata__"].pop("memory"), "damaged, or changed"),
        (lambda header: header["__metadata__"].update(version="1"), "damaged, or changed"),
    ],
)
def test_entries_of_the_memory_are_checked_before_they_are_read(file_with_memory, change, message):
    header, arrays = split_file(file_with_memory)
    change(header)
    write_file(file_with_memory, header, arrays)
    for read in (load_memory, load_model):
        with pytest.raises(ModelFileError, match=message):
            read(file_with_memory)


def test_a_memory_above_the_limit_is_neither_written_nor_read(tmp_path, minimal_model):
    with pytest.raises(ModelFileError, match="the limit is 268,435,456"):
        save_model(minimal_model, tmp_path / "large.safetensors", memory=MEMORY | {"features": bytes(MAX_MEMORY_BYTES)})
    assert not (tmp_path / "large.safetensors").exists()


def test_saving_a_memory_is_deterministic(tmp_path, minimal_model):
    for name in ("one", "two"):
        save_model(minimal_model, tmp_path / name, memory=dict(reversed(MEMORY.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
