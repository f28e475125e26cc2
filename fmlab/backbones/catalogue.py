"""The catalogue: every backbone there is to choose from, and which of their weights are on this disk.

In: a home, whose `backbones/<key>/card.json` files are the backbones a person added.
Out: cards by key; the path and the digest of a card's weights. Neither torch nor timm is imported here.

Sources: `tf_efficientnet_lite*` of timm (M. Tan and Q. Le, EfficientNet, https://arxiv.org/abs/1905.11946) for the
preprocessing of the Lite rows; the floors are FMLab's own.
"""

import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from fmlab.backbones.cards import PERMISSIVE, BackboneCard
from fmlab.backbones.rows import BUILT_IN
from fmlab.errors import BadInput, BadWeights, NotFound
from fmlab.files import digest_config, digest_file
from fmlab.settings import Home

CARD_FILE = "card.json"
ASSETS = Path(__file__).parents[2] / "assets"  # where the files lie that FMLab itself ships

LicenceKind = Literal["permissive", "restricted", "unknown", "none needed"]

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
    """Where the weights lie on this disk, right or wrong; None when they are not there, or the backbone has none."""
    return _weights(card, home)[1]


def _weights(card: BackboneCard, home: Home) -> tuple[str, Path | None]:
    """Which of the card's `files` is on this disk, and where."""
    for name in card.files:
        path = find_file(card, name, home)
        if path is not None:
            return name, path
    return "", None


def find_file(card: BackboneCard, name: str, home: Home) -> Path | None:
    """Where one of a backbone's files lies on this disk, None when it does not.

    In order: the folder of the package that ships it, the backbone's folder in this home, the cache of the Hugging
    Face hub. No network is asked.
    """
    return next((path for path in _places(card, name, home) if path.is_file()), None)


def _places(card: BackboneCard, name: str, home: Home) -> Iterator[Path]:
    if card.package:
        folder = package_folder(card.package)
        if folder is not None:
            yield folder / name
        return
    if card.shipped:
        yield ASSETS / name
    yield home.backbones / card.key / Path(name).name
    if card.remote is not None and card.remote.repository is not None:
        from huggingface_hub import constants

        # A folder per repository: most are absent, and the library that looks inside takes a while to import.
        if Path(constants.HF_HUB_CACHE, f"models--{card.remote.repository.replace('/', '--')}").is_dir():
            from huggingface_hub import try_to_load_from_cache

            cached = try_to_load_from_cache(card.remote.repository, name, revision=card.remote.revision)
            if isinstance(cached, str):
                yield Path(cached)


def package_folder(distribution: str) -> Path | None:
    """The folder of an installed PyPI distribution whose package has the same name; None when not installed."""
    found = importlib.util.find_spec(distribution.replace("-", "_"))
    return Path(found.origin).parent if found is not None and found.origin else None


def on_disk(card: BackboneCard, home: Home) -> bool:
    """Whether the backbone can be used without fetching anything."""
    return not card.files or (weights_file(card, home) is not None and wrong_size(card, home) is None)


def wrong_size(card: BackboneCard, home: Home) -> str | None:
    """What is wrong with weights on this disk that are not as large as they should be, in a sentence; else None."""
    name, path = _weights(card, home)
    size, expected = path.stat().st_size if path else None, card.sizes.get(name)
    if path is None or expected is None or size == expected:
        return None
    return (
        f"The weights of {card.key} are not whole, or of something else: {path} has {size:,} bytes, expected "
        f"{expected:,}; remove it, then {by_hand(card, home)}."
    )


def require_weights(card: BackboneCard, home: Home) -> Path:
    """The path of the weights; `BadWeights` says where they would have to be, or that they have the wrong size."""
    path = weights_file(card, home)
    if path is None:
        raise BadWeights(f"The weights of {card.key} are not on this disk; {how_to_get(card, home)}.")
    fault = wrong_size(card, home)
    if fault is not None:
        raise BadWeights(fault)
    return path


def how_to_get(card: BackboneCard, home: Home) -> str:
    """What to do to have the weights, in a clause."""
    if card.package is None and card.remote is not None and card.remote.repository is not None:
        where = f"{card.files[0]} of {card.remote.page}"
        return f"`fmlab backbones download {card.key}` fetches {where}; without a network, {by_hand(card, home)}"
    return by_hand(card, home)


def by_hand(card: BackboneCard, home: Home) -> str:
    """What to do to have the weights without FMLab asking a network, in a clause."""
    if card.package:
        return f"install the package {card.package}"
    names = " or ".join(dict.fromkeys(Path(name).name for name in card.files))
    if card.shipped:
        return f"copy {names} from the folder assets of FMLab's repository into {home.backbones / card.key}"
    fetch = f"fetch {' or '.join(card.files)} from {card.remote.page} by other means and " if card.remote else ""
    return f"{fetch}put {names} into {home.backbones / card.key}"


def weights_digest(card: BackboneCard, home: Home) -> str:
    """Names what the backbone computes: its architecture with the content of its weights file, or with its recipe."""
    facts: dict[str, Any] = {"architecture": card.architecture, "layout": card.layout}
    variant = {"options": card.options, "norm_eps": card.norm_eps, "projection": card.projection}
    facts |= {name: value for name, value in variant.items() if value} | (
        {"positions": card.positions} if card.positions != "antialiased" else {}
    )
    if card.layout in RECIPES:
        return digest_config("weights", facts | {"recipe": RECIPES[card.layout], "seed": card.seed})
    path = require_weights(card, home)
    state = path.stat()
    same = (path, state.st_size, state.st_mtime_ns)
    name = _weights(card, home)[0]
    if name in card.digests:
        content = _sha256(*same)
        check_digest(card, name, path, content)
    else:
        content = _content(*same)
    return digest_config("weights", facts | {"file": content})


def check_digest(card: BackboneCard, name: str, path: Path, sha256: str) -> None:
    """Raise `BadWeights` when one of the card's files is known to have another content than what lies at `path`."""
    expected = card.digests.get(name, sha256)
    if sha256 != expected:
        raise BadWeights(
            f"{path} is not the file that {card.key} needs: its SHA-256 is {sha256}, expected {expected}; remove it and "
            "fetch it again, or add it as a backbone of its own."
        )


@lru_cache(maxsize=256)
def _content(path: Path, size: int, mtime_ns: int) -> str:
    """The digest of a file's content, read again only when its size or its time of change is another."""
    return digest_file(path)


@lru_cache(maxsize=256)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def licence_kind(card: BackboneCard) -> LicenceKind:
    """What one may do with the weights: anything, something, nobody knows, or there are none."""
    if not card.files:
        return "none needed"
    if card.licence_weights is None:
        return "unknown"
    return "permissive" if card.licence_weights in PERMISSIVE else "restricted"


def printed_table(cards: Iterable[BackboneCard]) -> list[dict[str, Any]]:
    """Table 1 of the limited-data study, a row per model in its order: what it prints beside what the cards say.

    Parameters in millions, of the image encoder; those of the card are counted from the architecture itself.
    """
    rows = [(card.printed, card) for card in cards if card.printed is not None]
    return [
        {
            "model": printed.name,
            "key": card.key,
            "type": card.type,
            "domain": card.domain,
            "pretraining": card.pretraining or "none",
            "images_printed": printed.images,
            "images": card.pretraining_images,
            "parameters_printed": printed.parameters,
            "parameters": card.parameters / 1e6,
            "width_printed": printed.width,
            "width": card.width,
            "remark": printed.remark,
        }
        for printed, card in sorted(rows, key=lambda row: row[0].order)
    ]


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
