"""A person pretrains a backbone in a real browser: start, watch, cancel, go on, use it in a study."""

import re

import pytest

WORK_SECONDS = 180_000  # milliseconds: a worker imports torch, and the machine may do other things as well
ASKED = "/pretraining?section=New&datasets=toy&method=SimCLR&size=32&batch=16&length=Minutes&minutes=0.6"


@pytest.mark.slow
def test_start_watch_cancel_go_on_and_use_it_in_a_study(visit):
    page = visit(ASKED)
    page.get_by_text("2 crops of 32 pixels, batch 16").wait_for()
    page.get_by_role("button", name="Start pretraining").click()
    page.get_by_text("SimCLR on toy").wait_for()
    page.locator("figure img").first.wait_for(timeout=WORK_SECONDS)  # nothing was pressed: the page is live
    sources = page.eval_on_selector_all("figure img", "images => images.map(image => image.src)")
    assert all(source.startswith("data:image/webp;base64,") for source in sources)

    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Go on").wait_for(timeout=WORK_SECONDS)
    page.reload()
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("Use it in a study").wait_for(timeout=WORK_SECONDS)
    page.get_by_role("columnheader", name="Balanced accuracy").wait_for()

    page.get_by_text("Use it in a study").click()
    page.wait_for_url(re.compile(r"/launch\?.*backbones=simclr-toy"))
    page.get_by_text("1 backbone × 1 adaptation").wait_for()
