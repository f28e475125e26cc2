"""Verification: a good miniature passes, and each kind of damage fails the check that is there for it, in words.

Run: pytest tests/unit/test_verify.py
"""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.models import build_model_with_cfg, register_model
from timm.models.vision_transformer import VisionTransformer

from fmlab.backbones.chart import drawn_frame, side_by_side
from fmlab.backbones.encoders import timm_encoder
from fmlab.backbones.input_specs import HALF, IMAGENET_MEAN, IMAGENET_STD, crop, squash
from fmlab.backbones.rows import BUILT_IN
from fmlab.backbones.verify import verify
from fmlab.data.preprocessing import fit

FILE = "weights.safetensors"
ROWS = {card.key: card for card in BUILT_IN}
OPTIONS = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 64}
SHAPE = {"options": OPTIONS, "widths": (32, 32), "taps": (0, 1), "spec": crop(64, 72, HALF, HALF), "parameters": 50_656}

UNTRAINED = ROWS["random-vit-tiny"].model_copy(update=SHAPE | {"key": "miniature"})
TRAINED = UNTRAINED.model_copy(update={"layout": "timm", "seed": None, "floor": False, "files": (FILE,)})


def good_tensors():
    """Random numbers in every tensor of the miniature."""
    generator = torch.Generator().manual_seed(0)
    own = timm_encoder(TRAINED).network.state_dict()
    return {name: 0.3 * torch.randn(value.shape, generator=generator) for name, value in own.items()}


def written(home, tensors):
    path = home.backbones / TRAINED.key / FILE
    path.parent.mkdir(parents=True)
    save_file(tensors, path)
    return path


def failed(verification):
    """Name → what was got, of the checks that failed."""
    assert verification.passed == all(check.passed for check in verification.checks)
    return {check.name: check.got for check in verification.checks if not check.passed}


def names(verification):
    return [check.name for check in verification.checks]


def test_a_good_miniature_passes_everything(home):
    path = written(home, good_tensors())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = {"sizes": {FILE: path.stat().st_size}, "digests": {FILE: digest}}
    found = verify(TRAINED.model_copy(update=known), home)
    assert failed(found) == {}
    assert found.key == "miniature"
    assert found.picture is None
    kinds = [
        f"{what}" for kind in ("cls", "mean") for what in (f"width of {kind}", f"{kind} finite", f"{kind} repeated")
    ]
    others = [
        "weights file",
        "size",
        "SHA-256",
        "tensors",
        "parameters",
        "beside other images",
        "alone",
        "spatial maps",
    ]
    assert {*kinds, *others, "the paper's preprocessing"} < set(names(found))
    got = {check.name: (check.got, check.expected) for check in found.checks}
    assert got["SHA-256"] == (digest, digest)
    assert got["spatial maps"][0] == "32×4×4, 32×4×4"
    assert got["the paper's preprocessing"][0] == "32 numbers from 224×224 px"


@pytest.mark.parametrize("key", ["random-vit-tiny", "pixels-24"])
def test_backbones_without_a_file_are_verified_too(home, key):
    found = verify(ROWS[key], home)
    assert failed(found) == {}
    assert "weights file" not in names(found)


def test_a_missing_file_is_the_only_thing_said(home):
    found = verify(TRAINED, home)
    assert names(found) == ["weights file"]
    assert not found.passed
    assert FILE in found.checks[0].got


def test_a_file_that_is_cut_off(home):
    path = written(home, good_tensors())
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes()[: whole // 2])
    found = verify(TRAINED, home)
    assert set(failed(found)) == {"tensors"}
    assert failed(found)["tensors"].startswith(f"{FILE} cannot be used as weights: it is cut off or damaged")
    assert names(found)[-1] == "tensors"  # what cannot be loaded is not run
    found = failed(verify(TRAINED.model_copy(update={"sizes": {FILE: whole}}), home))
    assert set(found) == {"size", "tensors"}
    assert found["size"] == f"{whole // 2:,} bytes"
    assert f"expected {whole:,}" in found["tensors"]


def test_a_single_number_that_is_another(home):
    path = written(home, good_tensors())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    content = bytearray(path.read_bytes())
    content[-4] ^= 1
    path.write_bytes(content)
    assert failed(verify(TRAINED, home)) == {}  # nobody can tell
    found = failed(verify(TRAINED.model_copy(update={"digests": {FILE: digest}}), home))
    assert set(found) == {"SHA-256", "load"}
    assert found["SHA-256"] == hashlib.sha256(content).hexdigest()
    assert digest in found["load"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda tensors: tensors.update({"blocks.0.norm3.bias": tensors.pop("blocks.0.norm1.bias")}), "1 missing"),
        (lambda tensors: tensors.update({"decoder.bias": torch.zeros(3)}), "1 unexpected (decoder.bias)"),
        (lambda tensors: tensors.update({"norm.bias": torch.zeros(31)}), "1 of another shape"),
        (lambda tensors: tensors["norm.bias"].fill_(torch.nan), "1 not finite (norm.bias)"),
    ],
)
def test_tensors_of_another_network(home, damage, words):
    tensors = good_tensors()
    damage(tensors)
    written(home, tensors)
    found = failed(verify(TRAINED, home))
    assert set(found) == {"tensors"}
    assert words in found["tensors"]


def test_a_card_that_promises_other_numbers(home):
    written(home, good_tensors())
    found = verify(TRAINED.model_copy(update={"parameters": 50_657, "widths": (32, 768)}), home)
    assert failed(found) == {"parameters": "50,656", "width of mean": "32"}


def test_features_that_overflow(home):
    written(home, good_tensors() | {"norm.weight": torch.full((32,), 3e38)})
    found = failed(verify(TRAINED, home))
    assert {"cls finite", "mean finite", "spatial maps finite"} <= set(found)
    assert "cls repeated" not in found
    assert found["cls finite"].endswith("numbers are not finite")
    assert "not all finite" in found["the paper's preprocessing"]


def test_features_that_are_the_same_for_every_image(home):
    written(home, good_tensors() | {"norm.weight": torch.zeros(32)})
    found = failed(verify(TRAINED, home))
    assert set(found) == {"cls of different images", "mean of different images"}


class Restless(VisionTransformer):
    """Gives other features on every call."""

    def forward_features(self, x):
        found = super().forward_features(x)
        return found + 0.01 * torch.randn_like(found)


class Comparing(VisionTransformer):
    """Takes from every image what the images beside it have in common with it."""

    def forward_features(self, x):
        found = super().forward_features(x)
        return found - 0.5 * found.mean(dim=0, keepdim=True)


class Stubborn(VisionTransformer):
    """Takes images of 64 pixels and no others."""

    def set_input_size(self, *args, **kwargs):
        raise ValueError("64 pixels or nothing")


@register_model
def restless_vit(pretrained=False, **options):
    return build_model_with_cfg(Restless, "restless_vit", pretrained, **options)


@register_model
def comparing_vit(pretrained=False, **options):
    return build_model_with_cfg(Comparing, "comparing_vit", pretrained, **options)


@register_model
def stubborn_vit(pretrained=False, **options):
    return build_model_with_cfg(Stubborn, "stubborn_vit", pretrained, **options)


def of_architecture(name):
    return UNTRAINED.model_copy(update={"architecture": name, "key": name, "options": OPTIONS | {"patch_size": 16}})


def test_an_encoder_that_gives_other_features_on_every_call(home):
    found = failed(verify(of_architecture("restless_vit"), home))
    assert {"cls repeated", "mean repeated"} <= set(found)
    assert found["cls repeated"].startswith("a difference of 0.0")


def test_an_encoder_that_mixes_the_images_of_a_batch(home):
    found = failed(verify(of_architecture("comparing_vit"), home))
    assert set(found) == {"beside other images", "alone"}


def test_an_encoder_that_cannot_take_the_papers_size(home):
    found = failed(verify(of_architecture("stubborn_vit"), home))
    assert found == {"the paper's preprocessing": "ValueError: 64 pixels or nothing"}


def test_taps_that_the_network_does_not_have(home):
    found = failed(verify(UNTRAINED.model_copy(update={"taps": (0, 9)}), home))
    assert set(found) == {"spatial maps"}
    assert "9" in found["spatial maps"]


def test_the_preprocessing_in_words(home):
    card = UNTRAINED.model_copy(
        update={"spec": squash(480, IMAGENET_MEAN, IMAGENET_STD), "unverified": ("the size is a guess", "so is std")}
    )
    assert verify(card.model_copy(update={"files": ("absent.pt",)}), home).card_text.splitlines() == [
        "Native: whole image squashed to 480×480 px, bicubic",
        "Paper: shorter side to 256 px, centre 224×224, bicubic",
        "Squash: whole image squashed to 224×224 px, bicubic",
        "Mean: 0.485 0.456 0.406, per channel of an image from 0 to 1",
        "Std: 0.229 0.224 0.225",
        "Grey: repeated to three channels",
        "Feature: cls (32 numbers); also mean (32 numbers)",
        "Spatial maps: of blocks 0, 1",
        "Unverified: the size is a guess; so is std",
    ]


def test_the_picture_shows_what_the_backbone_sees(home, tmp_path):
    found = verify(ROWS["pixels-24"], home, picture_into=tmp_path / "pictures")
    assert found.picture == tmp_path / "pictures" / "pixels-24.png"
    with Image.open(found.picture) as picture:
        shown = np.asarray(picture)
    assert (shown == side_by_side(ROWS["pixels-24"])).all()
    # 24 pixels are enlarged 14 times: the panel after the frame holds each of them as a block.
    seen = fit(drawn_frame(), ROWS["pixels-24"].spec)
    panel = shown[60:396, 16 + 448 + 16 :][:, :336]
    assert (panel[7::14, 7::14, 0] == seen).all()
