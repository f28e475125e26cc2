"""What is asked when somebody wants to know why: an image, whoever answered it, and the runs that find more out.

In: an image of a dataset with its label and answer, a run or only a backbone. Out: `Asked`; runs that are asked for.
"""

from dataclasses import dataclass, replace

import numpy as np

from fmlab.backbones.cards import BackboneCard
from fmlab.data.manifest import Dataset
from fmlab.data.preprocessing import mask_outside
from fmlab.data.store import stored_images
from fmlab.errors import NotFound
from fmlab.runs.records import RETRIABLE, Run, RunRequest
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.nearest import Space
from fmlab.ui import session
from fmlab.ui.messages import shown_errors
from fmlab.ui.theme import Mode


@dataclass(frozen=True)
class Asked:
    """An image, and the run or only the backbone through which it is seen."""

    home: Home
    store: Store
    dataset: Dataset
    card: BackboneCard
    run: Run | None
    image_id: str
    test_set: str | None  # under its label version
    study: str | None
    label: str | None  # under that version
    answer: str | None  # of the run; None: it did not score the image
    whole: bool  # whether what lies outside the sector may be shown
    mode: Mode
    key: str  # of the panel on its page

    @property
    def space(self) -> Space:
        """Where the images lie in the backbone's usual feature."""
        config = self.run.config if self.run else {}
        mask_sector = bool(config.get("mask_sector", self.dataset.card.mask_sector))
        style = config.get("style", "native")
        return Space(self.home, self.dataset, self.card, style, mask_sector, config.get("folds"))

    @property
    def own_space(self) -> Space:
        """As `space`, in the very feature that the run was fitted on; for a run that trained it is the usual one."""
        if self.run is None or self.run.kind != "adapt":
            return self.space
        return replace(self.space, feature=self.run.config["feature"], precision=self.run.config["precision"])

    def pixels(self, image_ids: list[str]) -> dict[str, np.ndarray]:
        """The pixels of a few images, black outside the sector unless that may be shown."""
        pixels = stored_images(self.dataset.folder / "store", image_ids)
        if self.whole:
            return pixels
        rows = self.dataset.rows_of(image_ids, ["sector"])
        return {row["image_id"]: mask_outside(pixels[row["image_id"]], row["sector"]) for row in rows}


def find_run(store: Store, request: RunRequest) -> Run | None:
    """The run that was asked for by this very request, whatever became of it; None: never asked for."""
    try:
        return store.run(request.key)
    except NotFound:
        return None


def ask_for(request: RunRequest, run: Run | None) -> None:
    """Queue what was asked for, or once more where it did not end well."""
    with shown_errors():
        if run is not None and run.state in RETRIABLE:
            session.store().retry([run.key], session.actor())
        else:
            session.store().request(request, session.actor())
