"""A person's walk through the app, in a real browser: launch, watch, refresh, see the curve; import by dropping files."""

import io
import re
import time
import zipfile

import numpy as np
from PIL import Image

from fmlab.data.manifest import open_dataset
from fmlab.runs.records import Actor
from fmlab.runs.store import open_store
from fmlab.studies.configs import study_config
from fmlab.studies.launch import launch
from tests.browser.conftest import start_app, stop_app

STUDY_SECONDS = 120_000  # milliseconds: a worker imports torch, and the machine may do other things as well
ROW_HEIGHT = 33  # pixels, of the table's header and rows
CURVE = ".js-plotly-plot .scatterlayer .trace"


def wait_until(true, seconds=30.0):
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.1)


def test_launch_watch_refresh_and_see_the_curve(visit):
    """The whole way from a link to the curve; a refresh in the middle finds the run that goes on."""
    page = visit(
        "/launch?dataset=toy&backbones=random-vit-tiny&backbones=pixels-24&baselines=&copies=0&sizes=1,2&seeds=2"
    )
    page.get_by_text("2 backbones × 1 adaptation × 2 sizes × 2 seeds").wait_for()
    page.get_by_role("button", name="Launch the study").click()
    page.wait_for_url(re.compile(r"/runs\?study=toy-limited-data-probe-sequences"))
    page.get_by_text("toy · random-vit-tiny").first.wait_for()

    page.reload()
    page.wait_for_url(re.compile(r"/runs\?study=toy-limited-data-probe-sequences"))
    page.get_by_text(re.compile(r"(Queued|Running|Done): \d+")).first.wait_for()
    page.get_by_text("Done: 8").wait_for(timeout=STUDY_SECONDS)  # nothing was pressed: the page is live

    page.get_by_text("Results of this study").click()
    page.wait_for_url(re.compile(r"/results\?study=toy-limited-data-probe-sequences"))
    page.wait_for_selector(CURVE)

    overview = visit("/")
    overview.get_by_text("Latest study: toy").wait_for()
    overview.wait_for_selector(CURVE)
    overview.get_by_text("8 of 8 runs done").wait_for()


def test_what_is_done_to_a_chosen_row_is_done_to_its_run(visit, app):
    """Streamlit keeps row positions: the second row has to be the second run of the queue, and no other is touched."""
    store = open_store(app.home)
    by = Actor("tester", "test")
    config = {"dataset": "toy", "backbones": ["random-resnet18"], "scheme": "images", "sizes": [3]}
    # A training holds the device meanwhile: a warm worker would be done with the rows before they are cancelled.
    launch(app.home, store, study_config(config | {"name": "before", "adaptations": ["finetune"], "seeds": 1}), by)
    launch(app.home, store, study_config(config | {"name": "rows", "seeds": 3}), by)
    keys = store.runs("rows")["key"].tolist()
    store.cancel(keys, by)
    wait_until(lambda: store.counts("rows") == {"cancelled": 3})
    store.cancel(store.runs("before")["key"].tolist(), by)
    page = visit("/runs?study=rows")
    table = page.get_by_test_id("stDataFrame").first
    table.locator("canvas").first.wait_for()
    table.click(position={"x": 18, "y": ROW_HEIGHT * 2.5})
    page.get_by_role("button", name="Retry 1 chosen run").click()
    wait_until(lambda: store.run(keys[1]).state != "cancelled")
    assert [store.run(key).state for key in (keys[0], keys[2])] == ["cancelled", "cancelled"]


def test_dropped_files_become_a_dataset(visit, app):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as pack:
        for label, level in (("bright", 200), ("dim", 50)):
            for number in range(6):
                picture = io.BytesIO()
                noise = np.random.default_rng(number).integers(0, 20, (32, 32), dtype=np.uint8)
                Image.fromarray(noise + np.uint8(level)).save(picture, "PNG")
                pack.writestr(f"squares/{label}/{number}.png", picture.getvalue())
    page = visit("/datasets")
    page.get_by_text("Import images").click()
    page.get_by_role("radio", name="Drop files").click()
    settled(page)  # a file given to an uploader that is about to be drawn anew is lost with it
    file = {"name": "squares.zip", "mimeType": "application/zip", "buffer": archive.getvalue()}
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_text("squares.zip").wait_for()
    settled(page)
    page.get_by_label("Name of the dataset").fill("dropped")
    page.get_by_label("Name of the dataset").press("Enter")
    page.get_by_role("button", name="Import", exact=True).click()
    page.wait_for_url(re.compile(r"dataset=dropped"), timeout=STUDY_SECONDS)
    page.get_by_text("Images of each class in each split").first.wait_for()
    assert open_dataset(app.home, "dropped").card.class_counts == {"bright": 6, "dim": 6}
    assert not list(app.home.uploads.glob("*"))  # the copy is gone once the import has it


def settled(page):
    """Wait until the app has drawn everything that was asked for, and for a moment more, in case it only just begins."""
    page.wait_for_timeout(500)
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')


def test_a_label_that_is_html_stays_text(visit):
    page = visit("/datasets?dataset=toy")
    page.locator("figcaption").first.wait_for()
    assert page.locator("figcaption", has_text="<img src=x").count() > 0
    assert page.evaluate("window.hacked === undefined")


def test_pictures_travel_inside_the_page(visit):
    page = visit("/datasets?dataset=toy")
    page.locator("figure img").first.wait_for()
    sources = page.eval_on_selector_all("figure img", "images => images.map(image => image.src)")
    assert sources
    assert all(source.startswith("data:image/webp;base64,") for source in sources)


def test_the_first_request_of_a_server_may_name_a_page(visit, home, tmp_path):
    """Streamlit would answer it with the bare files of pages/ until app.py has run once."""
    process, address = start_app(home, tmp_path / "server.log")
    try:
        page = visit("/runs", address)
        page.get_by_text("Nothing has been run yet").wait_for()
        page.get_by_role("link", name="Backbones").wait_for()
        assert page.get_by_text("Understand").count() == 1
    finally:
        stop_app(process)
