"""The key of a set of embeddings: everything that decides its numbers, in one frozen request.

In: what names a dataset's pixels, a backbone's card and weights, and a study's preprocessing.
Out: an `EmbeddingsRequest`; its `key` (32 hex digits) names the folder below `home.embeddings`. No torch here.

Which images are wanted is not part of it: they are found in the cache by their content, so that a dataset that
grows, or is labelled anew, finds what was computed before.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import weights_digest
from fmlab.data.preprocessing import InputSpec, Preprocessing, styled
from fmlab.errors import BadInput
from fmlab.files import digest_config
from fmlab.settings import Home

# Changed when the reference preprocessing gives other pixels than it did.
PREPROCESSING_VERSION = 2


@dataclass(frozen=True)
class EmbeddingsRequest:
    """What one set of embeddings is: these pixels, through this preprocessing, through these weights."""

    pixels_key: str  # of the dataset
    backbone: str  # its key
    weights: str  # its weights' digest
    spec: InputSpec  # after the style was applied
    mask_sector: bool
    feature: str
    width: int  # numbers in the feature
    precision: Literal["fp32", "bf16"] = "fp32"
    preprocessing_version: int = PREPROCESSING_VERSION

    @property
    def facts(self) -> dict[str, Any]:
        """The request as plain data, as it stands in the cache's folder."""
        spec = asdict(self.spec)
        return asdict(self) | {"spec": spec | {"mean": list(spec["mean"]), "std": list(spec["std"])}}

    @property
    def key(self) -> str:
        """Names the folder, and what runs depend on."""
        return digest_config("embeddings", self.facts)

    def folder(self, home: Home) -> Path:
        """Where these embeddings lie."""
        return home.embeddings / self.key


def request_embeddings(
    home: Home,
    pixels_key: str,
    card: BackboneCard,
    preprocessing: Preprocessing,
    feature: str | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
) -> EmbeddingsRequest:
    """The request for a dataset's pixels and a backbone whose weights are on this disk; its first feature by default."""
    kind = feature or card.feature
    if kind not in card.available:
        raise BadInput(f"{card.key} gives no feature {kind!r}; choose {' or '.join(card.available)}.")
    return EmbeddingsRequest(
        pixels_key=pixels_key,
        backbone=card.key,
        weights=weights_digest(card, home),
        spec=styled(card.spec, preprocessing.style),
        mask_sector=preprocessing.mask_sector,
        feature=kind,
        width=card.width_of(kind),
        precision=precision,
    )
