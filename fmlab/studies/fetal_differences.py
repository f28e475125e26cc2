"""How a study that follows the fetal study's classification differs from it on this dataset.

In: a config under one of the presets `fetal/…`, its dataset. Out: sentences, the data first.

Source: jakobamb/UltraDINO, `classification` (configurations, data, `train.py`) and `data/fetal_planes_db`.
"""

from fmlab.adapt.configs import Finetune, LinearHead
from fmlab.data.manifest import TRAIN, VALIDATION, Dataset
from fmlab.studies.configs import StudyConfig

STUDY_CLASSES, STUDY_TRAIN, STUDY_VALIDATION, STUDY_TEST = 6, 5_804, 1_325, 5_271
FEW_SHOT = "few-shot"


def differences_from_fetal_study(config: StudyConfig, dataset: Dataset) -> list[str]:
    """What differs from the fetal study, a sentence each."""
    sentences = _of_data(config, dataset)
    if (config.preset or "").endswith(FEW_SHOT):
        sentences.append("Few-shot classification is not in the study; it is our own extension.")
    if any(isinstance(adaptation, LinearHead) for adaptation in config.adaptations):
        sentences += [
            "The setting of the linear heads is chosen by cross-validation inside the training images; the study chooses "
            "it on its validation images.",
            "Features are taken once, of images as they are, and learning rates are for a batch of 256, as DINOv2 has it; "
            "the study augments and mixes the images of its probe, and does not scale its rates to its batch of 128.",
        ]
    if any(isinstance(adaptation, Finetune) for adaptation in config.adaptations):
        sentences += [
            "What counts is the network after the last epoch; the study keeps one by accuracy on its validation images.",
            "The learning rate falls from layer to layer as the study configures it; its code hands the shares to an "
            "optimiser that does not know them.",
            "Images are scaled before they are augmented, and the last smaller batch of an epoch is kept.",
        ]
    if config.style != "squash":
        sentences.append("Images are not squashed to 224 pixels, as the study's are.")
    return sentences


def _of_data(config: StudyConfig, dataset: Dataset) -> list[str]:
    card = dataset.card
    tested = sum(card.splits.get(name, 0) for name in dataset.test_sets)
    sentences = [
        f"{len(card.classes)} classes, {card.splits.get(TRAIN, 0):,} training and {tested:,} test images; the study has "
        f"{STUDY_CLASSES}, {STUDY_TRAIN:,} and {STUDY_TEST:,} of FETAL_PLANES_DB."
    ]
    if config.folds:
        sentences.append(f"Cross-validation by patient in {config.folds} folds instead of a test set.")
    if not card.splits.get(VALIDATION):
        sentences.append(
            f"No images are kept to choose by; the study keeps {STUDY_VALIDATION:,} of its training half, by patient."
        )
    if config.copies:
        sentences.append(f"{config.copies} augmented copies of every training image; the study has none.")
    return sentences
