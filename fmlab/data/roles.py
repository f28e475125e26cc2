"""Who is learnt from and who is tested: by the dataset's split, or by cross-validation over its patients.

In: a dataset; for cross-validation the number of folds. Out: the labelled training rows and the scored test rows.

Under cross-validation the images of the training split are dealt into folds by patient; each fold is tested with what was
learnt from the others. A test set that was only drawn at import is dealt with them; one that the source has stays apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from fmlab.data.manifest import TRAIN, VALIDATION, Dataset
from fmlab.data.splits import DRAWN_TEST_SET, draw_folds, mark_scored
from fmlab.errors import BadInput

CROSS_VALIDATED = "folds"  # the test set that all folds together are

COLUMNS = (
    "image_id",
    "label",
    "sequence_id",
    "patient_id",
    "site",
    "frame",
    "split",
    "scored",
    "content_hash",
    "sector",
)
DRAWN = "drawn by"  # how `split_origin` begins where FMLab drew the test set


@dataclass(frozen=True, eq=False)
class Roles:
    """Rows of the manifest, in its order: those to learn from, and those that count when tested."""

    train: pd.DataFrame  # labelled; under cross-validation with a column `fold`
    test: pd.DataFrame  # labelled and scored, likewise
    folds: int | None

    @cached_property
    def parts(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """What is learnt from and what is then tested, as positions in `train` and `test`: one pair, or one per fold."""
        if self.folds is None:
            return [(np.arange(len(self.train)), np.arange(len(self.test)))]
        learnt, tested = self.train["fold"].to_numpy(), self.test["fold"].to_numpy()
        return [(np.flatnonzero(learnt != fold), np.flatnonzero(tested == fold)) for fold in range(self.folds)]


def roles(dataset: Dataset, folds: int | None = None, columns: Sequence[str] = COLUMNS) -> Roles:
    """The rows to learn from and to test, with these columns and those that decide it."""
    needed: list[str] = []
    if folds is not None:
        needed = ["image_id", "sequence_id", "patient_id", "frame"]
        needed += ["fold"] if dataset.card.folds == folds else []  # those of the import
    table = dataset.manifest(list(dict.fromkeys([*columns, *needed, "label", "split", "scored"])))
    table = table[table["label"].notna() & table["split"].notna()]
    if folds is not None:
        return _dealt(dataset, table, folds)
    testing = ~table["split"].isin((TRAIN, VALIDATION)) & table["scored"]
    return Roles(table[table["split"] == TRAIN].reset_index(drop=True), table[testing].reset_index(drop=True), None)


def checked_roles(dataset: Dataset, folds: int | None = None) -> Roles:
    """As `roles`; a dataset that has nothing to test raises `BadInput`."""
    found = roles(dataset, folds)
    if found.test.empty:
        raise BadInput(
            f"Dataset {dataset.name!r} has no labelled test images. Attach a test set, or use cross-validation (folds)."
        )
    return found


def _dealt(dataset: Dataset, table: pd.DataFrame, folds: int) -> Roles:
    drawn = dataset.card.split_origin.startswith(DRAWN)
    dealt = table[table["split"].isin((TRAIN, VALIDATION, DRAWN_TEST_SET) if drawn else (TRAIN,))].reset_index(
        drop=True
    )
    if "fold" not in dealt:
        dealt["fold"] = draw_folds(dealt, folds)
    scored = mark_scored(dealt.assign(split=CROSS_VALIDATED))
    return Roles(dealt, dealt[scored].reset_index(drop=True), folds)
