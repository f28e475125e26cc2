"""Who is better, on a page: every backbone and adaptation against every other at one size, corrected for how many there are.

In: a `ChosenStudy`, a measure. Out: a sentence, a table, and each pair's numbers on request; then two against each other.
"Better" is said only where the corrected paired test and the paired interval agree on it; all else is "tied".
"""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from fmlab.plots.wording import percent_interval, signed_points, size_text, test_set_name
from fmlab.studies.ranking import ranking
from fmlab.ui.comparison_view import show_comparison
from fmlab.ui.format import escaped
from fmlab.ui.messages import shown_errors
from fmlab.ui.study_choice import ChosenStudy, choose_size, choose_test_set, combination_names, with_patient_intervals

Pair = tuple[str, str]  # backbone, adaptation
VERSUS = "Two against each other"


def show_ranking(study: ChosenStudy, measure: str) -> None:
    """The table of verdicts at one size, and below it the two that a person chooses, at every size."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        test_set = choose_test_set(study)
        size = choose_size(study)
    with shown_errors():
        pairs = ranking(study.home, study.store, study.table, test_set, size, measure)
        names = {pair: name for name, pair in combination_names(study.table, study.backbones, study.baselines).items()}
        if pairs.empty:
            st.caption("Fewer than two backbones have finished this size; nothing to compare.")
        else:
            _show_verdicts(study, pairs, names, test_set, size, measure)
    st.subheader(VERSUS, anchor=False)
    with shown_errors():
        show_comparison(study, test_set, measure)


def _show_verdicts(
    study: ChosenStudy, pairs: pd.DataFrame, names: dict[Pair, str], test_set: str, size: int, measure: str
) -> None:
    st.markdown(escaped(best_sentence(pairs, names)))
    points = with_patient_intervals(study, study.table[study.table["size"] == size], test_set, measure)
    narrow = st.column_config.TextColumn(width="small")
    st.dataframe(
        verdict_table(pairs, points, names),
        hide_index=True,
        key="ranking",
        width="stretch",
        height="content",
        column_config={"Better than": narrow, "Worse than": narrow},
    )
    resampled = pairs["resampled"].iloc[0]
    st.caption(
        f"On {escaped(test_set_name(test_set))} at {size_text(size, study.scheme)}. “Better” means: the p-value of the "
        f"paired bootstrap over {pairs['n_groups'].iloc[0]:,} {resampled}, corrected by Holm for all {len(pairs)} pairs, is "
        "below 0.05 and the paired interval excludes zero. Everything else is a tie, whatever the order."
    )
    with st.expander(f"All {len(pairs)} pairs, with their p-values"):
        st.dataframe(pair_table(pairs, names), hide_index=True, key="pairs", width="stretch")
        st.caption(
            "McNemar's exact test counts one unit for each of them: for the side that gets more of it right. It is a second "
            "opinion; the verdict is the bootstrap's."
        )


def _beaten(pairs: pd.DataFrame) -> dict[Pair, set[Pair]]:
    """Each combination → those that it is better than."""
    found: dict[Pair, set[Pair]] = {}
    for row in pairs.itertuples():
        first, second = (row.first_backbone, row.first_adaptation), (row.second_backbone, row.second_adaptation)
        found.setdefault(first, set())
        found.setdefault(second, set())
        if row.verdict == "better":
            found[first].add(second)
        elif row.verdict == "worse":
            found[second].add(first)
    return found


def best_sentence(pairs: pd.DataFrame, names: dict[Pair, str]) -> str:
    """Which are not worse than any other, in one sentence."""
    beaten = _beaten(pairs)
    losers = set().union(*beaten.values())
    best = [name for pair, name in names.items() if pair in beaten and pair not in losers]
    if len(best) == len(beaten):
        return f"All {len(best)} are tied: none is better than another here."
    if len(best) == 1:
        others = "the other" if len(beaten) == 2 else "at least one other, and none is better than it"
        only = all(len(found) == len(beaten) - 1 for pair, found in beaten.items() if pair not in losers)
        return f"{best[0]} is better than {'every other' if only and len(beaten) > 2 else others}."
    *before, last = best
    return f"{', '.join(before)} and {last} are the best group: none of the others is better than any of them."


def verdict_table(pairs: pd.DataFrame, points: pd.DataFrame, names: dict[Pair, str]) -> pd.DataFrame:
    """One row per combination, highest mean first: whom it is better than, worse than, tied with.

    `points` has backbone, adaptation, mean, low, high (fractions).
    """
    beaten = _beaten(pairs)
    means = {
        (row["backbone"], row["adaptation"]): (row["mean"], row["low"], row["high"])
        for row in points.to_dict("records")
    }
    order = sorted(beaten, key=lambda pair: -means[pair][0])
    rows = []
    for place, pair in enumerate(order):
        worse = {other for other, losers in beaten.items() if pair in losers}
        tied = set(beaten) - beaten[pair] - worse - {pair}
        rows.append(
            {
                "": names[pair],
                "Mean, 95 % interval": percent_interval(*means[pair]),
                "Better than": _listed(beaten[pair], order, names, order[place + 1 :], "all below"),
                "Worse than": _listed(worse, order, names, order[:place], "all above"),
                "Tied with": _listed(tied, order, names),
            }
        )
    return pd.DataFrame(rows)


def _listed(
    found: set[Pair], order: Sequence[Pair], names: dict[Pair, str], whole: Sequence[Pair] = (), words: str = ""
) -> str:
    """The names in order; `words` where they are the whole of several."""
    if len(found) > 1 and found == set(whole):
        return words
    return ", ".join(names[pair] for pair in order if pair in found) or "–"


def pair_table(pairs: pd.DataFrame, names: dict[Pair, str]) -> pd.DataFrame:
    """Every pair as a person reads it: the difference in points with its interval, p-values, verdict."""
    return pd.DataFrame(
        {
            "This": [names[pair] for pair in zip(pairs["first_backbone"], pairs["first_adaptation"], strict=True)],
            "against": [names[pair] for pair in zip(pairs["second_backbone"], pairs["second_adaptation"], strict=True)],
            "Difference, points": [
                f"{signed_points(row.difference)} ({signed_points(row.low)} to {signed_points(row.high)})"
                for row in pairs.itertuples()
            ],
            "p, McNemar": pairs["mcnemar_p"].map(p_text),
            "p, bootstrap": pairs["p"].map(p_text),
            "p, corrected (Holm)": pairs["holm_p"].map(p_text),
            "Verdict": pairs["verdict"],
        }
    )


def p_text(value: float) -> str:
    """A p-value as `0.034`, `< 0.001`; a dash where there is none."""
    if pd.isna(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
