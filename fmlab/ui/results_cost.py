"""Accuracy against time and size on a page: what the budget allows, and what nothing else in it beats.

In: a `ChosenStudy` and measured latencies. Out: one figure; how to measure where nothing was.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from fmlab.backbones.catalogue import find_backbone
from fmlab.errors import FMLabError
from fmlab.plots.cost import Budget, cost_scatter
from fmlab.plots.wording import adaptation_name, in_usual_order, size_text
from fmlab.ui import links
from fmlab.ui.backbone_view import latencies
from fmlab.ui.format import escaped, million
from fmlab.ui.study_choice import ChosenStudy, with_patient_intervals
from fmlab.ui.theme import mode, show_figure

ANY = "any"
STEPS = (1, 2, 5)  # times powers of ten: where the sliders hold


def show_cost(study: ChosenStudy, measure: str) -> None:
    """Accuracy at the largest size against measured latency; says how to measure where nothing was."""
    device, measured, disturbed = _latencies(study)
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
        facts = table["backbone"].map(measured)
        table = table.assign(batch1_ms=[ms for ms, _ in facts], parameters=[count for _, count in facts])
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


def _latencies(study: ChosenStudy) -> tuple[str, dict[str, tuple[float, int]], list[str]]:
    """Milliseconds for one image and parameters of the study's backbones, on the device that most were measured on.

    Then those whose measurement was disturbed.
    """
    measured = {key: latency for key, latency in latencies(study.store).items() if key in study.backbones}
    counts = Counter(latency.device for latency in measured.values())
    device = counts.most_common(1)[0][0] if counts else ""
    facts: dict[str, tuple[float, int]] = {}
    for key, latency in measured.items():
        parameters = parameter_count(study, key)
        if latency.device == device and parameters is not None:
            facts[key] = (latency.milliseconds, parameters)
    return device, facts, [key for key in facts if measured[key].disturbed]


def parameter_count(study: ChosenStudy, key: str) -> int | None:
    """The parameters of a backbone, by its card; None for one that was removed since."""
    try:
        return find_backbone(study.home, key).parameters
    except FMLabError:
        return None
