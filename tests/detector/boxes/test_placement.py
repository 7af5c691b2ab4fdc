import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detector.boxes.placement import GREY, Placement
from detector.network.layers import Conv
from detector.network.spec import ModelSpec


def spec(size=64, fit="letterbox", resample="darknet", edges="continuous"):
    return ModelSpec(("thing",), ((1, 1),), (Conv("only", 6, size=32, stride=32, padding=(0, 0)),), size, fit, resample, edges=edges)


def darknet_resize(image, width, height):
    """resize_image (Darknet src/image.c), pixel by pixel: columns first, then rows."""
    old_height, old_width, _ = image.shape
    part = np.zeros((old_height, width, 3))
    for c in range(width):
        if c == width - 1 or old_width == 1:
            part[:, c] = image[:, old_width - 1]
        else:
            position = c * (old_width - 1) / (width - 1)
            part[:, c] = (1 - position % 1) * image[:, int(position)] + (position % 1) * image[:, int(position) + 1]
    out = np.zeros((height, width, 3))
    for r in range(height):
        position = r * (old_height - 1) / (height - 1)
        out[r] = (1 - position % 1) * part[int(position)]
        if r < height - 1 and old_height > 1:
            out[r] += (position % 1) * part[int(position) + 1]
    return out


@pytest.mark.parametrize(("height", "width"), [(40, 90), (90, 40), (64, 64), (200, 128), (1, 7), (2, 2)])
def test_darknet_resampling_equals_darknets_loop(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    stretched = Placement.fit(spec(fit="stretch"), image).apply(image)
    np.testing.assert_allclose(stretched, darknet_resize(image, 64, 64), atol=0.01)


def test_antialiased_resampling_equals_pillow():
    image = np.random.default_rng(0).integers(0, 256, (50, 130, 3), np.uint8)
    pixels = Placement.fit(spec(fit="stretch", resample="antialiased"), image).apply(image)
    expected = np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(pixels, expected)
    assert pixels.dtype == np.float32


@pytest.mark.parametrize(("height", "width"), [(40, 90), (200, 128), (64, 64), (1, 7)])
def test_cubic_resampling_equals_opencv(height, width):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is the reference")
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    pixels = Placement.fit(spec(fit="stretch", resample="cubic"), image).apply(image)
    expected = cv2.resize(image.astype(np.float32), (64, 64), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(pixels, expected, atol=2e-3)


@pytest.mark.parametrize("resample", ["darknet", "antialiased", "cubic"])
def test_a_wide_image_is_padded_above_and_below_with_grey(resample):
    image = np.full((30, 60, 3), 200, np.uint8)
    pixels = Placement.fit(spec(resample=resample), image).apply(image)
    assert (pixels[:16] == GREY).all()
    assert (pixels[16:48] == 200).all()
    assert (pixels[48:] == GREY).all()


def test_a_tall_image_is_padded_left_and_right():
    image = np.full((60, 30, 3), 200, np.uint8)
    pixels = Placement.fit(spec(), image).apply(image)
    assert (pixels[:, :16] == GREY).all()
    assert (pixels[:, 16:48] == 200).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5000), (5000, 1), (3, 2)])
@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
@pytest.mark.parametrize("resample", ["darknet", "antialiased", "cubic"])
def test_images_of_any_proportions_are_placed(height, width, fit, resample):
    image = np.full((height, width, 3), 7, np.uint8)
    pixels = Placement.fit(spec(fit=fit, resample=resample), image).apply(image)
    assert pixels.shape == (64, 64, 3)
    assert (np.abs(pixels - 7) < 1e-4).any()


fits = st.sampled_from(["letterbox", "stretch"])


@given(st.integers(1, 3000), st.integers(1, 3000), fits, st.sampled_from(["continuous", "inclusive"]), st.integers(0, 2**32 - 1))
def test_to_image_is_the_inverse_of_to_network(width, height, fit, edges, seed):
    image = np.zeros((height, width, 3), np.uint8)
    placement = Placement.fit(spec(fit=fit, edges=edges), image)
    boxes = (np.random.default_rng(seed).uniform(0, 1, (5, 4)) * [width, height, width, height]).astype(np.float32)
    network_boxes = placement.to_network(boxes)
    assert (network_boxes[:, :2] >= -1e-3).all()
    assert (network_boxes <= 64 + 1e-3).all()
    np.testing.assert_allclose(placement.to_image(network_boxes), boxes, atol=0.01 + 1e-4 * max(width, height))


def test_the_image_border_maps_to_the_border_of_the_placed_image():
    placement = Placement.fit(spec(), np.zeros((30, 60, 3), np.uint8))
    np.testing.assert_allclose(placement.to_network(np.array([[0, 0, 60, 30]], np.float32)), [[0, 16, 64, 48]])


def test_inclusive_edges_extend_a_box_by_one_image_pixel():
    image, boxes = np.zeros((32, 128, 3), np.uint8), np.array([[10, 20, 30, 40]], np.float32)
    continuous, inclusive = (Placement.fit(spec(edges=edges), image).to_image(boxes) for edges in ("continuous", "inclusive"))
    np.testing.assert_allclose(inclusive - continuous, [[0, 0, 1, 1]])
