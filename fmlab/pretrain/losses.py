"""The losses of self-distillation and contrast, and what keeps a teacher from collapsing. Worker only.

In: logits over K prototypes, probabilities of a teacher, features; any float type. Out: float32 losses in nats.

Under torch.distributed every process holds the same number of images, and the mean over processes of a loss, and of
its gradients, is that of one process with all images.

Source: facebookresearch/dinov2, `loss/dino_clstoken_loss.py`, `loss/ibot_patch_loss.py`, `loss/koleo_loss.py` and
`train/ssl_meta_arch.py`. KoLeo: A. Sablayrolles et al., Spreading vectors for similarity search, ICLR 2019, section 3.
Sinkhorn: M. Caron et al., SwAV, NeurIPS 2020, section 3.1. Contrast: T. Chen et al., SimCLR, ICML 2020, equation 1;
google-research/simclr, `objective.py`. Other than there, KoLeo looks for neighbours, and the centre
takes its mean, over all processes together, so that results do not depend on how many there are.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fmlab.errors import BadInput

TINY = torch.finfo(torch.float32).tiny
KOLEO_EPSILON = 1e-8


class _CrossEntropy(torch.autograd.Function):
    """−Σ teacher · log softmax(student / temperature), which keeps nothing but its inputs for the way back.

    Over 65,536 prototypes each float32 copy of the logits is what fills a GPU; the plain expression keeps three.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        scaled = student.float() / temperature
        normaliser, mass = scaled.logsumexp(-1), teacher.sum(-1)
        ctx.save_for_backward(student, teacher, normaliser, mass)
        ctx.temperature = temperature
        return mass * normaliser - scaled.mul_(teacher).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        student, teacher, normaliser, mass = ctx.saved_tensors
        slope = student.float() / ctx.temperature
        slope.sub_(normaliser.unsqueeze(-1)).exp_().mul_(mass.unsqueeze(-1)).sub_(teacher)
        return slope.mul_(gradient.unsqueeze(-1) / ctx.temperature).to(student.dtype), None, None


def cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """(…) of student logits (…, K) against teacher probabilities (…, K) float32, which may lack leading axes.

    The teacher takes no gradient.
    """
    return _CrossEntropy.apply(student, teacher.detach(), temperature)


def swapped_cross_entropy(
    student_globals: Tensor, student_locals: Tensor | None, teacher: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """The loss of class tokens: (of the large crops, of the small crops), whose sum is trained.

    `student_globals` (2, B, K) and `student_locals` (L, B, K) are logits, `teacher` (2, B, K) probabilities, in the
    order of the crops: each large crop is compared with the teacher's view of the other one, each small crop with both.
    Both losses are divided by the 2 + 2·L pairs there are. Without small crops theirs is 0 (the reference then divides
    by 3).
    """
    pairs = 2 if student_locals is None else 2 + 2 * len(student_locals)
    large = cross_entropy(student_globals, teacher.flip(0), temperature).mean(-1).sum() / pairs
    if student_locals is None:
        return large, large.new_zeros(())
    return large, cross_entropy(student_locals, teacher.sum(0), temperature).mean(-1).sum() / pairs


def masked_patch_loss(student: Tensor, teacher: Tensor, image: Tensor, images: int, temperature: float) -> Tensor:
    """The loss of masked patches: the mean over each image's patches, then over all images, masked or not.

    `student` (M, K) logits and `teacher` (M, K) probabilities of the M masked patches; `image` (M,) int64 says of which
    image each is, 0 to `images` − 1, where `images` counts all large crops, those without a masked patch too.
    """
    patches = torch.zeros(images, device=image.device).index_add(0, image, torch.ones_like(image, dtype=torch.float32))
    weights = 1 / (patches[image] * images)
    return (cross_entropy(student, teacher, temperature) * weights).sum()


def koleo(features: Tensor) -> Tensor:
    """How unevenly features (B, D) lie on the sphere: −mean log distance to the nearest other one; lower is more even.

    One call takes one crop of each image, so that no two features are of the same image. Raises `BadInput` for a
    single image.
    """
    with torch.autocast(features.device.type, enabled=False):
        own = nn.functional.normalize(features.float(), dim=-1, eps=KOLEO_EPSILON)
        every, first = gathered(own)
        if len(every) < 2:
            raise BadInput("KoLeo spreads images apart and got a batch of one; take a batch of at least 2 images.")
        with torch.no_grad():
            likeness = own @ every.T
            rows = torch.arange(len(own), device=own.device)
            likeness[rows, first + rows] = -2.0  # below any cosine: nobody is their own neighbour
            nearest = likeness.argmax(1)
        distance = nn.functional.pairwise_distance(own, every[nearest], eps=KOLEO_EPSILON)
        return -(distance + KOLEO_EPSILON).log().mean()


def contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """How hard each of two views (B, D) of an image finds the other one among all views of all images (NT-Xent).

    The cross-entropy over cosines / temperature, the mean over both directions: log(2B − 1) where nothing is alike.
    """
    with torch.autocast(first.device.type, enabled=False):
        views = [nn.functional.normalize(view.float(), dim=-1) for view in (first, second)]
        (every_first, start), (every_second, _) = (gathered(view) for view in views)
        rows = torch.arange(len(first), device=first.device)
        losses = []
        for own, same, other in ((views[0], every_first, every_second), (views[1], every_second, every_first)):
            logits = torch.cat([own @ other.T, own @ same.T], dim=1) / temperature
            itself = torch.zeros_like(logits, dtype=torch.bool)
            itself[rows, len(other) + start + rows] = True
            losses.append(nn.functional.cross_entropy(logits.masked_fill(itself, -torch.inf), start + rows))
        return (losses[0] + losses[1]) / 2


@torch.no_grad()
def sinkhorn(logits: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """Teacher probabilities (n, K) float32 from logits (n, K), by which all prototypes are used equally often.

    Rows add up to 1; columns, over the rows of all processes together, nearly to rows/K: the more iterations, the
    nearer. Processes may bring different numbers of rows, or none.
    """
    with torch.autocast(logits.device.type, enabled=False):
        # With the largest of each row taken out and put back as its weight, no exponential overflows.
        scaled = logits.float() / temperature
        largest = scaled.amax(1)
        likelihood = (scaled - largest.unsqueeze(1)).exp_()
        top = largest.max() if len(largest) else largest.new_tensor(-torch.inf)
        rows = (largest - _reduced(top, torch.distributed.ReduceOp.MAX)).exp()
        columns = torch.ones_like(likelihood[:1])
        for _ in range(iterations):
            columns = 1 / _reduced(rows @ likelihood).clamp_min(TINY)
            rows = 1 / (likelihood @ columns).clamp_min(TINY)
        return likelihood.mul_(rows.unsqueeze(1)).mul_(columns)


class Centre(nn.Module):
    """A running mean of the teacher's logits over K prototypes, taken off before the softmax.

    `forward`, then `update` with the same logits: each batch is centred by those before it.
    """

    mean: Tensor

    def __init__(self, prototypes: int, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(prototypes))

    def forward(self, logits: Tensor, temperature: float) -> Tensor:
        """Teacher probabilities (n, K) float32 from logits (n, K)."""
        return ((logits.float() - self.mean) / temperature).softmax(-1)

    @torch.no_grad()
    def update(self, logits: Tensor) -> None:
        """Move towards the mean of logits (n, K) over the rows of all processes; no rows at all leave it as it is."""
        total = _reduced(torch.cat([logits.float().sum(0), self.mean.new_tensor([len(logits)])]))
        if total[-1] > 0:
            self.mean.lerp_(total[:-1] / total[-1], 1 - self.momentum)


# ------------------------------------------------------------------------------------------------------------ processes


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _reduced(values: Tensor, how: Any = None) -> Tensor:
    """Over all processes together: the sum, or `how`; changes and returns what it got."""
    if _distributed():
        torch.distributed.all_reduce(values, torch.distributed.ReduceOp.SUM if how is None else how)
    return values


class _Gather(torch.autograd.Function):
    """(B, …) of each process, one after the other; gradients are added up over processes on the way back."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        parts = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        every = _reduced(gradient.contiguous().clone())
        return every.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]


class _Sum(torch.autograd.Function):
    """A tensor added up over processes; so are gradients on the way back."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        return _reduced(own.clone())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _reduced(gradient.contiguous().clone())


def gathered(own: Tensor) -> tuple[Tensor, int]:
    """The rows (B, …) of all processes, which have equally many, and the position of this one's first among them."""
    if not _distributed():
        return own, 0
    return _Gather.apply(own), torch.distributed.get_rank() * len(own)


def summed(own: Tensor) -> Tensor:
    """The sum over processes; through it gradients reach all of them."""
    return _Sum.apply(own) if _distributed() else own
