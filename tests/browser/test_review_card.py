"""The review card in a real browser: no key is lost, whatever the server does, and nothing is recorded twice.

Run: `.venv/bin/python -m pytest tests/browser/test_review_card.py`
"""

import time

import pytest

from tests.browser.card_server import CardServer

KINDS = {"m": "label_right", "1": "label_wrong", "3": "label_wrong", "a": "ambiguous", "p": "poor_quality", "x": "skip"}
PATIENCE_MS = 20_000


@pytest.fixture(scope="module")
def server(chromium, tmp_path_factory):  # without a browser no server is needed
    server = CardServer(tmp_path_factory.mktemp("card"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def visit(chromium, server):
    """`visit(query)` opens the card; no script may fail, and the browser's question before leaving is answered by yes."""
    server.forget()
    context = chromium.new_context(viewport={"width": 1366, "height": 768})
    context.set_default_timeout(PATIENCE_MS)
    broken = []
    context.on("weberror", lambda error: broken.append(str(error.error)))

    def opened(query):
        page = context.new_page()
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(f"{server.address}/?{query}")
        shows(page, 1)
        return page

    yield opened
    context.close()
    assert broken == []


def shows(page, number):
    page.wait_for_selector(f"[data-shown='{number}']")


def wait_until(true, seconds=15.0):
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def given(server):
    return [(row["item"], row["kind"]) for row in server.verdicts()]


def test_two_hundred_keys_thirty_milliseconds_apart_are_all_kept_in_order(visit, server):
    page = visit("name=fast&items=200")
    keys = [list(KINDS)[(7 * number) % len(KINDS)] for number in range(200)]
    start = time.perf_counter()
    for number, key in enumerate(keys):
        time.sleep(max(start + 0.03 * number - time.perf_counter(), 0))
        page.keyboard.press(key)
    wait_until(lambda: len(given(server)) >= 200, seconds=60)
    assert given(server) == [(f"item-{number}", KINDS[key]) for number, key in enumerate(keys)]
    page.get_by_text("All 200 answered").wait_for()
    page.get_by_text("Saved", exact=True).wait_for()


def test_the_server_dies_between_a_key_and_its_acknowledgement(visit, server):
    """The first verdict is stored and not acknowledged, the others find no server: each is recorded once."""
    page = visit("name=died&items=12")
    (server.folder / "die").touch()
    page.keyboard.press("m")
    server.process.wait(timeout=20)
    assert given(server) == [("item-0", "label_right")]
    shows(page, 2)
    for number, key in enumerate("ap", start=2):
        page.keyboard.press(key)
        shows(page, number + 1)
    page.get_by_text("3 not saved").wait_for()
    page.get_by_text("The server does not answer.").wait_for()
    server.start()
    page.get_by_text("Saved", exact=True).wait_for()
    page.keyboard.press("x")  # the page's own message about the connection is gone, and keys go to the card again
    wait_until(lambda: len(given(server)) == 4)
    assert given(server) == [
        ("item-0", "label_right"), ("item-1", "ambiguous"), ("item-2", "poor_quality"), ("item-3", "skip"),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_reload_keeps_what_was_not_saved(visit, server):
    page = visit("name=reload&items=12")
    server.kill()
    page.keyboard.press("a")
    shows(page, 2)
    page.keyboard.press("1")
    server.start()
    page.reload()
    shows(page, 3)  # the reviewer goes on where they were
    page.get_by_text("Saved", exact=True).wait_for()
    page.keyboard.press("u")  # what was answered before the reload can be undone after it
    wait_until(lambda: len(given(server)) == 3)
    shows(page, 2)
    assert given(server) == [("item-0", "ambiguous"), ("item-1", "label_wrong"), ("item-1", "undo")]
    assert server.verdicts()[2]["undoes"] == server.verdicts()[1]["id"]


def test_labels_are_text_and_one_frame_is_no_clip(visit, server):
    page = visit("name=text&items=3&frames=1")
    page.get_by_text("<b id='injected'>A2C</b>").first.wait_for()
    assert page.locator("#injected").count() == 0
    assert page.locator(".strip .cell").count() == 0
    page.get_by_text("one image").wait_for()
    page.keyboard.press("Space")
    page.keyboard.press("2")  # the label itself: it is confirmed, not corrected
    wait_until(lambda: given(server) == [("item-0", "label_right")])
    assert server.verdicts()[0]["label"] == "<b id='injected'>A2C</b>"


def test_one_class_of_five_hundred_is_found_by_its_letters_and_gets_a_digit(visit, server):
    page = visit("name=many&items=4&classes=500")
    page.keyboard.press("l")
    page.keyboard.type("class 49")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    shows(page, 2)
    page.keyboard.press("1")
    wait_until(lambda: len(given(server)) == 2)
    assert [(row["kind"], row["label"]) for row in server.verdicts()] == [("label_wrong", "class 490")] * 2


def test_a_blinded_reviewer_learns_the_label_only_afterwards(visit, server):
    page = visit("name=blind&items=4&blinded=1&missing=1")
    assert page.locator(".fact").count() == 0
    page.keyboard.press("m")  # would tell that there is a label to agree with
    page.get_by_text("The label is hidden.").wait_for()
    page.keyboard.press("n")
    page.keyboard.type("rc 1mx")  # neither the page's shortcuts nor the card's
    page.keyboard.press("Enter")
    page.keyboard.press("1")
    page.get_by_text("Last one: label A4C, model A2C.").wait_for()
    page.keyboard.press("u")
    shows(page, 1)
    page.keyboard.press("3")
    shows(page, 2)
    page.keyboard.press("x")
    shows(page, 3)
    page.get_by_text("This image is not where it was.").wait_for()
    page.keyboard.press("a")
    page.get_by_text("Nobody can judge a picture that cannot be shown.").wait_for()
    page.keyboard.press("x")
    shows(page, 4)
    wait_until(lambda: len(given(server)) == 5)
    rows = server.verdicts()
    assert given(server) == [
        ("item-0", "class"), ("item-0", "undo"), ("item-0", "class"), ("item-1", "skip"), ("item-2", "skip"),
    ]  # fmt: skip
    assert rows[0]["note"] == "rc 1mx"
    assert rows[1]["undoes"] == rows[0]["id"]
    assert [row["label"] for row in rows[:3]] == ["A4C", None, "class 2"]


def test_a_refused_verdict_is_told_and_the_item_is_open_again(visit, server):
    page = visit("name=refused&items=3")
    page.keyboard.press("n")
    page.keyboard.type("refuse")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    page.get_by_text("Not saved, number 1: no such class.").wait_for()
    page.get_by_text("0 answered, 3 left").wait_for()
    assert given(server) == []
