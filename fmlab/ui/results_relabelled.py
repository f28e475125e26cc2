"""Corrected labels on a page: every curve under the labels as imported and under a version, and which ranks changed.

In: a `ChosenStudy` whose dataset has label versions, a measure. Out: what was changed, by whom and when; a table at one size;
a figure for each test set with both truths side by side. Nothing is trained anew: the same answers are compared again.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import pandas as pd
import streamlit as st

from fmlab.data.manifest import Dataset
from fmlab.plots.curves import accuracy_curve
from fmlab.plots.wording import measure_name, percent, signed_points, size_text, test_set_name
from fmlab.review.verdicts import standing, verdicts_on
from fmlab.runs.store import Store
from fmlab.studies.label_versions import ORIGINAL, LabelVersion, label_versions, under
from fmlab.studies.points import over_what, points
from fmlab.studies.relabelled import TAKEN_OUT, changed_images, changed_verdicts, relabelled
from fmlab.studies.results import results
from fmlab.ui.format import count, escaped
from fmlab.ui.messages import shown_errors
from fmlab.ui.results_tables import majority_rates, sequence_majority
from fmlab.ui.study_choice import ChosenStudy, choose_size, combination_names
from fmlab.ui.theme import mode, show_figure

Pair = tuple[str, str]  # backbone, adaptation


def has_corrections(study: ChosenStudy) -> bool:
    """Whether labels of its dataset were ever corrected."""
    return bool(label_versions(study.store, study.dataset))


def show_relabelled(study: ChosenStudy, measure: str) -> None:
    """The chosen label version, else the newest, against the labels as imported."""
    version = study.labels or label_versions(study.store, study.dataset)[-1]
    changed = changed_images(study.dataset, version, study.folds)
    st.markdown(changes_sentence(version, changed, reviewers_of(study.store, study.dataset, version, changed)))
    if version.note:
        st.caption(f"“{escaped(version.note)}”")
    with shown_errors():
        _show_table(study, version, measure)
    with shown_errors():
        _show_curves(study, version, measure)


# What was changed -----------------------------------------------------------------------------------------------------


def changes_sentence(version: LabelVersion, changed: pd.DataFrame, reviewers: list[str]) -> str:
    """How many labels a version changes and where, by whom and when, as Markdown."""
    out = int((changed["label"] == TAKEN_OUT).sum())
    other = len(changed) - out
    parts = []
    if other or not out:
        parts.append(f"{count(other, 'image has', 'images have')} another label")
    if out:
        parts.append(f"{count(out, 'image is', 'images are')} taken out")
    tested = changed["test_set"].value_counts().sort_index()
    scored = ", ".join(f"{number:,} in {escaped(test_set_name(str(name)))}" for name, number in tested.items())
    day = datetime.fromisoformat(version.created).strftime("%-d %B %Y")
    by = f" after a review by {escaped(_listed(reviewers))}" if reviewers else ""
    return (
        f"**Labels {escaped(version.name)}**, published by {escaped(version.by)} on {day}{by}: {' and '.join(parts)}, in "
        f"{count(changed['sequence_id'].nunique(), 'sequence')}. Scored in a test set are {scored or 'none of them'}. "
        "The runs are the same and learnt from the labels as imported; only what counts as right has changed."
    )


def reviewers_of(store: Store, dataset: Dataset, version: LabelVersion, changed: pd.DataFrame) -> list[str]:
    """Who had judged the changed images, or their sequences, when the version was published; by name."""
    verdicts = verdicts_on(store, dataset)
    verdicts = standing(verdicts[verdicts["time"] <= version.created])
    items = {*changed["image_id"], *changed["sequence_id"]}
    judged = verdicts["item"].isin(items) & (verdicts["kind"] != "skip")
    return sorted(verdicts.loc[judged, "reviewer"].unique())


def _listed(names: list[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


# The table ------------------------------------------------------------------------------------------------------------


def _show_table(study: ChosenStudy, version: LabelVersion, measure: str) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        size = choose_size(study)
        st.download_button(
            "All sizes as CSV",
            data=lambda: relabelled(study.home, study.store, study.name, version.name, measure).to_csv(index=False),
            file_name=f"{study.name}-labels-{version.name}-{measure}.csv",
            mime="text/csv",
            icon=":material/download:",
            key="download_relabelled",
        )
    found = relabelled(study.home, study.store, study.name, version.name, measure, size)
    names = {pair: name for name, pair in combination_names(found, study.backbones, study.baselines).items()}
    st.dataframe(relabelled_table(found, names), hide_index=True, key="relabelled", width="stretch", height="content")
    verdicts = {
        str(each): changed_verdicts(study.home, study.store, study.name, version.name, str(each), size, measure)
        for each in sorted(found["test_set"].unique())
    }
    st.markdown(escaped(f"{rank_sentence(found)} {verdict_sentence(verdicts, names)}"))
    st.caption(
        f"{measure_name(measure).capitalize()} at {size_text(size, study.scheme)}, the mean over subsets: labels as imported "
        f"→ labels {escaped(version.name)}, and the difference in points. Its 95 % interval comes from drawing the tested "
        f"{found['resampled'].iloc[0]} again, the same ones under both. A rank orders the means, ▲ and ▼ mark those that "
        "changed; which is better is decided under “Better?”."
    )


def relabelled_table(found: pd.DataFrame, names: Mapping[Pair, str]) -> pd.DataFrame:
    """A row per combination in the order of the first test set, three columns per test set; `found` has one size."""
    columns: dict[str, pd.Series] = {}
    several = found["test_set"].nunique() > 1
    for test_set, rows in found.groupby("test_set", sort=True):
        name = test_set_name(str(test_set))
        rows = rows.set_index(["backbone", "adaptation"])
        texts = {
            name: [f"{percent(row.original)[:-2]} → {percent(row.corrected)}" for row in rows.itertuples()],
            f"{name} change" if several else "Change": [
                f"{signed_points(row.difference)} ({signed_points(row.low)} to {signed_points(row.high)})"
                for row in rows.itertuples()
            ],
            f"{name} rank" if several else "Rank": [
                rank_text(row.rank_original, row.rank_corrected) for row in rows.itertuples()
            ],
        }
        columns |= {title: pd.Series(values, index=rows.index, dtype=object) for title, values in texts.items()}
    first = found[found["test_set"] == found["test_set"].min()]
    table = pd.DataFrame(columns).reindex(pd.MultiIndex.from_frame(first[["backbone", "adaptation"]]))
    table.insert(0, "", [names[pair] for pair in table.index])
    return table.reset_index(drop=True).fillna("–")


def rank_text(before: int, after: int) -> str:
    """`2`, or `3 → 1 ▲` where it rose and `1 → 2 ▼` where it fell."""
    return f"{after}" if before == after else f"{before} → {after} {'▲' if after < before else '▼'}"


def rank_sentence(found: pd.DataFrame) -> str:
    """How many ranks changed on each test set, and of how many differences the interval excludes zero."""
    parts = []
    for test_set, rows in found.groupby("test_set", sort=True):
        changed, real = int(rows["rank_changed"].sum()), int(((rows["low"] > 0) | (rows["high"] < 0)).sum())
        ranks = "no rank changes" if not changed else f"{changed} of {len(rows)} ranks change"
        beyond = "none" if not real else f"{real} of {len(rows)}"
        parts.append(f"On {test_set_name(str(test_set))} {ranks}; differences whose interval excludes zero: {beyond}.")
    return " ".join(parts)


def verdict_sentence(verdicts: Mapping[str, pd.DataFrame], names: Mapping[Pair, str]) -> str:
    """Each pair whose verdict changed, by test set, or that none did; nothing where there is but one combination."""
    if len(names) < 2:
        return ""
    sentences = []
    for test_set, rows in verdicts.items():
        for row in rows.to_dict("records"):
            first, second = (names[row[f"{side}_backbone"], row[f"{side}_adaptation"]] for side in ("first", "second"))
            words = {"tied": "a tie", "first": f"{first} better", "second": f"{second} better"}
            sentences.append(
                f"{first} against {second} on {test_set_name(test_set)}: {words[row['original']]} before, "
                f"{words[row['corrected']]} now."
            )
    return " ".join(sentences) or "The verdicts of “Better?” stay as they were."


# The curves -----------------------------------------------------------------------------------------------------------


def _show_curves(study: ChosenStudy, version: LabelVersion, measure: str) -> None:
    """A figure for each test set: on the left under the labels as imported, on the right under the version."""
    original = replace(study, labels=None, table=results(study.home, study.store, study.name, ORIGINAL))
    corrected = replace(study, labels=version, table=results(study.home, study.store, study.name, version.name))
    found = pd.concat([points(each.home, each.store, each.table, measure) for each in (original, corrected)])
    rates = {**_majority(original, measure), **_majority(corrected, measure)}
    for name in original.test_sets:
        both = (name, under(name, version))
        figure = accuracy_curve(
            found[found["test_set"].isin(both)].reset_index(drop=True),
            {each: rates[each] for each in both if each in rates},
            study.scheme,
            measure=measure,
            backbones=study.backbones,
            baselines=study.baselines,
            mode=mode(),
            **original.said,
        )
        show_figure(figure, key=f"relabelled {name}")
    said = f"Left: the labels as imported. Right: labels {version.name}. {over_what(found)}"
    st.caption(escaped(said))


def _majority(study: ChosenStudy, measure: str) -> dict[str, float]:
    of_sequences = sequence_majority(study.dataset, study.folds, study.labels)
    return majority_rates(study.table, measure, of_sequences)
