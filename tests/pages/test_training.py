"""A training on the Runs page: its losses, and what became of it. Run: pytest tests/pages/test_training.py"""

import json

import pytest

from fmlab.plots.training import training_curve
from fmlab.runs.queue import Queue
from fmlab.ui.training_view import facts_line, metric_lines
from tests.pages.made_study import launch_study, make_dataset

STUDY = {
    "name": "trained",
    "dataset": "toy",
    "backbones": ["random-resnet18"],
    "adaptations": [{"kind": "scratch", "recipe": "quick"}],
    "scheme": "sequences",
    "sizes": [1],
    "seeds": 1,
}
RESULT = {
    "predictions": "none.parquet",
    "n_train": 9,
    "epochs": 3,
    "steps": 6,
    "final_loss": 0.25,
    "learning_rate": 1e-3,
    "images_per_second": 61.0,
    "data_wait_share": 0.012,
    "seconds_training": 75.0,
    "micro_batch": 16,
}


def line(step, loss):
    return json.dumps({"step": step, "epoch": 1, "loss": loss, "learning_rate": 1e-3, "images_per_second": 60.0})


@pytest.fixture
def at_work(home):
    """A training that a worker has claimed; its folder."""
    make_dataset(home)
    store = launch_study(home, STUDY)
    queue = Queue(store)
    queue.acquire()
    claim = queue.claim("cpu")
    folder = home.runs / claim.group
    folder.mkdir(parents=True)
    return store, queue, claim, folder


def test_the_page_draws_the_losses_and_then_the_facts(open_page, at_work):
    store, queue, claim, folder = at_work
    drawn = open_page("runs", study="trained", details="Training")
    assert any("No step has been made yet" in caption.value for caption in drawn.caption)
    (folder / "metrics.jsonl").write_text(line(1, 2.3) + "\n" + line(5, 1.1) + "\n")
    drawn = open_page("runs", study="trained", details="Training")
    assert len(drawn.get("plotly_chart")) == 1
    queue.finish({claim.runs[0][0]: RESULT}, 80.0)
    drawn = open_page("runs", study="trained", details="Training")
    facts = next(caption.value for caption in drawn.caption if "last epoch" in caption.value)
    assert "9 images · 3 epochs · 6 steps · learning rate 0.001 · last epoch's loss 0.2500" in facts
    assert "61 images a second, 1 % of the time waiting for them" in facts
    assert "batches of 32 were computed 16 at a time" in facts
    assert store.run(claim.runs[0][0]).kind == "train"


def test_probes_have_no_loss_to_watch(open_page, home):
    make_dataset(home)
    launch_study(home)
    drawn = open_page("runs", study="made", details="Training")
    assert any("No run here trains anything" in caption.value for caption in drawn.caption)


def test_a_line_that_is_just_being_written_is_left_for_the_next_look(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(line(1, 2.3) + "\n" + line(2, 2.2)[:20])
    assert metric_lines(tmp_path)["step"].tolist() == [1]


def test_folds_are_lines_of_their_own(tmp_path):
    for fold, loss in enumerate((2.0, 1.0)):
        (tmp_path / f"fold-{fold}").mkdir()
        (tmp_path / f"fold-{fold}" / "metrics.jsonl").write_text(line(1, loss) + "\n")
    lines = metric_lines(tmp_path)
    assert lines["part"].tolist() == [0, 1]
    losses = {trace.name: list(trace.y) for trace in training_curve(lines).data if trace.name.startswith("fold")}
    assert losses == {"fold 1": [2.0], "fold 2": [1.0]}


def test_a_training_that_had_memory_enough_does_not_speak_of_it(at_work):
    store, queue, claim, _ = at_work
    queue.finish({claim.runs[0][0]: RESULT | {"micro_batch": 32}}, 80.0)
    assert "memory" not in facts_line(store.run(claim.runs[0][0]))
