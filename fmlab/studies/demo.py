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
    return launch(home, store, preset_config("demo", open_dataset(home, DATASET), STUDY), by)


def start_demo(home: Home, store: Store, by: Actor) -> None:
    """Request the phantom dataset if it is not there, and launch the demo study as soon as it is. Returns at once."""
    if DATASET in dataset_names(home):
        launch_demo_study(home, store, by)
        return
    run = request_run(store, "phantom", {"name": DATASET, "config": {}}, f"phantom dataset {DATASET!r}", by)
    threading.Thread(target=_launch_when_drawn, args=(home, store, run.key, by), daemon=True).start()


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
