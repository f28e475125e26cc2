"""Labels that other patients contradict: a kNN that saw only the other patients is confident of another class.

In: labelled rows with embeddings on this disk. Out: one check, the most confident contradictions first.

An image is named when the share of votes for another class reaches what images of that class get on average, and is the
largest, while the share for its own label stays below what its class gets on average: the off-diagonal of the confident
joint. A pointer to what to look at first, not a verdict: a hard view looks the same.

Source: Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70 (2021), with
leave-patients-out kNN shares as the predicted probabilities.
"""

import numpy as np
import pandas as pd

from fmlab.adapt.configs import KNN
from fmlab.adapt.fit import fit_and_score
from fmlab.audit.embedded import find_embedded
from fmlab.audit.report import ROWS_KEPT, Check, Row, counted, made
from fmlab.audit.tables import image_name
from fmlab.data.splits import draw_folds, groups
from fmlab.settings import Home

TITLE = "Labels that look like their class"
FOLDS = 5
LEAST_GROUPS = 10
LEAST_RIGHT = 0.7  # of the labels agree with the vote: a model that is wrong more often has nobody to accuse
LARGEST = 10_000  # images: a vote compares all with all


def check_labels(home: Home, rows: pd.DataFrame) -> Check:
    """The check `label_errors`. `rows`: path, frame, split, label, sequence_id, patient_id, content_hash, image_id."""
    rows = rows[rows["label"].notna()].reset_index(drop=True)
    if len(rows) > LARGEST:
        rows = rows.iloc[np.linspace(0, len(rows) - 1, LARGEST).round().astype(int)].reset_index(drop=True)
    labels, classes = pd.factorize(rows["label"])
    if len(classes) < 2 or groups(rows).nunique() < LEAST_GROUPS:
        return made("label_errors", "skipped", TITLE, "There are too few labelled patients or sequences to compare.")
    embedded = find_embedded(home, rows)
    if embedded is None:
        advice = "Run a study or draw the map with a trained backbone, then ask again."
        return made("label_errors", "skipped", TITLE, f"Not all images have embeddings yet. {advice}")
    features = embedded.read(np.arange(len(rows)))
    shares = _out_of_fold(features, labels, len(classes), draw_folds(rows, FOLDS).to_numpy())
    right = float(np.mean(shares.argmax(axis=1) == labels))
    if right < LEAST_RIGHT:
        weak = f"The nearest images of other patients on {embedded.backbone} agree with {right:.0%} of the labels"
        return made("label_errors", "skipped", TITLE, f"{weak}: too few to doubt the others.")
    suspects, instead = contradicted(shares, labels)
    if not len(suspects):
        return made("label_errors", "fine", TITLE, f"On {embedded.backbone} no label is contradicted with confidence.")
    named: list[Row] = [
        {"image": image_name(rows["path"][i], rows["frame"][i]), "split": rows["split"][i], "label": rows["label"][i],
         "looks_like": str(classes[other]), "share": round(float(shares[i, other]), 3)}
        for i, other in zip(suspects[:ROWS_KEPT].tolist(), instead[:ROWS_KEPT].tolist(), strict=True)
    ]  # fmt: skip
    sentence = (
        f"{counted(len(suspects), 'label')} of {len(rows):,} {'is' if len(suspects) == 1 else 'are'} contradicted with "
        f"confidence by the nearest images of other patients on {embedded.backbone}, {named[0]['image']} for one "
        f"({named[0]['label']}, looks like {named[0]['looks_like']}). Look at these first."
    )
    return made("label_errors", "note", TITLE, sentence, named, len(suspects))


def _out_of_fold(features: np.ndarray, labels: np.ndarray, classes: int, folds: np.ndarray) -> np.ndarray:
    """Shares of votes of the other folds, (N, K) float32."""
    shares = np.zeros((len(labels), classes), np.float32)
    for fold in np.unique(folds):
        learnt, tested = np.flatnonzero(folds != fold), folds == fold
        if len(np.unique(labels[learnt])) < 2:
            shares[tested, labels[learnt[0]]] = 1
            continue
        shares[tested] = fit_and_score(KNN(), features, labels, classes, [learnt], features[tested]).scores[0]
    return shares


def contradicted(shares: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the contradicted images, the most confident first, and the class that each looks like, (n,) each.

    Args:
        shares: (N, K) predicted probabilities, from models that did not see the image.
        labels: (N,) int, 0 … K − 1; each class has an image.
    """
    usual = np.array([shares[labels == each, each].mean() for each in range(shares.shape[1])])
    own = shares[np.arange(len(labels)), labels]
    instead = shares.argmax(axis=1)
    strength = shares[np.arange(len(labels)), instead]
    suspect = (instead != labels) & (strength >= usual[instead]) & (own < usual[labels])
    found = np.flatnonzero(suspect)
    order = np.argsort(own[found] - strength[found], kind="stable")
    return found[order], instead[found[order]]
