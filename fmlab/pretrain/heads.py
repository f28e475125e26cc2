"""The head of self-distillation, and batch normalisation that several processes share. Worker only.

In: features (n, width). Out: logits (n, K), which are cosines times a gain for each prototype.

Source: facebookresearch/dinov2, `layers/dino_head.py`. The last layer's direction and gain are plain parameters (there:
torch's weight norm), so that a head can be copied. Shared statistics: what torch's SyncBatchNorm computes, which runs
on GPUs alone.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from fmlab.pretrain.losses import summed

INITIAL_STD = 0.02


class PrototypeHead(nn.Module):
    """An MLP with GELU, its output put on the unit sphere, and one weight-normalised linear layer without bias.

    `layers` counts the linear layers of the MLP: 1 goes straight from `width` to `bottleneck`, more pass through
    `hidden`. `batch_norm` normalises behind each hidden layer. Prototypes are `gain` (K, 1) times `direction`
    (K, bottleneck) at length 1; the gain starts at 1 and is trained. `draw` is where the first weights come from.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        bottleneck: int,
        prototypes: int,
        layers: int,
        batch_norm: bool = False,
        draw: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        sides = [width, *[hidden] * (max(layers, 1) - 1), bottleneck]
        parts: list[nn.Module] = []
        for index, (before, after) in enumerate(pairwise(sides)):
            parts.append(nn.utils.skip_init(nn.Linear, before, after))
            nn.init.trunc_normal_(parts[-1].weight, std=INITIAL_STD, generator=draw)
            nn.init.zeros_(parts[-1].bias)
            if index < len(sides) - 2:
                parts += [SharedBatchNorm(after), nn.GELU()] if batch_norm else [nn.GELU()]
        self.mlp = nn.Sequential(*parts)
        side = bottleneck**-0.5  # torch's own for a linear layer; its length is of no meaning here
        self.direction = nn.Parameter(torch.empty(prototypes, bottleneck).uniform_(-side, side, generator=draw))
        self.gain = nn.Parameter(torch.ones(prototypes, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(n, K) logits of features (n, width)."""
        point = self.mlp(features)
        point = normalize(point, dim=-1, eps=1e-6 if point.dtype == torch.float16 else 1e-12)
        return linear(point, self.gain * normalize(self.direction, dim=-1))


class SharedBatchNorm(BatchNorm):
    """Batch normalisation over the rows of all processes together; with one process, torch's own."""

    def _check_input_dim(self, given: Tensor) -> None:
        """Features (n, C) and maps (n, C, h, w) alike."""

    def forward(self, given: Tensor) -> Tensor:
        """As `given`, each channel with mean 0 and variance 1, then the layer's own scale and shift."""
        if not (self.training and torch.distributed.is_available() and torch.distributed.is_initialized()):
            return super().forward(given)
        with torch.autocast(given.device.type, enabled=False):
            values = given.float()
            axes = [axis for axis in range(given.ndim) if axis != 1]
            shape = [-1 if axis == 1 else 1 for axis in range(given.ndim)]
            count = summed(values.new_tensor(values.numel() / values.shape[1]))
            mean = summed(values.sum(axes)) / count
            apart = values - mean.view(shape)
            variance = summed(apart.square().sum(axes)) / count
            self._remember(mean.detach(), variance.detach() * count / (count - 1))
            found = apart * (variance + self.eps).rsqrt().view(shape)
            if self.affine:
                found = found * self.weight.view(shape) + self.bias.view(shape)
        return found.to(given.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def share_statistics(network: nn.Module) -> None:
    """Let every batch normalisation inside a network take its mean and variance over all processes; names stay."""
    for parent in list(network.modules()):
        for name, part in list(parent.named_children()):
            if isinstance(part, BatchNorm) and not isinstance(part, SharedBatchNorm):
                # A class that does more than normalise (timm's with an activation inside) would lose that here.
                if type(part) not in (nn.BatchNorm1d, nn.BatchNorm2d):
                    raise TypeError(f"{type(part).__name__} cannot share its statistics between processes.")
                shared = SharedBatchNorm(part.num_features, part.eps, part.momentum, part.affine)
                shared._parameters, shared._buffers = part._parameters, part._buffers  # what is frozen stays frozen
                setattr(parent, name, shared)
