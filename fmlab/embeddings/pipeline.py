"""The pipeline: images in, features out, with reading and preprocessing beside the forward passes. Worker only.

In: a function that gives image i as uint8 (H, W) or (H, W, 3), from the image store or decoded from a file.
Out: (n, D) float32 features, batch after batch, in the order of the images.

On a CPU each core takes whole batches from the image to its features, with one thread of torch: cores never wait for
each other inside a forward pass, and the numbers do not depend on how many cores there are. On a GPU the threads of
the CPU prepare batches in pinned memory while the GPU computes.

Every batch has the same size: the last one is filled up with black images whose features are dropped, so that an
image's features do not depend on how many images it came with (another size of batch changes their last bits: by up to
5e-6 of the largest, measured).
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from fmlab.backbones.loaders import Backbone
from fmlab.backbones.pixels import ReadImage, fitted_batch, normalised
from fmlab.data.preprocessing import InputSpec

# Each core computes a batch of its own. Measured at 4, 8, 16 and 32 images on two cores: 8 is best or within 5 % of it,
# and its largest map (38 MB in EfficientNet-Lite0) is below the 64 MB from which glibc asks the system each time.
CPU_BATCH = 8
GPU_BATCH = 128

Result = TypeVar("Result")


def stream_features(
    read: ReadImage, count: int, backbone: Backbone, spec: InputSpec, feature: str, batch: int | None = None
) -> Iterator[np.ndarray]:
    """Features of images 0 … count − 1: (n, D) float32 for each batch in turn. `read` is called from several threads.

    Closing the iterator stops the work after the batches that are being computed.
    """
    on_gpu = backbone.device.type == "cuda"
    size = batch or (GPU_BATCH if on_gpu else CPU_BATCH)
    starts = range(0, count, size)

    def prepared(start: int) -> Tensor:
        return fitted_batch(read, range(start, min(start + size, count)), size, spec, pinned=on_gpu)

    def computed(start: int) -> np.ndarray:
        images = normalised(prepared(start), spec, backbone.channels_last)
        return backbone.features(images, feature)[: count - start].numpy()

    threads = torch.get_num_threads()
    with one_torch_thread_each(threads) as pool:
        if on_gpu:
            ahead = in_order(pool, prepared, starts, threads + 2)
            yield from gpu_features(ahead, starts, count, backbone, spec, feature)
        else:
            yield from in_order(pool, computed, starts, threads + 1)


@contextmanager
def one_torch_thread_each(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool whose threads compute with one thread of torch each; the caller's own number stays as it is."""
    pool = ThreadPoolExecutor(threads, "extraction", initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(threads)


def in_order(pool: ThreadPoolExecutor, work: Callable[[int], Result], starts: range, ahead: int) -> Iterator[Result]:
    """The results of `work(start)` in the order of `starts`, at most `ahead` of them computed before they are taken."""
    waiting: deque[Future[Result]] = deque()
    for start in starts:
        waiting.append(pool.submit(work, start))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def gpu_features(
    ahead: Iterator[Tensor], starts: range, count: int, backbone: Backbone, spec: InputSpec, feature: str
) -> Iterator[np.ndarray]:
    """Features of prepared batches; each is fetched from the GPU while the next one is computed there."""
    previous: tuple[int, Tensor] | None = None
    for start, pixels in zip(starts, ahead, strict=True):
        images = normalised(pixels.to(backbone.device, non_blocking=True), spec, backbone.channels_last)
        current = backbone.features(images, feature)
        if previous is not None:
            yield previous[1][: count - previous[0]].cpu().numpy()
        previous = start, current
    if previous is not None:
        yield previous[1][: count - previous[0]].cpu().numpy()
