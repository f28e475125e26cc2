"""Where curves of accuracy against size reach a value, and where two of them cross.

In: sizes (P,), ascending and above zero; curves (B, P), one row per resample; values to reach, (B,).
Out: sizes (B,) float64, between the measured ones where need be; 0 stands for "below the smallest", infinity for
"beyond the largest".

Between two sizes a curve is taken as straight on the logarithmic axis on which it is drawn.
"""

import numpy as np


def size_reaching(sizes: np.ndarray, curves: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The first size at which each curve reaches its value, (B,); 0 where it is above it from the smallest size on."""
    logs = np.log(sizes)
    reached = curves >= values[:, None]
    last = reached.argmax(axis=1)
    before, rows = np.maximum(last - 1, 0), np.arange(len(curves))
    rise = curves[rows, last] - curves[rows, before]
    share = np.divide(values - curves[rows, before], rise, out=np.zeros(len(curves)), where=rise > 0)
    found = np.exp(logs[before] + share * (logs[last] - logs[before]))
    found = np.where((last == 0) & (curves[:, 0] > values), 0.0, found)
    return np.where(reached.any(axis=1), found, np.inf)


def crossings_of(sizes: np.ndarray, gap: np.ndarray) -> list[tuple[float, int]]:
    """Where a difference of two curves, (P,), changes its sign: (size, +1 if it rises through zero, else −1)."""
    crossed, places = _crossed(sizes, gap[None])
    return [(float(places[0, k]), int(crossed[0, k])) for k in np.flatnonzero(crossed[0])]


def crossing_nearest(sizes: np.ndarray, gaps: np.ndarray, size: float, direction: int) -> np.ndarray:
    """In each resample, (B, P), the crossing of that direction nearest to `size`, (B,).

    Where a resample has none: 0 if the side that leads above `size` leads at the smallest size already, else infinity.
    """
    crossed, places = _crossed(sizes, gaps)
    fitting = crossed == direction
    far = np.where(fitting, np.abs(np.log(places) - np.log(size)), np.inf)
    nearest = places[np.arange(len(gaps)), far.argmin(axis=1)]
    without = np.where(direction * _signs(gaps)[:, 0] > 0, 0.0, np.inf)
    return np.where(fitting.any(axis=1), nearest, without)


def _crossed(sizes: np.ndarray, gaps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each step between two sizes, (B, P − 1): 0 or the direction of the crossing; and where it would be."""
    signs = _signs(gaps)
    change = np.sign(signs[:, 1:] - signs[:, :-1]).astype(np.int64)
    fall = gaps[:, :-1] - gaps[:, 1:]
    share = np.divide(gaps[:, :-1], fall, out=np.zeros_like(fall), where=change != 0)
    logs = np.log(sizes)
    return change, np.exp(logs[:-1] + share * np.diff(logs))


def _signs(gaps: np.ndarray) -> np.ndarray:
    """The sign at each size; where the curves meet, that of the nearest size before at which they do not, else after."""
    signs = np.sign(gaps)
    for forward in (True, False):
        order = range(1, gaps.shape[1]) if forward else range(gaps.shape[1] - 2, -1, -1)
        for k in order:
            beside = signs[:, k - 1 if forward else k + 1]
            signs[:, k] = np.where(signs[:, k] == 0, beside, signs[:, k])
    return signs
