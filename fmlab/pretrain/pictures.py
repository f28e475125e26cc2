"""Pictures of what is being learnt: patch tokens as colours, and what MAE makes of hidden patches.

In: patch tokens (n, g, g, D) of the same n images at every checkpoint; for MAE its predictions (n, T, P·P·C).
Out: uint8 pictures, and `pictures/step-NNNNNNNN.npz` in the run's folder, written aside.

Tokens become colours by their first three principal components over all images together, as M. Oquab et al., DINOv2
(arXiv 2304.07193), figure 1. Components may come in another order and with other signs at every checkpoint, so they are
turned as near as possible to the colours before (orthogonal Procrustes, P. Schönemann, Psychometrika 31, 1966): what
changes from picture to picture is then the network, not the palette. NumPy alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fmlab.errors import BadInput
from fmlab.files import written_aside

FOLDER = "pictures"
COLOURS = 3
SPREAD = 2.5  # standard deviations on either side of the middle grey; beyond them a colour is full
NOTHING = 1e-5  # of the first component's standard deviation: below it a component is rounding
HIDDEN = 128  # grey level of a hidden patch
FLAT = 1e-6  # added to a patch's variance, as MAE does


@dataclass(frozen=True)
class Basis:
    """Where the tokens of the pictures stood, to which those of the next checkpoint are turned."""

    coordinates: np.ndarray  # (n·g·g, 3) float64, variance 1 along each axis

    @classmethod
    def of_picture(cls, pictures: np.ndarray) -> "Basis":
        """That of pictures (n, g, g, 3) uint8 made earlier: a resumed training goes on from the last ones on disk."""
        return cls((pictures.reshape(-1, COLOURS).astype(np.float64) - HIDDEN) * SPREAD / HIDDEN)


def token_pictures(tokens: np.ndarray, before: Basis | None = None) -> tuple[np.ndarray, Basis]:
    """Patch tokens as colours that stay comparable from checkpoint to checkpoint.

    Args:
        tokens: (n, g, g, D) float, D ≥ 3, of the same images in the same order as `before`.
        before: what the call at the checkpoint before returned; None for the first.

    Returns:
        (n, g, g, 3) uint8; tokens that are all alike become grey 128. And the basis for the next call.

    Raises:
        BadInput: tokens that are not finite, or `before` of other images.
    """
    if tokens.ndim != 4 or tokens.shape[3] < COLOURS:
        raise BadInput(f"Patch tokens have shape {tokens.shape}; expected (images, rows, columns, width of 3 or more).")
    if not np.isfinite(tokens).all():
        raise BadInput("Patch tokens are not finite; the training has diverged. Use a smaller learning rate.")
    flat = tokens.reshape(-1, tokens.shape[3]).astype(np.float64)
    coordinates = _whitened(flat)
    if before is not None:
        if before.coordinates.shape != coordinates.shape:
            raise BadInput(
                f"The pictures before show {len(before.coordinates)} tokens, these {len(coordinates)}; "
                "show the same images at every checkpoint."
            )
        left, _, right = np.linalg.svd(coordinates.T @ before.coordinates)
        coordinates = coordinates @ (left @ right)
    shades = np.clip(np.rint(HIDDEN + coordinates * HIDDEN / SPREAD), 0, 255).astype(np.uint8)
    return shades.reshape(*tokens.shape[:3], COLOURS), Basis(coordinates)


def reconstructions(
    images: np.ndarray, predicted: np.ndarray, hidden: np.ndarray, patch: int, normalised: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """What MAE saw, and what it made of the rest: visible patches as they are, hidden ones as predicted.

    Args:
        images: uint8 (n, S, S) or (n, S, S, C), S a multiple of the patch.
        predicted: (n, T, P·P·C) float, patches row by row, in each the pixels row by row with channels last, as MAE's
            decoder gives them; where `normalised`, each patch has mean 0 and variance 1, else grey values 0–1.
        hidden: bool (n, T), true where a patch was hidden.
        patch: P, pixels.
        normalised: the training's own patches were scaled to mean 0 and variance 1. To be shown, a prediction is then
            given the true patch's mean and deviation: brightness and contrast of hidden patches are not MAE's work.

    Returns:
        masked and reconstructed, uint8 of the images' shape.
    """
    true = patches_of(images, patch).astype(np.float64)
    if predicted.shape != true.shape or hidden.shape != true.shape[:2]:
        raise BadInput(
            f"Predictions {predicted.shape} and hidden patches {hidden.shape} do not fit images {images.shape} with "
            f"patches of {patch} pixels; expected {true.shape} and {true.shape[:2]}."
        )
    deviation = np.sqrt(true.var(axis=2, keepdims=True, ddof=1) + FLAT * 255**2)
    shown = predicted * deviation + true.mean(axis=2, keepdims=True) if normalised else predicted * 255
    chosen = hidden[..., None]
    grey, filled = np.where(chosen, HIDDEN, true), np.where(chosen, shown, true)
    return _images_of(grey, images.shape, patch), _images_of(filled, images.shape, patch)


def patches_of(images: np.ndarray, patch: int) -> np.ndarray:
    """Images (n, S, S[, C]) as patches (n, T, P·P·C), row by row."""
    count, side = images.shape[:2]
    cut = images.reshape(count, side // patch, patch, side // patch, patch, -1)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(count, (side // patch) ** 2, -1)


def write_pictures(
    folder: Path,
    step: int,
    images: np.ndarray,
    pca: np.ndarray,
    masked: np.ndarray | None = None,
    reconstructed: np.ndarray | None = None,
) -> Path:
    """Keep a checkpoint's pictures under the run's folder; a later call for the same step replaces them."""
    path = folder / FOLDER / f"step-{step:08d}.npz"
    given = {"images": images, "pca": pca, "masked": masked, "reconstructed": reconstructed}
    kept: dict[str, Any] = {name: pixels for name, pixels in given.items() if pixels is not None}
    with written_aside(path) as aside, aside.open("wb") as file:
        np.savez_compressed(file, **kept)
    return path


def picture_steps(folder: Path) -> dict[int, Path]:
    """The pictures that a run's folder holds, by step, ascending."""
    paths = sorted((folder / FOLDER).glob("step-*.npz"))
    return {int(path.stem.removeprefix("step-")): path for path in paths}


def read_pictures(path: Path) -> dict[str, np.ndarray]:
    """One checkpoint's pictures by name: images, pca, and MAE's masked and reconstructed."""
    with np.load(path, allow_pickle=False) as kept:
        return {name: kept[name] for name in kept.files}


# ------------------------------------------------------------------------------------------------------------------


def _whitened(flat: np.ndarray) -> np.ndarray:
    """Coordinates (m, 3) along the first principal components, each with variance 1; zero where nothing varies."""
    centred = flat - flat.mean(axis=0)
    variances, components = np.linalg.eigh(centred.T @ centred / len(centred))
    deviations = np.sqrt(np.clip(variances[: -COLOURS - 1 : -1], 0, None))
    components = components[:, : -COLOURS - 1 : -1]
    # The sign of a component is arbitrary: the token farthest from the middle lies on its bright side.
    coordinates = centred @ components
    farthest = np.take_along_axis(coordinates, np.abs(coordinates).argmax(axis=0)[None], axis=0)
    coordinates *= np.where(farthest < 0, -1, 1)
    there = deviations > max(NOTHING * deviations[0], np.finfo(np.float32).eps * np.abs(flat).max(initial=0))
    return np.where(there, coordinates / np.where(there, deviations, 1), 0)


def _images_of(patches: np.ndarray, shape: tuple[int, ...], patch: int) -> np.ndarray:
    """Patches (n, T, P·P·C) as images of a shape, rounded and cut to uint8."""
    count, side = shape[:2]
    across = side // patch
    whole = patches.reshape(count, across, across, patch, patch, -1).transpose(0, 1, 3, 2, 4, 5)
    return np.clip(np.rint(whole), 0, 255).astype(np.uint8).reshape(shape)
