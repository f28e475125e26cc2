"""Latency: positive, plausible, in the stated units.

Run: pytest tests/unit/test_latency.py
"""

import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, replace
from itertools import groupby

import pytest
import torch

from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.input_specs import HALF, crop
from fmlab.backbones.latency import flops_of_one, in_turn, measure_latency, memory_of_passes, rise_mib
from fmlab.backbones.loaders import load_backbone
from fmlab.errors import BadInput
from fmlab.runs.records import Run, measured_latency
from fmlab.ui.backbone_view import latency_text

OLD = {"batch1_ms": 2.0, "images_per_second": 900.0, "device": "a processor"}  # as versions before the share left it
RUN = Run("k", "latency", {"backbone": "pixels-24"}, "g", "done", "cpu", "", None, None, 1.0, None, OLD, 1)


def test_measured_numbers_fit_each_other(home):
    backbone = load_backbone(find_backbone(home, "pixels-24"), home)
    found = measure_latency(backbone, "cpu", seconds=0.2)
    assert 0 < found.batch1_ms < 1000
    assert found.batch1_spread_ms >= 0
    # The best batch cannot be slower than one image at a time.
    assert found.images_per_second >= 0.999 * 1000 / found.batch1_ms
    assert found.batch in found.batches
    assert found.batches[0] == 1
    assert 0 < found.processor_share <= 1
    assert found.device
    assert (found.backbone, found.precision, found.size) == ("pixels-24", "fp32", 24)
    assert (found.parameters, found.flops) == (0, 0)
    assert 0 <= found.batch1_memory_mib < 5
    kept = measured_latency(replace(RUN, result=asdict(found)))
    assert (kept.precision, kept.parameters, kept.flops) == ("fp32", 0, 0)
    assert (kept.batch1_memory_mib, kept.memory_mib) == (found.batch1_memory_mib, found.batch_memory_mib)


# Multiplications and additions of one block of a ViT with 17 tokens of 32 numbers: the four linear layers, and the two
# products of the attention; then the convolution that makes 16 tokens of 16×16×3 numbers.
LINEAR = 2 * 17 * 32 * (3 * 32 + 32 + 4 * 32 + 4 * 32)
ATTENTION = 2 * 2 * 17 * 17 * 32
PATCHES = 2 * 16 * (16 * 16 * 3) * 32


def test_arithmetic_is_counted_with_an_addition_for_each_multiplication(home):
    options = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 64}
    small = {"key": "small", "options": options, "widths": (32, 32), "spec": crop(64, 64, HALF, HALF)}
    backbone = load_backbone(find_backbone(home, "random-vit-tiny").model_copy(update=small), home)
    assert flops_of_one(backbone) == PATCHES + 2 * (LINEAR + ATTENTION)


def test_parameters_are_counted_in_the_network_and_memory_grows_with_the_batch(home):
    card = find_backbone(home, "random-resnet18")
    found = measure_latency(load_backbone(card.model_copy(update={"parameters": 1}), home), "cpu", seconds=1.0)
    assert found.parameters == card.parameters
    # 1.81 billion multiplications with their additions: K. He et al., Deep residual learning, table 1.
    assert found.flops == pytest.approx(2 * 1.81e9, rel=0.01)
    # One image's largest maps are its first: two of 64×112×112 numbers of 4 bytes, 6 MiB.
    assert found.batch1_memory_mib < 100
    if found.batch > 1:
        assert found.batch_memory_mib > found.batch1_memory_mib


def test_the_memory_of_a_pass_is_what_it_takes_at_its_peak():
    def work():
        first = torch.ones(30 * 2**18)  # 30 MiB
        second = torch.ones(20 * 2**18)
        del first
        torch.ones(5 * 2**18)
        time.sleep(0.01)
        del second

    assert rise_mib(work, torch.device("cpu")) == pytest.approx(50, abs=8)


@pytest.mark.skipif(platform.system() != "Linux", reason="only glibc can be asked to hand freed memory back")
def test_memory_that_was_freed_before_is_not_mistaken_for_memory_that_is_not_needed():
    kept = []

    def work():
        blocks = [torch.ones(2**14) for _ in range(800)]  # 50 MiB in pieces that the C library keeps when freed
        kept.append(torch.ones(2**10))  # and cannot hand back by itself, with something alive behind them
        del blocks

    for _ in range(3):
        assert rise_mib(work, torch.device("cpu")) == pytest.approx(50, abs=8)


def test_a_batch_that_would_take_too_long_is_not_tried(home):
    backbone = load_backbone(find_backbone(home, "random-resnet18"), home)
    assert list(memory_of_passes(backbone, seconds=0.001)) == [1]


def test_works_are_measured_in_turn_and_each_at_least_once_in_each_stretch():
    calls = []

    def slow():
        calls.append("slow")
        time.sleep(0.02)

    taken = in_turn({"slow": slow, "quick": lambda: calls.append("quick")}, seconds=0.03, rounds=3)
    stretches = [name for name, _ in groupby(calls)]
    assert stretches == ["slow", "quick"] * 3
    assert len(taken["slow"]) == 3
    assert min(taken["slow"]) >= 0.02
    assert len(taken["quick"]) > 3
    assert [len(each) for each in in_turn({"slow": slow}, seconds=0, rounds=2).values()] == [2]


def test_a_backbone_on_another_device_is_refused(home):
    backbone = load_backbone(find_backbone(home, "pixels-24"), home)
    with pytest.raises(BadInput, match="load it on cuda"):
        measure_latency(backbone, "cuda")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processors cannot be chosen on this system")
def test_a_processor_shared_with_others_shows_in_the_share(home):
    """Three processes that never rest, on the one processor that this thread may use: a quarter is left for it."""
    backbone = load_backbone(find_backbone(home, "pixels-24"), home)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        share = measure_latency(backbone, "cpu", seconds=2.0).processor_share
    finally:
        for other in others:
            other.kill()
            other.wait()
        os.sched_setaffinity(0, allowed)
    assert share < 0.7


def test_a_disturbed_measurement_says_so_and_an_old_one_nothing():
    old = measured_latency(RUN)
    assert (old.milliseconds, old.spread, old.processor_share, old.disturbed) == (2.0, None, None, False)
    assert (old.precision, old.parameters, old.flops, old.batch1_memory_mib, old.memory_mib) == (None,) * 5
    quiet, busy = (measured_latency(replace(RUN, result=OLD | {"processor_share": share})) for share in (0.98, 0.6))
    assert (quiet.disturbed, busy.disturbed) == (False, True)
    assert [("busy" in latency_text(each)) for each in (old, quiet, busy)] == [False, False, True]
