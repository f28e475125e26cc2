"""Named studies: what one button launches, editable before launch.

In: a preset's key, a dataset and the home, which decides what is on this disk. Out: a `StudyConfig`.

Source: the limited-data study. Its sizes are printed in Tables 5 and 6; those that a training set does not have are
dropped and listed by the planner. The fetal study (UltraDINO): its classification of planes, by a probe and finetuned;
few-shot is our own extension of it. How a preset then differs from its study is told by `fmlab.studies.differences`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from fmlab.backbones.catalogue import find_backbone, on_disk
from fmlab.data.manifest import Dataset
from fmlab.data.preprocessing import Style
from fmlab.data.subsets import COPIES, Scheme
from fmlab.errors import NotFound
from fmlab.runs.launcher import devices
from fmlab.settings import Home
from fmlab.studies.configs import StudyConfig, study_config

Mode = Literal["probe", "finetune", "all-data", "fetal-probe", "fetal-finetune", "fetal-few-shot", "demo"]

LIMITED_DATA = "limited-data/"  # what the keys of the study's presets begin with
FETAL = "fetal/"  # and those of the fetal study's
QUICK = "-quick"  # and what those of the small ones end with

SEEDS = 20  # limited-data study, section 4.6
FOLDS = 5  # of the cross-validation that stands in for a test set
IMAGES: tuple[int | Literal["all"], ...] = (256, 512, 1024, 2048, 4096, 8192, 16_384, "all")  # Table 5
SEQUENCES = (1, 2, 4, 8, 16, 32, 64, 128)  # Table 6
QUICK_IMAGES = (64, 256, 1024)
QUICK_SEQUENCES = (1, 2, 4)

BACKBONES = (
    "dinov2-base-imagenet1k-1-layer",
    "vit-mae-base",
    "clip-vit-base-patch16",
    "echo-clip",
    "medimageinsight",
)
TABLE_3_BACKBONES = ("dinov2-base-imagenet1k-1-layer", "medimageinsight", "echo-clip")
# Those that the fetal study compares, its own first; and the sizes of our few-shot extension, images of every class.
FETAL_BACKBONES = (
    "ultradino-vit-base",
    "ultradino-vit-small",
    "dinov2-vit-base",
    "dinov2-vit-small",
    "ibot-vit-base",
    "usfm",
)
FETAL_PROBE_EPOCHS = 10
FEW_SHOTS = (1, 2, 5, 10, 20, 50)
PROBE_STAND_INS = ("efficientnet-lite0", "random-efficientnet-lite0", "pixels-24")
FINETUNE_STAND_INS = ("efficientnet-lite0",)

# The study's specialised model; and what takes its place where no GPU is.
SPECIALISED = {"backbone": "random-resnet50", "adaptation": {"kind": "scratch"}}
QUICK_SPECIALISED = {"backbone": "random-resnet18", "adaptation": {"kind": "scratch", "recipe": "quick"}}


@dataclass(frozen=True)
class Preset:
    """A study but for its dataset."""

    key: str
    mode: Mode
    title: str
    summary: str
    scheme: Scheme
    sizes: tuple[int | Literal["all"], ...]
    adaptations: tuple[Mapping[str, Any], ...]
    backbones: tuple[str, ...]  # the study's
    stand_ins: tuple[str, ...] = ()  # where none of them is on this disk
    seeds: int = 1
    copies: int = COPIES
    style: Style = "paper"
    specialised: bool = True  # with the line of a network trained from scratch

    @property
    def quick(self) -> bool:
        """Whether it is far smaller than the study's protocol, to see that all works."""
        return self.key.endswith(QUICK)


_PROBE_IMAGES = Preset(
    key="limited-data/probe-images",
    mode="probe",
    title="Linear probe, images",
    summary="A linear SVM on frozen features of 256 to 16,384 images drawn at random, and of all (Figure 1).",
    scheme="images",
    sizes=IMAGES,
    adaptations=({"kind": "linear_svm"},),
    backbones=BACKBONES,
    stand_ins=PROBE_STAND_INS,
    seeds=SEEDS,
)
_PROBE_SEQUENCES = replace(
    _PROBE_IMAGES,
    key="limited-data/probe-sequences",
    title="Linear probe, sequences",
    summary="A linear SVM on frozen features of 1 to 128 sequences of every class, all their images (Figure 2).",
    scheme="sequences",
    sizes=SEQUENCES,
)
_FINETUNE_IMAGES = Preset(
    key="limited-data/finetune-images",
    mode="finetune",
    title="Finetuning, images",
    summary="All weights finetuned on 256 to 16,384 images drawn at random, and on all (Figure 3).",
    scheme="images",
    sizes=IMAGES,
    adaptations=({"kind": "finetune"},),
    backbones=BACKBONES,
    stand_ins=FINETUNE_STAND_INS,
)
_FINETUNE_SEQUENCES = replace(
    _FINETUNE_IMAGES,
    key="limited-data/finetune-sequences",
    title="Finetuning, sequences",
    summary="All weights finetuned on 1 to 128 sequences of every class, all their images (Figure 4).",
    scheme="sequences",
    sizes=SEQUENCES,
)
_ALL_DATA = replace(
    _FINETUNE_IMAGES,
    key="limited-data/all-data",
    mode="all-data",
    title="Finetuning, all data",
    summary="Four degrees of specialisation, all weights finetuned on everything there is (Table 3, Figure 5).",
    sizes=("all",),
    backbones=TABLE_3_BACKBONES,
)
_FETAL_PROBE = Preset(
    key="fetal/probe",
    mode="fetal-probe",
    title="Fetal study, linear probe",
    summary="Linear heads over DINOv2's grid of settings on frozen features of all training images, 10 epochs.",
    scheme="images",
    sizes=("all",),
    adaptations=({"kind": "linear_head", "epochs": FETAL_PROBE_EPOCHS},),
    backbones=FETAL_BACKBONES,
    stand_ins=PROBE_STAND_INS,
    copies=0,
    style="squash",
    specialised=False,
)
_FETAL_FINETUNE = replace(
    _FETAL_PROBE,
    key="fetal/finetune",
    mode="fetal-finetune",
    title="Fetal study, finetuning",
    summary="All weights finetuned on all training images for 200 epochs, with mixup, cutmix and smoothed labels.",
    adaptations=({"kind": "finetune", "recipe": "fetal"},),
    stand_ins=FINETUNE_STAND_INS,
)
_FETAL_FEW_SHOT = replace(
    _FETAL_PROBE,
    key="fetal/few-shot",
    mode="fetal-few-shot",
    title="Fetal images, few-shot",
    summary=(
        "A linear SVM and nearest neighbours on frozen features of 1 to 50 images of every class (sequences, where images "
        "come in some), 20 seeds. Our own extension of the fetal study."
    ),
    scheme="sequences",
    sizes=FEW_SHOTS,
    adaptations=({"kind": "linear_svm"}, {"kind": "knn"}),
    seeds=SEEDS,
)
_DEMO = Preset(
    key="demo",
    mode="demo",
    title="Demo",
    summary=(
        "Features of ImageNet, of a network pretrained on other simulated patients and of a random one, 1 to 16 sequences "
        "per class, 20 seeds; and a ResNet-18 trained from scratch."
    ),
    scheme="sequences",
    sizes=(1, 2, 4, 8, 16),
    adaptations=({"kind": "linear_svm"},),
    backbones=("efficientnet-lite0", "phantom-vit", "random-efficientnet-lite0"),
    seeds=SEEDS,
    copies=0,
    style="native",
)


def _quick(preset: Preset) -> Preset:
    """The same, small: three sizes, one seed, no copies; whatever trains follows the recipe `quick`."""
    images = preset.scheme == "images"
    finetuned = preset.mode == "finetune"
    where = "64, 256 and 1,024 images" if images else "1, 2 and 4 sequences of every class"
    what = "EfficientNet-Lite0 finetuned at 96 pixels on" if finetuned else "A linear SVM on features of Lite0 from"
    return replace(
        preset,
        key=preset.key + QUICK,
        title=f"{preset.title}, quick",
        summary=f"{what} {where}, in minutes. Quick, not the paper's protocol.",
        sizes=QUICK_IMAGES if images else QUICK_SEQUENCES,
        adaptations=({"kind": "finetune", "recipe": "quick"},) if finetuned else preset.adaptations,
        backbones=FINETUNE_STAND_INS if finetuned else PROBE_STAND_INS[:2],
        stand_ins=(),
        seeds=1,
        copies=0,
    )


PRESETS: dict[str, Preset] = {
    preset.key: preset
    for preset in (
        _PROBE_IMAGES,
        _PROBE_SEQUENCES,
        _FINETUNE_IMAGES,
        _FINETUNE_SEQUENCES,
        _ALL_DATA,
        _quick(_PROBE_IMAGES),
        _quick(_PROBE_SEQUENCES),
        _quick(_FINETUNE_IMAGES),
        _quick(_FINETUNE_SEQUENCES),
        _FETAL_PROBE,
        _FETAL_FINETUNE,
        _FETAL_FEW_SHOT,
        _DEMO,
    )
}


def find_preset(key: str) -> Preset:
    """The preset of that key; `NotFound` lists those there are."""
    if key not in PRESETS:
        raise NotFound(f"There is no preset {key!r}; there are: {', '.join(PRESETS)}.")
    return PRESETS[key]


def study_name(dataset: str, key: str) -> str:
    """The name of a preset's study on a dataset, unless another one is given; at most 64 characters."""
    preset = key.replace("/", "-")
    return f"{dataset[: 63 - len(preset)]}-{preset}"


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """The wanted name, or with a number after it when a study has it already."""
    names = set(taken)
    numbered = (f"{wanted[:60]}-{number}" for number in range(2, len(names) + 3))
    return next(name for name in (wanted, *numbered) if name not in names)


def preset_config(home: Home, key: str, dataset: Dataset, name: str, **changes: Any) -> StudyConfig:
    """The preset's study on a dataset. `changes` replace its settings; sizes given in them are taken at their word."""
    preset = find_preset(key)
    settings: dict[str, Any] = {
        "name": name,
        "dataset": dataset.name,
        "backbones": usable_backbones(home, preset),
        "adaptations": preset.adaptations,
        "scheme": preset.scheme,
        "sizes": preset.sizes,
        "seeds": preset.seeds,
        "copies": preset.copies,
        "folds": usual_folds(dataset),
        "baselines": usual_baselines(preset),
        "style": preset.style,
        "preset": None if {"sizes", "scheme"} & set(changes) else key,
    }
    return study_config(settings | changes)


def usable_backbones(home: Home, preset: Preset) -> tuple[str, ...]:
    """Those of the preset whose weights are on this disk; none of them: its stand-ins; not those either: its own."""
    for keys in (preset.backbones, preset.stand_ins):
        found = tuple(key for key in keys if on_disk(find_backbone(home, key), home))
        if found:
            return found
    return preset.backbones


def usual_folds(dataset: Dataset) -> int | None:
    """Cross-validation where a dataset has no test set."""
    return None if dataset.test_sets else FOLDS


def usual_baselines(preset: Preset) -> tuple[dict[str, Any], ...]:
    """The network trained from scratch: the study's on a GPU, a small one under the recipe `quick` without, and in the demo."""
    if not preset.specialised:
        return ()
    small = preset.quick or preset.mode == "demo" or not has_gpu()
    return (QUICK_SPECIALISED if small else SPECIALISED,)


def has_gpu() -> bool:
    """Whether studies run on a GPU here."""
    return devices()[0].startswith("cuda")
