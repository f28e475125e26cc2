"""The panel that says why, on real runs of toy squares, in Streamlit's own harness; and its figures.

Run: pytest tests/pages/test_why.py
"""

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from fmlab.plots.distances import class_dots, distance_histograms
from fmlab.runs.launcher import execute, launcher_for
from fmlab.runs.queue import Queue
from fmlab.runs.records import Actor
from fmlab.runs.store import open_store
from fmlab.settings import HOME_VARIABLE, Home
from fmlab.studies.configs import study_config
from fmlab.studies.launch import launch
from fmlab.ui.why_looked import LOWERS, RAISES, STRONGEST, overlaid
from fmlab.ui.why_view import farther_than, neighbour_sentence, other_answers
from tests.pages.conftest import SECONDS, text_of
from tests.toys import halves

ANNA = Actor("anna", "test")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A home with a finished study; not all of its training images are embedded."""
    with pytest.MonkeyPatch.context() as patch:
        home = Home(tmp_path_factory.mktemp("why") / "home")
        patch.setenv(HOME_VARIABLE, str(home.path))
        halves(home)
        settings = {"name": "first", "dataset": "halves", "backbones": ["pixels-24"], "adaptations": ["linear_svm"]}
        launch(
            home, open_store(home), study_config(settings | {"scheme": "sequences", "sizes": [2, 4], "seeds": 1}), ANNA
        )
        assert set(execute(home)) == {"done"}
        yield home


def page(size, split):
    """What a page does that shows the panel; the address says which run (0: none) and an image of which split."""
    from fmlab.data.manifest import open_dataset
    from fmlab.ui import session
    from fmlab.ui.why_view import show_why

    home, store = session.home(), session.store()
    dataset = open_dataset(home, "halves")
    image = dataset.manifest(["image_id", "split"]).query(f"split == '{split}'")["image_id"].iloc[0]
    run = next((run for run in store.study_runs("first") if run.config["subset"]["size"] == size), None)
    show_why(home, store, dataset, run, image, "T1" if split == "T1" else None, "first", backbone="pixels-24")


def opened(size, split="T1"):
    app = AppTest.from_function(page, args=(size, split), default_timeout=SECONDS).run()
    assert not app.exception, app.exception
    return app


@pytest.fixture
def lease(finished, monkeypatch):
    """The test holds the lease of the home, so that nothing executes what the panel asks for."""
    monkeypatch.setenv(HOME_VARIABLE, str(finished.path))
    queue = Queue(open_store(finished))
    queue.acquire()
    yield queue
    launcher_for(finished).stop()
    queue.release()


def run_all(home, queue):
    launcher_for(home).stop()
    queue.release()
    execute(home)
    queue.acquire()


def test_the_panel_from_first_look_to_last_answer(finished, lease):
    store = open_store(finished)
    app = opened(size=2)
    words = text_of(app)
    # Not everything is embedded: what the run learnt from is searched, and the rest is offered.
    assert "Only the images that this run learnt from were searched" in words
    assert "Of the 4 nearest" in words
    assert "no other backbone with this adaptation" in words
    for identifying in ("p2.png", "s2", "patient"):
        assert identifying not in words
    buttons = {button.label: button for button in app.button}
    embed = next(button for label, button in buttons.items() if label.startswith("Embed the other"))
    embed.click().run()
    app = opened(size=2)
    next(button for button in app.button if button.label == "Show where it looked").click().run()
    assert not app.exception
    assert "the neighbours appear here" in text_of(app)
    assert "the picture appears here" in text_of(app)
    assert sorted(store.runs().query("state == 'queued'")["kind"]) == ["explain", "project"]
    run_all(finished, lease)
    words = text_of(opened(size=2))
    assert "Only the images" not in words
    assert "farther than" in words
    assert "covering this lowers the score of" in words
    # Without a run: neighbours and distance, no score. A training image has neighbours too.
    words = text_of(opened(size=0))
    assert "No run was chosen" in words
    assert "Of the 8 nearest" in words
    words = text_of(opened(size=4, split="train"))
    assert "was not scored by this run" in words
    assert "farther than" in words


def test_damaged_predictions_are_one_message(finished, lease):
    run = next(run for run in open_store(finished).study_runs("first") if run.config["subset"]["size"] == 4)
    path = finished.predictions / run.result["predictions"]
    whole = path.read_bytes()
    path.write_bytes(b"nothing")
    try:
        from fmlab.studies.scoring import _places, _predictions

        _places.cache_clear()
        _predictions.cache_clear()
        app = opened(size=4)
    finally:
        path.write_bytes(whole)
    assert len(app.error) == 1
    assert "missing or damaged" in app.error[0].value


def test_words_about_neighbours_count_label_answer_and_others():
    near = pd.DataFrame({"label": ["A", "A", "B", "C"]})
    assert (
        neighbour_sentence(near, "A", "B")
        == "Of the 4 nearest: **2** A, the label; **1** B, the answer; **1** of other classes."
    )
    assert (
        neighbour_sentence(near, "A", "A")
        == "Of the 4 nearest: **2** A, the label and the answer; **2** of other classes."
    )
    assert neighbour_sentence(near, None, None) == "Of the 4 nearest: **2** A; **1** B; **1** C."
    assert "<b>" not in neighbour_sentence(near, "<b>x", "B")
    others = pd.DataFrame({"backbone": ["one"], "answer": ["a|b"], "right": [False]})
    assert other_answers(others).endswith("| one | a\\|b | :material/close: wrong |")


def test_farther_than_is_the_share_that_lies_nearer():
    table = pd.DataFrame({"test_set": ["T1"] * 4 + ["T2"] * 2, "distance": [0.1, 0.2, 0.3, 0.4, 0.3, 0.5]})
    assert farther_than(table, 0.3) == "50.0 % of T1 and 0.0 % of T2"


def test_the_overlay_is_orange_where_covering_lowers_and_blue_where_it_raises():
    seen = np.full((1, 3, 3), 100, np.uint8)
    shown = overlaid(seen, np.array([[2.0, 0.0, -1.0]], np.float32))
    assert shown[0, 0].tolist() == [round(100 * (1 - STRONGEST) + hue * STRONGEST) for hue in LOWERS]
    assert shown[0, 1].tolist() == [100, 100, 100]
    assert shown[0, 2].tolist() == [round(100 * (1 - STRONGEST / 2) + hue * STRONGEST / 2) for hue in RAISES]
    assert (overlaid(seen, np.zeros((1, 3), np.float32)) == seen).all()


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_histogram_holds_every_image_of_each_test_set(mode):
    table = pd.DataFrame({"test_set": ["T1"] * 8 + ["T2"] * 4, "distance": np.linspace(0.1, 0.6, 12)})
    figure = distance_histograms(table, 0.9, mode=mode)
    assert [trace.name for trace in figure.data] == ["T1 (n = 8)", "T2 (n = 4)"]
    assert all(sum(trace.y[:-1]) == pytest.approx(100) for trace in figure.data)
    assert figure.layout.shapes[0].x0 == 0.9
    assert figure.layout.xaxis.range[1] > 0.9  # an image farther than all others is still seen
    assert not distance_histograms(table).layout.shapes


def test_the_label_and_the_answer_are_drawn_however_many_classes_there_are():
    scores = pd.DataFrame({"class": [f"class {place}" for place in range(500)], "score": -np.arange(500.0)})
    table = scores.assign(answer=scores.index == 0, truth=scores.index == 400)
    figure = class_dots(table)
    assert len(figure.data[0].x) == 9
    assert figure.layout.yaxis.ticktext[0] == "class 0 · <b>answer</b>"
    assert figure.layout.yaxis.ticktext[-1] == "class 400 · <b>label</b>"
    markup = pd.DataFrame({"class": ["<b>x</b>"], "score": [1.0], "answer": [True], "truth": [True]})
    assert class_dots(markup).layout.yaxis.ticktext == ("&lt;b&gt;x&lt;/b&gt; · <b>label and answer</b>",)
