"""Adding and removing images on the page, and its messages about them."""

import pytest
from PIL import Image

from tests.service.web.conftest import ASTRONAUT, CAT, COLLAGE, ROOT, assert_drawn, detect_over_http


def test_an_image_can_be_removed(page):
    page.choose_files(CAT, COLLAGE, ASTRONAUT)
    page.tab.click("[aria-label='Remove collage.jpg']")
    assert page.tab.locator(".thumbnail").evaluate_all("nodes => nodes.map((node) => node.title)") == ["cat.jpg", "astronaut.jpg"]
    page.tab.click("#remove")
    assert page.tab.get_attribute("#photo", "alt") == "astronaut.jpg"
    page.wait_for_response()
    page.tab.click("#remove")
    assert page.tab.is_hidden("#stage")
    assert page.tab.is_visible(".invitation")


def test_several_images_are_shown_as_thumbnails_and_each_has_its_boxes(page, url):
    page.transfer("drop", CAT, ASTRONAUT, COLLAGE)
    page.tab.wait_for_selector("#strip li:nth-child(3) .answered")
    for index, path in enumerate((CAT, ASTRONAUT, COLLAGE)):
        page.tab.locator(".thumbnail").nth(index).click()
        assert_drawn(page, detect_over_http(url, path))
        assert page.tab.get_attribute("#photo", "alt") == path.name


def test_the_page_reports_that_there_is_no_model_and_can_retry(page):
    page.tab.route("**/models", lambda route: route.fulfill(json={"models": [], "refused": []}))
    page.tab.reload()
    page.tab.wait_for_selector("#problem:not([hidden])")
    assert "model folder" in page.problem()
    page.tab.unroute("**/models")
    page.tab.click("#again")
    page.tab.wait_for_selector("#model option", state="attached")
    page.tab.wait_for_selector("#problem", state="hidden")


def test_a_pasted_image_shows_the_boxes_of_the_api(page, url):
    page.transfer("paste", CAT)
    assert_drawn(page, detect_over_http(url, CAT))


def test_a_file_that_is_not_an_image_is_reported_with_its_name(page, url):
    page.choose_files(ROOT / "README.md")
    assert page.tab.inner_text("#problem-title") == "README.md cannot be read as an image"
    assert page.problem() == "Choose a JPEG, PNG, WebP, GIF, BMP or TIFF file."
    assert detect_over_http(url, ROOT / "README.md")["detail"] in page.tab.text_content("#problem-answer")
    assert page.tab.get_attribute("#problem", "role") == "alert"
    assert page.tab.is_hidden("#panel")
    page.choose_files(CAT)
    assert page.tab.is_hidden("#problem")
    assert page.boxes()


def test_an_unreachable_service_is_reported_and_can_be_retried(page):
    page.tab.context.set_offline(True)
    page.choose_files(CAT)
    assert "cannot be reached" in page.problem()
    page.tab.context.set_offline(False)
    page.tab.click("#again")
    page.tab.wait_for_selector(".box")
    assert page.tab.is_hidden("#problem")


def test_dropping_something_other_than_a_file_is_reported(page):
    page.transfer("drop")
    assert "not a file" in page.problem()


def rotated_copy(path, tmp_path):
    """Save the image rotated, with the EXIF orientation that makes it upright again."""
    exif = Image.Exif()
    exif[0x0112] = 6  # the first row of pixels is the right side
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "rotated.jpg", exif=exif, quality=95)
    return tmp_path / "rotated.jpg"


def in_another_format(path, tmp_path, form):
    Image.open(path).save(tmp_path / f"cat.{form}")
    return tmp_path / f"cat.{form}"


@pytest.mark.parametrize("kind", ["rotated", "tif", "gif", "bmp", "webp"])
def test_boxes_match_the_image_in_every_format_and_orientation(page, url, tmp_path, kind):
    path = rotated_copy(CAT, tmp_path) if kind == "rotated" else in_another_format(CAT, tmp_path, kind)
    page.choose_files(path)
    response = detect_over_http(url, path)
    assert response["detections"]
    assert_drawn(page, response)
    shown = page.tab.evaluate(
        "(image => image.decode().then(() => [image.naturalWidth, image.naturalHeight]))(document.querySelector('#photo'))"
    )
    assert shown == [response["image"]["width"], response["image"]["height"]]


def test_the_camera_takes_a_picture(new_page):
    page = new_page(permissions=["camera"]).open()
    page.tab.click("#open-camera")
    page.tab.click("#shoot")
    page.wait_for_response()
    assert page.tab.get_attribute("#photo", "alt") == "camera-1.jpg"
    assert page.tab.is_hidden("#camera")


def test_a_denied_camera_and_a_page_without_https_are_reported(page):
    page.tab.click("#open-camera")
    page.tab.wait_for_selector("text=denied this page access to the camera")
    page.tab.click("#close-camera")
    page.tab.evaluate("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")  # as on a page without HTTPS
    page.tab.click("#open-camera")
    page.tab.wait_for_selector("text=only on pages from HTTPS")
