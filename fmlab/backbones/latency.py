"""What a backbone costs on this machine: arithmetic, memory, latency of one image, throughput of many.

In: a loaded backbone. Out: a `Latency`; times in milliseconds, throughput in images per second, memory in MiB.

Time: random images in memory, forward passes alone, what a bare loop around the model would measure. All batches are
measured in turn, round after round, so that a disturbance hits all of them; medians after warm-up; the spread is half
the distance between the quartiles. A larger batch is tried only while one pass of it can be expected to take no longer
than the time given for everything, and no more than half of the memory that is free.

Arithmetic: PyTorch's own counter (`torch.utils.flop_counter`) over one pass of one image. A multiplication with its
addition counts as 2. It knows matrix products, convolutions and scaled dot-product attention, where nearly all of the
arithmetic is; norms, activations, softmax, pooling and sums count as nothing.

Memory: what one pass needs beyond the weights and its input. On a GPU, the rise of what PyTorch has allocated. On a CPU,
the rise of this process's resident memory above what it holds after handing free memory back to the system, read
every half millisecond: a few MiB coarse.

A busy machine makes every time longer, the median too. What tells is the share of the time in which the measuring
thread had a processor: it computes or spins all the while, so on a quiet machine the share is 0.97 to 1.
"""

import ctypes
import platform
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from fmlab.backbones.loaders import Backbone
from fmlab.errors import BadInput

BATCHES_CPU = (1, 8, 16, 32)
BATCHES_GPU = (1, 16, 64, 256)

ROUNDS = 3  # each batch is measured in so many stretches of time
FREE_SHARE = 0.5  # of the free memory that a pass may be expected to take
SAMPLING_SECONDS = 0.0005

Name = TypeVar("Name", bound=Hashable)


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
    batches: tuple[int, ...]  # all that were tried
    threads: int  # of torch, on a CPU
    parameters: int  # counted in the network as it ran
    flops: int  # for one image
    batch1_memory_mib: float  # of a pass, beyond weights and input
    batch_memory_mib: float  # the same at the best batch
    processor_share: float | None  # of the time measured, 0–1, that this thread had a processor; null on a GPU


def measure_latency(backbone: Backbone, device: str, seconds: float = 5.0) -> Latency:
    """Measure on the device where the backbone lies; the times for about `seconds` in all, or three passes of each batch."""
    if backbone.device.type != torch.device(device).type:
        raise BadInput(f"{backbone.card.key} was loaded on {backbone.device}; load it on {device} to measure it there.")
    memory = memory_of_passes(backbone, seconds)
    began, had = time.perf_counter(), time.thread_time()
    times = in_turn({size: forward(backbone, size) for size in memory}, seconds)
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
        batches=tuple(memory),
        threads=torch.get_num_threads(),
        parameters=sum(weights.numel() for weights in backbone.encoder.parameters()),
        flops=flops_of_one(backbone),
        batch1_memory_mib=memory[1],
        batch_memory_mib=memory[best],
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


def in_turn(works: Mapping[Name, Callable[[], None]], seconds: float, rounds: int = ROUNDS) -> dict[Name, list[float]]:
    """Seconds of each pass of each work: stretches of equal length in turn, at least one pass in each stretch."""
    taken: dict[Name, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            before = time.perf_counter()
            until = before + seconds / len(works) / rounds
            while True:
                work()
                after = time.perf_counter()
                taken[name].append(after - before)
                before = after
                if after >= until:
                    break
    return taken


def memory_of_passes(backbone: Backbone, seconds: float) -> dict[int, float]:
    """MiB that a pass of each batch needs, for those batches that the time and the memory allow; warms up besides."""
    found: dict[int, float] = {}
    previous, took, needed = 1, 0.0, 0.0
    for size in BATCHES_GPU if backbone.device.type == "cuda" else BATCHES_CPU:
        grows = size / previous
        if took * grows > seconds or needed * grows > FREE_SHARE * free_mib(backbone.device):
            break
        work = forward(backbone, size)
        work()  # what libraries keep from their first pass on does not belong to every pass
        before = time.perf_counter()
        needed = found[size] = rise_mib(work, backbone.device)
        previous, took = size, time.perf_counter() - before
    return found


def rise_mib(work: Callable[[], None], device: torch.device) -> float:
    """How much more memory is in use at most while `work` runs than before, MiB."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    hand_back_free_memory()
    process = psutil.Process()
    before = process.memory_info().rss
    seen = [before]
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(SAMPLING_SECONDS):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        finished.set()
        watcher.join()
    return (max(*seen, process.memory_info().rss) - before) / 2**20


def hand_back_free_memory() -> None:
    """Give what this process has freed back to the system, where its C library can (glibc)."""
    if platform.system() == "Linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def free_mib(device: torch.device) -> float:
    """Memory that is still to be had on a device, MiB."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**20
    return psutil.virtual_memory().available / 2**20


def flops_of_one(backbone: Backbone) -> int:
    """Floating-point operations for the features of one image, of the kinds of operation that PyTorch counts."""
    work = forward(backbone, 1)
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def device_name(device: torch.device) -> str:
    """What the device calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
