"""Rendering of benchmark tables from known results, the tables in the documents, and the commands of the suite."""

import re
from pathlib import Path

import pytest

from benchmarks.contenders.adapters import ADAPTERS, counterpart
from benchmarks.contenders.arena import contender
from benchmarks.render import DOCUMENTS, fill_tables
from benchmarks.report.results import BenchmarkResults
from benchmarks.report.tables import TABLES
from benchmarks.suite import MODULES, commands

ROOT = Path(__file__).resolve().parents[1]
MACHINE = {"processor": "Abacus", "instructions": ["avx2"], "cores": 2, "load": 1.5, "system": "Linux"}


def row(ms, ratio, product=0.9):
    return {"ms_median": ms, "cpu_ms_median": 2 * ms, "ours_ratio": ratio, "ours_cpu_ratio": ratio / 2, "of_matrix_product": product}


def measurement(**others):
    contenders = {"boxwright": row(180.0, 1.0), "boxwright int8": row(60.0, 3.0), "opencv": row(200.0, 0.9), "tensorflow": row(200.0, 0.9)}
    contenders["tensornets"] = row(400.0, 0.45)
    setup = {"benchmark": "latency", "network": "yolov2-voc", "threads": 2, "batch": 1, "input": 416}
    return setup | {"contenders": contenders, "machine": MACHINE, "versions": {"onnxruntime": "1.2.3", "numpy": "9"}} | others


def test_short_table_has_times_and_our_ratio_to_each_rival():
    head, _, cells, _, source = TABLES["short"](BenchmarkResults([measurement()]))
    assert head == "| one image, 2 threads, ms | boxwright | boxwright int8 | onnxruntime | openvino | tensorflow | opencv | tensornets |"
    assert cells == "| `yolov2-voc`, 416 px | 180 | 60 | - | - | 200 (0.90) | 200 (0.90) | 400 (0.45) |"
    assert source == "Medians of time, by `make bench`, on Abacus (avx2), 2 cores, load 1.5 to 1.5; onnxruntime 1.2.3."


def test_processor_time_replaces_wall_time_on_a_busy_machine():
    *_, cells, _, source = TABLES["short"](BenchmarkResults([measurement()], busy=True))
    assert "| 400 (0.45) |" in cells
    assert source.startswith("Medians of processor time")


def test_latency_table_divides_the_time_by_the_batch_size():
    *_, cells, _, _ = TABLES["latency"](BenchmarkResults([measurement(batch=4)]))
    assert cells.startswith("| `yolov2-voc` | 2 | 4 | 45 | 15 | - | - | 50 (0.90)")


def test_rivals_table_compares_equal_precisions_and_shows_the_accuracy():
    contenders = {
        "boxwright": row(20.0, 1.0),
        "openvino": row(16.0, 1.25),
        "boxwright int8": row(8.0, 1.0),
        "openvino int8": row(10.0, 0.8),
    }
    accuracy = {"benchmark": "accuracy", "contenders": {"openvino int8": {"ap50": 0.8008}}, "machine": MACHINE, "versions": {}}
    lines = [measurement(network="everyday", contenders=contenders), accuracy]
    head, _, *cells, _, _ = TABLES["rivals"](BenchmarkResults(lines))
    assert head == "| precision | library | `everyday`, ms | AP50 of `everyday` |"
    assert cells == [
        "| float32 | boxwright | 20 | - |",
        "| float32 | openvino | 16 (1.25) | - |",
        "| int8 | boxwright | 8 | - |",
        "| int8 | openvino | 10 (0.80) | 80.1 |",
    ]


def test_every_contender_is_compared_with_ours_in_its_precision():
    assert {name: counterpart(name) for name in ("opencv 5 onnx", "tflite int8", "openvino bfloat16", "boxwright")} == {
        "opencv 5 onnx": "boxwright",
        "tflite int8": "boxwright int8",
        "openvino bfloat16": "boxwright bfloat16",
        "boxwright": "boxwright",
    }
    assert {counterpart(name) for name in ADAPTERS} <= ADAPTERS.keys()


def test_promises_compare_us_with_the_best_rival_in_the_same_precision():
    contenders = {
        "boxwright": row(20.0, 1.0),
        "openvino": row(16.0, 1.25),
        "opencv": row(100.0, 0.2),
        "boxwright int8": row(8.0, 1.0),
        "openvino int8": row(10.0, 0.8),
    }
    *_, float32, int8 = TABLES["promises"](BenchmarkResults([measurement(contenders=contenders)]))
    assert float32.endswith("in float32, one image, 2 threads: at most the time of the best rival | 1.25 of openvino's | **not kept** |")
    assert int8.endswith("in int8, one image, 2 threads: at most the time of the best rival | 0.80 of openvino's | kept |")


def test_the_last_of_repeated_measurements_is_used():
    first, last = measurement(), measurement(contenders={"boxwright": row(7.0, 1.0)})
    *_, cells, _, _ = TABLES["short"](BenchmarkResults([first, last]))
    assert "| 7 |" in cells


def test_fleet_table_extrapolates_the_throughput_of_one_core():
    measured = {"benchmark": "throughput", "model": "everyday", "images_per_second": 80.0, "machine": MACHINE, "versions": {}}
    _, _, cells, *_ = TABLES["fleet"](BenchmarkResults([measured]))
    assert cells == "| `everyday` | 40.0 | 6.9 | 0.28 | 2.5 | 25 |"


def test_document_gets_new_tables_and_keeps_tables_without_results():
    document = "a\n<!-- measured: one -->\nold\n<!-- /measured -->\nb\n<!-- measured: two -->\nkept\n<!-- /measured -->\n"
    expected = document.replace("old", "| new |")
    assert fill_tables(document, {"one": "| new |", "two": ""}) == expected
    assert fill_tables(expected, {"one": "| new |", "two": ""}) == expected
    with pytest.raises(SystemExit, match=r"unknown table 'one'. Known tables: two"):
        fill_tables(document, {"two": ""})


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_name_only_existing_tables(name):
    named = re.findall(r"<!-- measured: ([a-z0-9-]+) -->", (ROOT / name).read_text(encoding="utf-8"))
    assert named
    assert set(named) <= set(TABLES)


def test_suite_runs_only_existing_benchmarks_and_options():
    for arguments in commands(quick=True):
        path = ROOT / "benchmarks" / f"{MODULES[arguments[0]].replace('.', '/')}.py"
        assert path.is_file()
        source = path.read_text(encoding="utf-8")
        assert all(f'"{argument}"' in source for argument in arguments if argument.startswith("--"))


def test_suite_measures_every_model_of_the_promises():
    for kind in ("startup", "throughput"):
        models = [arguments[arguments.index("--model") + 1] for arguments in commands(quick=True) if arguments[0] == kind]
        assert [model.removesuffix("/model.safetensors").rpartition("/")[2] for model in models] == [
            "everyday",
            "everyday-int8",
            "yolov2-voc",
        ]


def test_matrix_product_runs_with_the_given_number_of_threads():
    with contender("matrix product", Path(), 1, 1) as product:
        assert len(product.time_calls(2)) == 2
        assert b"OPENBLAS_NUM_THREADS=1" in Path(f"/proc/{product.process.pid}/environ").read_bytes().split(b"\0")
