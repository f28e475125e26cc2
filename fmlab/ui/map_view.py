"""The map of a dataset on a page: which projection, how it is coloured, and what lies under a lasso.

In: a home and its store. Out: a request for a projection where there is none, the map, and thumbnails of the selection.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from fmlab.backbones.catalogue import catalogue, on_disk
from fmlab.data.manifest import Dataset, dataset_names, open_dataset
from fmlab.data.preprocessing import mask_outside
from fmlab.data.store import stored_images
from fmlab.embeddings.projection import read_projection
from fmlab.errors import NotFound
from fmlab.plots.projection import CORRECT, WRONG, projection_map
from fmlab.plots.wording import adaptation_name, in_usual_order
from fmlab.runs.records import RETRIABLE, UNFINISHED, Run
from fmlab.runs.requests import projection_request, request_run
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.scoring import item_table
from fmlab.ui import links, session
from fmlab.ui.format import count, escaped
from fmlab.ui.messages import empty_state, shown_errors, synthetic_note
from fmlab.ui.pictures import Tile, data_url, gallery
from fmlab.ui.study_choice import size_label
from fmlab.ui.theme import FIGURE_SETTINGS, mode

MOST_POINTS = 20_000  # a browser draws more, but a page sends them slowly
MOST_THUMBNAILS = 60
METHODS = {"umap": "UMAP", "pca": "PCA"}
NOT_SCORED = "not scored"
MAP = "map"
# The lasso and the box are what this figure is for; the picture is saved as pixels, 20,000 points are no vector drawing.
MAP_SETTINGS = FIGURE_SETTINGS | {
    "scrollZoom": True,
    "modeBarButtonsToRemove": ["zoomIn2d", "zoomOut2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "png", "scale": 2, "filename": "fmlab-map"},
}
COLOURS = {"label": "Label", "split": "Split", "site": "Site"}
ANSWER_COLOURS = {"prediction": "Prediction", "correctness": "Correctness"}


@dataclass(frozen=True)
class ChosenMap:
    """What the map shows: one projection of one dataset under one backbone."""

    home: Home
    store: Store
    dataset: Dataset
    backbone: str
    config: dict[str, Any]  # of the run that makes it


def choose_map(home: Home, store: Store) -> ChosenMap | None:
    """The dataset, backbone and method in the address; None, with advice on the page, without a dataset."""
    names = dataset_names(home)
    if not names:
        empty_state(
            "No dataset yet",
            "The map shows how a backbone arranges your images. Import some first, or start the demo.",
            [
                lambda: links.link(links.DATASETS, "Import images", ":material/add_photo_alternate:"),
                lambda: links.link(links.OVERVIEW, "Start the demo", ":material/play_circle:"),
            ],
        )
        return None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        dataset = open_dataset(home, links.choose("Dataset", names, "dataset", width=240) or names[0])
        keys = [key for key, card in catalogue(home).items() if on_disk(card, home)]
        backbone = links.choose("Backbone", keys, "backbone", width=280) or keys[0]
        titles = {title: key for key, title in METHODS.items()}
        method = titles[links.choose_segment("Projection", list(titles), "method") or "UMAP"]
    config = {
        "dataset": dataset.name,
        "backbone": backbone,
        "method": method,
        "style": "native",
        "mask_sector": dataset.card.mask_sector,
    }
    return ChosenMap(home, store, dataset, backbone, config)


def find_projection(chosen: ChosenMap) -> Run | None:
    """The run that makes this very projection of these very images, whatever became of it; None: never asked for."""
    key = projection_request(chosen.home, chosen.config).key
    try:
        return chosen.store.run(key)
    except NotFound:
        return None


def offer_projection(chosen: ChosenMap, run: Run | None) -> None:
    """What stands in place of the map: a button that makes it, or how far its making is."""
    if run is not None and run.state in UNFINISHED:
        st.info("The map appears here as soon as it is drawn.", icon=":material/hourglass_top:")
        return
    if run is not None and run.state in RETRIABLE:
        st.error(escaped(run.reason or f"The projection was {run.state}."), icon=":material/error:")
    images = count(chosen.dataset.card.images, "image")
    st.markdown(
        f"No {METHODS[chosen.config['method']]} projection of **{escaped(chosen.dataset.name)}** under "
        f"**{escaped(chosen.backbone)}** yet. It embeds {images}, as far as they are not embedded already."
    )
    st.button("Draw the map", icon=":material/scatter_plot:", type="primary", on_click=_request, args=(chosen, run))


def _request(chosen: ChosenMap, run: Run | None) -> None:
    with shown_errors():
        if run is not None and run.state in RETRIABLE:
            session.store().retry([run.key], session.actor())
            return
        title = f"{METHODS[chosen.config['method']]} · {chosen.dataset.name} · {chosen.backbone}"
        request_run(session.store(), "project", chosen.config, title, session.actor())


def show_map(chosen: ChosenMap, run: Run) -> None:
    """The map of a finished projection and the images selected on it."""
    points = read_projection(chosen.home.path / str((run.result or {}).get("projection", "")))
    facts = chosen.dataset.manifest(["image_id", "label", "split", "site"])
    table = points.merge(facts, on="image_id", how="inner", validate="one_to_one")
    studies = _studies_of(chosen)
    colours = {title: name for name, title in (COLOURS | (ANSWER_COLOURS if studies else {})).items()}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        colour = colours[links.choose_segment("Colour", list(colours), "colour") or "Label"]
        run_key = _choose_run(chosen, studies) if colour in ANSWER_COLOURS else None
    if colour in ANSWER_COLOURS:
        table = table.merge(_answers(chosen, run_key), on="image_id", how="left")
    shown = sampled(table)
    if len(shown) < len(table):
        st.caption(f"{len(shown):,} of {len(table):,} images are drawn, chosen at random but always the same ones.")
    figure = projection_map(
        shown.rename(columns={colour: colour.capitalize()}),
        colour.capitalize(),
        order=chosen.dataset.card.classes if colour in ("label", "prediction") else (),
        missing=NOT_SCORED if colour in ANSWER_COLOURS else "unknown",
        synthetic=chosen.dataset.card.synthetic,
        mode=mode(),
    )
    event = st.plotly_chart(
        figure, theme=None, key=MAP, on_select="rerun", selection_mode=("points", "box", "lasso"), config=MAP_SETTINGS
    )
    st.caption(
        f"{METHODS[chosen.config['method']]} of the features of {escaped(chosen.backbone)}: near means alike to the backbone; "
        "axes have no unit. Draw around points to see their images."
    )
    synthetic_note(chosen.dataset.card.synthetic)
    picked = [point["customdata"][0] for point in event["selection"]["points"] if point.get("customdata")]
    _show_selection(chosen.dataset, shown[shown["image_id"].isin(picked)])


def sampled(table: pd.DataFrame, most: int = MOST_POINTS) -> pd.DataFrame:
    """At most `most` rows: those with the lowest image ids, which are hashes, so a fixed sample at random."""
    if len(table) <= most:
        return table
    return table.sort_values("image_id").head(most)


def _studies_of(chosen: ChosenMap) -> list[str]:
    """The studies on this dataset that hold this backbone, the newest first."""
    return [
        study.name
        for study in chosen.store.studies()
        if study.config["dataset"] == chosen.dataset.name and chosen.backbone in study.config["backbones"]
    ]


def _answers(chosen: ChosenMap, run: str | None) -> pd.DataFrame:
    """image_id, prediction, correctness of the images that a run was scored on; none without a run."""
    if run is None:
        return pd.DataFrame({"image_id": [], "prediction": [], "correctness": []}, dtype=object)
    items = item_table(chosen.home, chosen.store, run)
    return pd.DataFrame(
        {
            "image_id": items["image_id"],
            "prediction": items["predicted"],
            "correctness": items["correct"].astype(bool).map({True: CORRECT, False: WRONG}),
        }
    )


def _choose_run(chosen: ChosenMap, studies: list[str]) -> str | None:
    """The key of a finished run with this backbone, by study, adaptation, size and seed; None before any has finished."""
    study = links.choose("Study", studies, "study", width=170) or studies[0]
    runs = chosen.store.runs(study)
    runs = runs[(runs["state"] == "done") & (runs["backbone"] == chosen.backbone)]
    if runs.empty:
        st.caption("None of its runs has finished yet.")
        return None
    adaptations = {adaptation_name(key): key for key in in_usual_order(runs["adaptation"])}
    adaptation = links.choose("Adaptation", list(adaptations), "adaptation", width=150) or next(iter(adaptations))
    runs = runs[runs["adaptation"] == adaptations[adaptation]]
    sizes = [str(size) for size in sorted(runs["size"].unique(), reverse=True)]
    size = links.choose(size_label(str(runs["scheme"].iloc[0])), sizes, "size", width=160) or sizes[0]
    runs = runs[runs["size"] == int(size)].sort_values("seed")
    seeds = [str(seed) for seed in runs["seed"]]
    seed = links.choose("Subset (seed)", seeds, "seed", width=110)
    return str(runs["key"].iloc[seeds.index(seed) if seed in seeds else 0])


def _show_selection(dataset: Dataset, rows: pd.DataFrame) -> None:
    """Thumbnails of the selected images with their labels."""
    if rows.empty:
        return
    counts = rows["label"].fillna("unknown").value_counts()
    listed = ", ".join(f"{escaped(str(label))} {number:,}" for label, number in counts.items())
    st.markdown(f"**{count(len(rows), 'image')} selected:** {listed}")
    if len(rows) > MOST_THUMBNAILS:
        st.caption(f"The first {MOST_THUMBNAILS} are shown.")
    gallery(_tiles(dataset, rows.head(MOST_THUMBNAILS)), key="selection", tile_width=130)


def _tiles(dataset: Dataset, rows: pd.DataFrame) -> Sequence[Tile]:
    ids = rows["image_id"].astype(str).tolist()
    pixels = stored_images(dataset.folder / "store", ids)
    sectors = {row["image_id"]: row["sector"] for row in dataset.rows_of(ids, ["sector"])}
    tiles = []
    for row in rows.itertuples():
        prediction = getattr(row, "prediction", None)
        answered = isinstance(prediction, str)
        facts = [str(row.split)] + ([f"site {row.site}"] if isinstance(row.site, str) else [])
        facts += [f"answer {prediction}"] if answered else []
        tone = "plain" if not answered else "good" if prediction == row.label else "bad"
        image = str(row.image_id)
        url = data_url(mask_outside(pixels[image], sectors[image]), longest_side=260)
        label = row.label if isinstance(row.label, str) else "no label"
        tiles.append(Tile(image, url, label, " · ".join(facts), tone))
    return tiles
