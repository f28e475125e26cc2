"""Where the model looked: the image as it saw it, and over it what covering each part does to a score.

In: what is asked about, an image answered by a probe; a heat from the worker. Out: pictures, and a button that asks for
the heat where there is none yet.
"""

import numpy as np
import streamlit as st

from fmlab.backbones.chart import fitting
from fmlab.data.preprocessing import seen_by_model, styled
from fmlab.data.store import stored_images
from fmlab.runs.heat import explanation_request, read_heat
from fmlab.runs.records import UNFINISHED, Run
from fmlab.ui.format import escaped
from fmlab.ui.pictures import Tile, data_url, gallery
from fmlab.ui.why_asked import Asked, ask_for, find_run

PICTURE_SIDE = 448  # pixels: sharp at 224 CSS pixels on a screen of double density
TILE_WIDTH = 230  # CSS pixels
# Orange and blue are told apart with any colour vision; both stand out from grey tissue.
LOWERS, RAISES = (240, 125, 46), (76, 159, 224)
STRONGEST = 0.65  # opacity of the strongest heat: what lies below stays readable


def show_looked(asked: Asked) -> None:
    """The image as stored, as the model saw it, and where it looked; the choice of class stands above them."""
    st.markdown("**Where it looked**")
    with st.container(horizontal=True, vertical_alignment="center"):
        target = _choose_target(asked)
        explanation = _explanation(asked, asked.run, target) if asked.run and target else None
    stored = asked.pixels([asked.image_id])[asked.image_id]
    seen, words = _seen(asked)
    tiles = [
        Tile("stored", _picture(stored), "As stored", f"{stored.shape[1]}×{stored.shape[0]} px"),
        Tile("seen", _picture(seen), "As the model saw it", words),
    ]
    heat = read_heat(asked.home, explanation) if explanation else None
    if heat is not None:
        tiles.append(Tile("heat", _picture(overlaid(seen, heat)), "Where it looked", f"what speaks for {target}"))
    gallery(tiles, key=f"{asked.key}_looked", tile_width=TILE_WIDTH)
    if heat is not None:
        _legend(heat, str(target))


def _seen(asked: Asked) -> tuple[np.ndarray, str]:
    """The input of the backbone, uint8 (S, S, 3), and how the image became it.

    What it saw outside the sector is not shown to a person unless that may be: a name could be burnt in there.
    """
    pixels = stored_images(asked.dataset.folder / "store", [asked.image_id])[asked.image_id]
    sector = asked.dataset.rows_of([asked.image_id], ["sector"])[0]["sector"]
    spec = styled(asked.card.spec, asked.space.style)
    masked = asked.space.mask_sector
    hidden = sector is not None and not asked.whole and not masked
    outline = np.asarray(sector) if sector is not None and (masked or hidden) else None
    words = fitting(spec) + ("; it also saw what lies outside the sector" if hidden else "")
    return seen_by_model(pixels, spec, outline), words


def _choose_target(asked: Asked) -> str | None:
    """The class that is asked about: the answer, or the label where it is another."""
    if asked.answer is None or asked.label is None or asked.label == asked.answer:
        return asked.answer
    names = {f"Answer {asked.answer}": asked.answer, f"Label {asked.label}": asked.label}
    chosen = st.segmented_control(
        "What speaks for",
        list(names),
        default=next(iter(names)),
        required=True,
        key=f"{asked.key}_target_{asked.image_id}",
        label_visibility="collapsed",
        format_func=escaped,
    )
    return names.get(str(chosen), asked.answer)


def _explanation(asked: Asked, run: Run, target: str) -> Run | None:
    """The finished explanation; else what stands in its place: a button, how far it is, or why it cannot be."""
    if run.kind != "adapt":
        st.caption(
            "Only for probes of frozen backbones: the weights of a trained network are not kept. Choose a probe of the "
            "same backbone."
        )
        return None
    request = explanation_request(asked.home, run, asked.image_id, target)
    explanation = find_run(asked.store, request)
    if explanation is not None and explanation.state == "done":
        return explanation
    if explanation is not None and explanation.state in UNFINISHED:
        st.markdown(":material/hourglass_top: Covering parts of the image; the picture appears here.")
        return None
    if explanation is not None:
        st.error(escaped(explanation.reason or f"It was {explanation.state}."), icon=":material/error:")
    st.button(
        "Show where it looked",
        key=f"{asked.key}_look",
        icon=":material/visibility:",
        help="Covers the image square by square and measures the score each time. Takes seconds on a small backbone.",
        on_click=ask_for,
        args=(request, explanation),
    )
    return None


def _legend(heat: np.ndarray, target: str) -> None:
    if not heat.any():
        st.caption(f"Covering no part of the image changes the score of {escaped(target)}.")
        return
    st.markdown(
        f":orange[■] covering this lowers the score of **{escaped(target)}**, by up to "
        f"{max(0.0, float(heat.max())):.3g} · :blue[■] covering it raises it, by up to "
        f"{max(0.0, float(-heat.min())):.3g}"
    )
    st.caption("Squares of an eighth of the side, black as a shadow: a coarse answer, and about this model alone.")


def overlaid(seen: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The input of a model, uint8 (S, S, 3), under its heat (S, S): orange where covering lowers, blue where it raises."""
    strongest = max(float(np.abs(heat).max()), 1e-12)
    opacity = STRONGEST * (np.abs(heat) / strongest)[..., None]
    hue = np.where((heat > 0)[..., None], np.array(LOWERS, float), np.array(RAISES, float))
    return np.round(seen * (1 - opacity) + hue * opacity).astype(np.uint8)


def _picture(pixels: np.ndarray) -> str:
    return data_url(pixels, longest_side=PICTURE_SIDE, quality=90)
