"""The words on figures and tables: one name for each measure, adaptation and scheme, and numbers as people read them.

In: the keys used in tables and configs. Out: short English text. Fractions 0–1 are written as percent with one decimal.
"""

import math
from collections.abc import Iterable

MEASURES: dict[str, str] = {
    "image_accuracy": "image accuracy",
    "sequence_accuracy": "sequence accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
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

SYNTHETIC_REMARK = "simulated images"


def measure_name(measure: str) -> str:
    """The name of a measure, `image accuracy` for `image_accuracy`; an unknown one loses its underscores."""
    return MEASURES.get(measure, measure.replace("_", " "))


def adaptation_name(adaptation: str) -> str:
    """The name of an adaptation, `linear SVM` for `linear_svm`; an unknown one loses its underscores."""
    return ADAPTATIONS.get(adaptation, adaptation.replace("_", " "))


def in_usual_order(adaptations: Iterable[str]) -> list[str]:
    """Adaptations as figures and lists show them: the linear probe first, unknown ones last, by name."""
    usual = list(ADAPTATIONS)
    return sorted(set(adaptations), key=lambda key: (usual.index(key) if key in usual else len(usual), key))


def size_title(scheme: str) -> str:
    """The title of the axis of sizes, with its unit."""
    return SIZE_TITLES.get(scheme, f"size ({scheme})")


def size_text(size: int, scheme: str) -> str:
    """A size with its unit: `1 sequence per class`, `1,024 images`."""
    one, many = SIZE_UNITS.get(scheme, (scheme, scheme))
    return f"{size:,} {one if size == 1 else many}"


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
