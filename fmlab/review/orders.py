"""In which order a reviewer goes through a queue.

In: a queue and the reviewer's name. Out: positions of its items, each once.

Openly reviewed, a queue is in one order for all. Blinded, each reviewer has an own one, so that tiredness and what was
seen just before do not fall on the same items; within blocks of 20, so that the worst still come early.
"""

import numpy as np

from fmlab.data.splits import hash_order
from fmlab.files import digest_bytes
from fmlab.review.queues import Queue

BLOCK = 20  # items that change places among each other


def order_for(queue: Queue, reviewer: str, blinded: bool) -> list[int]:
    """Positions 0 … n − 1 in the order in which this reviewer gets them; always the same for the same queue and name."""
    positions = np.arange(len(queue.items))
    if not blinded:
        return positions.tolist()
    seed = int(digest_bytes(queue.key.encode(), reviewer.encode())[:16], 16)
    places = hash_order(np.array([each.item for each in queue.items], dtype=object), seed)
    return np.lexsort((places, positions // BLOCK)).tolist()
