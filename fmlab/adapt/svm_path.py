"""Which Newton step comes next: the guess of the items inside the margin, and the C to solve for.

A full Newton step solves for the weights as if the items inside the margin stayed the same, and the minimum is found
when they do. Where classes can nearly be separated such steps may cycle instead. The remedy is a path: begin with C so
small that every item is inside the margin, and raise it by a factor whenever few items still change sides; if steps
stall at some C, go back to the last C that settled and take a smaller factor.

In: after each step, the margins 1 − y·f (n,). Out: ``C`` and ``members`` (n,) bool for the next step.
Source: full steps as in Keerthi and DeCoste, "A Modified Finite Newton Method", JMLR 6 (2005); the path as in Hastie et
al., "The Entire Regularization Path for the Support Vector Machine", JMLR 5 (2004), in large steps.
"""

import numpy as np

_FACTOR = 4.0
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
        if self._stalls >= _PATIENCE:
            self._go_back()
        return False

    def _go_back(self) -> None:
        if self._settled is None:
            self._begin(self._start, np.ones(len(self.members), bool))
            return
        self._factor = self._factor**0.5
        C, members = self._settled
        self._begin(min(self._final, C * self._factor), members)
