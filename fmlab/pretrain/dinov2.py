"""DINOv2: a student learns to agree with its own slow average on other crops, and to fill in masked patches.

In: two large and some small crops of each image. Out: the losses of class tokens (each crop against the teacher's view
of the other large ones), of masked patches (iBOT) and of evenness (KoLeo); the teacher is the result.

Source: M. Oquab et al., DINOv2, TMLR 2024, section 4; facebookresearch/dinov2, `train/ssl_meta_arch.py`: one head for
class tokens and patches, the teacher never masked, KoLeo on class tokens before the head, for each crop by itself.
"""

import copy

import numpy as np
import torch
from torch import Tensor, nn

from fmlab.pretrain.heads import PrototypeHead, share_statistics
from fmlab.pretrain.losses import Centre, koleo, masked_patch_loss, sinkhorn, swapped_cross_entropy
from fmlab.pretrain.masks import block_masks
from fmlab.pretrain.measures import assignment_signals, retrieval, weight_distance
from fmlab.pretrain.method import Method, Outcome, PretrainBatch
from fmlab.pretrain.networks import tokens
from fmlab.pretrain.recipes import Distillation, PretrainSetting
from fmlab.pretrain.schedules import cosine, layer_factors, linear

MASK_STD = 1e-6  # of the mask token's first values


class MaskedNetwork(nn.Module):
    """A vision transformer and the token that stands where a patch is hidden."""

    def __init__(self, network: nn.Module, drop_path: float, draw: torch.Generator) -> None:
        super().__init__()
        self.network, self._drop_path = network, drop_path
        self.mask_token = nn.Parameter(torch.empty(network.num_features).normal_(0.0, MASK_STD, generator=draw))

    def forward(self, images: Tensor, masked: Tensor | None = None) -> Tensor:
        """(B, prefix + patches, D) tokens after the final norm."""
        return tokens(self.network, images, masked, self.mask_token, self._drop_path if self.training else 0.0)


class DINOv2(Method):
    """The student with its head, and the teacher with its own."""

    def __init__(self, setting: PretrainSetting, network: nn.Module, steps: int) -> None:
        super().__init__()
        self.setting, self._numbers = setting, _numbers(setting)
        draw = torch.Generator().manual_seed(setting.seed)
        own = self._numbers
        self.student = MaskedNetwork(network, setting.drop_path, draw)
        self.head = PrototypeHead(
            network.num_features, own.hidden, own.bottleneck, own.prototypes, own.layers, own.batch_norm, draw
        )
        share_statistics(self.head)
        self.teacher = copy.deepcopy(network).requires_grad_(False)
        self.teacher_head = copy.deepcopy(self.head).requires_grad_(False)
        self.centres = nn.ModuleDict({name: Centre(own.prototypes) for name in ("crops", "patches")})
        self._temperature = linear(*own.teacher_temperature, max(1, round(own.temperature_warmup * steps)))
        self._momentum = cosine(*own.momentum, steps)
        self._frozen_steps = round(own.freeze_last * steps)
        self._grid = (setting.size // setting.patch,) * 2
        self._prefix = network.num_prefix_tokens

    def train(self, mode: bool = True) -> "DINOv2":
        """As `nn.Module.train`, but the teacher always evaluates; batch normalisation in its head goes by the batch."""
        super().train(mode)
        self.teacher.eval()
        return self

    def encoder(self) -> nn.Module:
        """The teacher."""
        return self.teacher

    def draws(self, images: int, draw: np.random.Generator) -> dict[str, Tensor]:
        """`masked`, bool (images, 2, h, w): the hidden patches of both large crops."""
        own = self._numbers
        masked = block_masks(2 * images, self._grid, ratio=own.masked_ratio, share=own.masked_share, draw=draw)
        return {"masked": torch.from_numpy(masked).unflatten(0, (images, 2))}

    def forward(self, batch: PretrainBatch, step: int, watched: bool) -> Outcome:
        """The losses of a step; see the module's docstring."""
        images = batch.globals.flatten(0, 1)
        masked = batch.draws["masked"].transpose(0, 1).flatten(0, 1)  # (2B, h, w), as the crops
        count, hidden = len(images), masked.flatten(1)
        crops, patches, seen = self._taught(images, hidden, step)

        found = self.student(images, masked)
        small = None if batch.locals is None else self.student(batch.locals.flatten(0, 1))[:, 0]
        class_tokens = found[:, 0]
        points = [class_tokens, found[:, self._prefix :][hidden], *(() if small is None else (small,))]
        logits = self.head(torch.cat(points)).split([len(each) for each in points])

        own = self._numbers
        student = logits[0].unflatten(0, (2, -1))
        local = None if small is None else logits[2].unflatten(0, (len(batch.locals), -1))
        large, across = swapped_cross_entropy(student, local, crops.unflatten(0, (2, -1)), own.student_temperature)
        image = torch.arange(count, device=images.device).repeat_interleave(hidden.sum(1))
        losses = {
            "crops": large,
            "small crops": across,
            "masked patches": own.patches
            * masked_patch_loss(logits[1], patches, image, count, own.student_temperature),
            "evenness": own.koleo * sum(koleo(half) for half in class_tokens.chunk(2)),
        }
        losses = {name: value for name, value in losses.items() if self._counts(name, small is not None)}
        signals = self._signals(crops, logits[0], seen, losses) if watched else {}
        return Outcome(losses, signals, seen[: count // 2])

    def after_step(self, step: int) -> None:
        """Move the teacher a little towards the student."""
        weight = 1 - self._momentum(step)
        pairs = ((self.teacher, self.student.network), (self.teacher_head, self.head))
        with torch.no_grad():
            for slow, fast in pairs:
                torch._foreach_lerp_(list(slow.parameters()), list(fast.parameters()), weight)

    def rate_factors(self) -> dict[str, float]:
        """Less for earlier blocks, and for the patch embedding."""
        factors = layer_factors(self.student.network, self.setting.layer_decay, self.setting.patch_rate)
        own = {f"student.network.{name}": factor for name, factor in factors.items()}
        return own | {"student.mask_token": self.setting.layer_decay ** (len(self.student.network.blocks) + 1)}

    def stands_still(self, step: int) -> set[str]:
        """The prototypes, in the first steps."""
        return {"head.direction", "head.gain"} if step < self._frozen_steps else set()

    # ---------------------------------------------------------------------------------------------------------- teacher

    @torch.no_grad()
    def _taught(self, images: Tensor, hidden: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """What the teacher says: probabilities (2B, K) of crops and (M, K) of hidden patches, and its class tokens."""
        found = tokens(self.teacher, images)
        points = [found[:, 0], found[:, self._prefix :][hidden]]
        logits = self.teacher_head(torch.cat(points)).split([len(each) for each in points])
        temperature = self._temperature(step)
        crops, patches = (
            self._centred(name, given, temperature) for name, given in zip(self.centres, logits, strict=True)
        )
        return crops, patches, found[:, 0].float()

    def _centred(self, name: str, logits: Tensor, temperature: float) -> Tensor:
        if self._numbers.centring == "sinkhorn":
            return sinkhorn(logits, temperature)
        if self._numbers.centring == "none":
            return (logits.float() / temperature).softmax(-1)
        centre = self.centres[name]
        probabilities = centre(logits, temperature)
        centre.update(logits)
        return probabilities

    def _counts(self, name: str, small: bool) -> bool:
        """Whether a term is part of the loss at all."""
        weights = {
            "small crops": float(small),
            "masked patches": self._numbers.patches,
            "evenness": self._numbers.koleo,
        }
        return weights.get(name, 1.0) > 0

    @torch.no_grad()
    def _signals(self, teacher: Tensor, student: Tensor, seen: Tensor, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        log_student = (student.float() / self._numbers.student_temperature).log_softmax(-1)
        first, second = seen.chunk(2)
        signals = assignment_signals(teacher, log_student.unflatten(0, (2, -1)).flip(0).flatten(0, 1))
        signals |= {"retrieval": retrieval(first, second)}
        signals |= {
            "teacher_student_distance": weight_distance(self.student.network.parameters(), self.teacher.parameters())
        }
        if "evenness" in losses:
            signals["koleo"] = losses["evenness"].detach() / self._numbers.koleo / 2
        return signals


def _numbers(setting: PretrainSetting) -> Distillation:
    if setting.distillation is None:
        raise TypeError("The setting is of another method.")
    return setting.distillation
