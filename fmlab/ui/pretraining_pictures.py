"""Pictures of a pretraining over its checkpoints: patch tokens as colours, and what MAE makes of hidden patches.

In: `pictures/step-NNNNNNNN.npz` in a run's folder. Out: rows of pictures, an image to a row and a checkpoint to a column.
"""

import zipfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image

from fmlab.errors import BadInput
from fmlab.pretrain.pictures import picture_steps, read_pictures
from fmlab.ui.format import count
from fmlab.ui.pictures import Tile, data_url, gallery

COLUMNS = 8  # that stand side by side on a small screen: the frames themselves, what MAE saw, and checkpoints
IMAGES = 5
SIDE = 96  # pixels of one picture
GAP = 6  # pixels between two that stand above each other
BEHIND = (11, 15, 18)  # the colour behind the pictures of every gallery
CACHED = 64  # columns, of some kilobytes each


def show_pictures(folder: Path, batch: int) -> None:
    """All the pictures of a run; one line while there are none. `batch`: images in a step."""
    files = list(picture_steps(folder).values())
    if not files:
        st.caption("Pictures appear here with the first look at the network, before its first step.")
        return
    rebuilt = "reconstructed" in _content(files[-1])
    shown = spread(files, COLUMNS - 2 if rebuilt else COLUMNS - 1)
    st.caption(
        "The same frames at every look. A patch has the colour of what the network makes of it: patches of one colour are "
        "alike to it. Colours that follow the anatomy are a good sign; one flat colour, or mere noise, is none."
    )
    frames = Tile("frames", column_url(shown[-1], "images"), "Frame")
    looks = [Tile(file.stem, column_url(file, "pca"), _when(file, batch)) for file in shown]
    gallery([frames, *looks], key="pretraining_tokens", tile_width=SIDE, square=False)
    if rebuilt:
        st.caption(
            "What the network saw, and how it filled in the rest. Brightness and contrast of a hidden patch are the true "
            "ones; the pattern is the network's."
        )
        masked = Tile("masked", column_url(shown[-1], "masked"), "What it saw")
        made = [Tile(file.stem, column_url(file, "reconstructed"), _when(file, batch)) for file in shown]
        gallery([frames, masked, *made], key="pretraining_reconstructions", tile_width=SIDE, square=False)


def spread(files: Sequence[Path], most: int) -> list[Path]:
    """At most so many of the files, evenly spread, the first and the last among them."""
    places = np.unique(np.linspace(0, len(files) - 1, min(most, len(files))).round().astype(int))
    return [files[place] for place in places]


def _when(file: Path, batch: int) -> str:
    step = int(file.stem.removeprefix("step-"))
    return f"{count(step * batch, 'image')} seen" if step else "At the start"


def column_url(file: Path, part: str) -> str:
    """One part of a file of pictures, its images above each other, as a data URL."""
    return _column(file, file.stat().st_mtime_ns, part)


@lru_cache(maxsize=CACHED)
def _column(file: Path, changed: int, part: str) -> str:
    """`changed` is there to be part of the cache's key: a run that goes on may write a file again."""
    pictures = _content(file)[part][:IMAGES]
    column = np.full((len(pictures) * (SIDE + GAP) - GAP, SIDE, 3), BEHIND, np.uint8)
    for place, picture in enumerate(pictures):
        top = place * (SIDE + GAP)
        column[top : top + SIDE] = _fitted(picture, smooth=part != "pca")
    return data_url(column, longest_side=max(column.shape), quality=90)


def _fitted(picture: np.ndarray, smooth: bool) -> np.ndarray:
    """A picture (H, W) or (H, W, 3) as (SIDE, SIDE, 3); patches stay squares where it is not smooth."""
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).convert("RGB").resize((SIDE, SIDE), how))


def _content(file: Path) -> dict[str, np.ndarray]:
    """What a file of pictures holds; a damaged one raises `BadInput`."""
    try:
        return read_pictures(file)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BadInput(f"The pictures {file.name} cannot be read ({error}). Remove the file.") from error
