"""A pretraining made by hand, without a worker: its run in the store, and the files that a worker leaves.

In: a home with a dataset. Out: `MadePretraining`, whose run can be at work, done, failed or cancelled.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fmlab.files import write_json
from fmlab.pretrain.configs import pretraining
from fmlab.pretrain.journal import Lines
from fmlab.pretrain.pictures import write_pictures
from fmlab.pretrain.recipes import pretrain_setting
from fmlab.pretrain.spelling import title_of
from fmlab.runs.pretraining_frames import frames_plan
from fmlab.runs.queue import Queue
from fmlab.runs.records import Actor
from fmlab.runs.requests import request_run
from fmlab.runs.store import Store, open_store
from fmlab.settings import Home

BATCH, STEPS = 32, 400
EVALUATED = range(0, STEPS + 1, 80)
HEALTHY = {
    "state": "healthy",
    "sentence": "Healthy: nearest neighbours reach 71.0 % balanced accuracy after 12,800 images, against 45.0 % "
    "(38.0–52.0) of the random start.",
    "signal": "knn",
    "value": 0.71,
    "step": STEPS,
}
STALLED = HEALTHY | {
    "state": "stalled",
    "sentence": "Learnt nothing that labels can show: nearest neighbours reach 46.0 % balanced accuracy. Try a longer run, "
    "--method simclr, another learning rate, or more images.",
    "value": 0.46,
}
COLLAPSED = HEALTHY | {
    "state": "collapsed",
    "sentence": "Collapsed: all images of a batch share about 1.2 of 1,024 prototypes (mean entropy 0.026 of its maximum).",
    "signal": "mean_entropy",
    "value": 0.026,
    "step": 240,
}


@dataclass(frozen=True)
class MadePretraining:
    """A pretraining in the store of a home."""

    home: Home
    store: Store
    queue: Queue
    key: str  # of its run

    @property
    def folder(self):
        return self.home.runs / self.store.run(self.key).group


def asked_for(home: Home, **changes: Any) -> dict[str, Any]:
    """What a person asks for, as plain data; the first dataset of the home is learnt from and probed."""
    source = {"dataset": "toy", "splits": ["train"]}
    usual = {"method": "dinov2", "sources": [source], "key": "mine", "labelled": "toy", "batch": BATCH, "steps": STEPS}
    return pretraining(usual | changes).plain


def make_pretraining(home: Home, **changes: Any) -> MadePretraining:
    """A queued run."""
    store = open_store(home)
    asked = pretraining(asked_for(home, **changes))
    run = request_run(store, "pretrain", asked.plain, title_of(asked), Actor("tester", "test"))
    return MadePretraining(home, store, Queue(store), run.key)


def at_work(home: Home, health: dict[str, Any] | None = None, until: int = STEPS, **changes: Any) -> MadePretraining:
    """A run that a worker has claimed, with its files up to a step."""
    made = make_pretraining(home, **changes)
    made.queue.acquire()
    made.queue.claim("cpu")
    write_files(made, health or HEALTHY, until)
    return made


def finished(home: Home, health: dict[str, Any] | None = None, **changes: Any) -> MadePretraining:
    """A run that is done, and its backbone's facts beside a card."""
    made = at_work(home, health, **changes)
    write_facts(made, health or HEALTHY)
    made.queue.finish({made.key: {"key": made.store.run(made.key).config["asked"]["key"]}}, 1800.0)
    made.queue.release()
    return made


def write_files(made: MadePretraining, health: dict[str, Any], until: int) -> None:
    """metrics.jsonl, probes.jsonl, health.json and pictures, as a worker writes them."""
    made.folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    method = made.store.run(made.key).config["asked"]["method"]
    lines, probes = Lines(made.folder / "metrics.jsonl", 0), Lines(made.folder / "probes.jsonl", 0)
    for step in range(4, until + 1, 4):
        lines.add(_metrics(step, method, generator))
    for step in EVALUATED:
        if step <= until:
            probes.add(_probe(step, health["state"]))
            _write_pictures(made, step, method, generator)
    lines.close()
    probes.close()
    write_json(made.folder / "health.json", health)


def _metrics(step: int, method: str, generator: np.random.Generator) -> dict[str, Any]:
    noise, way = generator.normal(scale=0.02), step / STEPS
    terms = {"dinov2": ("class_token", "patches", "koleo"), "mae": ("reconstruction",)}.get(method, ("contrast",))
    losses = {name: (3.0 - 1.2 * way + noise) / (1 + place) for place, name in enumerate(terms)}
    signals = {
        "gradient_norm": 1.0 + noise,
        "data_wait_share": 0.03,
        "feature_std": 0.5 - 0.1 * way + noise / 5,
        "effective_rank": 8 + 4 * way + noise,
    }
    if method == "dinov2":
        signals |= {
            "teacher_entropy": 0.95 - 0.3 * way + noise / 5,
            "mean_entropy": 0.98 - 0.05 * way,
            "mutual_information": 0.2 + 1.5 * way + noise,
            "teacher_student_kl": 0.5 - 0.2 * way + noise,
            "koleo": 2.0 + noise,
            "retrieval": 0.2 + 0.6 * way + noise,
            "teacher_student_distance": 0.02 + 0.01 * way,
        }
    return {
        "step": step,
        "epoch": 1 + step // 100,
        "images": step * BATCH,
        "seconds": 4.0 * step,
        "learning_rate": 1e-3 * (1 - way),
        "images_per_second": 41.0 + noise,
        "losses": {"total": sum(losses.values())} | losses,
        "signals": signals,
    }


def _probe(step: int, state: str) -> dict[str, Any]:
    gain = 0.01 if state == "stalled" else 0.26
    knn, linear = 0.45 + gain * step / STEPS, 0.5 + gain * step / STEPS
    ends = {"low": knn - 0.07, "high": knn + 0.07, "linear_low": linear - 0.07, "linear_high": linear + 0.07}
    return {"step": step, "images": step * BATCH, "seconds": 4.0 * step, "knn": knn, "linear": linear} | ends


def _write_pictures(made: MadePretraining, step: int, method: str, generator: np.random.Generator) -> None:
    """Discs on grey; the colours of the patches come to follow them."""
    side, grid = 96, 6
    rows, columns = np.mgrid[:side, :side]
    centres = [(30, 40), (60, 50), (48, 20), (40, 70)]
    images = np.stack([40 + 150 * ((rows - y) ** 2 + (columns - x) ** 2 < 400) for y, x in centres]).astype(np.uint8)
    patches = images.reshape(4, grid, 16, grid, 16).mean((2, 4))[..., None] * [1.0, 0.6, 0.3]
    way = step / STEPS
    pca = way * patches + (1 - way) * generator.integers(0, 255, patches.shape)
    hidden = np.repeat(np.repeat(generator.random((4, grid, grid)) < 0.75, 16, 1), 16, 2)
    masked = np.where(hidden, 128, images).astype(np.uint8)
    rebuilt = np.where(hidden, way * images + (1 - way) * images.mean(), images).astype(np.uint8)
    more = (masked, rebuilt) if method == "mae" else (None, None)
    write_pictures(made.folder, step, images, pca.clip(0, 255).astype(np.uint8), *more)


def write_facts(made: MadePretraining, health: dict[str, Any]) -> None:
    """`backbones/<key>/pretraining.json` as a worker writes it; the card is that of a network of the catalogue."""
    run = made.store.run(made.key)
    asked = pretraining(run.config["asked"])
    setting = pretrain_setting(asked, 1000, "cpu")
    facts = {
        "method": asked.method,
        "recipe": asked.recipe,
        "setting": setting.plain,
        "asked": asked.plain,
        "data": {
            "digest": "0" * 32,
            "images": 36,
            "sources": [each.plain for each in frames_plan(made.home, asked.sources).counts],
            "notes": [],
        },
        "cost": {
            "images_seen": STEPS * BATCH,
            "steps": STEPS,
            "seconds": 1600.0,
            "device": "cpu",
            "devices": 1,
            "device_hours": 0.444,
            "images_per_second": 41.0,
            "data_wait_share": 0.03,
        },
        "probes": [_probe(step, health["state"]) for step in EVALUATED],
        "floors": {"pixels": {"knn": 0.52, "linear": 0.55}},
        "labelled": asked.labelled,
        "health": health,
        "command": f"fmlab pretrain {asked.method} --dataset toy:train --key {asked.key} --steps {STEPS}",
        "run": made.key,
    }
    write_json(made.home.backbones / asked.key / "pretraining.json", facts)
