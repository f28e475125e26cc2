"""How long a person waits: the demo study from nothing, and further studies on embeddings that are there.

The clock starts where the button is pressed (or the app opens) and stops when the runs are in the store; a page shows
them within its next half second.
"""

import os
import tempfile
import time
from pathlib import Path

from fmlab.phantom.build import build_phantom
from fmlab.phantom.cases import PhantomConfig
from fmlab.runs.launcher import launcher_for
from fmlab.runs.records import UNFINISHED, Actor
from fmlab.runs.store import Store, open_store
from fmlab.settings import Home
from fmlab.studies.configs import study_config
from fmlab.studies.demo import DATASET, STUDY, launch_demo_study
from fmlab.studies.launch import launch

BENCHMARK = Actor("benchmark", "script")
POLL_SECONDS = 0.1
THREE = ["efficientnet-lite0", "random-efficientnet-lite0", "pixels-24"]


def run(quick: bool = False) -> list[dict]:
    small = PhantomConfig(sequences_per_class=16, t1_sequences=20, t2_sequences=10, frames_per_sequence=5)
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        build_phantom(home, DATASET, small if quick else PhantomConfig())
        store = open_store(home)
        launcher = launcher_for(home)
        try:
            began = time.perf_counter()
            launch_demo_study(home, store, BENCHMARK)
            first = wait(store, STUDY, began, until_first=True)
            whole = wait(store, STUDY, began)
            cached = study_config(store.study(STUDY).config | {"name": "again", "seeds": 21})
            began = time.perf_counter()
            launch(home, store, cached, BENCHMARK)
            warm = wait(store, "again", began)
            cells = int((store.runs("again")["seed"] == 20).sum())
            three = study_config(store.study(STUDY).config | {"name": "three", "backbones": THREE})
            launch(home, store, three, BENCHMARK)
            wait(store, "three", began)  # embeds what the third backbone needs
            probes = [{"kind": "linear_svm", "C": 0.5}]  # another objective, so that no cell is known yet
            began = time.perf_counter()
            launch(home, store, study_config(three.plain() | {"name": "all", "adaptations": probes}), BENCHMARK)
            solved = wait(store, "all", began)
        finally:
            launcher.stop()
    return [
        row(f"demo study: first point after {first:.0f} s, all {store.counts(STUDY)['done']} runs after {whole:.0f} s",
            first_seconds=first, all_seconds=whole),
        row(f"{cells} more cells on cached embeddings after {warm:.1f} s", seconds=warm),
        row(f"{store.counts('all')['done']} probes of {len(THREE)} cached backbones after {solved:.0f} s", seconds=solved),
    ]  # fmt: skip


def wait(store: Store, study: str, began: float, until_first: bool = False) -> float:
    """Seconds since `began` until a study's first run, or its last, is done."""
    while True:
        counts = store.counts(study)
        if counts.get("failed"):
            raise SystemExit(f"runs of {study} failed: {store.runs(study)['reason'].dropna().iloc[0]}")
        if (until_first and counts.get("done")) or not any(counts.get(state) for state in UNFINISHED):
            return time.perf_counter() - began
        time.sleep(POLL_SECONDS)


def row(what: str, **measured: float) -> dict:
    device = f"cpu, {os.cpu_count()} cores"
    return {"name": "study", "what": what, "ratio": None, "against": None, "device": device} | measured
