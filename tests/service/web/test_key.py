"""The web page of a service that requires an API key."""

import subprocess

import pytest

from detector.engines.onnxruntime import OnnxEngine
from service.app import create_app
from service.auth.api_keys import HashedKey, new_key
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from service.settings import Settings
from tests.service.web.conftest import CAT
from weights.hub.resolve import resolve_model

KEY = new_key()


@pytest.fixture(scope="module")
def url(serve_app):
    """The address of a service that requires a key. Overrides the fixture of conftest.py."""
    model = resolve_model(None)
    settings = Settings(key_hashes=str(HashedKey.of("page", KEY)))
    with serve_app(create_app(Registry([LoadedModel.of(model, OnnxEngine.of(model))]), settings)) as address:
        yield address


@pytest.fixture
def page(new_page):
    page = new_page(viewport={"width": 1280, "height": 800})
    page.tab.goto(page.url)
    page.tab.wait_for_selector("#key-form")
    return page


def enter(page, key):
    page.tab.fill("#key", key)
    page.tab.keyboard.press("Enter")


def test_page_asks_for_a_key_and_then_works(page):
    assert "requires an API key" in page.tab.inner_text("#key-message")
    assert page.tab.evaluate("document.activeElement.id") == "key"
    page.save_screenshot("key")
    page.tab.set_input_files("#files", [str(CAT)])  # the image waits until there is a key
    enter(page, f" {KEY} ")
    page.wait_for_response()
    assert page.boxes()
    assert page.tab.is_hidden("#key-form")
    with page.tab.expect_download() as download:
        page.tab.click("#download")
    assert download.value.path().read_bytes().startswith(b"\xff\xd8")


def test_an_unknown_key_is_reported_and_another_one_can_be_entered(page):
    enter(page, "wrong")
    page.tab.wait_for_selector("#key-message:has-text('Unknown API key')")
    assert page.tab.is_visible("#key-form")
    enter(page, "wró ng")
    assert page.tab.is_visible("#key-form")
    enter(page, KEY)
    page.tab.wait_for_selector("#model option", state="attached")
    assert page.tab.is_hidden("#key-form")


def test_the_key_stays_in_its_tab_until_it_is_forgotten(page):
    enter(page, KEY)
    page.open()  # the key survives a reload
    assert page.tab.is_hidden("#key-form")
    other = page.tab.context.new_page()
    other.goto(page.url)
    other.wait_for_selector("#key-form")
    assert page.tab.evaluate("[document.cookie, localStorage.length]") == ["", 0]
    page.choose_files(CAT)
    page.tab.click("#forget-key")
    page.tab.wait_for_selector("#key-form")
    assert page.tab.evaluate("sessionStorage.getItem('boxwright-key')") == ""
    assert page.tab.is_hidden("#forget-key")


def test_key_is_absent_from_urls_and_text_and_the_curl_command_reads_it_from_a_variable(page, tmp_path):
    enter(page, KEY)
    page.tab.wait_for_selector("#model option", state="attached")
    page.tab.click("[data-sample$='cat.jpg']")
    page.wait_for_response()
    assert not [address for address in page.requests if KEY in address]
    assert KEY not in page.tab.content()
    command = page.tab.inner_text("#curl")
    result = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env={"BOXWRIGHT_API_KEY": KEY, "PATH": "/usr/bin:/bin"}, capture_output=True
    )
    assert b'"label":"cat"' in result.stdout


def test_key_form_passes_the_accessibility_check(page, check_accessibility):
    check_accessibility(page)


def test_api_documentation_accepts_a_key(page):
    page.tab.goto(f"{page.url}/docs")
    page.tab.click("button.authorize")
    page.tab.fill(".auth-container input >> nth=0", KEY)
    page.tab.click(".modal-btn.authorize >> nth=0")
    page.tab.click(".modal-ux .close-modal")
    page.tab.click("#operations-models-models_models_get .opblock-summary-control")
    page.tab.click("text=Try it out")
    page.tab.click("button.execute")
    page.tab.wait_for_selector("text=everyday >> nth=0")
    assert page.tab.inner_text(".live-responses-table tbody .response-col_status").startswith("200")
