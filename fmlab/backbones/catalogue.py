"""The catalogue: every backbone there is to choose from, and which of their weights are on this disk.

In: a home, whose `backbones/<key>/card.json` files are the backbones a person added.
Out: cards by key; the path and the digest of a card's weights. Neither torch nor timm is imported here.

Sources: `tf_efficientnet_lite*` of timm (M. Tan and Q. Le, EfficientNet, https://arxiv.org/abs/1905.11946) for the
preprocessing of the Lite rows; the floors are FMLab's own.
"""

import importlib.util
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.rows import BUILT_IN
from fmlab.errors import BadInput, BadWeights, NotFound
from fmlab.files import digest_config, digest_file
from fmlab.settings import Home

CARD_FILE = "card.json"

# Changed when the recipe of a backbone without a weights file gives other numbers than it did.
RECIPES = {"random": "timm initialisation, 1", "pixels": "grey 24x24, 1"}


def catalogue(home: Home) -> dict[str, BackboneCard]:
    """Every backbone by key: the built-in rows in their order, then those added to this home in alphabetical order."""
    added = (read_card(path) for path in sorted(home.backbones.glob(f"*/{CARD_FILE}")))
    return {card.key: card for card in (*BUILT_IN, *added)}


def read_card(path: Path) -> BackboneCard:
    """The card in a file; a damaged one raises `BadInput` naming the backbone."""
    try:
        return BackboneCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the beginning"
        raise BadInput(
            f"The card of backbone {path.parent.name!r} is damaged at {where} ({first['msg']}). Add it again."
        ) from error


def find_backbone(home: Home, key: str) -> BackboneCard:
    """The card of that key; `NotFound` names the keys most like it, or all there are."""
    cards = catalogue(home)
    if key in cards:
        return cards[key]
    near = get_close_matches(key, cards, n=3, cutoff=0.5)
    advice = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(cards)}."
    raise NotFound(f"There is no backbone {key!r}; {advice} `fmlab backbones list` shows all of them.")


def weights_file(card: BackboneCard, home: Home) -> Path | None:
    """Where the weights lie on this disk; None when they are not there, or when the backbone has none."""
    folder = package_folder(card.package) if card.package else home.backbones / card.key
    if folder is None or not card.files:
        return None
    path = folder / card.files[0]
    return path if path.is_file() else None


def package_folder(distribution: str) -> Path | None:
    """The folder of an installed PyPI distribution whose package has the same name; None when not installed."""
    found = importlib.util.find_spec(distribution.replace("-", "_"))
    return Path(found.origin).parent if found is not None and found.origin else None


def on_disk(card: BackboneCard, home: Home) -> bool:
    """Whether the backbone can be used without fetching anything."""
    return not card.files or weights_file(card, home) is not None


def require_weights(card: BackboneCard, home: Home) -> Path:
    """The path of the weights; `BadWeights` says where they would have to be."""
    path = weights_file(card, home)
    if path is None:
        remedy = (
            f"install the package {card.package}"
            if card.package
            else f"put {card.files[0]} into {home.backbones / card.key}"
        )
        raise BadWeights(f"The weights of {card.key} are not on this disk; {remedy}.")
    return path


def weights_digest(card: BackboneCard, home: Home) -> str:
    """Names what the backbone computes: its architecture with the content of its weights file, or with its recipe."""
    facts: dict[str, Any] = {"architecture": card.architecture, "layout": card.layout}
    if card.layout in RECIPES:
        return digest_config("weights", facts | {"recipe": RECIPES[card.layout], "seed": card.seed})
    path = require_weights(card, home)
    state = path.stat()
    return digest_config("weights", facts | {"file": _content(path, state.st_size, state.st_mtime_ns)})


@lru_cache(maxsize=256)
def _content(path: Path, size: int, mtime_ns: int) -> str:
    """The digest of a file's content, read again only when its size or its time of change is another."""
    return digest_file(path)


def describe(card: BackboneCard, home: Home) -> dict[str, Any]:
    """A card as one flat row of plain data, with its state on this disk: what lists and tables show."""
    flat = {
        "input_size": card.spec.size,
        "resize": card.spec.resize,
        "resize_to": card.spec.resize_to,
        "interpolation": card.spec.interpolation,
        "mean": list(card.spec.mean),
        "std": list(card.spec.std),
        "feature": card.feature,
        "width": card.width,
        "licence": card.licence_weights,
        "on_disk": on_disk(card, home),
    }
    return card.model_dump(mode="json", exclude={"spec"}) | flat
