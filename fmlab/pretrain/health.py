"""Is a pretraining healthy? The judgement in a sentence, from what its run writes down.

In: lines of metrics.jsonl and probes.jsonl, the setting. Out: a `Judgement`: too early, healthy, stalled or collapsed,
the number that told it, and what to try next; the same lines as tables for figures. No torch here.

A collapse has to hold in every line of half a window (`fmlab.pretrain.course`); where the random start already looked like
it, it is believed only from two windows behind the warm-up on, because a network that has not moved yet is no collapse.
A stall is judged over two windows that lie behind the warm-up.

A collapse stops a run. A stall is told and goes on: it may end. What labels say outranks a stall: features that probe
better than their start have learnt something, and features that do not have learnt nothing, whatever the losses did.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pandas as pd

from fmlab.pretrain.course import Line, course_of, start_of_course, value_of, window_steps
from fmlab.pretrain.recipes import PretrainSetting
from fmlab.pretrain.signs import Sign, collapse_sign, stall_sign

METRICS = "metrics.jsonl"
PROBES = "probes.jsonl"
HEALTH = "health.json"
TOO_EASY = 0.98  # balanced accuracy of a start: there is no room to rise
HALFWAY = 0.5  # of the run: from here on a probe that has not risen is told
PROBE_WORDS = {"knn": "nearest neighbours", "linear": "a linear classifier"}

State = Literal["too early", "healthy", "stalled", "collapsed"]


@dataclass(frozen=True)
class Judgement:
    """How a run does, as it stands in health.json."""

    state: State
    sentence: str
    signal: str | None  # that told it
    value: float | None  # of the signal
    step: int

    @property
    def plain(self) -> dict[str, Any]:
        """As it stands in health.json."""
        return asdict(self)


def judge(
    lines: Sequence[Line],
    setting: PretrainSetting,
    probes: Sequence[Line] = (),
    *,
    steps: int | None = None,
    finished: bool = False,
    pixels: Mapping[str, float] | None = None,
) -> Judgement:
    """The judgement on a run so far, or at its end. Looks at the latest two windows alone, however long the run is.

    Args:
        lines: of metrics.jsonl, in order: step, losses {total, …}, signals {name: value}; a signal that is missing or no
            number is one that was not measured.
        setting: of the run.
        probes: of probes.jsonl, in order, the first at step 0: step, images, knn, linear, low and high (of knn; and
            linear_low, linear_high where they are known), 0–1.
        steps: of the whole run, where the setting leaves them to be planned; they decide the windows.
        finished: the run has made all its steps.
        pixels: knn and linear of the images themselves (0–1), to be compared with.
    """
    steps = steps or setting.steps or 0
    step = int(lines[-1]["step"]) if lines else 0
    if lines and value_of(lines[-1], "loss") is None:
        return _diverged(lines, step)
    window = window_steps(steps)
    settled = round(steps * setting.warmup) + 2 * window
    sign = _collapse(lines, setting, window, step >= settled)
    if sign is not None:
        return _told("collapsed", "Collapsed", sign, step)
    halfway = finished or (steps > 0 and bool(probes) and probes[-1]["step"] >= HALFWAY * steps)
    labels = _by_labels(probes, setting, step, finished, halfway, pixels)
    if labels is not None:
        return labels
    course = course_of(lines, window)
    if course is None or step < settled:
        return _too_early(step, settled, finished)
    sign = stall_sign(course, setting)
    if sign is not None:
        return _told("stalled", f"Stalled over the last {2 * window:,} steps", sign, step)
    words = "No sign of a stall or a collapse; how good the features are, probes on labelled images tell."
    return Judgement("healthy", words, None, None, step)


def metrics_table(lines: Sequence[Line]) -> pd.DataFrame:
    """Lines of metrics.jsonl as a table: step, epoch, images, …, and columns `loss total`, `loss <term>`, `signal <name>`."""
    rows = []
    for line in lines:
        row = {name: value for name, value in line.items() if name not in ("losses", "signals")}
        row |= {f"loss {name}": value for name, value in line["losses"].items()}
        rows.append(row | {f"signal {name}": value for name, value in line.get("signals", {}).items()})
    return pd.DataFrame(rows)


def probes_table(lines: Sequence[Line]) -> pd.DataFrame:
    """Lines of probes.jsonl as a table: step, images, seconds, knn, low, high, linear, …"""
    return pd.DataFrame([dict(line) for line in lines])


def _collapse(lines: Sequence[Line], setting: PretrainSetting, window: int, settled: bool) -> Sign | None:
    """The sign of a collapse that holds throughout half a window, if the start did not look like it."""
    course = course_of(lines, window // 2)
    sign = None if course is None else collapse_sign(course, setting)
    if sign is None or settled or collapse_sign(start_of_course(lines), setting) is None:
        return sign
    return None


# Sentences ------------------------------------------------------------------------------------------------------------


def _told(state: State, opening: str, sign: Sign, step: int) -> Judgement:
    return Judgement(state, f"{opening}: {sign.problem}. Try {sign.advice}.", sign.signal, sign.value, step)


def _diverged(lines: Sequence[Line], step: int) -> Judgement:
    last = next(
        (
            f"; the last number was {value:.4g}"
            for line in reversed(lines)
            if (value := value_of(line, "loss")) is not None
        ),
        "",
    )
    return Judgement(
        "collapsed",
        f"Collapsed: the loss is no number any more (step {step:,}{last}). Try a learning rate three times smaller, a longer "
        "warm-up, or --precision fp32.",
        "loss",
        None,
        step,
    )


def _too_early(step: int, judged_from: int, finished: bool) -> Judgement:
    if finished:
        words = (
            f"Too short to judge: the run ended after {step:,} steps, and signs can be read from step {judged_from:,} on. "
            "Try a longer run."
        )
    else:
        words = f"Too early to tell: step {step:,}; signs can be read from step {judged_from:,} on."
    return Judgement("too early", words, None, None, step)


def _by_labels(
    probes: Sequence[Line],
    setting: PretrainSetting,
    step: int,
    finished: bool,
    halfway: bool,
    pixels: Mapping[str, float] | None,
) -> Judgement | None:
    """What the probes say; None where they say nothing yet."""
    if len(probes) < 2:
        return None
    start, last = probes[0], probes[-1]
    whose = "the backbone it began with" if setting.start is not None else "the random start"
    compared = f"after {last['images']:,} images, against {_probed(start)} of {whose}"
    if rose(start, last, "knn"):
        words = (
            f"Healthy: nearest neighbours reach {_percent(last['knn'])} balanced accuracy {compared}."
            f"{_beside_pixels(last, pixels)}"
        )
        return Judgement("healthy", words, "knn", last["knn"], step)
    if rose(start, last, "linear"):
        words = (
            f"Healthy: a linear classifier reaches {_percent(last['linear'])} balanced accuracy after {last['images']:,} "
            f"images, against {_percent(start['linear'])} of {whose}; nearest neighbours have not risen "
            f"({_percent(last['knn'])} against {_probed(start)}).{_beside_pixels(last, pixels)}"
        )
        return Judgement("healthy", words, "linear", last["linear"], step)
    if not halfway:
        return None
    if start["knn"] > TOO_EASY and last["knn"] > TOO_EASY:
        words = (
            f"These labels are too easy to tell: nearest neighbours reach {_percent(last['knn'])} balanced accuracy "
            f"{compared}. Choose a harder labelled dataset (--labelled)."
        )
        return Judgement("too early", words, "knn", last["knn"], step)
    return _nothing_learnt(start, last, compared, setting, step, finished)


def _nothing_learnt(
    start: Line, last: Line, compared: str, setting: PretrainSetting, step: int, finished: bool
) -> Judgement:
    lost = last["knn"] < start["low"]
    opening = "Learnt nothing that labels can show" if finished else "Nothing learnt so far that labels can show"
    opening = "Worse than its start" if lost else opening
    advice = "Do not use this backbone; try" if finished else "Try"
    other = "another method" if setting.method == "simclr" else "--method simclr"
    words = (
        f"{opening}: nearest neighbours reach {_percent(last['knn'])} balanced accuracy {compared}, and a linear classifier "
        f"{_percent(last['linear'])} against {_percent(start['linear'])}. {advice} a longer run, {other}, another "
        "learning rate, or more images."
    )
    return Judgement("stalled", words, "knn", last["knn"], step)


def _beside_pixels(last: Line, pixels: Mapping[str, float] | None) -> str:
    """What has to be said of features that raw pixels beat; nothing where they do so by neither probe, or are unknown."""
    if pixels is None:
        return ""
    knn, linear = (last[probe] <= pixels[probe] for probe in ("knn", "linear"))
    if knn and linear:
        reached = f"{_percent(pixels['knn'])}, and {_percent(pixels['linear'])} by a linear classifier"
        return f" But the raw pixels reach {reached}: it is not yet better than no network. Train longer."
    if knn or linear:
        probe, other = ("knn", "linear") if knn else ("linear", "knn")
        return (
            f" By {PROBE_WORDS[probe]} the raw pixels are as good ({_percent(pixels[probe])}); by {PROBE_WORDS[other]} it is "
            f"better than they are ({_percent(last[other])} against {_percent(pixels[other])})."
        )
    return ""


def rose(start: Line, last: Line, probe: Literal["knn", "linear"]) -> bool:
    """Whether a probe stands above the interval of its start; without an interval of its own, linear takes kNN's width."""
    own = {"knn": "high", "linear": "linear_high"}[probe]
    high = start[own] if start.get(own) is not None else start[probe] + (start["high"] - start["knn"])
    return bool(last[probe] > high) and not math.isnan(last[probe])


def _probed(start: Line) -> str:
    return f"{_percent(start['knn'])} ({100 * start['low']:.1f}–{100 * start['high']:.1f})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
