"""Every table of a study as CSV files: the data behind each figure, and every table, at full precision.

In: a study with finished runs, a folder. Out: one file per table, named by what it holds; then which tables were refused
and why. A file's first line is its header; fractions are 0–1, whole as computed.

Files are written whole, one after another; those of the same names from before are replaced.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fmlab.adapt.configs import ADAPTATIONS, Trained
from fmlab.data.manifest import open_dataset
from fmlab.errors import BadInput
from fmlab.files import write_bytes
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.calibration import calibration_of
from fmlab.studies.label_versions import label_versions
from fmlab.studies.paper import printed_table_3
from fmlab.studies.relabelled import relabelled
from fmlab.studies.resampling import combinations_of
from fmlab.studies.results import CURVE_KEYS, MEASURES, results
from fmlab.studies.summary import SUMMARIES, TARGETS, summary
from fmlab.studies.targets import labels_for_target

# The summary -> the file it becomes.
FILES = {
    "size": "accuracy-against-size",
    "class": "per-class",
    "site": "per-site",
    "sequence": "per-sequence",
    "maximum": "table-3-most-labels",
    "generalisation": "change-between-test-sets",
    "ranking": "ranking",
    "savings": "label-savings",
    "crossings": "crossings",
    "calibration": "calibration",
    "targets": "labels-for-targets",
    "cost": "figure-5-accuracy-against-cost",
}
# The limited-data study's figures: whether weights are trained, the scheme.
CURVES = {
    (False, "images"): "figure-1-probing-images",
    (False, "sequences"): "figure-2-probing-sequences",
    (True, "images"): "figure-3-finetuning-images",
    (True, "sequences"): "figure-4-finetuning-sequences",
}


def export(home: Home, store: Store, study: str, folder: Path) -> tuple[list[Path], dict[str, str]]:
    """Write every table of a study; the files written, and for each table that was refused its reason."""
    runs = results(home, store, study)
    if runs.empty:
        raise BadInput(f"No run of study {study!r} has finished yet. Wait for it: `fmlab runs list`.")
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder.name!r} is a file. Name a folder, new or old.")
    makers: dict[str, Callable[[], pd.DataFrame]] = {"runs": lambda: runs}
    makers |= {FILES[by]: _summarised(home, store, study, by) for by in SUMMARIES}
    makers |= {name: _maker(part) for name, part in _curves(summary(home, store, study)).items()}
    makers["reliability-diagrams"] = lambda: _reliability(home, store, runs)
    makers["learning-curves"] = lambda: _learning_curves(home, store, runs)
    makers["table-3-as-printed"] = printed_table_3
    for version in label_versions(store, open_dataset(home, store.study(study).config["dataset"])):
        makers[f"labels-{version.name}"] = _relabelled(home, store, study, version.name)
    written, refused = [], {}
    for name, make in makers.items():
        try:
            table = make()
        except BadInput as refusal:
            refused[name] = str(refusal)
            continue
        path = folder / f"{name}.csv"
        write_bytes(path, table.to_csv(index=False).encode())
        written.append(path)
    return written, refused


def _summarised(home: Home, store: Store, study: str, by: str) -> Callable[[], pd.DataFrame]:
    return lambda: summary(home, store, study, by)


def _relabelled(home: Home, store: Store, study: str, version: str) -> Callable[[], pd.DataFrame]:
    return lambda: pd.concat([relabelled(home, store, study, version, each) for each in MEASURES], ignore_index=True)


def _maker(table: pd.DataFrame) -> Callable[[], pd.DataFrame]:
    return lambda: table


def _curves(sizes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of the size table that each of the study's figures shows, by figure.

    What is trained stands apart from probes, but for the network trained from scratch, a line of every figure.
    """
    kinds = sizes["adaptation"].map(_kind)
    scratch, trained = kinds == "scratch", kinds.map(lambda kind: issubclass(ADAPTATIONS[kind], Trained))
    found = {}
    for (finetuned, scheme), name in CURVES.items():
        own = (trained == finetuned) & ~scratch & (sizes["scheme"] == scheme)
        if own.any() or (finetuned and not (~scratch).any() and (sizes["scheme"] == scheme).any()):
            found[name] = sizes[own | (scratch & (sizes["scheme"] == scheme))]
    return found


def _kind(adaptation: str) -> str:
    """The kind of an adaptation as results name it, `finetune` of `finetune(recipe=quick)`."""
    return adaptation.split("(")[0]


def _reliability(home: Home, store: Store, runs: pd.DataFrame) -> pd.DataFrame:
    """The reliability table of every combination, size and test set whose scores are probabilities."""
    parts, reason = [], ""
    for keys, group in runs.groupby(CURVE_KEYS, sort=True):
        names = dict(zip(CURVE_KEYS, keys, strict=True))
        try:
            part = calibration_of(home, store, list(group["run"]), str(names["test_set"])).table
        except BadInput as refusal:
            reason = str(refusal)
            continue
        parts.append(pd.concat([pd.DataFrame(names, index=part.index), part], axis=1))
    if not parts:
        raise BadInput(reason)
    return pd.concat(parts, ignore_index=True)


def _learning_curves(home: Home, store: Store, runs: pd.DataFrame) -> pd.DataFrame:
    """The fitted curve of every combination and test set, to draw; those with too few sizes are left out."""
    parts, reason = [], ""
    for test_set, here in runs.groupby("test_set", sort=True):
        for combination in combinations_of(here):
            found = labels_for_target(home, store, runs, combination, str(test_set), TARGETS[0])
            if found.fit is None:
                reason = found.sentence
                continue
            names = {"backbone": combination[0], "adaptation": combination[1], "test_set": test_set}
            numbers = {"asymptote": found.fit.asymptote, "scale": found.fit.scale, "exponent": found.fit.exponent}
            whole = {name: float(value) for name, value in numbers.items()}
            parts.append(pd.concat([pd.DataFrame(names | whole, index=found.curve.index), found.curve], axis=1))
    if not parts:
        raise BadInput(reason)
    return pd.concat(parts, ignore_index=True)
