"""Launching a study: the grid laid out, what is done already counted as done, the rest queued.

In: a config and who asks. Out: the study's record. Nothing is queued when anything about it is refused.
"""

from fmlab.data.manifest import open_dataset
from fmlab.errors import BadInput
from fmlab.runs.records import Actor, StudyRecord
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.audits import audit_of
from fmlab.studies.configs import StudyConfig
from fmlab.studies.differences import differences_from_paper
from fmlab.studies.grid import Grid, lay_out
from fmlab.studies.remarks import LEAK_NOTE, caution_notes, seen_note
from fmlab.studies.seen import seen_in, seen_sentences


def launch(home: Home, store: Store, config: StudyConfig, by: Actor) -> StudyRecord:
    """Launch a study.

    A leaking split is refused, and a backbone that was pretrained on what is tested, unless the config names the dataset
    as accepted.
    """
    grid = lay_out(home, open_dataset(home, config.dataset), config)
    refuse_leaks(home, store, grid)
    refuse_seen(home, grid)
    notes = [*grid.dropped, *differences_from_paper(config, grid.dataset, home)]
    if audit_of(home, store, grid.dataset).leaks:
        notes.append(f"{LEAK_NOTE}; its numbers are too good.")
    if seen := seen_in(home, grid):
        notes.append(seen_note(seen))
    notes += caution_notes(grid.cards)
    return store.add_study(config.name, config.plain(), grid.requests, notes, by)


def refuse_leaks(home: Home, store: Store, grid: Grid) -> None:
    """Raise `BadInput` for a dataset whose audit found a leak, as far as it is known now, unless accepted by name."""
    leaks = audit_of(home, store, grid.dataset).leaks
    if leaks and grid.config.allow_leaking != grid.dataset.name:
        raise BadInput(
            f"The split of dataset {grid.dataset.name!r} leaks: {' '.join(check.sentence for check in leaks)} "
            "Import it with a split by patient, or accept it by typing the dataset's name."
        )


def refuse_seen(home: Home, grid: Grid) -> None:
    """Raise `BadInput` for a backbone that was pretrained here on what the study tests, unless accepted likewise."""
    seen = seen_in(home, grid)
    if seen and grid.config.allow_leaking != grid.dataset.name:
        raise BadInput(
            f"{' '.join(seen_sentences(seen, grid.dataset))} The numbers would be too good: leave out {', '.join(seen)}, "
            "or accept it by typing the dataset's name."
        )
