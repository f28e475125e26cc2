"""The training loop: AdamW on cross-entropy, interruptible at any step, on accelerate. Worker only.

In: a classifier, its images by position, labels (N,) int64, a setting. Out: the classifier trained, `Trained` facts, and
in the folder metrics.jsonl and, until they are forgotten, checkpoints.

Source: transformers' `Trainer` by its defaults: fused AdamW (betas 0.9 and 0.999, epsilon 1e-8), no decay of biases and
norms, gradients clipped to a norm, a rate that falls linearly to zero, the last smaller batch kept. Losses equal its own.
A setting may ask for more: a rate that falls as a cosine and from layer to layer, mixed images, smoothed labels.

Order of the images, and random numbers inside the network, follow from (seed, epoch) and (seed, step) alone: training
interrupted anywhere and taken up again ends with the same bits. A batch that memory is short for is computed in halves
whose gradients are added up; under batch normalisation halves are normalised each by itself.
"""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fmlab.backbones.loaders import Precision
from fmlab.backbones.pixels import normalised
from fmlab.errors import BadInput, Cancelled, WorkFailed
from fmlab.files import digest_bytes, digest_config
from fmlab.training.batches import TrainingImages
from fmlab.training.checkpoints import Checkpoints, DamagedCheckpoint, Progress
from fmlab.training.device import Statistics, accelerated, is_out_of_memory, reproducible, unfuse_attention
from fmlab.training.journal import Clock, Ledger, Metrics
from fmlab.training.mixing import draw_mixture, soft_targets
from fmlab.training.network import INSIDE, Classifier, layer_shares

CHECKPOINT_SECONDS = 30.0
CHECKPOINT_SHARE = 0.05  # of the time may go into writing them; then they are written more seldom
BETAS, EPSILON = (0.9, 0.999), 1e-8


class Setting(Protocol):
    """What the loop needs of a training setting (`fmlab.adapt.recipes.TrainingSetting`)."""

    learning_rate: float
    weight_decay: float
    batch: int
    warmup: float  # share of all steps
    gradient_norm: float  # 0: not clipped
    precision: Precision
    schedule: Literal["linear", "cosine"]
    layer_decay: float
    mixup: float
    cutmix: float
    smoothing: float
    plain: dict[str, Any]

    def epochs_for(self, items: int) -> int:
        """How often each of so many items is seen."""

    def steps_for(self, items: int) -> int:
        """Steps of the optimiser in all; fewer than the epochs have, where the last of them is cut short."""


@dataclass(frozen=True)
class Step:
    """A step whose loss is known. Steps and epochs count from 1."""

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float  # mean over the batch, in nats
    learning_rate: float
    images_per_second: float
    seconds_left: float


@dataclass(frozen=True)
class Trained:
    """How a training went. Speed and waiting are those of the process that ended it."""

    epochs: int
    steps: int
    final_loss: float  # mean over the images of the last epoch, each as its batch saw it
    seconds: float  # of training, interruptions left out
    images_per_second: float
    micro_batch: int  # images computed at a time; less than the batch where memory was short
    data_wait_share: float  # 0–1


class TrainingDiverged(WorkFailed):
    """The loss or the gradient is no finite number any more; the message names the step and the last good checkpoint."""


def train(
    classifier: Classifier,
    images: TrainingImages,
    labels: np.ndarray,
    setting: Setting,
    device: str,
    folder: Path,
    seed: int,
    on_step: Callable[[Step], None] = lambda step: None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda text: None,
    before_forward: Callable[[int], None] = lambda count: None,
) -> Trained:
    """Train the classifier in place, from the newest checkpoint in `folder` if there is one.

    `on_step` gets every step of this process in order; on a GPU up to two steps late. `before_forward` gets the number
    of images of each pass; a `torch.OutOfMemoryError` from it is as good as a real one.

    Raises:
        BadInput: as many labels as images are needed; or the checkpoint in the folder is of another training.
        TrainingDiverged: a loss or gradient is not finite.
        WorkFailed: memory is short even for one image at a time.
        Cancelled: `cancelled()` became true.
    """
    if len(images) != len(labels) or not len(labels):
        raise BadInput(
            f"There are {len(images)} images and {len(labels)} labels; a training needs one for each, and one."
        )
    place = torch.device(device)
    with ExitStack() as stack:
        stack.enter_context(reproducible(place))
        accelerator = stack.enter_context(accelerated(place, setting.precision))
        training = _Training(classifier, images, labels, setting, accelerator, folder, seed)
        training.on_step, training.cancelled, training.before_forward = on_step, cancelled, before_forward
        training.resume(log)
        stack.callback(training.metrics.close)
        return training.run()


def batches_of(items: int, batch: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The positions of each batch of an epoch (counted from 0): a permutation cut in pieces, the last may be smaller."""
    order = np.random.default_rng((seed, epoch)).permutation(items)
    return [order[start : start + batch] for start in range(0, items, batch)]


def learning_rate(setting: Setting, step: int, steps: int) -> float:
    """Of a step (counted from 0): linearly up from zero during the warm-up, then linearly or as a cosine down to zero."""
    cosine = setting.schedule == "cosine"
    # A share that is whole epochs, as 5 of 200, is meant to give whole epochs, whatever its last bit.
    warmup = round(setting.warmup * steps) if cosine else math.ceil(setting.warmup * steps)
    if step < warmup:
        return setting.learning_rate * (step / max(1, warmup))
    left = max(0.0, (steps - step) / max(1, steps - warmup))
    return setting.learning_rate * ((1 - math.cos(math.pi * left)) / 2 if cosine else left)


def parameter_groups(classifier: Classifier, weight_decay: float, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """Matrices and kernels decay; biases, norms, tokens and tables of positions do not.

    `share` of a group is that of the learning rate which it gets (`fmlab.training.network.layer_shares`).
    """
    spared = getattr(classifier.encoder.network, "no_weight_decay", set)()
    trained = classifier.trainable()
    shares = dict.fromkeys(trained, 1.0) if layer_decay == 1 else layer_shares(classifier, layer_decay)
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {(True, 1.0): [], (False, 1.0): []}
    for name, weights in trained.items():
        decays = weights.ndim > 1 and name.removeprefix(INSIDE) not in spared
        groups.setdefault((decays, shares[name]), []).append(weights)
    return [
        {"params": params, "weight_decay": weight_decay if decays else 0.0, "share": share}
        for (decays, share), params in groups.items()
        if params
    ]


class _Training:
    """A training at work."""

    on_step: Callable[[Step], None]
    cancelled: Callable[[], bool]
    before_forward: Callable[[int], None]

    def __init__(
        self,
        classifier: Classifier,
        images: TrainingImages,
        labels: np.ndarray,
        setting: Setting,
        accelerator: Accelerator,
        folder: Path,
        seed: int,
    ) -> None:
        self._images, self._setting, self._seed, self._folder = images, setting, seed, folder
        self._accelerator = accelerator
        self._device: torch.device = accelerator.device
        self._channels_last: bool = classifier.encoder.convolutional
        form = torch.channels_last if self._channels_last else torch.contiguous_format
        self._classifier = classifier.to(self._device, memory_format=form).train()
        if self._device.type == "cpu" and setting.precision == "bf16":
            unfuse_attention(classifier)
        self._weights = list(classifier.trainable().values())
        groups = parameter_groups(classifier, setting.weight_decay, setting.layer_decay)
        self._optimizer = torch.optim.AdamW(groups, setting.learning_rate, BETAS, EPSILON, fused=True)
        self._statistics = Statistics(classifier)
        self._labels = torch.from_numpy(np.asarray(labels, np.int64))
        self._steps, self._epochs = setting.steps_for(len(labels)), setting.epochs_for(len(labels))
        shapes = [[name, list(weights.shape)] for name, weights in classifier.trainable().items()]
        content = digest_bytes(self._labels.numpy().tobytes())
        identity = {"setting": setting.plain, "seed": seed, "labels": content, "trained": shapes}
        self._checkpoints = Checkpoints(folder, digest_config("training", identity))
        self._ledger = Ledger(self._device)

    def resume(self, log: Callable[[str], None]) -> None:
        """Take up the newest checkpoint, or begin."""
        try:
            found = self._checkpoints.restore(self._classifier, self._optimizer)
            if found is not None:
                log(f"going on after step {found.step} of {self._steps}")
        except DamagedCheckpoint as damage:
            log(f"{damage} The training begins again, which gives the same result.")
            found = None
        self._progress = found or Progress(micro_batch=self._setting.batch)
        self._seconds_before = self._progress.seconds
        self.metrics = Metrics(self._folder, self._progress.metrics_bytes)
        self._clock = Clock()
        self._last_checkpoint, self._writing = time.monotonic(), 0.0

    def run(self) -> Trained:
        """Every step that is left."""
        for epoch in range(self._progress.step // self._steps_per_epoch, self._epochs):
            self._epoch(epoch)
        self._tell(everything=True)
        return Trained(
            epochs=self._epochs,
            steps=self._steps,
            final_loss=self._progress.epoch_loss / min(len(self._labels), self._last_steps * self._setting.batch),
            seconds=self._seconds_before + self._clock.seconds,
            images_per_second=self._clock.images_per_second,
            micro_batch=self._progress.micro_batch,
            data_wait_share=self._clock.wait_share,
        )

    @property
    def _last_steps(self) -> int:
        """Steps of the last epoch."""
        return self._steps - (self._epochs - 1) * self._steps_per_epoch

    @property
    def _steps_per_epoch(self) -> int:
        return math.ceil(len(self._labels) / self._setting.batch)

    def _epoch(self, epoch: int) -> None:
        order = batches_of(len(self._labels), self._setting.batch, self._seed, epoch)
        order = order[self._progress.step - epoch * self._steps_per_epoch :][: self._steps - self._progress.step]
        targets = [self._labels[torch.from_numpy(positions)] for positions in order]
        if self._device.type == "cuda":
            # One transfer for the epoch: a small one for each step would hold the processor up.
            together = torch.cat(targets).to(self._device)
            targets = list(together.split([len(positions) for positions in order]))
        with closing(self._images.ahead(order, epoch)) as stream:
            for wanted in targets:
                if self.cancelled():
                    raise Cancelled("The training was stopped; it can be taken up again from its last checkpoint.")
                pixels = self._clock.waiting(lambda: next(stream))
                self._step(epoch, pixels, wanted)
                self._keep()

    # ------------------------------------------------------------------------------------------------------------- step

    def _step(self, epoch: int, pixels: Tensor, targets: Tensor) -> None:
        rate = learning_rate(self._setting, self._progress.step, self._steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["share"]
        loss = self._gradients(pixels.to(self._device, non_blocking=True), targets)
        norm = self._accelerator.clip_grad_norm_(self._weights, self._setting.gradient_norm or math.inf)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._progress = replace(self._progress, step=self._progress.step + 1)
        self._clock.stepped(len(targets))
        facts = (self._progress.step, epoch, len(targets), rate)
        self._ledger.add(facts, torch.stack([loss, norm.detach().to(loss.dtype)]))
        self._tell(everything=False)

    def _gradients(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """The batch's mean loss, its gradients in the weights; in smaller pieces for as long as memory is short."""
        while True:
            try:
                return self._passes(pixels, targets)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            # Out here nothing holds on to what the failed pass computed.
            self._halve(min(self._progress.micro_batch, len(targets)), reason)

    def _halve(self, failed: int, reason: str) -> None:
        if failed == 1:
            raise WorkFailed(
                f"Memory is short even for one image at a time ({reason}). Choose a smaller input size or backbone."
            )
        self._optimizer.zero_grad(set_to_none=True)
        self._statistics.put_back()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self._progress = replace(self._progress, micro_batch=(failed + 1) // 2)

    def _passes(self, pixels: Tensor, targets: Tensor) -> Tensor:
        torch.manual_seed(_step_seed(self._seed, self._progress.step))
        self._statistics.note()
        total = torch.zeros((), device=self._device)
        size, setting = self._progress.micro_batch, self._setting
        mixture = draw_mixture(
            setting.mixup, setting.cutmix, (pixels.shape[1], pixels.shape[2]), self._seed, self._progress.step
        )
        # Mixed as a whole before it is cut in parts: the partners of a part stand elsewhere in the batch.
        partners = pixels if mixture is None else pixels.flip(0)
        wanted_of_all = targets
        if mixture is not None or setting.smoothing:
            share = 1.0 if mixture is None else mixture.share
            wanted_of_all = soft_targets(targets, self._classifier.head.out_features, share, setting.smoothing)
        parts = zip(pixels.split(size), partners.split(size), wanted_of_all.split(size), strict=True)
        for part, others, wanted in parts:
            self.before_forward(len(wanted))
            images = normalised(part, self._images.spec, self._channels_last)
            if mixture is not None:
                images = mixture.applied(images, normalised(others, self._images.spec, self._channels_last))
            with self._accelerator.autocast():
                logits = self._classifier(images)
            loss = cross_entropy(logits.float(), wanted, reduction="sum") / len(targets)
            self._accelerator.backward(loss)
            total += loss.detach()
        return total

    # ---------------------------------------------------------------------------------------------------- what is known

    def _tell(self, everything: bool) -> None:
        """Pass on the losses that have become known; the first that is not finite ends the training."""
        for (step, epoch, images, rate), (loss, norm) in self._ledger.known(everything):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise TrainingDiverged(self._divergence(step, loss, norm))
            first = (step - 1) % self._steps_per_epoch == 0
            so_far = 0.0 if first else self._progress.epoch_loss
            self._progress = replace(self._progress, epoch_loss=so_far + loss * images)
            speed = self._clock.images_per_second
            left = (self._steps - step) * self._setting.batch / max(speed, 1e-9)
            self.metrics.add(step, epoch + 1, loss, rate, speed)
            self.on_step(Step(step, self._steps, epoch + 1, self._epochs, loss, rate, speed, left))

    def _divergence(self, step: int, loss: float, norm: float) -> str:
        what = f"The loss became {loss}" if not math.isfinite(loss) else f"The gradient's norm became {norm}"
        good = self._checkpoints.step
        kept = (
            "there is no checkpoint before it" if good is None else f"the last good checkpoint is that of step {good}"
        )
        return f"{what} at step {step} of {self._steps}; {kept}. Choose a smaller learning rate."

    def _keep(self) -> None:
        """Write a checkpoint when it is time."""
        interval = max(CHECKPOINT_SECONDS, self._writing / CHECKPOINT_SHARE)
        if time.monotonic() - self._last_checkpoint < interval:
            return
        self._tell(everything=True)  # nothing that is not finite may be kept
        before = time.monotonic()
        self.metrics.write_line()
        self._progress = replace(
            self._progress, seconds=self._seconds_before + self._clock.seconds, metrics_bytes=self.metrics.size
        )
        self._checkpoints.write(self._classifier, self._optimizer, self._progress)
        self._last_checkpoint = time.monotonic()
        self._writing = self._last_checkpoint - before


def _step_seed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence((seed, step)).generate_state(1, np.uint64)[0])
