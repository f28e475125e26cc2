"""How far reviewers agree, on a page: who answered how much, kappa with what belongs beside it, and the way to adjudicate.

In: the verdicts on a dataset, of one queue or of all. Out: numbers, tables, and a button that makes the queue of what is
disputed. Nothing of single items is shown, so that this part gives nothing away to a blinded reviewer.
"""

import pandas as pd
import streamlit as st

from fmlab.data.manifest import Dataset
from fmlab.plots.wording import percent
from fmlab.review.agreement import Agreement, agreement, answered, pairs, patients_of
from fmlab.review.queue import Level
from fmlab.review.queues import Queue, QueueConfig, open_queue, queues_of
from fmlab.review.verdicts import standing, verdicts_on
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.ui import session
from fmlab.ui.format import ago, count, escaped
from fmlab.ui.messages import empty_state, shown_errors
from fmlab.ui.review_choice import go_to, review_button

EVERYTHING = "all queues"
KIND_TITLES = {
    "label_right": "label right",
    "label_wrong": "label wrong",
    "ambiguous": "ambiguous",
    "poor_quality": "poor quality",
    "skip": "skipped",
}


def show_agreement(home: Home, store: Store, dataset: Dataset, queue: Queue | None) -> None:
    """The whole part; `queue` is the one that is open, if any."""
    table = verdicts_on(store, dataset)
    if table.empty:
        empty_state(
            "No verdict yet",
            "Review some items first; with two reviewers on the same queue, this page says how far they agree.",
            [review_button],
        )
        return
    reviewed = {each.key: each for each in queues_of(store, dataset.name) if each.key in set(table["queue"])}
    scope = _choose_scope(reviewed, queue)
    here = table if scope is None else table[table["queue"] == scope.key]
    levels: list[Level] = [level for level in ("sequence", "image") if level in set(here["level"])]
    for level in levels:
        if len(levels) > 1:
            st.subheader(f"{level.capitalize()}s", anchor=False)
        settled = set(table.loc[table["adjudication"] & (table["level"] == level), "item"])
        _show_level(dataset, here[here["level"] == level], level, scope, settled)


def _choose_scope(reviewed: dict[str, Queue], queue: Queue | None) -> Queue | None:
    """One of the queues that have verdicts, or all; the one that is open by default."""
    keys = [EVERYTHING, *reviewed]
    first = keys.index(queue.key) if queue is not None and queue.key in reviewed else 0
    words = {key: f"{each.title} ({ago(each.created)})" for key, each in reviewed.items()}
    chosen = st.selectbox(
        "Verdicts of", keys, index=first, key="scope", format_func=lambda key: words.get(key, key), width=640
    )
    return reviewed.get(chosen)


def _show_level(dataset: Dataset, table: pd.DataFrame, level: Level, scope: Queue | None, settled: set[str]) -> None:
    patients = patients_of(dataset, set(table["item"]))
    found = agreement(table, dataset.card.classes, patients)
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.metric(f"{found.kind}’s kappa" if found.kind == "Cohen" else "Fleiss’ kappa", kappa_text(found))
        st.markdown(sentence(found, level))
        _offer_adjudication(dataset, disputed(table, dataset, settled), level, scope)
    with right:
        st.markdown("**Who said what**")
        st.dataframe(by_reviewer(table), hide_index=True, key=f"reviewers_{level}", width="stretch")
        two = pairs(table, dataset.card.classes, patients)
        if len(two) > 1:
            st.markdown("**Every two reviewers**")
            st.dataframe(pair_table(two), hide_index=True, key=f"pairs_{level}", width="stretch")
        if found.prevalence:
            st.markdown("**What the answers were**")
            shares = pd.DataFrame({"answer": list(found.prevalence), "share": map(percent, found.prevalence.values())})
            st.dataframe(shares, hide_index=True, key=f"prevalence_{level}", width="stretch")


def kappa_text(found: Agreement) -> str:
    """`0.71 (0.55–0.87)`, or a dash."""
    if found.kappa is None or found.low is None or found.high is None:
        return "–"
    return f"{_signed(found.kappa)} ({_signed(found.low)} to {_signed(found.high)})"


def _signed(number: float) -> str:
    return f"{number:.2f}".replace("-", "−")


def sentence(found: Agreement, level: str) -> str:
    """What kappa rests on, as Markdown."""
    if found.refused is not None:
        return escaped(found.refused)
    drawn = "" if found.patients is None else f" when their {count(found.patients, 'patient')} are drawn again"
    return (
        f"**{count(found.n, level)}** answered by two reviewers or more; two answers to one of them are the same in "
        f"**{percent(found.observed)}**. Kappa is what is left of that beyond chance: 1 always the same, 0 as by chance; in "
        f"brackets the 95 % interval{drawn}."
    )


def by_reviewer(table: pd.DataFrame) -> pd.DataFrame:
    """One row per reviewer: how many items, and how many of each kind; what was taken back does not count."""
    kept = standing(table)
    kept = kept[~kept["adjudication"]]
    counts = pd.crosstab(kept["reviewer"], kept["kind"]).reindex(columns=list(KIND_TITLES), fill_value=0)
    rows = counts.rename(columns=KIND_TITLES).reset_index()
    rows.insert(1, "items", counts.sum(axis=1).to_numpy())
    blind = kept.groupby("reviewer")["blinded"].mean().reindex(rows["reviewer"]).to_numpy()
    return rows.assign(blinded=["all" if share == 1 else "some" if share else "none" for share in blind])


def pair_table(two: pd.DataFrame) -> pd.DataFrame:
    """Cohen's kappa of every two reviewers as a person reads it."""
    kappas = [
        "–" if pd.isna(row.kappa) else f"{_signed(row.kappa)} ({_signed(row.low)} to {_signed(row.high)})"
        for row in two.itertuples()
    ]
    same = ["–" if pd.isna(share) else percent(share) for share in two["observed"]]
    return pd.DataFrame(
        {"reviewer": two["first"], "and": two["second"], "items": two["n"], "same": same, "kappa": kappas}
    )


def disputed(table: pd.DataFrame, dataset: Dataset, settled: set[str]) -> int:
    """On how many items, not counting those adjudicated, the answers that stand differ."""
    answers = answered(table, dataset.card.classes)
    return int((answers[~answers["item"].isin(settled)].groupby("item")["category"].nunique() > 1).sum())


def _offer_adjudication(dataset: Dataset, number: int, level: Level, scope: Queue | None) -> None:
    if not number:
        return
    config = QueueConfig(
        kind="adjudication", dataset=dataset.name, level=level, parent=None if scope is None else scope.key
    )
    st.button(
        f"Adjudicate {count(number, 'disagreement')}",
        key=f"adjudicate_{level}",
        icon=":material/gavel:",
        type="primary",
        help="Opens them as a queue in which every reviewer's answer is shown. What is said there stands above the others.",
        on_click=_adjudicate,
        args=(config,),
    )


def _adjudicate(config: QueueConfig) -> None:
    with shown_errors():
        go_to("Review", open_queue(session.home(), session.store(), config, session.actor()).key)
