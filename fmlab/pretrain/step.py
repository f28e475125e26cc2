"""One step of a pretraining: its optimiser, the gradients of all terms together, each part clipped by itself. Worker only.

In: a method, a batch on the device, the number of the step. Out: weights moved; losses and the gradient's norm.
"""

from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from fmlab.pretrain.method import Method, Outcome, PretrainBatch
from fmlab.pretrain.recipes import PretrainSetting
from fmlab.training.device import unfuse_attention


def optimizer_for(method: Method, setting: PretrainSetting) -> torch.optim.Optimizer:
    """AdamW or SGD over groups that share a factor of the learning rate, decay, and when they stand still.

    Under AdamW matrices and kernels decay; biases, norms and gains do not. Under SGD everything does, as SimSiam's authors
    have it.
    """
    factors, still, constant = method.rate_factors(), method.stands_still(0), method.constant_rate()
    groups: dict[tuple[float, bool, bool, bool], list[nn.Parameter]] = {}
    for name, weights in method.trainable().items():
        decays = setting.optimizer == "sgd" or weights.ndim > 1
        facts = (factors.get(name, 1.0), decays, name in still, name in constant)
        groups.setdefault(facts, []).append(weights)
    made = [
        {"params": params, "factor": factor, "decays": decays, "still": rests, "constant": fixed}
        for (factor, decays, rests, fixed), params in groups.items()
    ]
    if setting.optimizer == "sgd":
        return torch.optim.SGD(made, setting.learning_rate, momentum=setting.betas[0])
    return torch.optim.AdamW(made, setting.learning_rate, setting.betas, fused=True)


def readied(method: Method, setting: PretrainSetting, accelerator: Accelerator) -> Method:
    """The method on the device, in training; on a processor in bf16 with attention taken apart, which is faster there."""
    if accelerator.device.type == "cpu" and setting.precision == "bf16":
        unfuse_attention(method)
    return method.to(accelerator.device).train()


def take_step(
    method: Method,
    forward: Callable[..., Outcome],
    optimizer: torch.optim.Optimizer,
    setting: PretrainSetting,
    accelerator: Accelerator,
    batch: PretrainBatch,
    step: int,
    watched: bool,
) -> tuple[Outcome, Tensor, Tensor]:
    """One step of the optimiser without its schedule: the outcome, the loss and the gradient's norm, on the device."""
    torch.manual_seed(_step_seed(setting.seed, step, accelerator.process_index))
    with accelerator.autocast():
        outcome = forward(batch, step, watched)
    loss = torch.stack([term.float() for term in outcome.losses.values()]).sum()
    accelerator.backward(loss)
    norms = []
    for part in method.parts().values():
        weights = [each for each in part.parameters() if each.grad is not None]
        norms.append(nn.utils.get_total_norm([each.grad for each in weights]))
        if setting.gradient_norm is not None:
            nn.utils.clip_grads_with_norm_(weights, setting.gradient_norm, norms[-1])
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    method.after_step(step)
    return outcome, loss.detach(), torch.stack(norms).norm()


def placed(batch: PretrainBatch, device: torch.device) -> PretrainBatch:
    """The batch on a device."""
    return PretrainBatch(
        batch.globals.to(device, non_blocking=True),
        None if batch.locals is None else batch.locals.to(device, non_blocking=True),
        {name: value.to(device, non_blocking=True) for name, value in batch.draws.items()},
    )


def _step_seed(seed: int, step: int, process: int) -> int:
    return int(np.random.SeedSequence((seed, step, process)).generate_state(1, np.uint64)[0])
