"""Which feature of a backbone linear heads are trained on.

In: a backbone's card. Out: a kind of feature. No torch here: the planner reads it too.
"""

from fmlab.backbones.cards import BLOCKS, BackboneCard


def head_feature(card: BackboneCard) -> str:
    """`blocks` for a network with tokens, so that the grid has blocks and average pooling; else the card's first feature.

    On the card's first feature the grid holds learning rates alone.
    """
    return BLOCKS if BLOCKS in card.available else card.feature
