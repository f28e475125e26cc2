"""A backbone with a linear layer on top, and which of its weights are trained. Worker only.

In: an encoder, the kind of feature, the number of classes. Out: a `Classifier`, (B, 3, S, S) → logits (B, K).

`train_last_blocks` follows timm's own grouping of parameters into stem, blocks and what comes after them.
`layer_shares` is layer-wise decay of the learning rate: H. Bao et al., BEiT, ICLR 2022, and timm's grouping into layers.
`add_low_rank` is peft's LoRA: E. Hu et al., LoRA, ICLR 2022, section 4.1 (scale alpha / rank, B starts at zero).
"""

from collections.abc import Iterator

import torch
from timm.models._manipulate import MATCH_PREV_GROUP, group_with_matcher
from torch import Tensor, nn
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from fmlab.backbones.encoders import TimmEncoder
from fmlab.errors import BadInput

INSIDE = "encoder.network."  # how the names of a network's own parameters begin
HEAD_STD = 0.02  # of the linear layer's first weights, transformers' default
NORM_EPSILON = 1e-6  # of the normalisation before the linear layer; MAE's and UltraDINO's


class HeadNorm(nn.BatchNorm1d):
    """Features (B, D) of a batch normalised each by itself, without weights: K. He et al., MAE, CVPR 2022, appendix A.

    One image alone has no spread, and is normalised by what was seen before.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=NORM_EPSILON, affine=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) float32."""
        if self.training and len(features) == 1:
            return batch_norm(features.float(), self.running_mean, self.running_var, eps=self.eps)
        return super().forward(features.float())


class Classifier(nn.Module):
    """An encoder and a linear layer on one kind of its features. Normalisation over batches stays as it is where frozen."""

    def __init__(
        self, encoder: TimmEncoder, feature: str, width: int, classes: int, seed: int, normalised: bool = False
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.feature = feature
        self.norm = HeadNorm(width) if normalised else None
        self.head = nn.utils.skip_init(nn.Linear, width, classes)  # its own draw would move the caller's randomness
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.head.weight.normal_(0.0, HEAD_STD, generator=draw)
            self.head.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        """(B, K) logits from (B, 3, S, S) float32 normalised."""
        features = self.encoder(images, self.feature)
        return self.head(features if self.norm is None else self.norm(features))

    def train(self, mode: bool = True) -> "Classifier":
        """As `nn.Module.train`, but frozen batch normalisation keeps its means and variances."""
        super().train(mode)
        for part in self.encoder.modules():
            if isinstance(part, BatchNorm) and part.affine and not part.weight.requires_grad:
                part.eval()
        return self

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that are trained, by name."""
        return {name: weights for name, weights in self.named_parameters() if weights.requires_grad}

    def kept(self) -> Iterator[tuple[str, Tensor]]:
        """What training changes, by name: trained weights, and buffers (running statistics)."""
        yield from self.trainable().items()
        yield from self.named_buffers()


def leave_out_projection(encoder: TimmEncoder, feature: str) -> None:
    """A projection into a space shared with text is trained only where the feature comes after it."""
    if feature != "projected" and hasattr(encoder, "projection"):
        encoder.projection.requires_grad_(False)


def train_last_blocks(encoder: TimmEncoder, blocks: int) -> None:
    """Freeze all but the last `blocks` blocks and what comes after them: norm, pooling, projection.

    Blocks are timm's coarse groups: transformer blocks, or the stages of a convolutional network. More than there are
    raises `BadInput`.
    """
    after = ""  # a name that no group knows, which is how timm files what comes after the last block
    names = [*((name, weights) for name, weights in encoder.network.named_parameters()), (after, None)]
    group = group_with_matcher(iter(names), encoder.network.group_matcher(coarse=True), reverse=True)
    count = group[after] - 1  # group 0 is the stem
    if blocks > count:
        raise BadInput(f"This network has {count} blocks, and {blocks} were to be trained; choose 1 to {count}.")
    for name, weights in encoder.network.named_parameters():
        weights.requires_grad_(group[name] >= group[after] - blocks)


def layer_shares(classifier: Classifier, decay: float) -> dict[str, float]:
    """The share of the learning rate that each trained parameter gets: 1 at the head and what stands right before it,
    `decay` times as much at every layer towards the input.

    Layers are timm's own grouping: the stem and each block of a transformer or of a convolutional network. timm counts a
    norm after the last block to that block; here it stands at the head, as in BEiT and DINOv2. A network that has no such
    grouping raises `BadInput`.
    """
    network = classifier.encoder.network
    if not hasattr(network, "group_matcher"):
        raise BadInput(
            f"{type(network).__name__} is not divided into layers, so its learning rate cannot decay from layer to layer. "
            "Set layer_decay to 1, or choose another backbone."
        )
    trained = classifier.trainable()
    named = {name: name.removeprefix(INSIDE) for name in trained if name.startswith(INSIDE)}
    after = ""  # as in `train_last_blocks`
    names = [*((inside, trained[name]) for name, inside in named.items()), (after, None)]
    matcher = network.group_matcher(coarse=False)
    if not isinstance(matcher["blocks"], str):
        # What nobody claims is filed after the last block.
        blocks = [(pattern, group) for pattern, group in matcher["blocks"] if group != MATCH_PREV_GROUP]
        matcher = matcher | {"blocks": blocks}
    group = group_with_matcher(iter(names), matcher, reverse=True)
    return {name: decay ** (group[after] - group[named[name]]) if name in named else 1.0 for name in trained}


def add_low_rank(encoder: TimmEncoder, rank: int, alpha: float, dropout: float, size: int, seed: int) -> None:
    """Freeze the encoder and add a trainable product of two thin matrices to its linear layers.

    Networks with tokens: every linear layer of their blocks, attention's and the MLP's. Others: every linear layer and
    every convolution that mixes channels. `size` is the side of the input in pixels.
    """
    from peft import LoraConfig, inject_adapter_in_model  # it takes 1.6 s to load, and all other trainings do without

    settings = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=low_rank_targets(encoder, size), bias="none"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(settings, encoder)


def low_rank_targets(encoder: TimmEncoder, size: int) -> list[str]:
    """The names of the layers that take an addition.

    Some attentions read the matrix of a layer without calling the layer (BEiT's queries); an addition to it would
    never be computed, so that only layers count that one forward pass calls.
    """
    tokens = encoder.prefix_tokens is not None
    names = {}
    for name, part in encoder.network.named_modules():
        if (isinstance(part, nn.Linear) and (not tokens or name.startswith("blocks."))) or (
            isinstance(part, nn.Conv2d) and part.groups == 1 and not tokens
        ):
            names[part] = f"network.{name}"
    called: set[nn.Module] = set()
    hooks = [part.register_forward_pre_hook(lambda module, given: called.add(module)) for part in names]
    training = encoder.training
    encoder.eval()
    try:
        with torch.inference_mode():
            encoder(torch.zeros(1, 3, size, size), encoder.kinds()[0])
    finally:
        encoder.train(training)
        for hook in hooks:
            hook.remove()
    return [name for part, name in names.items() if part in called]
