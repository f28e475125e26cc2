"""`fmlab pretrain`: one sentence for every mistake; a run that is interrupted goes on; numbers that scripts rely on.

Run: pytest tests/unit/test_pretrain_command.py
"""

import json
import signal
import subprocess
import sys
import time

import pytest
import typer

from fmlab.backbones.catalogue import catalogue
from fmlab.commands.pretrain import alarm, asked_in, probe_line, progress_text, result_text, show_result
from fmlab.files import write_json
from fmlab.runs.launcher import execute_runs
from fmlab.runs.queue import Queue
from fmlab.runs.records import Actor, Group
from fmlab.runs.requests import request_run
from fmlab.runs.store import open_store
from fmlab.runs.worker import KINDS
from fmlab.ui import run_tables
from tests.toys import halves

ANNA = Actor("anna", "test")
OPTIONS = {
    "method": "simclr",
    "dataset": ["halves"],
    "key": "ours",
    "batch": 8,
    "size": 32,
    "stride": None,
    "share": None,
}
SMALL = ("--dataset", "halves", "--key", "ours", "--batch", 8, "--size", 32, "--steps", 2)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("vicreg", *SMALL), "method: Input should be 'dinov2', 'mae', 'simsiam' or 'simclr', got 'vicreg'"),
        (("simclr", "--key", "ours"), "Missing option '--dataset'"),
        (("simclr", "--dataset", "halves"), "Missing option '--key'"),
        (
            ("simclr", "--dataset", "halves", "--key", "ours", "--patch", 12),
            "patch: Input should be 8, 14 or 16, got 12",
        ),
        (("simclr", *SMALL, "--epochs", 2), "epochs and steps each say how long"),
        (("simclr", *SMALL, "--learning-rate", "inf"), "Invalid value for '--learning-rate'"),
        (("simclr", *SMALL, "--max-minutes", "nan"), "Invalid value for '--max-minutes'"),
        (("simclr", *SMALL, "--dataset", "halves"), "named twice"),
        (("simclr", *SMALL, "--stride", 2, "--stride", 3), "--stride is given 2 times for 1 datasets"),
        (("simclr", *SMALL, "--share", 1.5), "share"),
        (("simclr", *SMALL, "--dataset", "other"), "no dataset 'other'"),
        (("simclr", *SMALL, "--dataset", "halves:"), "--dataset is 'halves:'"),
        (("simclr", *SMALL, "--batch", 50), "fewer than one batch of 50"),
        (("mae", *SMALL, "--prototypes", 50), "belong to dinov2"),
        (("simclr", *SMALL, "--init", "random-resnet18"), "random-resnet18 is none"),
        (("simclr", *SMALL, "--init", "random-vit"), "no backbone 'random-vit'"),
        (("simclr", *SMALL, "--key", "pixels-24"), "exists already"),
    ],
)
def test_a_mistake_is_one_sentence_and_queues_nothing(fmlab, home, words, says):
    halves(home)
    status, out, err = fmlab("pretrain", *words)
    assert (status, out) == (2, ""), err
    assert says in err
    assert len(err.strip().splitlines()) == 1, err
    assert open_store(home).runs().empty


def interrupted(home, *words):
    """What `fmlab` says and ends with when Ctrl-C comes as soon as its run is at work."""
    command = [sys.executable, "-m", "fmlab", *map(str, words), "--home", str(home.path)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ignored where the tests run in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    store, latest = open_store(home), time.monotonic() + 60
    while not (store.runs()["state"] == "running").any():
        assert time.monotonic() < latest
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_interrupted_it_goes_on_and_ends_in_the_catalogue(fmlab, home):
    halves(home)
    status, out, err = interrupted(home, "pretrain", "simclr", *SMALL, "--json")
    assert (status, out) == (130, "")
    (run,) = open_store(home).runs()["key"]
    assert open_store(home).run(run).state == "queued"
    assert f"fmlab runs cancel {run[:12]}" in err
    status, out, err = fmlab("pretrain", "simclr", *SMALL, "--json")
    assert status == 0, err
    answer = json.loads(out)
    assert {
        "key", "images_per_second", "knn_start", "knn_end", "linear_start", "linear_end", "knn_start_interval",
        "knn_end_interval", "collapsed", "health", "images", "images_seen", "steps", "seconds", "labelled", "backbone",
    } <= set(answer)  # fmt: skip
    assert (answer["key"], answer["collapsed"], answer["steps"], answer["run"]) == ("ours", False, 2, run)
    assert "by nearest neighbours" in err
    assert "ours" in catalogue(home)
    assert "ours" in result_text(answer)
    status, _, err = fmlab("pretrain", "simclr", *SMALL)
    assert status == 2
    assert "exists already" in err


@pytest.mark.slow
def test_under_torchrun_the_same_command_tells_one_result(home):
    halves(home)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "fmlab", "pretrain"]
    words = [*launcher, "simclr", *map(str, SMALL), "--json"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    assert (answer["key"], answer["images_seen"]) == ("ours", 16)
    assert "ours" in catalogue(home)
    assert open_store(home).runs().empty  # it went by no queue


@pytest.mark.parametrize("state", ["collapsed", "healthy"])
def test_a_run_that_left_no_backbone_is_exit_status_1(home, capsys, state):
    halves(home)
    store = open_store(home)
    run = request_run(store, "pretrain", asked_in(OPTIONS).plain, "a pretraining", ANNA)
    queue = Queue(store)
    queue.acquire()
    queue.claim("cpu")
    queue.end([run.key], "failed", "All images share two prototypes.")
    write_json(home.runs / run.group / "health.json", {"state": state, "sentence": "All images share two prototypes."})
    with pytest.raises(typer.Exit) as ending:
        show_result(home, store.run(run.key), as_json=True)
    assert ending.value.exit_code == 1
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert (answer["key"], answer["state"], answer["collapsed"]) == ("ours", "failed", state == "collapsed")
    assert err == "No backbone was made, the run is failed. All images share two prototypes.\n"


def test_only_what_was_asked_for_is_waited_for(home):
    store = open_store(home)
    halves(home)
    one = request_run(store, "verify", {"backbone": "pixels-24"}, "verify", ANNA)
    endless = asked_in(OPTIONS | {"steps": 1_000_000})
    other = request_run(store, "pretrain", endless.plain, "without end", ANNA)
    store.cancel([one.key], ANNA)
    assert execute_runs(home, [one.key]) == {"cancelled": 1}
    assert store.run(other.key).state in ("queued", "running")


def test_what_is_said_on_the_way(tmp_path):
    group = Group(
        "g", "pretrain", "mae · a → ours", "running", "cpu", 120, 900, "pretraining: loss 0.2", 61.4, 200.0, None, None, tmp_path
    )  # fmt: skip
    assert progress_text(group) == (
        "mae · a → ours: pretraining: loss 0.2, 120 of 900, 61 images a second, about 3 min left"
    )
    line = {"step": 1200, "images": 9600, "knn": 0.5, "low": 0.4, "high": 0.61, "linear": 0.625}
    assert probe_line(line) == (
        "step 1,200, 9,600 images seen: balanced accuracy by patient 0.500 (0.400 to 0.610) by nearest neighbours, "
        "0.625 by a linear probe"
    )
    assert alarm(tmp_path) == ""
    for state, said in (("healthy", ""), ("stalled", "It stands still."), ("collapsed", "It stands still.")):
        write_json(tmp_path / "health.json", {"state": state, "sentence": "It stands still."})
        assert alarm(tmp_path) == said


def test_every_kind_of_run_has_a_name_on_the_page():
    assert set(KINDS) == set(run_tables.KINDS)
