"""The misclassified images of a run in a grid, worst first, and the chosen one large.

In: a `ChosenStudy`, the run in the address. Out: a dark reading surface, whatever the theme, and on demand why the image
on show was answered as it was. Nothing identifying is shown: no path, no patient, no sequence name.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fmlab.plots.wording import adaptation_name, percent, size_text, test_set_name
from fmlab.review.queue import SCORE_PREFIX, Level, filtered, misclassified, page_of, pages
from fmlab.studies.scoring import item_table
from fmlab.ui import links
from fmlab.ui.format import count, escaped
from fmlab.ui.messages import synthetic_note
from fmlab.ui.pictures import Tile, data_url, gallery
from fmlab.ui.review_choice import choose_level, go_to
from fmlab.ui.review_pictures import ReviewPictures
from fmlab.ui.study_choice import Cell, ChosenStudy, choose_cell, choose_seed, choose_test_set, rows_of
from fmlab.ui.why_view import show_why

PER_PAGE = 24
TILE_WIDTHS = {"Small": 150, "Medium": 220, "Large": 320}  # CSS pixels
CLASSES_SHOWN = 5
LARGE_SIDE = 1024  # pixels of the chosen image: no stored image is larger
FRAME_SIDE = 240  # pixels of the frames below it
READING = "reading"
SUMMARY_WIDTH = 440  # CSS pixels: beside the buttons on a small laptop
WHOLE_HELP = "Also show what lies outside the ultrasound sector. Text burnt in there may name a patient."
# Constant text: nothing from a file ever stands in it.
READING_STYLE = f"""<style>
.st-key-{READING} {{ background: #0B0F12; padding: 1rem 1.25rem 1.25rem; border-radius: 8px; }}
.st-key-{READING}, .st-key-{READING} p, .st-key-{READING} li {{ color: #E8EEF1 !important; }}
.st-key-{READING} [data-testid="stCaptionContainer"], .st-key-{READING} [data-testid="stCaptionContainer"] p {{
  color: #B4C0C7 !important; opacity: 1; }}
.st-key-{READING} * {{ --st-text-color: #E8EEF1; }}
.st-key-{READING} th, .st-key-{READING} td {{ color: #E8EEF1 !important; border-color: #2A353C !important; }}
.st-key-{READING} [data-testid="stColumn"]:last-child {{ position: sticky; top: 4rem; align-self: flex-start; }}
</style>"""


def show_gallery(study: ChosenStudy, choice: DeltaGenerator, sum_up: DeltaGenerator) -> None:
    """The gallery of one run; the widgets that choose the run go into `choice`, what it scored into `sum_up`."""
    with choice:
        cell = choose_cell(study)
        test_set = choose_test_set(study)
        rows = rows_of(study, cell, test_set)
        if rows.empty:
            st.info(
                f"No run of this kind has finished on {escaped(test_set_name(test_set))} yet.",
                icon=":material/hourglass_top:",
            )
            return
        run = choose_seed(rows)
    items = item_table(study.home, study.store, str(run["run"]), test_set)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        level = choose_level(study)
        everything = misclassified(items, level)
        queue = _choose_filters(everything)
        width = TILE_WIDTHS[links.choose_segment("Pictures", list(TILE_WIDTHS), "pictures", "Medium") or "Medium"]
        pictures = ReviewPictures(study.dataset, links.switch("Whole frame", "whole", help=WHOLE_HELP))
    with sum_up:
        st.button("Review them", icon=":material/fact_check:", key="one_by_one", on_click=_one_by_one)
        _sum_up(study, cell, run, everything, level)
    if queue.empty:
        words = "Nothing here was misclassified." if everything.empty else "No misclassified image fits these filters."
        st.success(words, icon=":material/check_circle:")
        return
    surface = st.container(key=READING)
    number = _choose_page(queue)
    st.html(READING_STYLE)
    with surface:
        row = _grid_and_image(pictures, page_of(queue, number, PER_PAGE), items, level, width)
    _explain(study, str(run["run"]), row, pictures.whole)
    synthetic_note(study.synthetic)


def _one_by_one() -> None:
    """Open the card on the same run with the same filters."""
    st.session_state["kind"] = "Misclassified"
    st.query_params.pop("queue", None)
    go_to("Review")


def _explain(study: ChosenStudy, run: str, row: pd.Series, whole: bool) -> None:
    """Why the image on show was answered as it was, computed when it is opened."""
    opened = st.expander("Why is it wrong?", icon=":material/troubleshoot:", key="why", on_change="rerun")
    if opened.open:
        with opened:
            facts = (study.store.run(run), str(row["image_id"]), str(row["test_set"]), study.name)
            show_why(study.home, study.store, study.dataset, *facts, whole=whole, key="gallery_why")


def _sum_up(study: ChosenStudy, cell: Cell, run: pd.Series, wrong: pd.DataFrame, level: Level) -> None:
    tested = int(run["n_sequences" if level == "sequence" else "n_images"])
    accuracy = float(run["sequence_accuracy" if level == "sequence" else "image_accuracy"])
    test_set = escaped(test_set_name(run["test_set"]))
    st.markdown(
        f"**{escaped(cell.backbone)}**, {adaptation_name(cell.adaptation)} on {size_text(cell.size, study.scheme)}, subset "
        f"{run['seed']}: **{len(wrong):,} of {count(tested, level)}** of {test_set} misclassified, accuracy "
        f"{unbroken(percent(accuracy))}; the most frequent class alone holds "
        f"{unbroken(percent(float(run['majority_rate'])))} of its images.",
        width=SUMMARY_WIDTH,
    )


def unbroken(text: str) -> str:
    """Text that stays on one line: a number is not parted from its unit."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _choose_filters(queue: pd.DataFrame) -> pd.DataFrame:
    """Widgets for true class, answer and site; the rows that are left."""
    truth = _filter("True class", queue["label"], "truth")
    answer = _filter("Answer", queue["predicted"], "answer")
    site = _filter("Site", queue["site"], "site") if queue["site"].nunique() > 1 else None
    return filtered(queue, truth, answer, site)


def _filter(label: str, column: pd.Series, name: str) -> str | None:
    return links.choose(label, sorted(column.dropna().unique()), name, index=None, placeholder="All", width=160)


def _choose_page(queue: pd.DataFrame) -> int:
    """Leaf through the queue; the page's number is in the address."""
    last = pages(queue, PER_PAGE)
    return 1 if last == 1 else st.pagination(last, key="page", bind="query-params")


def _grid_and_image(
    pictures: ReviewPictures, rows: pd.DataFrame, items: pd.DataFrame, level: Level, width: int
) -> pd.Series:
    """The pictures of one page, and one of them large; returns its row."""
    left, right = st.columns([3, 2], gap="medium")
    pixels = pictures.pixels(rows["image_id"].tolist())
    with left:
        tiles = [
            Tile(str(row.image_id), data_url(pixels[str(row.image_id)], longest_side=2 * width), *_captions(row))
            for row in rows.itertuples()
        ]
        chosen = gallery(tiles, key="misclassified", tile_width=width, selectable=True)
    with right:
        row = rows[rows["image_id"] == chosen].iloc[0] if chosen else rows.iloc[0]
        _show_one(row, pixels[str(row["image_id"])])
        if level == "sequence":
            _show_frames(pictures, row, items)
    return row


def _captions(row: Any) -> tuple[str, str]:
    """Truth and answer; the rank, and how far the answer was ahead in score or in votes."""
    words = f"{row.label} → {row.predicted}"
    if hasattr(row, "votes"):
        return words, f"{row.rank} · {row.votes} of {row.images} images, {row.votes - row.lead} for the truth"
    return words, f"{row.rank} · score {row.score:.2f}, ahead by {row.margin:.2f}"


def _show_one(row: pd.Series, pixels: np.ndarray) -> None:
    """The chosen image large, with everything that is known of its answer."""
    picture = Tile(str(row["image_id"]), data_url(pixels, longest_side=LARGE_SIDE), "")
    gallery([picture], key="large", tile_width=360, square=False)
    st.markdown(f"Truth **{escaped(row['label'])}** · answer **{escaped(row['predicted'])}**")
    facts = [f"number {int(row['rank'])} of the queue"]
    if pd.notna(row["site"]):
        facts.append(f"site {escaped(row['site'])}")
    if "votes" in row:
        facts.append(f"{int(row['votes'])} of {int(row['images'])} images gave this answer")
    st.caption(" · ".join(facts))
    st.markdown(score_lines(row))
    st.caption("Scores order the classes; they are not probabilities.")


def score_lines(row: pd.Series) -> str:
    """The highest scores as a small Markdown table, with the truth and the answer marked in words; both always stand in it."""
    scores = {name.removeprefix(SCORE_PREFIX): float(row[name]) for name in row.index if name.startswith(SCORE_PREFIX)}
    marks = {row["label"]: "truth", row["predicted"]: "answer"}
    ordered = sorted(scores, key=lambda name: -scores[name])
    shown = [name for place, name in enumerate(ordered) if place < CLASSES_SHOWN or name in marks]
    lines = [f"| {escaped(name)} | {scores[name]:.2f} | {marks.get(name, '')} |" for name in shown]
    return "\n".join(["| class | score | |", "|:--|--:|:--|", *lines])


def _show_frames(pictures: ReviewPictures, row: pd.Series, items: pd.DataFrame) -> None:
    here = (items["sequence_id"] == row["sequence_id"]) & (items["test_set"] == row["test_set"])
    voted = items[here].sort_values("frame")
    frames: Sequence[Any] = list(voted.itertuples())
    pixels = pictures.pixels(voted["image_id"].tolist())
    st.caption("The images of this sequence that voted:")
    tiles = [
        Tile(
            str(frame.image_id),
            data_url(pixels[str(frame.image_id)], longest_side=FRAME_SIDE),
            str(frame.predicted),
            f"frame {frame.frame}",
            "good" if frame.correct else "bad",
        )
        for frame in frames
    ]
    gallery(tiles, key="frames", tile_width=110)
