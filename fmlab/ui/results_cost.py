"""Accuracy against time and size on a page: what the budget allows, and what nothing else in it beats.

In: a `ChosenStudy` and measured latencies. Out: one figure; how to measure where nothing was.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from fmlab.plots.cost import Budget, cost_scatter
from fmlab.plots.wording import adaptation_name, in_usual_order, size_text
from fmlab.studies.efficiency import comparable_latencies, parameter_count
from fmlab.ui import links
from fmlab.ui.format import escaped, million
from fmlab.ui.study_choice import ChosenStudy, with_patient_intervals
from fmlab.ui.theme import mode, show_figure

ANY = "any"
STEPS = (1, 2, 5)  # times powers of ten: where the sliders hold


def show_cost(study: ChosenStudy, measure: str) -> None:
    """Accuracy at the largest size against measured latency; says how to measure where nothing was."""
    device, latencies = comparable_latencies(study.store, study.backbones)
    counts = {key: parameter_count(study.home, key) for key in latencies}
    measured = {key: latencies[key] for key, parameters in counts.items() if parameters is not None}
    points = study.table[study.table["backbone"].isin(measured)]
    if points.empty:
        st.caption(
            "No latency of these backbones has been measured on this machine yet; the Backbones page measures it."
        )
        links.link(links.BACKBONES, "Backbones", ":material/account_tree:")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        points = _of_one_adaptation(study, points)
        table = pd.concat([with_patient_intervals(study, points, each, measure) for each in study.test_sets])
        times = [measured[key].milliseconds for key in table["backbone"]]
        table = table.assign(batch1_ms=times, parameters=table["backbone"].map(counts))
        budget = _budget(table)
    figure = cost_scatter(
        table,
        measure=measure,
        device=device,
        budget=budget,
        backbones=study.backbones,
        baselines=study.baselines,
        mode=mode(),
        **study.said,
    )
    show_figure(figure, key="cost")
    sizes = sorted(table["size"].unique())
    st.caption(
        f"At {size_text(int(sizes[-1]), study.scheme)}; the area of a bubble is the number of parameters, its bar the 95 % "
        "interval when the tested patients are drawn again. Times were "
        f"measured on {escaped(device)}, one image at a time, at the backbone's own input. The dotted step: no other "
        "backbone in the budget is both faster and more accurate. It says nothing of chance; “Better?” does."
    )
    missing = [key for key in study.backbones if key not in measured]
    if missing:
        st.caption(f"Not measured on this device: {escaped(', '.join(missing))}. The Backbones page measures them.")
    disturbed = [key for key, latency in measured.items() if latency.disturbed]
    if disturbed:
        st.caption(
            f"Measured while the machine was busy, and so too slow: {escaped(', '.join(disturbed))}. "
            "Measure again on the Backbones page."
        )


def _of_one_adaptation(study: ChosenStudy, points: pd.DataFrame) -> pd.DataFrame:
    """The points of one adaptation and of the baselines, at the largest size that all of them have.

    Taking each backbone's best adaptation would choose by the test set.
    """
    pairs = pd.Series(list(zip(points["backbone"], points["adaptation"], strict=True)), index=points.index)
    extra = pairs.isin(study.baselines)
    names = {adaptation_name(key): key for key in in_usual_order(points.loc[~extra, "adaptation"])}
    if len(names) > 1:
        chosen = names[links.choose("Adaptation", list(names), "cost_adaptation", width=220) or next(iter(names))]
        points = points[extra | (points["adaptation"] == chosen)]
    largest = points.groupby(["backbone", "adaptation", "test_set"])["size"].max().min()
    return points[points["size"] == largest]


def _budget(table: pd.DataFrame) -> Budget:
    """At most so many milliseconds and parameters, as far as there is a choice; the right end of a slider is no limit."""
    slowest = _at_most("At most, for one image", table["batch1_ms"], "most_ms", _milliseconds)
    largest = _at_most("At most, parameters", table["parameters"], "most_parameters", _parameters)
    return Budget(slowest, None if largest is None else int(largest))


def _at_most(label: str, values: pd.Series, name: str, written: Callable[[Any], str]) -> float | None:
    stops = round_stops(float(values.min()), float(values.max()))
    if not stops:
        return None
    chosen = st.select_slider(label, [*stops, ANY], ANY, key=name, format_func=written, bind="query-params", width=260)
    return None if chosen == ANY else float(chosen)


def round_stops(low: float, high: float) -> list[float]:
    """The round numbers that let some values between `low` and `high` through, but not all."""
    powers = [step * 10.0**power for power in range(-2, 12) for step in STEPS]
    return [stop for stop in powers if low <= stop < high]


def _milliseconds(stop: float | str) -> str:
    return ANY if isinstance(stop, str) else f"{stop:g} ms"


def _parameters(stop: float | str) -> str:
    return ANY if isinstance(stop, str) else million(int(stop)) if stop < 1e9 else f"{stop / 1e9:g} G"
