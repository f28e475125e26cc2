"""What a pretraining leaves: a backbone of the catalogue, and the whole story of how it came about.

In: the method trained, the frames, the setting, the probe's answers. Out: in `backbones/<key>/`, written in this order:
seen.parquet, probe.parquet, pretraining.json, weights.safetensors by timm's names, and card.json, which makes it one of
the catalogue.
"""

import platform
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from fmlab.backbones.added import WEIGHTS_FILE, check_free, facts_of, keep
from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.encoders import TimmEncoder
from fmlab.data.manifest import open_dataset
from fmlab.data.preprocessing import InputSpec
from fmlab.files import write_json, written_aside
from fmlab.pretrain.configs import Pretraining
from fmlab.pretrain.loop import Pretrained
from fmlab.pretrain.method import Method
from fmlab.pretrain.networks import architecture_of
from fmlab.pretrain.recipes import PretrainSetting
from fmlab.pretrain.spelling import command_of
from fmlab.runs.pretraining_frames import Frames
from fmlab.runs.pretraining_guard import write_seen
from fmlab.runs.pretraining_watch import Found
from fmlab.settings import Home

STORY = "pretraining.json"
ANSWERS = "probe.parquet"

SIMULATED = "pretrained on simulated images: no evidence about real data"
NAMES = {"dinov2": "DINOv2", "mae": "MAE", "simsiam": "SimSiam", "simclr": "SimCLR"}


@dataclass(frozen=True)
class Kept:
    """Everything that a result is written from, beside the network and the probe."""

    run: str
    asked: Pretraining
    setting: PretrainSetting
    frames: Frames
    ended: Pretrained
    device: str
    processes: int


def keep_result(home: Home, kept: Kept, method: Method, found: Found) -> dict[str, Any]:
    """Write everything, the card last; the result for the run's row. A key that is in use by now raises `NameTaken`."""
    asked = kept.asked
    check_free(home, asked.key)
    folder = home.backbones / asked.key
    write_seen(home, asked.key, kept.frames.seen, asked.init)
    if found.answers is not None:
        with written_aside(folder / ANSWERS) as aside:
            found.answers.to_parquet(aside, index=False)
    write_json(folder / STORY, story(kept, found))
    encoder = TimmEncoder(*architecture_of(kept.setting), kept.setting.start and kept.setting.start.norm_eps)
    tensors = {name: value.detach().float().cpu().contiguous() for name, value in method.encoder().state_dict().items()}
    encoder.network.load_state_dict(tensors)
    keep(home, card_of(home, kept, encoder, method.feature), tensors)
    return _result(kept, found)


def card_of(home: Home, kept: Kept, encoder: TimmEncoder, feature: str) -> BackboneCard:
    """The row of the catalogue."""
    asked, setting = kept.asked, kept.setting
    architecture, options = architecture_of(setting)
    facts = facts_of(encoder, None)
    widths = dict(zip(facts["features"], facts["widths"], strict=True))
    features = tuple(sorted(widths, key=lambda kind: kind != feature))
    mean, std = (tuple(float(each[min(k, len(each) - 1)]) for k in range(3)) for each in (setting.mean, setting.std))
    sets = ", ".join(source.dataset for source in asked.sources)
    begun = f"from {setting.start.key}" if setting.start else "from random weights"
    notes = [
        f"{NAMES[setting.method]}, recipe {asked.recipe}, {begun}: {kept.ended.steps:,} steps of {setting.batch} images.",
        kept.ended.health["sentence"],
        *kept.frames.notes,
    ]
    return BackboneCard(
        key=asked.key,
        title=asked.key,
        source="pretrained here",
        architecture=architecture,
        options=options,
        norm_eps=setting.start.norm_eps if setting.start else None,
        layout="timm",
        files=(WEIGHTS_FILE,),
        licence_weights=asked.licence,
        spec=InputSpec(setting.size, setting.fit, setting.size, "bicubic", mean, std),
        features=features,
        widths=tuple(widths[kind] for kind in features),
        taps=facts["taps"],
        parameters=facts["parameters"],
        domain="medical",
        pretraining=f"{sets}, self-supervised ({NAMES[setting.method]})",
        pretraining_images=len(kept.frames.rows),
        caution=SIMULATED if any(open_dataset(home, source.dataset).card.synthetic for source in asked.sources) else "",
        note=" ".join(notes),
    )


def story(kept: Kept, found: Found) -> dict[str, Any]:
    """How it came about: what was asked, what was learnt from, what it cost, what the probe found."""
    ended = kept.ended
    return {
        "method": kept.setting.method,
        "recipe": kept.asked.recipe,
        "setting": kept.setting.plain,
        "asked": kept.asked.plain,
        "data": {
            "digest": kept.frames.digest,
            "images": len(kept.frames.rows),
            "sources": [count.plain for count in kept.frames.counts],
            "notes": list(kept.frames.notes),
        },
        "cost": {
            "images_seen": ended.images_seen,
            "steps": ended.steps,
            "seconds": ended.seconds,
            "device": device_name(kept.device),
            "devices": kept.processes,
            "device_hours": ended.seconds * kept.processes / 3600,
            "images_per_second": ended.images_per_second,
            "data_wait_share": ended.data_wait_share,
        },
        "probes": found.lines,
        "floors": {"pixels": found.pixels} if found.pixels else {},
        "labelled": found.labelled,
        "labelled_note": found.note,
        "health": ended.health,
        "command": command_of(kept.asked, ended.steps),
        "run": kept.run,
    }


def device_name(device: str) -> str:
    """A device in words: the GPU's own name, or the processor with its cores."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(torch.device(device))
    return f"{psutil.cpu_count()} cores, {platform.machine()}"


def _result(kept: Kept, found: Found) -> dict[str, Any]:
    ended = kept.ended
    first, last = (found.lines[0], found.lines[-1]) if found.lines else ({}, {})
    return {
        "key": kept.asked.key,
        "backbone": kept.asked.key,
        "images_per_second": ended.images_per_second,
        "knn_start": first.get("knn"),
        "knn_end": last.get("knn"),
        "linear_start": first.get("linear"),
        "linear_end": last.get("linear"),
        "knn_start_interval": [first.get("low"), first.get("high")],
        "knn_end_interval": [last.get("low"), last.get("high")],
        "collapsed": False,
        "health": ended.health["state"],
        "sentence": ended.health["sentence"],
        "images": len(kept.frames.rows),
        "images_seen": ended.images_seen,
        "steps": ended.steps,
        "seconds": ended.seconds,
        "labelled": found.labelled,
    }
