"""What accuracy costs: each combination's accuracy beside its time per image and its parameters, and who is beaten.

In: a study's results and the latencies measured on this home. Out: one row per combination and test set (Figure 5 of the
limited-data study). Fractions, milliseconds, parameters as a count.

Training does not change a backbone's time: its latency holds for every adaptation of it, classifier left out.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from fmlab.backbones.catalogue import find_backbone
from fmlab.errors import BadInput, NotFound
from fmlab.runs.records import MeasuredLatency, measured_latency
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.maximum import maximum


def cost(home: Home, store: Store, table: pd.DataFrame, size: int | None = None) -> pd.DataFrame:
    """The table of `maximum` with what each backbone costs, on the device on which most of them were measured.

    Columns: those of `maximum`, then milliseconds (median, one image), images_per_second (best batch), device,
    disturbed (measured while the machine was busy: too slow), parameters (of the image encoder), pareto (nothing on this
    test set is both at least as accurate per image and as fast, and better in one). A backbone without a measurement on
    that device has nulls and no place on the front; so has one that was removed from the catalogue, for its parameters.

    Raises:
        BadInput: none of the backbones has a measured latency.
    """
    rows = maximum(home, store, table, size)
    device, measured = comparable_latencies(store, rows["backbone"])
    if not measured:
        raise BadInput("No latency of these backbones has been measured; measure it on the Backbones page.")
    facts = [measured.get(key) for key in rows["backbone"]]
    costs = rows.assign(
        milliseconds=[fact.milliseconds if fact else np.nan for fact in facts],
        images_per_second=[fact.images_per_second if fact else np.nan for fact in facts],
        device=[device if fact else None for fact in facts],
        disturbed=[fact.disturbed if fact else None for fact in facts],
        parameters=pd.array([parameter_count(home, key) for key in rows["backbone"]], dtype="Int64"),
        pareto=False,
    )
    for _, part in costs.groupby("test_set"):
        costs.loc[part.index, "pareto"] = pareto_front(part["milliseconds"], part["image_accuracy"])
    return costs


def pareto_front(costs: Sequence[float] | pd.Series, values: Sequence[float] | pd.Series) -> np.ndarray:
    """Which of n are not beaten, (n,) bool: no other costs as little or less and is worth as much or more, and differs."""
    cost, value = np.asarray(costs, np.float64), np.asarray(values, np.float64)
    as_good = (cost[:, None] <= cost) & (value[:, None] >= value)
    better = (cost[:, None] < cost) | (value[:, None] > value)
    return ~(as_good & better).any(axis=0) & np.isfinite(cost) & np.isfinite(value)


def newest_latencies(store: Store) -> dict[str, MeasuredLatency]:
    """Backbone -> its newest finished measurement."""
    runs = store.runs()
    done = runs[(runs["kind"] == "latency") & (runs["state"] == "done")].sort_values("finished")
    newest = done.drop_duplicates("backbone", keep="last")
    keys = zip(newest["backbone"], newest["key"], strict=True)
    return {str(backbone): measured_latency(store.run(key)) for backbone, key in keys}


def comparable_latencies(store: Store, backbones: Iterable[str]) -> tuple[str, dict[str, MeasuredLatency]]:
    """The device on which most of some backbones were measured, and the newest measurement of each on it."""
    wanted = set(backbones)
    measured = {key: latency for key, latency in newest_latencies(store).items() if key in wanted}
    counts = Counter(latency.device for latency in measured.values())
    device = counts.most_common(1)[0][0] if counts else ""
    return device, {key: latency for key, latency in measured.items() if latency.device == device}


def parameter_count(home: Home, key: str) -> int | None:
    """The parameters of a backbone, by its card; None for one that was removed since."""
    try:
        return find_backbone(home, key).parameters
    except NotFound:
        return None
