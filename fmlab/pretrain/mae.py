"""MAE: rebuild the pixels of an image most of whose patches are hidden, from the few that are not.

In: one large crop of each image. Out: the mean squared error of the hidden patches; the encoder is the result.

Source: K. He et al., Masked Autoencoders Are Scalable Vision Learners, CVPR 2022, section 3; facebookresearch/mae,
`models_mae.py`: fixed sine and cosine positions, weights drawn after Glorot, the class token goes through the decoder.
Registers, which MAE does not have, go the way of the class token. A start keeps its own table of positions, fixed too.
"""

import numpy as np
import torch
from lightly.models.modules.masked_vision_transformer_decoder_timm import MaskedVisionTransformerDecoderTIMM
from lightly.models.utils import initialize_2d_sine_cosine_positional_embedding
from torch import Tensor, nn

from fmlab.pretrain.masks import random_tokens
from fmlab.pretrain.method import Method, Outcome, PretrainBatch
from fmlab.pretrain.networks import through_blocks
from fmlab.pretrain.recipes import PretrainSetting, Reconstruction
from fmlab.pretrain.schedules import layer_factors

TOKEN_STD = 0.02
FLAT = 1e-6  # added to a patch's variance


class MAE(Method):
    """An encoder of the patches that are seen, and a small decoder of all of them."""

    feature = "mean"

    def __init__(self, setting: PretrainSetting, network: nn.Module, steps: int) -> None:
        super().__init__()
        self.setting, self._numbers = setting, _numbers(setting)
        self._prefix, self._patch = network.num_prefix_tokens, setting.patch
        self._patches = (setting.size // setting.patch) ** 2
        own = self._numbers
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            self.decoder = MaskedVisionTransformerDecoderTIMM(
                self._patches, own.width, own.depth, own.heads, self._prefix
            )
        draw = torch.Generator().manual_seed(setting.seed)
        self.embedding = nn.utils.skip_init(nn.Linear, network.num_features, own.width)
        self.prediction = nn.utils.skip_init(nn.Linear, own.width, setting.patch**2 * setting.channels)
        for part in (self.embedding, self.prediction):
            _draw_linear(part, draw)
        if setting.start is None:
            _draw_encoder(network, draw)
        network.pos_embed.requires_grad_(False)
        self.network = network

    def encoder(self) -> nn.Module:
        """The encoder, without the decoder."""
        return self.network

    def draws(self, images: int, draw: np.random.Generator) -> dict[str, Tensor]:
        """`kept` and `hidden`, int64 (images, …): positions of the patches that are seen, and of those that are not."""
        kept, hidden = random_tokens(images, self._patches, self._numbers.mask_ratio, draw=draw)
        return {"kept": torch.from_numpy(kept), "hidden": torch.from_numpy(hidden)}

    def forward(self, batch: PretrainBatch, step: int, watched: bool) -> Outcome:
        """The loss of a step: over pixels of hidden patches, each patch at mean 0 and variance 1 where so set."""
        images, hidden = batch.globals[0], batch.draws["hidden"]
        found = self.encoded(images, batch.draws["kept"])
        predicted = self.prediction(_chosen(self._decoded(found, batch.draws["kept"]), hidden)).float()
        wanted = _chosen(patches_of(images.float(), self._patch), hidden)
        if self._numbers.normalise:
            variance, mean = torch.var_mean(wanted, dim=-1, keepdim=True)
            wanted = (wanted - mean) / (variance + FLAT).sqrt()
        # What guessing one grey for each patch would leave of the error.
        signals = {"target_variance": wanted.var(-1, correction=0).mean()} if watched else {}
        seen = found[:, self._prefix :].detach().float().mean(1)
        return Outcome({"hidden patches": (predicted - wanted).square().mean()}, signals, seen)

    def rebuilt(self, images: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Every patch as predicted, float32 (B, patches, P·P·C), and bool (B, patches) which of them were hidden."""
        drawn = {name: places.to(images.device) for name, places in self.draws(len(images), draw).items()}
        hidden = torch.zeros(len(images), self._patches, dtype=torch.bool, device=images.device)
        return self.predict(images, drawn["kept"]), hidden.scatter_(1, drawn["hidden"], True)

    def encoded(self, images: Tensor, kept: Tensor | None = None) -> Tensor:
        """Tokens after the final norm, (B, prefix + kept, D), of images (B, C, S, S) of which only `kept` patches are seen.

        `kept` (B, k) int64 are positions row by row; without it all are seen, as by the plain network.
        """
        network = self.network
        placed = network._pos_embed(network.patch_embed(images))
        if kept is not None:
            prefix, patches = placed[:, : self._prefix], placed[:, self._prefix :]
            placed = torch.cat([prefix, _chosen(patches, kept)], dim=1)
        drop_path = self.setting.drop_path if self.training else 0.0
        return network.norm(through_blocks(network, network.norm_pre(placed), drop_path))

    def predict(self, images: Tensor, kept: Tensor) -> Tensor:
        """(B, patches, P·P·C) float32: the decoder's guess of every patch, seen or not, channels last within a patch."""
        return self.prediction(self._decoded(self.encoded(images, kept), kept)).float()

    def rate_factors(self) -> dict[str, float]:
        """Less for earlier blocks, and for the patch embedding, where the setting says so."""
        factors = layer_factors(self.network, self.setting.layer_decay, self.setting.patch_rate)
        return {f"network.{name}": factor for name, factor in factors.items()}

    def _decoded(self, found: Tensor, kept: Tensor) -> Tensor:
        """(B, patches, width) of all patches, from tokens (B, prefix + k, D) of those that are seen."""
        narrow = self.embedding(found)
        prefix, seen = narrow[:, : self._prefix], narrow[:, self._prefix :]
        blank = self.decoder.mask_token.to(narrow.dtype).expand(len(found), self._patches, -1)
        filled = blank.flatten(0, 1).index_copy(0, _rows(kept, self._patches), seen.flatten(0, 1))
        whole = torch.cat([prefix, filled.view_as(blank)], dim=1)
        return self.decoder(whole)[:, self._prefix :]


def patches_of(images: Tensor, patch: int) -> Tensor:
    """(B, patches, P·P·C) of images (B, C, S, S): patches row by row, in each the pixels row by row, channels last."""
    count, channels, height, width = images.shape
    cut = images.view(count, channels, height // patch, patch, width // patch, patch)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(count, -1, patch * patch * channels)


def _chosen(tokens: Tensor, positions: Tensor) -> Tensor:
    """(B, k, D) of tokens (B, N, D) at positions (B, k)."""
    count, length, width = tokens.shape
    # By rows of one long table: its gradient adds up in a fixed order on a GPU too.
    return tokens.reshape(-1, width).index_select(0, _rows(positions, length)).view(count, -1, width)


def _rows(positions: Tensor, length: int) -> Tensor:
    """Positions (B, k) within each image's `length` tokens as rows (B·k,) of all images' tokens."""
    return (positions + torch.arange(len(positions), device=positions.device)[:, None] * length).flatten()


@torch.no_grad()
def _draw_encoder(network: nn.Module, draw: torch.Generator) -> None:
    """First weights as the reference's: linear layers and patch embedding after Glorot, tokens narrow, positions fixed."""
    for part in network.modules():
        if isinstance(part, nn.Linear):
            _draw_linear(part, draw)
    nn.init.xavier_uniform_(network.patch_embed.proj.weight.flatten(1), generator=draw)
    for token in (network.cls_token, network.reg_token):
        if token is not None:
            token.normal_(0.0, TOKEN_STD, generator=draw)
    initialize_2d_sine_cosine_positional_embedding(
        network.pos_embed, num_prefix_tokens=network.pos_embed.shape[1] - network.patch_embed.num_patches
    )


def _draw_linear(layer: nn.Linear, draw: torch.Generator) -> None:
    nn.init.xavier_uniform_(layer.weight, generator=draw)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _numbers(setting: PretrainSetting) -> Reconstruction:
    if setting.reconstruction is None:
        raise TypeError("The setting is of another method.")
    return setting.reconstruction
