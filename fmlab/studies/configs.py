"""A study as a person writes it: a strict, frozen config that a YAML file or a page's widgets fill.

In: YAML text, or plain data. Out: a `StudyConfig`. Unknown keys, YAML tags and values of the wrong type are refused.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from fmlab.adapt.configs import adaptation_from
from fmlab.data.manifest import check_name
from fmlab.data.preprocessing import Style
from fmlab.data.subsets import COPIES, Scheme
from fmlab.errors import BadInput

LARGEST_SEEDS = 1000
LARGEST_FOLDS = 20


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _as_adaptations(value: Any) -> Any:
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(adaptation_from(each) for each in values)


class Baseline(BaseModel):
    """A line that stands in the figure beside the grid: one backbone under one adaptation, as ResNet50 from scratch."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    backbone: str
    adaptation: Annotated[Any, BeforeValidator(lambda value: adaptation_from(value))]
    seeds: Annotated[int, Field(ge=1, le=LARGEST_SEEDS)] = 1


class StudyConfig(BaseModel):
    """The grid of a study: every backbone × adaptation × size × seed on one dataset under one preprocessing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    name: str
    dataset: str
    backbones: Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    adaptations: Annotated[tuple[Any, ...], BeforeValidator(_as_adaptations), Field(min_length=1)] = ("linear_svm",)
    scheme: Scheme
    sizes: Annotated[tuple[int | Literal["all"], ...], BeforeValidator(_as_tuple), Field(min_length=1)]
    copies: Annotated[int, Field(ge=0, le=COPIES)] = 0  # augmented copies of every training image, items like it
    folds: Annotated[int, Field(ge=2, le=LARGEST_FOLDS)] | None = (
        None  # cross-validation by patient; null: the test sets
    )
    baselines: Annotated[tuple[Baseline, ...], BeforeValidator(_as_tuple)] = ()
    seeds: Annotated[int, Field(ge=1, le=LARGEST_SEEDS)] = 20
    style: Style = "native"
    mask_sector: bool | None = None  # null: as the dataset's card says
    precision: Literal["fp32", "bf16"] = "fp32"
    preset: str | None = None  # sizes of a preset that the data do not have are dropped and listed
    allow_leaking: str | None = None  # the dataset's name, typed by a person who accepts a leaking split

    @field_validator("name")
    @classmethod
    def _name_is_usable(cls, name: str) -> str:
        return check_name(name, "study")

    @field_validator("sizes")
    @classmethod
    def _sizes_ascend(cls, sizes: tuple[int | Literal["all"], ...]) -> tuple[int | Literal["all"], ...]:
        counts = {size for size in sizes if size != "all"}
        if counts and min(counts) < 1:
            raise ValueError(f"sizes are counts from 1 upward, got {min(counts)}")
        return (*sorted(counts), *(("all",) if "all" in sizes else ()))

    @field_validator("backbones")
    @classmethod
    def _backbones_differ(cls, backbones: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(backbones))

    def plain(self) -> dict[str, Any]:
        """Plain data from which `study_config` makes an equal config."""
        adaptations = [adaptation.model_dump(mode="json") for adaptation in self.adaptations]
        baselines = [
            each.model_dump() | {"adaptation": each.adaptation.model_dump(mode="json")} for each in self.baselines
        ]
        whole = self.model_dump(mode="json", exclude={"adaptations", "baselines"})
        return whole | {"adaptations": adaptations, "baselines": baselines}


def study_config(content: Any) -> StudyConfig:
    """A config from plain data; the first thing wrong with it becomes one sentence."""
    if not isinstance(content, dict):
        raise BadInput(f"A study is a mapping of settings, got {type(content).__name__}. See `fmlab study run --help`.")
    try:
        return StudyConfig.model_validate(content)
    except ValidationError as error:
        raise BadInput(_first_problem(error)) from error


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "study"
    if first["type"] == "extra_forbidden":
        known = ", ".join(StudyConfig.model_fields)
        return f"Unknown setting {where!r} in the study; the settings are: {known}."
    if first["type"] == "missing":
        return f"The study lacks {where!r}; add it."
    return f"The study's {where!r} is {first['input']!r}: {first['msg'].removeprefix('Value error, ')}."


def read_study_file(path: Path) -> StudyConfig:
    """A study from a YAML file, read by the safe loader: a tag in it is refused, not executed."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"There is no study file {path.name!r}. Check the path.") from error
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        problem = " ".join(str(error).split())
        raise BadInput(f"The study file {path.name!r} is not plain YAML: {problem}.") from error
    return study_config(content)
