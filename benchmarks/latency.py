"""What a backbone costs, as FMLab measures it, against a bare timm loop; and what a second load reads.

In: nothing; weights are random, times do not depend on them. Out: a row for each architecture at its native size, at
batch 1 and at its best batch, in fp32 and on a GPU in bf16 too; passes of FMLab and of the loop
take turns. Ratios near 1 say that FMLab reports what the model takes: nothing is added and nothing left out.

The loop runs timm's own `forward` in the same memory format, the same precision and under `torch.inference_mode`.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import psutil
import timm
import torch

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import find_backbone, on_disk
from fmlab.backbones.latency import forward, measure_latency
from fmlab.backbones.loaders import Backbone, load_backbone
from fmlab.backbones.rows import BUILT_IN
from fmlab.settings import Home

SMALL = ("efficientnet-lite0", "random-resnet18", "random-vit-tiny")
WITHIN = 0.10  # of the bare loop
SECONDS, QUICK_SECONDS = 8.0, 4.0  # for one batch size, both sides together
LEAST_PASSES = 5  # of each side, however long they take
NO_WEIGHTS = 10_000  # bytes; asking the system how much was read is reading too


def run(quick: bool = False) -> Iterator[dict[str, object]]:
    """The rows; `quick` measures three small architectures for less time."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        yield from loading(home)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        for card in architectures([card for card in BUILT_IN if not quick or card.key in SMALL]):
            for precision in ("fp32", "bf16") if device == "cuda" else ("fp32",):
                yield from measured(load_backbone(card, home, device, precision), quick)


def architectures(cards: list[BackboneCard]) -> list[BackboneCard]:
    """One card with random weights for each network among the cards; those that differ in their weights alone are one."""
    found: dict[tuple[object, ...], BackboneCard] = {}
    for card in cards:
        if card.architecture is not None:
            variant = (card.architecture, *sorted(card.options.items()), card.spec.size, card.projection)
            found.setdefault(variant, untrained(card))
    return list(found.values())


def untrained(card: BackboneCard) -> BackboneCard:
    """The card's network with random weights and no file."""
    nothing = {"files": (), "package": None, "remote": None, "sizes": {}, "digests": {}}
    return card.model_copy(update={"layout": "random", "seed": 0} | nothing)


def bare_loop(backbone: Backbone, batch: int) -> Callable[[], None]:
    """One pass of timm's own model, as a user would write it, complete when it returns."""
    card, device = backbone.card, backbone.device
    form = torch.channels_last if backbone.channels_last else torch.contiguous_format
    model = timm.create_model(card.architecture, num_classes=0, **card.options).eval().requires_grad_(False)
    if hasattr(model, "set_input_size"):
        model.set_input_size(img_size=card.spec.size)
    model = model.to(device, memory_format=form)
    channels = card.options.get("in_chans", 3)
    images = torch.randn(batch, channels, card.spec.size, card.spec.size).to(device, memory_format=form)

    def once() -> None:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, torch.bfloat16, enabled=backbone.precision == "bf16"),
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        ):
            model(images)
            if device.type == "cuda":
                torch.cuda.synchronize()

    return once


def measured(backbone: Backbone, quick: bool) -> Iterator[dict[str, object]]:
    """What FMLab reports of a backbone, and the ratio to the bare loop at batch 1 and at the best batch."""
    seconds = QUICK_SECONDS if quick else SECONDS
    reported = measure_latency(backbone, str(backbone.device), seconds)
    for batch in dict.fromkeys((1, reported.batch)):
        taken = pass_by_pass({"ours": forward(backbone, batch), "bare": bare_loop(backbone, batch)}, seconds)
        ratios = np.asarray(taken["bare"]) / np.asarray(taken["ours"])
        ours = float(np.median(taken["ours"]))
        what = f"{backbone.card.architecture} at {reported.size} px, {reported.precision}, batch {batch}"
        yield {
            "name": "latency",
            "what": f"{what}: " + (f"{1000 * ours:.3g} ms" if batch == 1 else f"{batch / ours:.3g} images/s"),
            "ratio": float(np.median(ratios)),
            "quartiles": np.percentile(ratios, [25, 75]).tolist(),
            "against": "a bare timm loop",
            "reached": abs(float(np.median(ratios)) - 1) <= WITHIN,
            "milliseconds": 1000 * ours,
            "measured_batch": batch,
            **asdict(reported),
        }


def pass_by_pass(works: dict[str, Callable[[], None]], seconds: float) -> dict[str, list[float]]:
    """Seconds of each pass of each side, one pass of each in turn, the first of a turn going second in the next."""
    for work in works.values():
        work()
    taken: dict[str, list[float]] = {name: [] for name in works}
    until = time.perf_counter() + seconds
    order = list(works)
    while len(taken[order[0]]) < LEAST_PASSES or time.perf_counter() < until:
        for name in order:
            before = time.perf_counter()
            works[name]()
            taken[name].append(time.perf_counter() - before)
        order.reverse()
    return taken


def loading(home: Home) -> Iterator[dict[str, object]]:
    """The second load of a backbone in the same process, against the first, which reads its weights."""
    card = find_backbone(home, SMALL[0])
    if not on_disk(card, home):
        return
    seconds, read = [], []
    for _ in range(2):
        before, began = bytes_read(), time.perf_counter()
        load_backbone(card, home)
        seconds.append(time.perf_counter() - began)
        read.append(bytes_read() - before)
    yield {
        "name": "latency",
        "what": f"load {card.key} again: {1000 * seconds[1]:.2f} ms, {read[1]:,} bytes read (first {read[0]:,})",
        "ratio": seconds[0] / seconds[1],
        "against": "its first load",
        "reached": read[1] < NO_WEIGHTS,
        "seconds": seconds,
        "bytes_read": read,
        "device": "cpu",
    }


def bytes_read() -> int:
    """What this process has read so far, from files and pipes; 0 where the system does not count it."""
    counters = getattr(psutil.Process(), "io_counters", None)
    return counters().read_chars if counters is not None and sys.platform == "linux" else 0
