"""A finished study made by hand, without a worker: a toy dataset, a real launch, and predictions written as one would.

In: a home. Out: the store with the study `made` on the dataset `toy`: all its runs done, their predictions on disk.
"""

from collections.abc import Sequence

import numpy as np

from fmlab.data.manifest import Dataset, open_dataset
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.predictions import Predictions, write_predictions
from fmlab.runs.queue import Queue
from fmlab.runs.records import Actor, Run
from fmlab.runs.store import Store, open_store
from fmlab.settings import Home
from fmlab.studies.configs import study_config
from fmlab.studies.launch import launch

CLASSES = "ABC"
FRAMES = 3
SEQUENCES = {"train": (4, 4, 4), "T1": (3, 2, 2), "T2": (2, 2, 0)}  # of each class: T2 has no C
STUDY = {
    "name": "made",
    "dataset": "toy",
    "backbones": ["efficientnet-lite0", "pixels-24"],
    "adaptations": ["linear_svm"],
    "scheme": "sequences",
    "sizes": [1, 2],
    "seeds": 3,
}


def make_dataset(home: Home, name: str = "toy") -> Dataset:
    """Grey images whose brightness is their class, two sites, a patient per sequence."""
    writer = DatasetWriter(home, name)
    generator = np.random.default_rng(0)
    for split, numbers in SEQUENCES.items():
        for label, number in zip(CLASSES, numbers, strict=True):
            for index in range(number):
                sequence = f"{split}-{label}-{index}"
                for frame in range(FRAMES):
                    row = ImageRow(
                        path=f"{sequence}.avi",
                        frame=frame,
                        label=label,
                        sequence_id=sequence,
                        patient_id=f"patient of {sequence}",
                        site=("north", "south")[index % 2],
                        split=split,
                    )
                    level = 60 + 60 * CLASSES.index(label)
                    writer.add(row, generator.integers(level, level + 40, (30, 40), dtype=np.uint8))
    return writer.finish(CardFacts("toy", title="Toy", synthetic=True))


def launch_study(home: Home, config: dict[str, object] | None = None) -> Store:
    """The store with the study launched: every run queued, none at work."""
    store = open_store(home)
    launch(home, store, study_config(config or STUDY), Actor("tester", "test"))
    return store


def finish_runs(home: Home, store: Store, study: str, skill: float = 2.0) -> None:
    """Give every queued run of the study predictions: better with size, and better than a floor's."""
    record = store.study(study)
    dataset = open_dataset(home, record.config["dataset"])
    rows = dataset.manifest(["image_id", "label", "split", "scored"])
    rows = rows[rows["split"].isin(dataset.test_sets) & rows["scored"]]
    truth = rows["label"].map({name: code for code, name in enumerate(dataset.card.classes)}).to_numpy()
    backbones = [*record.config["backbones"], *(each["backbone"] for each in record.config["baselines"])]
    queue = Queue(store)
    queue.acquire()
    while (claim := queue.claim("cpu")) is not None:
        runs = [store.run(key) for key, _ in claim.runs]
        scores = _scores(runs, truth, backbones, len(dataset.card.classes), skill)
        name = f"{claim.group}.parquet"
        keys = tuple(run.key for run in runs)
        images = rows["image_id"].to_numpy(dtype=str)
        write_predictions(home.predictions / name, Predictions(keys, images, scores, dataset.card.classes))
        facts = {"predictions": name, "converged": True, "gap": 1e-5, "n_train": 9}
        queue.finish({key: facts for key in keys}, seconds=1.0)
    queue.release()


def _scores(runs: Sequence[Run], truth: np.ndarray, backbones: list[str], classes: int, skill: float) -> np.ndarray:
    """(R, M, K) float32: noise, and the truth lifted by the run's skill."""
    scores = []
    for run in runs:
        subset = run.config["subset"]
        generator = np.random.default_rng((subset["seed"], subset["size"], backbones.index(run.config["backbone"])))
        floor = run.config["backbone"].startswith(("random", "pixels"))
        lift = skill * (1 + np.log2(subset["size"])) / (6 if floor else 2 + backbones.index(run.config["backbone"]))
        lift *= 1.0 if run.config["adaptation"]["kind"] == "linear_svm" else 0.8
        scores.append(generator.normal(size=(len(truth), classes)) + lift * np.eye(classes)[truth])
    return np.asarray(scores, np.float32)


def make_study(home: Home) -> Store:
    """Dataset, study and finished runs in one step."""
    make_dataset(home)
    store = launch_study(home)
    finish_runs(home, store, "made")
    return store
