import pytest

from detector.errors import ArraysError, NetworkError
from detector.network.architectures import darknet19, efficientnet_lite0, tiny_backbone, tiny_yolov2, upsampling_head, yolov2
from detector.network.layers import Conv, MaxPool, Reorg, Route, Shortcut, Upsample
from detector.network.shapes import Shape, array_shapes, check_arrays, operations, output_shapes, parameters
from detector.network.spec import ModelSpec

VOC = tuple(f"class {i}" for i in range(20))
ANCHORS = ((1.0, 1.0),) * 5


def test_darknet19_has_18_convolutions_and_ends_at_stride_32():
    layers = darknet19().layers
    assert sum(isinstance(layer, Conv) for layer in layers) == 18
    assert output_shapes(layers, 416)["conv6_5"] == Shape(13, 1024)


def test_darknet19_has_the_operation_count_of_the_paper():
    classifier = (*darknet19().layers, Conv("classes", 1000, size=1, normalize=False, activation="linear"))
    assert operations(classifier, 224) / 1e9 == pytest.approx(5.58, abs=0.005)


def test_half_width_has_about_a_quarter_of_the_weights():
    assert parameters(darknet19(width=0.5).layers) / parameters(darknet19().layers) == pytest.approx(0.25, abs=0.01)


def test_yolov2_has_the_parameter_and_operation_counts_of_darknet():
    network = yolov2(VOC, order="darknet")
    assert parameters(network) * 4 == 202_704_264 - 20  # yolov2-voc.weights without its header
    assert operations(network, 416) / 1e9 == pytest.approx(29.36, abs=0.005)
    assert parameters(yolov2(range(80), order="darknet")) * 4 == 203_934_260 - 16  # yolov2.weights
    assert operations(yolov2(range(80)), 608) / 1e9 == pytest.approx(62.94, abs=0.005)


def test_tiny_yolov2_has_the_parameter_and_operation_counts_of_darknet():
    assert parameters(tiny_yolov2(VOC)) * 4 in (63_471_556 - 16, 63_471_560 - 20)
    assert operations(tiny_yolov2(VOC), 416) / 1e9 == pytest.approx(6.97, abs=0.005)
    assert parameters(tiny_yolov2(range(80), filters=512)) * 4 == 44_948_600 - 20
    assert operations(tiny_yolov2(range(80), filters=512), 416) / 1e9 == pytest.approx(5.41, abs=0.005)


@pytest.mark.parametrize("backbone", [darknet19(), tiny_backbone(), efficientnet_lite0()])
def test_an_upsampling_head_has_twice_as_many_cells_as_its_backbone_on_each_axis(backbone):
    network = upsampling_head(VOC, backbone=backbone, filters=64)
    assert list(output_shapes(network, 416).values())[-1] == Shape(26, 125)
    spec = ModelSpec(VOC, ANCHORS, network, input_size=416)
    assert (spec.grid, spec.stride, spec.size_multiple) == (26, 16, 32)


def test_an_input_size_that_the_coarsest_layer_does_not_divide_is_refused():
    network = upsampling_head(VOC, backbone=efficientnet_lite0(), filters=64)
    with pytest.raises(NetworkError, match="routed layers must have equal sides, got conv5a 19, upsample 18"):
        ModelSpec(VOC, ANCHORS, network, input_size=304)


@pytest.mark.parametrize("backbone", [darknet19(), darknet19(0.5), tiny_backbone(), efficientnet_lite0()])
def test_the_head_accepts_any_backbone(backbone):
    network = yolov2(VOC, backbone=backbone, filters=64)
    assert list(output_shapes(network, 416).values())[-1] == Shape(13, 125)


def test_efficientnet_lite0_has_16_blocks_and_nine_shortcuts():
    layers = efficientnet_lite0().layers
    assert sum(layer.name.endswith("_project") for layer in layers) == 16
    assert sum(isinstance(layer, Shortcut) for layer in layers) == 9
    assert output_shapes(layers, 224)["block16_project"] == Shape(7, 320)


def test_max_pooling_pads_like_darknet():
    assert output_shapes((MaxPool("pool", size=2, stride=1),), 13)["pool"].side == 13
    assert output_shapes((MaxPool("pool"),), 13)["pool"].side == 7


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ((Conv("a", 4), Conv("a", 4)), "'a': the name is used twice"),
        ((Conv("", 4),), "'': a name may have only letters"),
        ((Conv("a/b", 4),), "'a/b': a name may have only letters"),
        ((Conv("logits", 4),), "'logits': a name may have only letters"),
        ((Conv("a", 4), Route("b", ("c",))), "'b': no earlier layer is named 'c'"),
        ((Conv("a", 4), Route("b", ())), "'b': routed layers must have equal sides, got no layer"),
        ((Conv("a", 4), MaxPool("b"), Route("c", ("a", "b"))), "equal sides, got a 64, b 32"),
        ((Conv("a", 4), MaxPool("b"), Route("c", ("a", "b") * 100_000)), r"a 64, b 32 and 199,900 more\.$"),
        ((Conv("a", 4), Conv("b", 5), Shortcut("c", "a")), "'c': adds 'a'"),
        ((Conv("a", 4, groups=2),), "groups=2 must divide channels=3 and filters=4"),
        ((Upsample("a", 0),), "'a': the stride must be at least 1"),
        ((Conv("a", 0),), "'a': filters, size, stride"),
        ((Conv("a", 4), Reorg("b", stride=3)), "'b': a side of 64 cells is not a multiple of its stride 3"),
        ((Reorg("b", order="darknet"),), "multiple of 4 channels, got 3"),
        ((Conv("a", 4, size=99, padding=(0, 0)),), "leaves an empty output"),
    ],
)
def test_an_invalid_layer_is_refused_by_name(network, message):
    with pytest.raises(NetworkError, match=message):
        output_shapes(network, 64)


@pytest.mark.parametrize(
    ("network", "size", "values"),
    [
        ((Conv("a", 10**9, size=1),), 32, 32**2 * 10**9),
        ((Conv("a", 4096, size=1), MaxPool("b", 32, 32, 0)), 4096, 4096**3),
        ((Conv("a", 1, size=1, padding=(0, 2**30)),), 32, (32 + 2**30) ** 2 * 3),
        ((Conv("a", 1, size=1, stride=2**30, padding=(0, 2**30)),), 32, (32 + 2**30) ** 2 * 3),  # one output cell of a huge padded input
        ((MaxPool("a", 2**30, 1, 2**31 - 2), MaxPool("b", 2, 2**25, 0)), 32, (32 + 2**31 - 2) ** 2 * 3),
        (
            (Conv("a", 2**20, size=1), *(Route(f"r{index}", (f"r{index - 1}" if index else "a",) * 2) for index in range(99))),
            8,
            2**20 * 64 * 31,
        ),
    ],
)
def test_a_network_with_too_many_activations_is_refused(network, size, values):
    with pytest.raises(NetworkError, match=rf"output {values:,} values; the limit is 1,073,741,824"):
        output_shapes(network, size)


def test_yolov2_at_2400_pixels_is_within_the_activation_limit():
    assert list(output_shapes(yolov2(VOC), 2400).values())[-1] == Shape(75, 125)


def test_array_shapes_do_not_depend_on_the_input_size():
    shapes = array_shapes((Conv("a", 4), Reorg("b"), Conv("c", 2, size=1, normalize=False)))
    assert shapes["c/kernel"] == (1, 1, 16, 2)
    assert list(shapes) == ["a/kernel", "a/gamma", "a/beta", "a/mean", "a/variance", "c/kernel", "c/bias"]


def test_missing_surplus_and_misshapen_arrays_are_refused(random_arrays):
    network = (Conv("a", 4), Conv("b", 2, normalize=False))
    arrays = dict(random_arrays(network, 0))
    check_arrays(network, arrays)
    with pytest.raises(ArraysError, match="for example 'c/bias'"):
        check_arrays(network, arrays | {"c/bias": arrays["b/bias"]})
    with pytest.raises(ArraysError, match=r"'b/bias' has shape \(4,\), the network needs \(2,\)"):
        check_arrays(network, arrays | {"b/bias": arrays["a/beta"]})
    del arrays["a/mean"]
    with pytest.raises(ArraysError, match="'a/mean' of shape"):
        check_arrays(network, arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": VOC[:19]}, "125 outputs; 5 anchors and 19 labels need 120"),
        ({"labels": ("dog",) * 20}, "'dog' appears twice"),
        ({"labels": (*map(str, range(200_000)), "7")}, "'7' appears twice"),  # fast although there are many labels
        ({"labels": ("a\nb", *VOC[1:])}, "is empty or has unprintable characters"),
        ({"labels": (" ", *VOC[1:])}, "is empty or has unprintable characters"),
        ({"labels": ("a" * 1001, *VOC[1:])}, "has 1,001 characters; the limit is 1,000"),
        ({"anchors": ((1.0, -1.0),) * 5}, "must be positive widths"),
        ({"anchors": ((1.0, float("nan")),) * 5}, "must be positive widths"),
        ({"input_size": 400}, "is not a multiple"),
        ({"input_size": 0}, "1 to 4096"),
        ({"network": ()}, "no layers"),
        ({"fit": "crop"}, "expected one of letterbox, stretch, got 'crop'"),
    ],
)
def test_an_invalid_spec_is_refused(change, message):
    arguments = {"labels": VOC, "anchors": ANCHORS, "network": yolov2(VOC)} | change
    with pytest.raises(NetworkError, match=message):
        ModelSpec(**arguments)


def test_grid_and_stride_are_derived_from_the_network():
    spec = ModelSpec(VOC, ANCHORS, yolov2(VOC), input_size=608)
    assert (spec.grid, spec.stride) == (19, 32)
