"""Who is examined where: the plan of a phantom dataset, before any picture is drawn.

Counts follow Table 2 of the limited-data study: class proportions of the training hospitals, of the fourth hospital
(T1) and of the external site (T2, seven classes). Every fact about a sequence is drawn from the seed and the names of
what it belongs to (split, view, index; patient; site), never from its place in a list: a larger plan contains the
smaller one unchanged, and sequences can be drawn in any order, on any number of processes.

In:  `PhantomConfig`
Out: list of `PlannedSequence`
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from fmlab.errors import BadInput
from fmlab.phantom.views import CONFUSABLE, VIEWS

STUDY_SEQUENCES: dict[str, dict[str, int]] = {
    "train": dict(zip(VIEWS, (1033, 1433, 354, 347, 775, 305, 904, 844, 828, 171), strict=True)),
    "T1": dict(zip(VIEWS, (120, 176, 41, 92, 107, 76, 160, 183, 70, 1), strict=True)),
    "T2": dict(zip(VIEWS, (4, 19, 3, 2, 14, 0, 0, 21, 0, 1), strict=True)),
}
"""Sequences per class in the limited-data study, Table 2."""

TRAIN_SITES = ("hospital-A", "hospital-B", "hospital-C")
TEST_SITES = {"T1": "hospital-D", "T2": "external"}


@dataclass(frozen=True)
class PhantomConfig:
    """What to generate. `sequences_per_class` is the least any class gets in train, under its (maybe wrong) label.

    Larger classes get more, in proportion to the study's Table 2, up to `largest_class` times that minimum.
    `t1_sequences` and `t2_sequences` are totals, shared out like the study's. Shares are fractions 0-1.
    """

    sequences_per_class: int = 16
    largest_class: float = 1.5
    t1_sequences: int = 108
    t2_sequences: int = 64
    frames_per_sequence: int = 8
    scored_frames: int = 5
    wrong_label_share: float = 0.03
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible settings with BadInput."""
        for name, least in (("sequences_per_class", 1), ("t1_sequences", 0), ("t2_sequences", 0), ("scored_frames", 1)):
            if getattr(self, name) < least:
                raise BadInput(
                    f"{name} is {getattr(self, name)}; expected at least {least}. Please give a larger number."
                )
        if self.frames_per_sequence < self.scored_frames:
            raise BadInput(
                f"frames_per_sequence is {self.frames_per_sequence}, fewer than the {self.scored_frames} scored frames "
                "of a test sequence; please give at least as many."
            )
        if self.largest_class < 1.0:
            raise BadInput(
                f"largest_class is {self.largest_class}; expected at least 1, a multiple of the smallest class."
            )
        if not 0.0 <= self.wrong_label_share <= 0.5:
            raise BadInput(f"wrong_label_share is {self.wrong_label_share}; expected a fraction between 0 and 0.5.")


@dataclass(frozen=True)
class PlannedSequence:
    """One sequence to draw. `view` is the truth, `label` what the dataset says, wrong for a known small share."""

    sequence_id: str
    patient_id: str
    site: str
    split: str
    view: str
    label: str
    frames: int
    patient_number: int
    number: int


def digest(*facts: object) -> int:
    """A 64-bit number from any facts, the same on every machine and in every Python."""
    text = "\x1f".join(str(fact) for fact in facts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def generator(config: PhantomConfig, *facts: object) -> np.random.Generator:
    """The random stream that belongs to the seed and these facts."""
    return np.random.Generator(np.random.PCG64(digest("phantom", config.seed, *facts)))


def train_counts(config: PhantomConfig) -> dict[str, int]:
    """Least number of training sequences per label."""
    # The smallest classes of the study (171-354 sequences) share the minimum, so that a balanced subset wastes little.
    unit = STUDY_SEQUENCES["train"]["A-5CH"]
    cap = round(config.sequences_per_class * config.largest_class)
    return {
        view: int(np.clip(round(config.sequences_per_class * count / unit), config.sequences_per_class, cap))
        for view, count in STUDY_SEQUENCES["train"].items()
    }


def share_out(split: str, total: int) -> dict[str, int]:
    """Sequences per view of a test set: the study's proportions by largest remainder, one at least where it has any."""
    study = {view: count for view, count in STUDY_SEQUENCES[split].items() if count > 0}
    if total == 0:
        return dict.fromkeys(VIEWS, 0)
    if total < len(study):
        raise BadInput(
            f"{split} is to have {total} sequences; expected 0 or at least {len(study)}, one for each class it has."
        )
    everything = sum(study.values())
    exact = {view: total * count / everything for view, count in study.items()}
    counts = {view: max(1, int(share)) for view, share in exact.items()}
    by_remainder = sorted(study, key=lambda view: counts[view] - exact[view])
    while sum(counts.values()) < total:
        for view in by_remainder[: total - sum(counts.values())]:
            counts[view] += 1
    while sum(counts.values()) > total:
        largest = max(counts, key=lambda view: counts[view] - exact[view] if counts[view] > 1 else -np.inf)
        counts[largest] -= 1
    return {view: counts.get(view, 0) for view in VIEWS}


def label_of(config: PhantomConfig, split: str, view: str, number: int) -> str:
    """The label a sequence carries; a low-discrepancy sequence spreads the wrong ones evenly over the plan."""
    start = digest("labels", config.seed, split) / 2.0**64
    step = (number * len(VIEWS) + VIEWS.index(view)) * 0.6180339887498949
    return CONFUSABLE[view] if (start + step) % 1.0 < config.wrong_label_share else view


def _planned(config: PhantomConfig, split: str, view: str, number: int) -> PlannedSequence:
    # Two patients per round share the views between them, another half each round: a patient gives some five views.
    patient = 2 * number + (digest("turn", config.seed, split, view, number) % 2)
    site = TRAIN_SITES[patient % len(TRAIN_SITES)] if split == "train" else TEST_SITES[split]
    return PlannedSequence(
        sequence_id=f"S{digest('sequence', config.seed, split, view, number):016x}"[:13],
        patient_id=f"P{digest('patient', config.seed, split, patient):016x}"[:9],
        site=site,
        split=split,
        view=view,
        label=label_of(config, split, view, number),
        frames=config.frames_per_sequence,
        patient_number=patient,
        number=number,
    )


def plan(config: PhantomConfig) -> list[PlannedSequence]:
    """Every sequence of the dataset, train first, then T1 and T2, by class and number."""
    planned = []
    for view, wanted in train_counts(config).items():
        number, right = 0, 0
        # Wrongly labelled ones come on top, so that no label falls below the minimum.
        while right < wanted:
            sequence = _planned(config, "train", view, number)
            planned.append(sequence)
            right += sequence.label == view
            number += 1
    for split, total in (("T1", config.t1_sequences), ("T2", config.t2_sequences)):
        for view, count in share_out(split, total).items():
            planned.extend(_planned(config, split, view, number) for number in range(count))
    return planned
