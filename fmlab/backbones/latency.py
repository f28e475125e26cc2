"""What a backbone costs on this machine: latency of one image, throughput of many, memory.

In: a loaded backbone. Out: a `Latency`; times in milliseconds, throughput in images per second, memory in MiB.

Random images in memory, forward passes alone: what a bare loop around the model would measure. Medians after warm-up;
the spread is half the distance between the quartiles.

A busy machine makes every time longer, the median too. What tells is the share of the time in which the measuring
thread had a processor: it computes or spins all the while, so on a quiet machine the share is 0.97 to 1.
"""

import platform
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fmlab.backbones.loaders import Backbone
from fmlab.errors import BadInput

BATCHES_CPU = (1, 8, 16, 32)
BATCHES_GPU = (1, 16, 64, 256)


@dataclass(frozen=True)
class Latency:
    """The cost of one backbone on one device."""

    backbone: str
    device: str  # its name
    precision: str
    size: int  # of the input, pixels
    batch1_ms: float  # median
    batch1_spread_ms: float
    images_per_second: float  # at the best batch
    batch: int  # the best
    threads: int  # of torch, on a CPU
    parameters: int
    peak_memory_mib: float  # of the GPU's memory while measuring; of this process so far on a CPU
    processor_share: float | None  # of the time measured, 0–1, that this thread had a processor; null on a GPU


def measure_latency(backbone: Backbone, device: str, seconds: float = 5.0) -> Latency:
    """Measure on the device where the backbone lies, for about `seconds` in all, warming up included."""
    if backbone.device.type != torch.device(device).type:
        raise BadInput(f"{backbone.card.key} was loaded on {backbone.device}; load it on {device} to measure it there.")
    batches = BATCHES_GPU if backbone.device.type == "cuda" else BATCHES_CPU
    if backbone.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(backbone.device)
    began, had = time.perf_counter(), time.thread_time()
    times = {size: timed(forward(backbone, size), seconds / len(batches)) for size in batches}
    share = min(1.0, (time.thread_time() - had) / (time.perf_counter() - began))
    rates = {size: size / float(np.median(taken)) for size, taken in times.items()}
    best = max(rates, key=rates.__getitem__)
    single = np.asarray(times[1]) * 1000
    return Latency(
        backbone=backbone.card.key,
        device=device_name(backbone.device),
        precision=backbone.precision,
        size=backbone.card.spec.size,
        batch1_ms=float(np.median(single)),
        batch1_spread_ms=float(np.subtract(*np.percentile(single, [75, 25]))) / 2,
        images_per_second=rates[best],
        batch=best,
        threads=torch.get_num_threads(),
        parameters=backbone.card.parameters,
        peak_memory_mib=peak_memory_mib(backbone.device),
        processor_share=share if backbone.device.type == "cpu" else None,
    )


def forward(backbone: Backbone, size: int) -> Callable[[], None]:
    """One forward pass of a batch of random images, complete when it returns."""
    side = backbone.card.spec.size
    images = backbone.placed(torch.randn(size, 3, side, side, generator=torch.Generator().manual_seed(0)))

    def once() -> None:
        backbone.features(images)
        if backbone.device.type == "cuda":
            torch.cuda.synchronize(backbone.device)

    return once


def timed(work: Callable[[], None], seconds: float) -> list[float]:
    """Seconds of each repetition within a budget, at least three, after one fifth of the budget to warm up."""
    started = time.perf_counter()
    work()
    while time.perf_counter() - started < seconds / 5:
        work()
    taken: list[float] = []
    while len(taken) < 3 or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        work()
        taken.append(time.perf_counter() - before)
    return taken


def device_name(device: torch.device) -> str:
    """What the device calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def peak_memory_mib(device: torch.device) -> float:
    """The largest amount of memory in use so far, MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return kilobytes / (2**20 if platform.system() == "Darwin" else 2**10)
