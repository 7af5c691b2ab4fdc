"""The description, layout, colours and accessibility of the page."""

import httpx

from detector.imaging.draw import class_colour, text_colour_on
from tests.service.web.conftest import ASTRONAUT, CAT, COLLAGE, ODD_LABEL, ROOT


def test_the_page_explains_its_purpose_and_names_the_objects_that_the_model_detects(page, url):
    labels = sorted(httpx.get(f"{url}/models").json()["models"][0]["labels"])
    line = page.tab.inner_text(".about summary")
    assert line == f"Finds objects in images and draws a box around each. It can find: {', '.join(labels)}."
    page.tab.click(".about summary")
    assert page.tab.locator("#about-labels li").all_inner_texts() == labels
    page.tab.select_option("#model", "odd")
    assert ODD_LABEL in page.tab.inner_text(".about summary")


def test_captions_do_not_overlap(page):
    page.choose_files(COLLAGE)
    assert len(page.boxes()) > 2
    for width in (390, 1280):
        page.tab.set_viewport_size({"width": width, "height": 800})
        page.tab.wait_for_function(
            """() => {
                const captions = [...document.querySelectorAll("#boxes .caption")].map((node) => node.getBoundingClientRect());
                const disjoint = (a, b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
                return captions.every((a, i) => captions.every((b, j) => i === j || disjoint(a, b)));
            }"""
        )


def test_on_a_phone_the_result_is_visible_without_scrolling(new_page):
    page = new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True).open()
    page.choose_files(COLLAGE)
    page.tab.wait_for_selector(".box")
    for path in (CAT, ASTRONAUT):  # the button to add images is below the result
        page.tab.locator("#open-camera").scroll_into_view_if_needed()
        page.choose_files(path)
        page.tab.wait_for_selector(f"#photo[alt='{path.name}']")
        page.tab.wait_for_selector("#status:has-text('Found')")
        for part in ("#status", "#canvas"):
            box = page.tab.locator(part).bounding_box()
            assert box["y"] >= 0, part
            assert box["y"] + box["height"] <= 844, part


def test_the_theme_follows_the_system_until_the_user_chooses_one(new_page):
    page = new_page(color_scheme="dark", viewport={"width": 1280, "height": 800}).open()
    background = "getComputedStyle(document.documentElement).backgroundColor"
    dark = page.tab.evaluate(background)
    page.choose_files(COLLAGE)
    page.save_screenshot("dark")
    page.tab.click("#theme")
    light = page.tab.evaluate(background)
    assert dark != light
    page.open()
    assert page.tab.evaluate(background) == light


def test_small_screens_need_no_horizontal_scrolling(page):
    page.choose_files(COLLAGE, CAT, ASTRONAUT)
    page.set_confidence(5)
    for width in (320, 390, 768):
        page.tab.set_viewport_size({"width": width, "height": 700})
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= width
    page.tab.set_viewport_size({"width": 390, "height": 844})
    page.save_screenshot("phone")


def test_the_page_passes_the_accessibility_check(page, check_accessibility):
    check_accessibility(page)
    page.choose_files(COLLAGE, ROOT / "README.md")
    page.tab.click("#panel summary")
    check_accessibility(page)
    page.tab.locator(".thumbnail").nth(1).click()
    check_accessibility(page)
    page.tab.click("#open-camera")
    check_accessibility(page)


def test_the_colours_of_the_page_equal_those_of_annotated_images(page):
    colours = page.tab.evaluate(
        """async () => {
            const {classColour, textColourOn} = await import("/web/shared/colours.js");
            return Array.from({length: 1000}, (_, id) => [classColour(id), textColourOn(classColour(id))]);
        }"""
    )
    assert colours == [[list(class_colour(id_)), list(text_colour_on(class_colour(id_)))] for id_ in range(1000)]


def test_the_api_documentation_works_under_its_content_security_policy(new_page):
    page = new_page().open("/docs")
    page.tab.wait_for_selector("text=Detect objects in an image")


def test_a_waiting_image_looks_like_the_others_in_the_strip(page):
    page.choose_files(CAT)
    held_requests = []
    page.tab.route("**/detect?*", lambda route: held_requests.append(route))
    page.tab.set_input_files("#files", [str(COLLAGE)])
    page.tab.wait_for_selector("#strip .waiting")
    background = "getComputedStyle(document.querySelector('#strip li:last-child .thumbnail')).backgroundColor"
    waiting = page.tab.evaluate(background)
    while not held_requests:
        page.tab.wait_for_timeout(1)  # playwright calls the route handler during this wait
    held_requests[0].continue_()
    page.tab.unroute("**/detect?*")
    page.tab.wait_for_selector("#strip li:last-child .answered")
    assert page.tab.evaluate(background) == waiting
