"""The words on a comparison of pretrainings: short names, and sentences that say what came out, at which compute.

In: a table of `fmlab.studies.pretraining_comparison.comparison` and its paired differences. Out: names, plain sentences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fmlab.plots.wording import percent, signed_points
from fmlab.pretrain.configs import METHOD_TITLES
from fmlab.studies.pretraining_comparison import PIXELS, RANDOM, START, Probe

PROBE_NAMES: dict[Probe, str] = {"knn": "nearest neighbours", "linear": "linear probe"}
EQUAL_COMPUTE = 1.1  # times as much is still called equal
MOST_NAMED = 4
HEALTHY = ("healthy", "too early", "")


@dataclass(frozen=True)
class Told:
    """A comparison in plain sentences."""

    headline: str  # the best, and who beats raw pixels
    compute: str  # whether they had equal compute
    backbones: list[str]  # each against raw pixels and its start, the best first
    pairs: list[str]  # one against another


# Names ----------------------------------------------------------------------------------------------------------------


def method_name(method: str) -> str:
    """`MAE` for `mae`; an unknown one stays as it is."""
    return METHOD_TITLES.get(method, method).partition(":")[0]  # type: ignore[call-overload]


def facts_of(row: Mapping[str, Any]) -> dict[str, str]:
    """What two backbones of one method may differ in, as words."""
    return {
        "recipe": f"recipe {row['recipe']}",
        "network": str(row["network"]),
        "start": "from scratch" if row["start"] == RANDOM else f"from {row['start']}",
        "images": f"{row['images']:,} images",
        "budget": str(row["budget"]),
        "seed": f"seed {row['seed']}",
    }


def row_names(table: pd.DataFrame, without: Sequence[str] = ()) -> dict[str, str]:
    """A short name for each key: the method, and what differs between rows of one method, as `MAE · 1,300 images`.

    `without` names facts that are left out; with all of them told apart no two rows share a name, at worst by their keys.
    """
    facts = [facts_of(row) for row in table.to_dict("records")]
    told = pd.DataFrame(facts, index=table["method"])
    varying = [name for name in told if (told[name].groupby(level=0).nunique() > 1).any()]
    names = [
        " · ".join([method_name(method), *(each[name] for name in varying if name not in without)])
        for method, each in zip(table["method"], facts, strict=True)
    ]
    return {
        key: f"{name} ({key})" if names.count(name) > 1 and not without else name
        for key, name in zip(table["key"], names, strict=True)
    }


def device_time(hours: float) -> str:
    """Device-hours as `45 s`, `10 min`, `2.5 h`, `1,200 h`."""
    if hours < 1 / 60:
        return f"{3600 * hours:.2g} s"
    if hours < 1:
        return f"{60 * hours:.3g} min"
    return f"{hours:.3g} h" if hours < 100 else f"{hours:,.0f} h"


def gap_text(row: Mapping[str, Any]) -> str:
    """A difference in points with its paired interval: `+4.0 [+1.2, +7.1]`."""
    return f"{signed_points(row['difference'])} [{signed_points(row['low'])}, {signed_points(row['high'])}]"


# Sentences ------------------------------------------------------------------------------------------------------------


def told(table: pd.DataFrame, differences: pd.DataFrame, probe: Probe) -> Told | None:
    """What came out; None where nothing was tested.

    Args:
        table: rows of `comparison`, those compared.
        differences: of `paired_differences` on the same keys and probe.
    """
    if table.empty or differences.empty:
        return None
    names = row_names(table)
    rows = {row["key"]: row for row in table.to_dict("records")}
    order = list(dict.fromkeys(differences["first"]))
    pairs = [row for row in differences.to_dict("records") if row["second"] in rows]
    return Told(
        headline=_headline(rows, order, differences, names, probe),
        compute=compute_sentence(table),
        backbones=[_of_backbone(rows[key], differences, names[key]) for key in order],
        pairs=[_of_two(rows[row["first"]], rows[row["second"]], row, names) for row in pairs],
    )


def _headline(
    rows: Mapping[str, Mapping[str, Any]],
    order: Sequence[str],
    differences: pd.DataFrame,
    names: Mapping[str, str],
    probe: Probe,
) -> str:
    best = rows[order[0]]
    highest = "Highest" if len(order) > 1 else "The only one"
    return (
        f"{highest} by {PROBE_NAMES[probe]}: {names[order[0]]}, {percent(best[probe])} balanced accuracy "
        f"(raw pixels {percent(best[f'pixels_{probe}'])}, its start {percent(best[f'start_{probe}'])}). "
        f"{_how_many(differences, PIXELS, order, names)} better than raw pixels, "
        f"{_how_many(differences, START, order, names)} better than at the start."
    )


def _how_many(differences: pd.DataFrame, second: str, order: Sequence[str], names: Mapping[str, str]) -> str:
    """`none is`, `all 4 are`, `2 of 4 (MAE; SimCLR) are`."""
    ahead = [names[key] for key in order if _against(differences, key, second)["verdict"] == "better"]
    words = f"{len(ahead)} of {len(order)}"
    if len(ahead) == len(order):
        words = f"All {len(order)}" if len(order) > 1 else "It"
    elif len(ahead) <= MOST_NAMED:
        words = f"{words} ({'; '.join(ahead)})" if ahead else "None"
    words = words if second == PIXELS else words[:1].lower() + words[1:]
    return f"{words} {'is' if len(ahead) < 2 else 'are'}"


def compute_sentence(table: pd.DataFrame) -> str:
    """Whether the rows had equal compute, how many images they saw, and what else they differ in."""
    seen = table["images_seen"]
    many = f"{seen.min():,} to {seen.max():,} images seen" if seen.nunique() > 1 else f"{seen.iloc[0]:,} images seen"
    unlike = {"network": "networks", "recipe": "recipes", "start": "starts", "images": "amounts of data"}
    differing = [noun for name, noun in unlike.items() if table[name].nunique() > 1]
    words = f"{compute_title(table)}; {many}."
    return f"{words} They differ in their {' and '.join(differing)}, too." if differing else words


def compute_title(table: pd.DataFrame) -> str:
    """`Equal compute: 20 min each on cpu`, `Not equal compute: 5 min to 20 min on cpu`."""
    hours, devices = table["device_hours"], sorted(map(str, table["device"].unique()))
    span = f"{device_time(hours.min())} to {device_time(hours.max())}"
    if len(table) == 1:
        return f"Compute: {device_time(hours.iloc[0])} on {devices[0]}"
    if len(devices) > 1:
        return f"Compute cannot be compared: {span} on different devices ({', '.join(devices)})"
    if _equal(hours.min(), hours.max()):
        return f"Equal compute: {device_time(hours.mean())} each on {devices[0]}"
    return f"Not equal compute: {span} on {devices[0]}"


def _of_backbone(row: Mapping[str, Any], differences: pd.DataFrame, name: str) -> str:
    pixels, start = (_against(differences, row["key"], other) for other in (PIXELS, START))
    whose = "its random start" if row["start"] == RANDOM else f"its start, {row['start']},"
    learnt = {
        "better": "it learned something.",
        "a tie": f"nothing learned that shows on these {start['n_groups']:,} {start['resampled']}.",
        "worse": "worse than before.",
    }
    verdict = verdict_words(start)
    ending = learnt.get(verdict, f"{verdict}, so whether it learned anything is not certain.")
    words = f"{name} against raw pixels: {_points(pixels)}, {verdict_words(pixels)}. Against {whose} {_points(start)}: {ending}"
    return words if row["health"] in HEALTHY else f"{words} Its health: {row['health']}."


def _of_two(
    one: Mapping[str, Any], other: Mapping[str, Any], difference: Mapping[str, Any], names: Mapping[str, str]
) -> str:
    pair = f"{names[one['key']]} against {names[other['key']]}"
    return f"{pair}, {compute_words(one, other)}: {_points(difference)}, {verdict_words(difference)}."


def verdict_words(difference: Mapping[str, Any]) -> str:
    """`better`, `worse` or `a tie`; `a tie once corrected` where the interval alone excludes zero."""
    if difference["verdict"] != "tied":
        return str(difference["verdict"])
    return "a tie" if difference["low"] <= 0 <= difference["high"] else "a tie once corrected"


def compute_words(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """`equal compute`, `with 3.1 times the compute`, `with 0.25 times …`, or that the devices differ."""
    if one["device"] != other["device"]:
        return "on different devices"
    ratio = one["device_hours"] / other["device_hours"]
    if _equal(one["device_hours"], other["device_hours"]):
        return "equal compute"
    return f"with {ratio:.2g} times the compute"


def _equal(one: float, other: float) -> bool:
    return max(one, other) <= EQUAL_COMPUTE * min(one, other)


def _points(row: Mapping[str, Any]) -> str:
    return gap_text(row).replace(" [", " points [", 1)


def _against(differences: pd.DataFrame, first: str, second: str) -> dict[str, Any]:
    found = differences[(differences["first"] == first) & (differences["second"] == second)]
    return found.to_dict("records")[0]


# Floors ---------------------------------------------------------------------------------------------------------------


def floor_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Raw pixels and each random start as rows beside the backbones: name, and both probes with their ends; each once.

    Where starts of one network differ, as those of methods do, their methods are named.
    """
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in table.to_dict("records"):
        sides = {"pixels_": PIXELS} | ({"start_": f"{RANDOM}, {row['network']}"} if row["start"] == RANDOM else {})
        for side, name in sides.items():
            numbers = {
                f"{probe}{end}": row[f"{side}{probe}{end}"] for probe in PROBE_NAMES for end in ("", "_low", "_high")
            }
            of = {"name": name, "method": method_name(row["method"])}
            rows.setdefault((name, *(round(value, 9) for value in numbers.values())), of | numbers)
    names = [row["name"] for row in rows.values()]
    for row in rows.values():
        row["name"] += f", {row['method']}" if names.count(row["name"]) > 1 and row["name"] != PIXELS else ""
    return sorted(rows.values(), key=lambda row: (row["name"] != PIXELS, row["name"]))
