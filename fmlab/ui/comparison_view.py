"""Two backbones against each other on a page: the difference at each size with its paired interval, and a verdict in words.

In: a `ChosenStudy`; the two in the address. Out: a figure and a table; "better" only where the interval excludes zero.

Both are scored on the same images after learning from the same subsets, so each resample draws the same patients (or
sequences) for both, and the difference of the two means over seeds is what varies.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import streamlit as st

from fmlab.metrics.accuracy import accuracy_of_counts, balanced_accuracy, macro_f1
from fmlab.metrics.paired import paired_difference
from fmlab.plots.dots import difference_dots
from fmlab.plots.wording import measure_name, signed_points, size_text
from fmlab.studies.scoring import Level, groups_of, scored_runs
from fmlab.ui import links
from fmlab.ui.format import escaped
from fmlab.ui.results_tables import combination_names
from fmlab.ui.study_choice import ChosenStudy
from fmlab.ui.theme import FIGURE_SETTINGS, mode

# What to compare in: over images or sequences, from their confusion counts.
MEASURES: dict[str, tuple[Level, Callable[[np.ndarray], np.ndarray]]] = {
    measure_name("image_accuracy"): ("image", accuracy_of_counts),
    measure_name("sequence_accuracy"): ("sequence", accuracy_of_counts),
    measure_name("balanced_accuracy"): ("image", balanced_accuracy),
    measure_name("macro_f1"): ("image", macro_f1),
}
KEPT_DIFFERENCES = 512  # one per size of a comparison
Combination = tuple[str, str]  # backbone, adaptation


def show_comparison(study: ChosenStudy) -> None:
    """Choose two, see where one is better and where they are tied."""
    names = combination_names(study.table, study.backbones)
    if len(names) < 2:
        st.caption("There is one backbone and adaptation only; nothing to compare it with.")
        return
    options = list(names)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = links.choose("This", options, "this", width=250) or options[0]
        # What differs in the backbone first: that is the question most people have.
        others = sorted((name for name in options if name != first), key=lambda name: names[name][0] == names[first][0])
        second = links.choose("against", others, "against", width=250)
        second = second if second in others else others[0]
        test_set = links.choose("on", study.test_sets, "on", width=120) or study.test_sets[0]
        measure = links.choose("in", list(MEASURES), "in", width=180) or next(iter(MEASURES))
    table, resampled = differences(study, names[first], names[second], test_set, measure)
    if table.empty:
        st.caption("No subset has been finished by both yet.")
        return
    if names[first][1] == names[second][1]:  # what they share need not be said
        first, second = names[first][0], names[second][0]
    st.markdown(escaped(verdict(table, first, second, study.scheme)))
    left, right = st.columns([3, 2], gap="medium")
    with left:
        figure = difference_dots(
            table,
            study.scheme,
            first=first,
            second=second,
            synthetic=study.synthetic,
            remarks=study.remarks,
            mode=mode(),
        )
        st.plotly_chart(figure, theme=None, key="difference", config=FIGURE_SETTINGS)
    with right:
        st.dataframe(shown_differences(table), hide_index=True, key="differences", width="stretch")
        st.caption(
            f"Percentage points of {measure} on {escaped(test_set)}. The 95 % intervals come from drawing the tested {resampled} "
            "again with replacement, the same ones for both; the training subsets are the same for both, too."
        )


def differences(
    study: ChosenStudy, first: Combination, second: Combination, test_set: str, measure: str
) -> tuple[pd.DataFrame, str]:
    """size, difference, low, high (fractions), tied, seeds; and what was resampled. Only seeds that both have count."""
    table = study.table[study.table["test_set"] == test_set]
    pairs = _runs_of(table, first).merge(_runs_of(table, second), on=["size", "seed"], suffixes=("_first", "_second"))
    rows, resampled = [], ""
    for size, runs in pairs.groupby("size"):
        keys = tuple(runs["run_first"]), tuple(runs["run_second"])
        (value, low, high), resampled = _paired(study, *keys, test_set, measure, study.dataset.card.content_hash)
        facts = {"size": int(str(size)), "difference": value, "low": low, "high": high}
        rows.append(facts | {"tied": low <= 0 <= high, "seeds": len(runs)})
    return pd.DataFrame(rows), resampled


@st.cache_data(max_entries=KEPT_DIFFERENCES, show_spinner=False)
def _paired(
    _study: ChosenStudy, first: tuple[str, ...], second: tuple[str, ...], test_set: str, measure: str, content_hash: str
) -> tuple[tuple[float, float, float], str]:
    """Value, low and high of one size, and what was resampled. Runs and images are named by their content, so it is kept."""
    level, of_counts = MEASURES[measure]
    one = scored_runs(_study.home, _study.store, first, test_set)
    other = scored_runs(_study.home, _study.store, second, test_set)
    groups, resampled = groups_of(one.test, level)
    (predicted, truth), (predicted_other, _) = one.at(level), other.at(level)
    gain = paired_difference(predicted, predicted_other, truth, groups, len(one.classes), of_counts)
    return (gain.value, gain.low, gain.high), resampled


def _runs_of(table: pd.DataFrame, combination: Combination) -> pd.DataFrame:
    here = (table["backbone"] == combination[0]) & (table["adaptation"] == combination[1])
    return table.loc[here, ["run", "size", "seed"]]


def verdict(table: pd.DataFrame, first: str, second: str, scheme: str) -> str:
    """One sentence: at which sizes one is better, and where they are tied."""
    better = table[~table["tied"] & (table["difference"] > 0)]["size"].tolist()
    worse = table[~table["tied"] & (table["difference"] < 0)]["size"].tolist()
    tied = table[table["tied"]]["size"].tolist()
    parts = []
    if better:
        parts.append(f"{first} is better at {_sizes(better, scheme)}")
    if worse:
        parts.append(f"{second} is better at {_sizes(worse, scheme)}")
    if tied:
        parts.append(f"they are tied at {_sizes(tied, scheme)}")
    words = "; ".join(parts)
    return f"{words[:1].upper()}{words[1:]}." if not (better or worse) else f"{words}."


def _sizes(sizes: list[int], scheme: str) -> str:
    *before, last = [f"{size:,}" for size in sizes]
    listed = f"{', '.join(before)} and {last}" if before else last
    unit = size_text(2, scheme).split(" ", 1)[1] if len(sizes) > 1 else size_text(sizes[0], scheme).split(" ", 1)[1]
    return f"{listed} {unit}"


def shown_differences(table: pd.DataFrame) -> pd.DataFrame:
    """The differences as a person reads them, from the first one's side."""
    words = [
        "tied" if tied else "better" if gap > 0 else "worse"
        for tied, gap in zip(table["tied"], table["difference"], strict=True)
    ]
    return pd.DataFrame(
        {
            "Size": table["size"],
            "Difference": [
                f"{signed_points(row.difference)} ({signed_points(row.low)} to {signed_points(row.high)})"
                for row in table.itertuples()
            ],
            "Verdict": words,
            "Seeds": table["seeds"],
        }
    )
