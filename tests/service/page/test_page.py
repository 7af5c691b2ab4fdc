"""The web page, operated as a user operates it."""

import base64
import json
import subprocess
from dataclasses import replace

import httpx
import pytest
from PIL import Image

from detector.engines.onnxruntime import OnnxEngine
from detector.imaging.draw import class_colour, text_colour_on
from service.models.loaded_model import LoadedModel
from tests.service.page.conftest import ODD_LABEL, ROOT

PHOTOS = ROOT / "docs" / "photos"
CAT = PHOTOS / "cat.jpg"
COLLAGE = ROOT / "service" / "web" / "samples" / "collage.jpg"
LINE = 0.006  # width of a drawn line, as a fraction of the image's side


def api(url, path, **query):
    return httpx.post(f"{url}/detect", content=path.read_bytes(), params=query).json()


def to_drawn_boxes(response):
    """Convert a response to the form of `Page.boxes`."""
    width, height = response["image"]["width"], response["image"]["height"]
    return sorted(
        [
            f"{found['label']} {found['score'] * 100 + 1e-9:.0f}%",
            *(found["box"][edge] / side for edge, side in zip(("xmin", "ymin", "xmax", "ymax"), (width, height) * 2, strict=True)),
        ]
        for found in response["detections"]
    )


def assert_drawn(page, response):
    drawn, expected = page.boxes(), to_drawn_boxes(response)
    assert [box[0] for box in drawn] == [box[0] for box in expected]
    for box, other in zip(drawn, expected, strict=True):
        assert box[1:] == pytest.approx(other[1:], abs=LINE)


def transfer_files(page, event, paths, selector="body"):
    """Drop or paste files."""
    files = [(path.name, base64.b64encode(path.read_bytes()).decode()) for path in paths]
    page.tab.evaluate(
        """([event, files, selector]) => {
            const transfer = new DataTransfer();
            for (const [name, data] of files) {
                const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
                transfer.items.add(new File([bytes], name, {type: "image/" + name.split(".").pop()}));
            }
            const init = {bubbles: true, cancelable: true};
            document.querySelector(selector).dispatchEvent(event === "paste"
                ? new ClipboardEvent(event, {...init, clipboardData: transfer})
                : new DragEvent(event, {...init, dataTransfer: transfer}));
        }""",
        [event, files, selector],
    )
    if paths:
        page.wait_for_response()


def test_a_dropped_image_shows_the_boxes_of_the_api(page, url):
    transfer_files(page, "drop", [COLLAGE])
    response = api(url, COLLAGE)
    assert len(response["detections"]) == 5
    assert_drawn(page, response)
    assert page.tab.locator("#found button").count() == 5
    assert page.tab.inner_text("#status") == "Found: cat 2, person 2, horse 1."
    page.save_screenshot("light")


def test_the_slider_shows_the_boxes_of_the_api_without_a_request(page, url):
    page.choose_files(COLLAGE)
    request_count = page.detection_request_count()
    for percent in (5, 10, 25, 60, 90):
        page.set_confidence(percent)
        assert_drawn(page, api(url, COLLAGE, confidence=percent / 100))
    assert page.detection_request_count() == request_count


def test_the_label_filter_hides_boxes_and_applies_to_the_next_image(page, url):
    page.choose_files(COLLAGE, CAT)
    request_count = page.detection_request_count()
    page.tab.uncheck("#labels [value=person]")
    assert_drawn(page, api(url, COLLAGE, classes=["cat", "horse"]))
    assert page.detection_request_count() == request_count
    page.tab.uncheck("#labels [value=cat]")
    page.tab.locator("#strip button").nth(1).click()
    assert page.boxes() == []
    assert page.tab.inner_text("#status") == "No boxes shown: 1 have labels that are not selected."


def test_several_images_make_a_strip_and_each_has_its_boxes(page, url):
    transfer_files(page, "drop", [CAT, PHOTOS / "astronaut.jpg", COLLAGE])
    page.tab.wait_for_selector("#strip li:nth-child(3) button.answered")
    for index, path in enumerate((CAT, PHOTOS / "astronaut.jpg", COLLAGE)):
        page.tab.locator("#strip button").nth(index).click()
        assert_drawn(page, api(url, path))
        assert page.tab.get_attribute("#photo", "alt") == path.name


def test_another_model_shows_its_own_boxes_and_its_labels_are_not_parsed_as_html(page, url):
    page.choose_files(CAT)
    page.set_confidence(5)
    page.tab.select_option("#model", "odd")
    page.wait_for_response()
    response = api(url, CAT, model="odd", confidence=0.05)
    assert ODD_LABEL in {found["label"] for found in response["detections"]}
    assert_drawn(page, response)
    request_count = page.detection_request_count()
    page.tab.select_option("#model", "everyday")
    assert_drawn(page, api(url, CAT, confidence=0.05))
    assert page.detection_request_count() == request_count  # the page has kept the earlier response


def test_the_model_list_is_updated_when_the_window_gets_the_focus(page, url, registry, tiny_model):
    names = lambda: page.tab.locator("#model option").all_inner_texts()  # noqa: E731
    look = lambda: page.tab.evaluate("dispatchEvent(new Event('focus'))")  # noqa: E731
    page.choose_files(CAT)
    page.set_confidence(5)
    try:
        for version, labels in (("1", ("ant", "bee", "cow")), ("2", ("pie", "tea", "jam"))):
            model = replace(tiny_model, spec=replace(tiny_model.spec, labels=labels))
            registry.set_folder_versions("fresh", [LoadedModel.of(model, OnnxEngine.of(model), name="fresh", version=version)])
            look()
            page.tab.wait_for_selector("#model option[value=fresh]", state="attached")
            page.tab.select_option("#model", "fresh")
            page.tab.wait_for_selector(f"#label-boxes input[value={labels[0]}], #label-boxes input[value={labels[1]}]")
            assert_drawn(page, api(url, CAT, model="fresh", confidence=0.05))
    finally:
        registry.set_folder_versions("fresh", [])
    look()
    page.tab.wait_for_selector("#model option[value=fresh]", state="detached")
    assert names() == ["everyday", "odd"]
    assert page.tab.input_value("#model") == "everyday"


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
    transfer_files(page, "paste", [CAT])
    assert_drawn(page, api(url, CAT))


def test_a_sample_image_opens_with_one_click_and_its_curl_command_downloads_it(page, tmp_path):
    for name in ("cat", "astronaut", "collage"):
        page.tab.click(f"[data-sample$='{name}.jpg']")
        page.tab.wait_for_selector(f"#photo[alt='{name}.jpg']")
        page.wait_for_response()
        assert page.boxes()
        ended = subprocess.run(["bash", "-c", page.tab.inner_text("#curl")], cwd=tmp_path, capture_output=True, check=True)
        assert json.loads(ended.stdout)["detections"] == json.loads(page.tab.text_content("#json"))["detections"]
        assert (tmp_path / f"{name}.jpg").is_file()


def test_the_copied_curl_command_gives_the_shown_response(new_page, tmp_path):
    page = new_page(permissions=["clipboard-read", "clipboard-write"]).open()
    path = tmp_path / "it's $HOME; a cat.jpg"
    path.write_bytes(COLLAGE.read_bytes())
    page.choose_files(path)
    page.set_confidence(10)
    page.tab.uncheck("#labels [value=person]")
    page.tab.click("[data-copy=curl]")
    page.tab.wait_for_selector("text=Copied.")
    line = page.tab.evaluate("navigator.clipboard.readText()")
    response = json.loads(subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, check=True).stdout)
    page.tab.click("summary")
    page.tab.click("[data-copy=json]")
    shown = json.loads(page.tab.evaluate("navigator.clipboard.readText()"))
    del response["timing_ms"], shown["timing_ms"]
    assert response == shown


def test_without_clipboard_access_the_curl_command_is_selected(page):
    page.choose_files(CAT)
    page.tab.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")  # as on a page without HTTPS
    page.tab.click("[data-copy=curl]")
    page.tab.wait_for_selector("text=Selected")
    assert page.tab.evaluate("getSelection().toString()") == page.tab.inner_text("#curl")


def test_a_file_that_is_not_an_image_shows_the_message_of_the_service(page, url):
    page.choose_files(ROOT / "README.md")
    assert page.problem() == api(url, ROOT / "README.md")["detail"]
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
    transfer_files(page, "drop", [])
    assert "not a file" in page.problem()


def test_list_entries_and_boxes_highlight_each_other(page):
    page.choose_files(COLLAGE)
    page.tab.locator("#found button").nth(2).hover()
    assert page.tab.get_attribute(".box.lit", "data-index") == "2"
    page.tab.locator(".box[data-index='3'] .plate").hover()
    assert page.tab.get_attribute("#found .lit", "data-index") == "3"
    page.tab.locator("#found button").nth(1).focus()
    page.tab.keyboard.press("Enter")
    page.tab.locator("h1").hover()
    page.tab.locator("#found button").nth(1).blur()
    assert page.tab.get_attribute(".box.lit", "data-index") == "1"  # a pressed entry stays highlighted
    assert page.tab.get_attribute("#found [aria-pressed=true]", "data-index") == "1"


def rotated_copy(path, tmp_path):
    """Save the image rotated, with the EXIF orientation that makes it upright again."""
    exif = Image.Exif()
    exif[0x0112] = 6  # the first row of pixels is the right side
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    return tmp_path / "turned.jpg"


def in_another_format(path, tmp_path, form):
    Image.open(path).save(tmp_path / f"cat.{form}")
    return tmp_path / f"cat.{form}"


@pytest.mark.parametrize("kind", ["turned", "tif", "gif", "bmp", "webp"])
def test_boxes_match_the_image_in_every_format_and_orientation(page, url, tmp_path, kind):
    path = rotated_copy(CAT, tmp_path) if kind == "turned" else in_another_format(CAT, tmp_path, kind)
    page.choose_files(path)
    response = api(url, path)
    assert response["detections"]
    assert_drawn(page, response)
    shown = page.tab.evaluate(
        "(photo => photo.decode().then(() => [photo.naturalWidth, photo.naturalHeight]))(document.querySelector('#photo'))"
    )
    assert shown == [response["image"]["width"], response["image"]["height"]]


def test_the_download_is_the_annotated_image_of_the_service_with_the_chosen_options(page, url):
    page.choose_files(COLLAGE)
    page.set_confidence(60)
    page.tab.uncheck("#labels [value=person]")
    with page.tab.expect_download() as download:
        page.tab.click("#download")
    assert download.value.suggested_filename == "collage.boxes.jpg"
    query = {"format": "image", "confidence": 0.6, "classes": ["cat", "horse"]}
    drawn = httpx.post(f"{url}/detect", content=COLLAGE.read_bytes(), params=query).content
    assert download.value.path().read_bytes() == drawn


def test_the_time_of_each_stage_is_shown(page):
    page.choose_files(CAT)
    assert page.tab.locator("#stages dt").all_inner_texts() == ["decode", "prepare", "network", "select", "other"]
    assert page.tab.inner_text("#total").endswith(" ms")


def test_the_camera_takes_a_picture(new_page):
    page = new_page(permissions=["camera"]).open()
    page.tab.click("#open-camera")
    page.tab.click("#shoot")
    page.wait_for_response()
    assert page.tab.get_attribute("#photo", "alt") == "camera-1.jpg"
    assert page.tab.is_hidden("#camera")


def test_a_forbidden_or_missing_camera_is_reported(page):
    page.tab.click("#open-camera")
    page.tab.wait_for_selector("text=denied this page access to the camera")
    page.tab.click("#close-camera")
    page.tab.evaluate("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")  # as on a page without HTTPS
    page.tab.click("#open-camera")
    page.tab.wait_for_selector("text=only on pages from HTTPS")


def test_the_page_can_be_operated_with_the_keyboard(page):
    page.tab.focus("[data-sample$='collage.jpg']")
    page.tab.keyboard.press("Enter")
    page.wait_for_response()
    page.tab.focus("#confidence")
    for _ in range(40):
        page.tab.keyboard.press("ArrowRight")
    assert page.tab.inner_text("#confidence-shown") == "65%"
    assert len(page.boxes()) == 3
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.press("Space")
    assert len(page.boxes()) == 1


def test_the_theme_follows_the_system_until_the_user_chooses_one(new_page):
    page = new_page(color_scheme="dark", viewport={"width": 1280, "height": 800}).open()
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark = page.tab.evaluate(ground)
    page.choose_files(COLLAGE)
    page.save_screenshot("dark")
    page.tab.click("#theme")
    light = page.tab.evaluate(ground)
    assert dark != light
    page.open()
    assert page.tab.evaluate(ground) == light


def test_small_screens_need_no_horizontal_scrolling(page):
    page.choose_files(COLLAGE, CAT, PHOTOS / "astronaut.jpg")
    page.set_confidence(5)
    for width in (320, 390, 768):
        page.tab.set_viewport_size({"width": width, "height": 700})
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    page.tab.set_viewport_size({"width": 390, "height": 844})
    page.save_screenshot("phone")


def test_the_page_passes_the_accessibility_check(page):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs axe-playwright-python, which is in the extra dev"
    ).Axe()

    def check():
        for scheme in ("light", "dark"):
            page.tab.emulate_media(color_scheme=scheme)
            found = axe.run(page.tab).response["violations"]
            assert not [
                (rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found if rule["impact"] in ("serious", "critical")
            ]

    check()
    page.choose_files(COLLAGE, ROOT / "README.md")
    page.tab.click("summary")
    check()
    page.tab.locator("#strip button").nth(1).click()
    check()
    page.tab.click("#open-camera")
    check()


def test_the_colours_of_the_page_equal_those_of_annotated_images(page):
    colours = page.tab.evaluate(
        """async () => {
            const {classColour, textColourOn} = await import("/web/colours.js");
            return Array.from({length: 1000}, (_, id) => [classColour(id), textColourOn(classColour(id))]);
        }"""
    )
    assert colours == [[list(class_colour(id_)), list(text_colour_on(class_colour(id_)))] for id_ in range(1000)]


def test_the_api_documentation_works_under_its_content_security_policy(new_page):
    page = new_page().open("/docs")
    page.tab.wait_for_selector("text=Detect objects in an image")


def test_a_waiting_image_looks_like_the_others_in_the_strip(page):
    page.choose_files(CAT)
    held = []
    page.tab.route("**/detect?*", lambda route: held.append(route))
    page.tab.set_input_files("#files", [str(COLLAGE)])
    page.tab.wait_for_selector("#strip button.waiting")
    ground = "getComputedStyle(document.querySelector('#strip li:last-child button')).backgroundColor"
    waiting = page.tab.evaluate(ground)
    while not held:
        page.tab.wait_for_timeout(1)  # playwright calls the route handler during this wait
    held[0].continue_()
    page.tab.unroute("**/detect?*")
    page.tab.wait_for_selector("#strip li:last-child button.answered")
    assert page.tab.evaluate(ground) == waiting
