"""Recipes: named training settings, and the exact numbers that follow from one for a backbone and a subset.

In: an adaptation that trains, the backbone's card, the subset, the device. Out: a `TrainingSetting`, all of it explicit;
it is part of a run's key. No torch here: the planner reads it too.

`limited-data`: the study's finetuning (section 4.4 and appendix), which is transformers' `Trainer` by its defaults, its
learning rates (Table 4), and as many epochs as let the model see 16,384 images.
`paper-epochs`: the same with the epochs of Tables 5 and 6 as printed. `quick`: far smaller, to see that all works.
Training from scratch is printed without a recipe; the one here is ours.
`fetal`: the finetuning of the fetal study (jakobamb/UltraDINO, `classification`: `fine_tune_barcelona_dinus_template.yaml`
and what its code makes of it: AdamW's own weight decay, no clipping). Its decay from layer to layer is as configured; its
code hands the factors to an AdamW that does not know them.
"""

import math
from dataclasses import asdict, dataclass, fields, replace
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

# Of the recipe `fetal`.
FETAL_RATE, FETAL_BATCH, FETAL_DECAY = 1e-4, 128, 0.01
FETAL_EPOCHS, FETAL_WARMUP_EPOCHS = 200, 5
FETAL_LAYER_DECAY, FETAL_MIXUP, FETAL_CUTMIX, FETAL_SMOOTHING = 0.65, 0.8, 1.0, 0.1

# What an adaptation may name itself, whatever its recipe.
SAID = (
    *("learning_rate", "weight_decay", "batch", "samples", "epochs", "input_size"),
    *("layer_decay", "mixup", "cutmix", "smoothing"),
)

TABLE_5 = {256: 64, 512: 32, 1024: 16, 2048: 8, 4096: 4, 8192: 2}  # images → epochs; 1 from 16,384 upward
TABLE_6 = {1: 5, 2: 3, 4: 2, 8: 1, 16: 1, 32: 1, 64: 1, 128: 1}  # sequences per class → epochs


@dataclass(frozen=True)
class TrainingSetting:
    """AdamW (betas 0.9 and 0.999, epsilon 1e-8) under a learning rate that falls to zero after its warm-up."""

    learning_rate: float
    weight_decay: float
    batch: int
    warmup: float  # share of all steps
    gradient_norm: float  # clipped to this; 0: not clipped
    samples: int  # seen, where `epochs` does not say otherwise: at least so many
    at_most: bool  # or at most so many; of a larger subset, that part which comes first in the order of the seed
    epochs: int | None
    input_size: int | None  # pixels; None: the preprocessing's
    augment: bool
    flip: bool
    jitter: float
    precision: Literal["fp32", "bf16"]
    schedule: Literal["linear", "cosine"] = "linear"  # how the rate falls
    layer_decay: float = 1.0  # of the rate, from each layer to the one before it
    mixup: float = 0.0
    cutmix: float = 0.0
    smoothing: float = 0.0  # of the labels
    normalised_head: bool = False  # features normalised over the batch before the linear layer
    augmentation: Literal["none", "fetal"] = "none"

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
        """As it stands in a run's config, where what has a default is left out at its default: so runs keep their keys when
        settings learn to say more."""
        usual = {each.name: each.default for each in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != usual[name]}


def training_setting(adaptation: Trained, card: BackboneCard, subset: Subset, device: str) -> TrainingSetting:
    """The numbers of one run. `paper-epochs` for a size that the study's tables do not have raises `BadInput`."""
    usual = _as_recipe(adaptation, card, subset, device)
    said = {name: value for name in SAID if (value := getattr(adaptation, name)) is not None}
    if adaptation.augmentation != "recipe":
        said["augmentation"] = adaptation.augmentation
    return replace(usual, **said)


def _as_recipe(adaptation: Trained, card: BackboneCard, subset: Subset, device: str) -> TrainingSetting:
    """The recipe's own numbers, and what no recipe decides."""
    quick, fetal = adaptation.recipe == "quick", adaptation.recipe == "fetal"
    scratch = isinstance(adaptation, Scratch)
    on_gpu = device.startswith("cuda")
    setting = TrainingSetting(
        learning_rate=usual_rate(adaptation, card)[0],
        weight_decay=SCRATCH_DECAY if scratch else 0.0,
        batch=SCRATCH_BATCH if scratch else BATCH,
        warmup=SCRATCH_WARMUP if scratch else 0.0,
        gradient_norm=GRADIENT_NORM,
        samples=QUICK_SAMPLES if quick else SAMPLES,
        at_most=quick,
        epochs=printed_epochs(subset) if adaptation.recipe == "paper-epochs" and adaptation.epochs is None else None,
        input_size=QUICK_SIZE if quick else None,
        augment=adaptation.augment,
        flip=adaptation.flip,
        jitter=adaptation.jitter,
        precision=("bf16" if on_gpu else "fp32") if adaptation.precision == "auto" else adaptation.precision,
    )
    return _as_in_fetal_study(setting, adaptation) if fetal else setting


def _as_in_fetal_study(setting: TrainingSetting, adaptation: Trained) -> TrainingSetting:
    return replace(
        setting,
        weight_decay=FETAL_DECAY,
        batch=FETAL_BATCH,
        warmup=FETAL_WARMUP_EPOCHS / FETAL_EPOCHS,
        gradient_norm=0.0,
        epochs=FETAL_EPOCHS if adaptation.samples is None else None,
        schedule="cosine",
        layer_decay=FETAL_LAYER_DECAY,
        mixup=FETAL_MIXUP,
        cutmix=FETAL_CUTMIX,
        smoothing=FETAL_SMOOTHING,
        normalised_head=True,
        augmentation="fetal",
    )


def usual_rate(adaptation: Trained, card: BackboneCard) -> tuple[float, str]:
    """The learning rate of an adaptation that names none, and who says so."""
    if adaptation.recipe == "fetal":
        return FETAL_RATE, "the fetal study's"
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
