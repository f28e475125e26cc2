"""Which Newton step comes next: the guess of the items inside the margin, the C to solve for, and how far to go.

A full Newton step solves for the weights as if the items inside the margin stayed the same, and the minimum is found
when they do. Where classes can nearly be separated such steps may cycle instead. The first remedy is a path: begin with
C so small that every item is inside the margin, and raise it by a factor whenever few items still change sides; if
steps stall at some C, go back to the last C that settled and take a smaller factor. Where that fails too, the last one
is a line search along each step, which is slow and always gets there.

In: after each step, the margins 1 − y·f (n,). Out: ``C``, ``members`` (n,) bool and ``searching`` for the next step.
Source: Keerthi and DeCoste, "A Modified Finite Newton Method", JMLR 6 (2005), for the full steps and the line search;
the path as in Hastie et al., "The Entire Regularization Path for the Support Vector Machine", JMLR 5 (2004), in large
steps.
"""

import numpy as np

_FACTOR = 4.0
# A factor below this is no progress any more: after four retreats in a row the line search takes over.
_SMALLEST_FACTOR = 1.1
# A quarter of the members may still change sides when C is raised: the next steps correct it.
_SETTLED = 0.25
# Steps in a row without fewer items changing sides, after which the steps count as cycling.
_PATIENCE = 3


class Path:
    """One problem's way to its final C."""

    def __init__(self, n: int, first: float, start: float, final: float) -> None:
        """Args: n items; the C of the first step; where the path starts should steps there stall; where it ends."""
        self._final, self._start = final, min(start, final)
        self._factor = _FACTOR
        self._settled: tuple[float, np.ndarray] | None = None
        self.searching = False
        """Take the next step by ``step_length`` instead of in full."""
        self._begin(min(first, final), np.ones(n, bool))

    def _begin(self, C: float, members: np.ndarray) -> None:
        self.C, self.members = C, members
        self._underway = self._final > C
        self._fewest, self._stalls = len(members) + 1, 0

    def next(self, margins: np.ndarray) -> bool:
        """Take in the margins that the last step led to. True when that step was at the final C and changed nothing."""
        inside = margins > 0
        changes = int((inside != self.members).sum())
        if changes == 0 and not self._underway:
            return True
        if self._underway and changes <= _SETTLED * self.members.sum():
            self._settled = self.C, inside
            self._begin(min(self._final, self.C * self._factor), inside)
            self._factor = min(_FACTOR, self._factor**1.5)
            return False
        self._stalls += changes >= 0.9 * self._fewest
        self._fewest = min(self._fewest, changes)
        self.members = inside
        if self._stalls >= _PATIENCE and not self.searching:
            self._go_back()
        return False

    def _go_back(self) -> None:
        if self._settled is None and self._final > self._start:
            self._begin(self._start, np.ones(len(self.members), bool))
            return
        self._factor = self._factor**0.5
        if self._settled is None or self._factor < _SMALLEST_FACTOR:
            self.searching = True
            # Not a new guess: a line search starts where the last step ended.
            self._begin(self._final, self.members)
            return
        C, members = self._settled
        self._begin(min(self._final, C * self._factor), members)


def step_length(linear: float, curvature: float, margins: np.ndarray, slopes: np.ndarray, C: float) -> float:
    """The t > 0 that minimises linear·t + curvature·t²/2 + C·Σ max(0, marginᵢ − t·slopeᵢ)².

    Its derivative is increasing and piecewise linear: Newton on that, kept between the two sides found so far. Where
    nothing changes sides, it is 1.
    """
    low, high, t = 0.0, np.inf, 1.0
    for _ in range(50):
        inside = margins > t * slopes
        slope = slopes[inside].astype(np.float64)
        first = linear + t * curvature - 2 * C * float(slope @ (margins[inside] - t * slope))
        second = curvature + 2 * C * float(slope @ slope)
        low, high = (low, t) if first > 0 else (t, high)
        if second <= 0:
            break
        previous, t = t, t - first / second
        if not low <= t <= high:
            t = (low + high) / 2
        if abs(t - previous) <= 1e-6 * previous:
            break
    return t
