"""Every export opens in its own framework and gives the same output as the model."""

import resource
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from detector.engines import load_engine
from detector.errors import NetworkError
from detector.network.layers import Conv, MaxPool, Reorg, Route, Shortcut, Upsample
from detector.network.spec import Model, ModelSpec
from weights.embedded import EVERYDAY
from weights.errors import ExportError
from weights.formats.darknet.lowering import lower_to_darknet
from weights.formats.darknet.weights import read_darknet, read_labels
from weights.formats.export import EXPORTERS, export_model
from weights.formats.safetensors import load_model

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # TensorFlow's


@pytest.fixture(scope="module")
def everyday():
    return load_model(EVERYDAY)


def noise(model):
    return np.random.default_rng(3).uniform(0, 255, (model.spec.input_size,) * 2 + (3,)).astype(np.float32)


@pytest.mark.parametrize("target", EXPORTERS)
def test_the_shipped_model_exports_to_every_format(everyday, target, tmp_path):
    path = tmp_path / f"everyday{EXPORTERS[target].suffix[0]}"
    exported = export_model(everyday, target, path, pixels=noise(everyday))
    assert exported.difference <= 1e-3
    assert exported.largest > 1
    assert path in exported.paths
    assert sorted(tmp_path.iterdir()) == sorted(exported.paths)


def test_opencv_runs_the_darknet_export_of_the_shipped_model(everyday, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="needs opencv-python-headless 4.10; later versions have no Darknet importer")
    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        pytest.skip(f"OpenCV {cv2.__version__} has no Darknet importer; 4.10 has")
    cfg, pixels = tmp_path / "everyday.cfg", noise(everyday)
    export_model(everyday, "darknet", cfg, pixels=pixels)
    network = cv2.dnn.readNetFromDarknet(str(cfg), str(cfg.with_suffix(".weights")))
    blob = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None] / np.float32(255))
    network.setInput(blob)  # OpenCV does not copy the array, so it must outlive `forward`
    theirs = network.forward([name for name in network.getLayerNames() if name.startswith("conv")][-1])[0]
    ours = load_engine(everyday)(pixels[None])[0]
    np.testing.assert_allclose(theirs.transpose(1, 2, 0).reshape(ours.shape), ours, atol=1e-3)
    assert read_labels(cfg.with_suffix(".names")) == everyday.spec.labels


def test_a_keras_export_opens_without_boxwright(everyday, tmp_path):
    path = tmp_path / "everyday.keras"
    export_model(everyday, "keras", path, pixels=noise(everyday))
    code = f"import sys, keras; keras.models.load_model({str(path)!r}); print('detector' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize(
    "layers",
    [
        (Conv("a", 4, activation="relu6"), Conv("b", 2, normalize=False, activation="relu6")),
        (Conv("a", 6, groups=3, activation="relu6"), Conv("b", 6, groups=6, stride=2, padding=(0, 1), activation="relu6")),
        (Conv("a", 4, size=5, stride=2, padding=(1, 2)), Reorg("b"), Conv("c", 3), Reorg("d", stride=4)),
        (MaxPool("a", 4, 4), Conv("b", 4, activation="relu6"), Upsample("c"), Route("d", ("b",)), Upsample("e"), Route("f", ("c", "e"))),
        (Conv("a", 4), MaxPool("b"), Route("c", ("a",)), Reorg("d"), Route("e", ("d", "b")), Conv("f", 20), Shortcut("g", "e")),
    ],
)
def test_a_lowered_network_computes_the_same_function(layers, random_arrays, tmp_path):
    spec = ModelSpec((), (), layers, 64, pixel_scale=1 / 128, pixel_offset=-127 / 128)
    model = Model("ours", spec, random_arrays(layers, 2))
    export_model(model, "darknet", tmp_path / "a.cfg", pixels=noise(model))
    lowered = read_darknet(tmp_path / "a.cfg", tmp_path / "a.weights")
    assert {type(layer) for layer in lowered.spec.network} <= {Conv, MaxPool, Route, Shortcut, Upsample}
    images = noise(model)[None]
    expected = load_engine(model)(images)
    np.testing.assert_allclose(load_engine(lowered)(images), expected, atol=1e-4 * max(1, np.abs(expected).max()))


def test_a_network_that_darknet_supports_is_not_changed(tiny_model):
    assert lower_to_darknet(tiny_model).spec == tiny_model.spec


@pytest.mark.parametrize(
    ("layer", "numbers"),
    [(Reorg("b", stride=32), (64 * 32**2) ** 2), (Conv("b", 64, size=1, stride=33, padding=(0, 2048)), 2049**2 * 64 * 64)],
)
def test_a_network_with_huge_lowered_kernels_is_refused(layer, numbers, random_arrays):
    layers = (Conv("a", 64), layer)
    model = Model("ours", ModelSpec((), (), layers, 64), random_arrays(layers, 2))
    with pytest.raises(NetworkError, match=f"layer 'b': lowered for Darknet, its kernel would have {numbers:,} numbers"):
        lower_to_darknet(model)


def test_an_export_with_different_output_is_discarded(tiny_model, tmp_path, monkeypatch):
    original = EXPORTERS["onnx"]
    monkeypatch.setitem(EXPORTERS, "onnx", replace(original, run=lambda path, images: original.run(path, images) + 1))
    with pytest.raises(ExportError, match="differs from the model's by 1; it is discarded"):
        export_model(tiny_model, "onnx", tmp_path / "a.onnx", pixels=noise(tiny_model))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("target", "name"), [("onnx", "model.pb"), ("savedmodel", "model.pb"), ("darknet", "model.weights")])
def test_a_wrong_suffix_is_refused(tiny_model, target, name, tmp_path):
    with pytest.raises(ExportError, match="this format requires the name NAME"):
        export_model(tiny_model, target, tmp_path / name, pixels=noise(tiny_model))


@pytest.mark.parametrize(
    ("target", "name", "existing"), [("onnx", "m.onnx", "m.onnx"), ("darknet", "m.cfg", "m.weights"), ("savedmodel", "m", "m")]
)
def test_an_existing_file_is_not_overwritten(tiny_model, target, name, existing, tmp_path):
    (tmp_path / existing).write_text("mine")
    with pytest.raises(ExportError, match=f"{existing} exists"):
        export_model(tiny_model, target, tmp_path / name, pixels=noise(tiny_model))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_force_replaces_a_file_but_not_a_folder(tiny_model, tmp_path):
    (tmp_path / "m.onnx").write_text("old")
    export_model(tiny_model, "onnx", tmp_path / "m.onnx", pixels=noise(tiny_model), force=True)
    assert (tmp_path / "m.onnx").stat().st_size > 1000
    (tmp_path / "m").mkdir()
    with pytest.raises(ExportError, match="m exists"):
        export_model(tiny_model, "savedmodel", tmp_path / "m", pixels=noise(tiny_model), force=True)


def test_a_missing_folder_is_named(tiny_model, tmp_path):
    with pytest.raises(ExportError, match=r"the folder .*nowhere does not exist\. Create it"):
        export_model(tiny_model, "onnx", tmp_path / "nowhere" / "m.onnx", pixels=noise(tiny_model))


@pytest.mark.parametrize("target", EXPORTERS)
def test_a_disk_without_space_is_explained_and_no_part_of_the_export_remains(everyday, target, tmp_path):
    path = (tmp_path / "model").with_suffix(EXPORTERS[target].suffix[0])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(ExportError, match=r"model\S* cannot be written: File too large\. Choose a folder"):
            export_model(everyday, target, path, pixels=noise(everyday))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())
