"""SimCLR: each of two crops of an image finds the other one among the crops of all other images of the batch.

In: two large crops of each image. Out: the contrastive loss in nats, log(2B − 1) by chance; the encoder is the result.

Source: T. Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020, section 2;
google-research/simclr, `model_util.py`: a projector of two layers with batch normalisation, the last without a shift.
"""

import torch
from lightly.models.modules.heads import SimCLRProjectionHead
from torch import nn

from fmlab.pretrain.heads import share_statistics
from fmlab.pretrain.losses import contrast
from fmlab.pretrain.measures import retrieval
from fmlab.pretrain.method import Method, Outcome, PretrainBatch
from fmlab.pretrain.networks import features
from fmlab.pretrain.recipes import Contrast, PretrainSetting
from fmlab.pretrain.schedules import layer_factors


class SimCLR(Method):
    """An encoder and its projector."""

    def __init__(self, setting: PretrainSetting, network: nn.Module, steps: int) -> None:
        super().__init__()
        self.setting, self._numbers = setting, _numbers(setting)
        own = self._numbers
        self.network = network
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            self.projector = SimCLRProjectionHead(network.num_features, own.hidden, own.projection)
        # One shift for all images would make them alike whatever they show.
        self.projector.layers[-1].bias.requires_grad_(False)
        share_statistics(self)

    def encoder(self) -> nn.Module:
        """The encoder, without the projector."""
        return self.network

    def forward(self, batch: PretrainBatch, step: int, watched: bool) -> Outcome:
        """The loss of a step. Both crops pass together, as does batch normalisation over them."""
        seen = features(self.network, batch.globals.flatten(0, 1), self.feature, self.setting.drop_path)
        points = self.projector(seen).chunk(2)
        first, second = seen.detach().float().chunk(2)
        signals = {"retrieval": retrieval(first, second)} if watched else {}
        return Outcome({"contrast": contrast(*points, self._numbers.temperature)}, signals, first)

    def rate_factors(self) -> dict[str, float]:
        """Less for earlier blocks, and for the patch embedding, where the setting says so; a ResNet has none."""
        if self.setting.convolutional:
            return {}
        factors = layer_factors(self.network, self.setting.layer_decay, self.setting.patch_rate)
        return {f"network.{name}": factor for name, factor in factors.items()}


def _numbers(setting: PretrainSetting) -> Contrast:
    if setting.contrast is None:
        raise TypeError("The setting is of another method.")
    return setting.contrast
