"""How many steps of a pretraining fit in so many minutes on this machine. Worker only.

In: a setting, the images, minutes. Out: a `Length`, found by a few steps of a copy that is thrown away.
"""

import time
from contextlib import closing

import numpy as np
from accelerate import Accelerator

from fmlab.pretrain.batches import CropBatches
from fmlab.pretrain.images import PretrainImages
from fmlab.pretrain.loop import EVALUATIONS, Length, Wanted
from fmlab.pretrain.methods import build_method
from fmlab.pretrain.recipes import PretrainSetting
from fmlab.pretrain.step import optimizer_for, placed, readied, take_step

PROVISIONAL_STEPS = 1000  # of the schedules while the speed is measured
WARM_UP, LEAST_STEPS, LEAST_SECONDS = 2, 4, 8.0  # of a measurement
SPARE = 0.04  # share of the time that is planned for nothing: lines, checkpoints, a busier machine
EVALUATED_SHARE = 0.2  # of the time may go into evaluations; else there are fewer


def fitting_length(
    setting: PretrainSetting, images: PretrainImages, minutes: float, evaluation: float, accelerator: Accelerator
) -> Length:
    """As many steps as fit in so many minutes on this device, evaluations of so many seconds each included."""
    seconds = 60 * minutes * (1 - SPARE)
    evaluations = int(np.clip(EVALUATED_SHARE * seconds / max(evaluation, 1e-9), 1, EVALUATIONS))
    each = seconds_per_step(setting, images, accelerator)
    return Length(max(1, int((seconds - evaluations * evaluation) / each)), evaluations)


def seconds_per_step(setting: PretrainSetting, images: PretrainImages, accelerator: Accelerator) -> float:
    """Measured, the waiting for crops included."""
    method = readied(build_method(setting, PROVISIONAL_STEPS), setting, accelerator)
    optimizer = optimizer_for(method, setting)
    share = setting.batch // accelerator.num_processes
    positions = np.arange(setting.batch) % len(images)
    wanted = [Wanted(step, 0, positions[:share], setting.batch, 0) for step in range(PROVISIONAL_STEPS)]
    batches = CropBatches(images, method, setting, str(accelerator.device))
    began = 0.0
    with closing(batches.ahead(wanted)) as stream:
        for step, batch in enumerate(stream):
            given = placed(batch, accelerator.device)
            take_step(method, method, optimizer, setting, accelerator, given, step, watched=False)[1].item()
            if step < WARM_UP:
                began = time.perf_counter()
                continue
            spent = time.perf_counter() - began
            if step + 1 - WARM_UP >= LEAST_STEPS and spent >= LEAST_SECONDS:
                break
    return spent / (step + 1 - WARM_UP)
