"""The part of the audit that looks at every picture: duplicates that hide, copies, labels, shortcuts.

In: a dataset. Out: an `Audit` of five checks. Takes seconds for thousands of images, beyond what the shortcut test embeds.
Worker only: imports torch.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from fmlab.audit.duplicates import Changed, Pictures, check_copies, check_near
from fmlab.audit.embedded import confirmation, find_embedded
from fmlab.audit.hashes import hash_copies, hash_pictures
from fmlab.audit.label_errors import check_labels
from fmlab.audit.outside import check_outside
from fmlab.audit.report import Audit, Check
from fmlab.audit.tables import sides_of
from fmlab.data.manifest import Dataset
from fmlab.data.splits import groups
from fmlab.data.store import ImageStore
from fmlab.settings import Home

COLUMNS = ["image_id", "path", "frame", "label", "sequence_id", "patient_id", "split", "content_hash", "sector"]
COPIES_LOOKED_AT = 300  # of each side: whoever augments before splitting does it to all of them

Progress = Callable[[int, int, str], None]


def audit_pixels(
    home: Home,
    dataset: Dataset,
    device: str = "cpu",
    on_progress: Progress = lambda done, total, message: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Audit:
    """Every check that needs pixels. `on_progress` gets done, all, what is being done; raises `Cancelled`."""
    rows = split_rows(dataset)
    checks = check_duplicates(home, dataset, rows, on_progress, cancelled)
    on_progress(0, 1, "comparing labels")
    checks.append(check_labels(home, rows))

    def embedding(done: int, total: int) -> None:
        on_progress(done, total, "looking outside the sector")

    checks.append(check_outside(home, dataset, rows, device, embedding, cancelled))
    return Audit(tuple(checks))


def split_rows(dataset: Dataset) -> pd.DataFrame:
    """The rows of the images that stand in a split, with the columns that the checks need."""
    rows = dataset.manifest(COLUMNS + (["fold"] if dataset.card.folds else []))
    return rows[rows["split"].notna()].reset_index(drop=True)


def check_duplicates(
    home: Home,
    dataset: Dataset,
    rows: pd.DataFrame,
    on_progress: Progress = lambda done, total, message: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Check]:
    """The checks `near_duplicates`, `frames` and `copies`, for which nothing is embedded."""
    pictures = _pictures(dataset, rows, on_progress, cancelled)
    embedded = find_embedded(home, rows)
    confirm = None if embedded is None else confirmation(embedded)
    by = "Found by perceptual hashes; there are no embeddings yet to confirm it."
    if embedded is not None:
        by = f"Found by perceptual hashes, confirmed by the embeddings of {embedded.backbone}."
    on_progress(0, 1, "comparing pictures")
    checks, named = check_near(pictures, confirm, by)
    return [*checks, _copies(dataset, pictures, named, cancelled)]


def _pictures(dataset: Dataset, rows: pd.DataFrame, on_progress: Progress, cancelled: Callable[[], bool]) -> Pictures:
    store = ImageStore(dataset.folder / "store")
    positions = store.positions(rows["image_id"])
    hashes, flat = hash_pictures(
        lambda index: store.read(int(positions[index])),
        len(rows),
        lambda done: on_progress(done, len(rows), "hashing pictures"),
        cancelled,
    )
    sides, tested = sides_and_tested(rows)
    return Pictures(rows, sides, tested, hashes, flat)


def sides_and_tested(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The side of each picture, (N,) int64, and whether it is tested, (N,) bool.

    Without a test set a study cross-validates: every image is tested, and each fold, or else each patient, is a side.
    """
    sides = sides_of(rows["split"])
    if (sides == 2).any():
        return sides, sides == 2
    whole = rows["fold"].astype("string") if "fold" in rows else groups(rows)
    return pd.factorize(whole)[0].astype(np.int64), np.ones(len(rows), bool)


def _copies(dataset: Dataset, pictures: Pictures, named: np.ndarray, cancelled: Callable[[], bool]) -> Check:
    store = ImageStore(dataset.folder / "store")
    shown = ~pictures.flat & ~named & (not pictures.tested.all())

    def copied(candidates: np.ndarray) -> Changed:
        chosen = np.linspace(0, len(candidates) - 1, min(COPIES_LOOKED_AT, len(candidates))).round().astype(int)
        looked_at = candidates[chosen]
        positions = store.positions(pictures.rows["image_id"].iloc[looked_at])
        hashes = hash_copies(lambda index: store.read(int(positions[index])), len(looked_at), cancelled)
        return Changed(looked_at, hashes)

    tested, learnt = np.flatnonzero(shown & pictures.tested), np.flatnonzero(shown & ~pictures.tested)
    return check_copies(pictures, copied(tested), copied(learnt))
