"""What backbones see of an image: their exact inputs, side by side.

In: chosen cards, a frame of a dataset; without a dataset a drawn one. Out: a row of pictures.
"""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from fmlab.backbones.cards import BackboneCard
from fmlab.backbones.chart import drawn_frame, fitting
from fmlab.data.manifest import dataset_names, open_dataset
from fmlab.data.preprocessing import Style, seen_by_model, styled
from fmlab.settings import Home
from fmlab.ui import links
from fmlab.ui.dataset_tables import image_facts
from fmlab.ui.pictures import Tile, data_url, gallery

FRAMES_OFFERED = 6  # per class
STYLES: dict[Style, str] = {
    "native": "As its authors meant",
    "paper": "Limited-data study: 256 → 224",
    "squash": "Fetal study: squashed to 224",
}


def what_they_see(home: Home, cards: Sequence[BackboneCard]) -> None:
    """A frame beside the input that each backbone gets of it."""
    names = dataset_names(home)
    if names:
        _of_a_dataset(home, names, cards)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        style = links.choose_segment("Preprocessing", list(STYLES), "style", format_func=STYLES.get)
        links.link(links.DATASETS, "Import images to see your own", ":material/photo_library:")
    frame = drawn_frame()
    whole = Tile("stored", data_url(frame), "A drawn frame", f"{frame.shape[1]}×{frame.shape[0]} px")
    gallery([whole, *seen_tiles(frame, None, cards, style)], key="seen", tile_width=210)


def _of_a_dataset(home: Home, names: Sequence[str], cards: Sequence[BackboneCard]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = links.choose("Dataset", names, "dataset", width=260)
        dataset = open_dataset(home, name or names[0])
        rows = dataset.first_rows(None, FRAMES_OFFERED)
        labels = [label for label in dataset.card.classes if label in set(rows["label"].dropna())]
        label = links.choose("Class", labels, "class", width=200) if labels else None
        rows = rows[rows["label"] == label] if label else rows
        number = st.number_input("Frame", 1, max(1, len(rows)), key="frame", bind="query-params", width=120)
        style = links.choose_segment("Preprocessing", list(STYLES), "style", format_func=STYLES.get)
        masked = links.switch("Black out what lies outside the sector", "mask", value=dataset.card.mask_sector)
    image_id = rows["image_id"].iloc[min(number, len(rows)) - 1]
    pixels, fact = image_facts(dataset, [image_id])[image_id]
    sector = fact["sector"] if masked else None
    if masked and sector is None:
        st.caption("No sector was found in this image; nothing is blacked out.")
    whole = Tile(
        "stored",
        data_url(pixels, fact["sector"]),
        "As stored",
        f"{pixels.shape[1]}×{pixels.shape[0]} px, {fact['path']}",
    )
    gallery([whole, *seen_tiles(pixels, sector, cards, style)], key="seen", tile_width=210)


def seen_tiles(
    pixels: np.ndarray, sector: Sequence[float] | None, cards: Sequence[BackboneCard], style: Style
) -> list[Tile]:
    """The exact input of each backbone before normalisation, for one image; `sector`: black out what lies outside."""
    outline = None if sector is None else np.asarray(sector)
    tiles = []
    for card in cards:
        spec = styled(card.spec, style)
        seen = seen_by_model(pixels, spec, outline)
        tiles.append(
            Tile(card.key, data_url(seen, longest_side=max(256, spec.size), quality=92), card.title, fitting(spec))
        )
    return tiles
