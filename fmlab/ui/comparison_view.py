"""Two backbones against each other on a page: the difference at each size with its paired interval, and a verdict in words.

In: a `ChosenStudy`; the two in the address. Out: a figure and a table; "better" only where the interval excludes zero.
"""

import pandas as pd
import streamlit as st

from fmlab.plots.dots import difference_dots
from fmlab.plots.wording import measure_name, signed_points, size_text
from fmlab.studies.comparison import COMPARED, differences
from fmlab.ui import links
from fmlab.ui.format import escaped
from fmlab.ui.results_tables import combination_names
from fmlab.ui.study_choice import ChosenStudy
from fmlab.ui.theme import FIGURE_SETTINGS, mode

# The words on the widget → the measure.
MEASURES = {measure_name(measure): measure for measure in COMPARED}


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
    table = differences(study.home, study.store, study.table, names[first], names[second], test_set, MEASURES[measure])
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
        resampled = table["resampled"].iloc[0]
        st.caption(
            f"Percentage points of {measure} on {escaped(test_set)}. The 95 % intervals come from drawing the tested "
            f"{resampled} again with replacement, the same ones for both; the training subsets are the same for both, too."
        )


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
