"""The adaptations as data: a small frozen config for each way in which labels meet a backbone.

In: a name (``"linear_svm"``) or a mapping with the key ``kind`` and any of that adaptation's settings.
Out: a frozen config, which pickles, hashes and dumps to JSON; it is part of a run's key.

Nothing heavy is imported here: pages, the planner and the command line read this table.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
)

from fmlab.backbones.cards import LAST_BLOCKS
from fmlab.errors import BadInput


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _as_prompts(value: Any) -> Any:
    """Prompts as YAML has them (a string or a list for each class) as tuples."""
    if not isinstance(value, Mapping):
        return value
    return {label: (given,) if isinstance(given, str) else _as_tuple(given) for label, given in value.items()}


class Adaptation(BaseModel):
    """What every adaptation config shares: strict types, no unknown keys, immutable."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")
    description: ClassVar[str] = ""


class LinearSVM(Adaptation):
    """The objective of scikit-learn's ``LinearSVC()`` with its defaults, solved to a certified duality gap."""

    description: ClassVar[str] = "linear support vector machine, one class against the rest, on raw features"

    kind: Literal["linear_svm"] = "linear_svm"
    C: float = Field(1.0, gt=0, le=1e6)
    """Weight of the squared hinge loss against the squared norm; 1.0 is scikit-learn's default."""
    gap: float = Field(1e-4, ge=1e-9, le=1e-1)
    """Largest relative duality gap of a converged fit; scikit-learn's ``tol`` promises no gap at all."""
    max_iterations: int = Field(200, ge=1)
    """Newton iterations per one-against-rest problem; 5 to 15 are usual."""


class Logistic(Adaptation):
    """The objective of scikit-learn's ``LogisticRegression()``: multinomial, L2, intercept not penalised."""

    description: ClassVar[str] = "multinomial logistic regression on standardised features"

    kind: Literal["logistic"] = "logistic"
    C: float = Field(1.0, gt=0, le=1e6)
    """Weight of the log loss against the squared norm; 1.0 is scikit-learn's default."""
    standardise: bool = True
    """Scale each feature by the subset's own mean and standard deviation: without it L-BFGS seldom converges."""
    max_iterations: int = Field(1000, ge=1)
    """L-BFGS iterations; scikit-learn's 100 are too few for a thousand features."""


class KNN(Adaptation):
    """Weighted nearest neighbours by cosine similarity, as DINO evaluates a frozen encoder."""

    description: ClassVar[str] = "k nearest neighbours by cosine similarity; nothing is trained"

    kind: Literal["knn"] = "knn"
    k: int = Field(20, ge=1)
    """Neighbours that vote; a subset with fewer items lets all of them vote. 20 is DINO's best on ImageNet."""
    temperature: float = Field(0.07, gt=0)
    """A neighbour of similarity s votes with weight exp(s / temperature); 0.07 is DINO's value."""


class ZeroShot(Adaptation):
    """No label at all: an image belongs to the class whose prompts it is nearest to in the space shared with text."""

    description: ClassVar[str] = "text prompts instead of labels; for backbones that read"

    kind: Literal["zero_shot"] = "zero_shot"
    template: str = Field("an ultrasound image, {label}", min_length=1)
    """Prompt of every class without one of its own; `{label}` stands for its name."""
    prompts: Annotated[dict[str, tuple[str, ...]], BeforeValidator(_as_prompts)] = {}
    """Class -> its prompts, whose unit-length embeddings are averaged (A. Radford et al., CLIP, section 3.1.4)."""

    @field_validator("template")
    @classmethod
    def _names_the_class(cls, template: str) -> str:
        if "{label}" not in template:
            raise ValueError("a template needs {label} where the class's name belongs")
        return template

    @field_validator("prompts")
    @classmethod
    def _are_not_empty(cls, prompts: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for label, texts in prompts.items():
            if not texts or not all(text.strip() for text in texts):
                raise ValueError(f"class {label!r} has an empty prompt")
        return prompts


class LinearHead(Adaptation):
    """Linear classifiers on a frozen backbone, one for every setting of a grid, all trained in one pass.

    The best setting is chosen by cross-validation inside the subset, so that no label outside the budget is used.
    Source: M. Oquab et al., DINOv2, appendix B.3 (facebookresearch/dinov2, `eval/linear.py`); UltraDINO does the same.
    """

    description: ClassVar[str] = "linear classifiers over a grid of settings, the best chosen inside the subset"

    kind: Literal["linear_head"] = "linear_head"
    learning_rates: Annotated[tuple[float, ...], BeforeValidator(_as_tuple), Field(min_length=1)] = (
        1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1,
    )  # fmt: skip
    """For a batch of 256; scaled linearly to the batch that is used."""
    blocks: Annotated[tuple[int, ...], BeforeValidator(_as_tuple), Field(min_length=1)] = (1, 4)
    """From how many of the last blocks the class tokens come, side by side; at most 4."""
    average_pool: Annotated[tuple[bool, ...], BeforeValidator(_as_tuple), Field(min_length=1)] = (False, True)
    """Whether the mean of the last block's patch tokens stands beside them."""
    batch: int = Field(128, ge=1)
    samples: int = Field(16_384, ge=1)
    """Images that the heads see in all, at least; whole epochs."""
    epochs: int | None = Field(None, ge=1)
    """A fixed number instead; UltraDINO has 10."""
    folds: int = Field(3, ge=2, le=20)
    """Of the cross-validation that chooses the setting."""

    @field_validator("blocks")
    @classmethod
    def _are_kept(cls, blocks: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= number <= LAST_BLOCKS for number in blocks):
            raise ValueError(f"blocks are numbers from 1 to {LAST_BLOCKS}")
        return blocks

    @model_serializer(mode="wrap")
    def _without_what_is_not_said(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Runs that name no epochs keep the key they had before there were any."""
        plain: dict[str, Any] = whole(self)
        return plain if self.epochs is not None else {name: plain[name] for name in plain if name != "epochs"}


RecipeName = Literal["limited-data", "paper-epochs", "quick", "fetal"]


class Trained(Adaptation):
    """What adaptations that change the backbone's weights share. What is left out is the recipe's
    (`fmlab.adapt.recipes`)."""

    recipe: RecipeName = "limited-data"
    learning_rate: float | None = Field(None, gt=0, le=10)
    weight_decay: float | None = Field(None, ge=0, le=10)
    batch: int | None = Field(None, ge=1, le=4096)
    samples: int | None = Field(None, ge=1)
    """Images that are seen in all, at least; the epochs follow from it and from the size of the subset."""
    epochs: int | None = Field(None, ge=1)
    """A fixed number instead."""
    input_size: int | None = Field(None, ge=32, le=1024)
    """Pixels; None: as the study's preprocessing has it."""
    augment: bool = False
    """A slight tilt and another width for every image each time it is seen."""
    flip: bool = False
    """Mirror half of the images, left to right: only where left and right mean nothing."""
    jitter: float = Field(0.0, ge=0, le=1)
    """Largest relative change of brightness and contrast."""
    augmentation: Literal["recipe", "none", "fetal"] = "recipe"
    """A study's whole set of variations beside these: recipe: as it has it; fetal: UltraDINO's, mirror images included."""
    layer_decay: float | None = Field(None, gt=0, le=1)
    """Share of the learning rate that a layer has of the next one's; 1: all layers learn alike."""
    mixup: float | None = Field(None, ge=0, le=10)
    """Parameter of the Beta distribution by which images are blended with each other; 0: they are not."""
    cutmix: float | None = Field(None, ge=0, le=10)
    """The same for boxes cut out of one image and put into another."""
    smoothing: float | None = Field(None, ge=0, lt=1)
    """Share of a label that is spread over all classes."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 on a GPU, fp32 on a processor."""


class Finetune(Trained):
    """All weights of the backbone, and a linear classifier on its feature. Limited-data study, section 3.4.2."""

    description: ClassVar[str] = "all weights trained on from the backbone's own"

    kind: Literal["finetune"] = "finetune"


class Scratch(Trained):
    """The backbone's architecture under fresh random weights: what its pretraining is worth is the difference to it."""

    description: ClassVar[str] = "the same architecture from random weights; the recipe is ours"

    kind: Literal["scratch"] = "scratch"


class LastBlocks(Trained):
    """The last blocks, the norm after them and the classifier; everything before stays frozen."""

    description: ClassVar[str] = "only the last blocks trained, the rest frozen"

    kind: Literal["last_blocks"] = "last_blocks"
    blocks: int = Field(2, ge=1)


class LoRA(Trained):
    """Low-rank additions to frozen weights. E. Hu et al., LoRA, ICLR 2022; by the library peft."""

    description: ClassVar[str] = "low-rank additions to the frozen weights"

    kind: Literal["lora"] = "lora"
    rank: int = Field(8, ge=1, le=256)
    alpha: float = Field(16.0, gt=0)
    """The addition is scaled by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)


# The name that studies, files and the command line use -> the config class.
ADAPTATIONS: dict[str, type[Adaptation]] = {
    "linear_svm": LinearSVM,
    "logistic": Logistic,
    "knn": KNN,
    "zero_shot": ZeroShot,
    "linear_head": LinearHead,
    "finetune": Finetune,
    "lora": LoRA,
    "last_blocks": LastBlocks,
    "scratch": Scratch,
}


def short_name(config: Mapping[str, Any]) -> str:
    """The name of an adaptation in tables and addresses: its kind, then the settings that differ from the defaults.

    `config` is plain data with the key ``kind``: ``finetune``, ``finetune(recipe=quick)``, ``knn(k=5)``.
    """
    return _short_name(json.dumps(config, sort_keys=True))


@lru_cache(maxsize=1024)
def _short_name(config: str) -> str:
    adaptation = adaptation_from(json.loads(config))
    plain, usual = adaptation.model_dump(mode="json"), type(adaptation)().model_dump(mode="json")
    changed = [f"{name}={value}" for name, value in plain.items() if value != usual.get(name) and name != "prompts"]
    if plain.get("prompts"):
        changed.append("prompts")
    return plain["kind"] + (f"({', '.join(changed)})" if changed else "")


def adaptation_from(given: str | Mapping[str, Any] | Adaptation) -> Adaptation:
    """The config that a name or a mapping describes.

    Args:
        given: ``"knn"``, ``{"kind": "knn", "k": 5}``, or a config, which is returned as it is.

    Raises:
        BadInput: an unknown adaptation, an unknown setting, or a value out of range; the sentence names it.
    """
    if isinstance(given, Adaptation):
        return given
    if not isinstance(given, str | Mapping):
        raise BadInput(f"An adaptation is a name or a mapping, got {type(given).__name__}; use one of {_names()}.")
    settings = {"kind": given} if isinstance(given, str) else dict(given)
    kind = settings.get("kind")
    if not isinstance(kind, str) or kind not in ADAPTATIONS:
        raise BadInput(f"There is no adaptation {kind!r}; use one of {_names()}.")
    # YAML and JSON write 1 where a float is meant; strict mode would refuse what is exact.
    for key, value in settings.items():
        field = ADAPTATIONS[kind].model_fields.get(key)
        if field is not None and field.annotation is float and type(value) is int:
            settings[key] = float(value)
    try:
        return ADAPTATIONS[kind](**settings)
    except (ValidationError, TypeError) as error:
        raise BadInput(_sentence(kind, error)) from error


def _names() -> str:
    return ", ".join(ADAPTATIONS)


def _sentence(kind: str, error: Exception) -> str:
    """The first complaint as one sentence: which setting, what was given, what is possible."""
    known = ", ".join(sorted(ADAPTATIONS[kind].model_fields))
    if not isinstance(error, ValidationError):
        return f"The settings of {kind} must be names; the settings are {known}."
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{kind} has no setting {name!r}; the settings are {known}."
    problem = first["msg"].removeprefix("Value error, ")
    return f"{kind}: {name} is {first['input']!r}, but {problem[0].lower()}{problem[1:]}."
