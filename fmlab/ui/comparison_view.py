"""Two backbones against each other on a page: the difference at each size with its paired interval, and a verdict in words.

In: a `ChosenStudy`, a test set and a measure; the two in the address. Out: a figure and a table. "Ahead" where the
interval excludes zero; "better" is kept for what also stands after the correction for many comparisons (the ranking).
"""

import pandas as pd
import streamlit as st

from fmlab.plots.dots import difference_dots
from fmlab.plots.wording import measure_name, signed_points, size_text, test_set_name
from fmlab.studies.comparison import differences
from fmlab.ui.format import escaped
from fmlab.ui.study_choice import ChosenStudy, choose_two, combination_names, unshared
from fmlab.ui.theme import FIGURE_SETTINGS, mode


def show_comparison(study: ChosenStudy, test_set: str, measure: str) -> None:
    """Choose two, see where one is better and where they are tied."""
    names = combination_names(study.table, study.backbones, study.baselines)
    if len(names) < 2:
        st.caption("There is one backbone and adaptation only; nothing to compare it with.")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first, second = choose_two(names)
    table = differences(study.home, study.store, study.table, names[first], names[second], test_set, measure)
    if table.empty:
        st.caption("No subset has been finished by both yet.")
        return
    first, second = unshared(first, second, names)
    st.markdown(escaped(verdict(table, first, second, study.scheme)))
    left, right = st.columns([3, 2], gap="medium")
    with left:
        figure = difference_dots(
            table,
            study.scheme,
            first=first,
            second=second,
            mode=mode(),
            **study.said,
        )
        st.plotly_chart(figure, theme=None, key="difference", config=FIGURE_SETTINGS)
    with right:
        st.dataframe(shown_differences(table), hide_index=True, key="differences", width="stretch")
        resampled = table["resampled"].iloc[0]
        st.caption(
            f"Percentage points of {measure_name(measure)} on {escaped(test_set_name(test_set))}. The 95 % intervals come "
            f"from drawing the tested {resampled} again with replacement, the same ones for both; the training subsets are "
            "the same for both, too. Each size is looked at alone here: “better” is said above only."
        )


def verdict(table: pd.DataFrame, first: str, second: str, scheme: str) -> str:
    """One sentence: at which sizes one is ahead, and where they are tied."""
    better = table[~table["tied"] & (table["difference"] > 0)]["size"].tolist()
    worse = table[~table["tied"] & (table["difference"] < 0)]["size"].tolist()
    tied = table[table["tied"]]["size"].tolist()
    parts = []
    if better:
        parts.append(f"{first} is ahead at {_sizes(better, scheme)}")
    if worse:
        parts.append(f"{second} is ahead at {_sizes(worse, scheme)}")
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
        "tied" if tied else "ahead" if gap > 0 else "behind"
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
