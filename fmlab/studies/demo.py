"""The demo: a phantom dataset and the demo study on it.

In: a home. Out: both, or what was there already. It needs no network, no GPU and no images.
"""

import threading
import time

from fmlab.data.manifest import dataset_names, open_dataset
from fmlab.errors import FMLabError, WorkFailed
from fmlab.runs.records import UNFINISHED, Actor, StudyRecord
from fmlab.runs.requests import request_run
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.launch import launch
from fmlab.studies.presets import preset_config

DATASET = "phantom"
STUDY = "demo"
POLL_SECONDS = 0.5


def launch_demo_study(home: Home, store: Store, by: Actor) -> StudyRecord:
    """Launch the demo study on the phantom dataset, or find it launched."""
    for study in store.studies():
        if study.name == STUDY:
            return study
    return launch(home, store, preset_config(home, "demo", open_dataset(home, DATASET), STUDY), by)


def start_demo(home: Home, store: Store, by: Actor) -> None:
    """Request the phantom dataset if it is not there, and launch the demo study as soon as it is. Returns at once."""
    if DATASET in dataset_names(home):
        launch_demo_study(home, store, by)
    elif (run := _run_that_draws(store)) is not None:
        _wait_in_background(home, store, run, by)
    else:
        asked = request_run(store, "phantom", {"name": DATASET, "config": {}}, f"phantom dataset {DATASET!r}", by)
        _wait_in_background(home, store, asked.key, by)


def resume_demo(home: Home, store: Store, by: Actor) -> None:
    """Wait again for a phantom that was being drawn for the demo when the server ended."""
    run = _run_that_draws(store)
    if run is not None:
        _wait_in_background(home, store, run, by)


def _run_that_draws(store: Store) -> str | None:
    """The unfinished run, if any, that draws the demo's phantom."""
    runs = store.runs()
    for key in runs.loc[(runs["kind"] == "phantom") & runs["state"].isin(UNFINISHED), "key"]:
        if store.run(key).config["name"] == DATASET:
            return str(key)
    return None


def _wait_in_background(home: Home, store: Store, run: str, by: Actor) -> None:
    threading.Thread(target=_launch_when_drawn, args=(home, store, run, by), daemon=True).start()


def _launch_when_drawn(home: Home, store: Store, run: str, by: Actor) -> None:
    while store.run(run).state in UNFINISHED:
        time.sleep(POLL_SECONDS)
    try:
        if store.run(run).state != "done":
            raise WorkFailed(f"The phantom dataset was not made: {store.run(run).reason}")
        launch_demo_study(home, store, by)
    except FMLabError as error:
        with store.writing():
            store.record(by, "could not start", STUDY, str(error))
