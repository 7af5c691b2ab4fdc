"""The web page in a real browser, with two models: the default one, and a tiny one with an unusual label.

Playwright runs an event loop in the main thread, in which asyncio.run would fail. Therefore the browser is closed after each module.
"""

import base64
import shutil
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from PIL import Image

from detector.engines.onnxruntime import OnnxEngine
from service.app import create_app
from service.models.loaded_model import LoadedModel
from service.models.registry import Registry
from service.settings import Settings
from weights.hub.resolve import resolve_model

ROOT = Path(__file__).resolve().parents[3]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CAT = ROOT / "docs" / "photos" / "cat.jpg"
ASTRONAUT = ROOT / "docs" / "photos" / "astronaut.jpg"
COLLAGE = ROOT / "service" / "web" / "samples" / "collage.jpg"
ODD_LABEL = "<img src=x onerror=alert(1)>"
LINE_WIDTH = 0.006  # width of a drawn line, as a fraction of the image's side
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

    def transfer(self, event, *paths):
        """Drop or paste files."""
        files = [(path.name, base64.b64encode(path.read_bytes()).decode()) for path in paths]
        self.tab.evaluate(
            """([event, files]) => {
                const transfer = new DataTransfer();
                for (const [name, data] of files) {
                    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
                    transfer.items.add(new File([bytes], name, {type: "image/" + name.split(".").pop()}));
                }
                const init = {bubbles: true, cancelable: true};
                document.body.dispatchEvent(event === "paste"
                    ? new ClipboardEvent(event, {...init, clipboardData: transfer})
                    : new DragEvent(event, {...init, dataTransfer: transfer}));
            }""",
            [event, files],
        )
        if paths:
            self.wait_for_response()

    def wait_for_response(self):
        self.tab.wait_for_selector("#waiting", state="hidden")
        self.tab.wait_for_selector("#panel:not([hidden]), #problem:not([hidden])")

    def boxes(self):
        """Return the labels and the edges of the boxes as fractions of the image, sorted."""
        return sorted(
            self.tab.evaluate(
                """() => {
                    const image = document.querySelector("#photo").getBoundingClientRect();
                    return [...document.querySelectorAll("#boxes .box")].map((node) => {
                        const box = node.getBoundingClientRect();
                        const edges = [(box.left - image.left) / image.width, (box.top - image.top) / image.height,
                                       (box.right - image.left) / image.width, (box.bottom - image.top) / image.height];
                        return [node.textContent, ...edges];
                    });
                }"""
            )
        )

    def correct(self, *paths):
        """Choose files, wait for the response for the first one, and switch to Correct mode."""
        self.choose_files(*paths)
        self.tab.click("#mode-correct")
        self.tab.wait_for_selector("#editor:not([hidden])")

    def corrected_boxes(self):
        """Return (label, xmin, ymin, xmax, ymax) of the boxes in Correct mode, in image pixels."""
        return [
            (label, *edges)
            for label, *edges in self.tab.evaluate(
                """() => [...document.querySelectorAll("#editor .box")].map((node) => {
                    const image = document.querySelector("#photo");
                    const part = (name) => parseFloat(node.style.getPropertyValue(name)) / 100;
                    const [x, y] = [part("left") * image.naturalWidth, part("top") * image.naturalHeight];
                    const [width, height] = [part("width") * image.naturalWidth, part("height") * image.naturalHeight];
                    return [node.textContent, ...[x, y, x + width, y + height].map(Math.round)];
                })"""
            )
        ]

    def point(self, x, y):
        """Return the position of an image pixel on the screen."""
        left, top, scale = self.tab.evaluate(
            """() => {
                const image = document.querySelector("#photo");
                const {left, top, width} = image.getBoundingClientRect();
                return [left, top, width / image.naturalWidth];
            }"""
        )
        return left + x * scale, top + y * scale

    def draw(self, start, end, label):
        """Draw a box with the mouse and type its label."""
        self.drag(start, end)
        self.tab.keyboard.type(label)
        self.tab.keyboard.press("Enter")

    def drag(self, start, *stops, release=True):
        """Drag the mouse over image pixels."""
        self.tab.locator("#canvas").scroll_into_view_if_needed()
        self.tab.mouse.move(*self.point(*start))
        self.tab.mouse.down()
        for stop in stops:
            self.tab.mouse.move(*self.point(*stop), steps=3)
        if release:
            self.tab.mouse.up()

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


def detect_over_http(url, path, **query):
    """Return the response of POST /detect for an image file."""
    return httpx.post(f"{url}/detect", content=path.read_bytes(), params=query).json()


def to_drawn_boxes(response):
    """Convert a response to the form of `Page.boxes`."""
    width, height = response["image"]["width"], response["image"]["height"]
    return sorted(
        [
            f"{detection['label']} {detection['score'] * 100 + 1e-9:.0f}%",
            *(detection["box"][edge] / side for edge, side in zip(("xmin", "ymin", "xmax", "ymax"), (width, height) * 2, strict=True)),
        ]
        for detection in response["detections"]
    )


def assert_drawn(page, response):
    """Check that the page shows the boxes of a response."""
    drawn, expected = page.boxes(), to_drawn_boxes(response)
    assert [box[0] for box in drawn] == [box[0] for box in expected]
    for box, other in zip(drawn, expected, strict=True):
        assert box[1:] == pytest.approx(other[1:], abs=LINE_WIDTH)


def within_one_pixel(boxes):
    """Return boxes for a comparison with a tolerance of one pixel, the precision of the pointer."""
    return [(label, *(pytest.approx(edge, abs=1) for edge in edges)) for label, *edges in boxes]


@pytest.fixture
def grey_image(tmp_path):
    """The path of a grey image of 400 x 300 pixels, in which the model detects nothing."""
    path = tmp_path / "plain.png"
    Image.new("RGB", (400, 300), (128, 128, 128)).save(path)
    return path


@pytest.fixture(scope="module")
def registry(tiny_model):
    odd = replace(tiny_model, name="odd", spec=replace(tiny_model.spec, labels=("cat", ODD_LABEL, "person")))
    return Registry([LoadedModel.of(model, OnnxEngine.of(model)) for model in (resolve_model(None), odd)])


@pytest.fixture(scope="module")
def url(registry, serve_app):
    with serve_app(create_app(registry, Settings())) as address:
        yield address


@pytest.fixture(scope="module")
def first_label(url):
    """The label of a new box: the first one of the model."""
    return httpx.get(f"{url}/models").json()["models"][0]["labels"][0]


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


@pytest.fixture(scope="session")
def check_accessibility():
    """Return a function (page) that finds violations in the light and in the dark scheme with axe."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs axe-playwright-python, which is in the extra dev"
    ).Axe()

    def check(page):
        for scheme in ("light", "dark"):
            page.tab.emulate_media(color_scheme=scheme)
            violations = axe.run(page.tab).response["violations"]
            assert not [
                (rule["id"], [node["html"] for node in rule["nodes"]]) for rule in violations if rule["impact"] in ("serious", "critical")
            ]

    return check
