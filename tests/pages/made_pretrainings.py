"""What pretrainings leave, written by hand: pretraining.json and probe.parquet of backbones that never existed.

In: a home, and how often the probes were right at the end, at the start and from pixels. Out: the two files, and a card
that proves them whole.

Images are dealt to patients in order; which ones a probe gets right is drawn by `draw`, so that two backbones of one draw
are right on the same images as far as their shares go. Pixels are always those of draw 0.
"""

import numpy as np
import pandas as pd

from fmlab.backbones.catalogue import find_backbone
from fmlab.files import write_bytes, write_json
from fmlab.pretrain.configs import Pretraining, pretraining
from fmlab.settings import Home

CLASSES = ("A", "B", "C")
LABELLED = "toy"


def asked_for(key: str, method: str, share: float = 1.0, **changes: object) -> Pretraining:
    """A pretraining as a person asks for it."""
    sources = [{"dataset": LABELLED, "share": share}]
    return pretraining({"method": method, "sources": sources, "key": key, "max_minutes": 10.0} | changes)


def make_pretraining(
    home: Home,
    key: str,
    method: str = "mae",
    *,
    right: tuple[float, float, float] = (0.8, 0.5, 0.6),  # at the end, at the start, from pixels
    images: int = 4000,
    images_seen: int = 40_000,
    hours: float = 1 / 6,
    device: str = "cpu",
    share: float = 1.0,
    health: str = "healthy",
    patients: int = 60,
    each: int = 5,
    labelled: str | None = LABELLED,
    start: str | None = None,
    draw: int = 0,
    **changes: object,
) -> None:
    """Write both files; the linear probe is right a little less often than nearest neighbours."""
    asked = asked_for(key, method, share, **changes)
    network = asked.network or ("resnet18" if method == "simsiam" else "vit-tiny")
    facts = {
        "method": method,
        "recipe": asked.recipe,
        "setting": {
            "network": network,
            "patch": 16,
            "seed": asked.seed,
            "minutes": asked.max_minutes,
            "steps": asked.steps,
            "start": {"key": start} if start else None,
        },
        "asked": asked.plain,
        "data": {"digest": "0", "images": images, "sources": [], "notes": ["3 test patients."] if changes else []},
        "cost": {
            "images_seen": images_seen,
            "steps": images_seen // 128,
            "seconds": 3600 * hours,
            "device": device,
            "devices": 1,
            "device_hours": hours,
            "images_per_second": images_seen / (3600 * hours),
            "data_wait_share": 0.02,
        },
        "probes": [
            {"step": 0, "images": 0, "seconds": 0.0, "knn": right[1], "linear": right[1]},
            {"step": 9, "images": images_seen, "seconds": 3600 * hours, "knn": right[0], "linear": right[0]},
        ],
        "floors": {"pixels": {"knn": right[2], "linear": right[2]}},
        "labelled": labelled,
        "health": {"state": health, "sentence": "", "signal": None, "value": None, "step": 9},
        "command": f"fmlab pretrain {method} --key {key}",
        "run": "0" * 32,
    }
    folder = home.backbones / key
    folder.mkdir(parents=True)
    if labelled:
        answers(right, patients, each, draw).to_parquet(folder / "probe.parquet")
    write_json(folder / "pretraining.json", facts)
    card = find_backbone(home, "random-vit-tiny").model_copy(update={"key": key})
    write_bytes(folder / "card.json", card.model_dump_json().encode())


def answers(right: tuple[float, float, float], patients: int, each: int, draw: int) -> pd.DataFrame:
    """A probe.parquet: the first classes alternate over the patients; a wrong answer is the next class."""
    count = patients * each
    owner = np.repeat(np.arange(patients), each)
    truth = owner % len(CLASSES)
    drawn = {draw_of: np.random.default_rng(draw_of).random(count) for draw_of in (0, draw)}
    columns = {
        "image_id": [f"{number:016x}" for number in range(count)],
        "patient_id": [f"p{number}" for number in owner],
        "label": [CLASSES[number] for number in truth],
    }
    for side, share in zip(("", "start_", "pixels_"), right, strict=True):
        for probe, less in (("knn", 0.0), ("linear", 0.03)):
            wrong = (drawn[0 if side == "pixels_" else draw] >= share - less).astype(int)
            columns[f"{side}{probe}"] = [CLASSES[number] for number in (truth + wrong) % len(CLASSES)]
    return pd.DataFrame(columns)
