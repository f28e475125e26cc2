"""Files as the authors' own code writes them, in miniature and with the exact names, give the features of the model that
wrote them.

Run: pytest tests/contract/test_layouts_original.py
"""

import argparse
import os

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from fmlab.backbones.added import SpecOverrides, add_backbone
from fmlab.backbones.catalogue import catalogue, find_backbone
from fmlab.backbones.encoders import timm_encoder
from fmlab.backbones.input_specs import IMAGENET_MEAN, IMAGENET_STD, crop
from fmlab.backbones.layouts_original import medimageinsight_tensors
from fmlab.backbones.loaders import encoder_tensors, load_backbone
from fmlab.backbones.recognition import recognised, stand_in
from fmlab.errors import BadWeights
from tests.contract.original_models import (
    HEADS,
    WIDTHS,
    beit,
    beit_index,
    beit_pooled,
    davit,
    davit_pooled,
    vit,
    vit_tokens,
)

SIDE = 32  # pixels: 4×4 patches of 8
SMALL_VIT = {"embed_dim": 128, "depth": 4, "num_heads": 2, "patch_size": 8, "img_size": SIDE}
SPEC = crop(SIDE, SIDE, IMAGENET_MEAN, IMAGENET_STD)


def images(channels=3, side=SIDE):
    """Two images; with one channel, three times the same."""
    drawn = torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(7))
    return drawn if channels == 3 else drawn.expand(-1, 3, -1, -1).contiguous()


def same(ours, theirs):
    return float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


def prefixed(tensors, prefix):
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def file_of(home, card, content, name=None):
    """Put a file where the loader looks for it."""
    path = home.backbones / card.key / (name or card.files[0].rpartition("/")[2])
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


# --- DINOv2's training code ----------------------------------------------------------------------------------------


def chunked(tensors, chunks):
    """The names under which FSDP's block chunks keep the blocks; each block has its own number within its chunk."""
    if not chunks:
        return tensors
    return {
        f"blocks.{int(name.split('.')[1]) // chunks}.{name.removeprefix('blocks.')}"
        if name[:7] == "blocks."
        else name: value
        for name, value in tensors.items()
    }


def dinov2_file(wrapper, own):
    """The three ways in which a teacher lies in a file."""
    other = {name: value + 1 for name, value in own.items()}
    heads = {"dino_head.mlp.0.weight": torch.ones(3, 3), "ibot_head.last_layer.weight_g": torch.ones(3)}
    own = own | {"mask_token": torch.ones(1, 128)}
    if wrapper == "eval":
        return {"teacher": prefixed(own, "backbone.") | heads}
    if wrapper == "periodic":
        both = prefixed(other, "student.backbone.") | prefixed(own, "teacher.backbone.")
        both |= prefixed(heads, "student.") | prefixed(heads, "teacher.") | {"dino_loss.center": torch.ones(1, 3)}
        return {"model": both, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, "iteration": 4}
    return own


def ultradino(home, registers, channels):
    row = find_backbone(home, "ultradino-vit-small")
    options = row.options | SMALL_VIT | {"in_chans": channels, "reg_tokens": registers, "no_embed_class": registers > 0}
    return row.model_copy(update={"options": options, "spec": SPEC, "widths": (128, 128), "taps": (1, 3)})


@pytest.mark.parametrize("wrapper", ["eval", "periodic", "public"])
@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("chunks", [0, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_dinov2_teacher(home, wrapper, registers, chunks, channels):
    own = vit(channels=channels, registers=registers, scales=True)
    card = ultradino(home, registers, channels)
    path = file_of(home, card, dinov2_file(wrapper, chunked(own, chunks)))
    batch = images(channels)
    tokens = vit_tokens(own, batch[:, :channels])
    backbone = load_backbone(card, home)
    patch_tokens = tokens[:, 1 + registers :]
    assert same(backbone.features(batch, "cls"), tokens[:, 0])
    assert same(backbone.features(batch, "mean"), patch_tokens.mean(dim=1))
    # The map of the last block is the patch tokens where they lie in the image.
    assert same(backbone.dense(batch)[-1], patch_tokens.transpose(1, 2).reshape(2, 128, 4, 4))
    # A person's own file of that kind is recognised and gives the same.
    added = add_backbone(home, path, "mine", overrides=SpecOverrides(mean=(0.2, 0.2, 0.2), std=(0.2, 0.2, 0.2)))
    assert (added.spec.size, added.spec.mean) == (SIDE, (0.2, 0.2, 0.2))
    assert same(load_backbone(added, home).features(batch), tokens[:, 0])


def test_a_teacher_without_registers_is_not_taken_for_one_with_them(home):
    card = ultradino(home, 4, 3)
    file_of(home, card, vit(scales=True))
    with pytest.raises(BadWeights, match=r"1 missing \(reg_token\)"):
        load_backbone(card, home)


# --- iBOT ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", ["backbone alone", "full", "student"])
def test_ibot(home, wrapper):
    own = vit()
    head = {"head.mlp.0.weight": torch.ones(3, 3), "head.last_layer.weight_v": torch.ones(3)}
    student = {name: value + 1 for name, value in own.items()} | {"masked_embed": torch.ones(1, 128)}
    content = {
        "backbone alone": {"state_dict": own},
        "student": {"state_dict": own | {"masked_embed": torch.ones(1, 128)}},
        "full": {
            "student": prefixed(prefixed(student, "backbone.") | head, "module."),
            "teacher": prefixed(own, "backbone.") | head,
            "optimizer": {"state": {}, "param_groups": []},
            "epoch": 100,
            "args": argparse.Namespace(arch="vit_base", patch_size=16),
            "ibot_loss": {"center": torch.ones(1, 3)},
        },
    }[wrapper]
    row = find_backbone(home, "ibot-vit-base")
    card = row.model_copy(update={"options": SMALL_VIT, "spec": SPEC, "widths": (128, 128), "taps": (3,)})
    file_of(home, card, content)
    tokens = vit_tokens(own, images())
    assert same(load_backbone(card, home).features(images()), tokens[:, 0])
    assert same(load_backbone(card, home).features(images(), "mean"), tokens[:, 1:].mean(dim=1))


# --- MAE -----------------------------------------------------------------------------------------------------------


def test_mae(home, tmp_path):
    own = vit()
    decoder = {"mask_token": torch.ones(1, 1, 64), "decoder_pos_embed": torch.ones(1, 17, 64)}
    decoder |= {"decoder_embed.weight": torch.ones(64, 128), "decoder_blocks.0.norm1.weight": torch.ones(64)}
    decoder |= {"decoder_norm.weight": torch.ones(64), "decoder_pred.bias": torch.ones(192)}
    torch.save({"model": own | decoder, "epoch": 3, "args": argparse.Namespace(mask_ratio=0.75)}, tmp_path / "mae.pth")
    card = add_backbone(home, tmp_path / "mae.pth", "mae")
    assert (card.architecture, card.spec.size, card.spec.mean) == ("vit_base_patch16_224", SIDE, IMAGENET_MEAN)
    assert "2 heads of 64 numbers each" in card.note
    tokens = vit_tokens(own, images())
    assert same(load_backbone(card, home).features(images(), "cls"), tokens[:, 0])
    assert same(load_backbone(card, home).features(images(), "mean"), tokens[:, 1:].mean(dim=1))


# --- USFM ----------------------------------------------------------------------------------------------------------


def usfm(home):
    options = {"embed_dim": 128, "depth": 2, "num_heads": 4, "patch_size": 8, "img_size": SIDE}
    row = find_backbone(home, "usfm")
    return row.model_copy(update={"options": options, "spec": SPEC, "widths": (128,), "taps": (0, 1)})


def per_block(tensors):
    """Another table for each block."""
    own = dict(tensors)
    shared = own.pop("rel_pos_bias.relative_position_bias_table")
    return own | {f"blocks.{block}.attn.relative_position_bias_table": shared * (1 + block) for block in range(2)}


@pytest.mark.parametrize("tables", ["shared", "of each block"])
def test_usfm(home, tables):
    own = beit() if tables == "shared" else per_block(beit())
    index = {f"blocks.{block}.attn.relative_position_index": beit_index(4) for block in range(2)}
    card = usfm(home)
    path = file_of(home, card, own | index | {"mask_token": torch.ones(1, 1, 128), "head.weight": torch.ones(5, 128)})
    expected = beit_pooled(own, images())
    assert same(load_backbone(card, home).features(images()), expected)
    assert load_backbone(card, home).dense(images())[-1].shape == (2, 128, 4, 4)
    given = SpecOverrides(size=SIDE, resize="squash", interpolation="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    added = add_backbone(home, path, "mine", overrides=given)
    assert same(load_backbone(added, home).features(images()), expected)
    found = recognised(own)
    assert (found.layout, found.architecture, found.size) == ("beit", "beit_base_patch16_224", SIDE)
    assert (found.options["num_heads"], found.options["depth"]) == (4, 2)


def test_a_shared_table_beside_tables_of_blocks_is_refused(home):
    file_of(home, usfm(home), beit() | per_block(beit()))
    with pytest.raises(BadWeights, match=r"unexpected \(rel_pos_bias.relative_position_bias_table\)"):
        load_backbone(usfm(home), home)


# --- MedImageInsight -----------------------------------------------------------------------------------------------


def medimageinsight(home):
    row = find_backbone(home, "medimageinsight")
    options = {"embed_dims": WIDTHS, "num_heads": HEADS}
    spec = crop(64, 64, IMAGENET_MEAN, IMAGENET_STD)
    # The real file's size and digest are known, and checked.
    update = {
        "options": options,
        "projection": 24,
        "widths": (24, WIDTHS[-1]),
        "spec": spec,
        "sizes": {},
        "digests": {},
    }
    return row.model_copy(update=update)


def insight_file(own):
    text = {"lang_encoder.token_embedding.weight": torch.ones(5, 8), "lang_encoder.ln_final.bias": torch.ones(8)}
    return own | text | {"lang_projection": torch.ones(8, 24), "logit_scale": torch.tensor(4.6)}


def legacy(tensors):
    """The names before the authors renamed them."""
    whole = {"image_projection": "vision_projection", "lang_projection": "text_projection"}
    return {
        whole.get(name, name.replace("image_encoder.", "visual.").replace("lang_encoder.", "text.")): value
        for name, value in tensors.items()
    }


@pytest.mark.parametrize("names", ["new", "legacy"])
def test_medimageinsight(home, names):
    own = davit()
    card = medimageinsight(home)
    path = home.backbones / card.key / "medimageinsigt-v1.0.0.pt"
    path.parent.mkdir(parents=True)
    content = insight_file(own)
    save_file(content if names == "new" else legacy(content), path)  # safetensors, whatever the ending says
    batch = images(side=64)
    pooled = davit_pooled(own, batch)
    backbone = load_backbone(card, home)
    assert same(backbone.features(batch, "pooled"), pooled)
    assert same(backbone.features(batch), pooled @ own["image_projection"])
    assert [each.shape[1:] for each in backbone.dense(batch)] == [(16, 16, 16), (32, 8, 8), (64, 4, 4), (128, 2, 2)]
    assert recognised(content).architecture == "davit_huge_fl"


def test_the_real_medimageinsight_has_402_tensors_and_one_projection(home):
    """The names of the full-size file, made from the layout's own table of the paper's depths, all find their place."""
    card = find_backbone(home, "medimageinsight")
    with torch.device("meta"):
        wanted = encoder_tensors(timm_encoder(card))
    given = medimageinsight_tensors(card, davit())
    assert len(given) == 402 + 1
    assert set(given) == set(wanted)


# --- torchvision ---------------------------------------------------------------------------------------------------


def randomised(model):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.is_floating_point():
                drawn = torch.randn(value.shape, generator=generator)
                value.copy_(1 + 0.2 * drawn.abs() if value.ndim == 1 or "layer_scale" in name else 0.1 * drawn)
    return model.eval()


def test_a_torchvision_resnet(home, tmp_path):
    model = randomised(torchvision.models.resnet18(weights=None, num_classes=7))
    torch.save(model.state_dict(), tmp_path / "r.pth")
    card = add_backbone(home, tmp_path / "r.pth", "r")
    assert (card.architecture, card.features, card.spec.interpolation) == ("resnet18", ("pooled",), "bilinear")
    model.fc = torch.nn.Identity()
    with torch.no_grad():
        assert same(load_backbone(card, home).features(images(side=64)), model(images(side=64)))


def test_a_torchvision_convnext(home):
    stages = [CNBlockConfig(8, 16, 2), CNBlockConfig(16, 24, 1), CNBlockConfig(24, 32, 3), CNBlockConfig(32, None, 1)]
    model = randomised(ConvNeXt(stages, num_classes=7))
    options = {"depths": (2, 1, 3, 1), "dims": (8, 16, 24, 32)}
    # Through the loader itself, as a card of that layout.
    card = stand_in("torchvision").model_copy(
        update={"key": "c", "architecture": "convnext_tiny", "options": options, "files": ("c.pth",), "spec": SPEC}
    )
    file_of(home, card, model.state_dict())
    model.classifier[2] = torch.nn.Identity()
    with torch.no_grad():
        assert same(load_backbone(card, home).features(images(side=64)), model(images(side=64)))


# --- What must be refused ------------------------------------------------------------------------------------------


def without(name):
    return lambda tensors: tensors.pop(name)


def put(name, value):
    return lambda tensors: tensors.__setitem__(name, value)


def renamed(tensors):
    tensors["blocks.1.norm3.weight"] = tensors.pop("blocks.1.norm1.weight")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("norm.bias"), r"1 missing \(norm.bias\)"),
        (renamed, r"1 missing \(blocks.1.norm1.weight\); 1 unexpected \(blocks.1.norm3.weight\)"),
        (
            put("pos_embed", torch.zeros(1, 26, 128)),
            r"of another shape \(pos_embed \(1, 25, 128\) instead of \(1, 16, 128\)",
        ),
        (put("blocks.4.norm1.weight", torch.ones(128)), r"unexpected \(blocks.4.norm1.weight\)"),
        (put("head.weight", torch.ones(5, 128)), r"unexpected \(head.weight\)"),
    ],
)
def test_a_changed_teacher_is_refused(home, change, says):
    own = vit(registers=4, scales=True)
    change(own)
    card = ultradino(home, 4, 3)
    file_of(home, card, {"teacher": prefixed(own, "backbone.")})
    with pytest.raises(BadWeights, match=says):
        load_backbone(card, home)


def test_another_architecture_is_refused(home):
    card = ultradino(home, 4, 3)
    file_of(home, card, vit(width=64, registers=4, scales=True))
    with pytest.raises(BadWeights, match=r"not those of ultradino-vit-small.*of another shape"):
        load_backbone(card, home)
    file_of(home, card, beit())
    with pytest.raises(BadWeights, match=r"missing.*unexpected"):
        load_backbone(card, home)


@pytest.mark.parametrize("share", [0.3, 0.95])
def test_a_truncated_file_is_refused(home, share):
    card = ultradino(home, 0, 3)
    path = file_of(home, card, vit(scales=True))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(BadWeights, match=r"^teacher_checkpoint.pth cannot be used as weights"):
        load_backbone(card, home)


class Trap:
    """Unpickled, it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("place", ["beside", "in the arguments"])
def test_code_in_a_checkpoint_never_runs(home, tmp_path, place):
    marker = tmp_path / "it ran"
    card = ultradino(home, 0, 3)
    trap = Trap(str(marker)) if place == "beside" else argparse.Namespace(output=Trap(str(marker)))
    path = file_of(home, card, {"teacher": prefixed(vit(scales=True), "backbone."), "args": trap})
    for load in (lambda: load_backbone(card, home), lambda: add_backbone(home, path, "evil")):
        with pytest.raises(
            BadWeights, match=r"^teacher_checkpoint.pth cannot be used as weights: it holds Python objects"
        ):
            load()
    assert not marker.exists()
    assert "evil" not in catalogue(home)


class Settings:
    """A plain class of somebody's training script."""


def test_no_other_class_than_the_arguments_is_read(home):
    card = ultradino(home, 0, 3)
    file_of(home, card, {"teacher": vit(scales=True), "args": Settings()})
    with pytest.raises(BadWeights, match="Python objects or code"):
        load_backbone(card, home)


def test_tensors_inside_and_outside_of_a_backbone_are_refused(home):
    own = vit(scales=True)
    card = ultradino(home, 0, 3)
    file_of(home, card, own | prefixed(own, "backbone."))
    with pytest.raises(BadWeights, match="inside and outside of a backbone"):
        load_backbone(card, home)


def test_a_block_named_twice_is_refused(home):
    own = vit(scales=True)
    card = ultradino(home, 0, 3)
    file_of(home, card, own | chunked(own, 2))
    with pytest.raises(BadWeights, match="a block of the same number twice"):
        load_backbone(card, home)
