"""The numbers that the limited-data study prints, to stand beside one's own.

In: nothing. Out: its Table 3 by backbone key, test set and measure; fractions. Its images are not public: a difference to
these numbers may be the data, the recipe or the backbone.

Source: Utseth et al., "Comparing Foundation Models for Medical Images", Table 3: finetuned on the whole training set
(ResNet50: trained on it from random weights), one run each, without intervals.
"""

import pandas as pd

PRINTED_SETS = ("T1", "T2")
PRINTED_MEASURES = ("image_accuracy", "sequence_accuracy")

# Backbone -> T1 images, T1 sequences, T2 images, T2 sequences.
_TABLE_3: dict[str, tuple[float, float, float, float]] = {
    "dinov2-base-imagenet1k-1-layer": (0.984, 0.991, 0.856, 0.922),
    "medimageinsight": (0.991, 0.997, 0.781, 0.844),
    "echo-clip": (0.993, 0.999, 0.713, 0.750),
    "random-resnet50": (0.984, 0.989, 0.706, 0.766),
}
_COLUMNS = [(test_set, measure) for test_set in PRINTED_SETS for measure in PRINTED_MEASURES]

PRINTED_TABLE_3: dict[str, dict[tuple[str, str], float]] = {
    backbone: dict(zip(_COLUMNS, values, strict=True)) for backbone, values in _TABLE_3.items()
}
"""Backbone -> (test set, measure) -> fraction."""


def printed_adaptation(backbone: str) -> str:
    """How the study trained a backbone of its Table 3: `scratch` for ResNet50, `finetune` for the others."""
    return "scratch" if backbone == "random-resnet50" else "finetune"


def printed_table_3() -> pd.DataFrame:
    """The same with one row per backbone and test set: backbone, adaptation, test_set, image_accuracy, sequence_accuracy."""
    rows = [
        {"backbone": backbone, "adaptation": printed_adaptation(backbone), "test_set": test_set}
        | {measure: values[test_set, measure] for measure in PRINTED_MEASURES}
        for backbone, values in PRINTED_TABLE_3.items()
        for test_set in PRINTED_SETS
    ]
    return pd.DataFrame(rows)
