"""The web page in a real browser, with two models: the default one, and a tiny one with an unusual label.

Playwright runs an event loop in the main thread, in which asyncio.run would fail. Therefore the browser is closed after each module.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from detector.engines.onnxruntime import OnnxEngine
from service.app import create_app
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from service.settings import Settings
from weights.hub.resolve import resolve_model

ROOT = Path(__file__).resolve().parents[3]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ODD_LABEL = "<img src=x onerror=alert(1)>"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class Page:
    """A browser tab with the page, its console messages and its requests so far."""

    def __init__(self, tab, url):
        self.tab, self.url, self.logged, self.requests = tab, url, [], []
        tab.on("console", lambda message: self.logged.append(message.text))
        tab.on("pageerror", lambda error: self.logged.append(f"error: {error}"))
        tab.on("request", lambda request: self.requests.append(request.url))

    def open(self, path="/"):
        self.tab.goto(self.url + path)
        if path == "/":
            self.tab.wait_for_selector("#model option", state="attached")
        return self

    def choose_files(self, *paths):
        """Choose files and wait for the response for the first one."""
        self.tab.set_input_files("#files", [str(path) for path in paths])
        self.wait_for_response()

    def wait_for_response(self):
        self.tab.wait_for_selector("#waiting", state="hidden")
        self.tab.wait_for_selector("#panel:not([hidden]), #problem:not([hidden])")

    def boxes(self):
        """Return the labels and the edges of the boxes as fractions of the image, sorted."""
        return sorted(
            self.tab.evaluate(
                """() => {
                    const photo = document.querySelector("#photo").getBoundingClientRect();
                    return [...document.querySelectorAll(".box")].map((node) => {
                        const box = node.getBoundingClientRect();
                        const edges = [(box.left - photo.left) / photo.width, (box.top - photo.top) / photo.height,
                                       (box.right - photo.left) / photo.width, (box.bottom - photo.top) / photo.height];
                        return [node.textContent, ...edges];
                    });
                }"""
            )
        )

    def set_confidence(self, percent):
        self.tab.locator("#confidence").fill(str(percent))

    def detection_request_count(self):
        """Return the number of detection requests."""
        return sum("/detect" in url for url in self.requests)

    def problem(self):
        return self.tab.inner_text("#problem-detail")

    def check(self):
        """Check that there were no errors, no policy violations and no requests to other origins."""
        assert not [line for line in self.logged if "Failed to load resource" not in line], self.logged
        assert all(request.startswith((self.url, "blob:")) for request in self.requests)

    def save_screenshot(self, name):
        """Save a screenshot in the build folder."""
        folder = ROOT / "build" / "page"
        folder.mkdir(parents=True, exist_ok=True)
        self.tab.screenshot(path=folder / f"{name}.png", full_page=True)


@pytest.fixture(scope="module")
def registry(tiny_model):
    odd = replace(tiny_model, name="odd", spec=replace(tiny_model.spec, labels=("cat", ODD_LABEL, "person")))
    return Registry([LoadedModel.of(model, OnnxEngine.of(model)) for model in (resolve_model(None), odd)])


@pytest.fixture(scope="module")
def url(registry, listening):
    with listening(create_app(registry, Settings())) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, which is in the extra dev")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"needs a browser: one of {', '.join(BROWSERS)} on the PATH (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=[*FLAGS, "--use-fake-device-for-media-stream"])
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser, url):
    """Return a function (options of a browser context) -> a `Page` in its own context."""
    contexts, pages = [], []

    def make(**options):
        context = browser.new_context(**options)
        context.set_default_timeout(20_000)
        contexts.append(context)
        pages.append(Page(context.new_page(), url))
        return pages[-1]

    yield make
    for context in contexts:
        context.close()
    for page in pages:
        page.check()


@pytest.fixture(scope="module")
def shared_page(browser, url):
    context = browser.new_context()
    context.set_default_timeout(20_000)
    yield Page(context.new_page(), url)
    context.close()


@pytest.fixture
def page(shared_page):
    """Reload the page in a shared tab, which takes a tenth of the time of a new tab."""
    shared_page.logged.clear()
    shared_page.requests.clear()
    shared_page.tab.set_viewport_size({"width": 1280, "height": 800})
    shared_page.tab.emulate_media(color_scheme="light")
    yield shared_page.open()
    shared_page.check()
