"""The page, used as a person would."""

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
LINE = 0.006  # of a side: the width of a line on the photo


def api(url, path, **query):
    return httpx.post(f"{url}/detect", content=path.read_bytes(), params=query).json()


def as_drawn(answer):
    """An answer in the form of `Page.boxes`."""
    width, height = answer["image"]["width"], answer["image"]["height"]
    return sorted(
        [
            f"{found['label']} {found['score'] * 100 + 1e-9:.0f}%",
            *(found["box"][edge] / side for edge, side in zip(("xmin", "ymin", "xmax", "ymax"), (width, height) * 2, strict=True)),
        ]
        for found in answer["detections"]
    )


def assert_drawn(page, answer):
    drawn, expected = page.boxes(), as_drawn(answer)
    assert [box[0] for box in drawn] == [box[0] for box in expected]
    for box, other in zip(drawn, expected, strict=True):
        assert box[1:] == pytest.approx(other[1:], abs=LINE)


def hand_over(page, event, paths, selector="body"):
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
        page.answered()


def test_a_photo_that_is_dropped_shows_the_boxes_of_the_api(page, url):
    hand_over(page, "drop", [COLLAGE])
    answer = api(url, COLLAGE)
    assert len(answer["detections"]) == 5
    assert_drawn(page, answer)
    assert page.tab.locator("#found button").count() == 5
    assert page.tab.inner_text("#status") == "Found: cat 2, person 2, horse 1."
    page.shoot("light")


def test_the_slider_shows_what_the_api_would_say_without_asking_it(page, url):
    page.pick(COLLAGE)
    request_count = page.detections()
    for percent in (5, 10, 25, 60, 90):
        page.slide(percent)
        assert_drawn(page, api(url, COLLAGE, confidence=percent / 100))
    assert page.detections() == request_count


def test_a_label_that_is_unticked_goes_and_the_filter_holds_for_the_next_photo(page, url):
    page.pick(COLLAGE, CAT)
    request_count = page.detections()
    page.tab.uncheck("#labels [value=person]")
    assert_drawn(page, api(url, COLLAGE, classes=["cat", "horse"]))
    assert page.detections() == request_count
    page.tab.uncheck("#labels [value=cat]")
    page.tab.locator("#strip button").nth(1).click()
    assert page.boxes() == []
    assert page.tab.inner_text("#status") == "No boxes shown: 1 have labels that are not selected."


def test_several_photos_make_a_strip_and_each_has_its_boxes(page, url):
    hand_over(page, "drop", [CAT, PHOTOS / "astronaut.jpg", COLLAGE])
    page.tab.wait_for_selector("#strip li:nth-child(3) button.answered")
    for index, path in enumerate((CAT, PHOTOS / "astronaut.jpg", COLLAGE)):
        page.tab.locator("#strip button").nth(index).click()
        assert_drawn(page, api(url, path))
        assert page.tab.get_attribute("#photo", "alt") == path.name


def test_another_model_answers_with_its_own_boxes_and_its_labels_are_text(page, url):
    page.pick(CAT)
    page.slide(5)
    page.tab.select_option("#model", "odd")
    page.answered()
    answer = api(url, CAT, model="odd", confidence=0.05)
    assert ODD_LABEL in {found["label"] for found in answer["detections"]}
    assert_drawn(page, answer)
    request_count = page.detections()
    page.tab.select_option("#model", "everyday")
    assert_drawn(page, api(url, CAT, confidence=0.05))
    assert page.detections() == request_count  # it was known already


def test_models_that_come_change_and_go_are_seen_when_the_window_is_looked_at_again(page, url, registry, tiny_model):
    names = lambda: page.tab.locator("#model option").all_inner_texts()  # noqa: E731
    look = lambda: page.tab.evaluate("dispatchEvent(new Event('focus'))")  # noqa: E731
    page.pick(CAT)
    page.slide(5)
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


def test_a_page_without_a_model_says_so_and_finds_one_when_asked_again(page):
    page.tab.route("**/models", lambda route: route.fulfill(json={"models": [], "refused": []}))
    page.tab.reload()
    page.tab.wait_for_selector("#problem:not([hidden])")
    assert "model folder" in page.problem()
    page.tab.unroute("**/models")
    page.tab.click("#again")
    page.tab.wait_for_selector("#model option", state="attached")
    page.tab.wait_for_selector("#problem", state="hidden")


def test_a_photo_that_is_pasted_is_looked_at(page, url):
    hand_over(page, "paste", [CAT])
    assert_drawn(page, api(url, CAT))


def test_the_samples_are_one_press_away_and_their_curl_line_fetches_them(page, tmp_path):
    for name in ("cat", "astronaut", "collage"):
        page.tab.click(f"[data-sample$='{name}.jpg']")
        page.tab.wait_for_selector(f"#photo[alt='{name}.jpg']")
        page.answered()
        assert page.boxes()
        ended = subprocess.run(["bash", "-c", page.tab.inner_text("#curl")], cwd=tmp_path, capture_output=True, check=True)
        assert json.loads(ended.stdout)["detections"] == json.loads(page.tab.text_content("#json"))["detections"]
        assert (tmp_path / f"{name}.jpg").is_file()


def test_the_curl_line_that_is_copied_runs_and_says_the_same(new_page, tmp_path):
    page = new_page(permissions=["clipboard-read", "clipboard-write"]).open()
    path = tmp_path / "it's $HOME; a cat.jpg"
    path.write_bytes(COLLAGE.read_bytes())
    page.pick(path)
    page.slide(10)
    page.tab.uncheck("#labels [value=person]")
    page.tab.click("[data-copy=curl]")
    page.tab.wait_for_selector("text=Copied.")
    line = page.tab.evaluate("navigator.clipboard.readText()")
    answer = json.loads(subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, check=True).stdout)
    page.tab.click("summary")
    page.tab.click("[data-copy=json]")
    shown = json.loads(page.tab.evaluate("navigator.clipboard.readText()"))
    del answer["timing_ms"], shown["timing_ms"]
    assert answer == shown


def test_where_the_clipboard_is_closed_the_line_is_selected(page):
    page.pick(CAT)
    page.tab.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")  # as on a page without HTTPS
    page.tab.click("[data-copy=curl]")
    page.tab.wait_for_selector("text=Selected")
    assert page.tab.evaluate("getSelection().toString()") == page.tab.inner_text("#curl")


def test_a_file_that_is_no_photo_is_refused_in_the_words_of_the_service(page, url):
    page.pick(ROOT / "README.md")
    assert page.problem() == api(url, ROOT / "README.md")["detail"]
    assert page.tab.get_attribute("#problem", "role") == "alert"
    assert page.tab.is_hidden("#panel")
    page.pick(CAT)
    assert page.tab.is_hidden("#problem")
    assert page.boxes()


def test_a_service_that_is_gone_is_told_and_tried_again(page):
    page.tab.context.set_offline(True)
    page.pick(CAT)
    assert "cannot be reached" in page.problem()
    page.tab.context.set_offline(False)
    page.tab.click("#again")
    page.tab.wait_for_selector(".box")
    assert page.tab.is_hidden("#problem")


def test_what_is_dropped_and_no_file_is_told(page):
    hand_over(page, "drop", [])
    assert "not a file" in page.problem()


def test_list_and_boxes_light_each_other_up(page):
    page.pick(COLLAGE)
    page.tab.locator("#found button").nth(2).hover()
    assert page.tab.get_attribute(".box.lit", "data-index") == "2"
    page.tab.locator(".box[data-index='3'] .plate").hover()
    assert page.tab.get_attribute("#found .lit", "data-index") == "3"
    page.tab.locator("#found button").nth(1).focus()
    page.tab.keyboard.press("Enter")
    page.tab.locator("h1").hover()
    page.tab.locator("#found button").nth(1).blur()
    assert page.tab.get_attribute(".box.lit", "data-index") == "1"  # pressed, so it stays
    assert page.tab.get_attribute("#found [aria-pressed=true]", "data-index") == "1"


def upright(path, tmp_path):
    """The photo lying on its side, with the EXIF entry that turns it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6  # the first row of pixels is the right side
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    return tmp_path / "turned.jpg"


def in_another_form(path, tmp_path, form):
    Image.open(path).save(tmp_path / f"cat.{form}")
    return tmp_path / f"cat.{form}"


@pytest.mark.parametrize("kind", ["turned", "tif", "gif", "bmp", "webp"])
def test_boxes_lie_on_the_photo_however_it_is_stored(page, url, tmp_path, kind):
    path = upright(CAT, tmp_path) if kind == "turned" else in_another_form(CAT, tmp_path, kind)
    page.pick(path)
    answer = api(url, path)
    assert answer["detections"]
    assert_drawn(page, answer)
    shown = page.tab.evaluate(
        "(photo => photo.decode().then(() => [photo.naturalWidth, photo.naturalHeight]))(document.querySelector('#photo'))"
    )
    assert shown == [answer["image"]["width"], answer["image"]["height"]]


def test_the_download_is_the_photo_drawn_by_the_service_as_chosen(page, url):
    page.pick(COLLAGE)
    page.slide(60)
    page.tab.uncheck("#labels [value=person]")
    with page.tab.expect_download() as download:
        page.tab.click("#download")
    assert download.value.suggested_filename == "collage.boxes.jpg"
    query = {"format": "image", "confidence": 0.6, "classes": ["cat", "horse"]}
    drawn = httpx.post(f"{url}/detect", content=COLLAGE.read_bytes(), params=query).content
    assert download.value.path().read_bytes() == drawn


def test_time_is_told_by_stage(page):
    page.pick(CAT)
    assert page.tab.locator("#stages dt").all_inner_texts() == ["decode", "prepare", "network", "select", "other"]
    assert page.tab.inner_text("#total").endswith(" ms")


def test_the_camera_takes_a_picture(new_page):
    page = new_page(permissions=["camera"]).open()
    page.tab.click("#open-camera")
    page.tab.click("#shoot")
    page.answered()
    assert page.tab.get_attribute("#photo", "alt") == "camera-1.jpg"
    assert page.tab.is_hidden("#camera")


def test_a_camera_that_may_not_be_used_or_is_not_there_is_told(page):
    page.tab.click("#open-camera")
    page.tab.wait_for_selector("text=denied this page access to the camera")
    page.tab.click("#close-camera")
    page.tab.evaluate("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")  # as on a page without HTTPS
    page.tab.click("#open-camera")
    page.tab.wait_for_selector("text=only on pages from HTTPS")


def test_everything_goes_by_keyboard(page):
    page.tab.focus("[data-sample$='collage.jpg']")
    page.tab.keyboard.press("Enter")
    page.answered()
    page.tab.focus("#confidence")
    for _ in range(40):
        page.tab.keyboard.press("ArrowRight")
    assert page.tab.inner_text("#confidence-shown") == "65%"
    assert len(page.boxes()) == 3
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.press("Space")
    assert len(page.boxes()) == 1


def test_dark_is_as_the_system_says_until_chosen_and_then_remembered(new_page):
    page = new_page(color_scheme="dark", viewport={"width": 1280, "height": 800}).open()
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    dark = page.tab.evaluate(ground)
    page.pick(COLLAGE)
    page.shoot("dark")
    page.tab.click("#theme")
    light = page.tab.evaluate(ground)
    assert dark != light
    page.open()
    assert page.tab.evaluate(ground) == light


def test_small_screens_need_no_sideways_scrolling(page):
    page.pick(COLLAGE, CAT, PHOTOS / "astronaut.jpg")
    page.slide(5)
    for width in (320, 390, 768):
        page.tab.set_viewport_size({"width": width, "height": 700})
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    page.tab.set_viewport_size({"width": 390, "height": 844})
    page.shoot("phone")


def test_axe_finds_nothing_serious(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python, which the extra dev has").Axe()

    def check():
        for scheme in ("light", "dark"):
            page.tab.emulate_media(color_scheme=scheme)
            found = axe.run(page.tab).response["violations"]
            assert not [
                (rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found if rule["impact"] in ("serious", "critical")
            ]

    check()
    page.pick(COLLAGE, ROOT / "README.md")
    page.tab.click("summary")
    check()
    page.tab.locator("#strip button").nth(1).click()
    check()
    page.tab.click("#open-camera")
    check()


def test_its_colours_are_those_of_the_drawing(page):
    colours = page.tab.evaluate(
        """async () => {
            const {classColour, textColourOn} = await import("/web/colours.js");
            return Array.from({length: 1000}, (_, id) => [classColour(id), textColourOn(classColour(id))]);
        }"""
    )
    assert colours == [[list(class_colour(id_)), list(text_colour_on(class_colour(id_)))] for id_ in range(1000)]


def test_the_documentation_works_under_its_policy(new_page):
    page = new_page().open("/docs")
    page.tab.wait_for_selector("text=Detect objects in an image")


def test_a_photo_that_waits_its_turn_looks_like_the_others(page):
    page.pick(CAT)
    held = []
    page.tab.route("**/detect?*", lambda route: held.append(route))
    page.tab.set_input_files("#files", [str(COLLAGE)])
    page.tab.wait_for_selector("#strip button.waiting")
    ground = "getComputedStyle(document.querySelector('#strip li:last-child button')).backgroundColor"
    waiting = page.tab.evaluate(ground)
    while not held:
        page.tab.wait_for_timeout(1)  # playwright hands routes over while it waits
    held[0].continue_()
    page.tab.unroute("**/detect?*")
    page.tab.wait_for_selector("#strip li:last-child button.answered")
    assert page.tab.evaluate(ground) == waiting
