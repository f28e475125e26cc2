"""What a scanner writes over its pictures: text, depth ticks, an orientation mark, an ECG trace.

Everything is drawn outside the sector only, and nothing in it depends on the view: no view names, and values (depth,
rates, dates) come from the machine and the patient.

In:  `Style` of the machine, lines of text, `Sector`, phases of the frames
Out: overlays (256, 256) uint8, 0 where nothing is written
"""

from dataclasses import dataclass

import numpy as np

from fmlab.phantom.scanner import IMAGE_SIZE, Sector

# Glyphs of 3x5 dots: five rows, each an octal digit whose bits are the three dots.
_FONT = {
    "A": "25755", "B": "65656", "C": "34443", "D": "65556", "E": "74647", "F": "74644", "G": "34553", "H": "55755",
    "I": "72227", "J": "11152", "K": "55655", "L": "44447", "M": "57755", "N": "57775", "O": "25552", "P": "65644",
    "Q": "25563", "R": "65655", "S": "34216", "T": "72222", "U": "55557", "V": "55552", "W": "55775", "X": "55255",
    "Y": "55222", "Z": "71247", "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717",
    "6": "74757", "7": "71111", "8": "75757", "9": "75717", ".": "00002", "/": "11244", ":": "02020", "-": "00700",
    " ": "00000",
}  # fmt: skip

GLYPHS: dict[str, np.ndarray] = {
    letter: np.array([[int(row) >> bit & 1 for bit in (2, 1, 0)] for row in rows], dtype=bool)
    for letter, rows in _FONT.items()
}
"""Letters this font can write, each (5, 3) bool."""


@dataclass(frozen=True)
class Style:
    """How one make of scanner writes: grey level, corner of the text, side of the ticks, mark, ECG trace."""

    grey: int
    corner: str
    ticks: str
    mark: bool
    trace: bool


def write(image: np.ndarray, text: str, row: int, column: int, grey: int) -> None:
    """Write one line of text into `image` (in place), clipped at its borders; unknown letters raise KeyError."""
    for letter in text:
        glyph = GLYPHS[letter]
        if row >= 0 and column >= 0 and row + 5 <= image.shape[0] and column + 3 <= image.shape[1]:
            image[row : row + 5, column : column + 3][glyph] = grey
        column += 4


def _place(image: np.ndarray, lines: list[str], corner: str, grey: int) -> None:
    height = 7 * len(lines)
    row = 3 if corner.startswith("top") else IMAGE_SIZE - height - 2
    for line in lines:
        column = 3 if corner.endswith("left") else IMAGE_SIZE - 4 * len(line) - 2
        write(image, line, row, column, grey)
        row += 7


def _ticks(image: np.ndarray, sector: Sector, side: str, grey: int) -> None:
    """A tick per cm and a longer, numbered one per 5 cm: along the edge of the fan, or down the border."""
    per_cm = 10.0 / sector.spacing_mm
    angle = np.deg2rad(sector.half_angle)
    for centimetre in range(int(sector.depth_mm / 10.0) + 1):
        radius = sector.inner_radius + centimetre * per_cm
        if side == "border":
            row, column = sector.apex_y + radius, IMAGE_SIZE - 6.0
        else:
            sign = 1.0 if side == "right" else -1.0
            row, column = sector.apex_y + radius * np.cos(angle), sector.apex_x + sign * (radius * np.sin(angle) + 4.0)
        row, column = round(row), round(column)
        length = 4 if centimetre % 5 == 0 else 2
        if 0 <= row < IMAGE_SIZE and 0 <= column < IMAGE_SIZE - length:
            image[row, column : column + length] = grey
        if centimetre % 5 == 0 and centimetre > 0:
            write(image, str(centimetre), row - 2, column + 5 if side == "right" else column - 9, grey)


def static_overlay(sector: Sector, style: Style, lines: list[str]) -> np.ndarray:
    """Text, ticks and mark of a sequence, (256, 256) uint8; zero inside the sector."""
    image = np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    _place(image, lines, style.corner, style.grey)
    _ticks(image, sector, style.ticks, style.grey)
    if style.mark:
        write(image, "V", max(round(sector.apex_y), 1), round(sector.apex_x) + 12, style.grey)
    image[sector.mask()] = 0
    return image


def trace_overlay(sector: Sector, style: Style, phase: float) -> np.ndarray:
    """The ECG along the lower border with a bright stroke at the frame's phase, (256, 256) uint8; empty without trace."""
    image = np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    if not style.trace:
        return image
    beats = np.linspace(0.0, 2.0, IMAGE_SIZE)
    inside = (beats + 0.5) % 1.0 - 0.5
    wave = 11.0 * np.exp(-((inside / 0.018) ** 2)) - 3.0 * np.exp(-(((inside - 0.035) / 0.015) ** 2))
    wave += 2.5 * np.exp(-(((beats % 1.0 - 0.34) / 0.05) ** 2)) + 1.3 * np.exp(-(((beats % 1.0 - 0.84) / 0.03) ** 2))
    rows = np.clip(np.round(IMAGE_SIZE - 7 - wave), 0, IMAGE_SIZE - 1).astype(int)
    image[rows, np.arange(IMAGE_SIZE)] = style.grey
    column = round((1.0 + phase % 1.0) * (IMAGE_SIZE - 1) / 2.0)
    image[IMAGE_SIZE - 20 : IMAGE_SIZE - 2, column] = 255
    image[sector.mask()] = 0
    return image
