"""From a number of Results to its images, in a real browser: a cell by keyboard, a class by mouse; then corrected labels."""

import re
from urllib.parse import parse_qs, urlparse

import pytest

from fmlab.data.manifest import open_dataset
from fmlab.runs.records import Actor
from fmlab.settings import Home
from fmlab.studies.label_versions import publish
from tests.browser.conftest import start_app, stop_app
from tests.pages.made_study import make_study


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A server on a home with a finished study, whose labels were corrected once."""
    folder = tmp_path_factory.mktemp("results")
    home = Home(folder / "home")
    store = make_study(home)
    dataset = open_dataset(home, "toy")
    rows = dataset.manifest(["image_id", "sequence_id"])
    wrong = rows.loc[rows["sequence_id"] == "T1-A-0", "image_id"]
    publish(store, dataset, "v2", dict.fromkeys(wrong, "B"), "", Actor("anna", "test"))
    process, address = start_app(home, folder / "server.log")
    yield address
    stop_app(process)


def address_of(page):
    """What stands in the address of a page, after its name."""
    return {name: values[0] for name, values in parse_qs(urlparse(page.url).query).items()}


def test_a_cell_opens_its_mistakes_under_the_same_labels(visit, made):
    page = visit("/results?study=made&labels=v2&part=Confusion&test_set=T1@v2&backbone=pixels-24", made)
    cells = page.locator(".cell")
    cells.first.wait_for()
    assert cells.count() == 9
    page.get_by_role("gridcell", name=re.compile("truth A, answered A:")).focus()
    page.keyboard.press("ArrowRight")
    label = page.locator(".cell:focus").get_attribute("aria-label")
    assert re.match(r"truth A, answered B: \d+ images?, \d+\.\d % of the row", label)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/review"))
    page.wait_for_url(re.compile("answer=B"))
    page.locator("figcaption", has_text="A → B").first.wait_for()
    address = address_of(page)
    expected = {
        "part": "Gallery",
        "study": "made",
        "labels": "v2",
        "backbone": "pixels-24",
        "truth": "A",
        "answer": "B",
    }
    assert expected.items() <= address.items()
    captions = page.locator("figcaption", has_text="→").all_inner_texts()
    assert {caption.split("\n")[0] for caption in captions} == {"A → B"}


def test_a_dot_opens_the_mistakes_of_its_class(visit, made):
    page = visit("/results?study=made&part=Classes&test_set=T1&backbone=pixels-24&size=1", made)
    dots = page.locator(".js-plotly-plot").nth(1).locator(".scatterlayer .trace")
    dots.first.locator(".point").nth(2).wait_for()
    dots.first.locator(".point").nth(2).scroll_into_view_if_needed()
    box = dots.first.locator(".point").nth(2).bounding_box()  # the recall of C
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url(re.compile("/review.*truth=C"))
    page.locator("figcaption", has_text="C → ").first.wait_for()


def test_right_answers_open_as_a_queue(visit, made):
    page = visit("/results?study=made&part=Confusion&test_set=T1&counted=sequences", made)
    cell = page.get_by_role("gridcell", name=re.compile("truth A, answered A:"))
    cell.wait_for()
    cell.click()
    page.wait_for_url(re.compile("/review.*queue="))
