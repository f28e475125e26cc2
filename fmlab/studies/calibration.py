"""Whether a backbone under an adaptation knows how sure it may be: reliability on a test set.

In: finished runs of one combination. Out: the reliability table, the expected calibration error with its interval.

Only scores that are probabilities, or become them by softmax, can be judged; a support vector machine's cannot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from fmlab.errors import BadInput
from fmlab.metrics.calibration import brier_score, calibration_interval, reliability, softmax
from fmlab.metrics.intervals import Interval
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.scoring import groups_of, scored_runs

SHARES = ("knn",)  # scores that are probabilities as they stand
DECISION_VALUES = ("linear_svm",)  # distances from a plane
REFUSAL = (
    "A linear SVM gives distances from a plane, not probabilities, so its calibration cannot be judged. "
    "Choose another adaptation, such as logistic."
)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Runs of one combination on a test set."""

    table: pd.DataFrame  # bin_low, bin_high, count, confidence, accuracy; all runs pooled
    ece: float  # expected calibration error, 15 bins, the mean over the runs; a fraction
    interval: Interval  # of it, 95 %, test patients (or sequences) resampled
    brier: float  # the mean over the runs, 0–2
    accuracy: float  # the mean over the runs
    confidence: float  # the mean over runs and images
    runs: int
    resampled: str


def calibration_of(home: Home, store: Store, runs: Sequence[str], test_set: str) -> Calibration:
    """The calibration of runs of one combination, at image level; several runs are pooled in the table alone.

    Raises:
        BadInput: scores that are no probabilities (linear_svm), or runs of different adaptations.
    """
    return _calibration(home, store, tuple(runs), test_set)


@lru_cache(maxsize=128)
def _calibration(home: Home, store: Store, runs: tuple[str, ...], test_set: str) -> Calibration:
    kinds = {str(store.run(run).config["adaptation"]["kind"]) for run in runs}
    if len(kinds) > 1:
        raise BadInput(f"The runs belong to different adaptations ({', '.join(sorted(kinds))}). Choose runs of one.")
    if kinds & set(DECISION_VALUES):
        raise BadInput(REFUSAL)
    scored = scored_runs(home, store, runs, test_set)
    probabilities = scored.scores.astype(np.float64) if kinds & set(SHARES) else softmax(scored.scores)
    truth, count = scored.test.truth, len(scored.runs)
    groups, resampled = groups_of(scored.test, "image")
    interval = calibration_interval(probabilities, truth, groups)
    return Calibration(
        table=reliability(probabilities.reshape(-1, probabilities.shape[2]), np.tile(truth, count)),
        ece=interval.value,
        interval=interval,
        brier=float(np.mean([brier_score(each, truth) for each in probabilities])),
        accuracy=float((probabilities.argmax(axis=2) == truth).mean()),
        confidence=float(probabilities.max(axis=2).mean()),
        runs=count,
        resampled=resampled,
    )
