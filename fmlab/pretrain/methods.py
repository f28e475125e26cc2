"""The methods of pretraining by name. Worker only.

In: a setting, which names one. Out: the method, its network initialised or holding a start's weights.
"""

from torch import Tensor

from fmlab.pretrain.dinov2 import DINOv2
from fmlab.pretrain.mae import MAE
from fmlab.pretrain.method import Method
from fmlab.pretrain.networks import build_network
from fmlab.pretrain.recipes import PretrainSetting
from fmlab.pretrain.simclr import SimCLR
from fmlab.pretrain.simsiam import SimSiam

METHODS: dict[str, type[Method]] = {"dinov2": DINOv2, "mae": MAE, "simsiam": SimSiam, "simclr": SimCLR}


def build_method(setting: PretrainSetting, steps: int, weights: dict[str, Tensor] | None = None) -> Method:
    """The method of a setting over so many steps; `weights` are those of its start, by timm's names."""
    return METHODS[setting.method](setting, build_network(setting, weights), steps)
