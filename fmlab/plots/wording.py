"""The words on figures and tables: one name for each measure, adaptation and scheme, and numbers as people read them.

In: the keys of tables and configs. Out: short English text. Fractions 0–1 are written as percent with one decimal.
"""

import math
import re
from collections.abc import Iterable

from fmlab.studies.label_versions import ORIGINAL, parted

MEASURES: dict[str, str] = {
    "image_accuracy": "image accuracy",
    "sequence_accuracy": "sequence accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "auroc": "AUROC",
}

ADAPTATIONS: dict[str, str] = {
    "linear_svm": "linear SVM",
    "logistic": "logistic regression",
    "knn": "nearest neighbours",
    "zero_shot": "zero-shot",
    "linear_head": "linear head",
    "finetune": "finetuned",
    "lora": "LoRA",
    "last_blocks": "last blocks finetuned",
    "scratch": "trained from scratch",
}

SIZE_TITLES: dict[str, str] = {
    "images": "labelled training images",
    "sequences": "labelled training sequences per class",
}

SIZE_UNITS: dict[str, tuple[str, str]] = {
    "images": ("image", "images"),
    "sequences": ("sequence per class", "sequences per class"),
}

NO_LABELS = "no labels"

TEST_SETS: dict[str, str] = {"folds": "cross-validation"}

SYNTHETIC_REMARK = "simulated images"

_NAMED = re.compile(r"(?P<kind>\w+)(?:\((?P<settings>.*)\))?")


def measure_name(measure: str) -> str:
    """The name of a measure, `image accuracy` for `image_accuracy`; an unknown one loses its underscores."""
    return MEASURES.get(measure, measure.replace("_", " "))


def adaptation_name(adaptation: str) -> str:
    """The name of an adaptation as it stands in a results table.

    `linear SVM` for `linear_svm`, `finetuned (recipe quick)` for `finetune(recipe=quick)`; an unknown one loses its
    underscores.
    """
    named = _NAMED.fullmatch(adaptation)
    if named is None:
        return adaptation.replace("_", " ")
    name = ADAPTATIONS.get(named["kind"], named["kind"].replace("_", " "))
    return f"{name} ({_settings(named['settings'])})" if named["settings"] else name


def _settings(settings: str) -> str:
    """`learning rate 0.0001, augment` for `learning_rate=0.0001, augment=True`."""
    words = settings.replace("=True", "").replace("=", " ").replace("_", " ").replace("[", "").replace("]", "")
    return "own prompts" if words == "prompts" else words


def in_usual_order(adaptations: Iterable[str]) -> list[str]:
    """Adaptations as figures and lists show them: the linear probe first, unknown ones last, by name."""
    usual = list(ADAPTATIONS)

    def place(adaptation: str) -> tuple[int, str]:
        kind = adaptation.partition("(")[0]
        return usual.index(kind) if kind in usual else len(usual), adaptation

    return sorted(set(adaptations), key=place)


def test_set_name(test_set: str) -> str:
    """The name of a test set; the training images of a cross-validated study are called `cross-validation`.

    `T1, labels v2` for `T1@v2`, the test set under a label version.
    """
    name, version = parted(test_set)
    words = TEST_SETS.get(name, name)
    return words if version == ORIGINAL else f"{words}, labels {version}"


test_set_name.__test__ = False  # type: ignore[attr-defined]


def size_title(scheme: str) -> str:
    """The title of the axis of sizes, with its unit."""
    return SIZE_TITLES.get(scheme, f"size ({scheme})")


def size_text(size: float, scheme: str) -> str:
    """A size with its unit: `1 sequence per class`, `1,024 images`, `4.3 images` in between; `no labels` for 0."""
    if size == 0:
        return NO_LABELS
    one, many = SIZE_UNITS.get(scheme, (scheme, scheme))
    return f"{size_number(size)} {one if size == 1 else many}"


def size_number(size: float) -> str:
    """A size that need not be whole: three digits, all of those of a whole number."""
    return f"{size:,.0f}" if size >= 100 or size == round(size) else f"{size:.3g}"


def percent(fraction: float | None) -> str:
    """A fraction as percent with one decimal, `87.5 %`; missing or not a number: a dash."""
    if fraction is None or math.isnan(fraction):
        return "–"
    return f"{100 * fraction:.1f} %"


def percent_interval(value: float, low: float, high: float) -> str:
    """A fraction with its interval, `87.5 (84.1–90.2) %`; without an interval the value alone.

    A t interval may pass 0 or 100 %; a fraction cannot, so the interval ends there.
    """
    if any(math.isnan(number) for number in (value, low, high)):
        return percent(value)
    low, high = max(0.0, low), min(1.0, high)
    return f"{100 * value:.1f} ({100 * low:.1f}–{100 * high:.1f}) %"


def signed_points(difference: float) -> str:
    """A difference of fractions in percentage points, signed: `+3.2`, `−0.4`."""
    sign = "−" if difference < 0 else "+"
    return f"{sign}{abs(100 * difference):.1f}"
