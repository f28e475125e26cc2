"""Latency: positive, plausible, in the stated units.

Run: pytest tests/unit/test_latency.py
"""

import pytest

from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.latency import measure_latency
from fmlab.backbones.loaders import load_backbone
from fmlab.errors import BadInput


def test_measured_numbers_fit_each_other(home):
    backbone = load_backbone(find_backbone(home, "pixels-24"), home)
    found = measure_latency(backbone, "cpu", seconds=0.2)
    assert 0 < found.batch1_ms < 1000
    assert found.batch1_spread_ms >= 0
    # The best batch cannot be slower than one image at a time.
    assert found.images_per_second >= 0.999 * 1000 / found.batch1_ms
    assert found.batch in (1, 8, 16, 32)
    assert found.peak_memory_mib > 10
    assert found.device
    assert (found.backbone, found.precision, found.size, found.parameters) == ("pixels-24", "fp32", 24, 0)


def test_a_backbone_on_another_device_is_refused(home):
    backbone = load_backbone(find_backbone(home, "pixels-24"), home)
    with pytest.raises(BadInput, match="load it on cuda"):
        measure_latency(backbone, "cuda")
