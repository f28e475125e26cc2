"""What is reviewed: a queue of finished runs or of a whole dataset, chosen in a popover and kept in the address.

In: a `ChosenStudy`; which kind of queue, of which runs, at which level, in the address. Out: the `QueueConfig` that these
words mean; None, with advice on the page, while there is nothing to make it from.

The same address is the same config, and the same config is the same stored queue, so a link opens what its sender saw.
"""

from dataclasses import dataclass

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fmlab.data.manifest import Dataset
from fmlab.errors import NotFound
from fmlab.review.queue import Level
from fmlab.review.queues import QueueConfig, queues_of
from fmlab.review.verdicts import verdicts_of
from fmlab.runs.records import RETRIABLE, UNFINISHED, Run
from fmlab.runs.requests import request_run, suspects_request
from fmlab.runs.store import Store
from fmlab.ui import links, session
from fmlab.ui.format import ago, escaped
from fmlab.ui.messages import shown_errors
from fmlab.ui.study_choice import Cell, ChosenStudy, choose_cell

LEVELS: dict[str, Level] = {"sequences": "sequence", "images": "image"}
EVERY_TEST_SET = "all test sets"
EVERY_SEED = "all"
AS_FOUND = "as many as found"
MIXED = ("misclassified", "disagreement")  # kinds that rightly answered items can be mixed into
MADE_BY_HAND = ("adjudication", "selection")
EARLIER = "earlier_queue"
FOLDS = 5  # of the models that judge a label without having seen its patient
SAMPLES = {"random": ["100", "50", "200", "500"], "near_ties": ["100", "50", "200", "500"]}


@dataclass(frozen=True)
class KindOfQueue:
    """A kind of queue as a person chooses it."""

    kind: str
    sentence: str


KINDS = {
    "Misclassified": KindOfQueue("misclassified", "What the run got wrong, the most confident mistakes first."),
    "Disagreement": KindOfQueue("disagreement", "What the backbones answer differently."),
    "Near ties": KindOfQueue("near_ties", "Where two classes scored nearly alike, right or wrong."),
    "Label errors": KindOfQueue("label_errors", "Labels that models of other patients contradict, in training too."),
    "Random sample": KindOfQueue("random", "Drawn at random, to know how good the labels are."),
}


# The widgets of the popover: a closed one is not in the browser, which would draw them at their defaults when it opens.
IN_POPOVER = (
    "study",
    "labels",
    "kind",
    "level",
    "backbone",
    "adaptation",
    "size",
    "test_set",
    "seed",
    "only",
    "truth",
    "answer",
    "site",
    "most",
    "suspects",
    "mixed",
)


def hold_choices() -> None:
    """Send what was chosen to the browser again; call it before the widgets of the popover are drawn."""
    for name in IN_POPOVER:
        if name in st.session_state:
            st.session_state[name] = st.session_state[name]


def choose_level(study: ChosenStudy) -> Level:
    """Images or sequences; sequences at first where any has several images."""
    several = study.dataset.card.sequences < study.dataset.card.images
    words = links.choose_segment("Item", list(LEVELS), "level", "sequences" if several else "images")
    return LEVELS[words or "sequences"]


def choose_queue(study: ChosenStudy, advice: DeltaGenerator) -> QueueConfig | None:
    """The queue that the widgets say; they are drawn where this is called. Without one, `advice` says what to do."""
    left, right = st.columns([2, 3], gap="medium")
    with left:
        title = st.radio(
            "Queue",
            list(KINDS),
            captions=[each.sentence for each in KINDS.values()],
            key="kind",
            bind="query-params",
        )
    kind = KINDS[title or "Misclassified"].kind
    with right, st.container(horizontal=True, vertical_alignment="bottom"):
        level = choose_level(study)
        if kind == "label_errors":
            return _label_errors(study, level, advice)
        cell = choose_cell(study)
        test_set = _choose_test_set(study)
        runs = _choose_runs(study, cell, test_set, kind)
        only = _choose_only(study, runs) if kind == "disagreement" else None
        truth, answer, site = _choose_filters(study) if kind == "misclassified" else (None, None, None)
        most = _choose_most(kind)
        mixed = kind in MIXED and _choose_mixed()
    if runs.empty:
        advice.info("No run of this kind has finished yet.", icon=":material/hourglass_top:")
        return None
    return QueueConfig(
        kind=kind,
        dataset=study.dataset.name,
        runs=tuple(dict.fromkeys(runs["run"].astype(str))),
        test_set="" if test_set == EVERY_TEST_SET else test_set,
        level=level,
        truth=truth,
        answer=answer,
        site=site,
        only=only,
        mixed=mixed,
        most=most,
    )


def go_to(part: str, queue: str | None = None) -> None:
    """Open another part of the page, with a stored queue; to be called by the press of a button."""
    st.session_state["part"] = part
    if queue is not None:
        st.query_params["queue"] = queue


def review_button() -> None:
    """A way to the card, for parts that have nothing to show yet."""
    st.button("Review", icon=":material/fact_check:", key="to_card", on_click=go_to, args=("Review",))


def choose_earlier(store: Store, dataset: Dataset) -> None:
    """Go on with a queue that has verdicts, or that was made by hand; it then stands in the address."""
    begun = set(verdicts_of(store, dataset.name)["queue"])
    queues = {q.key: q for q in queues_of(store, dataset.name) if q.key in begun or q.config.kind in MADE_BY_HAND}
    if not queues:
        return
    words = {key: f"{queue.title} ({ago(queue.created)})" for key, queue in queues.items()}
    st.selectbox(
        "Go on with",
        list(queues),
        index=None,
        key=EARLIER,
        format_func=lambda key: words[key],
        placeholder="An earlier queue",
        on_change=_go_on,
        width=400,
    )


def _go_on() -> None:
    key = st.session_state.get(EARLIER)
    if key:
        st.query_params["queue"] = key


def _choose_test_set(study: ChosenStudy) -> str:
    """One test set, or all; corrected labels belong to one test set at a time, because its name carries them."""
    options = study.test_sets if study.labels is not None else [EVERY_TEST_SET, *study.test_sets]
    return links.choose("Test set", options, "test_set", width=160) or options[0]


def _choose_runs(study: ChosenStudy, cell: Cell, test_set: str, kind: str) -> pd.DataFrame:
    """The rows of the results of the runs looked at: one run or all of a cell; for disagreement, of every backbone."""
    table = study.table
    if test_set != EVERY_TEST_SET:
        table = table[table["test_set"] == test_set]
    same = table[(table["adaptation"] == cell.adaptation) & (table["size"] == cell.size)]
    rows = same if kind == "disagreement" else same[same["backbone"] == cell.backbone]
    seeds = [str(seed) for seed in sorted(rows["seed"].unique())]
    if not seeds:
        return rows
    seed = links.choose("Subset (seed)", [*seeds, EVERY_SEED], "seed", width=140) or seeds[0]
    return rows if seed == EVERY_SEED else rows[rows["seed"] == int(seed)]


def _choose_only(study: ChosenStudy, runs: pd.DataFrame) -> str | None:
    present = [backbone for backbone in study.backbones if backbone in set(runs["backbone"])]
    return links.choose(
        "Only this one got it right", present, "only", index=None, placeholder="Any disagreement", width=240
    )


def _choose_filters(study: ChosenStudy) -> tuple[str | None, str | None, str | None]:
    classes, sites = list(study.dataset.card.classes), sorted(study.dataset.card.sites)
    truth = links.choose("True class", classes, "truth", index=None, placeholder="All", width=160)
    answer = links.choose("Answer", classes, "answer", index=None, placeholder="All", width=160)
    site = links.choose("Site", sites, "site", index=None, placeholder="All", width=160) if len(sites) > 1 else None
    return truth, answer, site


def _choose_most(kind: str) -> int | None:
    if kind not in SAMPLES:
        return None
    return int(links.choose("How many", SAMPLES[kind], "most", width=120) or SAMPLES[kind][0])


def _choose_mixed() -> bool:
    return links.switch(
        "Mix in rightly answered ones",
        "mixed",
        help="As many as there are mistakes, so that being in the queue says nothing. For a blinded review.",
    )


# Suspected label errors ------------------------------------------------------------------------------------------------


def _label_errors(study: ChosenStudy, level: Level, advice: DeltaGenerator) -> QueueConfig | None:
    backbone = links.choose("Backbone", study.backbones, "backbone", width=280) or study.backbones[0]
    asked = study.record.config.get("mask_sector")
    masked = study.dataset.card.mask_sector if asked is None else bool(asked)
    config = {
        "dataset": study.dataset.name,
        "backbone": backbone,
        "style": study.record.config.get("style", "native"),
        "mask_sector": masked,
        "folds": FOLDS,
    }
    most = links.choose("How many", [AS_FOUND, "25", "50", "100", "200"], "suspects", width=180) or AS_FOUND
    run = _find_run(study, config)
    if run is None or run.state != "done":
        with advice:
            _offer_suspects(study, config, run)
        return None
    return QueueConfig(
        kind="label_errors",
        dataset=study.dataset.name,
        runs=(run.key,),
        test_set="",
        level=level,
        most=None if most == AS_FOUND else int(most),
    )


def _find_run(study: ChosenStudy, config: dict[str, object]) -> Run | None:
    try:
        return study.store.run(suspects_request(study.home, config).key)
    except NotFound:
        return None


def _offer_suspects(study: ChosenStudy, config: dict[str, object], run: Run | None) -> None:
    """A button that looks for label errors, or how far that is."""
    if run is not None and run.state in UNFINISHED:
        st.info(
            "The queue appears here as soon as the labels have been looked through.", icon=":material/hourglass_top:"
        )
        return
    if run is not None and run.state in RETRIABLE:
        st.error(escaped(run.reason or f"The search was {run.state}."), icon=":material/error:")
    st.markdown(
        f"Every label of **{escaped(study.dataset.name)}** is compared with what a probe of "
        f"**{escaped(str(config['backbone']))}** says that was fitted on other patients. Images are embedded as far as "
        "they are not embedded already."
    )
    st.button(
        "Look for label errors", icon=":material/troubleshoot:", type="primary", on_click=_ask, args=(config, run)
    )


def _ask(config: dict[str, object], run: Run | None) -> None:
    with shown_errors():
        if run is not None and run.state in RETRIABLE:
            session.store().retry([run.key], session.actor())
            return
        title = f"label errors · {config['dataset']} · {config['backbone']}"
        request_run(session.store(), "suspects", config, title, session.actor())
