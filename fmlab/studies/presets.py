"""Named studies: what one button launches, editable before launch.

In: a preset's key and a dataset. Out: a `StudyConfig`. Sizes are the limited-data study's; those that a training set
does not have are dropped and listed by the planner.
"""

from dataclasses import dataclass
from typing import Any

from fmlab.data.manifest import Dataset
from fmlab.data.subsets import Scheme
from fmlab.errors import NotFound
from fmlab.studies.configs import StudyConfig, study_config

SEEDS = 20  # limited-data study, section 4.6


@dataclass(frozen=True)
class Preset:
    """A study but for its dataset."""

    key: str
    title: str
    summary: str
    scheme: Scheme
    sizes: tuple[int, ...]
    seeds: int = SEEDS
    adaptations: tuple[str, ...] = ("linear_svm",)
    backbones: tuple[str, ...] = ("efficientnet-lite0", "random-efficientnet-lite0", "pixels-24")


PRESETS: dict[str, Preset] = {
    preset.key: preset
    for preset in (
        Preset(
            key="demo",
            title="Demo",
            summary="ImageNet features against a randomly initialised encoder, 1 to 16 sequences per class, 20 seeds.",
            scheme="sequences",
            sizes=(1, 2, 4, 8, 16),
            backbones=("efficientnet-lite0", "random-efficientnet-lite0"),
        ),
        Preset(
            key="probe-sequences",
            title="Probe by sequences",
            summary="A linear probe on 1 to 128 sequences of every class, with all their images, 20 seeds.",
            scheme="sequences",
            sizes=(1, 2, 4, 8, 16, 32, 64, 128),
        ),
        Preset(
            key="probe-images",
            title="Probe by images",
            summary="A linear probe on 16 to 16,384 images drawn at random, 20 seeds.",
            scheme="images",
            sizes=tuple(2**power for power in range(4, 15)),
        ),
    )
}


def find_preset(key: str) -> Preset:
    """The preset of that key; `NotFound` lists those there are."""
    if key not in PRESETS:
        raise NotFound(f"There is no preset {key!r}; there are: {', '.join(PRESETS)}.")
    return PRESETS[key]


def preset_config(key: str, dataset: Dataset, name: str, **changes: Any) -> StudyConfig:
    """The preset's study on a dataset. `changes` replace its settings; sizes given in them are taken at their word."""
    preset = find_preset(key)
    settings: dict[str, Any] = {
        "name": name,
        "dataset": dataset.name,
        "backbones": preset.backbones,
        "adaptations": preset.adaptations,
        "scheme": preset.scheme,
        "sizes": preset.sizes,
        "seeds": preset.seeds,
        "preset": None if {"sizes", "scheme"} & set(changes) else key,
    }
    return study_config(settings | changes)
