"""What a finished run learnt from: its subset drawn again, exactly as it was drawn then.

In: a dataset and the config of one of its runs; under cross-validation also the image that was answered.
Out: rows of the manifest, one per training item; their embeddings, and those of other images, are found by
`embeddings_of_run`.

Nothing of it is stored: a subset is decided by the training images, its size and its seed.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fmlab.backbones.catalogue import find_backbone
from fmlab.data.manifest import Dataset
from fmlab.data.preprocessing import Preprocessing
from fmlab.data.roles import Roles, roles
from fmlab.data.subsets import Subset, draw, training_items
from fmlab.embeddings.keys import EmbeddingsRequest, request_embeddings
from fmlab.errors import BadInput
from fmlab.settings import Home


def learnt_items(dataset: Dataset, config: Mapping[str, Any], image_id: str) -> pd.DataFrame:
    """The items that the run had learnt from when it answered an image: rows of the manifest with a column `copy`.

    They stand in the order of the manifest, the copies of an image together. A run without labels has none.
    """
    subset = Subset(**config["subset"])
    images = training_pool(roles(dataset, config.get("folds")), image_id).reset_index(drop=True)
    if not subset.size:
        return images.head(0).assign(copy=np.uint8(0))
    drawn = draw(training_items(images, dataset.card.classes, subset.copies), subset)
    each = subset.copies + 1
    return images.iloc[drawn // each].assign(copy=(drawn % each).astype(np.uint8))


def training_pool(found: Roles, image_id: str) -> pd.DataFrame:
    """The labelled training images from which an image may be answered: under cross-validation those of other folds."""
    if found.folds is None:
        return found.train
    own = found.train.loc[found.train["image_id"] == image_id, "fold"]
    if own.empty:
        raise BadInput(f"Image {image_id} stands in no fold of the cross-validation. Choose one that was tested in it.")
    return found.train[found.train["fold"] != own.iloc[0]]


def embeddings_of_run(home: Home, dataset: Dataset, config: Mapping[str, Any]) -> EmbeddingsRequest:
    """The embeddings that a run of kind `adapt` was fitted on."""
    return request_embeddings(
        home,
        dataset.card.pixels_key,
        find_backbone(home, config["backbone"]),
        Preprocessing(config["style"], config["mask_sector"]),
        config["feature"],
        config["precision"],
    )
