"""The adaptations as data: a small frozen config for each way in which labels meet a frozen backbone.

In: a name (``"linear_svm"``) or a mapping with the key ``kind`` and any of that adaptation's settings.
Out: a frozen config, which pickles, hashes and dumps to JSON; it is part of a run's key.

Nothing heavy is imported here: pages, the planner and the command line read this table.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fmlab.errors import BadInput


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


# What a study's config declares, so that a file's ``kind`` chooses the class.
AdaptationConfig = Annotated[LinearSVM | Logistic | KNN, Field(discriminator="kind")]

# The name that studies, files and the command line use -> the config class.
ADAPTATIONS: dict[str, type[Adaptation]] = {"linear_svm": LinearSVM, "logistic": Logistic, "knn": KNN}


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
    return f"{kind}: {name} is {first['input']!r}, but {first['msg'][0].lower()}{first['msg'][1:]}."
