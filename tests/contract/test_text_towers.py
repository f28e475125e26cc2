"""Text towers give the embeddings, and with images the cosines, of the library that wrote the file, without a network.

Run: pytest tests/contract/test_text_towers.py
"""

import socket

import open_clip
import pytest
import torch
import transformers
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch.nn.functional import normalize

from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.input_specs import crop
from fmlab.backbones.loaders import load_backbone
from fmlab.backbones.rows import BUILT_IN
from fmlab.backbones.text import BertTower, clip_tower, load_text
from fmlab.errors import BadInput, BadWeights
from tests.contract.clip_miniatures import PROJECTION, PROMPTS, pictures, rewrite, shaken, small_text, write_open_clip

OPEN_CLIP = ("echo-clip", "biomedclip", "fetalclip")
# open_clip mends what was written for a browser before it cuts a prompt into tokens.
MIXED = [*PROMPTS, "four &amp; a  view"]

LONG = "view " * 15  # of a context of 16, two are for its start and its end


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)


def equal(found, expected):
    assert found.shape == expected.shape
    return float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


def write_clip(home, seed=1):
    """(card, model, tokenizer) of CLIP as transformers writes it, in miniature, in the home."""
    row = find_backbone(home, "clip-vit-base-patch16")
    text = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    vision = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
    model = transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config=text | {"max_position_embeddings": 16, "projection_dim": PROJECTION},
            vision_config=vision | {"image_size": 64, "patch_size": 16, "projection_dim": PROJECTION},
            projection_dim=PROJECTION,
        )
    )
    shaken(model, seed).save_pretrained(home.backbones / row.key)
    vocabulary = SimpleTokenizer()
    merges = [" ".join(pair) for pair in vocabulary.bpe_ranks]
    rename = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    tokenizer = transformers.CLIPTokenizer(
        vocab={rename.get(piece, piece): number for piece, number in vocabulary.encoder.items()},
        merges=[tuple(merge.split()) for merge in merges],
    )
    update = {
        "options": row.options | {"embed_dim": 64, "depth": 2, "num_heads": 4, "img_size": 64},
        "projection": PROJECTION,
        "widths": tuple(PROJECTION if feature == "projected" else 64 for feature in row.features),
        "text": small_text(row.text),
        "spec": crop(64, 64, row.spec.mean, row.spec.std),
        "taps": (0, 1),
    }
    return row.model_copy(update=update), model, tokenizer


# --- open_clip's files ---------------------------------------------------------------------------------------------


def their_tokens(home, key):
    """The tokens of open_clip's own tokenizer."""
    if key == "biomedclip":
        return HFTokenizer(str(home.backbones / key), context_length=16)(MIXED)
    return open_clip.tokenize(MIXED, context_length=16)


@pytest.mark.parametrize("key", OPEN_CLIP)
def test_prompts_become_the_tokens_and_embeddings_of_open_clip(home, key):
    card, model = write_open_clip(home, key)
    text = load_text(card, home)
    tokens = their_tokens(home, key)
    assert torch.equal(text.tokens(MIXED), tokens)
    with torch.no_grad():
        expected = model.encode_text(tokens, normalize=True)
    found = text.embed(MIXED)
    assert found.dtype == torch.float32
    assert equal(found, expected)
    assert torch.allclose(found.norm(dim=1), torch.ones(4))
    assert equal(text.embed(MIXED[1:2]), expected[1:2])


@pytest.mark.parametrize("key", OPEN_CLIP)
def test_images_and_prompts_have_the_logits_of_open_clip(home, key):
    card, model = write_open_clip(home, key)
    images = pictures(card)
    with torch.no_grad():
        expected, _ = model.get_logits(images, their_tokens(home, key))
    text = load_text(card, home)
    shown = normalize(load_backbone(card, home).features(images, "projected"), dim=-1)
    assert equal(text.logit_scale * shown @ text.embed(MIXED).T, expected)


# --- transformers' files -------------------------------------------------------------------------------------------


@torch.no_grad()
def test_prompts_become_the_tokens_and_embeddings_of_transformers(home):
    card, model, tokenizer = write_clip(home)
    text = load_text(card, home)
    given = tokenizer(PROMPTS, padding="max_length", max_length=16, return_tensors="pt")
    # transformers fills up with the end token, open_clip with 0: neither is read.
    theirs = given.input_ids * given.attention_mask
    assert torch.equal(text.tokens(PROMPTS), theirs)
    expected = model.get_text_features(**given).pooler_output
    assert equal(text.embed(PROMPTS), normalize(expected, dim=-1))


@torch.no_grad()
def test_images_and_prompts_have_the_logits_of_transformers(home):
    card, model, tokenizer = write_clip(home)
    images = pictures(card)
    given = tokenizer(PROMPTS, padding="max_length", max_length=16, return_tensors="pt")
    expected = model(**given, pixel_values=images).logits_per_image
    text = load_text(card, home)
    shown = normalize(load_backbone(card, home).features(images, "projected"), dim=-1)
    assert equal(text.logit_scale * shown @ text.embed(PROMPTS).T, expected)


def test_the_older_file_of_transformers_holds_a_table_of_positions_too(home):
    card, _, _ = write_clip(home)
    folder = home.backbones / card.key
    model = transformers.CLIPModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    name = next(name for name in card.files if name.endswith(".bin"))
    older = {f"{side}.embeddings.position_ids": torch.arange(16)[None] for side in ("text_model", "vision_model")}
    torch.save(model.state_dict() | older, folder / name)
    assert load_text(card, home).embed(PROMPTS).shape == (3, PROJECTION)


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", OPEN_CLIP)
def test_prompts_that_cannot_be_read_whole_are_refused(home, key):
    text = load_text(write_open_clip(home, key)[0], home)
    assert text.embed([LONG.removesuffix("view ")]).shape == (1, PROJECTION)
    with pytest.raises(BadInput, match=f"takes 17 tokens and {key} reads at most 16"):
        text.embed(["a view", LONG])
    for none in ([], ["a view", " "], [""], "a view"):
        with pytest.raises(BadInput, match="no prompt"):
            text.embed(none)


def test_a_backbone_that_does_not_read_is_refused(home):
    with pytest.raises(BadInput, match="was not trained with text"):
        load_text(find_backbone(home, "efficientnet-lite0"), home)


def test_weights_that_are_not_there_are_named(home):
    with pytest.raises(BadWeights, match="not on this disk"):
        load_text(find_backbone(home, "echo-clip"), home)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("echo-clip", "ln_final.bias"),
        ("echo-clip", "logit_scale"),
        ("fetalclip", "transformer.resblocks.1.attn.in_proj_bias"),
        ("biomedclip", "text.proj.2.weight"),
        ("biomedclip", "text.transformer.embeddings.LayerNorm.weight"),
    ],
)
def test_a_missing_or_renamed_tensor_is_named(home, key, name):
    card, _ = write_open_clip(home, key)
    own = name.removeprefix("text.")
    rewrite(home, card, lambda tensors: {f"{each}2" if each == name else each: tensors[each] for each in tensors})
    with pytest.raises(BadWeights, match=rf"text tower of {key}: tensors are 1 missing \({own}\); 1 unexpected"):
        load_text(card, home)
    rewrite(home, card, lambda tensors: {each: tensors[each] for each in tensors if each != f"{name}2"})
    with pytest.raises(BadWeights, match=rf"tensors are 1 missing \({own}\)\.$"):
        load_text(card, home)


@pytest.mark.parametrize("letter", ["q", "k"])
def test_a_transformer_whose_attention_is_not_whole_is_refused(home, letter):
    card, _, _ = write_clip(home)
    folder = home.backbones / card.key
    tensors = transformers.CLIPModel.from_pretrained(folder).state_dict()
    (folder / "model.safetensors").unlink()
    lost = f"text_model.encoder.layers.1.self_attn.{letter}_proj.weight"
    torch.save({name: tensors[name] for name in tensors if name != lost}, folder / "pytorch_model.bin")
    with pytest.raises(BadWeights, match=r"1 missing \(transformer.resblocks.1.attn.in_proj_weight\); 2 unexpected"):
        load_text(card, home)


def test_two_tensors_for_one_place_are_refused(home):
    card, _ = write_open_clip(home, "echo-clip")
    rewrite(home, card, lambda tensors: tensors | {"text.ln_final.bias": torch.zeros(32)})
    with pytest.raises(BadWeights, match=r"ln_final\.bias twice"):
        load_text(card, home)


def test_a_bert_without_its_word_pieces_is_refused(home):
    card, _ = write_open_clip(home, "biomedclip")
    pieces = home.backbones / "biomedclip" / "vocab.txt"
    pieces.write_text(pieces.read_text() + "one more\n")
    with pytest.raises(BadInput, match="19 word pieces and biomedclip knows 18"):
        load_text(card, home)
    pieces.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="1 word pieces"):
        load_text(card, home)
    pieces.unlink()
    with pytest.raises(BadInput, match=r"tokenizer of biomedclip is not on this disk; put vocab.txt .* into"):
        load_text(card, home)


def test_every_row_that_says_so_has_a_text_tower_that_can_be_built():
    """Width, heads and layers fit each other, and with the image encoder they make up the whole file."""
    counts = {}
    for card in BUILT_IN:
        if card.layout in ("open-clip", "hf-clip"):
            with torch.device("meta"):
                bert = card.text.architecture == "bert"
                tower = BertTower(card.text, card.projection) if bert else clip_tower(card)
            counts[card.key] = sum(weights.numel() for weights in tower.parameters())
    # The whole files hold 151 518 849 and 149 620 737 numbers: image encoder, text tower, logit scale.
    assert counts["echo-clip"] == 151_518_849 - 88_090_752 - 1
    assert counts["clip-vit-base-patch16"] == 149_620_737 - 86_192_640 - 1
    assert {"biomedclip", "fetalclip"} <= set(counts)
