"""Pretrained backbones against each other, raw pixels and their own start, on one labelled dataset.

In: what pretrainings left in `backbones/<key>/`: pretraining.json (what was done and what it cost) and probe.parquet
(what both probes answered to each labelled test image at the end, at the start, and from raw pixels). Out: a table with
one row per backbone; paired differences; the pretrainings that fill a grid of methods × data × compute.

Numbers are balanced accuracies as fractions 0–1. Intervals and differences resample patients, the same ones for both
sides; "better" stands where the paired interval excludes zero and the p-value, corrected for all that is compared under
one question (Holm), is below 0.05. The questions: better than raw pixels? than before? one backbone than another?
Sources: `fmlab.metrics.intervals` and `fmlab.metrics.paired`.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from fmlab.backbones.catalogue import CARD_FILE
from fmlab.data.manifest import open_dataset
from fmlab.data.splits import groups
from fmlab.errors import BadInput, NotFound
from fmlab.files import read_json
from fmlab.metrics.accuracy import balanced_accuracy
from fmlab.metrics.intervals import LEVEL, group_confusions, resampled_blocks, resampled_counts
from fmlab.metrics.paired import bootstrap_p_value, holm
from fmlab.pretrain.configs import Method, Pretraining, pretraining
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.ranking import RESAMPLES_PER_PAIR, SMALLEST_RESAMPLES
from fmlab.studies.resampling import percentile_interval

Probe = Literal["knn", "linear"]
PROBES: tuple[Probe, ...] = ("knn", "linear")
SIDES = ("", "start_", "pixels_")  # what a probe answered to: the end, the start, the images themselves

FACTS, ANSWERS = "pretraining.json", "probe.parquet"
RANDOM = "random weights"  # where a pretraining starts that names no backbone
PIXELS, START = "raw pixels", "its start"  # the second side of a difference that is no backbone

DIFFERENCE_COLUMNS = (
    "first", "second", "difference", "low", "high", "p", "holm_p", "verdict", "images", "n_groups", "resampled",
)  # fmt: skip
COLUMNS = (
    "key", "method", "recipe", "network", "start", "seed", "budget", "images", "images_seen", "steps", "device_hours",
    "device", *(f"{side}{probe}{end}" for probe in PROBES for side in SIDES for end in ("", "_low", "_high")), "classes",
    "health", "sentence", "test_patients", "notes", "command",
)  # fmt: skip

# What two backbones may differ in. The network follows from the method in most recipes: together they are one thing.
DISTINCT = (("method", "network"), ("recipe",), ("start",), ("images",), ("budget",), ("seed",))
FEW = 5  # backbones of which every pair is compared

Version = tuple[Path, int, int]  # a file as it was read: when it was written (ns), how many bytes it has


# The table ------------------------------------------------------------------------------------------------------------


def probed_datasets(home: Home) -> dict[str, int]:
    """The labelled datasets that pretrained backbones of this home were probed on, and how many; the most frequent first."""
    names = [facts["labelled"] for _, facts in _pretrained(home) if facts.get("labelled")]
    return dict(sorted(((name, names.count(name)) for name in set(names)), key=lambda item: (-item[1], item[0])))


def comparison(home: Home, labelled: str) -> pd.DataFrame:
    """One row per backbone pretrained here and probed on `labelled`: `COLUMNS`, by method, data and compute.

    `images` is the size of the data, `images_seen` how many crops of whole images went through. `knn`, `linear` stand for
    the end, `start_…` for the weights it started from, `pixels_…` for the images themselves, each with its interval over
    patients. Where probe.parquet is missing they have no interval.
    """
    rows = [_row(home, key, facts) for key, facts in _pretrained(home) if facts.get("labelled") == labelled]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values(["method", "images", "images_seen", "key"], ignore_index=True)


def _pretrained(home: Home) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every backbone that a pretraining finished, with its facts; the card is written last, and so proves it whole."""
    for card in sorted(home.backbones.glob(f"*/{CARD_FILE}")):
        if (path := card.with_name(FACTS)).is_file():
            yield path.parent.name, _facts(_version(path))


def _version(path: Path) -> Version:
    state = path.stat()
    return path, state.st_mtime_ns, state.st_size


@lru_cache(maxsize=256)
def _facts(version: Version) -> dict[str, Any]:
    return read_json(version[0])


def _row(home: Home, key: str, facts: dict[str, Any]) -> dict[str, Any]:
    asked, setting, cost, health = (facts.get(part) or {} for part in ("asked", "setting", "cost", "health"))
    start = setting.get("start")
    return {
        "key": key,
        "method": facts["method"],
        "recipe": facts["recipe"],
        "network": _network(setting),
        "start": start["key"] if start else RANDOM,
        "seed": setting.get("seed", 0),
        "budget": _budget(asked, setting),
        "images": facts["data"]["images"],
        **{name: cost[name] for name in ("images_seen", "steps", "device_hours", "device")},
        **_accuracies(home, key, facts),
        "health": health.get("state", ""),
        "sentence": health.get("sentence", ""),
        "test_patients": bool(asked.get("allow_test_patients")),
        "notes": " ".join(facts["data"].get("notes") or ()),
        "command": facts.get("command", ""),
    }


def _network(setting: dict[str, Any]) -> str:
    name = str(setting.get("network", ""))
    return f"{name}/{setting['patch']}" if name.startswith("vit-") else name


def _budget(asked: dict[str, Any], setting: dict[str, Any]) -> str:
    """How long it was asked to take, in the words of whoever asked."""
    given = {"max_minutes": "min", "epochs": "epochs", "steps": "steps"}
    for name, unit in given.items():
        if asked.get(name) is not None:
            return f"{asked[name]:,g} {unit}"
    minutes, steps = setting.get("minutes"), setting.get("steps")
    return f"{minutes:,g} min" if minutes else f"{steps:,} steps" if steps else ""


def _accuracies(home: Home, key: str, facts: dict[str, Any]) -> dict[str, Any]:
    path = home.backbones / key / ANSWERS
    if path.is_file():
        return _resampled_accuracies(home, facts["labelled"], _version(path))
    probes, pixels = facts.get("probes") or [{}], (facts.get("floors") or {}).get("pixels") or {}
    known = {"": probes[-1], "start_": probes[0], "pixels_": pixels}
    return {f"{side}{probe}": known[side].get(probe, np.nan) for side in SIDES for probe in PROBES} | {"classes": None}


@lru_cache(maxsize=256)
def _resampled_accuracies(home: Home, labelled: str, version: Version) -> dict[str, Any]:
    rows = _answers(home, labelled, version)
    numbers, classes = _numbered(rows)
    owners = rows["group"].to_numpy()
    found: dict[str, Any] = {"classes": rows["label"].nunique()}
    for name, predicted in numbers.items():
        if name != "label":
            counts = group_confusions(predicted, numbers["label"], owners, classes)
            drawn = balanced_accuracy(resampled_counts(counts, 0))
            value = float(balanced_accuracy(counts.sum(axis=0)))
            ends = percentile_interval(value, drawn)
            found |= {name: value, f"{name}_low": ends.low, f"{name}_high": ends.high}
    return found


# What the probes answered ---------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _answers(home: Home, labelled: str, version: Version) -> pd.DataFrame:
    """The rows of a probe.parquet by image, with whom each image belongs to (`group`) and what that is (`resampled`)."""
    path = version[0]
    predictions = [f"{side}{probe}" for side in SIDES for probe in PROBES]
    rows = pd.read_parquet(path)
    missing = {"image_id", "patient_id", "label", *predictions} - set(rows.columns)
    if missing or rows.empty or rows["image_id"].duplicated().any():
        wrong = f"lacks {', '.join(sorted(missing))}" if missing else "is empty, or names an image twice"
        raise BadInput(f"{path.parent.name}/{ANSWERS} {wrong}. Pretrain that backbone again to have it compared.")
    known = bool(rows["patient_id"].notna().all())
    if known:
        owners = rows["patient_id"]
    else:
        sequences = open_dataset(home, labelled).manifest(["image_id", "sequence_id"])
        owners = groups(rows[["image_id", "patient_id"]].merge(sequences, on="image_id", how="left"))
    return rows.assign(group=owners.to_numpy(), resampled="patients" if known else "patients or sequences")


def _numbered(rows: pd.DataFrame) -> tuple[dict[str, np.ndarray], int]:
    """Labels and answers as class numbers, each (M,) int64, and how many classes there are."""
    columns = ["label", *(f"{side}{probe}" for side in SIDES for probe in PROBES)]
    values = pd.unique(pd.concat([rows[name] for name in columns], ignore_index=True))
    places = {value: number for number, value in enumerate(sorted(values))}
    return {name: rows[name].map(places).to_numpy(np.int64) for name in columns}, len(places)


# Differences ----------------------------------------------------------------------------------------------------------


def paired_differences(home: Home, labelled: str, keys: Sequence[str], probe: Probe = "knn") -> pd.DataFrame:
    """Each backbone against raw pixels, against its own start and against others: `DIFFERENCE_COLUMNS`.

    Differences are first minus second in balanced accuracy (fractions), the better backbone first; `verdict` is the
    first's: better, worse or tied. Everything is on the images that all of them were probed on; Holm's correction is over
    the rows of one question. Up to `FEW` backbones are each compared with every other; of more, those two that differ in
    one thing alone, as in the data, or in the method with its network.

    Raises:
        BadInput: a backbone was not probed on `labelled`, they share no image, or an image changed its label between.
    """
    if probe not in PROBES:
        raise BadInput(f"{probe!r} is no probe; choose one of {', '.join(PROBES)}.")
    versions = []
    for key in keys:
        path = home.backbones / key / ANSWERS
        if not path.is_file():
            raise NotFound(f"{key} has no {ANSWERS}: no pretraining here that was probed left it. Leave it out.")
        if _facts(_version(path.with_name(FACTS)))["labelled"] != labelled:
            raise BadInput(f"{key} was not probed on {labelled!r}. Compare backbones that were probed on one dataset.")
        versions.append(_version(path))
    if not versions:
        return pd.DataFrame(columns=list(DIFFERENCE_COLUMNS))
    table = comparison(home, labelled).set_index("key")
    own = [table.loc[version[0].parent.name] for version in versions]
    facts = tuple(tuple(tuple(row[list(names)]) for names in DISTINCT) for row in own)
    return _differences(home, labelled, tuple(versions), facts, probe).copy()


@lru_cache(maxsize=32)
def _differences(
    home: Home, labelled: str, versions: tuple[Version, ...], facts: tuple[tuple[Any, ...], ...], probe: Probe
) -> pd.DataFrame:
    """The same for files as they were read, with what tells each backbone from the others (`DISTINCT`)."""
    shared, truth, predicted, classes = _side_by_side(home, labelled, versions, probe)
    owners = shared["group"].to_numpy()
    counts = np.stack([group_confusions(each, truth, owners, classes) for each in predicted.values()], axis=1)
    place = {side: number for number, side in enumerate(predicted)}
    values = balanced_accuracy(counts.sum(axis=0))
    keys = sorted((path.parent.name for path, _, _ in versions), key=lambda key: -values[place[key, ""]])
    pairs = _pairs(keys, dict(zip([path.parent.name for path, _, _ in versions], facts, strict=True)))
    resamples = max(SMALLEST_RESAMPLES, RESAMPLES_PER_PAIR * len(pairs))
    drawn = np.concatenate([balanced_accuracy(block) for block in resampled_blocks(counts, 0, resamples)])
    rows = []
    for names, first, second in pairs:
        one, other = place[first], place[second]
        gap = percentile_interval(float(values[one] - values[other]), drawn[:, one] - drawn[:, other])
        differing = int((counts[:, one] != counts[:, other]).any(axis=(-2, -1)).sum())
        p_value = bootstrap_p_value(drawn[:, one] - drawn[:, other], differing)
        rows.append((*names, *gap, p_value))
    table = pd.DataFrame(rows, columns=list(DIFFERENCE_COLUMNS[:6]))
    question = table["second"].where(table["second"].isin([PIXELS, START]), "another")
    table["holm_p"] = table.groupby(question)["p"].transform(lambda each: holm(each.to_numpy()))
    table["verdict"] = [_verdict(row) for row in table.to_dict("records")]
    return table.assign(images=len(shared), n_groups=len(counts), resampled=shared["resampled"].iloc[0])


Side = tuple[str, str]  # a backbone and one of `SIDES`


def _pairs(keys: Sequence[str], facts: Mapping[str, tuple[Any, ...]]) -> list[tuple[tuple[str, str], Side, Side]]:
    """What is compared: its two names in the table, and the two sides."""
    floors = [((key, PIXELS), (key, ""), (key, "pixels_")) for key in keys]
    starts = [((key, START), (key, ""), (key, "start_")) for key in keys]
    two = [
        (one, other)
        for one, other in itertools.combinations(keys, 2)
        if len(keys) <= FEW or sum(a != b for a, b in zip(facts[one], facts[other], strict=True)) == 1
    ]
    return [*floors, *starts, *((pair, (pair[0], ""), (pair[1], "")) for pair in two)]


def _side_by_side(
    home: Home, labelled: str, versions: Sequence[Version], probe: Probe
) -> tuple[pd.DataFrame, np.ndarray, dict[Side, np.ndarray], int]:
    """The images that all share with their groups, their true classes (M,), and the answers of every side, (M,) each."""
    tables = {version[0].parent.name: _answers(home, labelled, version).set_index("image_id") for version in versions}
    images = sorted(set.intersection(*(set(rows.index) for rows in tables.values())))
    if not images:
        raise BadInput(f"The backbones {', '.join(tables)} were probed on no common image. Compare fewer of them.")
    first = next(iter(tables.values())).loc[images]
    answers: dict[Side, pd.Series] = {}
    for key, rows in tables.items():
        here = rows.loc[images]
        if (here["label"] != first["label"]).any():
            raise BadInput(
                f"The labels of {labelled!r} changed before {key} was probed; leave out one side of the change."
            )
        answers |= {(key, side): here[f"{side}{probe}"] for side in SIDES}
    values = sorted(pd.unique(pd.concat([first["label"], *answers.values()], ignore_index=True)))
    places = {value: number for number, value in enumerate(values)}
    numbered = {side: each.map(places).to_numpy(np.int64) for side, each in answers.items()}
    return first, first["label"].map(places).to_numpy(np.int64), numbered, len(places)


def _verdict(row: dict[str, Any]) -> str:
    if row["holm_p"] >= 1 - LEVEL or row["low"] <= 0 <= row["high"]:
        return "tied"
    return "better" if row["low"] > 0 else "worse"


# A grid of pretrainings -----------------------------------------------------------------------------------------------


def comparison_requests(
    methods: Sequence[Method],
    shares: Sequence[float],
    minutes: Sequence[float],
    base: Pretraining,
    growing: bool = False,
) -> list[Pretraining]:
    """The pretrainings of a grid: every method × share of the patients × minutes of training, the short ones first.

    Args:
        methods: as `dinov2`.
        shares: of each dataset's patients, above 0 and at most 1; smaller shares are part of larger ones.
        minutes: of training on this machine; without any, all take what `base` says (`steps`: equal images seen).
        base: everything else; its key is what the keys begin with, as `toy` in `toy-mae-25-10min`.
        growing: minutes are those of the largest share, and smaller ones take as much less: equal passes over the data
            instead of equal compute.

    Raises:
        BadInput: nothing to compare, something named twice, a share outside 0–1, or settings that do not go together.
    """
    for what, given in {"methods": methods, "shares": shares, "minutes": minutes}.items():
        if len(set(given)) < len(given) or not (given or what == "minutes"):
            raise BadInput(f"The {what} are {', '.join(map(str, given)) or 'none'}; name at least one, and each once.")
    if growing and not minutes:
        raise BadInput("Compute can grow with the data only where it is given in minutes; add --max-minutes.")
    requests = []
    for length in sorted(minutes) or [None]:
        for share in sorted(shares):
            taken = length * share / max(shares) if growing and length else length
            for method in methods:
                named = [base.key, method]
                named += [f"{100 * share:.3g}"] if len(shares) > 1 or share != 1 else []
                named += [f"{taken:.3g}min"] if len(minutes) > 1 else []
                sources = [source.model_dump(mode="json") | {"share": share} for source in base.sources]
                changed = {"method": method, "sources": sources, "key": "-".join(named)}
                changed |= {} if taken is None else {"max_minutes": taken, "steps": None, "epochs": None}
                requests.append(pretraining(base.plain | changed))
    return requests


def is_there(home: Home, asked: Pretraining) -> bool:
    """Whether this very pretraining has left its backbone already; another one under that key is not it."""
    return any(key == asked.key and facts["asked"] == asked.plain for key, facts in _pretrained(home))


def without_backbone(store: Store, labelled: str) -> pd.DataFrame:
    """Pretrainings that left no backbone, as collapsed ones: key, method, state, reason.

    Without them a table of what came out well would say too much for a method that often does not.
    """
    runs = store.runs()
    ended = runs[(runs["kind"] == "pretrain") & runs["state"].isin(["failed", "cancelled", "interrupted"])]
    found = [store.run(key) for key in ended["key"]]
    rows = [
        (run.config["asked"]["key"], run.config["asked"]["method"], run.state, run.reason or "")
        for run in found
        if run.config["labelled"] == labelled
    ]
    return pd.DataFrame(rows, columns=["key", "method", "state", "reason"])
