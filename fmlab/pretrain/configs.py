"""What a person asks for when pretraining: the images, the method, the network, and how long.

In: the options of a form, a command line or a file. Out: a frozen `Pretraining`, checked; `fmlab.pretrain.recipes`
turns it into exact numbers. Nothing heavy is imported here: pages and the command line read it.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from fmlab.errors import BadInput

Method = Literal["dinov2", "mae", "simsiam", "simclr"]
RecipeName = Literal["reference", "fetal", "small"]
Network = Literal["vit-tiny", "vit-small", "vit-base", "vit-large", "resnet18", "resnet50"]
PolicyName = Literal["ultrasound", "ultrasound-whole", "fetal", "natural", "crops", "simsiam"]
Flips = Literal["none", "horizontal", "vertical", "both"]
Fit = Literal["squash", "pad", "crop"]

METHOD_TITLES: dict[Method, str] = {
    "dinov2": "DINOv2: a student agrees with a slow teacher on other crops, and fills in masked patches",
    "mae": "MAE: rebuild an image of which three quarters are hidden",
    "simsiam": "SimSiam: two crops of an image predict each other",
    "simclr": "SimCLR: two crops of an image find each other among all others",
}

PATCHES = (8, 14, 16)  # pixels; 8 is three times slower than 16


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class Asked(BaseModel):
    """Strict types, no unknown keys, immutable; numbers are finite."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Source(Asked):
    """A dataset to learn from, and which of its frames."""

    dataset: str = Field(min_length=1)
    splits: Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)] = ("train", "val", "none")
    """Names of splits; `none` stands for rows that are in no split."""
    stride: int = Field(1, ge=1)
    """Every how many frames of a clip one is taken."""
    share: float = Field(1.0, gt=0, le=1)
    """Of the dataset's patients; smaller shares are part of larger ones."""


class Pretraining(Asked):
    """One pretraining as asked for. What is None follows from the recipe."""

    method: Method
    sources: Annotated[tuple[Source, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    key: str = Field(min_length=1)
    """Of the backbone that comes out."""
    recipe: RecipeName = "small"
    labelled: str | None = None
    """A dataset with labels on which the features are probed at every checkpoint; None: the first source with labels."""

    network: Network | None = None
    patch: Literal[8, 14, 16] | None = None
    channels: Literal[1, 3] | None = None
    registers: int | None = Field(None, ge=0, le=16)
    init: str | None = None
    """Key of a backbone whose weights are the start; it decides network, patch, channels and registers."""
    size: int | None = Field(None, ge=16, le=1024)
    """Side of the large crops in pixels."""
    local_size: int | None = Field(None, ge=16, le=512)
    local_crops: int | None = Field(None, ge=0, le=16)
    policy: PolicyName | None = None
    flips: Flips | None = None
    fit: Fit = "squash"
    """How a frame becomes the square from which crops are cut."""
    mask_sector: bool = False

    epochs: int | None = Field(None, ge=1)
    steps: int | None = Field(None, ge=1)
    max_minutes: float | None = Field(None, gt=0)
    """Of training on this machine: as many steps are planned as fit."""
    batch: int | None = Field(None, ge=2)
    learning_rate: float | None = Field(None, gt=0)
    prototypes: int | None = Field(None, ge=2)
    centring: Literal["ema", "sinkhorn", "none"] | None = None
    koleo: float | None = Field(None, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 on a GPU, fp32 on a processor."""
    seed: int = Field(0, ge=0)

    thin: int | None = Field(None, ge=0, le=64)
    """Frames of a clip that differ from the last kept one by at most so many bits of a perceptual hash are left out."""
    allow_test_patients: bool = False
    """Learn from images of test patients all the same; it then stands wherever the backbone is shown."""
    licence: str | None = None
    """Of the weights, in the person's own words."""

    @model_validator(mode="after")
    def _one_length(self) -> "Pretraining":
        given = [name for name in ("epochs", "steps", "max_minutes") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} each say how long it takes; give one of them")
        return self

    @model_validator(mode="after")
    def _sources_differ(self) -> "Pretraining":
        names = [source.dataset for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError("a dataset is named twice; name it once, with all its splits")
        return self

    @property
    def plain(self) -> dict[str, Any]:
        """As it stands in a run's config."""
        return self.model_dump(mode="json")


def pretraining(config: Mapping[str, Any]) -> Pretraining:
    """The checked config; `BadInput` names the first thing that is wrong with it."""
    try:
        return Pretraining.model_validate(dict(config))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the settings"
        got = "" if first["type"] == "missing" or not first["loc"] else f", got {first['input']!r}"
        problem = first["msg"].removeprefix("Value error, ")
        raise BadInput(f"Pretraining cannot be set up: {place}: {problem}{got}.") from error
