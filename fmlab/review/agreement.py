"""Agreement: how far reviewers say the same, beyond what chance alone would give.

In: verdicts (`fmlab.review.verdicts`) of two or more reviewers. Out: Cohen's kappa for two, Fleiss' for more, with a 95 %
interval, on how many items, and how the answers were shared out.

An answer is the class that was named or confirmed, or that none can be named (ambiguous, poor quality). What was skipped
and what was said in adjudication does not count. An item counts when two reviewers or more answered it.

Images of one patient resemble each other: where the patients of all items are known, the interval comes from drawing
patients again with replacement. Elsewhere it is statsmodels' asymptotic one for Cohen's kappa, and for Fleiss' comes from
drawing items again. Intervals of few items are rough: see `n`.

Source: Cohen, Educational and Psychological Measurement 20 (1960); Fleiss, Psychological Bulletin 76 (1971), for items
that some reviewers did not answer as in Gwet, "Handbook of Inter-Rater Reliability" (2014), chapter 2.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import ndtri

from fmlab.data.manifest import Dataset
from fmlab.errors import BadInput
from fmlab.metrics.intervals import LEVEL, group_confusions, resampled_counts
from fmlab.review.verdicts import UNUSABLE, standing

ITEM = ["dataset", "level", "item"]
PAIR_COLUMNS = ("first", "second", "n", "observed", "kappa", "low", "high", "refused")


@dataclass(frozen=True)
class Agreement:
    """Kappa and what has to be said beside it; where there is none, `refused` says why."""

    kind: Literal["Cohen", "Fleiss"]
    kappa: float | None  # 1: always the same; 0: as by chance; below 0: less than by chance
    low: float | None
    high: float | None
    n: int  # items that count
    reviewers: tuple[str, ...]  # who answered them, in alphabetical order
    observed: float | None  # share of pairs of answers to one item that are the same, 0–1
    prevalence: dict[str, float]  # category → its share of the answers, 0–1, the classes in their order
    refused: str | None = None
    patients: int | None = None  # how many were drawn again for the interval; None: not all are known


def patients_of(dataset: Dataset, items: Collection[str]) -> dict[str, str]:
    """The patients of images and sequences of these ids, where they are known."""
    rows = dataset.manifest(["image_id", "sequence_id", "patient_id"]).dropna(subset="patient_id")
    found: dict[str, str] = {}
    for column in ("image_id", "sequence_id"):
        here = rows[rows[column].isin(items)].drop_duplicates(column)
        found |= dict(zip(here[column], here["patient_id"], strict=True))
    return found


def agreement(table: pd.DataFrame, classes: Sequence[str], patients: Mapping[str, str] | None = None) -> Agreement:
    """Kappa of the reviewers in a table of verdicts, as `verdicts_of` gives them; `classes` in the dataset's order.

    `patients` are those of the items (`patients_of`).
    """
    answers = answered(table, classes)
    per_item = answers.groupby(ITEM)["reviewer"].transform("size")
    answers = answers[per_item >= 2]
    names = tuple(sorted(answers["reviewer"].unique()))
    order = [*classes, *(category_of(kind, None, classes) for kind in UNUSABLE)]
    categories = sorted(answers["category"].unique(), key=order.index)
    counts = _counts(answers, categories)  # (n, K)
    kind: Literal["Cohen", "Fleiss"] = "Fleiss" if len(names) > 2 else "Cohen"
    if not len(counts):
        reason = "Kappa needs items that two reviewers answered, and there is none yet."
        return Agreement(kind, None, None, None, 0, names, None, {}, reason)
    agreeing, shares = _observed(counts), counts / counts.sum(axis=1, keepdims=True)
    if len(counts) == 1:
        reason = "Kappa needs more than the one item that two reviewers answered so far."
        return Agreement(kind, None, None, None, 1, names, float(agreeing[0]), {}, reason)
    prevalence = dict(zip(categories, shares.mean(axis=0).tolist(), strict=True))
    observed = float(agreeing.mean())
    if len(categories) == 1:
        reason = f"All answers to these {len(counts):,} items are {categories[0]}: chance alone would agree as much."
        return Agreement(kind, None, None, None, len(counts), names, observed, prevalence, reason)
    owners = _owners(answers, patients or {})
    kappa, low, high = _cohen(answers, categories, owners) if kind == "Cohen" else _fleiss(agreeing, shares, owners)
    drawn = None if owners is None else int(owners.max()) + 1
    return Agreement(kind, kappa, low, high, len(counts), names, observed, prevalence, patients=drawn)


def _owners(answers: pd.DataFrame, patients: Mapping[str, str]) -> np.ndarray | None:
    """The patient of each item as a number, (n,), in the order of their first answers; None if one is unknown."""
    names = answers.drop_duplicates(ITEM)["item"].map(patients)
    return None if names.isna().any() else pd.factorize(names)[0]


def pairs(table: pd.DataFrame, classes: Sequence[str], patients: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Cohen's kappa of every two reviewers, one row each: the columns are `PAIR_COLUMNS`."""
    names = sorted(answered(table, classes)["reviewer"].unique())
    rows = []
    for first, second in itertools.combinations(names, 2):
        found = agreement(table[table["reviewer"].isin((first, second))], classes, patients)
        numbers = (found.n, found.observed, found.kappa, found.low, found.high, found.refused)
        rows.append((first, second, *numbers))
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


def answered(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """The verdicts that count, with their `category` in words: those that stand, without skips and adjudications."""
    kept = standing(table)
    named = kept["label"].isna() | kept["label"].isin(list(classes))
    if not named.all():
        raise BadInput(
            f"A verdict names {kept['label'][~named].iloc[0]!r}, which is no class. Give the dataset's classes."
        )
    kept = kept[(kept["kind"] != "skip") & ~kept["adjudication"]].reset_index(drop=True)
    words = [category_of(kind, label, classes) for kind, label in zip(kept["kind"], kept["label"], strict=True)]
    return kept.assign(category=pd.Series(words, index=kept.index, dtype=object))


def category_of(kind: str, label: str | None, classes: Sequence[str]) -> str:
    """What a verdict names: its class, or the words of its kind, which are never those of a class."""
    if label is not None:
        return label
    words = kind.replace("_", " ")
    return f"{words} (no class)" if words in classes else words


def _counts(answers: pd.DataFrame, categories: Sequence[str]) -> np.ndarray:
    """How many reviewers gave each item each category, (n, K) float64."""
    items = answers.groupby(ITEM, sort=False).ngroup().to_numpy()
    codes = pd.Categorical(answers["category"], categories=list(categories)).codes
    counts = np.zeros((items.max() + 1 if len(items) else 0, len(categories)))
    np.add.at(counts, (items, codes), 1)
    return counts


def _observed(counts: np.ndarray) -> np.ndarray:
    """The share of pairs of answers to each item that are the same, (n,)."""
    raters = counts.sum(axis=1)
    return (counts * (counts - 1)).sum(axis=1) / (raters * (raters - 1))


def _cohen(answers: pd.DataFrame, categories: Sequence[str], owners: np.ndarray | None) -> tuple[float, float, float]:
    from statsmodels.stats.inter_rater import cohens_kappa  # half a second to import, for this alone

    wide = answers.pivot(index=ITEM, columns="reviewer", values="category")
    wide = wide.reindex(pd.MultiIndex.from_frame(answers.drop_duplicates(ITEM)[ITEM]))  # in the order of `owners`
    codes = [pd.Categorical(wide[name], categories=list(categories)).codes.astype(int) for name in sorted(wide.columns)]
    groups = np.arange(len(wide)) if owners is None else owners
    tables = group_confusions(*codes, groups, len(categories))  # (G, K, K)
    table = tables.sum(axis=0)
    if owners is not None:
        low, high = _percentiles(_kappas(resampled_counts(tables, seed=0)))
        return float(_kappas(table)), low, high
    with np.errstate(invalid="ignore", divide="ignore"):  # of tests that are not used here
        found = cohens_kappa(table)
    # In exact arithmetic the variance of perfect agreement is 0; in this one it can fall below.
    half = float(ndtri((1 + LEVEL) / 2) * np.sqrt(max(0.0, found.var_kappa)))
    kappa = float(found.kappa)
    return kappa, max(-1.0, kappa - half), min(1.0, kappa + half)


def _kappas(tables: np.ndarray) -> np.ndarray:
    """Cohen's kappa of tables of two reviewers' answers, (…, K, K) → (…); not a number where all are of one category."""
    shares = tables / tables.sum(axis=(-2, -1), keepdims=True)
    same = np.trace(shares, axis1=-2, axis2=-1)
    chance = (shares.sum(axis=-1) * shares.sum(axis=-2)).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(chance < 1 - 1e-12, (same - chance) / (1 - chance), np.nan)


def _percentiles(drawn: np.ndarray) -> tuple[float, float]:
    """The 95 % interval; a resample in which all answers are of one category has no kappa and is left out."""
    tail = 50 * (1 - LEVEL)
    low, high = np.nanpercentile(drawn, [tail, 100 - tail])
    return float(low), float(high)


def _fleiss(agreeing: np.ndarray, shares: np.ndarray, owners: np.ndarray | None) -> tuple[float, float, float]:
    def kappa(means: np.ndarray) -> np.ndarray:
        """From the means over items, (…, 1 + K): of what agrees and of each category's share."""
        chance = (means[..., 1:] ** 2).sum(axis=-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(chance < 1 - 1e-12, (means[..., 0] - chance) / (1 - chance), np.nan)

    numbers = np.column_stack([agreeing, shares, np.ones(len(shares))])  # the last counts items
    groups = np.arange(len(numbers)) if owners is None else owners
    sums = np.zeros((groups.max() + 1, numbers.shape[1]))
    np.add.at(sums, groups, numbers)
    drawn = resampled_counts(sums, seed=0)
    low, high = _percentiles(kappa(drawn[:, :-1] / drawn[:, -1:]))
    return float(kappa(numbers[:, :-1].mean(axis=0))), low, high
