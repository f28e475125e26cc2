"""Latency: positive, plausible, in the stated units.

Run: pytest tests/unit/test_latency.py
"""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.latency import measure_latency
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
    assert found.batch in (1, 8, 16, 32)
    assert found.peak_memory_mib > 10
    assert 0 < found.processor_share <= 1
    assert found.device
    assert (found.backbone, found.precision, found.size, found.parameters) == ("pixels-24", "fp32", 24, 0)


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
    quiet, busy = (measured_latency(replace(RUN, result=OLD | {"processor_share": share})) for share in (0.98, 0.6))
    assert (quiet.disturbed, busy.disturbed) == (False, True)
    assert [("busy" in latency_text(each)) for each in (old, quiet, busy)] == [False, False, True]
