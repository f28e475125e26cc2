"""Verification: does a backbone on this disk do what its card promises? Worker only.

In: a card and a home. Out: a `Verification`: checks, each with what was found and what was expected, a card of the
preprocessing in words, and a picture of what the backbone sees.

What goes wrong is a failed check and never an exception, so that a page and the command line can show all of it. The
checks build on each other: without a file nothing is loaded, and what cannot be loaded is not run. The weights file is
read anew; the features then come from the same loader as those of a study.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.catalogue import how_to_get, weights_file
from fmlab.backbones.chart import drawn_frame, fitting, side_by_side
from fmlab.backbones.encoders import Encoder, PixelsEncoder, random_encoder
from fmlab.backbones.loaders import Backbone, load_backbone, trained_encoder
from fmlab.data.preprocessing import InputSpec, Style, prepare, styled
from fmlab.errors import FMLabError
from fmlab.files import write_bytes
from fmlab.settings import Home

# An image alone and beside others: libraries choose other kernels for another size of batch, which changes last bits.
ALONE_TOLERANCE = 1e-5  # of the largest number in the features
DIFFERENCE = 1e-5  # of the largest number: the least by which some feature of three different images must differ

SHOWN = ".3g"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Check:
    """One promise of a card: whether it holds, what was found and what was expected, in words."""

    name: str
    passed: bool
    got: str
    expected: str


@dataclass(frozen=True)
class Verification:
    """All checks of one backbone."""

    key: str
    passed: bool  # all of them
    checks: tuple[Check, ...]
    card_text: str  # its preprocessing in words, several lines
    picture: Path | None  # the PNG file, if one was asked for


def verify(card: BackboneCard, home: Home, device: str = "cpu", picture_into: Path | None = None) -> Verification:
    """Check a backbone; `picture_into` is the folder in which `<key>.png` shows what it sees."""
    checks = tuple(_checks(card, home, device))
    picture = None
    if picture_into is not None:
        picture = picture_into / f"{card.key}.png"
        content = io.BytesIO()
        Image.fromarray(side_by_side(card)).save(content, "PNG")
        write_bytes(picture, content.getvalue())
    return Verification(card.key, all(check.passed for check in checks), checks, card_text(card), picture)


def _checks(card: BackboneCard, home: Home, device: str) -> Iterator[Check]:
    """The checks in their order; those that need what an earlier one did not find are left out."""
    if card.files:
        found = weights_file(card, home)
        yield Check("weights file", found is not None, str(found or how_to_get(card, home)), " or ".join(card.files))
        if found is None:
            return
        yield from _file_checks(card, found)
    loaded, failure = _attempt(lambda: _fresh_encoder(card, home))
    promised = "every tensor of the encoder in its shape, finite, and none besides"
    if loaded is None:
        yield Check("tensors", False, failure, promised)
        return
    left_out = f"; left out by name: {', '.join(f'{name}…' for name in card.unused)}" if card.unused else ""
    yield Check("tensors", True, f"{len(loaded.state_dict())} tensors filled", promised + left_out)
    counted = sum(weights.numel() for weights in loaded.parameters())
    yield Check("parameters", counted == card.parameters, f"{counted:,}", f"{card.parameters:,}")
    del loaded  # the largest of the field take 1.5 GB
    backbone, failure = _attempt(lambda: load_backbone(card, home, device))
    if backbone is None:
        yield Check("load", False, failure, f"a network on {device}")
        return
    for name, check in (
        ("features", lambda: _feature_checks(backbone)),
        ("batch", lambda: _batch_checks(backbone)),
        ("spatial maps", lambda: _map_checks(backbone)),
        ("the paper's preprocessing", lambda: _paper_checks(card, home, device)),
    ):
        done, failure = _attempt(lambda check=check: list(check()))
        yield from done if done is not None else [Check(name, False, failure, "numbers")]


def _attempt(work: Callable[[], Result]) -> tuple[Result | None, str]:
    """What the work gives, or None and the reason why not, in a sentence."""
    try:
        return work(), ""
    except FMLabError as error:
        return None, str(error)
    except Exception as error:  # a network may raise anything; here that is what was found, not a fault of FMLab
        return None, f"{type(error).__name__}: {error}"


def _file_checks(card: BackboneCard, path: Path) -> Iterator[Check]:
    """Size and content of the weights file against what the row knows of it."""
    name = next(name for name in card.files if Path(name).name == path.name)
    size, digest = path.stat().st_size, _sha256(path)
    wanted = card.sizes.get(name)
    yield Check("size", wanted in (None, size), f"{size:,} bytes", f"{wanted:,} bytes" if wanted else "not known")
    known = card.digests.get(name)
    yield Check("SHA-256", known in (None, digest), digest, known or "not known")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fresh_encoder(card: BackboneCard, home: Home) -> Encoder:
    """The encoder as its file has it, read from the disk whatever was loaded before."""
    if card.layout == "pixels":
        return PixelsEncoder()
    return random_encoder(card) if card.layout == "random" else trained_encoder(card, home)


def _inputs(spec: InputSpec) -> Tensor:
    """Three images that differ: a drawn frame, the same upside down, and noise; (3, 3, S, S) float32."""
    frame = drawn_frame()
    noise = np.random.default_rng(3).integers(0, 256, (90, 120), dtype=np.uint8)
    return torch.from_numpy(np.stack([prepare(image, spec) for image in (frame, frame[::-1].copy(), noise)]))


def _feature_checks(backbone: Backbone) -> Iterator[Check]:
    """Of each kind of features: the width, finite numbers, the same numbers again, others for other images."""
    images = _inputs(backbone.card.spec)
    for kind, width in zip(backbone.card.features, backbone.card.widths, strict=True):
        features = backbone.features(images, kind)
        again = backbone.features(images, kind)
        shape = tuple(features.shape)
        yield Check(f"width of {kind}", shape == (3, width), f"{shape[-1]}", f"{width}")
        lacking = int((~torch.isfinite(features)).sum())
        yield Check(f"{kind} finite", lacking == 0, f"{lacking} numbers are not finite", "0")
        if lacking:
            continue  # nothing else can be said of them
        apart = float((features - again).abs().max())
        yield Check(f"{kind} repeated", torch.equal(features, again), f"a difference of {apart:{SHOWN}}", "exactly 0")
        largest = float(features.abs().max())
        spread = float((features - features.mean(dim=0)).abs().max())
        yield Check(
            f"{kind} of different images",
            spread > DIFFERENCE * largest,
            f"they differ by {spread:{SHOWN}}, the largest number is {largest:{SHOWN}}",
            f"more than {DIFFERENCE:g} of the largest",
        )


def _batch_checks(backbone: Backbone) -> Iterator[Check]:
    """The features of an image do not depend on the images beside it, and hardly on how many there are."""
    images = _inputs(backbone.card.spec)
    together = backbone.features(images)[0]
    others = backbone.features(torch.cat([images[:1], torch.zeros_like(images[1:])]))[0]
    apart = float((together - others).abs().max())
    yield Check("beside other images", torch.equal(together, others), f"a difference of {apart:{SHOWN}}", "exactly 0")
    alone = backbone.features(images[:1])[0]
    apart = float((together - alone).abs().max()) / max(float(alone.abs().max()), 1e-12)
    yield Check(
        "alone",
        apart <= ALONE_TOLERANCE,
        f"a difference of {apart:{SHOWN}} of the largest number",
        f"at most {ALONE_TOLERANCE:g} of it",
    )


def _map_checks(backbone: Backbone) -> Iterator[Check]:
    """The spatial maps of the card's taps: one each, with height and width, finite."""
    card = backbone.card
    if not card.taps:
        return
    maps = backbone.dense(_inputs(card.spec))
    shapes = [tuple(each.shape) for each in maps]
    right = len(maps) == len(card.taps) and all(
        len(shape) == 4 and shape[0] == 3 and min(shape[2:]) > 1 for shape in shapes
    )
    shown = ", ".join("×".join(str(side) for side in shape[1:]) for shape in shapes)
    yield Check("spatial maps", right, shown, f"a map of more than one place for each of blocks {list(card.taps)}")
    lacking = sum(int((~torch.isfinite(each)).sum()) for each in maps)
    yield Check("spatial maps finite", lacking == 0, f"{lacking} numbers are not finite", "0")


def _paper_checks(card: BackboneCard, home: Home, device: str) -> Iterator[Check]:
    """The backbone takes the input of the paper's preprocessing too."""
    spec = styled(card.spec, "paper")
    features = load_backbone(card, home, device, size=spec.size).features(_inputs(spec))
    right = tuple(features.shape) == (3, card.width) and bool(torch.isfinite(features).all())
    yield Check(
        "the paper's preprocessing",
        right,
        f"{features.shape[-1]} numbers from {spec.size}×{spec.size} px"
        + ("" if bool(torch.isfinite(features).all()) else ", not all finite"),
        f"{card.width} finite numbers",
    )


def card_text(card: BackboneCard) -> str:
    """The preprocessing of a backbone and what is taken from it, in words; what is unverified last."""
    facts = {style.capitalize(): fitting(styled(card.spec, style)) for style in get_args(Style)}
    facts["Mean"] = " ".join(f"{value:g}" for value in card.spec.mean) + ", per channel of an image from 0 to 1"
    facts["Std"] = " ".join(f"{value:g}" for value in card.spec.std)
    facts["Grey"] = "repeated to three channels"
    if card.options.get("in_chans") == 1:
        facts["Grey"] = "one channel; of a coloured image, its grey"
    kinds = [f"{kind} ({width} numbers)" for kind, width in zip(card.features, card.widths, strict=True)]
    facts["Feature"] = kinds[0] + (f"; also {', '.join(kinds[1:])}" if kinds[1:] else "")
    if card.taps:
        facts["Spatial maps"] = f"of blocks {', '.join(str(tap) for tap in card.taps)}"
    facts["Unverified"] = "; ".join(card.unverified) if card.unverified else "nothing"
    return "\n".join(f"{name}: {value}" for name, value in facts.items())
