"""Work of kind `pretrain`: unlabelled frames become a backbone of one's own. It has its group for itself.

In: the run, whose config holds what was asked for. Out: `backbones/<key>/`: the card, the weights by timm's names, what
was learnt from (seen.parquet), how it went (pretraining.json), what the probe answered (probe.parquet); meanwhile, in the
group's folder, the log, metrics.jsonl, probes.jsonl, health.json, pictures, and checkpoints to go on from.
"""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from fmlab.backbones.catalogue import find_backbone, weights_digest
from fmlab.backbones.loaders import encoder_tensors, trained_encoder
from fmlab.data.manifest import open_dataset
from fmlab.errors import BadInput
from fmlab.files import read_json, write_json
from fmlab.pretrain.batches import CropBatches
from fmlab.pretrain.configs import Pretraining, pretraining
from fmlab.pretrain.images import PretrainImages, prepare
from fmlab.pretrain.length import fitting_length
from fmlab.pretrain.loop import EVALUATIONS, Calls, Length, PretrainStep, pretrain
from fmlab.pretrain.methods import build_method
from fmlab.pretrain.networks import start_of
from fmlab.pretrain.probe import LabelledImages
from fmlab.pretrain.recipes import PretrainSetting, Start, pretrain_setting
from fmlab.runs.pretraining_frames import Frames, chosen_frames
from fmlab.runs.pretraining_request import pretrain_request
from fmlab.runs.pretraining_result import Kept, keep_result
from fmlab.runs.pretraining_watch import Watch
from fmlab.runs.records import pretraining_name
from fmlab.runs.worker import Emitter
from fmlab.settings import Home
from fmlab.training.checkpoints import forget_checkpoints
from fmlab.training.device import accelerated, reproducible

PLAN = "plan.json"
LEAST_BETWEEN = 30  # steps between two evaluations, which take as long as many of them


def work(facts: dict[str, Any], emitter: Emitter) -> None:
    """Execute the group's only run."""
    run = facts["runs"][0]
    began = time.monotonic()
    emitter.under_way([run["key"]])
    pretrain_run = Pretrain(
        Home(Path(facts["home"])),
        run["key"],
        run["config"],
        Path(facts["folder"]),
        emitter.device,
        progress=emitter.progress,
        cancelled=lambda: bool(emitter.cancelled([run["key"]])),
        log=emitter.log,
    )
    result = pretrain_run.execute()
    emitter.finished({run["key"]: result}, time.monotonic() - began)
    # What the page reads before the next pretraining of this kind.
    emitter.emit("measured", **pretrain_run.speed, value=result["images_per_second"])


def run_here(
    home: Home, asked: Pretraining, progress: Callable[..., None], log: Callable[[str], None]
) -> dict[str, Any]:
    """Pretrain in this process, one of those that torchrun started; the result, which is empty in all but the first.

    The run goes by no queue: the processes belong to whoever started them. Interrupted, the same command goes on from
    the last checkpoint.
    """
    request = pretrain_request(home, asked.plain)
    first = int(os.environ["RANK"]) == 0
    device = f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else "cpu"
    try:
        return Pretrain(
            home,
            request.key,
            request.config,
            home.runs / request.group,
            device,
            progress=(lambda *told: None) if not first else progress,
            log=(lambda text: None) if not first else log,
        ).execute()
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


class Pretrain:
    """A pretraining from the frames to the backbone, on this process or on several that torchrun started."""

    speed: dict[str, str]  # under which name the speed is kept, known once it executes

    def __init__(
        self,
        home: Home,
        run: str,
        config: dict[str, Any],
        folder: Path,
        device: str,
        progress: Callable[..., None],
        cancelled: Callable[[], bool] = lambda: False,
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._home, self._run, self._folder, self._device = home, run, folder, device
        self._progress, self._cancelled, self._log = progress, cancelled, log
        self._asked: Pretraining = pretraining(config["asked"])
        self._dataset: str | None = config["labelled"]
        for name, expected in config["content_hashes"].items():
            if open_dataset(home, name).card.content_hash != expected:
                raise BadInput(f"Dataset {name!r} has changed since this pretraining was queued. Start it again.")
        self._start, self._weights = self._starting(config["start_digest"])

    def execute(self) -> dict[str, Any]:
        """Everything; the result for the run's row. Under several processes the first one writes."""
        asked = self._asked
        frames = chosen_frames(
            self._home,
            asked.sources,
            asked.thin,
            asked.allow_test_patients,
            on_progress=self._progress,
            cancelled=self._cancelled,
        )
        setting = pretrain_setting(asked, len(frames.rows), self._device, self._start)
        self.speed = {
            "backbone": asked.init or setting.network,
            "what": pretraining_name(setting.method, setting.network, setting.size),
        }
        place = torch.device(self._device)
        with ExitStack() as stack:
            stack.enter_context(reproducible(place))
            accelerator = stack.enter_context(accelerated(place, setting.precision))
            images = self._prepared(frames, setting, accelerator)
            setting = replace(setting, mean=setting.mean or images.mean, std=setting.std or images.std)
            labelled = self._labelled(setting) if accelerator.is_main_process else None
            watch = Watch(self._folder, labelled, images, setting, self._device)
            length = self._length(setting, images, watch, accelerator)
            setting = replace(setting, steps=length.steps, minutes=None)
            method = build_method(setting, length.steps, self._weights)
            self._log(f"{length.steps} steps of {setting.batch} images, {len(images)} images in all")
            ended = pretrain(
                method,
                CropBatches(images, method, setting, self._device),
                setting,
                length,
                accelerator,
                self._folder,
                {"images": frames.digest},
                Calls(self._tell, self._cancelled, self._log, watch.look, pixels=watch.pixels),
            )
            if not accelerator.is_main_process:
                return {}
            kept = Kept(self._run, asked, setting, frames, ended, self._device, accelerator.num_processes)
            result = keep_result(self._home, kept, method, watch.found(method))
        forget_checkpoints(self._folder)
        return result

    def _starting(self, expected: str) -> tuple[Start | None, dict[str, Tensor] | None]:
        """What the start decides, and its tensors by timm's names; None, None for random weights."""
        if self._asked.init is None:
            return None, None
        card = find_backbone(self._home, self._asked.init)
        digest = weights_digest(card, self._home)
        if digest != expected:
            raise BadInput(f"The weights of backbone {card.key!r} have changed since. Start the pretraining again.")
        return start_of(card, digest), encoder_tensors(trained_encoder(card, self._home))

    def _prepared(self, frames: Frames, setting: PretrainSetting, accelerator: Accelerator) -> PretrainImages:
        """The frames decoded; with several processes the first one does it, and the others find it done."""
        with accelerator.main_process_first():
            return prepare(
                self._home,
                frames.rows,
                setting.kept,
                setting.fit,
                setting.channels,
                self._asked.mask_sector,
                on_progress=lambda done, total: self._progress(done, total, "decoding the frames"),
                cancelled=self._cancelled,
            )

    def _length(
        self, setting: PretrainSetting, images: PretrainImages, watch: Watch, accelerator: Accelerator
    ) -> Length:
        """How long it takes: as asked, as planned before an interruption, or as many steps as fit in the minutes."""
        if setting.steps is not None:
            return Length(setting.steps, max(1, min(EVALUATIONS, setting.steps // LEAST_BETWEEN)))
        plan = self._folder / PLAN
        if not plan.exists() and accelerator.is_main_process:
            self._progress(0, 1, "measuring the speed")
            length = fitting_length(setting, images, setting.minutes or 0.0, watch.seconds(), accelerator)
            write_json(plan, asdict(length))
        accelerator.wait_for_everyone()
        return Length(**read_json(plan))

    def _tell(self, step: PretrainStep) -> None:
        self._progress(
            step.step, step.steps, f"pretraining: loss {step.loss:.3f}", step.images_per_second, step.seconds_left
        )

    def _labelled(self, setting: PretrainSetting) -> LabelledImages | None:
        """The images whose labels are asked for at each checkpoint, as the network takes them."""
        if self._dataset is None:
            return None
        return LabelledImages(
            self._home,
            self._dataset,
            setting.size,
            setting.channels,
            setting.mean or (),
            setting.std or (),
            resize=setting.fit,
            mask_sector=self._asked.mask_sector,
        )
