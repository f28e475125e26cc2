"""What a study's runs would have measured on other patients: their numbers under resamples of the test set.

In: finished runs, or a combination of backbone and adaptation with its sizes. Out: the measure of each run, and the same
under each resample; fractions 0–1.

All runs on one test set are resampled alike, so differences between them are paired. Everything is kept by the runs'
keys, which name their content.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

from fmlab.errors import BadInput
from fmlab.metrics.accuracy import accuracy_of_counts, balanced_accuracy, macro_f1
from fmlab.metrics.auroc import macro_auroc, resampled_auroc
from fmlab.metrics.intervals import LEVEL, RESAMPLES, Interval, group_confusions, resampled_blocks
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.scoring import Level, groups_of, scored_runs

Combination = tuple[str, str]  # backbone, adaptation

# What to compare in: over images or sequences, from their confusion counts.
COMPARED: dict[str, tuple[Level, Callable[[np.ndarray], np.ndarray]]] = {
    "image_accuracy": ("image", accuracy_of_counts),
    "sequence_accuracy": ("sequence", accuracy_of_counts),
    "balanced_accuracy": ("image", balanced_accuracy),
    "macro_f1": ("image", macro_f1),
}

RANKED = "auroc"  # besides: over images, from how they rank


@dataclass(frozen=True, eq=False)
class Resampled:
    """R runs on one test set: their measure, and what it is when the test set's G groups are drawn again."""

    values: np.ndarray  # (R,)
    drawn: np.ndarray  # (B, R)
    # (G, K, K) counts over all runs; for accuracies K is 2: right and wrong; for a ranking sums of scores instead.
    confusions: np.ndarray
    right: np.ndarray  # (G, R) share of the group's items that the run gets right
    groups: str  # what was resampled: patients or sequences

    def interval(self) -> Interval:
        """The mean over the runs with its 95 % interval over groups."""
        return percentile_interval(float(self.values.mean()), self.drawn.mean(axis=1))


def percentile_interval(value: float, drawn: np.ndarray) -> Interval:
    """A value with the 95 % percentiles of its resamples (B,); infinite ones stay infinite."""
    ranked = np.sort(drawn[~np.isnan(drawn)])
    if not len(ranked):  # a measure that a test set of one class does not have
        return Interval(value, float("nan"), float("nan"))
    # By rank, not between two ranks: half-way to infinity is not a number.
    low, high = (ranked[round(share * (len(ranked) - 1))] for share in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(value, float(low), float(high))


@lru_cache(maxsize=128)  # a ranking with 20 seeds keeps 2 MB in each
def resampled_runs(
    home: Home,
    store: Store,
    runs: tuple[str, ...],
    test_set: str,
    measure: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Resampled:
    """Runs of one dataset under resamples of patients where all are known, else of sequences."""
    ranked = checked_measure(measure) == RANKED
    level = "image" if ranked else COMPARED[measure][0]
    scored = scored_runs(home, store, runs, test_set)
    predicted, truth = scored.at(level)
    groups, resampled = groups_of(scored.test, level)
    hits = _confusions((predicted != truth).astype(np.int64), np.zeros_like(truth), groups, 2)
    right = hits[:, :, 0, 0] / hits[:, :, 0].sum(axis=-1)
    if ranked:
        scores, members = scored.ranked, np.unique(groups, return_inverse=True)[1]
        drawn = resampled_auroc(scores, truth, members, seed=seed, resamples=resamples)
        return Resampled(macro_auroc(scores, truth), drawn, _score_sums(scores, truth, members), right, resampled)
    of_counts = COMPARED[measure][1]
    accuracy = measure in ("image_accuracy", "sequence_accuracy")
    counts = hits if accuracy else _confusions(predicted, truth, groups, len(scored.classes))
    drawn = np.concatenate([of_counts(block) for block in resampled_blocks(counts, seed, resamples)])
    return Resampled(of_counts(counts.sum(axis=0)), drawn, counts.sum(axis=1), right, resampled)


def _confusions(predicted: np.ndarray, truth: np.ndarray, groups: np.ndarray, classes: int) -> np.ndarray:
    return np.stack([group_confusions(run, truth, groups, classes) for run in predicted], axis=1)


def _score_sums(scores: np.ndarray, truth: np.ndarray, members: np.ndarray) -> np.ndarray:
    """The scores of each group's images, summed over runs and images by their class: (G, K, K), rows truth."""
    sums = np.zeros((int(members.max()) + 1, scores.shape[2], scores.shape[2]))
    np.add.at(sums, (members, truth), scores.astype(np.float64).sum(axis=0))
    return sums


def checked_measure(measure: str) -> str:
    """The measure, if there is such a one."""
    if measure not in (*COMPARED, RANKED):
        raise BadInput(f"{measure!r} cannot be compared; choose one of {', '.join((*COMPARED, RANKED))}.")
    return measure


# ------------------------------------------------------------------------------------------------------- a whole curve


@dataclass(frozen=True, eq=False)
class ResampledCurve:
    """The mean over seeds at each size of one combination, and the same when seeds and groups are drawn again."""

    sizes: np.ndarray  # (P,) float64, ascending, above zero or zero alone
    values: np.ndarray  # (P,)
    drawn: np.ndarray  # (B, P)
    seeds: int
    groups: str


def resampled_curve(
    home: Home,
    store: Store,
    table: pd.DataFrame,
    combination: Combination,
    test_set: str,
    measure: str,
    seeds: Sequence[int],
    sizes: Sequence[int] | None = None,
) -> ResampledCurve:
    """The curve of a combination, at all its sizes or at those named.

    `seeds` are drawn with replacement, the same for every combination that is given the same ones; at a size, those
    count that it has. Where a resample holds none of them, that size keeps its mean over seeds.
    """
    runs = runs_of(table, combination, test_set)
    runs = runs if sizes is None else runs[runs["size"].isin(list(sizes))]
    by_size = tuple(
        (int(str(size)), tuple(rows["run"]), tuple(int(seed) for seed in rows["seed"]))
        for size, rows in runs.sort_values("seed").groupby("size")
    )
    return _curve(home, store, by_size, test_set, measure, tuple(seeds))


@lru_cache(maxsize=256)
def _curve(
    home: Home,
    store: Store,
    by_size: tuple[tuple[int, tuple[str, ...], tuple[int, ...]], ...],
    test_set: str,
    measure: str,
    seeds: tuple[int, ...],
) -> ResampledCurve:
    """The curve from its runs and their seeds at each size."""
    weights = _seed_weights(seeds)
    found, values, drawn, groups = [], [], [], ""
    for size, runs, theirs in by_size:
        part = resampled_runs(home, store, runs, test_set, measure)
        here = weights[:, [seeds.index(seed) for seed in theirs]].astype(np.float64)
        here[here.sum(axis=1) == 0] = 1
        found.append(float(size))
        values.append(float(part.values.mean()))
        drawn.append((part.drawn * here).sum(axis=1) / here.sum(axis=1))
        groups = part.groups
    return ResampledCurve(np.array(found), np.array(values), np.stack(drawn, axis=1), len(seeds), groups)


def runs_of(table: pd.DataFrame, combination: Combination, test_set: str) -> pd.DataFrame:
    """The finished runs of a combination on a test set: run, size, seed; none raises `BadInput`."""
    backbone, adaptation = combination
    chosen = (table["backbone"] == backbone) & (table["adaptation"] == adaptation) & (table["test_set"] == test_set)
    if not chosen.any():
        raise BadInput(f"No run of {backbone} with {adaptation} has finished on {test_set}. Choose another.")
    return table.loc[chosen, ["run", "size", "seed"]]


def combinations_of(table: pd.DataFrame) -> list[Combination]:
    """Every backbone and adaptation with a finished run, by name."""
    pairs = table[["backbone", "adaptation"]].drop_duplicates().sort_values(["backbone", "adaptation"])
    return [(str(backbone), str(adaptation)) for backbone, adaptation in pairs.itertuples(index=False)]


def combination_text(combination: Combination) -> str:
    """A combination in a sentence."""
    return f"{combination[0]} with {combination[1]}"


@lru_cache(maxsize=16)
def _seed_weights(seeds: tuple[int, ...]) -> np.ndarray:
    """How often each seed is drawn in each resample, (RESAMPLES, S)."""
    count = len(seeds)
    # A stream of its own: a study with as many seeds as patients must not draw both alike.
    return np.random.default_rng((1, count)).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
