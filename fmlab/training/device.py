"""Where a training computes: device and precision by accelerate, kernels that repeat themselves, memory that runs out.

In: a device and a precision. Out: an `Accelerator` for one training, after which the process is as it was before.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from fmlab.backbones.loaders import Precision


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Deterministic kernels and full fp32, and the caller's random state as it was afterwards."""
    on_gpu = device.type == "cuda"
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[device] if on_gpu else []))
        if on_gpu:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs to repeat itself
            stack.enter_context(torch.cuda.device(device))
            stack.enter_context(torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False))
            torch.use_deterministic_algorithms(True, warn_only=True)
            stack.callback(torch.use_deterministic_algorithms, before[0], warn_only=before[1])
        yield


@contextmanager
def accelerated(device: torch.device, precision: Precision) -> Iterator[Accelerator]:
    """An accelerator for one training. Its state belongs to the whole process, whose next training may differ."""
    _forget_accelerate()
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="bf16" if precision == "bf16" else "no")
    try:
        yield accelerator
    finally:
        _forget_accelerate()


def _forget_accelerate() -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


class Statistics:
    """Running statistics of batch normalisation as they were before a pass that may fail half-way."""

    def __init__(self, network: nn.Module) -> None:
        kept = [part for part in network.modules() if isinstance(part, BatchNorm) and part.training]
        self._present = [buffer for part in kept for buffer in part.buffers()]
        self._noted = [buffer.clone() for buffer in self._present]

    def note(self) -> None:
        """Remember them."""
        if self._present:
            torch._foreach_copy_(self._noted, self._present)

    def put_back(self) -> None:
        """Make them what they were."""
        if self._present:
            torch._foreach_copy_(self._present, self._noted)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or in the processor's own allocator."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def unfuse_attention(network: nn.Module) -> None:
    """Attention step by step: in bf16 the backward pass of the fused one takes most of a step on a processor."""
    for part in network.modules():
        if getattr(part, "fused_attn", False):
            part.fused_attn = False
