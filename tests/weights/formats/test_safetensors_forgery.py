"""Model files with forged metadata and valid checksums are refused."""

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.engines import load_engine
from detector.errors import ModelFileError
from tests.weights.formats.model_files import split_file, write_file
from weights.formats.safetensors import load_model, read_header, save_model


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


def test_a_negative_epsilon_is_refused_because_its_square_root_may_be_nan(small_file):
    header, arrays = split_file(small_file)
    spec = json.loads(header["__metadata__"]["spec"])
    spec["network"] = [layer | {"epsilon": -1.0} if layer["type"] == "conv" else layer for layer in spec["network"]]
    header["__metadata__"]["spec"] = json.dumps(spec)
    write_file(small_file, header, arrays)
    with pytest.raises(ModelFileError, match=r"network\[0\]\.epsilon must be at least 0"):
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


FORGERIES = [
    ({"version": "1"}, "does not match its checksum"),
    ({"dtype": "float16"}, "dtype must be one of int8, got 'float16'"),
    ({"quantization": "[]"}, "quantization must be an object"),
    ({"quantization": '{"layers": ["missing"], "ranges": {}}'}, "the quantized layer 'missing' is not a convolution of the network"),
    ({"quantization": '{"layers": [], "ranges": {"a": [1, 0]}}'}, "the range of 'a' must be two ascending numbers"),
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
