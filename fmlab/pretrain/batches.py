"""The batches of a pretraining: crops of images, and what the method draws beside them, ahead of the steps. Worker only.

In: decoded images, a way to crop them, a method. Out: `PretrainBatch` for each step that is wanted, in order.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np

from fmlab.pretrain.crops import Crops
from fmlab.pretrain.images import PretrainImages
from fmlab.pretrain.loop import Wanted
from fmlab.pretrain.method import Method, PretrainBatch
from fmlab.pretrain.policies import Policy
from fmlab.pretrain.recipes import PretrainSetting


class CropBatches:
    """Batches of one process."""

    def __init__(self, images: PretrainImages, method: Method, setting: PretrainSetting, device: str) -> None:
        self._images, self._method, self._seed = images, method, setting.seed
        self._crops = Crops(
            Policy(**setting.policy),
            setting.size,
            setting.local_size if setting.local_crops else None,
            setting.local_crops,
            setting.channels,
            setting.mean or images.mean,
            setting.std or images.std,
            setting.views,
            device,
        )

    def __len__(self) -> int:
        return len(self._images)

    def ahead(self, wanted: Sequence[Wanted]) -> Iterator[PretrainBatch]:
        """The batch of each step in turn, prepared by threads; closing the iterator stops them."""
        with closing(self._images.ahead(wanted, self._batch)) as stream:
            yield from stream

    def _batch(self, wanted: Wanted) -> PretrainBatch:
        views = self._crops(
            self._images.batch(wanted.positions), self._images.codes[wanted.positions], self._seed, wanted.epoch
        )
        # Drawn for the whole batch, so that it does not matter how many processes share it.
        drawn = self._method.draws(wanted.images, np.random.default_rng((self._seed, wanted.step)))
        last = wanted.first + len(wanted.positions)
        own = {name: value[wanted.first : last] for name, value in drawn.items()}
        return PretrainBatch(views.globals, views.locals, own)
