"""What backbones that were pretrained here have seen of what a study tests.

In: a home, a backbone's card, a dataset and who is tested. Out: how many of the test images, and of the test patients,
the backbone was pretrained on; 0 and 0 for every other backbone.

A test image was seen where a pretraining image has its content, pixel for pixel and whatever either dataset is called.
A test patient (where none is known, a sequence) was seen where any image of theirs in the dataset was, or where the
backbone was pretrained on a patient of that name in a dataset of that name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fmlab.adapt.configs import Scratch
from fmlab.audit.report import counted
from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import find_backbone
from fmlab.data.manifest import Dataset, content_codes, id_codes, read_card
from fmlab.data.roles import Roles
from fmlab.data.splits import groups
from fmlab.runs.pretraining_guard import SEEN_FILE, read_seen, telling_copies
from fmlab.settings import Home
from fmlab.studies.grid import Grid
from fmlab.studies.needed import DatasetState, roles_of, state_of

ANSWERS_KEPT = 256


@dataclass(frozen=True)
class Seen:
    """How much of what is tested a backbone was pretrained on."""

    images: int = 0
    patients: int = 0  # sequences where patients are unknown
    tested_images: int = 0
    tested_patients: int = 0

    @property
    def fair(self) -> bool:
        """Whether it was pretrained on nothing of it."""
        return not self.images and not self.patients


def seen_by(home: Home, card: BackboneCard, dataset: Dataset, roles: Roles) -> Seen:
    """What a backbone has seen of the test rows of a dataset."""
    seen = read_seen(home, card.key)
    if not len(seen):
        return Seen()
    rows = dataset.manifest(["image_id", "sequence_id", "patient_id", "content_hash"])
    rows = rows[rows["content_hash"].notna()]
    contents = content_codes(rows["content_hash"])
    same = telling_copies(dataset, rows, contents, content_codes(seen["content_hash"]))
    own = seen.loc[seen["dataset"] == dataset.name, "patient_id"].dropna().unique()
    whom = groups(rows)
    known = whom.isin(whom[same].unique()) | rows["patient_id"].isin(own)
    tested = np.isin(id_codes(rows["image_id"]), id_codes(roles.test["image_id"]))
    return Seen(
        images=int((same & tested).sum()),
        patients=whom[known & tested].nunique(),
        tested_images=int(tested.sum()),
        tested_patients=whom[tested].nunique(),
    )


def seen_backbones(home: Home, dataset: Dataset, folds: int | None, keys: Iterable[str]) -> dict[str, Seen]:
    """Of these backbones those that have seen what a study tests, and how much; kept for as long as nothing changes."""
    state = state_of(dataset, folds)
    found = {key: _seen(home.path, key, _version(home, key), state) for key in keys}
    return {key: seen for key, seen in found.items() if not seen.fair}


def _version(home: Home, key: str) -> tuple[int, int] | None:
    """Size and time of change of the list of what a backbone has seen; None: there is none."""
    path = home.backbones / key / SEEN_FILE
    if not path.exists():
        return None
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


@lru_cache(maxsize=ANSWERS_KEPT)
def _seen(home: Path, key: str, version: tuple[int, int] | None, state: DatasetState) -> Seen:
    if version is None:
        return Seen()
    place = Home(home)
    return seen_by(place, find_backbone(place, key), Dataset(state.folder, read_card(state.folder)), roles_of(state))


def seen_in(home: Home, grid: Grid) -> dict[str, Seen]:
    """Of a study's backbones those that have seen what it tests. One trained from random weights has seen nothing."""
    keys = dict.fromkeys(line.card.key for line in grid.lines if not isinstance(line.adaptation, Scratch))
    return seen_backbones(home, grid.dataset, grid.config.folds, keys)


def seen_sentences(seen: Mapping[str, Seen], dataset: Dataset) -> list[str]:
    """A sentence for each of these backbones: how much it was pretrained on of what is tested."""
    unit = "sequence" if dataset.card.patients is None else "patient"
    return [
        f"Backbone {key!r} was pretrained on {each.patients:,} of the {counted(each.tested_patients, f'test {unit}')} of "
        f"dataset {dataset.name!r}, and on {each.images:,} of its {counted(each.tested_images, 'test image')}."
        for key, each in seen.items()
    ]
