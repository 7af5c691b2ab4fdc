"""Take the screenshot docs/page.png: `python docs/photos/page.py http://localhost:8000`. Needs playwright and Chromium."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).resolve().parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NEW_BOXES = {"helmet": (288, 316, 494, 506), "space shuttle": (350, 6, 458, 288), "flag": (2, 2, 112, 300)}
"""Label -> xmin, ymin, xmax, ymax in astronaut.jpg. The model does not know these labels."""


def main(url: str) -> None:
    """Correct the boxes of the astronaut, and take the screenshot."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=next(filter(None, map(shutil.which, BROWSERS))), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1180, "height": 1010}, color_scheme="light")
        page.goto(url)
        page.set_input_files("#files", [str(HERE / name) for name in ("astronaut.jpg", "cat.jpg")])
        page.wait_for_selector("#strip li:nth-child(2) .answered")
        page.click("#mode-correct")
        for label, (xmin, ymin, xmax, ymax) in NEW_BOXES.items():
            page.click("#tool-draw")
            drag(page, (xmin, ymin), (xmax, ymax))
            page.keyboard.type(label)
            page.keyboard.press("Enter")
        page.click("#entries button:has-text('helmet')")
        page.mouse.move(0, 0)
        page.screenshot(path=HERE.parent / "page.png")
        browser.close()


def drag(page: Page, start: tuple[int, int], end: tuple[int, int]) -> None:
    """Drag the mouse from one image pixel to another."""
    left, top, scale = page.evaluate(
        "(photo => [photo.getBoundingClientRect().left, photo.getBoundingClientRect().top, photo.width / photo.naturalWidth])"
        "(document.querySelector('#photo'))"
    )
    page.mouse.move(left + start[0] * scale, top + start[1] * scale)
    page.mouse.down()
    page.mouse.move(left + end[0] * scale, top + end[1] * scale, steps=3)
    page.mouse.up()


if __name__ == "__main__":
    main(sys.argv[1])
