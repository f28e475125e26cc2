"""What has to stand beside every number of a study.

In: a study as launched and its dataset. Out: short remarks, for figures, tables and pages; none for most studies.
That images are simulated is the dataset's own remark and stands there already.
"""

from collections.abc import Iterable

from fmlab.adapt.configs import Adaptation, Trained
from fmlab.adapt.recipes import recipe_note
from fmlab.backbones.cards import BackboneCard
from fmlab.data.manifest import Dataset
from fmlab.runs.records import StudyRecord
from fmlab.studies.configs import StudyConfig, study_config
from fmlab.studies.presets import QUICK

LEAK_NOTE = "The split leaks"  # how the note begins that a launch leaves on a study whose leak was accepted
LEAKING = "the split leaks: the same patients or images on both sides, so the numbers are too good"
SEEN_NOTE = "Pretrained on what is tested: "  # likewise, of a backbone; their keys follow
CAUTION_NOTE = "Beside every number of "  # likewise, of a backbone whose card has a caution; both follow


def remarks_of(record: StudyRecord, dataset: Dataset) -> tuple[str, ...]:
    """The remarks on a study, without a full stop, the gravest first."""
    config = study_config(record.config)
    noted = any(note.startswith(LEAK_NOTE) for note in record.notes)
    leak = (LEAKING,) if noted or dataset.card.leaking else ()
    seen = (note for note in record.notes if note.startswith(SEEN_NOTE))
    pretrained = tuple(
        f"pretrained on what is tested, so too good: {note.removeprefix(SEEN_NOTE)[:-1]}" for note in seen
    )
    cautions = tuple(note.removeprefix(CAUTION_NOTE)[:-1] for note in record.notes if note.startswith(CAUTION_NOTE))
    folds = (f"cross-validated by patient in {config.folds} folds, no test set of its own",) if config.folds else ()
    return (*leak, *pretrained, *cautions, *_quick_remarks(config), *folds)


def seen_note(keys: Iterable[str]) -> str:
    """The note that a launch leaves on a study of backbones that have seen what is tested, which a person accepted."""
    return f"{SEEN_NOTE}{', '.join(keys)}."


def caution_notes(cards: Iterable[BackboneCard]) -> list[str]:
    """The notes that a launch leaves on a study of backbones whose cards have a caution."""
    return [f"{CAUTION_NOTE}{card.key}: {card.caution}." for card in cards if card.caution]


def _quick_remarks(config: StudyConfig) -> tuple[str, ...]:
    whole = (config.preset or "").endswith(QUICK)
    note = recipe_note("quick") or ""
    if whole or any(_is_quick(adaptation) for adaptation in config.adaptations):
        return (note,)
    lines = [each.backbone for each in config.baselines if _is_quick(each.adaptation)]
    return (f"{', '.join(lines)} from scratch: {note}",) if lines else ()


def _is_quick(adaptation: Adaptation) -> bool:
    return isinstance(adaptation, Trained) and adaptation.recipe == "quick"
