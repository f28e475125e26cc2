"""Files as transformers and timm write them, in miniature, give the features of the model that wrote them.

Every tensor of the writing model is random, norms and biases too, so that one left out or exchanged shows.

Run: pytest tests/contract/test_layouts_huggingface.py
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.loaders import build_encoder, load_backbone
from fmlab.backbones.rows import BUILT_IN
from fmlab.errors import BadWeights

CARDS = {card.key: card for card in BUILT_IN}
WIDTH, DEPTH, HEADS = 64, 3, 4
SMALL = {"embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
SHARED = {
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": HEADS,
    "intermediate_size": 4 * WIDTH,
}
TAPS = (0, 1, 2)

Reference = Callable[[Tensor], tuple[dict[str, Tensor], list[Tensor]]]


@dataclass(frozen=True)
class Written:
    """A row in miniature, the tensors of its file, and what the model that wrote them makes of images."""

    card: BackboneCard
    tensors: dict[str, Tensor]
    reference: Reference  # features by kind, and the map of every block

    def place(self, home, tensors: dict[str, Tensor] | None = None, form: str = ".safetensors") -> BackboneCard:
        """Put the file where a person would, under its name on the hub."""
        path = self.path(home, form)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = self.tensors if tensors is None else tensors
        save_file(content, path) if form == ".safetensors" else torch.save(content, path)
        return self.card

    def path(self, home, form: str) -> Path:
        return home.backbones / self.card.key / next(name for name in self.card.files if name.endswith(form))


def miniature(key: str, options: dict, size: int, **changes) -> BackboneCard:
    """A row of the catalogue with small options; everything that decides how its file is read stays."""
    card = CARDS[key]
    spec = card.spec.__class__(**{**card.spec.__dict__, "size": size, "resize_to": size})
    return card.model_copy(update={"options": options, "spec": spec, "taps": TAPS, **changes})


@torch.no_grad()
def randomised(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Every parameter and statistic random; scales around 1, so that values neither vanish nor grow."""
    draw = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(random(tuple(value.shape), name, draw))
    return model.eval()


def random(shape: tuple[int, ...], name: str, draw: torch.Generator) -> Tensor:
    if name.endswith("running_var"):
        return torch.rand(shape, generator=draw) + 0.5
    return torch.randn(shape, generator=draw) * 0.1 + (1.0 if len(shape) == 1 and name.endswith("weight") else 0.0)


def images(size: int, count: int = 3) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(5))


def as_maps(tokens: Tensor, prefix: int = 1) -> Tensor:
    """(B, prefix + h·w, C) to (B, C, h, w)."""
    patches = tokens[:, prefix:]
    side = round(patches.shape[1] ** 0.5)
    return patches.transpose(1, 2).unflatten(2, (side, side))


# --- what the hub holds, in miniature ------------------------------------------------------------------------------


def layer_names(attention: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of one layer as transformers' ViT writes them, `attention` before query, key and value."""
    square, wide = (WIDTH, WIDTH), 4 * WIDTH
    shapes = {f"{attention}.{part}": square for part in ("query", "key", "value")}
    shapes |= {"attention.output.dense": square, "intermediate.dense": (wide, WIDTH), "output.dense": (WIDTH, wide)}
    found = {}
    for name, shape in shapes.items():
        found |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for norm in ("layernorm_before", "layernorm_after"):
        found |= {f"{norm}.weight": (WIDTH,), f"{norm}.bias": (WIDTH,)}
    return found


def mae_tensors() -> dict[str, Tensor]:
    """facebook/vit-mae-base's own names: transformers 5 writes others for the decoder."""
    shapes = {
        "vit.embeddings.cls_token": (1, 1, WIDTH),
        "vit.embeddings.position_embeddings": (1, 17, WIDTH),
        "vit.embeddings.patch_embeddings.projection.weight": (WIDTH, 3, 16, 16),
        "vit.embeddings.patch_embeddings.projection.bias": (WIDTH,),
        "vit.layernorm.weight": (WIDTH,),
        "vit.layernorm.bias": (WIDTH,),
        "decoder.mask_token": (1, 1, WIDTH),
        "decoder.decoder_pos_embed": (1, 17, WIDTH),
        "decoder.decoder_embed.weight": (WIDTH, WIDTH),
        "decoder.decoder_embed.bias": (WIDTH,),
        "decoder.decoder_norm.weight": (WIDTH,),
        "decoder.decoder_norm.bias": (WIDTH,),
        "decoder.decoder_pred.weight": (768, WIDTH),
        "decoder.decoder_pred.bias": (768,),
    }
    layer = layer_names("attention.attention")
    for number in range(DEPTH):
        shapes |= {f"vit.encoder.layer.{number}.{name}": shape for name, shape in layer.items()}
    for number in range(2):
        shapes |= {f"decoder.decoder_layers.{number}.{name}": shape for name, shape in layer.items()}
    draw = torch.Generator().manual_seed(1)
    return {name: random(shape, name, draw) for name, shape in shapes.items()}


def write_mae(folder: Path) -> Written:
    tensors = mae_tensors()
    config = ViTConfig(**SHARED, image_size=64, layer_norm_eps=1e-12)
    config.save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    model, info = ViTModel.from_pretrained(folder, add_pooling_layer=False, output_loading_info=True)
    assert not info["missing_keys"]
    assert all(name.startswith("decoder.") for name in info["unexpected_keys"])

    def reference(batch: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
        found = model.eval()(batch, output_hidden_states=True)
        return of_tokens(found.last_hidden_state), [as_maps(model.layernorm(h)) for h in found.hidden_states[1:]]

    return Written(miniature("vit-mae-base", SMALL | {"img_size": 64}, 64), tensors, reference)


def of_tokens(tokens: Tensor) -> dict[str, Tensor]:
    return {"cls": tokens[:, 0], "mean": tokens[:, 1:].mean(dim=1)}


DINOV2_CONFIG = Dinov2Config(
    hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, image_size=70, num_labels=5
)


def dinov2_reference(model: Dinov2Model) -> Reference:
    def reference(batch: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
        found = model(batch, output_hidden_states=True)
        assert torch.equal(found.pooler_output, found.last_hidden_state[:, 0])
        return of_tokens(found.last_hidden_state), [as_maps(model.layernorm(h)) for h in found.hidden_states[1:]]

    return reference


def write_dinov2_with_classifier(folder: Path) -> Written:
    model = randomised(Dinov2ForImageClassification(DINOV2_CONFIG))
    model.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    card = miniature("dinov2-base-imagenet1k-1-layer", SMALL | {"img_size": 70}, 70)
    return Written(card, tensors, dinov2_reference(model.dinov2))


def write_rad_dino(folder: Path) -> Written:
    model = randomised(Dinov2Model(DINOV2_CONFIG))
    model.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    return Written(miniature("rad-dino", SMALL | {"img_size": 70}, 70), tensors, dinov2_reference(model))


def write_clip(folder: Path) -> Written:
    config = CLIPConfig(
        projection_dim=32,
        vision_config=SHARED | {"image_size": 64, "patch_size": 16, "projection_dim": 32},
        text_config=SHARED | {"vocab_size": 99, "projection_dim": 32},
    )
    randomised(CLIPModel(config)).save_pretrained(folder)
    model = CLIPVisionModelWithProjection.from_pretrained(folder).eval()
    tensors = load_file(folder / "model.safetensors")
    # Older files hold them too.
    tensors["vision_model.embeddings.position_ids"] = torch.arange(17)[None]

    def reference(batch: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
        found = model(batch, output_hidden_states=True)
        norm = model.vision_model.post_layernorm
        features = of_tokens(norm(found.last_hidden_state)) | {"projected": found.image_embeds}
        return features, [as_maps(norm(h)) for h in found.hidden_states[1:]]

    card = miniature("clip-vit-base-patch16", SMALL | {"img_size": 64}, 64, projection=32, widths=(32, WIDTH, WIDTH))
    return Written(card, tensors, reference)


WRITERS = {
    "vit-mae-base": write_mae,
    "dinov2-base-imagenet1k-1-layer": write_dinov2_with_classifier,
    "rad-dino": write_rad_dino,
    "clip-vit-base-patch16": write_clip,
}


# Each row in each of the forms in which the hub may hold it.
in_every_form = pytest.mark.parametrize(
    ("written", "form"),
    [(key, Path(file).suffix) for key in WRITERS for file in CARDS[key].files],
    indirect=["written"],
)


@pytest.fixture(scope="module", params=WRITERS)
def written(request, tmp_path_factory):
    return WRITERS[request.param](tmp_path_factory.mktemp(request.param))


# --- the same numbers ----------------------------------------------------------------------------------------------


def assert_same(ours: Tensor, theirs: Tensor, share: float = 1e-5) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max()) <= share * float(theirs.abs().max())


@torch.no_grad()
def assert_same_backbone(written: Written, home, size: int) -> None:
    backbone = load_backbone(written.card, home, size=size)
    features, maps = written.reference(images(size))
    assert set(features) == set(written.card.features)
    for kind, theirs in features.items():
        assert_same(backbone.features(images(size), kind), theirs)
    ours = backbone.dense(images(size))
    assert len(ours) == len(maps) == DEPTH
    for mine, theirs in zip(ours, maps, strict=True):
        assert_same(mine, theirs)
    assert_same(backbone.dense(images(size), [2])[0], maps[2])


@in_every_form
def test_every_feature_and_map_is_that_of_the_model_that_wrote_the_file(written, home, form):
    written.place(home, form=form)
    assert_same_backbone(written, home, written.card.spec.size)


@pytest.mark.parametrize("written", ["dinov2-base-imagenet1k-1-layer", "rad-dino"], indirect=True)
@pytest.mark.parametrize("size", [98, 56])
def test_dinov2_resizes_its_positions_as_transformers_does(written, home, size):
    written.place(home)
    assert_same_backbone(written, home, size)


def test_an_images_features_repeat_and_do_not_depend_on_the_images_beside_it(written, home):
    """Transformers' own class for ViT-MAE shuffles the patches of each call anew."""
    backbone = load_backbone(written.place(home), home)
    batch = images(written.card.spec.size)
    for kind in written.card.features:
        assert torch.equal(backbone.features(batch, kind), backbone.features(batch, kind))
        assert_same(backbone.features(batch[:1], kind), backbone.features(batch, kind)[:1], 1e-6)
    for ours, again in zip(backbone.dense(batch), backbone.dense(batch), strict=True):
        assert torch.equal(ours, again)


def test_finetuning_starts_from_the_same_numbers_and_can_train_all_of_them(written, home):
    written.place(home)
    encoder = build_encoder(written.card, home).eval()
    kind = written.card.feature
    features = encoder(images(written.card.spec.size), kind)
    assert_same(features.detach(), load_backbone(written.card, home).features(images(written.card.spec.size), kind))
    features.square().sum().backward()
    assert all(weights.grad is not None and weights.grad.abs().max() > 0 for weights in encoder.parameters())


NAMES = {
    "vit-mae-base": (),
    "dinov2-base-imagenet1k-1-layer": (
        "dinov2.embeddings.mask_token",
        "dinov2.encoder.layer.0.attention.attention.query.weight",
        "dinov2.encoder.layer.0.layer_scale1.lambda1",
        "dinov2.layernorm.bias",
        "classifier.weight",
    ),
    "rad-dino": ("embeddings.mask_token", "encoder.layer.2.attention.output.dense.bias", "layernorm.weight"),
    "clip-vit-base-patch16": (
        "vision_model.embeddings.class_embedding",
        "vision_model.embeddings.position_embedding.weight",
        "vision_model.pre_layrnorm.weight",
        "vision_model.encoder.layers.0.self_attn.out_proj.bias",
        "visual_projection.weight",
        "text_model.final_layer_norm.weight",
        "text_projection.weight",
        "logit_scale",
    ),
}


def test_the_miniature_has_the_names_of_the_hubs_file(written):
    """transformers 5 uses other names in memory; the files keep the old ones."""
    assert set(NAMES[written.card.key]) <= set(written.tensors)


# --- files that are refused ----------------------------------------------------------------------------------------


def find(tensors: dict[str, Tensor], part: str) -> str:
    """The first name of the image encoder in the file that holds this part."""
    return next(name for name in tensors if part in name and not name.startswith(("decoder", "text", "classifier")))


def rename_a_layer(tensors):
    name = find(tensors, "layer")
    tensors[name.replace("layer", "leyer")] = tensors.pop(name)


def drop_last_norm(tensors):
    for last in ("weight", "bias"):
        name = next(n for n in tensors if n.endswith((f"layernorm.{last}",)) and "pre_" not in n)
        del tensors[name]


def drop_first_norm_of_a_block(tensors):
    del tensors[next(n for n in tensors if n.endswith(("layernorm_before.bias", "norm1.bias")) and "text" not in n)]


def drop_a_query(tensors):
    del tensors[next(n for n in tensors if n.endswith(("query.weight", "q_proj.weight")) and "text" not in n)]


def misshape_a_key(tensors):
    name = next(n for n in tensors if n.endswith(("key.weight", "k_proj.weight")) and "text" not in n)
    tensors[name] = torch.zeros(WIDTH, WIDTH + 1)


def empty_a_value(tensors):
    for part in ("query", "key", "value", "q_proj", "k_proj", "v_proj"):
        for name in [n for n in tensors if n.endswith(f".{part}.bias") and "text" not in n]:
            tensors[name] = torch.tensor(1.0)


def resize_the_positions(tensors):
    name = find(tensors, "position_embedding")
    tensors[name] = torch.zeros_like(tensors[name])[..., :-1, :].contiguous()


def add_a_tensor(tensors):
    tensors["head.weight"] = torch.zeros(3, WIDTH)


def add_a_block(tensors):
    name = find(tensors, ".2.")
    tensors[name.replace(".2.", ".3.")] = torch.zeros_like(tensors[name])


def add_an_encoder_tensor_by_timms_name(tensors):
    tensors["norm.weight"] = torch.zeros(WIDTH)


def poison(tensors):
    name = find(tensors, "layernorm")
    tensors[name] = tensors[name] * float("inf")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (rename_a_layer, r"missing \(.*unexpected \(.*leyer"),
        (drop_last_norm, r"2 missing \(norm.bias, norm.weight\)"),
        (drop_first_norm_of_a_block, r"1 missing \(blocks.0.norm1.bias\)"),
        (drop_a_query, r"1 missing \(blocks.0.attn.qkv.weight\); 2 unexpected"),
        (misshape_a_key, r"1 missing \(blocks.0.attn.qkv.weight\); 3 unexpected"),
        (empty_a_value, r"3 missing \(blocks.0.attn.qkv.bias"),
        (resize_the_positions, r"1 of another shape \(pos_embed"),
        (add_a_tensor, r"1 unexpected \(head.weight\)"),
        (add_a_block, "1 unexpected"),
        (add_an_encoder_tensor_by_timms_name, "hold timm's norm.weight twice"),
        (poison, "1 not finite"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(written, home, change, says):
    tensors = dict(written.tensors)
    change(tensors)
    with pytest.raises(BadWeights, match=says):
        load_backbone(written.place(home, tensors), home)


def test_every_single_tensor_of_the_encoder_is_wanted(written, home):
    """Leave out each in turn, of one block those of it; nothing of the encoder may be lacking, whatever its name."""
    for name in written.tensors:
        if ".1." in name or ".2." in name:
            continue
        rest = {other: value for other, value in written.tensors.items() if other != name}
        written.place(home, rest)
        if name.startswith(written.card.unused):
            build_encoder(written.card, home)
        else:
            with pytest.raises(BadWeights, match="missing"):
                build_encoder(written.card, home)


@in_every_form
@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(written, home, form, share):
    written.place(home, form=form)
    path = written.path(home, form)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(BadWeights, match="cannot be used as weights"):
        load_backbone(written.card, home)


# --- timm's own repositories ---------------------------------------------------------------------------------------

# Options that make each architecture small, and the blocks whose maps are compared.
VIT_SMALL = (SMALL | {"img_size": 64}, TAPS)
TIMM_SMALL = {
    "siglip2-base": VIT_SMALL,
    "dinov3-vit-base": VIT_SMALL,
    "vit-base-imagenet": VIT_SMALL,
    "convnext-base": ({"depths": (1, 1, 2, 1), "dims": (8, 16, 32, 64)}, (0, 1, 2, 3)),
    "efficientnetv2-small": ({"channel_multiplier": 0.25}, (1, 2, 3, 4)),
    "resnet50-imagenet": ({"layers": (1, 1, 1, 1)}, (1, 2, 3, 4)),
}


def write_timm(key: str) -> Written:
    options, taps = TIMM_SMALL[key]
    card = miniature(key, options, 64, taps=taps)
    classes = 7 if card.unused else 0
    model = randomised(timm.create_model(card.architecture, num_classes=classes, **options))
    seen: dict[str, Tensor] = {}
    modules = [model.feature_info[tap]["module"] for tap in taps]
    for name in modules:
        model.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    prefix = getattr(model, "num_prefix_tokens", None)

    def reference(batch: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
        last = model.forward_features(batch)
        features = {"pooled": model.forward_head(last, pre_logits=True)}
        if prefix is None:
            return features, [seen[name] for name in modules]
        features |= {"cls": last[:, 0], "mean": last[:, prefix:].mean(dim=1)}
        return features, [as_maps(model.norm(seen[name]), prefix) for name in modules]

    return Written(card, dict(model.state_dict()), reference)


@pytest.mark.parametrize("key", TIMM_SMALL)
@torch.no_grad()
def test_a_file_of_timms_repository_gives_timms_features_and_maps(home, key):
    written = write_timm(key)
    backbone = load_backbone(written.place(home), home)
    features, maps = written.reference(images(64))
    for kind in written.card.features:
        assert_same(backbone.features(images(64), kind), features[kind])
    for ours, theirs in zip(backbone.dense(images(64)), maps, strict=True):
        assert_same(ours, theirs)


@pytest.mark.parametrize("key", TIMM_SMALL)
def test_a_tensor_that_timms_file_lacks_or_has_too_many_is_named(home, key):
    written = write_timm(key)
    wanted = [
        name for name in written.tensors if not name.startswith(written.card.unused) and "num_batches" not in name
    ]
    for name in (wanted[0], wanted[len(wanted) // 2], wanted[-1]):
        written.place(home, {other: value for other, value in written.tensors.items() if other != name})
        with pytest.raises(BadWeights, match=rf"1 missing \({name}\)"):
            build_encoder(written.card, home)
    written.place(home, written.tensors | {"extra.weight": torch.zeros(2)})
    with pytest.raises(BadWeights, match=r"1 unexpected \(extra.weight\)"):
        build_encoder(written.card, home)
