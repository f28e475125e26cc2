"""A drawn frame and what a backbone sees of it: the frame, its native input and the paper's, side by side.

In: a card. Out: a grey image, uint8 (480, 640), and a picture for a person, uint8 (H, W, 3).

The frame shows what preprocessing can do to an image: circles tell a squashed image from a cropped one, the letters at
the edges say what was cut off, the stripes below what scaling down did to fine detail.
"""

from typing import get_args

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fmlab.backbones.cards import BackboneCard
from fmlab.data.preprocessing import InputSpec, Style, seen_by_model, styled

WIDTH, HEIGHT = 640, 480

PANEL = 336  # height of an image in the picture, pixels
GAP = 16
CAPTION = 44
PAPER, INK = (255, 255, 255), (40, 40, 40)


def drawn_frame() -> np.ndarray:
    """The frame, uint8 (480, 640): the same on every machine."""
    frame = Image.fromarray(_sector())
    draw = ImageDraw.Draw(frame)
    draw.rectangle((0, 0, WIDTH - 1, HEIGHT - 1), outline=120)
    centre = (WIDTH // 2, HEIGHT // 2)
    for radius in (40, 80, 120):
        draw.ellipse((centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius), outline=255)
    font = ImageFont.load_default(28)
    places = {"L": (14, centre[1]), "R": (WIDTH - 14, centre[1]), "T": (centre[0], 20), "B": (centre[0], HEIGHT - 20)}
    for letter, place in places.items():
        draw.text(place, letter, fill=255, font=font, anchor="mm")
    for number in range(4):  # 1, 2, 3 and 4 pixels wide
        left, step = 130 + 100 * number, number + 1
        for x in range(left, left + 72, 2 * step):
            draw.rectangle((x, HEIGHT - 80, x + step - 1, HEIGHT - 46), fill=230)
    return np.array(frame)


def _sector() -> np.ndarray:
    """Speckle inside a fan that opens downward, black outside."""
    down, across = np.mgrid[:HEIGHT, :WIDTH]
    depth = np.hypot(across - WIDTH / 2, down + 60)
    inside = (depth > 90) & (depth < HEIGHT + 20) & (np.abs(across - WIDTH / 2) < 0.7 * (down + 60))
    rng = np.random.default_rng(7)
    grain = np.hypot(*rng.normal(size=(2, HEIGHT // 4, WIDTH // 4))).repeat(4, axis=0).repeat(4, axis=1)
    tissue = 0.45 + 0.3 * np.sin(depth / 23) + 0.25 * np.cos(across / 57)
    return np.where(inside, np.clip(70 * tissue * grain, 0, 200), 0).astype(np.uint8)


def side_by_side(card: BackboneCard) -> np.ndarray:
    """The frame, and what the backbone sees of it in each style before normalisation, with captions."""
    frame = drawn_frame()
    panels = [(f"the frame\n{WIDTH}×{HEIGHT} px", np.repeat(frame[..., None], 3, axis=2))]
    for style in get_args(Style):
        spec = styled(card.spec, style)
        panels.append((f"{style}\n{fitting(spec)}", seen_by_model(frame, spec)))
    pictures = [(caption, _at_height(pixels)) for caption, pixels in panels]
    width = sum(picture.width for _, picture in pictures) + GAP * (len(pictures) + 1)
    sheet = Image.new("RGB", (width, PANEL + CAPTION + 2 * GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    left = GAP
    for caption, picture in pictures:
        # Pillow's own font has no multiplication sign.
        draw.multiline_text((left, GAP // 2), caption.replace("×", " x "), fill=INK, font=ImageFont.load_default(15))
        sheet.paste(picture, (left, GAP + CAPTION))
        left += picture.width + GAP
    return np.array(sheet)


def _at_height(pixels: np.ndarray) -> Image.Image:
    """The image at the height of a panel: small ones enlarged pixel by pixel, large ones scaled down smoothly."""
    picture = Image.fromarray(pixels)
    enlarge = picture.height < PANEL
    filtering = Image.Resampling.NEAREST if enlarge else Image.Resampling.LANCZOS
    return picture.resize((round(picture.width * PANEL / picture.height), PANEL), filtering)


def fitting(spec: InputSpec) -> str:
    """How an image becomes the input, in words: `shorter side to 256 px, centre 224×224, bicubic`."""
    square = f"{spec.size}×{spec.size}"
    if spec.resize == "squash":
        return f"whole image squashed to {square} px, {spec.interpolation}"
    if spec.resize == "pad":
        return f"black added to a square, {square} px, {spec.interpolation}"
    return f"shorter side to {spec.resize_to} px, centre {square}, {spec.interpolation}"
