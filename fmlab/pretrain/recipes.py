"""Recipes: named ways to pretrain, and the exact numbers that follow from one for a method and a set of images.

In: a `Pretraining`, how many images there are, the device. Out: a `PretrainSetting`, all of it explicit; it is part of
the run's key. No torch here: the page and the planner read it too.

`reference`: each method as its authors publish it. DINOv2: facebookresearch/dinov2, `configs/ssl_default_config.yaml`
(the short recipe). MAE: facebookresearch/mae, `PRETRAIN.md`. SimSiam: facebookresearch/simsiam. SimCLR: its loss
(T. Chen et al., ICML 2020) trained as X. Chen et al. train vision transformers with it (MoCo v3, ICCV 2021).
`fetal`: DINOv2 as the fetal study ran it on 2 million frames (jakobamb/UltraDINO, `configs/train/vits16_dinus_13m.yaml`,
40 epochs of batch 512); the other methods on equal terms: its network, crops, epochs and batch.
`small`: for one processor or a modest GPU and some thousand frames; ours.
"""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from fmlab.errors import BadInput
from fmlab.pretrain.configs import Method, Network, Pretraining, RecipeName
from fmlab.pretrain.policies import policy

WIDTHS: dict[Network, int] = {
    "vit-tiny": 192,
    "vit-small": 384,
    "vit-base": 768,
    "vit-large": 1024,
    "resnet18": 512,
    "resnet50": 2048,
}  # fmt: skip
KEPT_MARGIN = (
    8 / 7
)  # side of the stored square over that of the large crops: 256 for 224, as DINOv2's evaluation resizes

# Grey value of the frames that UltraDINO was trained on, 0–1; what natural images have.
FETAL_MEAN, FETAL_STD = (0.1842924807,), (0.2187705424,)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Distillation:
    """Numbers of DINOv2's losses."""

    prototypes: int = 65_536
    hidden: int = 2048
    bottleneck: int = 256
    layers: int = 3
    batch_norm: bool = False  # in the head; ours, for small batches
    student_temperature: float = 0.1
    teacher_temperature: tuple[float, float] = (0.04, 0.07)  # start, end
    temperature_warmup: float = 0.3  # share of all steps
    momentum: tuple[float, float] = (0.992, 1.0)  # of the teacher's weights
    centring: Literal["ema", "sinkhorn", "none"] = "ema"
    koleo: float = 0.1  # weight
    patches: float = 1.0  # weight of the masked patches' loss
    masked_share: float = 0.5  # of the large crops
    masked_ratio: tuple[float, float] = (0.1, 0.5)  # of their patches
    freeze_last: float = 0.01  # share of all steps in which the prototypes stand still


@dataclass(frozen=True)
class Reconstruction:
    """Numbers of MAE."""

    mask_ratio: float = 0.75
    width: int = 512
    depth: int = 8
    heads: int = 16
    normalise: bool = True  # each patch of the target to mean 0 and variance 1


@dataclass(frozen=True)
class Siamese:
    """Numbers of SimSiam's heads."""

    projection: int = 2048
    prediction: int = 512


@dataclass(frozen=True)
class Contrast:
    """Numbers of SimCLR."""

    temperature: float = 0.2
    hidden: int = 2048
    projection: int = 128


@dataclass(frozen=True)
class Start:
    """A backbone of the catalogue whose weights are the start, and what it decides."""

    key: str
    digest: str  # of its weights
    architecture: str  # timm's name
    options: dict[str, Any]
    norm_eps: float | None
    patch: int
    channels: int
    registers: int
    layer_scale: float | None
    mean: tuple[float, ...]  # for each channel, 0–1
    std: tuple[float, ...]


@dataclass(frozen=True)
class PretrainSetting:
    """Every number of one pretraining."""

    method: Method
    network: str  # of `Network`, or timm's name of the architecture that is the start
    patch: int  # pixels; of no meaning to a ResNet
    channels: int
    registers: int
    drop_path: float
    layer_scale: float | None  # what it starts at; None: there is none
    size: int  # pixels, of the large crops
    local_size: int
    local_crops: int
    kept: int  # pixels, of the squares from which crops are cut
    fit: str
    policy: dict[str, Any]
    mean: tuple[float, ...] | None  # for each channel, 0–1; None: measured on the images
    std: tuple[float, ...] | None

    batch: int
    steps: int | None  # None: as many as fit in `minutes`
    minutes: float | None
    warmup: float  # share of all steps
    optimizer: Literal["adamw", "sgd"]
    learning_rate: float  # its peak, after the rule for the batch
    final_learning_rate: float
    weight_decay: tuple[float, float]  # start, end
    betas: tuple[float, float]  # of AdamW; the first is SGD's momentum
    layer_decay: float
    patch_rate: float  # factor of the learning rate of the patch embedding
    gradient_norm: float | None  # clipped to this, for each part of the method by itself
    precision: Literal["fp32", "bf16"]
    seed: int

    distillation: Distillation | None = None
    reconstruction: Reconstruction | None = None
    siamese: Siamese | None = None
    contrast: Contrast | None = None
    start: Start | None = None

    @property
    def views(self) -> int:
        """Large crops of each image."""
        return 1 if self.method == "mae" else 2

    @property
    def convolutional(self) -> bool:
        """Whether the network is a ResNet."""
        return self.network.startswith("resnet")

    @property
    def plain(self) -> dict[str, Any]:
        """As it stands in a run's config."""
        return asdict(self)


@dataclass(frozen=True)
class _Recipe:
    """A recipe's numbers for one method, where the learning rate follows a rule and the length is in epochs."""

    network: Network
    epochs: int
    warmup_epochs: float
    batch: int
    base_rate: float
    rule: Literal["sqrt", "linear"]
    policy: str
    rule_batch: int = 256
    minutes: float | None = None  # instead of the epochs
    channels: int = 3
    registers: int = 0
    drop_path: float = 0.0
    layer_scale: float | None = None
    size: int = 224
    local_size: int = 96
    local_crops: int = 0
    mean: tuple[float, ...] | None = IMAGENET_MEAN
    std: tuple[float, ...] | None = IMAGENET_STD
    final_rate: float = 0.0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: tuple[float, float] = (0.05, 0.05)
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: float = 1.0
    patch_rate: float = 1.0
    gradient_norm: float | None = None
    numbers: dict[str, Any] = field(default_factory=dict)


_DINOV2 = _Recipe(
    network="vit-base", epochs=100, warmup_epochs=10, batch=1024, base_rate=4e-3, rule="sqrt", rule_batch=1024,
    policy="natural", drop_path=0.3, layer_scale=1e-5, local_crops=8, final_rate=1e-6, weight_decay=(0.04, 0.4),
    layer_decay=0.9, patch_rate=0.2, gradient_norm=3.0, numbers={"distillation": Distillation()},
)  # fmt: skip
_MAE = _Recipe(
    network="vit-base", epochs=800, warmup_epochs=40, batch=4096, base_rate=1.5e-4, rule="linear", policy="crops",
    betas=(0.9, 0.95), numbers={"reconstruction": Reconstruction()},
)  # fmt: skip
_SIMSIAM = _Recipe(
    network="resnet50", epochs=100, warmup_epochs=0, batch=512, base_rate=0.05, rule="linear", policy="simsiam",
    optimizer="sgd", weight_decay=(1e-4, 1e-4), numbers={"siamese": Siamese()},
)  # fmt: skip
_SIMCLR = _Recipe(
    network="vit-base", epochs=300, warmup_epochs=40, batch=4096, base_rate=1.5e-4, rule="linear", policy="natural",
    weight_decay=(0.1, 0.1), numbers={"contrast": Contrast()},
)  # fmt: skip

_FETAL = {"epochs": 40, "batch": 512, "channels": 1, "mean": FETAL_MEAN, "std": FETAL_STD, "policy": "fetal"}
_SMALL = {
    "network": "vit-tiny", "epochs": 100, "minutes": 30.0, "batch": 128, "channels": 1, "policy": "ultrasound",
    "size": 64, "local_size": 32, "mean": None, "std": None, "optimizer": "adamw", "weight_decay": (0.05, 0.05),
    "drop_path": 0.0, "layer_scale": None, "layer_decay": 1.0, "patch_rate": 1.0, "gradient_norm": 3.0,
    "warmup_epochs": 5, "base_rate": 1e-3, "rule": "linear", "rule_batch": 128, "final_rate": 1e-6,
}  # fmt: skip

RECIPES: dict[tuple[RecipeName, Method], _Recipe] = {
    ("reference", "dinov2"): _DINOV2,
    ("reference", "mae"): _MAE,
    ("reference", "simsiam"): _SIMSIAM,
    ("reference", "simclr"): _SIMCLR,
    ("fetal", "dinov2"): replace(_DINOV2, **_FETAL, network="vit-small", registers=4),
    ("fetal", "mae"): replace(_MAE, **_FETAL, network="vit-small", warmup_epochs=2),
    ("fetal", "simsiam"): replace(_SIMSIAM, **_FETAL),
    ("fetal", "simclr"): replace(_SIMCLR, **_FETAL, network="vit-small", warmup_epochs=5),
    ("small", "dinov2"): replace(
        # In a run of minutes a teacher that follows slowly stays the random start, and small crops teach nothing.
        _DINOV2, **(_SMALL | {"policy": "ultrasound-whole"}), local_crops=2,
        numbers={
            "distillation": Distillation(
                prototypes=512, hidden=512, bottleneck=128, batch_norm=True, teacher_temperature=(0.05, 0.05),
                momentum=(0.0, 0.9), centring="sinkhorn", patches=0.2,
            )
        },
    ),
    ("small", "mae"): replace(
        _MAE, **_SMALL, numbers={"reconstruction": Reconstruction(width=96, depth=2, heads=3)}
    ),
    # Two crops compared: on real frames a ResNet-18 learnt more in the same minutes than a ViT-Ti, which SimSiam may
    # even leave worse than it began (README).
    ("small", "simsiam"): replace(
        _SIMSIAM, **_SMALL | {"network": "resnet18"}, numbers={"siamese": Siamese(projection=512, prediction=128)}
    ),
    ("small", "simclr"): replace(
        _SIMCLR, **_SMALL | {"network": "resnet18"}, numbers={"contrast": Contrast(temperature=0.1, hidden=512)}
    ),
}  # fmt: skip


def pretrain_setting(asked: Pretraining, images: int, device: str, start: Start | None = None) -> PretrainSetting:
    """The numbers of one pretraining on so many images, beginning at random weights or at `start`.

    Raises `BadInput` for fewer images than a batch, and for what does not go together.
    """
    recipe = RECIPES[asked.recipe, asked.method]
    network = start.architecture if start else asked.network or recipe.network
    batch = asked.batch or recipe.batch
    if images < batch:
        raise BadInput(
            f"There are {images} images to learn from, fewer than one batch of {batch}. Choose more images, or "
            f"a smaller batch."
        )
    chosen = policy(asked.policy or recipe.policy, asked.flips)
    channels = start.channels if start else asked.channels or recipe.channels
    patch = start.patch if start else asked.patch or 16
    size = asked.size or recipe.size
    local_crops = _local_crops(asked, recipe)
    local_size = asked.local_size or max(patch * 3, size * recipe.local_size // recipe.size // patch * patch)
    if not network.startswith("resnet"):
        check_sides(patch, size, local_size if local_crops else None)
    setting = PretrainSetting(
        method=asked.method,
        network=network,
        patch=patch,
        channels=channels,
        registers=start.registers if start else recipe.registers if asked.registers is None else asked.registers,
        drop_path=recipe.drop_path,
        layer_scale=start.layer_scale if start else recipe.layer_scale,
        size=size,
        local_size=local_size,
        local_crops=local_crops,
        kept=2 * round(size * KEPT_MARGIN / 2),
        fit=asked.fit,
        policy=chosen.plain,
        mean=start.mean if start else _for_channels(recipe.mean, channels),
        std=start.std if start else _for_channels(recipe.std, channels),
        batch=batch,
        steps=_steps(asked, recipe, images, batch),
        minutes=_minutes(asked, recipe),
        warmup=recipe.warmup_epochs / recipe.epochs,
        optimizer=recipe.optimizer,
        learning_rate=asked.learning_rate or scaled_rate(recipe.base_rate, batch, recipe.rule, recipe.rule_batch),
        final_learning_rate=recipe.final_rate,
        weight_decay=recipe.weight_decay,
        betas=recipe.betas,
        layer_decay=recipe.layer_decay,
        patch_rate=recipe.patch_rate,
        gradient_norm=recipe.gradient_norm,
        precision=("bf16" if device.startswith("cuda") else "fp32") if asked.precision == "auto" else asked.precision,
        seed=asked.seed,
        **_numbers(asked, recipe),
        start=start,
    )
    _check(setting)
    return setting


def scaled_rate(base: float, batch: int, rule: Literal["sqrt", "linear"], rule_batch: int) -> float:
    """A learning rate for a batch: base times batch over the rule's batch, or the root of that."""
    share = batch / rule_batch
    return base * (math.sqrt(share) if rule == "sqrt" else share)


def check_sides(patch: int, size: int, local_size: int | None) -> None:
    """`BadInput` where a crop is no whole number of patches."""
    for what, side in (("large crops", size), ("small crops", local_size)):
        if side is not None and side % patch:
            near = max(patch, round(side / patch) * patch)
            raise BadInput(f"The {what} have {side} pixels, which is no multiple of the patch of {patch}; try {near}.")


def _for_channels(values: tuple[float, ...] | None, channels: int) -> tuple[float, ...] | None:
    """A recipe's grey or coloured numbers where they fit the channels; else None, which is to be measured."""
    return values if values is not None and len(values) == channels else None


def _local_crops(asked: Pretraining, recipe: _Recipe) -> int:
    if asked.method != "dinov2" and asked.local_crops:
        raise BadInput(f"{asked.method} has no small crops; only dinov2 has. Leave --local-crops out.")
    return recipe.local_crops if asked.local_crops is None else asked.local_crops


def _minutes(asked: Pretraining, recipe: _Recipe) -> float | None:
    return None if asked.epochs or asked.steps else asked.max_minutes or recipe.minutes


def _steps(asked: Pretraining, recipe: _Recipe, images: int, batch: int) -> int | None:
    """The last images of an epoch that fill no batch are left for the next: every step has a whole one."""
    if asked.steps:
        return asked.steps
    if _minutes(asked, recipe) is not None:
        return None
    return (asked.epochs or recipe.epochs) * (images // batch)


def _numbers(asked: Pretraining, recipe: _Recipe) -> dict[str, Any]:
    own = {name: getattr(asked, name) for name in ("prototypes", "centring", "koleo")}
    given = {name: value for name, value in own.items() if value is not None}
    if not given:
        return recipe.numbers
    if "distillation" not in recipe.numbers:
        raise BadInput(f"{', '.join(given)} belong to dinov2; {asked.method} has none. Leave them out.")
    return {"distillation": replace(recipe.numbers["distillation"], **given)}


def _check(setting: PretrainSetting) -> None:
    if setting.convolutional and setting.method in ("dinov2", "mae"):
        raise BadInput(
            f"{setting.method} hides patches, which a {setting.network} does not have; choose a vit, or simsiam or simclr."
        )
