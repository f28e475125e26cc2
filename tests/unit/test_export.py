"""Exported weights give the features that they gave before, in FMLab and in the layout's own model.

Run: pytest tests/unit/test_export.py
"""

import json
from dataclasses import asdict

import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fmlab.backbones.added import SpecOverrides, add_backbone
from fmlab.backbones.catalogue import catalogue
from fmlab.backbones.export import dinov2_layout, export_backbone, unlike_dinov2
from fmlab.backbones.loaders import load_backbone
from fmlab.errors import BadInput, NameTaken, NotFound
from tests.contract.original_models import vit_tokens

SIDE = 32  # pixels: 4×4 patches of 8
GREY = {"size": SIDE, "resize": "squash", "resize_to": SIDE, "interpolation": "bilinear"}
GREY |= {"mean": (0.2, 0.2, 0.2), "std": (0.3, 0.3, 0.3)}
SMALL = {"embed_dim": 128, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": SIDE, "num_classes": 0}


def network(**options):
    """A ViT of two blocks whose every tensor is drawn, norms, positions and scales too."""
    torch.manual_seed(4)
    made = timm.create_model("vit_tiny_patch16_224", **(SMALL | options))
    with torch.no_grad():
        for weights in made.parameters():
            weights.add_(0.2 * torch.randn_like(weights))
    return made.eval()


def backbone(home, tmp_path, made, key="ours"):
    save_file(made.state_dict(), tmp_path / f"{key}.safetensors")
    return add_backbone(home, tmp_path / f"{key}.safetensors", key, overrides=SpecOverrides(**GREY), licence="CC0-1.0")


def images(channels):
    return torch.randn(2, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(7)).expand(-1, 3, -1, -1)


@pytest.mark.parametrize("layout", ["timm", "dinov2"])
@pytest.mark.parametrize(("scales", "registers", "channels"), [(None, 0, 1), (None, 4, 3), (1e-5, 0, 3), (1e-5, 4, 1)])
def test_a_file_read_back_gives_the_same_features(home, tmp_path, layout, scales, registers, channels):
    placed = {"reg_tokens": registers, "no_embed_class": True} if registers else {}
    card = backbone(home, tmp_path, network(in_chans=channels, init_values=scales, **placed))
    export_backbone(home, "ours", layout, tmp_path / "out.safetensors")
    again = add_backbone(home, tmp_path / "out.safetensors", "again", overrides=SpecOverrides(**GREY))
    assert f"layout {layout}" in again.note or f"layout is {layout}" in again.note
    batch = images(channels)
    first, second = load_backbone(card, home), load_backbone(again, home)
    for kind in ("cls", "mean"):
        torch.testing.assert_close(second.features(batch, kind), first.features(batch, kind), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"reg_tokens": 4, "no_embed_class": True}, {"reg_tokens": 4}, {"no_embed_class": True}]
)
def test_the_layouts_own_model_computes_the_same(options):
    """Positions of the class token and of registers, wherever timm has them, against ViT in plain torch."""
    made = network(**options)
    tensors = dinov2_layout(made, "ours")
    assert tensors["pos_embed"].shape == (1, 17, 128)
    assert tensors["mask_token"].abs().max() == 0
    batch = images(3)
    with torch.no_grad():
        torch.testing.assert_close(vit_tokens(tensors, batch), made.forward_features(batch), atol=2e-5, rtol=1e-5)


def test_the_header_says_what_names_and_shapes_do_not(home, tmp_path):
    card = backbone(home, tmp_path, network(in_chans=1))
    assert export_backbone(home, "ours", "timm", tmp_path / "out.safetensors") == card
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        header = file.metadata()
    assert header["architecture"] == card.architecture
    assert json.loads(header["options"]) == card.options
    assert json.loads(header["preprocessing"]) == json.loads(json.dumps(asdict(card.spec)))
    assert header["licence"] == "CC0-1.0"


def test_a_network_of_another_kind_has_timms_layout_alone(home, tmp_path):
    made = timm.create_model("resnet18", num_classes=0, in_chans=1)
    backbone(home, tmp_path, made)
    export_backbone(home, "ours", "timm", tmp_path / "out.safetensors")
    assert load_file(tmp_path / "out.safetensors").keys() == made.state_dict().keys()
    again = add_backbone(home, tmp_path / "out.safetensors", "again", overrides=SpecOverrides(**GREY))
    assert again.options == {"in_chans": 1}
    with pytest.raises(BadInput, match=r"no such network as ours: it is a ResNet"):
        export_backbone(home, "ours", "dinov2", tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"qkv_bias": False}, "no bias"),
        ({"num_heads": 4}, "heads have 32 numbers"),
        ({"mlp_ratio": 3}, "another width"),
        ({"pre_norm": True}, "norms in other places"),
        ({"norm_layer": torch.nn.LayerNorm}, "eps of 1e-05"),
        ({"act_layer": torch.nn.ReLU}, "another activation"),
        ({"class_token": False, "global_pool": "avg"}, "lacks a class token"),
    ],
)
def test_a_transformer_that_dinov2_does_not_have_is_refused(options, says):
    assert unlike_dinov2(network()) == []
    assert any(says in words for words in unlike_dinov2(network(**options)))


@pytest.mark.parametrize(
    ("key", "layout", "error", "says"),
    [
        ("pixels-24", "timm", BadInput, "is no network"),
        ("clip-vit-base-patch16", "timm", BadInput, "projection"),
        ("nothing", "timm", NotFound, "no backbone"),
        ("random-resnet18", "keras", BadInput, "timm or dinov2"),
    ],
)
def test_what_cannot_be_exported(home, tmp_path, key, layout, error, says):
    with pytest.raises(error, match=says):
        export_backbone(home, key, layout, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_half_precision_takes_half_the_bytes_and_gives_nearly_the_same_features(home, tmp_path):
    card = backbone(home, tmp_path, network(in_chans=1))
    export_backbone(home, "ours", "timm", tmp_path / "whole.safetensors")
    export_backbone(home, "ours", "timm", tmp_path / "half.safetensors", half=True)
    whole, half = ((tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "half"))
    assert half / whole == pytest.approx(0.5, abs=0.02)
    again = add_backbone(home, tmp_path / "half.safetensors", "again", overrides=SpecOverrides(**GREY))
    batch = images(1)
    found, expected = (load_backbone(each, home).features(batch, "cls") for each in (again, card))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)
    assert not torch.equal(found, expected)


def test_numbers_that_half_precision_cannot_hold_are_refused(home, tmp_path):
    made = network()
    with torch.no_grad():
        made.blocks[0].mlp.fc1.weight[0, 0] = 1e6
    backbone(home, tmp_path, made)
    with pytest.raises(BadInput, match="float16 cannot hold"):
        export_backbone(home, "ours", "timm", tmp_path / "out.safetensors", half=True)
    assert not (tmp_path / "out.safetensors").exists()


def test_no_file_is_overwritten(home, tmp_path):
    (tmp_path / "out.safetensors").write_bytes(b"mine")
    with pytest.raises(NameTaken, match="exists already"):
        export_backbone(home, "random-resnet18", "timm", tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").read_bytes() == b"mine"
    with pytest.raises(BadInput, match="cannot be written"):
        export_backbone(home, "random-resnet18", "timm", tmp_path / "out.safetensors" / "inside.safetensors")


def test_the_command(fmlab, home, tmp_path):
    assert any(key == "random-vit-tiny" for key in catalogue(home))
    out = tmp_path / "out.safetensors"
    status, stdout, err = fmlab("backbones", "export", "random-vit-tiny", "--layout", "dinov2", "--out", out)
    assert (status, stdout.strip()) == (0, str(out)), err
    assert "register_tokens" not in load_file(out)
    status, stdout, err = fmlab("backbones", "export", "random-resnet18", "--layout", "dinov2", "--out", tmp_path / "x")
    assert (status, stdout, len(err.strip().splitlines())) == (2, "", 1)
