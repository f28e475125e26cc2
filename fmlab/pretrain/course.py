"""The course of a pretraining: its numbers over two neighbouring windows of steps, and at its start.

In: lines of metrics.jsonl: step, losses {total, …}, signals {name: value}. Out: medians, changes, whether something holds
throughout, or stays level. No torch here.

Batches are noisy, so medians are compared, and the window grows with the run: a tenth of it, but 30 to 2,000 steps, and
six lines at least.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from statistics import median, variance
from typing import Any

SHORTEST_WINDOW, LONGEST_WINDOW = 30, 2000  # steps
WINDOW_SHARE = 0.1  # of the run
LEAST_LINES = 6  # in a window
START_LINES = 3

RISE = {"mutual_information": 0.05, "retrieval": 0.03}  # nat, share; from one window to the next: less is level
RISE_FROM_START = {"mutual_information": 0.1, "retrieval": 0.05}
FALL = 0.01  # of the loss (of 1 where that is near 0), from one window to the next: less is level
MEDIAN_ERROR = math.sqrt(math.pi / 2)  # standard error of a median over that of a mean
NEARLY_ALL = 0.9  # retrieval: there is hardly room to rise

Line = Mapping[str, Any]


class Course:
    """Numbers of a run: in its first lines, in the latest window, and in the window before."""

    def __init__(self, start: Sequence[Line], before: Sequence[Line], latest: Sequence[Line]) -> None:
        self._start, self._before, self._latest = start, before, latest

    def now(self, name: str) -> float | None:
        """Median over the latest window; None where the signal is not measured."""
        return _median(self._latest, name)

    def start(self, name: str) -> float | None:
        """Median over the first lines of the run."""
        return _median(self._start, name)

    def change(self, name: str) -> float:
        """From the window before to the latest; not a number where the signal is not measured in both."""
        now, before = self.now(name), _median(self._before, name)
        return now - before if now is not None and before is not None else math.nan

    def throughout(self, name: str, below: float = math.inf, above: float = -math.inf) -> bool:
        """Whether all values measured in the latest window lie between two bounds; false where there is none."""
        values = _values(self._latest, name)
        return bool(values) and all(above < value < below for value in values)

    def rises(self, name: str, least: float) -> bool:
        """Whether a signal rose from window to window by `least`, and by more than its own noise."""
        return self.change(name) > max(least, self._noise(name))

    def level(self, name: str) -> bool:
        """Whether a signal that ought to rise does not: neither from window to window, nor so far from its start.

        One that is not measured, or that has hardly room to rise, is no objection: level.
        """
        now, start = self.now(name), self.start(name)
        if now is None or start is None or (name == "retrieval" and start > NEARLY_ALL):
            return True
        return not self.rises(name, RISE[name]) and now - start < RISE_FROM_START[name]

    def loss_level(self) -> bool:
        """Whether the loss has stopped falling, or falls by no more than its noise, or rises."""
        now = self.now("loss")
        return now is not None and not self.change("loss") < -max(FALL * max(1.0, abs(now)), self._noise("loss"))

    def _noise(self, name: str) -> float:
        """Three standard errors of the difference between both windows' medians: fewer would come and go by chance."""
        squares = 0.0
        for values in (_values(self._before, name), _values(self._latest, name)):
            squares += variance(values) / len(values) if len(values) > 1 else 0.0
        return 3 * MEDIAN_ERROR * math.sqrt(squares)


def value_of(line: Line, name: str) -> float | None:
    """A number of a line by its name, `loss` being the total; None where it is not there or not finite."""
    found = line["losses"].get("total") if name == "loss" else line.get("signals", {}).get(name)
    return float(found) if found is not None and math.isfinite(found) else None


def window_steps(steps: int | None) -> int:
    """Steps of a window in a run of so many steps; the shortest where that is not known."""
    return min(LONGEST_WINDOW, max(SHORTEST_WINDOW, round((steps or 0) * WINDOW_SHARE)))


def course_of(lines: Sequence[Line], window: int) -> Course | None:
    """The course after the last line; None while there is not even one window. Two windows are looked at, however long
    the run is."""
    if len(lines) < LEAST_LINES or lines[-1]["step"] - lines[0]["step"] < window - 1:
        return None
    middle = _beginning(lines, len(lines), window)
    first = _beginning(lines, middle, window)
    return Course(lines[:START_LINES], lines[first:middle], lines[middle:])


def start_of_course(lines: Sequence[Line]) -> Course:
    """The first lines by themselves."""
    start = lines[:START_LINES]
    return Course(start, start, start)


def _beginning(lines: Sequence[Line], end: int, window: int) -> int:
    """Where a window that ends before line `end` begins: so many steps, and six lines, before."""
    if end == 0:
        return 0
    after = bisect_right(lines, lines[end - 1]["step"] - window, hi=end, key=lambda line: line["step"])
    return max(0, min(after, end - LEAST_LINES))


def _values(lines: Sequence[Line], name: str) -> list[float]:
    return [value for line in lines if (value := value_of(line, name)) is not None]


def _median(lines: Sequence[Line], name: str) -> float | None:
    values = _values(lines, name)
    return median(values) if values else None
