"""The ultrasound sector: where in the picture the scan is, found from the pixels.

In: frames of one scan, uint8 (H, W) or (H, W, 3), and, where the file tells it, a box in which the scan lies.
Out: its outline as fractions of width and height (x0, y0, x1, y1, …), clockwise; None if the whole picture is tissue
or nothing is found.

A screen's background is drawn, so neighbouring pixels are equal; tissue is speckle, so they differ, even where it is
nearly black. Cells of a few pixels in which many neighbours differ strongly, or weakly above the background's grey,
are scan. Thin things (text, rulers, calipers) are opened away, bars of one colour have no texture, what remains small
is dropped, and the outline is the convex hull of the rest. Under a curved probe the hull's lid is replaced by the arc
that the first echoes follow.

It errs on the side of too much: lettering that touches the scan may stay in, and a black corner of the scan may be
lost, but tissue that can be seen is not.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

Box = tuple[float, float, float, float]

SMALLEST = 128  # pixels along the longer side: smaller pictures are cut-outs of tissue
LOOKED_AT = 480  # pixels along the longer side
CELLS = 160  # along the longer side
STEP = 3  # of 255 grey levels between neighbours: more than the ringing of a compressed black background
TEXTURED = 0.3  # of a cell's pixels
CLEAN = 0.01  # of the cells are without any difference
FAINT, VISIBLE = 2.0, 8.0  # grey levels above the background, where that is clean and where it is not
LETTER = 5  # cells: the height of lettering, 15 lines in a picture of 640 × 480
SMALL = 0.1  # of the largest piece: below it a piece is lettering
LEAST, MOST = 0.02, 0.96  # of the picture: below nothing was found, above all of it is tissue
BAR = 3.5  # times as long as wide: a colour bar or a headline
ARC_FIT, ARC_DEPTH = 1.5, 3.0  # cells: how well the first echoes must lie on an arc, how deep it must be to count
ARC_POINTS = 9


def find_sector(frames: Sequence[np.ndarray], region: Box | None = None) -> tuple[float, ...] | None:
    """The outline of the scan in frames of one size, from all of them together."""
    if max(frames[0].shape[:2]) < SMALLEST:
        return None
    cells, cell = _textured_cells(frames)
    if region is not None:
        cells &= _inside_box(cells.shape, cell, frames[0].shape, region)
    scan = _scan_cells(cells)
    if scan is None:
        return None if region is None else _box_outline(region)
    outline = _hull(scan)
    outline = _with_arc(outline, scan)
    height, width = frames[0].shape[:2]
    points = np.clip(outline * cell / np.array([width, height]), 0, 1)
    covered = _area(points)
    if covered < LEAST:
        return None if region is None else _box_outline(region)
    if covered > MOST:
        return None
    return tuple(float(np.float32(round(value, 4))) for value in points.ravel())


def _textured_cells(frames: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """Which cells are scan in any frame, (rows, columns) bool, and the side of a cell in pixels."""
    height, width = frames[0].shape[:2]
    thin = max(1, round(max(height, width) / LOOKED_AT))  # neighbours that far apart differ all the more
    side = max(1, round(max(height, width) / thin / CELLS))
    rows, columns = height // thin // side, width // thin // side
    found = np.zeros((rows, columns), bool)
    for frame in frames:
        green = frame if frame.ndim == 2 else frame[..., 1]  # nearest to brightness, and one third of the work
        grey = np.ascontiguousarray(green[::thin, ::thin][: rows * side, : columns * side])
        found |= _scan_like(grey, side)
    return found, float(side * thin)


def _scan_like(grey: np.ndarray, side: int) -> np.ndarray:
    """Cells of one frame with the texture of a scan: strong, or weak and brighter than the background."""
    differs = np.zeros_like(grey)
    differs[:, 1:] = _distance(grey[:, 1:], grey[:, :-1])
    np.maximum(differs[1:], _distance(grey[1:], grey[:-1]), out=differs[1:])
    strong, weak = _cell_means(differs >= STEP, side), _cell_means(differs > 0, side)
    brightness = _cell_means(grey, side)
    flat = weak == 0
    # A background without any noise (lossless pictures) tells even the weakest echo; a compressed one does not.
    clean = flat.mean() > CLEAN
    background = float(np.median(brightness[flat])) if clean else float(np.percentile(brightness, 2))
    echo = brightness > background + (FAINT if clean else VISIBLE)
    return (strong >= TEXTURED) | (echo & (weak >= TEXTURED))


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.maximum(one, other) - np.minimum(one, other)


def _cell_means(values: np.ndarray, side: int) -> np.ndarray:
    rows, columns = values.shape[0] // side, values.shape[1] // side
    across = values.reshape(-1, columns, side).sum(axis=2, dtype=np.uint16)
    return across.reshape(rows, side, columns).sum(axis=1, dtype=np.uint32) / np.float32(side * side)


def _inside_box(shape: tuple[int, int], cell: float, size: tuple[int, ...], region: Box) -> np.ndarray:
    rows, columns = np.indices(shape)
    x, y = (columns + 0.5) * cell / size[1], (rows + 0.5) * cell / size[0]
    left, top, right, bottom = region
    return (x >= left) & (x <= right) & (y >= top) & (y <= bottom)


def _scan_cells(cells: np.ndarray) -> np.ndarray | None:
    """The pieces that are scan: thick ones, without bars and lettering. (rows, columns) bool."""
    padded = np.pad(cells, LETTER, mode="edge")  # what touches the edge of the picture goes on beyond it
    inside = (slice(LETTER, -LETTER), slice(LETTER, -LETTER))
    solid = ndimage.binary_opening(padded, np.ones((3, 3), bool))
    core = ndimage.binary_opening(solid, np.ones((LETTER, LETTER), bool))[inside]
    pieces, count = ndimage.label(solid[inside], np.ones((3, 3), bool))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    thick = set(np.unique(pieces[core]).tolist()) - {0}
    if not thick:
        return None
    largest = max(sizes[number] for number in thick)
    boxes = ndimage.find_objects(pieces)
    kept = [n for n in thick if sizes[n] >= SMALL * largest and not _is_bar(boxes[n - 1], sizes[n], largest)]
    return np.isin(pieces, kept) if kept else None


def _is_bar(box: tuple[slice, slice], size: int, largest: int) -> bool:
    height, width = (part.stop - part.start for part in box)
    return bool(max(height, width) > BAR * min(height, width) and size < 0.25 * largest)


def _hull(scan: np.ndarray) -> np.ndarray:
    """Corners of the convex hull of cells, (V, 2) x, y in cells, clockwise on the screen (Andrew's monotone chain)."""
    rows = np.flatnonzero(scan.any(axis=1))
    left = scan[rows].argmax(axis=1)
    right = scan.shape[1] - scan[rows, ::-1].argmax(axis=1)
    corners = [(x, y + low) for x, y in zip(left, rows, strict=True) for low in (0, 1)]
    corners += [(x, y + low) for x, y in zip(right, rows, strict=True) for low in (0, 1)]
    points = sorted({(int(x), int(y)) for x, y in corners})
    upper, lower = _chain(points), _chain(points[::-1])
    return np.array(upper[:-1] + lower[:-1], float)


def _chain(points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    chain: list[tuple[int, int]] = []
    for x, y in points:
        while len(chain) > 1:
            (ax, ay), (bx, by) = chain[-2:]
            if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                break
            chain.pop()
        chain.append((x, y))
    return chain


def _with_arc(outline: np.ndarray, scan: np.ndarray) -> np.ndarray:
    """The outline with its lid lowered to the arc of a curved probe, if the first echoes follow one."""
    lid = _lid(outline)
    if lid is None:
        return outline
    (left, left_y), (right, right_y), position = lid
    columns = np.arange(int(left) + 1, int(right) - 1)
    if len(columns) < ARC_POINTS:
        return outline
    seen = scan[:, columns].any(axis=0)
    first = scan[:, columns].argmax(axis=0).astype(float)
    chord = left_y + (columns + 0.5 - left) / (right - left) * (right_y - left_y)
    # A parabola through both ends: one number, its depth in the middle, taken so that half of the echoes lie on each side.
    shape = 4 * (columns + 0.5 - left) * (right - columns - 0.5) / (right - left) ** 2
    middle = seen & (shape > 0.3)
    if middle.mean() < 0.4:
        return outline
    depth = float(np.median((first - chord)[middle] / shape[middle]))
    misfit = float(np.median(np.abs(first - chord - depth * shape)[middle]))
    if depth < ARC_DEPTH or misfit > ARC_FIT:
        return outline
    x = np.linspace(left, right, ARC_POINTS)[1:-1]
    y = np.interp(x, [left, right], [left_y, right_y])
    y += (
        (depth - 1) * 4 * (x - left) * (right - x) / (right - left) ** 2
    )  # a cell less: rather too much than too little
    return np.insert(outline, position, np.column_stack((x, y)), axis=0)


def _lid(outline: np.ndarray) -> tuple[np.ndarray, np.ndarray, int] | None:
    """The longest edge in the hull's upper part that runs from left to right: its ends, and where points go between."""
    following = np.roll(outline, -1, axis=0)
    run = following - outline
    upper = (outline[:, 1] + following[:, 1]) / 2 < outline[:, 1].min() + 0.35 * np.ptp(outline[:, 1])
    flat = (run[:, 0] > 0) & (np.abs(run[:, 1]) < 0.3 * run[:, 0]) & upper
    if not flat.any():
        return None
    position = int(np.argmax(np.where(flat, run[:, 0], 0)))
    return outline[position], following[position], position + 1


def _area(points: np.ndarray) -> float:
    """Area of a polygon in its own units (the shoelace formula)."""
    x, y = points.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _box_outline(region: Box) -> tuple[float, ...]:
    left, top, right, bottom = region
    return (left, top, right, top, right, bottom, left, bottom)
