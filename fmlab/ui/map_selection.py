"""What lies inside the outlines on a map: how many images of which class, what was made of them, and their pictures.

In: rows of a `MapTable`, the run whose answers are known. Out: counts, bars, the confusion, a gallery; the selection as a
queue for Review or as a CSV file. Nothing identifying is shown: no path, no patient, no sequence name.
"""

import csv
import io

import numpy as np
import pandas as pd
import streamlit as st

from fmlab.data.manifest import Dataset
from fmlab.metrics.accuracy import confusion_counts
from fmlab.plots.theme import INKS, Mode
from fmlab.review.queues import QueueConfig, open_queue
from fmlab.ui import links, session
from fmlab.ui.confusion_matrix import confusion_table
from fmlab.ui.embedding_map import category_colours
from fmlab.ui.format import count, escaped, percent
from fmlab.ui.map_columns import CORRECT, WRONG
from fmlab.ui.map_view import ChosenRun
from fmlab.ui.messages import shown_errors
from fmlab.ui.pictures import Tile, gallery
from fmlab.ui.review_pictures import ReviewPictures
from fmlab.ui.share_bars import ShareBar, share_bars

PER_PAGE = 24
TILE_WIDTH = 84  # CSS pixels
TILE_SIDE = 176  # pixels: sharp on most screens
MOST_BARS = 8
MOST_REVIEWED = 2_000  # images of one queue: more than anybody looks through
GALLERY = "selection"
NO_LABEL = "no label"
CSV_COLUMNS = {
    "image_id": "image_id",
    "split": "split",
    "site": "site",
    "label": "label",
    "prediction": "prediction",
    "correct": "correct",
    "confidence": "confidence",
}


def ordered(rows: pd.DataFrame) -> pd.DataFrame:
    """Selected rows as they are looked through: those answered wrongly first, the most confident of them at the front."""
    wrong = rows["correct"].eq(False)
    keys = pd.DataFrame({"right": ~wrong, "confidence": -rows["confidence"].where(wrong).astype(float)})
    return rows.loc[keys.sort_values(["right", "confidence"], kind="stable").index]


def sum_up(rows: pd.DataFrame) -> None:
    """How many images and sequences are selected, and how many of the scored ones were answered wrongly."""
    words = f"**{count(len(rows), 'image')}** of {count(rows['sequence'].nunique(), 'sequence')} selected"
    scored = int(rows["correct"].notna().sum())
    if scored:
        wrong = int(rows["correct"].eq(False).sum())
        words += f" · **{wrong:,} wrong** of {scored:,} scored ({percent(wrong / scored)})"
    st.markdown(words)


def show_actions(dataset: Dataset, rows: pd.DataFrame, run: ChosenRun | None) -> None:
    """The selection as a queue for Review, or as a file."""
    with st.container(horizontal=True):
        many = len(rows) > MOST_REVIEWED
        words = f"Review the first {MOST_REVIEWED:,}" if many else "Review these"
        if st.button(words, icon=":material/rate_review:", type="primary", key="review_selection"):
            _review(dataset, rows.head(MOST_REVIEWED), run)
        st.download_button(
            "CSV",
            data=lambda: selection_csv(rows),
            file_name=f"{dataset.name}-selection.csv",
            mime="text/csv",
            icon=":material/download:",
            key="download_selection",
        )


def _review(dataset: Dataset, rows: pd.DataFrame, run: ChosenRun | None) -> None:
    config = QueueConfig(
        kind="selection",
        dataset=dataset.name,
        runs=() if run is None else (run.run.key,),
        level="image",
        items=tuple(rows["image_id"]),
    )
    queue = None
    with shown_errors():
        queue = open_queue(session.home(), session.store(), config, session.actor())
    if queue is not None:
        study = {} if run is None else {"study": run.study}
        links.go(links.REVIEW, {"queue": queue.key, **study})


def selection_csv(rows: pd.DataFrame) -> str:
    """The selected images as CSV text: id, split, site, label, and what the run answered. No path, no patient.

    A cell that a spreadsheet would take for a formula begins with an apostrophe.
    """
    table = rows[list(CSV_COLUMNS)].rename(columns=CSV_COLUMNS)
    table["correct"] = table["correct"].map({True: "true", False: "false"})
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.itertuples(index=False):
        writer.writerow([_cell(value) for value in row])
    return file.getvalue()


def _cell(value: object) -> str:
    if value is None or value != value:  # null, not a number
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def show_classes(dataset: Dataset, rows: pd.DataFrame, labels: pd.Series, mode: Mode) -> None:
    """A bar for each class in the selection, the most frequent first, in the colours of the map; `labels`: of all points."""
    st.markdown("**Classes of the selected images**")
    classes = dataset.card.classes
    colours = {name: pair[mode == "dark"] for name, pair in zip(classes, category_colours(len(classes)), strict=True)}
    counts = rows["label"].fillna(NO_LABEL).value_counts()
    totals = labels.fillna(NO_LABEL).value_counts()
    bars = [
        ShareBar(str(name), int(number), int(totals[name]), colours.get(name, INKS[mode].axis))
        for name, number in counts.items()
    ]
    share_bars("class_mix", bars[:MOST_BARS])
    if len(bars) > MOST_BARS:
        others = sum(bar.count for bar in bars[MOST_BARS:])
        st.caption(f"and {count(others, 'image')} of {len(bars) - MOST_BARS} further classes")


def show_confusion(dataset: Dataset, rows: pd.DataFrame, run: ChosenRun, mode: Mode) -> tuple[str, str] | None:
    """What the scored images of the selection were taken for, among the classes that occur there; the cell just opened."""
    scored = rows[rows["correct"].notna()]
    if scored.empty:
        st.caption("None of these images was scored: they are training images.")
        return None
    names = [
        name for name in dataset.card.classes if (scored["label"] == name).any() or (scored["prediction"] == name).any()
    ]
    truth = pd.Categorical(scored["label"], categories=names).codes.astype(np.int64)
    answer = pd.Categorical(scored["prediction"], categories=names).codes.astype(np.int64)
    matrix = confusion_counts(answer[None], truth, len(names))[0]
    title = f"What they were taken for by {run.words}"
    return confusion_table("selection_confusion", matrix, names, title=title, mode=mode)


def show_gallery(dataset: Dataset, rows: pd.DataFrame) -> None:
    """The selected images, a page at a time; one that is clicked is picked (`GALLERY` in the session's state)."""
    last = max(1, -(-len(rows) // PER_PAGE))
    number = 1
    if last > 1:
        number = min(st.pagination(last, key="selection_page"), last)
    page = rows.iloc[(number - 1) * PER_PAGE : number * PER_PAGE]
    urls = ReviewPictures(dataset).urls(page["image_id"].tolist(), TILE_SIDE)
    tiles = [_tile(row, urls[row.image_id]) for row in page.itertuples() if row.image_id in urls]
    gallery(tiles, key=GALLERY, tile_width=TILE_WIDTH, selectable=True)
    if len(tiles) < len(page):
        gone = len(page) - len(tiles)
        st.caption(f"{count(gone, 'picture')} of this page cannot be read any more.")


def _tile(row: object, url: str) -> Tile:
    label = row.label if isinstance(row.label, str) else NO_LABEL
    if row.correct is None or row.correct != row.correct:
        return Tile(row.image_id, url, label, str(row.split))
    detail = f"{row.split}, {CORRECT if row.correct else f'answer {row.prediction}'}"
    return Tile(row.image_id, url, label, detail, "good" if row.correct else "bad")


def hover_lines(row: pd.Series) -> tuple[str, ...]:
    """What the tooltip of a point says."""
    label = row["label"] if isinstance(row["label"], str) else NO_LABEL
    lines = [label]
    if isinstance(row["prediction"], str):
        lines.append(f"answer {row['prediction']}" + ("" if row["correct"] else f" ({WRONG})"))
    lines.append(str(row["split"]) + (f" · site {row['site']}" if isinstance(row["site"], str) else ""))
    return tuple(lines)


def described(rows: pd.DataFrame, image: str) -> str:
    """One line about the picked image."""
    return " · ".join(escaped(line) for line in hover_lines(rows[rows["image_id"] == image].iloc[0]))
