"""Zero-shot classification: an image belongs to the class whose prompts it is nearest to, without a label.

A class is the mean of its prompts' embeddings, each of length 1, brought back to length 1. An image's scores are the
cosines between its projected feature and the classes, times the logit scale that the model was trained with.

In: a card of type image+text with its weights on this disk, prompts, projected features (M, D) float32.
Out: logits (M, K) float32. Imports torch, so only the worker imports this.
Source: A. Radford et al., CLIP, ICML 2021, sections 3.1.2 and 3.1.4.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from fmlab.adapt.configs import ZeroShot
from fmlab.adapt.prompts import prompt_table
from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import weights_digest
from fmlab.backbones.text import TextEncoder, load_text, text_of
from fmlab.errors import BadInput
from fmlab.settings import Home

# The text tower that this process used last: a study asks for the same one with several prompts.
_kept: dict[tuple[str, str, str], TextEncoder] = {}


def zero_shot_scores(
    home: Home,
    card: BackboneCard,
    config: ZeroShot,
    classes: Sequence[str],
    test_features: np.ndarray,
    device: str = "cpu",
) -> np.ndarray:
    """Logits (M, K) float32 of test items, whose softmax is the model's probability of each class.

    Args:
        home: where the weights lie.
        card: of a backbone that reads.
        config: the template and the prompts.
        classes: K names, in the order of the columns.
        test_features: (M, D) float32, of the kind `projected`, of any length.
        device: where the text tower runs.

    Raises:
        BadInput: a backbone that does not read or whose tower cannot be loaded, prompts for a class that there is not
            or that are too long, features of another kind or not finite; `BadWeights` for weights that do not fit.
    """
    text_of(card)
    prompts = prompt_table(config, classes)
    if test_features.ndim != 2 or test_features.shape[1] != card.projection:
        raise BadInput(
            f"Zero-shot needs projected features of shape (items, {card.projection}), got {test_features.shape}; "
            f"embed the images with the feature 'projected'."
        )
    if not np.isfinite(test_features).all():
        raise BadInput("Features of test items are not finite; extract the embeddings again in float32.")
    text = text_encoder(home, card, device)
    towards = class_embeddings(text, list(prompts.values())).double().cpu()
    images = normalize(torch.from_numpy(np.array(test_features, np.float64)), dim=1)
    return (text.logit_scale * images @ towards.T).float().numpy()


def class_embeddings(text: TextEncoder, prompts: Sequence[Sequence[str]]) -> Tensor:
    """(K, D) float32 of length 1: for each class the mean of its prompts' embeddings."""
    embedded = text.embed([prompt for of_class in prompts for prompt in of_class])
    means = [part.mean(dim=0) for part in embedded.split([len(of_class) for of_class in prompts])]
    return normalize(torch.stack(means), dim=1)


def text_encoder(home: Home, card: BackboneCard, device: str) -> TextEncoder:
    """The text tower of a card, loaded once in a process as long as no other is asked for; raises as `load_text`."""
    key = (card.model_dump_json(), weights_digest(card, home), device)
    if key not in _kept:
        loaded = load_text(card, home, device)
        _kept.clear()
        _kept[key] = loaded
    return _kept[key]
