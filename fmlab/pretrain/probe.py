"""The probe of a pretraining: what its features tell of labels that it never saw, at every checkpoint. Worker only.

In: a labelled dataset, the input of the network that is pretrained. Out: balanced accuracy (0–1) of nearest neighbours
and of a linear classifier on the features, by patient, with 95 % intervals over patients.

Learnt from is the split `train`; tested is the dataset's first test set, else `val`, else each fold of a
cross-validation by patient. The images are decoded once, at the network's size, and at most `most` of each side are
used: as evenly from all patients as they have images, because it is patients who make an interval narrow.

Sources: nearest neighbours as M. Caron et al., DINO, ICCV 2021, appendix F.1 (`fmlab.adapt.knn`: cosine, k = 20,
T = 0.07); the linear classifier is `fmlab.adapt.linear_svm` on features that are centred on the training images and divided
by one number, the root of their total variance, so that small features are not at a disadvantage. One number for all
dimensions: scaled each by itself, raw pixels at the dark border of a sector would outweigh those of the picture.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from fmlab.adapt.configs import KNN, Adaptation, LinearSVM
from fmlab.adapt.fit import fit_and_score
from fmlab.backbones.encoders import PIXELS_SIDE
from fmlab.backbones.pixels import item_reader, stacked
from fmlab.data.manifest import VALIDATION, Dataset, open_dataset
from fmlab.data.preprocessing import InputSpec, fit
from fmlab.data.roles import CROSS_VALIDATED, Roles, roles
from fmlab.data.splits import groups, hash_order
from fmlab.errors import BadInput
from fmlab.metrics.accuracy import balanced_accuracy
from fmlab.metrics.intervals import LEVEL, Interval, group_confusions, resampled_counts
from fmlab.settings import Home

MOST = 3000  # images on each side: the interval hardly narrows beyond it, and a checkpoint must not wait
FOLDS = 5
LINEAR = LinearSVM(C=1.0)  # on features whose total variance is 1

Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ProbeResult:
    """Balanced accuracies, 0–1, each with its 95 % interval over patients."""

    knn: float
    knn_low: float
    knn_high: float
    linear: float
    linear_low: float
    linear_high: float

    @property
    def plain(self) -> dict[str, float]:
        """As it stands in probes.jsonl: `low` and `high` are those of kNN."""
        return {
            "knn": self.knn,
            "low": self.knn_low,
            "high": self.knn_high,
            "linear": self.linear,
            "linear_low": self.linear_low,
            "linear_high": self.linear_high,
        }


class LabelledImages:
    """The labelled images of a dataset, decoded once, and the question that is asked of their features."""

    def __init__(
        self,
        home: Home,
        dataset: str,
        size: int,
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        resize: str = "squash",
        mask_sector: bool = False,
        most: int = MOST,
        seed: int = 0,
    ) -> None:
        """Choose and decode.

        Args:
            dataset: its name.
            size: side of the network's input in pixels.
            channels: 1 or 3; colour becomes its luma where the network takes one, grey is repeated where it takes three.
            mean: for each channel, of grey values 0–1.
            std: likewise.
            resize: how an image becomes a square: `squash`, `pad` or `crop`.
            most: images to learn from, and images to test.
            seed: of the choice where there are more.

        Raises:
            BadInput: nothing to learn from, one class alone, or nobody to test.
        """
        found = open_dataset(home, dataset)
        self.dataset = dataset
        self.classes = found.card.classes
        self.test_set, chosen = _chosen(found)
        train, test = (drawn_by_patient(rows, most, seed) for rows in (chosen.train, chosen.test))
        self.note = _note(dataset, self.test_set, (train, chosen.train), (test, chosen.test))
        rows = pd.concat([train, test], ignore_index=True)
        self.test_rows = rows.iloc[len(train) :].reset_index(drop=True)  # of the manifest, of each test image
        self.labels = _labels(rows, self.classes)  # (N,) int64
        if len(np.unique(self.labels[: len(train)])) < 2:
            raise BadInput(
                f"The training images of {dataset!r} are all of one class; choose a dataset with two or more."
            )
        _, self.groups = np.unique(groups(rows), return_inverse=True)  # (N,) the patient of each image
        self._train, self._test = np.arange(len(train)), len(train) + np.arange(len(test))
        self._parts = [(self._train[one], self._test[other]) for one, other in Roles(train, test, chosen.folds).parts]
        spec = InputSpec(size, resize, size, "bicubic", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # type: ignore[arg-type]
        self.images = _decoded(found, rows, spec, channels, mask_sector)  # uint8 (N, S, S) or (N, S, S, 3)
        self._channels = channels
        self._mean, self._std = torch.tensor(tuple(mean)), torch.tensor(tuple(std))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def truth(self) -> np.ndarray:
        """Class of each test image, (M,) int64."""
        return self.labels[self._test]

    @property
    def test_groups(self) -> np.ndarray:
        """Patient of each test image, (M,) int64: what intervals resample."""
        return self.groups[self._test]

    # Features ---------------------------------------------------------------------------------------------------------

    def batches(self, batch: int, device: str | torch.device = "cpu") -> Iterator[Tensor]:
        """All images in order as the network takes them: float32 (≤ batch, C, S, S), normalised, on the device."""
        mean, std = (values.to(device)[:, None, None] for values in (self._mean, self._std))
        for start in range(0, len(self.images), batch):
            pixels = self.images[start : start + batch].to(device).float() / 255
            planes = pixels[:, None] if pixels.ndim == 3 else pixels.movedim(-1, 1)
            yield (planes.expand(-1, self._channels, -1, -1) - mean) / std

    @torch.no_grad()
    def features(self, encode: Encode, batch: int = 128, device: str | torch.device = "cpu") -> np.ndarray:
        """Features of all images by a network, (N, D) float32. The caller puts it into evaluation mode."""
        return np.concatenate([encode(images).float().cpu().numpy() for images in self.batches(batch, device)])

    @cached_property
    def pixels(self) -> np.ndarray:
        """The images themselves as features, (N, 576) float32: grey 0–1, averaged to 24×24."""
        whole = (
            self.images if self.images.ndim == 3 else torch.from_numpy(np.stack([_grey(one) for one in self.images]))
        )
        small = torch.nn.functional.adaptive_avg_pool2d(whole[:, None].float() / 255, PIXELS_SIDE)
        return small.flatten(start_dim=1).numpy()

    # The question -----------------------------------------------------------------------------------------------------

    def probe(self, features: np.ndarray) -> ProbeResult:
        """Balanced accuracy of both probes on features (N, D) of all images, in their order."""
        return self.result(*self.predicted(features))

    def result(self, knn: np.ndarray, linear: np.ndarray) -> ProbeResult:
        """Balanced accuracy of the classes that both probes gave each test image, (M,) int64 each."""
        return ProbeResult(*self.interval(knn), *self.interval(linear))

    @cached_property
    def pixel_floor(self) -> ProbeResult:
        """The same of the images themselves, without any network: what features have to beat."""
        return self.probe(self.pixels)

    def predicted(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The class that nearest neighbours and the linear classifier give each test image, (M,) int64 each."""
        if features.shape[0] != len(self) or not np.isfinite(features).all():
            raise BadInput(
                f"Features of the probe have shape {features.shape} or are not finite; expected {len(self)} finite rows."
            )
        return self._answers(KNN(), features, scaled=False), self._answers(LINEAR, features, scaled=True)

    def interval(self, predicted: np.ndarray) -> Interval:
        """Balanced accuracy of (M,) predicted classes with its 95 % interval when patients are resampled."""
        counts = group_confusions(predicted, self.truth, self.test_groups, len(self.classes))
        drawn = balanced_accuracy(resampled_counts(counts, seed=0))
        low, high = np.quantile(drawn[np.isfinite(drawn)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Interval(float(balanced_accuracy(counts.sum(axis=0))), float(low), float(high))

    def _answers(self, adaptation: Adaptation, features: np.ndarray, scaled: bool) -> np.ndarray:
        answers = np.empty(len(self._test), np.int64)
        for train, test in self._parts:
            known, asked = features[train], features[test]
            if scaled:
                shift, variance = known.mean(axis=0, dtype=np.float64), known.var(axis=0, dtype=np.float64).sum()
                scale = np.sqrt(variance) if variance > 0 else 1.0
                known, asked = (((part - shift) / scale).astype(np.float32) for part in (known, asked))
            everything = [np.arange(len(train))]
            fits = fit_and_score(adaptation, known, self.labels[train], len(self.classes), everything, asked)
            answers[test - len(self._train)] = fits.scores[0].argmax(axis=1)
        return answers


# ----------------------------------------------------------------------------------------------------------------------


def drawn_by_patient(rows: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """At most `most` rows in their order: of every patient one image, then of every patient another, and so on.

    Which ones is drawn by the seed and the images' own ids. Where there are more patients than `most`, so many of them.
    """
    if len(rows) <= most:
        return rows.reset_index(drop=True)
    order = pd.DataFrame(
        {
            "group": groups(rows).to_numpy(),
            "image": hash_order(rows["image_id"].to_numpy(), seed),
        }
    )
    patients = order["group"].unique()
    order["patient"] = order["group"].map(dict(zip(patients, hash_order(patients, seed), strict=True)))
    order["round"] = order.groupby("group")["image"].rank(method="first")
    first = order.sort_values(["round", "patient", "image"]).index[:most]
    return rows.iloc[np.sort(first.to_numpy())].reset_index(drop=True)


def _chosen(dataset: Dataset) -> tuple[str, Roles]:
    """Which test set, and the rows on both sides of it, no patient on both."""
    found = roles(dataset)
    present = sorted(found.test["split"].unique())
    if present:
        return present[0], _apart(found.train, found.test[found.test["split"] == present[0]], dataset)
    columns = list(found.train.columns)
    table = dataset.manifest(columns)
    held_out = table[(table["split"] == VALIDATION) & table["label"].notna()]
    if len(held_out):
        return VALIDATION, _apart(found.train, held_out, dataset)
    patients = groups(found.train).nunique() if len(found.train) else 0
    if patients < 2:
        raise BadInput(
            f"Dataset {dataset.name!r} has labelled images of {patients} patients; probing features needs at least 2, "
            "one to learn from and one to test. Choose a labelled dataset."
        )
    return CROSS_VALIDATED, roles(dataset, dataset.card.folds or min(FOLDS, patients))


def _apart(train: pd.DataFrame, test: pd.DataFrame, dataset: Dataset) -> Roles:
    """Both sides; of patients that stand on both, the training images are left out."""
    apart = train[~groups(train).isin(set(groups(test)))] if len(train) else train
    if apart.empty:
        raise BadInput(
            f"Dataset {dataset.name!r} has no labelled training images of patients that are not tested. "
            "Choose a labelled dataset whose train and test patients differ."
        )
    return Roles(apart.reset_index(drop=True), test.reset_index(drop=True), None)


def _labels(rows: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    labels = pd.Index(classes, dtype="str").get_indexer(rows["label"]).astype(np.int64)
    if (labels < 0).any():
        raise BadInput("The labelled rows hold a label outside the class list. Import the dataset again.")
    return labels


def _decoded(dataset: Dataset, rows: pd.DataFrame, spec: InputSpec, channels: int, mask_sector: bool) -> Tensor:
    read = item_reader(dataset.folder, rows, mask_sector)

    def fitted(position: int) -> np.ndarray:
        image = fit(read(position), spec)
        return _grey(image) if channels == 1 and image.ndim == 3 else image

    with ThreadPoolExecutor() as threads:  # Pillow lets other threads run while it scales
        images = list(threads.map(fitted, range(len(rows))))
    return stacked(images, len(images), pinned=False)


def _grey(image: np.ndarray | Tensor) -> np.ndarray:
    """The luma of a colour image, uint8 (S, S)."""
    return np.asarray(Image.fromarray(np.asarray(image)).convert("L"))


def _note(dataset: str, test_set: str, *sides: tuple[pd.DataFrame, pd.DataFrame]) -> str:
    """What was chosen, in words."""
    words = []
    for what, (used, whole) in zip(("learnt from", "tested"), sides, strict=True):
        share = f"{len(used):,}" + (f" of {len(whole):,}" if len(used) < len(whole) else "")
        words.append(f"{what}: {share} images of {groups(used).nunique():,} patients")
    return f"{dataset}, {test_set} by patient; " + ", ".join(words)
