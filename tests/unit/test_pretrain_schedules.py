"""Schedules against numpy's whole curves, and rates by layer. Run: pytest tests/unit/test_pretrain_schedules.py"""

import numpy as np
import pytest
import timm

from fmlab.pretrain.schedules import cosine, layer_factors, linear


def whole_curve(base, final, total, warmup, start, frozen):
    """DINOv2's way: the curve as three arrays, one after the other."""
    steps = np.arange(total - warmup - frozen)
    falling = final + 0.5 * (base - final) * (1 + np.cos(np.pi * steps / len(steps)))
    return np.concatenate([np.zeros(frozen), np.linspace(start, base, warmup), falling])


@pytest.mark.parametrize("warmup", [0, 1, 2, 10])
@pytest.mark.parametrize("frozen", [0, 3])
def test_cosine_is_the_references_curve(warmup, frozen):
    schedule = cosine(4e-3, 1e-6, 40, warmup, 1e-5, frozen)
    expected = whole_curve(4e-3, 1e-6, 40, warmup, 1e-5, frozen)
    assert [schedule(step) for step in range(40)] == pytest.approx(expected.tolist(), abs=1e-12)
    assert schedule(40) == schedule(1000) == 1e-6


def test_cosine_by_hand():
    """Momentum 0.9 to 1.0 over four steps: 0.9, 0.9146, 0.95, 0.9854, then 1."""
    assert [cosine(0.9, 1.0, 4)(step) for step in range(5)] == pytest.approx([0.9, 0.914645, 0.95, 0.985355, 1.0])


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_linear_is_numpys_line_and_then_its_end(steps):
    schedule = linear(0.04, 0.07, steps)
    assert [schedule(step) for step in range(steps)] == pytest.approx(np.linspace(0.04, 0.07, steps).tolist())
    assert schedule(steps) == schedule(steps + 100) == 0.07


def test_a_line_of_no_steps_is_at_its_end():
    assert linear(0.04, 0.07, 0)(0) == 0.07


def test_rates_fall_from_the_last_block_to_the_patches():
    network = timm.create_model(
        "vit_tiny_patch16_224", depth=3, embed_dim=24, num_heads=2, num_classes=0, reg_tokens=2, init_values=1e-5
    )
    factors = layer_factors(network, 0.9, patch_embed=0.2)
    assert set(factors) == {name for name, _ in network.named_parameters()}
    by_hand = {
        "cls_token": 0.9**4,
        "reg_token": 0.9**4,
        "pos_embed": 0.9**4,
        "patch_embed.proj.weight": 0.9**4 * 0.2,
        "patch_embed.proj.bias": 0.9**4 * 0.2,
        "blocks.0.attn.qkv.weight": 0.9**3,
        "blocks.1.ls1.gamma": 0.9**2,
        "blocks.2.mlp.fc2.bias": 0.9,
        "norm.weight": 1.0,
    }
    assert {name: factors[name] for name in by_hand} == pytest.approx(by_hand)
    assert set(layer_factors(network, 1.0).values()) == {1.0}
