"""Correct mode of the page with the keyboard only, with touch input, and with assistive technology."""

import pytest

from tests.service.web.conftest import CAT, COLLAGE, within_one_pixel


def test_every_action_works_with_the_keyboard_only(page, grey_image, first_label):
    page.choose_files(grey_image)
    keys = page.tab.keyboard

    def tab_to(selector):
        for _ in range(40):
            if page.tab.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
            keys.press("Tab")
        pytest.fail(f"Tab does not reach {selector}")

    tab_to("#mode-correct")
    keys.press("Enter")
    tab_to("#editor")
    keys.press("n")
    assert page.corrected_boxes() == [(first_label, 150, 113, 250, 188)]  # a quarter of each side, in the centre
    keys.press("ArrowLeft")
    keys.press("ArrowDown")
    assert page.corrected_boxes() == [(first_label, 149, 114, 249, 189)]
    keys.press("Shift+ArrowRight")
    keys.press("Shift+ArrowUp")
    assert page.corrected_boxes() == [(first_label, 149, 114, 250, 188)]
    keys.press("Enter")
    keys.type("dog")
    keys.press("Enter")
    assert page.corrected_boxes() == [("dog", 149, 114, 250, 188)]
    keys.press("n")
    tab_to("[aria-label='dog, box 1 of 2']")
    assert page.tab.get_attribute("#editor .selected", "aria-label") == "dog, box 1 of 2"
    keys.press("Delete")
    assert page.corrected_boxes() == [("dog", 150, 113, 250, 188)]
    keys.press("Control+z")
    assert len(page.corrected_boxes()) == 2
    keys.press("Control+y")
    keys.press("Escape")
    assert page.tab.locator("#editor .selected").count() == 0
    with page.tab.expect_download() as download:
        tab_to("#download-set")
        keys.press("Enter")
    assert download.value.suggested_filename == "corrected.zip"


def test_page_keys_show_the_next_and_the_previous_image(page, grey_image):
    page.correct(grey_image, CAT, COLLAGE)
    page.tab.wait_for_load_state("networkidle")
    name, keys = lambda: page.tab.inner_text("#file-name"), page.tab.keyboard
    page.draw((100, 100), (200, 180), "thing")
    keys.press("PageDown")
    assert name() == "cat.jpg"
    keys.press("PageDown")
    assert name() == "collage.jpg"
    keys.press("PageDown")
    assert name() == "collage.jpg"
    keys.press("PageUp")
    keys.press("PageUp")
    assert name() == "plain.png"
    assert page.corrected_boxes() == within_one_pixel([("thing", 100, 100, 200, 180)])
    page.tab.click("#tool-undo")
    keys.press("PageDown")  # the focus is on a button: the page scrolls
    assert name() == "plain.png"


def test_the_current_thumbnail_is_visible_on_a_small_screen(new_page, grey_image):
    page = new_page(viewport={"width": 390, "height": 844}).open()
    page.correct(grey_image, CAT, COLLAGE, CAT, COLLAGE, CAT)
    page.tab.wait_for_load_state("networkidle")
    page.tab.focus("#editor")
    for key, number in [("PageDown", 1), ("PageDown", 2), ("PageDown", 3), ("PageDown", 4), ("PageDown", 5), ("PageUp", 4), ("PageUp", 3)]:
        page.tab.keyboard.press(key)
        current = page.tab.evaluate(
            """() => {
                const strip = document.querySelector("#strip").getBoundingClientRect();
                const thumbnails = [...document.querySelectorAll("#strip .thumbnail")];
                const number = thumbnails.findIndex((node) => node.ariaCurrent === "true");
                const {left, right} = thumbnails[number].getBoundingClientRect();
                return [number, left >= strip.left - 1 && right <= strip.right + 1];
            }"""
        )
        assert current == [number, True]


def test_a_held_arrow_key_is_one_step_of_undo(page, grey_image):
    page.correct(grey_image)
    page.draw((100, 100), (200, 180), "thing")
    before = page.corrected_boxes()
    for _ in range(4):
        page.tab.keyboard.down("ArrowRight")  # all events after the first are key repeats
    page.tab.keyboard.up("ArrowRight")
    assert page.corrected_boxes()[0][1] == before[0][1] + 1 + 3 * 6
    page.tab.keyboard.press("Control+z")
    assert page.corrected_boxes() == before


def test_touch_input_draws_moves_and_resizes_boxes(new_page, grey_image, first_label):
    page = new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True).open()
    page.correct(grey_image)
    devtools = page.tab.context.new_cdp_session(page.tab)

    def swipe(start, end):
        middle = tuple((a + b) / 2 for a, b in zip(start, end, strict=True))
        for kind, point in (("touchStart", start), ("touchMove", middle), ("touchMove", end), ("touchEnd", None)):
            x, y = page.point(*point) if point else (0, 0)
            devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}] if point else []})

    swipe((50, 50), (200, 150))
    assert page.corrected_boxes() == within_one_pixel([(first_label, 50, 50, 200, 150)])
    assert page.tab.evaluate("document.activeElement.id") != "label"  # the on-screen keyboard stays closed
    swipe((120, 100), (170, 140))
    assert page.corrected_boxes() == within_one_pixel([(first_label, 100, 90, 250, 190)])
    swipe((250, 190), (350, 280))
    assert page.corrected_boxes() == within_one_pixel([(first_label, 100, 90, 350, 280)])
    page.tab.click("#tool-delete")  # on a slow machine a tap may become a long press
    page.tab.wait_for_selector("#editor .box", state="detached")
    assert page.tab.evaluate("scrollY") == 0
    assert page.tab.is_hidden("#keys")
    page.save_screenshot("correct-phone")


def test_changes_are_announced(page, grey_image, first_label):
    page.correct(grey_image)
    assert page.tab.get_attribute("#status", "role") == "status"
    assert page.tab.inner_text("#status") == "0 boxes. Select a box, or drag over the image to draw one."
    page.tab.focus("#editor")
    page.tab.keyboard.press("n")
    assert page.tab.inner_text("#status").startswith(f"Added: {first_label}, box 1 of 1, 100 \u00d7 75 px at 150, 113")
    page.tab.keyboard.press("Delete")
    assert page.tab.inner_text("#status") == f"Deleted: {first_label}. 0 boxes."
    page.tab.keyboard.press("Control+z")
    assert page.tab.inner_text("#status") == "Undone. 1 box."


def test_every_mode_passes_the_accessibility_check(page, check_accessibility):
    page.correct(COLLAGE, CAT)
    page.tab.locator("#editor .box").first.focus()
    for width in (1280, 390):
        page.tab.set_viewport_size({"width": width, "height": 844})
        check_accessibility(page)
        page.save_screenshot(f"correct-{width}")
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
