"""The loop of every pretraining: interruptible at any step, on one process or several, the same numbers each time.

In: a method, the images' crops in batches, a setting, the number of steps. Out: the method trained, and in the folder
metrics.jsonl, health.json and, until they are forgotten, checkpoints.

Images are drawn by (seed, epoch), crops by (seed, epoch, image), masks by (seed, step), random numbers in the network by
(seed, step): a pretraining that is taken up from its checkpoint goes on with the same bits. With several processes each
takes its share of every batch; the losses look at all shares together, so that they equal those of one process.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from fmlab.errors import BadInput, Cancelled, WorkFailed
from fmlab.files import digest_config, write_json
from fmlab.pretrain.health import HEALTH, METRICS, PROBES, judge
from fmlab.pretrain.journal import Lines, read_lines
from fmlab.pretrain.measures import feature_signals
from fmlab.pretrain.method import Method, Outcome, PretrainBatch, numbers
from fmlab.pretrain.recipes import PretrainSetting
from fmlab.pretrain.schedules import cosine
from fmlab.pretrain.step import optimizer_for, placed, readied, take_step
from fmlab.training.checkpoints import Checkpoints, DamagedCheckpoint, Progress
from fmlab.training.device import is_out_of_memory
from fmlab.training.journal import Clock

CHECKPOINT_SECONDS = 60.0
CHECKPOINT_SHARE = 0.05  # of the time may go into writing them; then they are written more seldom
LINES = 500  # of metrics.jsonl in a whole pretraining
EVALUATIONS = 10


class Batches(Protocol):
    """The images' crops, prepared beside the steps."""

    def __len__(self) -> int:
        """How many images there are."""

    def ahead(self, wanted: Sequence["Wanted"]) -> Iterator[PretrainBatch]:
        """The batch of each step of `wanted` in turn."""


@dataclass(frozen=True)
class Wanted:
    """One step's share of a batch, to be prepared."""

    step: int  # from 0
    epoch: int  # from 0
    positions: np.ndarray  # of the images of this process
    images: int  # of the whole batch, of which this process's begin at `first`
    first: int


@dataclass(frozen=True)
class Length:
    """How long a pretraining is."""

    steps: int
    evaluations: int = EVALUATIONS  # at even distances, beside the one before the first step


@dataclass(frozen=True)
class PretrainStep:
    """How far a pretraining is. Steps count from 1."""

    step: int
    steps: int
    loss: float
    images_per_second: float
    seconds_left: float
    health: str  # a sentence


@dataclass(frozen=True)
class Pretrained:
    """How a pretraining went. Speed and waiting are those of the process that ended it."""

    steps: int
    images_seen: int
    seconds: float  # of training, interruptions and evaluations left out
    images_per_second: float
    data_wait_share: float  # 0–1
    health: dict[str, Any]


class Collapsed(WorkFailed):
    """All images look the same to the network, or the loss is no number any more; the message names what told it."""


@dataclass
class Calls:
    """What a pretraining calls back. Evaluations come before the first step, at even distances, and after the last."""

    on_step: Callable[[PretrainStep], None] = lambda step: None
    cancelled: Callable[[], bool] = lambda: False
    log: Callable[[str], None] = lambda text: None
    look: Callable[[int, Method], None] = lambda step, method: None
    before_forward: Callable[[int], None] = lambda images: None
    pixels: Mapping[str, float] | None = None  # knn and linear of the images themselves, where labels are known


def pretrain(
    method: Method,
    batches: Batches,
    setting: PretrainSetting,
    length: Length,
    accelerator: Accelerator,
    folder: Path,
    identity: dict[str, Any],
    calls: Calls,
) -> Pretrained:
    """Train the method in place, from the newest checkpoint in `folder` if there is one.

    `identity` is what besides the setting decides the result: the images' digest. `calls.before_forward` gets the number
    of images of each pass; a `torch.OutOfMemoryError` from it is as good as a real one.

    Raises:
        BadInput: the checkpoint in the folder is of another pretraining; the batch does not divide by the processes.
        Collapsed: see `fmlab.pretrain.health`; or a loss or gradient that is not finite.
        WorkFailed: memory is short; the message names the largest batch that fits.
        Cancelled: `calls.cancelled()` became true.
    """
    if setting.batch % accelerator.num_processes:
        raise BadInput(
            f"A batch of {setting.batch} does not divide by {accelerator.num_processes} processes; choose a multiple."
        )
    with ExitStack() as stack:
        run = _Run(method, batches, setting, length, accelerator, folder, identity, calls)
        run.resume()
        stack.callback(run.close)
        return run.through()


class _Run:
    """A pretraining at work."""

    def __init__(
        self,
        method: Method,
        batches: Batches,
        setting: PretrainSetting,
        length: Length,
        accelerator: Accelerator,
        folder: Path,
        identity: dict[str, Any],
        calls: Calls,
    ) -> None:
        self._batches, self._setting, self._steps, self._calls = batches, setting, length.steps, calls
        self._accelerator, self._folder, self._first = accelerator, folder, accelerator.is_main_process
        self._method = readied(method, setting, accelerator)
        self._optimizer = optimizer_for(method, setting)
        several = accelerator.num_processes > 1
        self._forward = DistributedDataParallel(self._method) if several else self._method
        self._rate = cosine(
            setting.learning_rate, setting.final_learning_rate, length.steps, round(setting.warmup * length.steps)
        )
        self._decay = cosine(*setting.weight_decay, length.steps)
        self._line_steps = max(1, length.steps // LINES)
        self._checkpoints = Checkpoints(
            folder, digest_config("pretraining", {"setting": setting.plain, "steps": length.steps} | identity)
        )
        parts = range(1, length.evaluations + 1)
        self._evaluated_at = {round(part * length.steps / length.evaluations) for part in parts}
        self._health: dict[str, Any] = {"state": "too early", "sentence": "It is too early to tell.", "step": 0}
        self._losses: list[dict[str, Tensor]] = []

    def resume(self) -> None:
        """Take up the newest checkpoint, or begin."""
        try:
            found = self._checkpoints.restore(self._method, self._optimizer)
            if found is not None:
                self._calls.log(f"going on after step {found.step} of {self._steps}")
        except DamagedCheckpoint as damage:
            self._calls.log(f"{damage} The pretraining begins again, which gives the same result.")
            found = None
        self._progress = found or Progress(micro_batch=self._setting.batch)
        self._resumed = found is not None
        self._lines = Lines(self._folder / METRICS, self._progress.step) if self._first else None
        self._clock, self._away = Clock(), 0.0
        self._last_checkpoint, self._writing = time.monotonic(), 0.0

    def close(self) -> None:
        """Let go of files."""
        if self._lines is not None:
            self._lines.close()

    def through(self) -> Pretrained:
        """Every step that is left."""
        if not self._resumed:
            self._evaluate()
        began = self._progress.step
        per_epoch = len(self._batches) // self._setting.batch
        for epoch in range(self._progress.step // per_epoch, math.ceil(self._steps / per_epoch)):
            wanted = self._wanted(epoch, per_epoch)
            with closing(self._batches.ahead(wanted)) as stream:
                for each in wanted:
                    if self._calls.cancelled():
                        raise Cancelled(
                            "The pretraining was stopped; it can be taken up again from its last checkpoint."
                        )
                    self._step(each, self._clock.waiting(lambda stream=stream: next(stream)))
        if self._progress.step > began:
            self._checkpoint()
        self._judge(finished=True)
        return Pretrained(
            steps=self._steps,
            images_seen=self._steps * self._setting.batch,
            seconds=self._seconds,
            images_per_second=self._clock.images_per_second,
            data_wait_share=self._clock.wait_share,
            health=self._health,
        )

    @property
    def _seconds(self) -> float:
        return self._progress.seconds + self._clock.seconds - self._away

    def _wanted(self, epoch: int, per_epoch: int) -> list[Wanted]:
        """This process's share of the steps of an epoch that are left; what fills no batch is left out."""
        order = np.random.default_rng((self._setting.seed, epoch)).permutation(len(self._batches))
        batch, share = self._setting.batch, self._setting.batch // self._accelerator.num_processes
        first = self._accelerator.process_index * share
        steps = range(max(self._progress.step, epoch * per_epoch), min(self._steps, (epoch + 1) * per_epoch))
        return [
            Wanted(step, epoch, order[(start := step % per_epoch * batch + first) : start + share], batch, first)
            for step in steps
        ]

    # ------------------------------------------------------------------------------------------------------------- step

    def _step(self, wanted: Wanted, batch: PretrainBatch) -> None:
        step = wanted.step
        still = self._method.stands_still(step)
        for group in self._optimizer.param_groups:
            rate = self._setting.learning_rate if group["constant"] else self._rate(step) * group["factor"]
            group["lr"] = 0.0 if still and group["still"] else rate
            group["weight_decay"] = self._decay(step) if group["decays"] else 0.0
        line_due = (step + 1) % self._line_steps == 0 or step == 0 or step + 1 == self._steps
        outcome, norm = self._guarded(placed(batch, self._accelerator.device), step, line_due)
        self._progress = replace(self._progress, step=step + 1)
        self._clock.stepped(wanted.images)
        self._losses.append({name: term.detach() for name, term in outcome.losses.items()})
        if line_due:
            self._line(wanted, outcome, norm)
        if step + 1 in self._evaluated_at:
            self._evaluate()
        if line_due:
            self._keep()

    def _guarded(self, batch: PretrainBatch, step: int, watched: bool) -> tuple[Outcome, Tensor]:
        """A step; where memory is short for it, the largest batch that fits is looked for and named."""
        try:
            self._calls.before_forward(batch.globals.shape[1])
            outcome, _, norm = take_step(
                self._method, self._forward, self._optimizer, self._setting, self._accelerator, batch, step, watched
            )
            return outcome, norm
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        # Out here nothing holds on to what the failed pass computed.
        fits = self._largest_that_fits(batch, step) * self._accelerator.num_processes
        advice = f"The largest batch that fits is {fits}: take that one" if fits > 1 else "Not even 2 images fit"
        raise WorkFailed(
            f"Memory is short for a batch of {self._setting.batch} ({reason}). {advice}, or a smaller network or crop."
        )

    def _largest_that_fits(self, batch: PretrainBatch, step: int) -> int:
        """Images of this process for which forward and backward pass find room: found by halves, then refined once."""
        size = batch.globals.shape[1]
        low, high = 0, size
        while high - low > max(1, size // 8) and (candidate := (low + high) // 2) >= 2:
            low, high = (candidate, high) if self._fits(batch, candidate, step) else (low, candidate)
        return low

    def _fits(self, batch: PretrainBatch, size: int, step: int) -> bool:
        self._optimizer.zero_grad(set_to_none=True)
        if self._accelerator.device.type == "cuda":
            torch.cuda.empty_cache()
        part = PretrainBatch(
            batch.globals[:, :size],
            None if batch.locals is None else batch.locals[:, :size],
            {name: value[:size] for name, value in batch.draws.items()},
        )
        try:
            self._calls.before_forward(size)
            with self._accelerator.autocast():
                losses = self._method(part, step, False).losses
            torch.stack([term.float() for term in losses.values()]).sum().backward()
            return True
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return False

    # ---------------------------------------------------------------------------------------------------- what is known

    def _line(self, wanted: Wanted, outcome: Outcome, norm: Tensor) -> None:
        """A line of metrics.jsonl with the mean losses since the line before, and what it says of the health."""
        names = list(self._losses[0])
        means = torch.stack([torch.stack([each[name].float() for name in names]) for each in self._losses]).mean(0)
        self._losses = []
        signals = dict(zip(names, means, strict=True)) | {"gradient_norm": norm}
        known = numbers(self._everywhere(signals))
        total, length = sum(known[name] for name in names), known["gradient_norm"]
        if not (math.isfinite(total) and math.isfinite(length)):
            raise Collapsed(self._divergence(total, length))
        more = {} if outcome.features is None else feature_signals(outcome.features)
        told = numbers(self._everywhere(outcome.signals | more))
        if self._lines is None:
            return
        step, speed = wanted.step + 1, self._clock.images_per_second
        self._lines.add(
            {
                "step": step,
                "epoch": wanted.epoch + 1,
                "images": step * self._setting.batch,
                "seconds": round(self._seconds, 3),
                "learning_rate": self._rate(wanted.step),
                "images_per_second": round(speed, 3),
                "losses": {"total": total} | {name: known[name] for name in names},
                "signals": told | {"gradient_norm": length, "data_wait_share": self._clock.wait_share},
            }
        )
        self._judge(finished=False)
        left = (self._steps - step) * self._setting.batch / max(speed, 1e-9)
        self._calls.on_step(PretrainStep(step, self._steps, total, speed, left, self._health["sentence"]))

    def _everywhere(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The means over all processes."""
        if self._accelerator.num_processes == 1:
            return values
        together = torch.stack([value.detach().float().reshape(()) for value in values.values()])
        return dict(zip(values, self._accelerator.reduce(together, "mean"), strict=True))

    def _judge(self, finished: bool) -> None:
        """What the lines and probes so far say; a collapse ends the pretraining."""
        if self._lines is None:
            return
        judgement = judge(
            self._lines.lines,
            self._setting,
            read_lines(self._folder / PROBES),
            steps=self._steps,
            finished=finished,
            pixels=self._calls.pixels,
        )
        self._health = judgement.plain
        write_json(self._folder / HEALTH, self._health)
        if judgement.state == "collapsed":
            raise Collapsed(judgement.sentence)

    def _divergence(self, loss: float, norm: float) -> str:
        what = f"The loss became {loss}" if not math.isfinite(loss) else f"The gradient's norm became {norm}"
        return (
            f"{what} by step {self._progress.step} of {self._steps}. Choose a smaller learning rate than "
            f"{self._setting.learning_rate:g} (--learning-rate)."
        )

    def _evaluate(self) -> None:
        """Let the caller look at the network as it is now; that time does not count as training."""
        before = time.perf_counter()
        if self._first:
            with torch.no_grad(), self._accelerator.autocast():
                self._calls.look(self._progress.step, self._method)
            self._method.train()
        self._accelerator.wait_for_everyone()
        self._away += time.perf_counter() - before

    def _keep(self) -> None:
        """Write a checkpoint when it is time."""
        interval = max(CHECKPOINT_SECONDS, self._writing / CHECKPOINT_SHARE)
        if time.monotonic() - self._last_checkpoint >= interval:
            self._checkpoint()

    def _checkpoint(self) -> None:
        """Every process has the same weights; the first writes them."""
        before = time.monotonic()
        if self._first:
            self._checkpoints.write(self._method, self._optimizer, replace(self._progress, seconds=self._seconds))
        self._last_checkpoint = time.monotonic()
        self._writing = self._last_checkpoint - before
