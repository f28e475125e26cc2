"""SimSiam: each of two crops of an image predicts what the network makes of the other one.

In: two large crops of each image. Out: the negative cosine of predictions and targets, −1 to 1; the encoder is the
result. The target takes no gradient, and that is all that keeps the network from answering the same to every image.

Source: X. Chen and K. He, Exploring Simple Siamese Representation Learning, CVPR 2021, section 3; facebookresearch/
simsiam, `simsiam/builder.py` and `main_simsiam.py`: the predictor's learning rate stays constant. Its network is a
ResNet-50; vision transformers are not part of that work.
"""

import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules.heads import SimSiamPredictionHead, SimSiamProjectionHead
from torch import Tensor, nn
from torch.nn.functional import normalize

from fmlab.pretrain.heads import share_statistics
from fmlab.pretrain.measures import retrieval
from fmlab.pretrain.method import Method, Outcome, PretrainBatch
from fmlab.pretrain.networks import features
from fmlab.pretrain.recipes import PretrainSetting, Siamese
from fmlab.pretrain.schedules import layer_factors


class SimSiam(Method):
    """An encoder, its projector, and a predictor."""

    def __init__(self, setting: PretrainSetting, network: nn.Module, steps: int) -> None:
        super().__init__()
        self.setting = setting
        own = _numbers(setting)
        self.network = network
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            self.projector = SimSiamProjectionHead(network.num_features, own.projection, own.projection)
            self.predictor = SimSiamPredictionHead(own.projection, own.prediction, own.projection)
        share_statistics(self)
        self._likeness = NegativeCosineSimilarity()

    def encoder(self) -> nn.Module:
        """The encoder, without projector and predictor."""
        return self.network

    def forward(self, batch: PretrainBatch, step: int, watched: bool) -> Outcome:
        """The loss of a step. The crops pass one after the other: batch normalisation sees one of each image at a time."""
        seen = [features(self.network, view, self.feature, self.setting.drop_path) for view in batch.globals]
        targets = [self.projector(each) for each in seen]
        guesses = [self.predictor(target) for target in targets]
        loss = (self._apart(guesses[0], targets[1]) + self._apart(guesses[1], targets[0])) / 2
        signals = {"retrieval": retrieval(*seen), "output_std": _spread(targets[0])} if watched else {}
        return Outcome({"prediction": loss}, signals, seen[0].detach().float())

    def rate_factors(self) -> dict[str, float]:
        """Less for earlier blocks, and for the patch embedding, where the setting says so; a ResNet has none."""
        if self.setting.convolutional:
            return {}
        factors = layer_factors(self.network, self.setting.layer_decay, self.setting.patch_rate)
        return {f"network.{name}": factor for name, factor in factors.items()}

    def constant_rate(self) -> set[str]:
        """The predictor, which has to keep up with targets that go on moving."""
        return {f"predictor.{name}" for name, _ in self.predictor.named_parameters()}

    def _apart(self, guess: Tensor, target: Tensor) -> Tensor:
        return self._likeness(guess.float(), target.detach().float())


def _spread(targets: Tensor) -> Tensor:
    """The standard deviation of projections (B, D) at length 1, times √D: 1 where they lie evenly, 0 where they are one."""
    return normalize(targets.detach().float(), dim=1).std(0).mean() * targets.shape[1] ** 0.5


def _numbers(setting: PretrainSetting) -> Siamese:
    if setting.siamese is None:
        raise TypeError("The setting is of another method.")
    return setting.siamese
