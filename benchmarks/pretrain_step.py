"""How fast a whole DINOv2 step is, against one put together from lightly: its transform, heads, losses, masks, DataLoader.

Both: ViT-Ti/16, 2×96 + 8×48 grey crops, a shared head with the same numbers of prototypes, class tokens, masked patches
and KoLeo, a centred teacher, drop path 0.3, AdamW, batches of 32 from pictures in memory; crops are part of the step.
bf16 is measured only where the processor multiplies matrices in it (AMX or AVX-512), or on a GPU.

Measured in turn, a few steps each, round by round; the first round warms up. Ratios are medians over rounds.
"""

import copy
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np
import timm
import torch
from accelerate import Accelerator
from lightly.loss import DINOLoss, IBOTPatchLoss, KoLeoLoss
from lightly.models.modules import DINOv2ProjectionHead, MaskedVisionTransformerTIMM
from lightly.models.utils import random_block_mask, update_drop_path_rate, update_momentum
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.augmentation import lightly_loader, make_images
from fmlab.pretrain.batches import CropBatches
from fmlab.pretrain.configs import pretraining
from fmlab.pretrain.images import PretrainImages
from fmlab.pretrain.loop import Wanted
from fmlab.pretrain.methods import build_method
from fmlab.pretrain.recipes import Distillation, PretrainSetting, pretrain_setting
from fmlab.pretrain.step import optimizer_for, placed, readied, take_step
from fmlab.settings import Home
from fmlab.training.device import accelerated

SIZE, LOCAL, LOCALS, PATCH, BATCH = 96, 48, 8, 16, 32
HIDDEN, BOTTLENECK, DROP_PATH = 2048, 256, 0.3
GATES = {"fp32": 1.0, "bf16": 1.5, "cuda": 2.0}


def setting_of(prototypes: int, precision: str, images: int) -> PretrainSetting:
    """The reference recipe on the benchmark's network."""
    asked = {
        "method": "dinov2", "recipe": "reference", "key": "benchmark", "sources": [{"dataset": "speckle"}],
        "network": "vit-tiny", "channels": 1, "size": SIZE, "local_size": LOCAL, "batch": BATCH, "steps": 1000,
        "prototypes": prototypes, "precision": precision, "policy": "fetal", "flips": "horizontal",
    }  # fmt: skip
    return pretrain_setting(pretraining(asked), images, "cpu")


class WithFMLab:
    """Steps as a pretraining takes them."""

    def __init__(self, images: PretrainImages, setting: PretrainSetting, accelerator: Accelerator) -> None:
        self._method = readied(build_method(setting, 1000), setting, accelerator)
        self._optimizer = optimizer_for(self._method, setting)
        self._setting, self._accelerator = setting, accelerator
        self._batches = CropBatches(images, self._method, setting, str(accelerator.device))

    def __call__(self, steps: int) -> None:
        """So many steps."""
        positions = np.random.default_rng(0).integers(0, len(self._batches), (steps, BATCH))
        wanted = [Wanted(step, 0, each, BATCH, 0) for step, each in enumerate(positions)]
        with closing(self._batches.ahead(wanted)) as stream:
            for step, batch in enumerate(stream):
                given = placed(batch, self._accelerator.device)
                method = self._method
                take_step(method, method, self._optimizer, self._setting, self._accelerator, given, step, False)


class WithLightly:
    """A straightforward DINOv2 of lightly's blocks."""

    def __init__(self, loader: DataLoader, prototypes: int, device: torch.device, precision: str) -> None:
        network = timm.create_model(
            "vit_tiny_patch16_224", img_size=SIZE, in_chans=1, num_classes=0, dynamic_img_size=True, init_values=1e-5
        )
        numbers = Distillation()
        self._student = MaskedVisionTransformerTIMM(network).to(device)
        self._teacher = copy.deepcopy(self._student).requires_grad_(False).eval()
        update_drop_path_rate(self._student.vit, DROP_PATH, mode="uniform")
        self._heads = [
            DINOv2ProjectionHead(network.num_features, HIDDEN, BOTTLENECK, prototypes).to(device) for _ in range(2)
        ]
        self._class_tokens = DINOLoss(prototypes).to(device)
        self._patches = IBOTPatchLoss(prototypes).to(device)
        self._evenness, self._weight = KoLeoLoss(), numbers.koleo
        self._trained = nn.ModuleList([self._student, self._heads[0]])
        self._optimizer = torch.optim.AdamW(self._trained.parameters(), 1e-3, weight_decay=0.04)
        self._loader, self._device = loader, device
        self._arithmetic = torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()

    def __call__(self, steps: int) -> None:
        """So many steps."""
        done = 0
        while done < steps:
            for views in self._loader:
                self._step([view.to(self._device) for view in views])
                done += 1
                if done == steps:
                    return

    def _step(self, views: list[torch.Tensor]) -> None:
        large, small = torch.cat(views[:2]), torch.cat(views[2:])
        side = SIZE // PATCH
        mask = torch.zeros(len(large), side * side + 1, dtype=torch.bool)
        blocks = random_block_mask((len(large), side, side), min_num_masks_per_block=1)
        mask[:, 1:] = blocks.flatten(1)
        mask, blocks = mask.to(self._device), blocks.to(self._device)
        head, taught = self._heads
        with self._arithmetic:
            with torch.no_grad():
                told = self._teacher.encode(large)
                crops, patches = taught(told[:, 0]), taught(told[mask])
            found = self._student.encode(large, mask=mask)
            answers, filled = head(found[:, 0]), head(found[mask])
            local = head(self._student.encode(small)[:, 0])
        loss = self._class_tokens(crops.float().chunk(2), [*answers.float().chunk(2), *local.float().chunk(LOCALS)])
        loss = loss + self._patches(patches.float(), filled.float(), blocks)
        loss = loss + self._weight * sum(self._evenness(half.float()) for half in found[:, 0].chunk(2))
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._trained.parameters(), 3.0)
        self._optimizer.step()
        update_momentum(self._student, self._teacher, 0.992)
        update_momentum(*self._heads, 0.992)


def run(quick: bool = False) -> Iterator[dict]:
    """A row for each number of prototypes and each precision that the machine is fast in."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precisions = ["fp32", *(["bf16"] if device.type == "cuda" or fast_in_bf16() else [])]
    rounds, steps = (1, 2) if quick else (5, 4)
    with tempfile.TemporaryDirectory() as folder:
        images = make_images(Home(Path(folder)), 2 * round(SIZE * 4 / 7), 1, 128)
        pixels = images.batch(np.arange(len(images))).numpy()
        for prototypes in (4096, 65_536):
            for precision in precisions:
                with accelerated(device, precision) as accelerator:
                    setting = setting_of(prototypes, precision, len(images))
                    ours = WithFMLab(images, setting, accelerator)
                    loaders = [lightly_loader(pixels, SIZE, LOCAL, 1, workers) for workers in (0, os.cpu_count() or 1)]
                    theirs = [WithLightly(loader, prototypes, device, precision) for loader in loaders]
                    spent = [[seconds(work, steps, device) for work in (ours, *theirs)] for _ in range(rounds + 1)][1:]
                yield measured(prototypes, precision, device, steps, np.array(spent))


def seconds(work: Callable[[int], None], steps: int, device: torch.device) -> float:
    """What so many steps take."""
    before = time.perf_counter()
    work(steps)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - before


def fast_in_bf16() -> bool:
    """Whether the processor multiplies matrices in bf16."""
    facts = Path("/proc/cpuinfo")
    return facts.exists() and any(name in facts.read_text() for name in ("amx_bf16", "avx512_bf16"))


def measured(prototypes: int, precision: str, device: torch.device, steps: int, spent: np.ndarray) -> dict:
    """One row; lightly with as many workers as are best for it."""
    best = spent[:, 1:][:, np.median(spent[:, 1:], axis=0).argmin()]
    ratios = best / spent[:, 0]
    images = steps * BATCH
    return {
        "name": "pretrain_step",
        "what": f"DINOv2, {prototypes:,} prototypes, {precision}: {images / np.median(spent[:, 0]):.1f} images/s",
        "ratio": float(np.median(ratios)),
        "lowest": float(ratios.min()),
        "against": "lightly's blocks, transform and a DataLoader",
        "gate": GATES["cuda" if device.type == "cuda" else precision],
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {os.cpu_count()} cores",
        "images_per_second": images / float(np.median(spent[:, 0])),
        "lightly_images_per_second": images / float(np.median(best)),
    }
