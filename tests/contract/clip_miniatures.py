"""Image-text models in miniature, written by the libraries that write the real ones, with the real names of tensors.

Every tensor is drawn at random, norms and biases too, so that one that is dropped or exchanged shows in the features.
"""

import json
from pathlib import Path

import open_clip
import torch
import transformers
from safetensors.torch import save_file

from fmlab.backbones.catalogue import find_backbone
from fmlab.backbones.input_specs import CLIP_MEAN, CLIP_STD, crop

# BERT's word pieces: the special ones, those of three short prompts, and letters for any other word.
PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *["a", "apical", "chamber", "fetal", "four", "of", "view", "x", "##s", "##y", "##z", ",", "."],
]

PROMPTS = ["a view", "Apical  four chamber views of a x, fetal.", "of a"]

WIDTH, PROJECTION = 64, 24
CLIP_TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}

# Of each row: what is smaller than in the real model, and open_clip's name for the same.
SMALL = {
    "echo-clip": ({"architecture": "test_convnext", "spec": 64}, {"timm_model_name": "test_convnext"}),
    "biomedclip": ({"architecture": "test_vit", "spec": 160, "taps": (1, 5)}, {"timm_model_name": "test_vit"}),
    "fetalclip": (
        {"options": {"embed_dim": WIDTH, "depth": 3, "num_heads": 4, "img_size": 56}, "spec": 56, "taps": (0, 2)},
        {"image_size": 56, "patch_size": 14, "width": WIDTH, "head_width": 16, "layers": 3},
    ),
}


def shaken(model, seed=1):
    """The model with every tensor drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    for name, values in model.named_parameters():
        # Norms around 1; all else small enough for the numbers to stay in range through the blocks.
        around = 1.0 if values.ndim == 1 and name.endswith("weight") else 0.0
        values.data = around + 0.15 * torch.randn(values.shape, generator=generator)
    model.logit_scale.data = torch.tensor(1.7)
    return model.eval()


def write_open_clip(home, key, file=None, seed=1):
    """(card, the model that wrote its file) of a row of open_clip's layout, in miniature, in the home."""
    row = find_backbone(home, key)
    smaller, vision = SMALL[key]
    folder = home.backbones / key
    folder.mkdir(parents=True, exist_ok=True)
    if "timm_model_name" in vision:
        vision = vision | {"timm_pool": "", "timm_proj": "linear"}
    text = dict(CLIP_TEXT)
    kind = open_clip.CLIP
    if row.text.architecture == "bert":
        kind, text = open_clip.CustomTextCLIP, bert_text(folder)
    model = shaken(kind(embed_dim=PROJECTION, vision_cfg=vision, text_cfg=text), seed)
    tensors = model.state_dict() | older_tables(row)
    path = folder / (file or row.files[0])
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    card = row.model_copy(
        update=smaller
        | {
            "spec": crop(smaller["spec"], smaller["spec"], CLIP_MEAN, CLIP_STD),
            "projection": PROJECTION,
            "widths": tuple(PROJECTION if feature == "projected" else WIDTH for feature in row.features),
            "text": small_text(row.text),
        }
    )
    return card, model


def older_tables(row):
    """What older versions of the libraries saved beside the weights."""
    if row.text.architecture == "bert":
        return {"text.transformer.embeddings.position_ids": torch.arange(512)[None]}
    return {"attn_mask": torch.full((16, 16), float("-inf")).triu(1)}


def small_text(text):
    vocabulary = len(PIECES) if text.architecture == "bert" else text.vocabulary
    return text.model_copy(update={"width": 32, "heads": 2, "layers": 2, "context": 16, "vocabulary": vocabulary})


def bert_text(folder: Path):
    """open_clip's configuration of a small BERT, and its files: configuration and word pieces."""
    bert = transformers.BertConfig(
        vocab_size=len(PIECES), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128
    )
    bert.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True}), encoding="utf-8"
    )
    return {
        "hf_model_name": str(folder),
        "hf_tokenizer_name": str(folder),
        "hf_model_pretrained": False,
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 16,
    }


def pictures(card, count=3):
    """Normalised noise of the card's size."""
    return torch.randn(count, 3, card.spec.size, card.spec.size, generator=torch.Generator().manual_seed(2))


def rewrite(home, card, change, file=None):
    """Change the tensors in a card's file; `change` takes the dictionary and returns another."""
    path = home.backbones / card.key / (file or card.files[0])
    torch.save(change(torch.load(path, weights_only=True)), path)
