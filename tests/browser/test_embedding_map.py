"""The embedding map under a person's hand: lasso, link, legend, two backbones, tooltip, in a real browser."""

import json
import math
import re

import numpy as np
import pytest

from tests.browser.conftest import ACTION_MS, stop_app
from tests.browser.map_page import toy
from tests.browser.map_server import start_map

POINTS = 2000


@pytest.fixture(scope="module")
def address(tmp_path_factory, chromium):
    process, address = start_map(tmp_path_factory.mktemp("map") / "server.log")
    yield address
    stop_app(process)


@pytest.fixture
def opened(chromium, address):
    """`opened(query)`: the page with its map drawn; at the end no script has failed."""
    context = chromium.new_context(viewport={"width": 1366, "height": 768})
    context.set_default_timeout(ACTION_MS)
    broken = []
    context.on("weberror", lambda error: broken.append(str(error.error)))

    def go(query=""):
        page = context.new_page()
        page.goto(f"{address}/?points={POINTS}{query}")
        page.locator(".legend .row").first.wait_for()
        page.locator(".st-key-said").wait_for()
        return page

    yield go
    context.close()
    assert broken == []


def said(page, true):
    """What the page was told, as soon as `true` of it."""
    text = page.locator(".st-key-said")
    for _ in range(150):
        told = json.loads(text.inner_text())
        if true(told):
            return told
        page.wait_for_timeout(100)
    raise AssertionError(told)


def circle(page, x, y, radius, panel=0, keys=()):
    """Draw a circle with the lasso; x, y, radius as shares of the panel's height, from its middle."""
    box = page.locator(".overlay").nth(panel).bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for key in keys:
        page.keyboard.down(key)
    for step in range(25):
        angle = 2 * math.pi * step / 24
        across, down = x + radius * math.cos(angle), y + radius * math.sin(angle)
        page.mouse.move(middle[0] + box["height"] * across, middle[1] + box["height"] * down)
        if step == 0:
            page.mouse.down()
    page.mouse.up()
    for key in keys:
        page.keyboard.up(key)


def read(panels=1):
    """x and y (fractions of the extent) of each panel, and the codes of label and test set, out of the blob itself."""
    blob = toy(POINTS, panels)
    length = int.from_bytes(blob[40:44], "little")
    start = (44 + length + 3) // 4 * 4
    values = np.frombuffer(blob, "<f4", 2 * panels * POINTS, start).reshape(panels, 2, POINTS)
    codes = np.frombuffer(blob, "<u2", 2 * POINTS, start + values.nbytes).reshape(2, POINTS)
    lowest = values.min(axis=2, keepdims=True)
    return (values - lowest) / np.ptp(values, axis=2).max(axis=1)[:, None, None], codes


def inside(polygons, places, selectable):
    """The positions that outlines select, computed by winding numbers: another way than the browser's."""
    chosen = np.zeros(POINTS, bool)
    for outline in polygons.split("~"):
        head, *vertices = outline.split("_")
        corners = np.array([vertex.split(".") for vertex in vertices], float) / 10_000
        x, y = places[int(head[1:])]
        angles = np.arctan2(corners[:, 1, None] - y, corners[:, 0, None] - x)
        turns = np.diff(angles, axis=0, append=angles[:1])
        winding = ((turns + math.pi) % (2 * math.pi) - math.pi).sum(axis=0)
        chosen[(np.abs(winding) > math.pi) & selectable] = head[0] == "a"
    return np.flatnonzero(chosen)


def test_a_lasso_selects_what_lies_inside_and_its_link_selects_the_same(opened):
    page = opened()
    circle(page, 0.1, 0, 0.14)
    told = said(page, lambda told: told["count"])
    places, (_, test_set) = read()
    expected = inside(told["polygons"], places, test_set != 65535)  # the training images are a density, not points
    assert told["selection"] == expected.tolist()
    assert 20 < len(expected) < 300
    assert page.locator(".status").inner_text() == f"{len(expected)} of 2,000 selected"

    page.wait_for_url(re.compile(r"s=a0_"))
    again = opened("&" + page.url.split("&", 1)[1])
    assert said(again, lambda told: told["count"])["selection"] == told["selection"]


def test_outlines_add_and_take_away_escape_clears_and_u_undoes(opened):
    page = opened()
    circle(page, 0.1, 0, 0.14)
    first = said(page, lambda told: told["count"])["selection"]
    circle(page, -0.2, 0, 0.1, keys=["Shift"])
    more = said(page, lambda told: told["count"] > len(first))["selection"]
    circle(page, 0.1, 0, 0.06, keys=["Alt"])
    told = said(page, lambda told: told["count"] < len(more))
    assert set(first) < set(more)
    assert set(told["selection"]) < set(more)
    places, (_, test_set) = read()
    assert told["selection"] == inside(told["polygons"], places, test_set != 65535).tolist()
    page.keyboard.press("Escape")
    assert said(page, lambda told: not told["count"])["polygons"] == ""
    page.keyboard.press("u")
    assert said(page, lambda told: told["count"])["selection"] == told["selection"]
    # One right after the other, as fast as they can be drawn: the page ends with what the map shows.
    for turn in range(5):
        circle(page, 0.05 * turn, 0, 0.1)
    last = page.locator(".status").inner_text()
    said(page, lambda told: last == f"{told['count']} of 2,000 selected")


def test_what_the_legend_hides_is_not_selected(opened):
    page = opened()
    circle(page, 0, 0, 0.45)
    everything = said(page, lambda told: told["count"])
    page.locator(".legend .row", has_text="A2C").click()
    told = said(page, lambda told: told["count"] < everything["count"])
    _, (label, _) = read()
    assert told["hidden"] == ["A2C"]
    assert set(label[told["selection"]]) == {0, 2, 3, 4, 5}
    page.locator(".legend .row", has_text="PLAX").dblclick()
    told = said(page, lambda told: len(told["hidden"]) > 2)
    assert set(label[told["selection"]]) == {3}


def test_a_selection_on_one_backbone_is_shown_on_the_other(opened):
    page = opened("&panels=2")
    circle(page, 0.1, 0, 0.12, panel=1)
    told = said(page, lambda told: told["count"])
    places, (_, test_set) = read(panels=2)
    assert told["polygons"].startswith("a1_")
    assert told["selection"] == inside(told["polygons"], places, test_set != 65535).tolist()
    assert [title.inner_text() for title in page.locator(".panel-title").all()] == ["First backbone", "Second backbone"]


def test_a_point_shows_its_picture_and_is_picked_by_a_click(opened):
    page = opened()
    assert page.locator(".legend .row", has_text="<img src=x").count() == 1
    places, (_, test_set) = read()
    rightmost = int(np.where(test_set != 65535, places[0][0], -1).argmax())
    box = page.locator(".overlay").bounding_box()
    extent = places[0].max(axis=1)
    pixels = min(box["width"] / extent[0], box["height"] / extent[1]) * 0.9
    x, y = (places[0][:, rightmost] - extent / 2) * pixels
    page.mouse.move(float(box["x"] + box["width"] / 2 + x + 2), float(box["y"] + box["height"] / 2 - y))
    page.locator(".tooltip", has_text=f"Image {rightmost}").wait_for()
    assert page.locator(".tooltip img").get_attribute("src").startswith("data:image/webp")
    page.mouse.down()
    page.mouse.up()
    assert said(page, lambda told: told["picked"] is not None)["picked"] == rightmost
    assert page.evaluate("window.hacked === undefined")
