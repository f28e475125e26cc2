"""Train and test: drawn by patient, so that no patient stands on both sides.

In: who each image belongs to and its label, (N,) each. Out: a split name per image, or a fold number.

A patient's place depends on the seed and the patient's own id, not on the order of the files.
"""

import numpy as np
import pandas as pd

from fmlab.data.manifest import TRAIN, VALIDATION
from fmlab.errors import BadInput
from fmlab.files import digest_bytes

TEST_SHARE = 0.3  # of the patients, per class
DRAWN_TEST_SET = "T1"
SCORED_FRAMES = 5  # of a test sequence; limited-data study, section 4.2

# What sources call the parts, without regard to case. Any other name stays and names a test set.
USUAL_NAMES = {
    **dict.fromkeys(("train", "training", "trainset", "train_set", "training_set"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "valset", "val_set", "validation_set", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing", "testset", "test_set"), DRAWN_TEST_SET),
}


def canonical_split(name: str) -> str:
    """The name a source's part has here: train, val, T1 for its plain test set, else its own name."""
    return USUAL_NAMES.get(name.strip().casefold(), name.strip())


def groups(manifest: pd.DataFrame) -> pd.Series:
    """Whom each image must stay together with: its patient, else its sequence, else itself. (N,) strings."""
    alone = manifest["sequence_id"].fillna(manifest["image_id"])
    return ("patient " + manifest["patient_id"]).fillna("sequence " + alone)


def hash_order(names: np.ndarray, seed: int) -> np.ndarray:
    """A number per name, (N,) uint64, that orders them at random but always in the same way."""
    prefix = str(seed).encode()
    return np.array([int(digest_bytes(prefix, str(name).encode())[:16], 16) for name in names], dtype=np.uint64)


def draw_split(manifest: pd.DataFrame, seed: int = 0, test_share: float = TEST_SHARE) -> pd.Series:
    """`train` or `T1` per image: of the patients of each class (their most frequent label), `test_share` go to the test set.

    Patients without any label go to train, where an unlabelled image can still be of use.
    """
    if not 0 < test_share < 1:
        raise BadInput(f"The test share is {test_share}; give a fraction between 0 and 1, as 0.3.")
    deal = _dealt(manifest, seed)
    tested = deal["label"].notna() & (deal["rank"] < (deal["size"] * test_share).round().clip(lower=1))
    tested &= deal["size"] > 1  # the only patient of a class has to be learnt from
    names = pd.Series(np.where(tested, DRAWN_TEST_SET, TRAIN), index=deal.index)
    return groups(manifest).map(names)


def draw_folds(manifest: pd.DataFrame, folds: int, seed: int = 0) -> pd.Series:
    """A fold number 0 … folds − 1 per image, by patient, each class dealt out evenly."""
    if folds < 2:
        raise BadInput(f"Cross-validation needs at least 2 folds, got {folds}.")
    deal = _dealt(manifest, seed)
    if len(deal) < folds:
        raise BadInput(f"{folds} folds need at least as many patients; the dataset has {len(deal)}.")
    return groups(manifest).map((deal["rank"] % folds).astype("int32"))


def mark_scored(manifest: pd.DataFrame) -> pd.Series:
    """True for the frames that count: all of train, and five evenly spaced ones of a longer test sequence. (N,) bool."""
    counts = manifest["split"].notna()
    testing = manifest[counts & ~manifest["split"].isin((TRAIN, VALIDATION))].sort_values(["sequence_id", "frame"])
    sequence = testing.groupby("sequence_id", sort=False)
    rank, length = sequence.cumcount().to_numpy(), sequence["frame"].transform("size").to_numpy()
    # Frame r of n is chosen when it is the middle of one of five equal stretches: floor((2i + 1) n / 10) for i in 0 … 4.
    chosen = np.zeros(len(testing), bool)
    for part in range(SCORED_FRAMES):
        chosen |= rank == (2 * part + 1) * length // (2 * SCORED_FRAMES)
    counts.loc[testing.index] = chosen | (length <= SCORED_FRAMES)
    return counts


def _dealt(manifest: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Per patient: its most frequent label, its rank at random within that label, and how many share the label."""
    table = pd.DataFrame({"group": groups(manifest), "label": manifest["label"]})
    counts = table.dropna().value_counts().rename("images").reset_index()
    counts = counts.sort_values(["images", "label"], ascending=[False, True]).drop_duplicates("group")
    deal = counts.set_index("group")[["label"]].reindex(pd.Index(table["group"].unique(), name="group"))
    deal["order"] = hash_order(deal.index.to_numpy(), seed)
    by_label = deal.groupby(deal["label"].fillna(""), sort=False)["order"]
    deal["rank"] = by_label.rank(method="first").astype("int64") - 1
    deal["size"] = by_label.transform("size")
    return deal


def leaking_groups(manifest: pd.DataFrame) -> list[str]:
    """Patients and sequences that stand in more than one of train, val and the test sets, sorted."""
    leaks = []
    for column, what in (("patient_id", "patient"), ("sequence_id", "sequence")):
        known = manifest[[column, "split"]].dropna().drop_duplicates()
        twice = known.loc[known[column].duplicated(), column].unique()
        leaks += [f"{what} {name}" for name in sorted(twice)]
    return leaks
