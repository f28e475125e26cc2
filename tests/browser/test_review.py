"""The Review page in a real browser: reviewed by keys under two names, one of them blinded, then agreed upon and published."""

import re

import pytest

from fmlab.data.manifest import open_dataset
from fmlab.review.queues import queues_of
from fmlab.review.verdicts import standing, verdicts_of
from fmlab.runs.store import open_store
from fmlab.settings import Home
from fmlab.studies.label_versions import label_versions
from tests.browser.conftest import CHROMIUM, App, start_app, stop_app
from tests.pages.made_study import CLASSES, make_study

QUEUE = "/review?study=made&backbone=pixels-24&size=1&seed=2&test_set=T1&kind=Near+ties"
SEQUENCES = 7  # of T1
REASON = b"of the usual lead"  # stands in what is sent of every item, unless blinded


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """A server with a finished study; instead of the one that the other tests share."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: none of chromium, chromium-browser, google-chrome is on the path")
    folder = tmp_path_factory.mktemp("review")
    home = Home(folder / "home")
    make_study(home)
    process, address = start_app(home, folder / "server.log")
    yield App(home, address)
    stop_app(process)


def received(page):
    """Everything that the page gets over its websocket from now on."""
    frames = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda content: frames.append(content)))
    return frames


def press(page, keys):
    page.locator("canvas").first.click()
    for key in keys:
        page.keyboard.press(key)
    page.get_by_text("Saved", exact=True).wait_for()


def test_two_reviewers_by_keyboard_then_agreement_and_a_published_version(visit, app):
    store = open_store(app.home)
    opened = visit(QUEUE + "&reviewer=anna")
    frames = received(opened)
    opened.reload()
    opened.get_by_text(f"1 of {SEQUENCES}", exact=True).wait_for()
    press(opened, "mmmmm")
    opened.get_by_text(f"6 of {SEQUENCES}", exact=True).wait_for()
    assert REASON in b"".join(each if isinstance(each, bytes) else each.encode() for each in frames)

    opened.reload()  # and go on where it stopped
    opened.get_by_text(f"6 of {SEQUENCES}", exact=True).wait_for()
    press(opened, "ap")

    blinded = visit("/")
    frames = received(blinded)
    blinded.goto(app.address + QUEUE + "&reviewer=ben&blinded=true")
    blinded.get_by_text("Which class is it?").wait_for()
    press(blinded, "1" * SEQUENCES)
    blinded.get_by_text("Last one", exact=False).wait_for()
    content = b"".join(each if isinstance(each, bytes) else each.encode() for each in frames)
    assert REASON not in content
    for identifying in (b"patient of", b".avi", b"T1-A", b"T1-B", b"T1-C"):
        assert identifying not in content

    table = standing(verdicts_of(store, "toy"))
    assert table.groupby("reviewer").size().to_dict() == {"anna": SEQUENCES, "ben": SEQUENCES}
    assert table[table["reviewer"] == "ben"]["label"].tolist() == ["A"] * SEQUENCES
    assert table[table["reviewer"] == "ben"]["blinded"].all()

    opened.goto(app.address + "/review?study=made&part=Agreement")
    opened.get_by_text("Cohen").wait_for()
    opened.get_by_role("button", name=re.compile("Adjudicate")).click()
    opened.get_by_text("above all other verdicts", exact=False).wait_for()
    dispute = queues_of(store, "toy")[0]
    other = next(place for place, name in enumerate(CLASSES) if name != dispute.items[0].label)
    press(opened, str(other + 1))
    opened.goto(app.address + "/review?study=made&part=Labels&reviewer=anna")
    opened.get_by_role("button", name="Publish labels v2").click()
    opened.get_by_text("are published").wait_for()
    (version,) = label_versions(store, open_dataset(app.home, "toy"))
    assert set(version.changes.values()) == {CLASSES[other]}
    opened.get_by_role("button", name="See the results under labels v2").click()
    opened.wait_for_url(re.compile(r"/results\?.*labels=v2"))
