"""Detect mode of the page in a real browser."""

import json
import subprocess
from dataclasses import replace

import httpx

from detector.engines.onnxruntime import OnnxEngine
from service.models.loaded_model import LoadedModel
from tests.service.web.conftest import CAT, COLLAGE, ODD_LABEL, assert_drawn, detect_over_http
from weights.formats.provenance import confidence_text


def test_a_dropped_image_shows_the_boxes_of_the_api(page, url):
    page.transfer("drop", COLLAGE)
    response = detect_over_http(url, COLLAGE)
    assert len(response["detections"]) == 6
    assert_drawn(page, response)
    assert page.tab.locator("#found button").count() == 6
    assert page.tab.inner_text("#status") == "Found 6 objects: cat (2), horse (2), person (2)."
    page.save_screenshot("light")


def test_the_slider_shows_the_boxes_of_the_api_without_a_request(page, url):
    page.choose_files(COLLAGE)
    request_count = page.detection_request_count()
    for percent in (5, 10, 25, 60, 90):
        page.set_confidence(percent)
        assert_drawn(page, detect_over_http(url, COLLAGE, confidence=percent / 100))
    assert page.detection_request_count() == request_count


def test_the_label_filter_and_the_slider_apply_to_the_visible_image_only(page, url):
    page.choose_files(COLLAGE, CAT)
    request_count = page.detection_request_count()
    page.tab.uncheck("#labels [value=person]")
    assert_drawn(page, detect_over_http(url, COLLAGE, classes=["cat", "horse"]))
    assert page.detection_request_count() == request_count
    assert page.tab.inner_text("#status") == "Found 4 objects: cat (2), horse (2). 2 more hidden."
    for box in page.tab.locator(".chip:visible input").all():
        box.uncheck()
    assert page.tab.inner_text("#status") == "Hidden: 6 boxes. Tick their labels to show them."
    page.set_confidence(95)
    page.tab.locator(".thumbnail").nth(1).click()
    assert_drawn(page, detect_over_http(url, CAT))
    assert page.tab.inner_text("#confidence-shown") == "25%"
    page.tab.locator(".thumbnail").nth(0).click()
    assert page.tab.inner_text("#confidence-shown") == "95%"


def test_only_labels_with_boxes_have_a_checkbox(page, url):
    page.choose_files(COLLAGE)
    shown = lambda: set(page.tab.locator(".chip:visible input").evaluate_all("nodes => nodes.map((node) => node.value)"))  # noqa: E731
    detected = lambda percent: {detection["label"] for detection in detect_over_http(url, COLLAGE, confidence=percent / 100)["detections"]}  # noqa: E731
    for percent in (5, 25, 60):
        page.set_confidence(percent)
        assert shown() == detected(percent)
    page.tab.uncheck("#labels [value=cat]")
    page.set_confidence(95)
    assert shown() == detected(95) | {"cat"}  # a label that is not ticked can be ticked again


def test_another_model_shows_its_own_boxes_and_its_labels_are_not_parsed_as_html(page, url):
    page.choose_files(CAT)
    page.set_confidence(5)
    page.tab.select_option("#model", "odd")
    page.wait_for_response()
    response = detect_over_http(url, CAT, model="odd", confidence=0.05)
    assert ODD_LABEL in {detection["label"] for detection in response["detections"]}
    assert_drawn(page, response)
    request_count = page.detection_request_count()
    page.tab.select_option("#model", "everyday")
    assert_drawn(page, detect_over_http(url, CAT, confidence=0.05))
    assert page.detection_request_count() == request_count  # the page has kept the earlier response


def test_the_model_list_is_updated_when_the_window_gets_the_focus(page, url, registry, tiny_model):
    names = lambda: page.tab.locator("#model option").all_inner_texts()  # noqa: E731
    focus_window = lambda: page.tab.evaluate("dispatchEvent(new Event('focus'))")  # noqa: E731
    page.choose_files(CAT)
    page.set_confidence(5)
    try:
        for version, labels in (("1", ("ant", "bee", "cow")), ("2", ("pie", "tea", "jam"))):
            model = replace(tiny_model, spec=replace(tiny_model.spec, labels=labels))
            registry.set_folder_versions("added", [LoadedModel.of(model, OnnxEngine.of(model), name="added", version=version)])
            focus_window()
            page.tab.wait_for_selector("#model option[value=added]", state="attached")
            page.tab.select_option("#model", "added")
            page.tab.wait_for_selector(f"#label-boxes input[value={labels[0]}], #label-boxes input[value={labels[1]}]")
            assert_drawn(page, detect_over_http(url, CAT, model="added", confidence=0.05))
    finally:
        registry.set_folder_versions("added", [])
    focus_window()
    page.tab.wait_for_selector("#model option[value=added]", state="detached")
    assert names() == ["everyday", "odd"]
    assert page.tab.input_value("#model") == "everyday"


def test_the_confidence_that_a_model_suggests_is_shown(page, registry, tiny_model):
    suggestions = {"tuned": {"confidence": confidence_text({tiny_model.spec.labels[0]: 0.163})}, "damaged": {"confidence": "{"}}
    page.choose_files(CAT)
    assert page.tab.inner_text("#suggestion") == ""
    try:
        for name, provenance in suggestions.items():
            model = replace(tiny_model, provenance=provenance)
            registry.set_folder_versions(name, [LoadedModel.of(model, OnnxEngine.of(model), name=name, version="1")])
        page.tab.evaluate("dispatchEvent(new Event('focus'))")
        page.tab.wait_for_selector("#model option[value=damaged]", state="attached")
        for name, shown in (("tuned", f"The model suggests {tiny_model.spec.labels[0]} 16%."), ("damaged", "")):
            page.tab.select_option("#model", name)
            page.wait_for_response()
            assert page.tab.inner_text("#suggestion") == shown
    finally:
        for name in suggestions:
            registry.set_folder_versions(name, [])


def test_a_sample_image_opens_with_one_click_and_its_curl_command_downloads_it(page, tmp_path):
    for name in ("cat", "astronaut", "collage"):
        page.tab.click(f"[data-sample$='{name}.jpg']")
        page.tab.wait_for_selector(f"#photo[alt='{name}.jpg']")
        page.wait_for_response()
        assert page.boxes()
        result = subprocess.run(["bash", "-c", page.tab.inner_text("#curl")], cwd=tmp_path, capture_output=True, check=True)
        assert json.loads(result.stdout)["detections"] == json.loads(page.tab.text_content("#json"))["detections"]
        assert (tmp_path / f"{name}.jpg").is_file()


def test_the_copied_curl_command_gives_the_shown_response(new_page, tmp_path):
    page = new_page(permissions=["clipboard-read", "clipboard-write"]).open()
    path = tmp_path / "it's $HOME; a cat.jpg"
    path.write_bytes(COLLAGE.read_bytes())
    page.choose_files(path)
    page.set_confidence(10)
    page.tab.uncheck("#labels [value=person]")
    page.tab.click("[data-copy=curl]")
    page.tab.wait_for_selector("[data-copy=curl] + :text('Copied.')")
    command = page.tab.evaluate("navigator.clipboard.readText()")
    response = json.loads(subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, check=True).stdout)
    page.tab.click("#panel summary")
    page.tab.click("[data-copy=json]")
    page.tab.wait_for_selector("[data-copy=json] + :text('Copied.')")
    assert page.tab.text_content("[data-copy=curl] + span") == ""  # the note 'Copied.' is shown only at the last copied text
    shown = json.loads(page.tab.evaluate("navigator.clipboard.readText()"))
    del response["timing_ms"], shown["timing_ms"]
    assert response == shown


def test_without_clipboard_access_the_curl_command_is_selected(page):
    page.choose_files(CAT)
    page.tab.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")  # as on a page without HTTPS
    page.tab.click("[data-copy=curl]")
    page.tab.wait_for_selector("text=Selected")
    assert page.tab.evaluate("getSelection().toString()") == page.tab.inner_text("#curl")


def test_list_entries_and_boxes_highlight_each_other(page):
    page.choose_files(COLLAGE)
    page.tab.locator("#found button").nth(2).hover()
    assert page.tab.get_attribute(".box.lit", "data-index") == "2"
    page.tab.locator(".box[data-index='3'] .caption").hover()
    assert page.tab.get_attribute("#found .lit", "data-index") == "3"
    page.tab.locator("#found button").nth(1).focus()
    page.tab.keyboard.press("Enter")
    page.tab.locator("h1").hover()
    page.tab.locator("#found button").nth(1).blur()
    assert page.tab.get_attribute(".box.lit", "data-index") == "1"  # a pressed entry stays highlighted
    assert page.tab.get_attribute("#found [aria-pressed=true]", "data-index") == "1"


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


def test_the_page_can_be_operated_with_the_keyboard(page):
    page.tab.focus("[data-sample$='collage.jpg']")
    page.tab.keyboard.press("Enter")
    page.wait_for_response()
    page.tab.focus("#confidence")
    for _ in range(40):
        page.tab.keyboard.press("ArrowRight")
    assert page.tab.inner_text("#confidence-shown") == "65%"
    assert len(page.boxes()) == 4
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.press("Space")
    assert len(page.boxes()) == 2
