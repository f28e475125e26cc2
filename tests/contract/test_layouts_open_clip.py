"""Files that open_clip wrote give open_clip's features: trunks of timm's (EchoCLIP, BiomedCLIP) and its own ViT (FetalCLIP).

Run: pytest tests/contract/test_layouts_open_clip.py
"""

import pytest
import torch

from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.layouts_open_clip import open_clip_name
from fmlab.backbones.loaders import build_encoder, load_backbone
from fmlab.errors import BadWeights
from tests.contract.clip_miniatures import pictures, rewrite, write_open_clip

KEYS = ("echo-clip", "biomedclip", "fetalclip")
FILES = [(key, name) for key in KEYS[:2] for name in ("open_clip_pytorch_model.bin", "open_clip_model.safetensors")]
FILES.append(("fetalclip", "FetalCLIP_weights.pt"))

# A tensor of each file, without which its image tower is not whole.
NEEDED = {
    "echo-clip": "visual.trunk.head.norm.weight",
    "biomedclip": "visual.trunk.norm.bias",
    "fetalclip": "visual.ln_pre.weight",
}


def close(found, expected):
    """Within 1e-5 of the largest number."""
    assert found.shape == expected.shape
    return float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


@torch.no_grad()
def maps_of(model, images, blocks):
    """open_clip's own maps after the given blocks, and the tokens before them in the last one where there are any."""
    tokens = {} if hasattr(getattr(model.visual, "trunk", None), "stages") else {"output_extra_tokens": True}
    found = model.visual.forward_intermediates(
        images, indices=list(blocks), normalize_intermediates=True, intermediates_only=True, **tokens
    )
    return found["image_intermediates"], found.get("image_intermediates_prefix")


@pytest.mark.parametrize(("key", "file"), FILES)
def test_features_are_those_of_the_model_that_wrote_the_file(home, key, file):
    card, model = write_open_clip(home, key, file)
    backbone = load_backbone(card, home)
    images = pictures(card)
    with torch.no_grad():
        expected = {"projected": model.encode_image(images)}
    if key == "echo-clip":
        with torch.no_grad():
            expected["pooled"] = model.visual.trunk(images)
    else:
        maps, prefix = maps_of(model, images, card.taps)
        expected |= {"cls": prefix[-1][:, 0], "mean": maps[-1].mean(dim=(2, 3))}
    assert set(expected) == set(card.features)
    for kind, values in expected.items():
        assert close(backbone.features(images, kind), values), kind
    assert close(backbone.features(images), expected["projected"])


@pytest.mark.parametrize("key", KEYS)
def test_maps_are_those_of_the_model_that_wrote_the_file(home, key):
    card, model = write_open_clip(home, key)
    images = pictures(card)
    found = load_backbone(card, home).dense(images)
    expected, _ = maps_of(model, images, card.taps)
    assert len(found) == len(card.taps)
    for own, theirs in zip(found, expected, strict=True):
        assert close(own, theirs)


@pytest.mark.parametrize("key", KEYS)
def test_features_repeat_and_do_not_depend_on_the_images_beside(home, key):
    card, _ = write_open_clip(home, key)
    backbone = load_backbone(card, home)
    images = pictures(card)
    together = backbone.features(images)
    assert torch.equal(together, backbone.features(images))
    assert close(backbone.features(images[1:2])[0], together[1])
    assert close(backbone.features(images.flip(0)).flip(0), together)


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_or_renamed_tensor_is_named(home, key):
    card, _ = write_open_clip(home, key)
    name = NEEDED[key]
    rewrite(home, card, lambda tensors: {f"{each}2" if each == name else each: tensors[each] for each in tensors})
    with pytest.raises(BadWeights, match=r"1 missing .*1 unexpected"):
        build_encoder(card, home)
    rewrite(home, card, lambda tensors: {each: tensors[each] for each in tensors if each != f"{name}2"})
    with pytest.raises(BadWeights, match=f"are 1 missing \\({open_clip_name(name)}\\)"):
        build_encoder(card, home)


@pytest.mark.parametrize("key", KEYS)
def test_a_file_that_is_cut_off_is_refused(home, key):
    card, _ = write_open_clip(home, key)
    path = home.backbones / key / card.files[0]
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(BadWeights, match="cannot be used as weights"):
        build_encoder(card, home)


def test_the_file_of_another_architecture_is_refused(home):
    cards = {key: write_open_clip(home, key)[0] for key in KEYS}
    for key, other in (("echo-clip", "fetalclip"), ("fetalclip", "biomedclip"), ("biomedclip", "echo-clip")):
        path, foreign = (home.backbones / each / find_backbone(home, each).files[0] for each in (key, other))
        path.write_bytes(foreign.read_bytes())
        with pytest.raises(BadWeights, match=f"not those of {key}.*missing"):
            build_encoder(cards[key], home)
        write_open_clip(home, key)


@pytest.mark.parametrize("key", KEYS)
def test_only_the_text_tower_is_left_out(home, key):
    """Whatever else a file holds is refused, and so is the text tower where a card does not name it."""
    card, _ = write_open_clip(home, key)
    with pytest.raises(BadWeights, match="unexpected"):
        build_encoder(card.model_copy(update={"unused": ()}), home)
    rewrite(home, card, lambda tensors: tensors | {"visual.head.mlp.fc1.weight": torch.zeros(3, 3)})
    with pytest.raises(BadWeights, match=r"1 unexpected \(visual.head.mlp.fc1.weight\)"):
        build_encoder(card, home)


def test_two_tensors_for_one_place_are_refused(home):
    card, _ = write_open_clip(home, "echo-clip")
    rewrite(home, card, lambda tensors: tensors | {"visual.proj": torch.zeros(64, 24)})
    with pytest.raises(BadWeights, match=r"projection\.weight twice"):
        build_encoder(card, home)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("visual.trunk.stages.0.blocks.1.gamma", "stages.0.blocks.1.gamma"),
        ("visual.head.proj.weight", "projection.weight"),
        ("visual.conv1.weight", "patch_embed.proj.weight"),
        ("visual.transformer.resblocks.11.attn.in_proj_bias", "blocks.11.attn.qkv.bias"),
        ("visual.transformer.resblocks.0.mlp.c_proj.weight", "blocks.0.mlp.fc2.weight"),
        ("visual.transformer.resblocks.0.ls_1.gamma", "visual.transformer.resblocks.0.ls_1.gamma"),
        ("visual.transformer.resblocks.0.ln_1.running_weight", "visual.transformer.resblocks.0.ln_1.running_weight"),
        ("visual.attn_pool.query", "visual.attn_pool.query"),
    ],
)
def test_names(given, expected):
    assert open_clip_name(given) == expected
