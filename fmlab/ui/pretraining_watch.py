"""A pretraining on a page: how healthy it is in words, then its curves and pictures, while it happens and afterwards.

In: the runs of kind `pretrain` of a store; the files that a worker leaves in a run's folder. Out: what a person sees of one.

The fragments that are live stand side by side at the top of the page, and only while the run is at work.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from fmlab.data.manifest import dataset_names, open_dataset
from fmlab.errors import BadInput
from fmlab.files import read_json
from fmlab.plots.health import LOSS_UNITS, loss_curves, probe_curve, signal_panels
from fmlab.plots.pretraining_wording import method_name
from fmlab.pretrain.configs import Pretraining, pretraining
from fmlab.pretrain.health import HEALTH, METRICS, PROBES, metrics_table, probes_table
from fmlab.pretrain.journal import read_lines
from fmlab.pretrain.pictures import picture_steps
from fmlab.pretrain.recipes import PretrainSetting, pretrain_setting
from fmlab.pretrain.signs import thresholds
from fmlab.runs.pretraining_request import KIND
from fmlab.runs.records import RETRIABLE, UNFINISHED, Run
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.ui import links, session
from fmlab.ui.format import ago, escaped, percent
from fmlab.ui.messages import empty_state, shown_errors, synthetic_note
from fmlab.ui.pretraining_pictures import show_pictures
from fmlab.ui.pretraining_result import pixel_floor, show_result
from fmlab.ui.progress import STATES, live_groups
from fmlab.ui.theme import mode, show_figure

NEW, WATCH, COMPARE = "New", "Watch", "Compare"  # sections of the page

Line = dict[str, Any]
REFRESH_SECONDS = 3.0
PICTURE_SECONDS = 10.0
KEY_SHOWN = 6  # characters of a run's key
LONG_WAIT = 0.05  # share of the time, from which on it is said
MANY = 1 << 40  # images, more than any batch

# What a state of health means to somebody who has never pretrained; the sentence with the number stands before it.
MEANINGS = {
    "stalled": "Put plainly: what the network makes of the images does not become more useful, even where its loss falls.",
    "collapsed": "Put plainly: the network came to answer the same for every image, an easy way out of the exercise that is "
    "of no use. The run was stopped, and no backbone was kept.",
}
# Options of the command line in the words of the page.
OPTION_WORDS = {"--method simclr": "SimCLR", "--precision fp32": "precision fp32"}
LEVELS: dict[str, tuple[Callable[..., object], str]] = {
    "healthy": (st.success, ":material/ecg_heart:"),
    "too early": (st.info, ":material/hourglass_top:"),
    "stalled": (st.warning, ":material/trending_flat:"),
    "collapsed": (st.error, ":material/heart_broken:"),
}


def pretrainings(store: Store) -> list[Run]:
    """Every pretraining of a home, the newest first."""
    runs = store.runs()
    keys = runs.loc[runs["kind"] == KIND].sort_values("created", ascending=False)["key"]
    return [store.run(key) for key in keys]


def show_watch(home: Home, store: Store, runs: Sequence[Run]) -> None:
    """The pretraining in the address, else the newest; and above it the bars of all that are at work."""
    if not runs:
        empty_state("Nothing was pretrained yet", "Choose images and a method under New, and start.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        run = choose_run(runs)
        folder = home.runs / run.group
        collapsed = _collapsed(folder)
        _show_state(run, may_go_on=run.state in RETRIABLE and not collapsed)
    live_groups("pretraining", kinds=(KIND,))
    _show_remarks(run, collapsed)
    live = run.state == "running"

    pixels = None

    @st.fragment(run_every=REFRESH_SECONDS if live else None)
    def health() -> None:
        with shown_errors():
            show_health(health_of(folder))

    @st.fragment(run_every=REFRESH_SECONDS if live else None)
    def course() -> None:
        with shown_errors():
            show_course(folder, run, pixels)

    @st.fragment(run_every=PICTURE_SECONDS if live else None)
    def pictures() -> None:
        with shown_errors():
            show_pictures(folder, batch_of(folder))

    health()
    if run.state == "done":
        with shown_errors():
            pixels = pixel_floor(show_result(home, run))
    course()
    if live or picture_steps(folder):
        st.subheader("What it sees", anchor=False)
        pictures()


def run_name(run: Run) -> str:
    """What a pretraining is called on the page and in its address."""
    return f"{run.config['asked']['key']} · {run.key[:KEY_SHOWN]}"


def choose_run(runs: Sequence[Run]) -> Run:
    """One of the runs, by what the address calls it: the new backbone's name and the beginning of the run's key.

    An address may also hold a run's key alone, as other pages and the command line know it.
    """
    names = {run_name(run): run for run in runs}
    asked = st.query_params.get("run", "")
    known = next((name for name, run in names.items() if len(asked) >= KEY_SHOWN and run.key.startswith(asked)), None)
    if known is not None and "run" not in st.session_state:
        st.session_state["run"] = known
    return names[links.choose("Pretraining", list(names), "run", width=420) or next(iter(names))]


def _show_state(run: Run, may_go_on: bool) -> None:
    """Its state, what it is, and the button that takes it up again."""
    asked = run.config["asked"]
    words, colour, icon = STATES[run.state]
    if run.state not in UNFINISHED:  # the bar of one at work says it too
        st.badge(words, color=colour, icon=icon)
    sources = ", ".join(source["dataset"] for source in asked["sources"])
    st.caption(f"{method_name(asked['method'])} on {escaped(sources)}, asked for {ago(run.created)}", width="content")
    if may_go_on:
        st.button(
            "Go on",
            key="go_on",
            icon=":material/resume:",
            help="From its last checkpoint, with the same numbers as if it had never stopped",
            on_click=_go_on,
            args=(run.key,),
        )


def _show_remarks(run: Run, collapsed: bool) -> None:
    """Why it ended, and what to know of its images."""
    asked = run.config["asked"]
    if run.state in RETRIABLE and not collapsed:
        level = st.error if run.state == "failed" else st.info
        level(escaped(run.reason or "No reason was kept."), icon=STATES[run.state][2])
    if asked.get("allow_test_patients"):
        st.warning(
            "It was allowed to learn from images of test patients: what is measured on those patients is too good.",
            icon=":material/gpp_maybe:",
        )
    synthetic_note(_is_synthetic([source["dataset"] for source in asked["sources"]]))


def _go_on(key: str) -> None:
    with shown_errors():
        session.store().retry([key], by=session.actor())
        st.toast("Queued again: it goes on from its last checkpoint.", icon=":material/schedule:")


def _is_synthetic(names: Sequence[str]) -> bool:
    home = session.home()
    there = [name for name in names if name in dataset_names(home)]
    return any(open_dataset(home, name).card.synthetic for name in there)


# ----------------------------------------------------------------------------------------------------------- its course


def show_course(folder: Path, run: Run, pixels: Mapping[str, float] | None) -> None:
    """Accuracy, losses and signals as numbers and figures. `pixels`: what probes reach on the images themselves."""
    lines, probes = read_lines(folder / METRICS), read_lines(folder / PROBES)
    if not lines and not probes:
        st.caption("No step has been made yet." if run.state != "queued" else "It waits for its turn.")
        return
    if run.state != "done":  # what came out says it then
        _show_numbers(lines, probes)
    _show_figures(run, lines, probes, pixels)


def health_of(folder: Path) -> dict[str, Any] | None:
    """What the worker said last of a run's health; None before its first word."""
    path = folder / HEALTH
    return read_json(path) if path.is_file() else None


def _collapsed(folder: Path) -> bool:
    """Whether the run was stopped because it collapsed: its health says so, and to go on would lead there again."""
    try:
        return (health_of(folder) or {}).get("state") == "collapsed"
    except BadInput:  # said where its health stands
        return False


def show_health(health: dict[str, Any] | None) -> None:
    """What was said last, and what it means to somebody who has never pretrained; nothing before the first word."""
    if health is None:
        return
    level, icon = LEVELS[health["state"]]
    sentence = str(health["sentence"])
    for option, words in OPTION_WORDS.items():
        sentence = sentence.replace(option, words)
    level(f"{escaped(sentence)}  \n{MEANINGS.get(health['state'], '')}", icon=icon)


def batch_of(folder: Path) -> int:
    """Images in one step, from the newest line; 1 before the first."""
    lines = read_lines(folder / METRICS)
    return max(1, round(lines[-1]["images"] / lines[-1]["step"])) if lines else 1


def _show_numbers(lines: Sequence[Line], probes: Sequence[Line]) -> None:
    """What a person asks first, as large numbers."""
    with st.container(horizontal=True, gap="large"):
        for name, words in (("knn", "kNN"), ("linear", "Linear probe")):
            if probes:
                gain = 100 * (probes[-1][name] - probes[0][name])
                st.metric(
                    f"{words}, balanced",
                    percent(probes[-1][name]),
                    f"{gain:+.1f} points since the start" if len(probes) > 1 else None,
                    width="content",
                    help="Mean over the classes of the share answered rightly, on patients it was not fitted to",
                )
        if lines:
            last = lines[-1]
            st.metric("Images seen", f"{last['images']:,}", width="content")
            st.metric("Epochs", f"{last['epoch']:,}", width="content")
            st.metric("Images/s", f"{last['images_per_second']:,.0f}", width="content")
            waited = last["signals"].get("data_wait_share", 0.0)
            if waited > LONG_WAIT:
                st.metric("Waiting for images", percent(waited, 0), width="content", help="Share of the time")


def _show_figures(run: Run, lines: Sequence[Line], probes: Sequence[Line], pixels: Mapping[str, float] | None) -> None:
    """What labels say beside what was trained; below them the signals, with the thresholds of the alarms."""
    asked = pretraining(run.config["asked"])
    alarms = thresholds(_judged_setting(asked))
    left, right = st.columns([4, 3], gap="medium")
    if probes:
        with left:
            st.markdown("**What the features are good for**")
            show_figure(probe_curve(probes_table(probes), pixels, mode=mode()), key="pretraining_probes")
    if lines:
        table = metrics_table(lines)
        with right if probes else left:
            st.markdown("**The loss**")
            show_figure(loss_curves(table, LOSS_UNITS[asked.method], alarms, mode=mode()), key="pretraining_loss")
        with st.expander("The signs that health is read from", icon=":material/monitor_heart:"):
            show_figure(signal_panels(table, alarms, mode=mode()), key="pretraining_signals")


def _judged_setting(asked: Pretraining) -> PretrainSetting:
    """A setting with the numbers that alarms depend on: the method, its prototypes, the batch."""
    plain = asked.model_copy(update={"init": None, "network": None, "patch": None, "size": None, "local_size": None})
    return pretrain_setting(plain, MANY, "cpu")
