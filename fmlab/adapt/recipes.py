"""Recipes: named training settings, and the exact numbers that follow from one for a backbone and a subset.

In: an adaptation that trains, the backbone's card, the subset, the device. Out: a `TrainingSetting`, all of it explicit;
it is part of a run's key. No torch here: the planner reads it too.

`limited-data`: the study's finetuning (section 4.4 and appendix), which is transformers' `Trainer` by its defaults, its
learning rates (Table 4), and as many epochs as let the model see 16,384 images.
`paper-epochs`: the same with the epochs of Tables 5 and 6 as printed. `quick`: far smaller, to see that all works.
Training from scratch is printed without a recipe; the one here is ours.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from fmlab.adapt.configs import LastBlocks, LoRA, RecipeName, Scratch, Trained
from fmlab.backbones.cards import BackboneCard
from fmlab.data.subsets import Subset
from fmlab.errors import BadInput

SAMPLES = 16_384  # limited-data study, appendix: at least 2^14 images seen
QUICK_SAMPLES = 2_048
QUICK_SIZE = 96  # pixels

TRAINER_RATE = 5e-5  # transformers' default
BATCH = 8  # transformers' default
GRADIENT_NORM = 1.0  # transformers' default

SCRATCH_RATE, SCRATCH_BATCH, SCRATCH_DECAY, SCRATCH_WARMUP = 1e-3, 32, 0.05, 0.05
ADDED_RATE = 1e-3  # of weights that begin at zero, as LoRA's

TABLE_5 = {256: 64, 512: 32, 1024: 16, 2048: 8, 4096: 4, 8192: 2}  # images → epochs; 1 from 16,384 upward
TABLE_6 = {1: 5, 2: 3, 4: 2, 8: 1, 16: 1, 32: 1, 64: 1, 128: 1}  # sequences per class → epochs


@dataclass(frozen=True)
class TrainingSetting:
    """AdamW (betas 0.9 and 0.999, epsilon 1e-8) under a learning rate that falls linearly to zero after its warm-up."""

    learning_rate: float
    weight_decay: float
    batch: int
    warmup: float  # share of all steps
    gradient_norm: float  # clipped to this
    samples: int  # seen, where `epochs` does not say otherwise: at least so many
    at_most: bool  # or at most so many; of a larger subset, that part which comes first in the order of the seed
    epochs: int | None
    input_size: int | None  # pixels; None: the preprocessing's
    augment: bool
    flip: bool
    jitter: float
    precision: Literal["fp32", "bf16"]

    def epochs_for(self, items: int) -> int:
        """How often each of so many items is seen: max(1, samples / items), rounded up, or down for at most so many."""
        rounded = math.floor if self.at_most else math.ceil
        return self.epochs or max(1, rounded(self.samples / items))

    def steps_for(self, items: int) -> int:
        """Steps of the optimiser in all; the last batch of an epoch may be smaller."""
        if self.at_most and self.epochs is None and items > self.samples:
            return max(1, self.samples // self.batch)
        return self.epochs_for(items) * math.ceil(items / self.batch)

    def images_for(self, items: int) -> int:
        """Images seen in all, each as often as it is seen."""
        return min(self.epochs_for(items) * items, self.steps_for(items) * self.batch)

    @property
    def plain(self) -> dict[str, Any]:
        """As it stands in a run's config."""
        return asdict(self)


def training_setting(adaptation: Trained, card: BackboneCard, subset: Subset, device: str) -> TrainingSetting:
    """The numbers of one run. `paper-epochs` for a size that the study's tables do not have raises `BadInput`."""
    quick = adaptation.recipe == "quick"
    scratch = isinstance(adaptation, Scratch)
    decay = SCRATCH_DECAY if scratch else 0.0
    on_gpu = device.startswith("cuda")
    return TrainingSetting(
        learning_rate=adaptation.learning_rate or usual_rate(adaptation, card)[0],
        weight_decay=decay if adaptation.weight_decay is None else adaptation.weight_decay,
        batch=adaptation.batch or (SCRATCH_BATCH if scratch else BATCH),
        warmup=SCRATCH_WARMUP if scratch else 0.0,
        gradient_norm=GRADIENT_NORM,
        samples=adaptation.samples or (QUICK_SAMPLES if quick else SAMPLES),
        at_most=quick,
        epochs=adaptation.epochs or (printed_epochs(subset) if adaptation.recipe == "paper-epochs" else None),
        input_size=adaptation.input_size or (QUICK_SIZE if quick else None),
        augment=adaptation.augment,
        flip=adaptation.flip,
        jitter=adaptation.jitter,
        precision=("bf16" if on_gpu else "fp32") if adaptation.precision == "auto" else adaptation.precision,
    )


def usual_rate(adaptation: Trained, card: BackboneCard) -> tuple[float, str]:
    """The learning rate of an adaptation that names none, and who says so."""
    if isinstance(adaptation, Scratch):
        return SCRATCH_RATE, "ours"
    if isinstance(adaptation, LoRA):
        return ADDED_RATE, "ours"
    if card.finetuning is not None:
        return card.finetuning.learning_rate, card.finetuning.source
    if isinstance(adaptation, LastBlocks) or card.floor:
        return SCRATCH_RATE if card.floor else TRAINER_RATE, "ours" if card.floor else "transformers' default"
    return TRAINER_RATE, "transformers' default"


def printed_epochs(subset: Subset) -> int:
    """The epochs that the study's Table 5 (images) or 6 (sequences) prints for a size."""
    if subset.scheme == "images" and subset.size >= SAMPLES:
        return 1
    table = TABLE_5 if subset.scheme == "images" else TABLE_6
    if subset.size not in table:
        raise BadInput(
            f"The recipe paper-epochs has no entry for {subset.size} {subset.scheme}; its sizes are "
            f"{', '.join(map(str, table))}. Use the recipe limited-data."
        )
    return table[subset.size]


def recipe_note(recipe: RecipeName) -> str | None:
    """What has to stand beside every number of a recipe; None for the study's own."""
    return "quick, not the paper's protocol" if recipe == "quick" else None
