"""A training on the Runs page: its loss while it happens, and what became of it.

In: groups of runs that train. Out: a figure that grows while the run is at work; a line of facts when it is done.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from fmlab.plots.training import training_curve
from fmlab.runs.records import Group, Run
from fmlab.runs.store import Store
from fmlab.ui.format import count, duration
from fmlab.ui.links import choose
from fmlab.ui.progress import STATES
from fmlab.ui.theme import FIGURE_SETTINGS, mode

METRICS = "metrics.jsonl"
REFRESH_SECONDS = 2.0


def show_training(store: Store, study: str | None, chosen_groups: Sequence[str]) -> None:
    """The loss of a training: of a chosen run, or picked from the list."""
    groups = {group.key: group for group in store.groups(study=study) if group.kind == "train"}
    offered = [key for key in chosen_groups if key in groups] or list(groups)
    if not offered:
        st.caption("No run here trains anything: probes have no loss to watch.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        titles = {key: f"{groups[key].title} · {key[:6]}" for key in offered}
        group = groups[choose("Training", offered, "training", titles.__getitem__, width=520) or offered[0]]
        words, colour, icon = STATES[group.state]
        st.badge(words, color=colour, icon=icon)

    @st.fragment(run_every=REFRESH_SECONDS if group.state == "running" else None)
    def figure() -> None:
        lines = metric_lines(group.log.parent)
        if lines.empty:
            st.caption("No step has been made yet.")
        else:
            st.plotly_chart(
                training_curve(lines, mode=mode()), theme=None, key="training_curve", config=FIGURE_SETTINGS
            )

    figure()
    for run in runs_of(store, study, group):
        st.caption(facts_line(run))


def runs_of(store: Store, study: str | None, group: Group) -> list[Run]:
    """The runs of a group that are done."""
    runs = store.runs(study)
    return [store.run(key) for key in runs.loc[(runs["group"] == group.key) & (runs["state"] == "done"), "key"]]


def metric_lines(folder: Path) -> pd.DataFrame:
    """The lines of a training's metrics, of all its folds: step, epoch, loss, learning_rate, images_per_second, part.

    A last line that is just being written is left for the next look.
    """
    paths = sorted(folder.glob(f"fold-*/{METRICS}")) or [folder / METRICS]
    rows = []
    for part, path in enumerate(path for path in paths if path.exists()):
        whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
        rows += [json.loads(line) | {"part": part} for line in whole.splitlines()]
    return pd.DataFrame(rows, columns=["step", "epoch", "loss", "learning_rate", "images_per_second", "part"])


def facts_line(run: Run) -> str:
    """What a finished training says of itself, in one line."""
    facts = run.result or {}
    words = [
        count(facts["n_train"], "image"),
        count(facts["epochs"], "epoch"),
        count(facts["steps"], "step"),
        f"learning rate {facts['learning_rate']:.2g}",
        f"last epoch's loss {facts['final_loss']:.4f}",
        f"{facts['images_per_second']:,.0f} images a second, {100 * facts['data_wait_share']:.0f} % of the time waiting for them",
        duration(facts["seconds_training"]),
    ]
    if facts["micro_batch"] < run.config["setting"]["batch"]:
        words.append(
            f"memory was short: batches of {run.config['setting']['batch']} were computed {facts['micro_batch']} at a time"
        )
    return " · ".join(words)
