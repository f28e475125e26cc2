"""What labels are worth, on a page: how many one side needs to equal the other, and how many a target accuracy takes.

In: a `ChosenStudy`, a measure. Out: figures and sentences; a target that the data do not support is refused in words.
"""

import pandas as pd
import streamlit as st

from fmlab.plots.dots import shortened
from fmlab.plots.labels import savings_dumbbells, target_curve
from fmlab.plots.wording import measure_name, percent, size_number, size_text, test_set_name
from fmlab.studies.points import points
from fmlab.studies.savings import crossings, label_savings
from fmlab.studies.targets import labels_for_target
from fmlab.ui import links
from fmlab.ui.format import escaped
from fmlab.ui.messages import shown_errors
from fmlab.ui.study_choice import ChosenStudy, choose_test_set, choose_two, combination_names, unshared
from fmlab.ui.theme import mode, show_figure

TARGETS = tuple(range(50, 100))  # percent
USUAL_TARGET = 90
SAVED, TARGET = "Labels saved", "Labels for a target"


def show_labels(study: ChosenStudy, measure: str) -> None:
    """Labels that one side saves over the other; then the labels that a target takes."""
    names = combination_names(study.table[study.table["size"] > 0], study.backbones, study.baselines)
    part = links.choose_segment("Question", [SAVED, TARGET], "question", label_visibility="collapsed")
    with shown_errors():
        if part == TARGET:
            _show_target(study, names, measure)
        elif len(names) < 2:
            st.caption("There is one backbone and adaptation only; nothing to save labels against.")
        else:
            _show_savings(study, names, measure)


# Labels saved ---------------------------------------------------------------------------------------------------------


def _show_savings(study: ChosenStudy, names: dict[str, tuple[str, str]], measure: str) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first, second = choose_two(names)
        test_set = choose_test_set(study)
    sides = names[first], names[second]
    saved = label_savings(study.home, study.store, study.table, *sides, test_set, measure)
    crossed = crossings(study.home, study.store, study.table, *sides, test_set, measure)
    first, second = unshared(first, second, names)
    figure = savings_dumbbells(
        saved,
        study.scheme,
        first=first,
        second=second,
        first_look=study.look(sides[0], mode()),
        second_look=study.look(sides[1], mode()),
        mode=mode(),
        **study.said,
    )
    left, right = st.columns([5, 4], gap="medium")
    with left:
        show_figure(figure, key="savings")
    with right:
        st.dataframe(savings_table(saved, first, second), hide_index=True, key="savings_table", width="stretch")
        for sentence in crossing_sentences(crossed, first, second, study.scheme):
            st.markdown(escaped(sentence))
    st.caption(
        f"Where both reach the same {measure_name(measure)} on {escaped(test_set_name(test_set))}. Between measured sizes "
        "a curve is taken as straight on the logarithmic axis; nothing is read off beyond the largest. The 95 % intervals "
        "come from drawing the training subsets and the tested patients again, the same ones for both; one that leaves "
        "the measured sizes goes to the edge of the figure."
    )


def savings_table(saved: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """What equals what, as a person reads it."""
    return pd.DataFrame(
        {
            shortened(first): [size_number(size) for size in saved["n"]],
            "reaches": saved["accuracy"].map(percent),
            f"as {shortened(second)}": [_size_words(row) for row in saved.to_dict("records")],
            "times": [
                "–" if pd.isna(row["factor"]) or row["relation"] == "at most" else f"{row['factor']:.2g}"
                for row in saved.to_dict("records")
            ],
        }
    )


def _size_words(row: dict[str, float | str]) -> str:
    if row["relation"] == "beyond":
        return "not reached"
    size = size_number(float(row["m"]))
    if row["relation"] == "at most":
        return f"{size} or fewer"
    return f"{size} ({_bound(row['low'], 'fewest')}–{_bound(row['high'], 'beyond')})"


def _bound(bound: float | str, otherwise: str) -> str:
    return otherwise if pd.isna(bound) else size_number(float(bound))


def crossing_sentences(crossed: pd.DataFrame, first: str, second: str, scheme: str) -> list[str]:
    """Where the two curves cross, a sentence each; or that they do not."""
    if crossed.empty:
        return ["The two curves do not cross at the sizes measured."]
    sides = {"first": first, "second": second}
    return [
        f"The curves cross at about {size_text(row['size'], scheme)} ({_bound(row['low'], 'fewest')}–"
        f"{_bound(row['high'], 'beyond')}): {sides[row['leads_below']]} leads with fewer labels, "
        f"{sides[row['leads_above']]} with more. {100 * row['share']:.0f} % of the resamples cross this way."
        for row in crossed.to_dict("records")
    ]


# Labels for a target --------------------------------------------------------------------------------------------------


def _show_target(study: ChosenStudy, names: dict[str, tuple[str, str]], measure: str) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = links.choose("For", list(names), "for", width=280) or next(iter(names))
        test_set = choose_test_set(study)
        options = [f"{target} %" for target in TARGETS]
        chosen = links.choose("Target", options, "target", index=TARGETS.index(USUAL_TARGET), width=120)
    pair = names[name]
    target = TARGETS[options.index(chosen)] / 100 if chosen in options else USUAL_TARGET / 100
    found = labels_for_target(study.home, study.store, study.table, pair, test_set, target, measure)
    if found.refusal is None:
        st.markdown(f"**{escaped(found.sentence)}**")
    else:
        st.info(escaped(f"This cannot be said from these data. {found.refusal}"), icon=":material/info:")
    table = study.table
    here = (table["backbone"] == pair[0]) & (table["adaptation"] == pair[1]) & (table["test_set"] == test_set)
    bounds = None if found.size is None else (found.low or float(found.points["size"].min()), found.high or found.size)
    figure = target_curve(
        points(study.home, study.store, table[here & (table["size"] > 0)], measure),
        found.curve,
        target,
        study.scheme,
        name=name,
        look=study.look(pair, mode()),
        size=found.size,
        interval=bounds,
        measure=measure,
        mode=mode(),
        **study.said,
    )
    show_figure(figure, key="target_curve")
    st.caption(
        "The dotted line is a power law, accuracy = a − b · size^−c, fitted to the measured points; its band and the "
        "interval come from drawing the training subsets and the tested patients again. It is refused where fewer than "
        "four sizes were measured, where it misses the points, and beyond four times the largest size."
    )
