"""`boxwright benchmark`: its table, and options that no engine supports."""

import json

import pytest

pytest.importorskip("openvino", reason="needs the extra 'openvino'")


def test_a_pipe_gets_a_line_for_every_engine_size_and_number_of_threads(boxwright, model_file):
    sizes = ("--input-size", "64", "--input-size", "96")
    result = boxwright("benchmark", model_file, "--precision", "float32", *sizes, "--threads", "1", "--seconds", "0.1")
    assert result.code == 0, result.err
    assert sorted(row[:4] for row in result.rows) == [
        [engine, "float32", size, "1"] for engine in ("onnxruntime", "openvino") for size in ("64", "96")
    ]
    assert all(float(cell) > 0 for row in result.rows for cell in row[4:7])
    latencies = [float(row[4]) for row in result.rows]
    assert latencies == sorted(latencies)


def test_an_invalid_input_size_is_reported_and_the_others_are_measured(boxwright, model_file):
    arguments = ("--engine", "onnxruntime", "--precision", "float32", "--input-size", "100", "--input-size", "64")
    result = boxwright("benchmark", model_file, *arguments, "--seconds", "0.1", "--json")
    assert result.code == 0
    wrong, right = json.loads(result.out)
    assert "input size 100: this network needs a multiple of 32" in wrong["error"]
    assert (right["error"], right["input_size"], right["job"]["engine"]) == (None, 64, "onnxruntime")
    assert "onnxruntime in float32: input size 100" in result.err


def test_options_that_no_engine_supports_are_an_error(boxwright, model_file):
    result = boxwright("benchmark", model_file, "--engine", "tensorflow", "--device", "npu")
    assert (result.code, "no installed engine supports these options" in result.err) == (2, True)
    result = boxwright("benchmark", model_file, "--precision", "int8")
    assert (result.code, "this model has no 8-bit version" in result.err) == (2, True)
