"""Correct mode of the page with the mouse: boxes are drawn, moved, resized, relabelled and deleted, and every change can be undone."""

from itertools import pairwise

import pytest

from tests.service.web.conftest import CAT, COLLAGE, within_one_pixel


def test_the_editor_starts_with_the_visible_detections(page):
    page.choose_files(COLLAGE)
    page.tab.uncheck("#labels [value=person]")
    drawn = [(text.split()[0], *edges) for text, *edges in page.boxes()]
    page.tab.click("#mode-correct")
    assert len(page.corrected_boxes()) > 1
    for (label, *edges), (corrected_label, *corrected) in zip(sorted(drawn), sorted(page.corrected_boxes()), strict=True):
        assert label == corrected_label
        assert corrected == pytest.approx([edge * side for edge, side in zip(edges, (960, 640, 960, 640), strict=True)], abs=4)
    assert page.tab.is_hidden("#panel")
    page.tab.click("#mode-detect")
    assert len(page.boxes()) == len(drawn)
    assert page.tab.is_hidden("#correct-panel")


def test_a_drag_draws_a_box_and_the_text_typed_next_is_its_label(page, grey_image):
    page.correct(grey_image)
    assert page.corrected_boxes() == []
    page.drag((40, 30), (200, 150))
    assert page.tab.evaluate("document.activeElement.id") == "label"
    page.tab.keyboard.type("traffic  light ")
    page.tab.keyboard.press("Enter")
    assert page.corrected_boxes() == within_one_pixel([("traffic light", 40, 30, 200, 150)])
    page.drag((390, 290), (250, 200))  # from the lower right corner
    assert page.corrected_boxes()[1] == within_one_pixel([("traffic light", 250, 200, 390, 290)])[0]  # the label that was used last


def test_a_box_moves_and_stays_inside_the_image(page, grey_image):
    page.correct(grey_image)
    page.draw((100, 100), (200, 180), "thing")
    page.drag((150, 140), (180, 100))
    assert page.corrected_boxes() == within_one_pixel([("thing", 130, 60, 230, 140)])
    page.drag((180, 100), (900, -500))
    assert page.corrected_boxes() == within_one_pixel([("thing", 300, 0, 400, 80)])


def test_a_handle_moves_its_edges_only(page, grey_image):
    page.correct(grey_image)
    page.draw((100, 100), (200, 180), "thing")
    before = page.corrected_boxes()
    for handle, edges in {
        "n": (100, 110, 200, 180),
        "e": (100, 100, 220, 180),
        "s": (100, 100, 200, 190),
        "w": (120, 100, 200, 180),
        "nw": (120, 110, 200, 180),
        "ne": (100, 110, 220, 180),
        "se": (100, 100, 220, 190),
        "sw": (120, 100, 200, 190),
    }.items():
        x = 100 if "w" in handle else 200 if "e" in handle else 150
        y = 100 if "n" in handle else 180 if "s" in handle else 140
        page.drag((x, y), (x + 20, y + 10))
        assert page.corrected_boxes() == within_one_pixel([("thing", *edges)]), handle
        page.tab.keyboard.press("Control+z")
        assert page.corrected_boxes() == before


def test_an_edge_cannot_pass_the_opposite_one(page, grey_image):
    page.correct(grey_image)
    page.draw((100, 100), (200, 180), "thing")
    page.drag((200, 140), (20, 140))
    assert page.corrected_boxes() == within_one_pixel([("thing", 100, 100, 102, 180)])


def test_a_box_gets_another_label_in_its_known_spelling(page):
    page.correct(CAT)
    page.tab.locator("#entries button").first.click()
    options = page.tab.locator("#known-labels option").evaluate_all("nodes => nodes.map((node) => node.value)")
    assert {"cat", "dog", "person"} <= set(options)
    for typed, label in (("Dog", "dog"), ("lynx", "lynx"), ("LYNX", "lynx"), ("  ", "lynx"), ("<b>&", "<b>&")):
        page.tab.fill("#label", typed)
        page.tab.keyboard.press("Enter")
        assert [box[0] for box in page.corrected_boxes()] == [label]
    page.tab.fill("#label", "no")
    page.tab.keyboard.press("Escape")
    assert page.corrected_boxes()[0][0] == "<b>&"


def test_a_typed_label_belongs_to_its_box_even_if_another_one_is_clicked_next(page, grey_image):
    page.correct(grey_image)
    page.draw((20, 20), (120, 120), "one")
    page.draw((220, 20), (320, 120), "two")
    page.tab.fill("#label", "three")
    page.tab.mouse.click(*page.point(70, 70))
    assert [box[0] for box in page.corrected_boxes()] == ["one", "three"]
    assert page.tab.input_value("#label") == "one"


def test_undo_and_redo_follow_every_change(page, grey_image):
    page.correct(grey_image)
    states = [page.corrected_boxes()]

    def relabel():
        page.tab.fill("#label", "lamp")
        page.tab.keyboard.press("Enter")

    changes = (
        lambda: page.drag((40, 40), (140, 140)),
        relabel,
        lambda: page.drag((90, 90), (190, 120)),
        lambda: page.drag((240, 170), (300, 200)),
        lambda: page.tab.click("#tool-delete"),
    )
    for change in changes:
        change()
        states.append(page.corrected_boxes())
    assert all(before != after for before, after in pairwise(states))
    for state in states[-2::-1]:
        page.tab.click("#tool-undo")
        assert page.corrected_boxes() == state
    assert page.tab.is_disabled("#tool-undo")
    page.tab.focus("#editor")
    for state, key in zip(states[1:], ("Control+y", "Control+Shift+Z") * 3, strict=False):
        page.tab.keyboard.press(key)
        assert page.corrected_boxes() == state
    assert page.tab.is_disabled("#tool-redo")
    page.tab.keyboard.press("Control+z")
    page.draw((20, 20), (60, 60), "new")  # a change after undo discards the undone changes
    assert page.tab.is_disabled("#tool-redo")


def test_the_draw_tool_draws_inside_another_box(page):
    page.correct(CAT)
    _, xmin, ymin, xmax, ymax = page.corrected_boxes()[0]
    x, y = (xmin + xmax) // 2, (ymin + ymax) // 2
    page.tab.click("#tool-draw")
    page.draw((x - 30, y - 30), (x + 30, y + 30), "nose")
    assert page.corrected_boxes() == [("cat", xmin, ymin, xmax, ymax), *within_one_pixel([("nose", x - 30, y - 30, x + 30, y + 30)])]
    page.drag((x, y), (x + 10, y))  # the tool is off again, and the smaller box is on top
    assert page.corrected_boxes()[1] == within_one_pixel([("nose", x - 20, y - 30, x + 40, y + 30)])[0]


def test_the_draw_tool_draws_from_a_corner_of_the_selected_box(page, grey_image):
    page.correct(grey_image)
    page.draw((100, 100), (200, 180), "thing")
    page.tab.click("#tool-draw")
    page.draw((100, 100), (150, 150), "part")
    assert page.corrected_boxes() == within_one_pixel([("thing", 100, 100, 200, 180), ("part", 100, 100, 150, 150)])
    page.drag((150, 150), (170, 160))  # the tool is off again, and the new box has handles
    assert page.corrected_boxes()[1] == within_one_pixel([("part", 100, 100, 170, 160)])[0]


def test_keys_change_the_box_that_was_selected_in_the_list(page, grey_image):
    page.correct(grey_image)
    page.draw((20, 20), (120, 120), "one")
    page.draw((220, 20), (320, 120), "two")
    page.tab.click("#entries button:has-text('one')")
    page.tab.keyboard.press("Enter")
    page.tab.keyboard.type("three")
    page.tab.keyboard.press("Enter")
    assert [box[0] for box in page.corrected_boxes()] == ["three", "two"]
    page.tab.click("#entries button:has-text('two')")
    page.tab.keyboard.press("Delete")
    assert [box[0] for box in page.corrected_boxes()] == ["three"]


def test_escape_abandons_a_drag(page, grey_image):
    page.correct(grey_image)
    page.draw((100, 100), (200, 180), "thing")
    before = page.corrected_boxes()
    page.drag((150, 140), (180, 100), release=False)
    page.tab.keyboard.press("Escape")
    page.tab.mouse.up()
    assert page.corrected_boxes() == before


def test_reset_restores_the_detections_and_can_be_undone(page):
    page.correct(CAT)
    detected = page.corrected_boxes()
    page.tab.locator("#entries button").first.click()
    page.tab.click("#tool-delete")
    assert page.corrected_boxes() == []
    page.tab.click("#tool-reset")
    assert page.corrected_boxes() == detected
    page.tab.click("#tool-undo")
    assert page.corrected_boxes() == []


def test_nothing_is_sent_while_boxes_are_corrected(page, grey_image):
    page.correct(grey_image)
    page.tab.wait_for_load_state("networkidle")
    before = len(page.requests)
    page.draw((100, 100), (200, 180), "thing")
    for button in ("#download-pair", "#download-set"):
        with page.tab.expect_download():
            page.tab.click(button)
    assert [url for url in page.requests[before:] if not url.startswith("blob:")] == []


def test_the_page_asks_before_it_discards_unsaved_corrections(page, grey_image):
    page.correct(grey_image, CAT)
    asks_before_leaving = lambda: page.tab.evaluate("!dispatchEvent(new Event('beforeunload', {cancelable: true}))")  # noqa: E731
    assert not asks_before_leaving()
    page.draw((100, 100), (200, 180), "thing")
    assert asks_before_leaving()
    questions = []
    page.tab.once("dialog", lambda dialog: (questions.append(dialog.message), dialog.dismiss()))
    page.tab.click("#remove")
    assert questions == ["Remove plain.png and its corrections?"]
    assert page.corrected_boxes()
    with page.tab.expect_download():
        page.tab.click("#download-set")
    page.tab.wait_for_selector("#archive-status:has-text('corrected.zip')")
    assert not asks_before_leaving()
    page.tab.click("#remove")
    assert page.tab.get_attribute("#photo", "alt") == "cat.jpg"
