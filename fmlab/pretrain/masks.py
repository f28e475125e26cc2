"""Which patches are hidden: blocks for DINOv2, single random ones for MAE. No torch is needed.

In: numbers of images and patches, and a generator, which alone decides. Out: masks or positions, as arrays.

Source: blocks: facebookresearch/dinov2, `data/masking.py` and `data/collate.py` (from H. Bao et al., BEiT, ICLR 2022,
algorithm 1). Single patches: K. He et al., MAE, CVPR 2022, section 3; facebookresearch/mae, `models_mae.py`.
"""

import math

import numpy as np

from fmlab.errors import BadInput


def block_masks(
    images: int,
    grid: tuple[int, int],
    *,
    draw: np.random.Generator,
    ratio: tuple[float, float] = (0.1, 0.5),
    share: float = 0.5,
    least: int = 4,
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    tries: int = 10,
) -> np.ndarray:
    """Masks bool (images, h, w) of `grid` (h, w) patches, true where hidden; a `share` of the images, rounded down, has one.

    Their wanted ratios lie evenly over `ratio`: each is drawn within its own part of the range. Then images are shuffled.
    A mask is a union of rectangles of at least `least` patches, where that many are still wanted, and of `aspect`
    (height / width). It never hides more than wanted, and less where `tries` rectangles in a row did not fit; on small
    grids that may be none. Raises `BadInput` for a share or a ratio outside 0–1.
    """
    if not (0 <= ratio[0] <= ratio[1] <= 1 and 0 <= share <= 1):
        raise BadInput(
            f"Masks hide {ratio} of a share of {share} of the images; both must lie within 0–1, low to high."
        )
    masked = int(images * share)
    bounds = np.linspace(*ratio, masked + 1)
    masks = np.zeros((images, *grid), bool)
    for mask, low, high in zip(masks, bounds, bounds[1:], strict=False):
        _hide_blocks(mask, int(mask.size * draw.uniform(low, high)), least, aspect, tries, draw)
    return masks[draw.permutation(images)]


def random_tokens(
    images: int, tokens: int, ratio: float, *, draw: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (images, kept) and (images, hidden) int64 of patches, each in rising order, drawn for each image.

    `kept` is `tokens` · (1 − `ratio`), rounded down. Raises `BadInput` where nothing would be kept.
    """
    kept = int(tokens * (1 - ratio))
    if not 0 < kept <= tokens:
        raise BadInput(
            f"Of {tokens} patches a share of {ratio} would be hidden, which keeps {kept}; keep at least one."
        )
    order = draw.random((images, tokens)).argsort(1, kind="stable")
    return np.sort(order[:, :kept], axis=1), np.sort(order[:, kept:], axis=1)


def _hide_blocks(
    mask: np.ndarray, wanted: int, least: int, aspect: tuple[float, float], tries: int, draw: np.random.Generator
) -> None:
    """Add rectangles to a mask (h, w) until `wanted` patches are hidden, or none fits."""
    hidden = 0
    while hidden < wanted:
        added = _hide_block(mask, wanted - hidden, least, aspect, tries, draw)
        if not added:
            return
        hidden += added


def _hide_block(
    mask: np.ndarray, most: int, least: int, aspect: tuple[float, float], tries: int, draw: np.random.Generator
) -> int:
    """Add one rectangle that hides at most `most` more patches; how many it added, 0 where none of `tries` fitted."""
    for _ in range(tries):
        area = draw.uniform(min(least, most), max(least, most))  # as the reference's, whose bounds may come crossed
        shape = math.exp(draw.uniform(math.log(aspect[0]), math.log(aspect[1])))
        height, width = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if height >= mask.shape[0] or width >= mask.shape[1]:
            continue
        top = draw.integers(mask.shape[0] - height + 1)
        left = draw.integers(mask.shape[1] - width + 1)
        block = mask[top : top + height, left : left + width]
        added = block.size - int(block.sum())
        if 0 < added <= most:
            block[:] = True
            return added
    return 0
