"""What is reached with the most labels: accuracy on every test set, and what is lost from typical cases to hard ones.

In: a study's results. Out: the table of the study's largest common size (the limited-data study's Table 3), and the change
of each combination from one test set to another; fractions, 95 % intervals from resampling test patients (or sequences).
"""

import itertools

import pandas as pd

from fmlab.errors import BadInput
from fmlab.metrics.intervals import RESAMPLES
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.resampling import combinations_of, percentile_interval, resampled_runs

LEVELS = ("image_accuracy", "sequence_accuracy")


def largest_common_size(table: pd.DataFrame) -> int:
    """The largest size that every combination has finished on every test set; those without labels do not count."""
    labelled = table[table["size"] > 0]
    keys = ["backbone", "adaptation", "test_set"]
    reached = labelled[[*keys, "size"]].drop_duplicates().groupby("size").size()
    common = reached[reached == len(labelled[keys].drop_duplicates())]
    if common.empty:
        raise BadInput(
            "No size has been finished by every backbone and adaptation yet. Wait for the study, or retry it."
        )
    return int(common.index.max())


def maximum(home: Home, store: Store, table: pd.DataFrame, size: int | None = None) -> pd.DataFrame:
    """Per combination and test set at a size, by default the largest common one: both accuracies, means over seeds.

    Columns: backbone, adaptation, scheme, size, test_set, seeds, n_images, n_sequences, image_accuracy,
    image_accuracy_low, image_accuracy_high, the same of sequence_accuracy, majority_rate, resampled.
    """
    at_size = table[table["size"] == (largest_common_size(table) if size is None else size)]
    rows = []
    for backbone, adaptation in combinations_of(at_size):
        mine = at_size[(at_size["backbone"] == backbone) & (at_size["adaptation"] == adaptation)]
        for test_set, runs in mine.groupby("test_set", sort=True):
            first = runs.iloc[0]
            row = {
                "backbone": backbone,
                "adaptation": adaptation,
                "scheme": first["scheme"],
                "size": int(first["size"]),
            }
            row |= {"test_set": test_set, "seeds": len(runs)}
            row |= {name: int(first[name]) for name in ("n_images", "n_sequences")}
            for measure in LEVELS:
                part = resampled_runs(home, store, tuple(runs["run"]), str(test_set), measure)
                row |= dict(zip((measure, f"{measure}_low", f"{measure}_high"), part.interval(), strict=True))
            rows.append(row | {"majority_rate": float(first["majority_rate"]), "resampled": part.groups})
    return pd.DataFrame(rows)


def generalisation(home: Home, store: Store, table: pd.DataFrame, size: int | None = None) -> pd.DataFrame:
    """Per combination, measure and pair of test sets: the change from the first to the second in the alphabet.

    Columns: backbone, adaptation, scheme, size, measure, from_set, to_set, from_value, to_value, change, low, high, seeds,
    resampled. The interval resamples each test set by itself.

    Raises:
        BadInput: the study has one test set only.
    """
    at_size = table[table["size"] == (largest_common_size(table) if size is None else size)]
    sets = sorted(at_size["test_set"].unique())
    if len(sets) < 2:
        raise BadInput(f"The change between test sets needs two; this study has {', '.join(sets) or 'none'}.")
    rows = []
    for (backbone, adaptation), measure in itertools.product(combinations_of(at_size), LEVELS):
        mine = at_size[(at_size["backbone"] == backbone) & (at_size["adaptation"] == adaptation)]
        parts = {}
        for number, (test_set, runs) in enumerate(mine.groupby("test_set", sort=True)):
            # Other patients, other draws: a seed for each set, so that equal numbers of patients are not drawn alike.
            keys = tuple(runs["run"])
            parts[str(test_set)] = resampled_runs(home, store, keys, str(test_set), measure, RESAMPLES, number)
        facts = {"backbone": backbone, "adaptation": adaptation, "scheme": mine["scheme"].iloc[0]}
        facts |= {"size": int(mine["size"].iloc[0]), "measure": measure, "seeds": int(mine["seed"].nunique())}
        for one, other in itertools.combinations(parts, 2):
            before, after = parts[one], parts[other]
            change = percentile_interval(
                float(after.values.mean() - before.values.mean()), after.drawn.mean(axis=1) - before.drawn.mean(axis=1)
            )
            values = {"from_value": float(before.values.mean()), "to_value": float(after.values.mean())}
            rows.append(
                facts
                | {"from_set": one, "to_set": other}
                | values
                | {"change": change.value, "low": change.low, "high": change.high, "resampled": before.groups}
            )
    return pd.DataFrame(rows)
