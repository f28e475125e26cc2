"""The linear probe: FMLab's certified solver against a plain loop of scikit-learn's `LinearSVC()`, predictions included.

Fixtures are EfficientNet-Lite0 features of the two real sets beside the repository, where they are (as they come, of
length 1, standardised, and badly conditioned), and synthetic 768-d features of ten classes. Every subset is another
one. Ours fits all of them in one call, as a study does, once in the middle of the loop and once after it. Accuracy is
compared with the same solver at a certified gap of 1e-9.
"""

import csv
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fmlab.adapt.configs import LinearSVM
from fmlab.adapt.fit import fit_and_score
from fmlab.backbones.catalogue import find_backbone
from fmlab.data.preprocessing import prepare
from fmlab.settings import Home

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
CACHE = Path(os.environ.get("FMLAB_BENCHMARK_CACHE", Path.home() / ".cache" / "fmlab-benchmarks"))
SIZES = {
    "gallbladder_ba": (16, 32, 64, 128, 256, 512, 1024, 2048),
    "echo_views": (8, 16, 32, 64, 96, 128, 192, 256),
}
STUDY_SIZES = (256, 512, 1024, 2048, 4096, 8192, 16384)
AGAINST = "a loop of LinearSVC()"
DEVICE = f"cpu, {os.cpu_count()} cores"


def run(quick: bool = False) -> Iterator[dict]:
    """One row per fixture, as it is measured; `quick` takes 2 seeds of 20 and leaves the largest synthetic sizes out."""
    for name, sizes in SIZES.items():
        if not (SHARED / name).is_dir():
            warnings.warn(f"{SHARED / name} is absent; its fixtures are left out.", stacklevel=1)
            continue
        features, labels = real_features(name)
        for kind, scaled in scalings(features).items():
            title = f"{name} {kind}, {features.shape[1]}-d, {len(sizes)} sizes"
            yield compare(title, scaled, labels, sizes, seeds=2 if quick else 20)
    features, labels = correlated_features(items=8000 if quick else 20000)
    for size, seeds in ((1024, 1), (4096, 1)) if quick else ((1024, 2), (4096, 2), (16384, 2)):
        yield compare(f"synthetic, 768-d, 10 classes, {size} images", features, labels, (size,), seeds)
    if not quick:
        yield whole_grid(features, labels)


# ------------------------------------------------------------------------------------------------------------ measuring


def compare(title: str, features: np.ndarray, labels: np.ndarray, sizes: tuple[int, ...], seeds: int) -> dict:
    """Both sides on the same subsets and test items; the ratio of their total times."""
    train, test = held_out(len(labels))
    n_classes = int(labels.max()) + 1
    subsets = draw(labels, train, sizes, np.arange(seeds))
    middle = len(subsets) // 2
    ours, theirs, warned = [], 0.0, 0
    for part in (subsets[:middle], subsets[middle:]):
        seconds, unconverged = loop_of_linear_svc(features, labels, part, test)
        theirs, warned = theirs + seconds, warned + unconverged
        began = time.perf_counter()
        fits = fit_and_score(LinearSVM(), features, labels, n_classes, subsets, features[test])
        ours.append(time.perf_counter() - began)
    exact = fit_and_score(LinearSVM(gap=1e-9), features, labels, n_classes, subsets, features[test])
    right = [(scores.argmax(axis=2) == labels[test]).mean(axis=1) for scores in (fits.scores, exact.scores)]
    gains = 100 * (right[0] - right[1])
    return {
        "name": "probe",
        "what": f"{title} × {seeds} seeds",
        "ratio": theirs / np.mean(ours),
        "against": AGAINST,
        "device": DEVICE,
        "ratio_low": theirs / max(ours),
        "ratio_high": theirs / min(ours),
        "seconds": np.mean(ours),
        "seconds_against": theirs,
        "unconverged": int((~fits.converged).sum()),
        "unconverged_against": warned,
        "largest_gap": float(fits.gap.max()),
        "accuracy_difference_points": float(gains.mean()),
        "accuracy_absolute_difference_points": float(np.abs(gains).mean()),
    }


def loop_of_linear_svc(
    features: np.ndarray, labels: np.ndarray, subsets: list[np.ndarray], test: np.ndarray
) -> tuple[float, int]:
    """Seconds, and how many fits warned that they did not converge."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    unconverged, seconds = 0, 0.0
    for rows in subsets:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            began = time.perf_counter()
            LinearSVC().fit(features[rows], labels[rows]).predict(features[test])
            seconds += time.perf_counter() - began
        unconverged += any(issubclass(each.category, ConvergenceWarning) for each in caught)
    return seconds, unconverged


def whole_grid(features: np.ndarray, labels: np.ndarray, device: str = "cpu") -> dict:
    """The limited-data study's grid for one backbone: seven sizes of 20 seeds each, ours alone."""
    train, test = held_out(len(labels))
    subsets = draw(labels, train, STUDY_SIZES, np.arange(20))
    fits = fit_and_score(LinearSVM(), features, labels, int(labels.max()) + 1, subsets, features[test], device)
    return {
        "name": "probe",
        "what": f"the study's grid, 256 … 16,384 × 20 seeds, 768-d, 10 classes: {fits.seconds:.0f} s",
        "ratio": None,
        "against": None,
        "device": DEVICE if device == "cpu" else device,
        "seconds": fits.seconds,
        "unconverged": int((~fits.converged).sum()),
        "largest_gap": float(fits.gap.max()),
    }


def draw(labels: np.ndarray, train: np.ndarray, sizes: tuple[int, ...], seeds: np.ndarray) -> list[np.ndarray]:
    """Nested random subsets of each seed, distinct between seeds; a size that caught one class alone is left out."""
    orders = [train[np.random.default_rng(1000 + seed).permutation(len(train))] for seed in seeds]
    subsets = [order[:size] for order in orders for size in sizes if size < len(train)]
    return [rows for rows in subsets if len(np.unique(labels[rows])) > 1]


def held_out(items: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows: a fifth, at most 2,000, is for testing."""
    order = np.random.default_rng(0).permutation(items)
    tests = min(2000, items // 5)
    return np.sort(order[tests:]), np.sort(order[:tests])


# ------------------------------------------------------------------------------------------------------------- fixtures


def scalings(features: np.ndarray) -> dict[str, np.ndarray]:
    """The same features easy and hard: a few huge, shifted dimensions are what raw ViT features look like."""
    standardised = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    rng = np.random.default_rng(0)
    spread = features * 10 ** rng.uniform(-2, 2, features.shape[1])
    massive = 3 * standardised + 1
    columns = rng.permutation(features.shape[1])[:6]
    massive[:, columns] = 60 * massive[:, columns] + 150
    named = {
        "raw": features,
        "of length 1": features / np.linalg.norm(features, axis=1, keepdims=True),
        "standardised": standardised,
        "of uneven scales": spread,
        "with massive dimensions": massive,
    }
    return {name: each.astype(np.float32) for name, each in named.items()}


def correlated_features(items: int, width: int = 768, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Ten overlapping classes in strongly correlated dimensions with a common offset, as an encoder leaves them."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((width, width)))[0]
    scale = 1 / np.sqrt(np.arange(1, width + 1))
    labels = rng.integers(0, classes, items)
    centres = 0.22 * scale * rng.standard_normal((classes, width))
    features = (scale * rng.standard_normal((items, width)) + centres[labels]) @ axes.T
    return (features / np.sqrt((features**2).mean()) + 0.5 * axes[0]).astype(np.float32), labels


def real_features(name: str) -> tuple[np.ndarray, np.ndarray]:
    """EfficientNet-Lite0 features (N, 1280) float32 and labels of a real set, embedded once and then cached."""
    cached = CACHE / f"{name}-efficientnet-lite0.npz"
    if cached.is_file():
        kept = np.load(cached)
        return kept["features"], kept["labels"]
    import torch
    from PIL import Image

    from fmlab.backbones.loaders import load_backbone

    home = Home(CACHE)
    card = find_backbone(home, "efficientnet-lite0")
    backbone = load_backbone(card, home)
    paths, labels = labelled_paths(name)
    features = []
    for first in range(0, len(paths), 32):
        images = [np.asarray(Image.open(path).convert("RGB")) for path in paths[first : first + 32]]
        batch = np.stack([prepare(image, card.spec) for image in images])
        features.append(backbone.features(torch.from_numpy(batch)).numpy())
    CACHE.mkdir(parents=True, exist_ok=True)
    np.savez(cached, features=np.concatenate(features), labels=labels)
    return np.concatenate(features), labels


def labelled_paths(name: str) -> tuple[list[Path], np.ndarray]:
    """Image files and class numbers of a set in the shared folder, unlabelled rows left out."""
    folder = SHARED / name
    if name == "gallbladder_ba":
        with open(folder / "label.csv", newline="") as file:
            rows = [(folder / image, label) for image, label in csv.reader(file)]
    else:
        with open(folder / "labels.csv", newline="") as file:
            rows = [(folder / row["path"], row["view"]) for row in csv.DictReader(file) if row["view"]]
    classes = sorted({label for _, label in rows})
    return [path for path, _ in rows], np.array([classes.index(label) for _, label in rows])
