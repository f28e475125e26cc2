"""How a study that follows a published one differs from it on this dataset and this machine.

In: a config, its dataset, the home. Out: sentences; none for a study that follows another protocol.
What was dropped because the data are too few is the grid's to say, and stands beside these.
"""

from collections.abc import Iterable
from functools import lru_cache

from fmlab.adapt.configs import Finetune, Scratch, Trained
from fmlab.adapt.recipes import QUICK_SAMPLES, QUICK_SIZE, SAMPLES, usual_rate
from fmlab.backbones.catalogue import find_backbone, on_disk
from fmlab.data.manifest import TRAIN, Card, Dataset
from fmlab.data.splits import SCORED_FRAMES
from fmlab.data.subsets import COPIES
from fmlab.settings import Home
from fmlab.studies.configs import StudyConfig
from fmlab.studies.fetal_differences import differences_from_fetal_study
from fmlab.studies.needed import DatasetState, roles_of, state_of
from fmlab.studies.presets import FETAL, LIMITED_DATA, PRESETS, SEEDS, Preset, has_gpu
from fmlab.studies.spelling import changed_settings

PAPER_CLASSES, PAPER_IMAGES, PAPER_SEQUENCES = 10, 2_871_574, 6_994  # Table 2
SPECIALISED = "random-resnet50"
DATASETS_KEPT = 4


def differences_from_paper(config: StudyConfig, dataset: Dataset, home: Home) -> list[str]:
    """What differs from the study whose protocol is followed, a sentence each, the data first."""
    if (config.preset or "").startswith(FETAL):
        sentences = differences_from_fetal_study(config, dataset)
        lacking = absent_classes(dataset.card, dataset.test_sets)
        return [*sentences, *lacking, *_of_backbones(config, PRESETS[str(config.preset)], home)]
    preset = followed_preset(config)
    if preset is None:
        return []
    return [
        *_of_data(config, dataset),
        *_of_backbones(config, preset, home),
        *_of_specialised(config, preset.quick),
        *_of_training(config, preset, home),
        *_of_protocol(config, preset, dataset.card),
    ]


def followed_preset(config: StudyConfig) -> Preset | None:
    """The preset of the limited-data study whose protocol a study follows, also where its sizes were changed: same mode,
    scheme and pixels."""
    if config.preset is not None:
        preset = PRESETS.get(config.preset)
        return preset if preset is not None and preset.key.startswith(LIMITED_DATA) else None
    kinds = {adaptation.kind for adaptation in config.adaptations}
    alike = (
        preset
        for preset in PRESETS.values()
        if preset.key.startswith(LIMITED_DATA)
        and (preset.scheme, preset.style) == (config.scheme, config.style)
        and kinds == {adaptation["kind"] for adaptation in preset.adaptations}
    )
    return next(alike, None)


def absent_classes(card: Card, test_sets: tuple[str, ...]) -> list[str]:
    """A sentence for each test set that has no image of some class."""
    absent = {name: [label for label, images in card.split_classes[name].items() if images == 0] for name in test_sets}
    return [
        f"{name} has no images of {', '.join(labels)}; averages over classes leave them out."
        for name, labels in absent.items()
        if labels
    ]


def _of_data(config: StudyConfig, dataset: Dataset) -> list[str]:
    card = dataset.card
    images = card.splits.get(TRAIN, 0) * (config.copies + 1)
    sentences = [
        f"{len(card.classes)} classes and {images:,} training images{' with their copies' if config.copies else ''}; the "
        f"study has {PAPER_CLASSES} and {PAPER_IMAGES:,}, from {PAPER_SEQUENCES:,} sequences."
    ]
    unlearnt = [label for label, count in card.split_classes.get(TRAIN, {}).items() if count == 0]
    if unlearnt:
        sentences.append(f"No training image shows {', '.join(unlearnt)}; the study has every class in training.")
    if config.folds:
        return [*sentences, f"Cross-validation by patient in {config.folds} folds instead of the test sets T1 and T2."]
    if len(dataset.test_sets) == 1:
        sentences.append(f"One test set, {dataset.test_sets[0]}; the study has typical cases (T1) and hard ones (T2).")
    short, sequences = _short_sequences(state_of(dataset))
    if short:
        sentences.append(
            f"The study scores {SCORED_FRAMES} images of every test sequence; {short:,} of {sequences:,} here have fewer, "
            "and all that they have count."
        )
    return [*sentences, *absent_classes(card, dataset.test_sets)]


@lru_cache(maxsize=DATASETS_KEPT)
def _short_sequences(state: DatasetState) -> tuple[int, int]:
    """How many test sequences have fewer scored images than the study's, and how many there are."""
    scored = roles_of(state).test["sequence_id"].value_counts()
    return int((scored < SCORED_FRAMES).sum()), len(scored)


def _of_backbones(config: StudyConfig, preset: Preset, home: Home) -> list[str]:
    if preset.quick:
        return [f"Backbones: {_listed(config.backbones)}, not the study's five."]
    sentences = []
    lacking = [key for key in preset.backbones if not on_disk(find_backbone(home, key), home)]
    if lacking:
        sentences.append(
            f"Left out, since their weights are not on this disk: {_listed(lacking)}. `fmlab backbones download "
            f"{lacking[0]}` fetches one, the page Backbones all of them."
        )
    unchosen = [key for key in preset.backbones if key not in (*lacking, *config.backbones)]
    if unchosen:
        sentences.append(f"Left out by choice: {_listed(unchosen)}.")
    others = [key for key in config.backbones if key not in preset.backbones]
    if others:
        stand_in = len(others) == len(config.backbones)
        sentences.append(f"{'Standing in' if stand_in else 'Added'}: {_listed(others)}, not of the study.")
    return sentences


def _of_specialised(config: StudyConfig, quick: bool) -> list[str]:
    scratch = {each.backbone: each.adaptation for each in config.baselines if isinstance(each.adaptation, Scratch)}
    sentences = []
    if scratch:
        sentences.append("How the study trained its ResNet50 from scratch is not printed; the recipe is ours.")
    else:
        sentences.append("The line of a ResNet50 trained from scratch, which is in each of its figures, is missing.")
    if scratch and SPECIALISED not in scratch:
        why = "" if quick or has_gpu() else ", since there is no GPU here"
        sentences.append(
            f"{_listed(scratch)} from scratch stands in for it{why}; "
            f"`--baselines {SPECIALISED}:scratch` asks for the real one."
        )
    return sentences


def _of_training(config: StudyConfig, preset: Preset, home: Home) -> list[str]:
    paper = {adaptation["kind"] for adaptation in preset.adaptations}
    added = [adaptation.kind for adaptation in config.adaptations if adaptation.kind not in paper]
    sentences = [f"Beside the study's adaptation: {_listed(added)}."] if added else []
    for adaptation in config.adaptations:
        changed = changed_settings(adaptation)
        changed.pop("recipe", None)
        if adaptation.kind in paper and len(changed) > 1:
            settings = ", ".join(f"{name} {value}" for name, value in changed.items() if name != "kind")
            sentences.append(f"Settings of {adaptation.kind} that are not the study's: {settings}.")
        if isinstance(adaptation, Finetune):
            sentences += _of_finetuning(config, adaptation, home)
    return sentences


def _of_finetuning(config: StudyConfig, adaptation: Trained, home: Home) -> list[str]:
    sentences = []
    if adaptation.recipe == "quick":
        sentences.append(
            f"Quick, not the paper's protocol: {QUICK_SIZE} pixels, {QUICK_SAMPLES:,} images seen instead of {SAMPLES:,}."
        )
    elif adaptation.recipe == "limited-data" and config.scheme == "sequences":
        sentences.append(
            f"Epochs are as many as show the model {SAMPLES:,} images; Table 6 has fewer, for about 300 images a "
            "sequence, and is the recipe paper-epochs."
        )
    if adaptation.learning_rate is None:
        for key in config.backbones:
            card = find_backbone(home, key)
            if card.finetuning is None:
                rate, source = usual_rate(adaptation, card)
                sentences.append(f"The study has no learning rate for {key}: {rate:g}, {source}.")
    return sentences


def _of_protocol(config: StudyConfig, preset: Preset, card: Card) -> list[str]:
    masked = card.mask_sector if config.mask_sector is None else config.mask_sector
    seeds = SEEDS if preset.mode == "probe" and preset.scheme == "sequences" else 1
    subsets = "One subset" if config.seeds == 1 else f"{config.seeds} subsets"
    said = {
        f"Sizes chosen by hand: {', '.join(map(str, config.sizes))}.": config.preset is None,
        f"{config.copies or 'No'} augmented copies of every training image; the study has {COPIES}.": (
            config.copies != COPIES
        ),
        "How far the study tilts and stretches its copies is not printed; ours is slight as well.": config.copies > 0,
        f"{subsets} drawn at every size; the study draws {seeds}.": config.seeds != seeds,
        "Each backbone's own input instead of 256 pixels cropped to 224.": config.style == "native",
        "Images squashed to 224 pixels instead of 256 cropped to 224.": config.style == "squash",
        "Black outside the sector, of which the study says nothing.": masked,
    }
    return [sentence for sentence, differs in said.items() if differs]


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(keys))
