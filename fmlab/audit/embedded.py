"""Embeddings that happen to be on this disk: they confirm what hashes suspect, and contradict labels.

In: manifest rows. Out: the cache of a trained backbone that holds all of them, if any; a way to confirm pairs.

Two pictures are taken for the same when they are nearer to identity than to a random pair: cosine ≥ (1 + median cosine
of random pairs) / 2. On EfficientNet-Lite0's features 0.82 for echocardiograms and 0.86 for the phantom, above which lie
one in a thousand and one in a hundred pairs of different patients; of neighbouring frames most. Nothing is embedded
for it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fmlab.backbones.catalogue import catalogue
from fmlab.embeddings.cache import EmbeddingCache, items_of
from fmlab.files import read_json
from fmlab.settings import Home

SAMPLED = 1000  # images whose pairs tell what a random pair is like


@dataclass(frozen=True, eq=False)
class Embedded:
    """Embeddings of some rows of a manifest."""

    backbone: str
    items: np.ndarray  # (N,), in step with the rows
    cache: EmbeddingCache

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Features of rows at some positions, (n, D) float32."""
        return self.cache.read(self.items[positions])


def find_embedded(home: Home, rows: pd.DataFrame) -> Embedded | None:
    """The embeddings of a trained backbone, in which all rows (column `content_hash`) are; None if there are none.

    Where there are several, those of the first backbone in the alphabet.
    """
    if rows.empty:
        return None
    items = items_of(rows)
    known = catalogue(home)
    found = []
    for path in sorted(home.embeddings.glob("*/request.json")):
        facts = read_json(path)
        card = known.get(facts["backbone"])
        if card is None or card.floor:  # under random weights all pictures resemble each other
            continue
        cache = EmbeddingCache(path.parent, facts["width"], facts)
        if cache.have(items).all():
            found.append(Embedded(card.key, items, cache))
    return min(found, key=lambda each: each.backbone, default=None)


def confirmation(embedded: Embedded) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function of two arrays of positions, (P,) each, that tells which pairs show the same, (P,) bool."""
    sampled = np.unique(np.linspace(0, len(embedded.items) - 1, SAMPLED).round().astype(np.int64))
    some = _unit(embedded.read(sampled))
    above = np.triu_indices(len(some), 1)
    usual = float(np.median((some @ some.T)[above])) if len(above[0]) else 0.0
    limit = (1 + usual) / 2

    def same(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        cosine = np.einsum("nd,nd->n", _unit(embedded.read(first)), _unit(embedded.read(second)))
        return cosine >= limit

    return same


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
