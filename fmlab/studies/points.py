"""The points of a study's figure: the mean at every size, and how far it can be trusted.

In: a study's results. Out: one row per backbone, adaptation, test set and size, with a 95 % interval: over seeds where there
are several, else over the tested patients (or sequences) of the one run. Fractions 0–1.
"""

import pandas as pd

from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.resampling import resampled_runs
from fmlab.studies.results import CURVE_KEYS, curve

OVER_SEEDS = "seeds"


def points(home: Home, store: Store, table: pd.DataFrame, measure: str = "image_accuracy") -> pd.DataFrame:
    """As `curve`, with the interval of a single run taken over patients, and a column `interval` that says over what."""
    found = curve(table, measure).assign(interval=OVER_SEEDS)
    alone = found["seeds"] == 1
    if not alone.any():
        return found
    runs = table.set_index(CURVE_KEYS)["run"]
    for number in found.index[alone]:
        key = tuple(found.loc[number, CURVE_KEYS])
        part = resampled_runs(home, store, (runs.loc[key],), str(found.at[number, "test_set"]), measure)
        _, low, high = part.interval()
        found.loc[number, ["low", "high", "interval"]] = low, high, part.groups
    return found


def over_what(found: pd.DataFrame) -> str:
    """What the intervals of some points are over, in a sentence."""
    seeds = int(found["seeds"].max()) if len(found) else 0
    groups = [name for name in found["interval"].unique() if name != OVER_SEEDS]
    alone = f"95 % interval when the tested {groups[0]} are drawn again" if groups else ""
    if seeds < 2:
        return f"Bands and brackets: {alone}; one subset was drawn at every size, so nothing is known of other subsets."
    several = f"95 % interval (Student's t) of the mean over up to {seeds} random subsets of the training set"
    return f"Bands and brackets: {several}" + (f"; of a single run, {alone}." if alone else ".")
