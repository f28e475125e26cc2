"""Colours and shapes: one colour and marker for each backbone in every figure, and a palette for classes and sites.

In: backbone keys, or the values of a column. Out: hex colours, Plotly symbol and dash names.

Sources: backbones take Okabe and Ito's colours (jfly.uni-koeln.de/color), classes Petroff's ten (arXiv 2107.02270);
both were chosen to be told apart with any colour vision. Shape and dash always say the same as colour.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from fmlab.plots.theme import INKS, Mode

FLOOR_PREFIXES = ("random-", "pixels-")

# Okabe and Ito's colours without black and yellow, which vanish on a dark or a white page; blue is lifted on dark.
BACKBONE_COLOURS: dict[Mode, tuple[str, ...]] = {
    "light": ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C564B"),
    "dark": ("#4C9FE0", "#F07D2E", "#1DBF94", "#E29BC4", "#F2B632", "#8CD3FF", "#B08BD0", "#C99A86"),
}
FLOOR_COLOURS: dict[Mode, tuple[str, ...]] = {
    "light": ("#6B6B6B", "#9A9A9A", "#4A4A4A", "#B5B5B5"),
    "dark": ("#A8A8A8", "#7C7C7C", "#CFCFCF", "#5F5F5F"),
}
BACKBONE_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "hexagon", "star")
FLOOR_SYMBOLS = ("x-thin", "cross-thin", "asterisk", "hash")  # all are strokes; Plotly calls two of them thin
BASELINE_SYMBOLS = ("diamond-tall", "star-square", "hourglass", "bowtie")

# The place in the palette of the backbones that nearly every study holds: they never move for another one.
FIXED_PLACES: dict[str, int] = {"efficientnet-lite0": 0, "efficientnet-lite1": 2, "efficientnet-lite2": 4}

SOLID_DASHES = ("solid", "longdashdot", "dot", "longdash")
FLOOR_DASHES = ("dash", "dashdot", "dot", "longdash")

CATEGORY_COLOURS: dict[Mode, tuple[str, ...]] = {
    "light": (
        "#3F90DA", "#FFA90E", "#BD1F01", "#94A4A2", "#832DB6", "#A96B59", "#E76300", "#B9AC70", "#717581", "#92DADD",
    ),
    "dark": (
        "#5AA9F0", "#FFB93B", "#E8543A", "#A9B8B6", "#B26BE0", "#C98D7B", "#FF8A33", "#CFC388", "#9599A6", "#A6ECEF",
    ),
}  # fmt: skip
CATEGORY_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "star")


@dataclass(frozen=True)
class Look:
    """How one backbone is drawn."""

    colour: str
    symbol: str
    floor: bool  # a randomly initialised encoder or raw pixels: what any backbone has to beat


def is_floor(backbone: str) -> bool:
    """Whether a key names a floor: a randomly initialised encoder, or the raw image."""
    return backbone.startswith(FLOOR_PREFIXES)


def backbone_looks(backbones: Iterable[str], mode: Mode = "light") -> dict[str, Look]:
    """A look for each backbone. The key decides the place; where two meet, the alphabetically later one moves on.

    Give all backbones of a study, not those of one figure: then every figure of the study agrees.
    """
    keys = sorted(set(backbones))
    strong = [key for key in keys if not is_floor(key)]
    floors = [key for key in keys if is_floor(key)]
    looks = {
        key: Look(BACKBONE_COLOURS[mode][place % len(BACKBONE_COLOURS[mode])], _turned(BACKBONE_SYMBOLS, place), False)
        for key, place in _places(strong, len(BACKBONE_SYMBOLS)).items()
    }
    for place, key in enumerate(floors):
        looks[key] = Look(_turned(FLOOR_COLOURS[mode], place), _turned(FLOOR_SYMBOLS, place), True)
    return looks


def baseline_looks(baselines: Sequence[tuple[str, str]], mode: Mode = "light") -> dict[tuple[str, str], Look]:
    """A look for each baseline (backbone, adaptation): the colour of text, a shape of its own, drawn as floors are."""
    return {pair: Look(INKS[mode].text, _turned(BASELINE_SYMBOLS, place), True) for place, pair in enumerate(baselines)}


def adaptation_dashes(adaptations: Sequence[str], floor: bool) -> dict[str, str]:
    """A line style for each adaptation, in the order given; floors have styles of their own, never solid."""
    styles = FLOOR_DASHES if floor else SOLID_DASHES
    return {adaptation: _turned(styles, place) for place, adaptation in enumerate(adaptations)}


def category_looks(categories: Sequence[str], mode: Mode = "light") -> dict[str, tuple[str, str]]:
    """(colour, symbol) for each category in the order given; beyond ten the colours return with other shapes."""
    colours = CATEGORY_COLOURS[mode]
    # The shape moves on by one more in each round of ten, so that no pair of colour and shape returns before the 80th.
    return {
        name: (colours[place % len(colours)], CATEGORY_SYMBOLS[(place + place // len(colours)) % len(CATEGORY_SYMBOLS)])
        for place, name in enumerate(categories)
    }


def translucent(colour: str, opacity: float) -> str:
    """A hex colour as rgba() with an opacity 0–1."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def _places(keys: Sequence[str], count: int) -> dict[str, int]:
    """A place 0 … count − 1 for each key, all different up to `count` keys; beyond it places repeat."""
    taken: dict[str, int] = {}
    free = set(range(count))
    for key in sorted(keys, key=lambda key: (key not in FIXED_PLACES, key)):
        wanted = FIXED_PLACES.get(key)
        if wanted is None:
            wanted = int.from_bytes(blake2b(key.encode(), digest_size=4).digest(), "little") % count
        free = free or set(range(count))
        taken[key] = next(place % count for place in range(wanted, wanted + count) if place % count in free)
        free.discard(taken[key])
    return taken


def _turned(values: tuple[str, ...], place: int) -> str:
    return values[place % len(values)]
