"""The launcher with a real worker process: what is queued gets done, whatever dies. Run: pytest tests/unit/test_launcher.py"""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from fmlab.runs.launcher import execute, launcher_for
from fmlab.runs.records import Actor
from fmlab.runs.store import open_store
from fmlab.settings import Home
from fmlab.studies.configs import study_config
from fmlab.studies.launch import launch
from fmlab.studies.results import results
from tests.toys import halves

ANNA = Actor("anna", "test")
SECONDS = 90  # the most that anything here waits


@pytest.fixture
def store(home):
    return open_store(home)


@pytest.fixture
def launcher(home):
    running = launcher_for(home)
    yield running
    running.stop()


def study(name="first", **changes):
    settings = {
        "name": name,
        "dataset": "halves",
        "backbones": ["pixels-24"],
        "adaptations": ["linear_svm", "knn"],
        "scheme": "sequences",
        "sizes": [1, 4],
        "seeds": 3,
    }
    return study_config(settings | changes)


def wait_until(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> pd.DataFrame:
    """The results of the study in a home where nothing happens to it."""
    home = Home(tmp_path_factory.mktemp("undisturbed"))
    halves(home)
    store = open_store(home)
    launch(home, store, study(), ANNA)
    assert set(execute(home, "first")) == {"done"}
    return results(home, store, "first")


def test_a_study_runs_to_its_end_and_its_numbers_come_back_the_same(home, store, undisturbed):
    halves(home)
    launch(home, store, study(), ANNA)
    assert execute(home, "first") == {"done": 12}
    table = results(home, store, "first")
    assert len(table) == 12
    assert table.loc[table["size"] == 4, "image_accuracy"].mean() > 0.9  # one half is 40 grey levels brighter
    pd.testing.assert_frame_equal(table, undisturbed)


def test_a_run_that_cannot_be_done_says_why_and_the_others_go_on(home, store):
    halves(home)
    launch(home, store, study(scheme="images", sizes=[1, 8], adaptations=["knn"]), ANNA)
    counts = execute(home, "first")
    assert counts == {"done": 3, "failed": 3}  # one image is of one class
    reasons = set(store.runs("first")["reason"].dropna())
    assert all("only class" in reason for reason in reasons)


def test_killing_the_worker_loses_nothing(home, store, launcher, undisturbed):
    halves(home)
    launch(home, store, study(), ANNA)
    wait_until(lambda: "cpu" in launcher.worker_pids())
    os.kill(launcher.worker_pids()["cpu"], signal.SIGKILL)
    wait_until(lambda: store.counts("first") == {"done": 12})
    assert "interrupted" in set(store.events()["verb"])
    pd.testing.assert_frame_equal(results(home, store, "first"), undisturbed)


def test_killing_the_whole_process_loses_nothing_and_leaves_no_worker(home, store, undisturbed):
    halves(home)
    launch(home, store, study(), ANNA)
    code = (
        "from fmlab.runs.launcher import execute; from fmlab.settings import find_home; execute(find_home(), 'first')"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: store.counts("first").get("running"))
    workers = workers_of(process.pid)
    process.kill()
    process.wait()
    wait_until(lambda: not any(alive(pid) for pid in workers))
    assert execute(home, "first") == {"done": 12}
    pd.testing.assert_frame_equal(results(home, store, "first"), undisturbed)


def workers_of(pid):
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def alive(pid):
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_cancelling_a_running_group_takes_less_than_two_seconds(home, store, launcher):
    halves(home, patients=60, frames=40)  # 1,600 images to train on: seconds of embedding
    launch(home, store, study(backbones=["random-vit-tiny"]), ANNA)
    wait_until(lambda: any(group.done for group in store.groups(active_only=True)))
    began = time.monotonic()
    store.cancel(list(store.runs("first")["key"]), ANNA)
    wait_until(lambda: not {"running", "queued"} & set(store.counts("first")))
    assert time.monotonic() - began < 2.5  # 2 s, and the time of a look
    assert store.counts("first").get("cancelled")


def test_two_processes_on_one_home_do_not_fight(home, store, launcher):
    """The app holds the lease; a command line enqueues, watches, and ends when the app is done."""
    halves(home)
    launch(home, store, study(), ANNA)
    assert launcher.holding
    code = "from fmlab.runs.launcher import execute; from fmlab.settings import find_home; print(execute(find_home(), 'first'))"
    watched = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=SECONDS, check=True)
    assert watched.stdout.strip() == "{'done': 12}"
    assert store.runs("first")["attempts"].eq(1).all()


def test_a_dataset_that_changed_since_launch_is_not_mixed_in(home, store):
    import shutil

    halves(home)
    launch(home, store, study(), ANNA)
    shutil.rmtree(home.datasets / "halves")
    halves(home, noise=30)
    counts = execute(home, "first")
    assert counts == {"failed": 12}
    assert "has changed since" in store.runs("first")["reason"].iloc[0]
