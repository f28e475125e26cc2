"""The shortcut test: what lies outside the ultrasound sector must not give the label away.

In: a dataset whose sectors are known. Out: one check: the accuracy of a linear probe that sees only what lies outside the
sector (text, rulers, bars, the outline itself), cross-validated by patient, with a 95 % interval against the majority.

The whole picture is squashed into the network's square, because a centre crop would cut the text off. Worker only:
imports torch.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from fmlab.adapt.configs import LinearSVM
from fmlab.adapt.fit import fit_and_score
from fmlab.audit.report import Check, Row, counted, made
from fmlab.backbones.catalogue import find_backbone, on_disk
from fmlab.backbones.loaders import load_backbone
from fmlab.data.manifest import Dataset
from fmlab.data.preprocessing import mask_outside
from fmlab.data.splits import draw_folds, groups
from fmlab.data.store import ImageStore
from fmlab.embeddings.pipeline import stream_features
from fmlab.errors import Cancelled
from fmlab.metrics.intervals import Interval, cluster_bootstrap
from fmlab.settings import Home

TITLE = "Nothing outside the sector tells the label"
BACKBONES = ("efficientnet-lite0", "pixels-24")  # the first one whose weights are on this disk
FOLDS = 5
LEAST_GROUPS = 10  # patients: fewer tell nothing about others
LARGEST = 1000  # images: text and rulers stay the same through a clip, so a few frames of each do
FAR = 0.1  # above the majority rate, by the lower end of the interval: less is no shortcut worth a model's while


def check_outside(
    home: Home,
    dataset: Dataset,
    rows: pd.DataFrame,
    device: str,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Check:
    """The check `shortcut`. `rows`: image_id, label, sequence_id, patient_id, sector of the images in a split."""
    rows = rows[rows["label"].notna() & rows["sector"].notna()].reset_index(drop=True)
    whom = groups(rows)
    labels, classes = pd.factorize(rows["label"])
    per_class = rows.assign(whom=whom).groupby("label")["whom"].nunique()
    if len(classes) < 2 or whom.nunique() < LEAST_GROUPS or per_class.nlargest(2).min() < 2:
        few = f"{counted(len(rows), 'labelled image')} of {counted(whom.nunique(), 'patient or clip', 'patients or clips')}"
        return made("shortcut", "skipped", TITLE, f"A sector is known of {few}: too few to test it.")
    rows = rows.iloc[_spread(rows["sequence_id"])].reset_index(drop=True)
    labels, whom = pd.Index(classes).get_indexer(rows["label"]), groups(rows)
    features, backbone = _features(home, dataset, rows, device, on_progress, cancelled)
    folds = draw_folds(rows, FOLDS).to_numpy()
    predicted, majority = _out_of_fold(features, labels, len(classes), folds)
    people = pd.factorize(whom)[0]
    unit = "patient" if rows["patient_id"].notna().all() else "sequence"
    accuracy = cluster_bootstrap((predicted == labels).astype(float), people)
    ahead = cluster_bootstrap((predicted == labels) - (majority == labels).astype(float), people)
    return _judged(accuracy, ahead, float(np.mean(majority == labels)), len(rows), backbone, unit)


def _judged(accuracy: Interval, ahead: Interval, majority: float, images: int, backbone: str, unit: str) -> Check:
    rows: list[Row] = [
        {"accuracy": accuracy.value, "low": accuracy.low, "high": accuracy.high, "majority": majority,
         "ahead": ahead.value, "ahead_low": ahead.low, "ahead_high": ahead.high, "images": images, "backbone": backbone}
    ]  # fmt: skip
    measured = (
        f"With the sector blacked out a probe on {backbone} is right in {accuracy.value:.1%} "
        f"({accuracy.low:.1%}–{accuracy.high:.1%}, by {unit}); always naming the most frequent class in {majority:.1%}."
    )
    if ahead.low <= FAR:
        return made("shortcut", "fine", TITLE, measured, rows)
    advice = "Text, rulers or the outline give the label away: switch sector masking on, and look at those pictures."
    return made("shortcut", "warning", TITLE, f"{measured} {advice}", rows)


def _spread(sequences: pd.Series) -> np.ndarray:
    """Positions of at most `LARGEST` images, evenly spread over each sequence, and over the sequences if there are more."""
    members = pd.Series(np.arange(len(sequences))).groupby(sequences.to_numpy(), sort=True)
    each = max(1, LARGEST // members.ngroups)
    chosen = [
        places.to_numpy()[np.unique(np.linspace(0, len(places) - 1, min(each, len(places))).round().astype(int))]
        for _, places in members
    ]
    every = np.concatenate(chosen)
    kept = np.unique(np.linspace(0, len(every) - 1, min(LARGEST, len(every))).round().astype(int))
    return np.sort(every[kept])


def _features(
    home: Home,
    dataset: Dataset,
    rows: pd.DataFrame,
    device: str,
    on_progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> tuple[np.ndarray, str]:
    card = next(card for card in (find_backbone(home, key) for key in BACKBONES) if on_disk(card, home))
    backbone = load_backbone(card, home, device)
    store = ImageStore(dataset.folder / "store")
    positions, sectors = store.positions(rows["image_id"]), rows["sector"].tolist()

    def read(index: int) -> np.ndarray:
        return blacked_out(store.read(int(positions[index])), sectors[index])

    found: list[np.ndarray] = []
    for batch in stream_features(read, len(rows), backbone, replace(card.spec, resize="squash"), card.feature):
        found.append(batch)
        on_progress(sum(map(len, found)), len(rows))
        if cancelled():
            raise Cancelled("The audit was stopped.")
    return np.concatenate(found), card.key


def blacked_out(image: np.ndarray, sector: np.ndarray) -> np.ndarray:
    """The image with the sector set to 0: what `mask_outside` removes is what stays here."""
    return image - mask_outside(image, sector)


def _out_of_fold(
    features: np.ndarray, labels: np.ndarray, classes: int, folds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What a probe that saw the other folds says of each image, and their most frequent class, (N,) int64 each."""
    predicted, majority = np.zeros(len(labels), np.int64), np.zeros(len(labels), np.int64)
    for fold in np.unique(folds):
        learnt, tested = np.flatnonzero(folds != fold), folds == fold
        counts = np.bincount(labels[learnt], minlength=classes)
        majority[tested] = counts.argmax()
        if np.count_nonzero(counts) < 2:
            predicted[tested] = counts.argmax()
            continue
        fits = fit_and_score(LinearSVM(), features, labels, classes, [learnt], features[tested])
        predicted[tested] = fits.scores[0].argmax(axis=1)
    return predicted, majority
