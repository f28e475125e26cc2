"""Pictures on a page: small WebP data URLs that travel through the page's own websocket, and a gallery of them.

In: uint8 images (H, W) or (H, W, 3), their sector outline, captions from files and labels.
Out: data URLs; a grid of thumbnails. Captions are set as text in the browser, never as HTML, whatever they hold.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import streamlit as st
from PIL import Image, ImageDraw

OUTLINE_COLOUR = (64, 196, 255)
THUMBNAIL_SIDE = 320  # pixels: sharp at 160 CSS pixels on a screen of double density
TINY_SIDE = 64  # up to here every pixel counts and is shown as a square


@dataclass(frozen=True)
class Tile:
    """A picture with a line below it and a quieter second line. `tone` colours its frame."""

    key: str
    url: str
    caption: str
    detail: str = ""
    tone: Literal["plain", "good", "bad"] = "plain"


def data_url(
    pixels: np.ndarray, sector: Sequence[float] | None = None, longest_side: int = THUMBNAIL_SIDE, quality: int = 82
) -> str:
    """An image, scaled down to fit `longest_side`, as a WebP data URL; `sector` (fractions x0, y0, …) is drawn on it."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((longest_side, longest_side), Image.Resampling.BILINEAR)
    if sector is not None and len(sector) >= 6:
        picture = picture.convert("RGB")
        points = np.asarray(sector, np.float64).reshape(-1, 2) * (picture.width - 1, picture.height - 1)
        closed = [(float(x), float(y)) for x, y in [*points, points[0]]]
        ImageDraw.Draw(picture).line(closed, fill=OUTLINE_COLOUR, width=2)
    buffer = io.BytesIO()
    tiny = max(picture.size) <= TINY_SIDE
    picture.save(buffer, "WEBP", quality=quality, method=2, lossless=tiny)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def gallery(
    tiles: Sequence[Tile], key: str, tile_width: int = 150, selectable: bool = False, square: bool = True
) -> str | None:
    """Show the tiles in rows. Returns the key of the tile clicked last, when `selectable`, else None.

    `key` names the gallery on its page; `square` letterboxes every picture into a square, else heights vary.
    """
    content = {
        "tiles": [
            {"key": t.key, "url": t.url, "caption": t.caption, "detail": t.detail, "tone": t.tone} for t in tiles
        ],
        "width": tile_width,
        "selectable": selectable,
        "square": square,
    }
    state = _component(key=key, data=content, on_chosen_change=_keep)
    chosen = state.get("chosen") if selectable else None
    return chosen if chosen in {tile.key for tile in tiles} else None


def _keep() -> None:
    """A named event is what makes the component's state reach the script."""


_STYLE = """
.tiles { display: grid; gap: 0.75rem; font-family: var(--st-font); color: var(--st-text-color); }
figure { margin: 0; min-width: 0; }
.frame { width: 100%; padding: 0; border: 2px solid transparent; border-radius: 6px; overflow: hidden;
         background: #0b0f12; display: block; box-sizing: border-box; }
.square .frame { aspect-ratio: 1; }
.frame img { width: 100%; height: 100%; object-fit: contain; display: block; }
button.frame { cursor: pointer; }
button.frame:hover, button.frame:focus-visible { border-color: var(--st-primary-color); outline: none; }
.chosen .frame { border-color: var(--st-primary-color); box-shadow: 0 0 0 2px var(--st-primary-color); }
.good .frame { border-color: var(--st-blue-color); }
.bad .frame { border-color: var(--st-orange-color); }
figcaption { font-size: 0.8rem; line-height: 1.3; margin-top: 0.3rem; overflow-wrap: anywhere; }
.detail { display: block; opacity: 0.72; font-size: 0.75rem; }
"""

_SCRIPT = """
export default function (component) {
  const { data, parentElement, setStateValue } = component;
  let grid = parentElement.querySelector(".tiles");
  if (!grid) {
    grid = document.createElement("div");
    parentElement.appendChild(grid);
  }
  grid.className = data.square ? "tiles square" : "tiles";
  grid.style.gridTemplateColumns = `repeat(auto-fill, minmax(${data.width}px, 1fr))`;
  const kept = grid.dataset.chosen;
  grid.replaceChildren(...data.tiles.map((tile) => {
    const figure = document.createElement("figure");
    figure.className = tile.tone + (data.selectable && tile.key === kept ? " chosen" : "");
    const frame = document.createElement(data.selectable ? "button" : "div");
    frame.className = "frame";
    const image = document.createElement("img");
    image.src = tile.url;
    image.alt = tile.caption;
    image.onload = () => { if (image.naturalWidth <= 64) image.style.imageRendering = "pixelated"; };
    frame.appendChild(image);
    if (data.selectable) {
      frame.type = "button";
      frame.onclick = () => {
        grid.dataset.chosen = tile.key;
        grid.querySelectorAll(".chosen").forEach((other) => other.classList.remove("chosen"));
        figure.classList.add("chosen");
        setStateValue("chosen", tile.key);
      };
    }
    const caption = document.createElement("figcaption");
    caption.textContent = tile.caption;
    if (tile.detail) {
      const detail = document.createElement("span");
      detail.className = "detail";
      detail.textContent = tile.detail;
      caption.appendChild(detail);
    }
    figure.append(frame, caption);
    return figure;
  }));
}
"""

_component = st.components.v2.component("fmlab_gallery", css=_STYLE, js=_SCRIPT)
