"""Launching a study: the grid laid out, what is done already counted as done, the rest queued.

In: a config and who asks. Out: the study's record. Nothing is queued when anything about it is refused.
"""

from fmlab.data.manifest import open_dataset
from fmlab.errors import BadInput
from fmlab.runs.records import Actor, StudyRecord
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.configs import StudyConfig
from fmlab.studies.grid import Grid, lay_out

LEAKS_SHOWN = 3


def launch(home: Home, store: Store, config: StudyConfig, by: Actor) -> StudyRecord:
    """Launch a study. A leaking split is refused unless the config names the dataset as accepted."""
    grid = lay_out(home, open_dataset(home, config.dataset), config)
    refuse_leaks(grid)
    notes = [*grid.dropped]
    if grid.dataset.card.leaking:
        notes.append("The split leaks; its numbers are too good.")
    return store.add_study(config.name, config.plain(), grid.requests, notes, by)


def refuse_leaks(grid: Grid) -> None:
    """Raise `BadInput` for a split on whose sides the same patient or sequence stands, unless accepted by name."""
    leaks = grid.dataset.card.leaking
    if leaks and grid.config.allow_leaking != grid.dataset.name:
        shown = ", ".join(leaks[:LEAKS_SHOWN]) + (
            f" and {len(leaks) - LEAKS_SHOWN} more" if len(leaks) > LEAKS_SHOWN else ""
        )
        raise BadInput(
            f"The split of dataset {grid.dataset.name!r} leaks: {shown} stand on both sides. "
            "Import it with a split by patient, or accept it by typing the dataset's name."
        )
