"""OpenVINO's fast precisions have the average precision of onnxruntime's float32 on validation images."""

import pytest

pytest.importorskip("openvino", reason="needs the extra 'openvino'")

from detector.detector import Detector
from detector.engines import load_engine
from detector.engines.cores import has_bfloat16, has_vnni
from training.data.voc_reader import read_set
from training.evaluation.evaluate import evaluate_detector
from weights.embedded import EVERYDAY, EVERYDAY_INT8
from weights.engines.precision import MAX_AP_LOSS
from weights.formats.safetensors import load_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def samples(shared):
    """The validation images that have one of the model's classes. `ap50_frequent` ignores classes with fewer than 19 boxes."""
    labels = set(load_model(EVERYDAY).spec.labels)
    return [sample for sample in read_set(shared / "data" / "everyday", "val") if labels & set(sample.labels)]


def ap50_of(file, samples, engine, precision):
    model = load_model(file)
    return evaluate_detector(Detector(model.spec, load_engine(model, engine, precision=precision)), samples).ap50_frequent


@pytest.fixture(scope="module")
def exact(samples):
    return ap50_of(EVERYDAY, samples, "onnxruntime", "float32")


@pytest.mark.skipif(not has_bfloat16(), reason="needs a processor with AVX-512 BF16 or AMX")
def test_bfloat16_loses_at_most_half_a_point(samples, exact):
    assert ap50_of(EVERYDAY, samples, "openvino", "bfloat16") >= exact - MAX_AP_LOSS


@pytest.mark.skipif(not has_vnni(), reason="needs a processor with VNNI")
def test_int8_of_both_engines_has_the_same_ap_within_half_a_point(samples):
    onnxruntime, openvino = (ap50_of(EVERYDAY_INT8, samples, engine, "int8") for engine in ("onnxruntime", "openvino"))
    assert abs(onnxruntime - openvino) <= MAX_AP_LOSS
