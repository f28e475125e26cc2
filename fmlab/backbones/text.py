"""Text towers: prompts in, points in the space that they share with the projected features of images.

In: a card of type image+text, its weights on this disk, prompts. Out: (n, D) float32 of length 1, and the logit scale
by which the model multiplies cosines before a softmax. Imports torch, so only the worker imports this.

Every tower of CLIP's kind is open_clip's `TextTransformer`, whatever library wrote the file; BiomedCLIP's is a BERT. A
tower is loaded as strictly as an image encoder, and nothing is asked of a network.

Sources: open_clip (https://github.com/mlfoundations/open_clip), `TextTransformer`, `SimpleTokenizer`, `HFTextEncoder`;
transformers, `CLIPTextModel`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from open_clip.tokenizer import SimpleTokenizer, get_clean_fn
from open_clip.transformer import QuickGELU, TextTransformer
from torch import Tensor, nn
from transformers import BertConfig, BertModel, BertTokenizer

from fmlab.backbones.cards import BackboneCard, TextTower
from fmlab.backbones.catalogue import require_weights, weights_file
from fmlab.backbones.layouts_text import TEXT_LAYOUTS
from fmlab.backbones.weights import matched, read_tensors
from fmlab.errors import BadInput
from fmlab.settings import Home

PADDING = 0  # the number of the token behind a prompt's end, in CLIP's vocabulary and in BERT's

# Tables of positions that BERT was trained with, longer than the context that BiomedCLIP uses.
BERT_POSITIONS = 512


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """A text tower with its tokenizer, on a device, ready to be used and not to be trained."""

    card: BackboneCard
    tower: nn.Module
    token_ids: Callable[[str], list[int]]  # of one prompt, from its start to its end token, never cut
    logit_scale: float
    device: torch.device

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """(n, context) int64, padded; `BadInput` for no prompt, an empty one, or one longer than the context."""
        if isinstance(prompts, str) or not prompts or any(not prompt.strip() for prompt in prompts):
            raise BadInput("There is no prompt, or one is empty; give a list of phrases that describe an image.")
        context = text_of(self.card).context
        table = torch.full((len(prompts), context), PADDING)
        for row, prompt in zip(table, prompts, strict=True):
            found = self.token_ids(prompt)
            if len(found) > context:
                raise BadInput(
                    f"The prompt {prompt[:60]!r}… takes {len(found)} tokens and {self.card.key} reads at most {context}; "
                    f"shorten it."
                )
            row[: len(found)] = torch.tensor(found)
        return table

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """(n, D) float32 of length 1, on the device; raises as `tokens` does."""
        tokens = self.tokens(prompts).to(self.device)
        with torch.inference_mode():
            return nn.functional.normalize(self.tower(tokens).float(), dim=-1)


def load_text(card: BackboneCard, home: Home, device: str = "cpu") -> TextEncoder:
    """The text tower of a card, in fp32.

    Raises `BadInput` for a backbone that does not read, or whose tokenizer's files are missing; `BadWeights` when the
    weights are missing, damaged or of another architecture.
    """
    text = text_of(card)
    token_ids = bert_token_ids(card, home) if text.architecture == "bert" else clip_token_ids()
    tower = BertTower(text, int(card.projection or 0)) if text.architecture == "bert" else clip_tower(card)
    wanted = tower.state_dict() | {"logit_scale": torch.empty(1)}
    tensors = TEXT_LAYOUTS[card.layout](read_tensors(require_weights(card, home)))
    own = matched(tensors, wanted, (), f"the text tower of {card.key}")
    scale = float(own.pop("logit_scale").float().exp())
    tower.load_state_dict(own, strict=True)
    tower = tower.eval().requires_grad_(False).to(device)
    return TextEncoder(card, tower, token_ids, scale, torch.device(device))


def text_of(card: BackboneCard) -> TextTower:
    """The facts of a card's text tower; `BadInput` where it has none that can be loaded."""
    if card.text is None:
        raise BadInput(f"{card.key} was not trained with text, so it reads no prompts; choose one of type image+text.")
    if card.layout not in TEXT_LAYOUTS:
        raise BadInput(
            f"The text tower of {card.key} cannot be loaded (layout {card.layout}); choose another backbone."
        )
    return card.text


# ---------------------------------------------------------------------------------------------------------------------
# Towers
# ---------------------------------------------------------------------------------------------------------------------


def clip_tower(card: BackboneCard) -> TextTransformer:
    """CLIP's causal transformer: the token that ends a prompt, after the final norm, projected."""
    text = text_of(card)
    return TextTransformer(
        context_length=text.context,
        vocab_size=text.vocabulary,
        width=text.width,
        heads=text.heads,
        layers=text.layers,
        output_dim=card.projection,
        act_layer=QuickGELU if text.activation == "quick_gelu" else nn.GELU,
    )


class BertTower(nn.Module):
    """BiomedCLIP's: a BERT without its pooler; the first token, projected through one hidden layer without biases."""

    def __init__(self, text: TextTower, projection: int) -> None:
        super().__init__()
        config = BertConfig(
            vocab_size=text.vocabulary,
            hidden_size=text.width,
            num_hidden_layers=text.layers,
            num_attention_heads=text.heads,
            intermediate_size=4 * text.width,
            max_position_embeddings=BERT_POSITIONS,
            pad_token_id=PADDING,
        )
        self.transformer = BertModel(config, add_pooling_layer=False)
        hidden = (text.width + projection) // 2
        self.proj = nn.Sequential(
            nn.Linear(text.width, hidden, bias=False), nn.GELU(), nn.Linear(hidden, projection, bias=False)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(n, D) from (n, context) int64."""
        states = self.transformer(input_ids=tokens, attention_mask=(tokens != PADDING).long()).last_hidden_state
        return self.proj(states[:, 0])


# ---------------------------------------------------------------------------------------------------------------------
# Tokens
# ---------------------------------------------------------------------------------------------------------------------


def clip_token_ids() -> Callable[[str], list[int]]:
    """CLIP's byte pairs, whose table open_clip ships."""
    tokenizer = SimpleTokenizer()
    return lambda prompt: [tokenizer.sot_token_id, *tokenizer.encode(prompt), tokenizer.eot_token_id]


def bert_token_ids(card: BackboneCard, home: Home) -> Callable[[str], list[int]]:
    """BERT's word pieces in lower case, from the card's vocabulary file in its folder or in the hub's cache."""
    path = vocabulary_file(card, home)
    # One word piece a line; its number is that of the line.
    pieces = path.read_bytes().decode("utf-8", errors="replace").replace("\r", "").rstrip("\n").split("\n")
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    if len(vocabulary) != text_of(card).vocabulary:
        raise BadInput(
            f"{path} holds {len(vocabulary)} word pieces and {card.key} knows {text_of(card).vocabulary}; "
            f"copy the file again from its source."
        )
    tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=True)
    clean = get_clean_fn("whitespace")  # open_clip's: mends broken characters and runs of blanks
    return lambda prompt: tokenizer(clean(prompt))["input_ids"]


def vocabulary_file(card: BackboneCard, home: Home) -> Path:
    """Where the file of word pieces lies; `BadInput` says where it would have to be."""
    name = text_of(card).files[0]
    # Looked for where the weights are looked for: the backbone's folder, then the hub's cache.
    path = weights_file(card.model_copy(update={"files": (name,)}), home)
    if path is None:
        page = f" (from {card.remote.page})" if card.remote is not None else ""
        raise BadInput(
            f"The tokenizer of {card.key} is not on this disk; put {name}{page} into {home.backbones / card.key}."
        )
    return path
