"""Numbers that say how a self-supervised training does, from tensors that its step has at hand. Worker only.

In: features (N, D), the teacher's and the student's answers (B, K), two views' features (B, D). Out: 0-d float32 tensors
on the same device, detached, so that nothing waits for the device.

Computed in float32 with autocast off: the small singular values of a collapsing batch drown in bf16.
Sources: effective rank, Q. Garrido et al., RankMe, ICML 2023 (arXiv 2210.02885), equation 1; standard deviation of
normalised features, X. Chen and K. He, SimSiam, CVPR 2021 (arXiv 2011.10566), section 4.1; mutual information between
image and prototype, entropy of the mean less mean entropy, as in J. Bridle et al., NIPS 1991.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

LARGEST_SAMPLE = 512  # rows that are looked at: the singular values of more cost as much as a step of a small network
SMALLEST = 1e-7  # added to the shares in RankMe's logarithm, as its authors do


@torch.no_grad()
def feature_signals(features: Tensor) -> dict[str, Tensor]:
    """How far features spread. Of a larger batch the first `LARGEST_SAMPLE` rows are looked at.

    Args:
        features: (N, D), any float type, not normalised; N ≥ 2.

    Returns:
        feature_std: the standard deviation over the batch of each dimension of the normalised features, averaged over
            dimensions and multiplied by √D: about 1 where directions spread over the whole sphere, 0 where all
            features point in one direction.
        effective_rank: RankMe, 1 to min(N, D): the exponential of the entropy of the singular values' shares.
    """
    with torch.autocast(features.device.type, enabled=False):
        sample = features.detach()[:LARGEST_SAMPLE].float()
        directions = torch.nn.functional.normalize(sample, dim=1)
        spread = directions.std(dim=0).mean() * sample.shape[1] ** 0.5
        values = torch.linalg.svdvals(sample)
        shares = values / values.sum().clamp_min(SMALLEST) + SMALLEST
        return {"feature_std": spread, "effective_rank": torch.exp(-(shares * shares.log()).sum())}


@torch.no_grad()
def assignment_signals(teacher: Tensor, student_log: Tensor) -> dict[str, Tensor]:
    """What the teacher says of a batch, and how near the student's answer is.

    Args:
        teacher: (B, K) probabilities, each row adding up to 1.
        student_log: (B, K) logarithms of the student's probabilities for the same images.

    Returns:
        teacher_entropy: mean entropy of a row as a share of log K, 0 (one prototype) to 1 (no preference at all).
        mean_entropy: entropy of the batch's mean row as a share of log K; K to its power is how many prototypes are used.
        mutual_information: nats; how much of the image the teacher's answer tells, 0 to log min(B, K).
        teacher_student_kl: nats; mean Kullback–Leibler divergence of the student from the teacher.
    """
    with torch.autocast(teacher.device.type, enabled=False):
        said, answered = teacher.detach().float(), student_log.detach().float()
        largest = torch.log(torch.tensor(float(said.shape[1]), device=said.device))
        single, whole = entropy(said).mean(), entropy(said.mean(dim=0))
        cross = -(said * answered).sum(dim=1).mean()
        return {
            "teacher_entropy": single / largest,
            "mean_entropy": whole / largest,
            "mutual_information": whole - single,
            "teacher_student_kl": cross - single,
        }


def entropy(shares: Tensor) -> Tensor:
    """Entropy in nats over the last axis; 0 · log 0 is 0."""
    return torch.special.entr(shares).sum(dim=-1)


@torch.no_grad()
def retrieval(first: Tensor, second: Tensor) -> Tensor:
    """How often the other view of an image is the nearest of all images' other views, by cosine: 0–1, by chance 1/B.

    Args:
        first: (B, D) features of one view of each image.
        second: (B, D) those of another view, in the same order.
    """
    with torch.autocast(first.device.type, enabled=False):
        one = torch.nn.functional.normalize(first.detach().float(), dim=1)
        other = torch.nn.functional.normalize(second.detach().float(), dim=1)
        similarity = one @ other.T
        own = torch.arange(len(one), device=one.device)
        return ((similarity.argmax(dim=1) == own).float().mean() + (similarity.argmax(dim=0) == own).float().mean()) / 2


@torch.no_grad()
def weight_distance(student: Iterable[Tensor], teacher: Iterable[Tensor]) -> Tensor:
    """How far the student's weights are from the teacher's: ‖student − teacher‖ / ‖teacher‖ over all of them together."""
    pairs = [(one.detach().float(), other.detach().float()) for one, other in zip(student, teacher, strict=True)]
    apart = torch.stack([(one - other).square().sum() for one, other in pairs]).sum()
    return torch.sqrt(apart / torch.stack([other.square().sum() for _, other in pairs]).sum().clamp_min(SMALLEST))
