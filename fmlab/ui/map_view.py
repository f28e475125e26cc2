"""The map of a dataset on a page: which backbones arrange it, how it is coloured, and what is pointed at.

In: a home and its store. Out: a request for a map where there is none; the map of one backbone or of two side by side,
with what lies inside its outlines beside it. Everything chosen is in the address.

While UMAP works, the principal components stand in its place as soon as the worker has them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from fmlab.backbones.catalogue import catalogue, find_backbone, on_disk
from fmlab.data.manifest import Dataset, dataset_names, open_dataset
from fmlab.data.preprocessing import Preprocessing
from fmlab.embeddings.keys import request_embeddings
from fmlab.embeddings.projection import Picture, map_path
from fmlab.errors import NotFound
from fmlab.plots.wording import adaptation_name, in_usual_order, size_text
from fmlab.runs.records import RETRIABLE, UNFINISHED, Run
from fmlab.runs.requests import projection_request, request_run
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.ui import links, session
from fmlab.ui.format import count, escaped
from fmlab.ui.messages import empty_state, shown_errors
from fmlab.ui.study_choice import size_label

METHODS = {"umap": "UMAP", "pca": "PCA"}
POLL_SECONDS = 1.0
PICTURE_NAMES: dict[Picture, str] = {
    "umap": "UMAP",
    "pca": "PCA",
    "early": "PCA of the images embedded before",
}


@dataclass(frozen=True)
class ChosenMap:
    """What the map shows: one dataset as one backbone arranges it, by one method."""

    home: Home
    store: Store
    dataset: Dataset
    backbone: str
    method: str  # a key of METHODS

    @property
    def config(self) -> dict[str, Any]:
        """Of the run that makes it."""
        names = {"dataset": self.dataset.name, "backbone": self.backbone, "method": self.method}
        return names | {"style": "native", "mask_sector": self.dataset.card.mask_sector}

    def path(self, picture: Picture) -> Path:
        """Where one of its pictures lies, once it is made."""
        card = find_backbone(self.home, self.backbone)
        preprocessing = Preprocessing("native", self.dataset.card.mask_sector)
        request = request_embeddings(self.home, self.dataset.card.pixels_key, card, preprocessing)
        return map_path(self.home, request, self.dataset.card.content_hash, picture)


@dataclass(frozen=True)
class Shown:
    """The picture that stands on the page for a chosen map."""

    picture: Picture
    path: Path
    title: str


@dataclass(frozen=True)
class ChosenRun:
    """The run whose answers colour the map."""

    run: Run
    study: str
    words: str  # what it is


def choose_maps(home: Home, store: Store) -> list[ChosenMap]:
    """The dataset, the backbone and the one to compare with in the address: two maps or one; none, with advice, without
    a dataset."""
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
        return []
    dataset = open_dataset(home, links.choose("Dataset", names, "dataset", width=190) or names[0])
    keys = [key for key, card in catalogue(home).items() if on_disk(card, home)]
    backbone = links.choose("Backbone", keys, "backbone", width=220) or keys[0]
    others = [key for key in keys if key != backbone]
    other = links.choose("Compare with", others, "compare", index=None, placeholder="None", width=200)
    titles = {title: key for key, title in METHODS.items()}
    method = titles[links.choose_segment("Projection", list(titles), "method") or "UMAP"]
    chosen = ChosenMap(home, store, dataset, backbone, method)
    return [chosen] if other is None else [chosen, replace(chosen, backbone=other)]


def find_projection(chosen: ChosenMap) -> Run | None:
    """The run that makes this very map of these very images, whatever became of it; None: never asked for."""
    key = projection_request(chosen.home, chosen.config).key
    try:
        return chosen.store.run(key)
    except NotFound:
        return None


def find_picture(chosen: ChosenMap, run: Run | None) -> Shown | None:
    """What can be shown at this moment: the map itself; else principal components; else those of the images so far."""
    if run is not None and run.state == "done":
        path = chosen.home.path / str((run.result or {}).get("projection", ""))
        return _shown(chosen, "umap" if chosen.method == "umap" else "pca", path)
    pictures: list[Picture] = ["pca"] if run is None or run.state not in UNFINISHED else ["pca", "early"]
    for picture in pictures:
        path = chosen.path(picture)
        if path.is_file():
            return _shown(chosen, picture, path)
    return None


def _shown(chosen: ChosenMap, picture: Picture, path: Path) -> Shown:
    return Shown(picture, path, f"{chosen.backbone} · {PICTURE_NAMES[picture]}")


def offer_projection(chosen: ChosenMap, run: Run | None, shown: Shown | None) -> None:
    """What stands above or in place of a map that is not there: a button that makes it, or what it waits for."""
    method = METHODS[chosen.method]
    backbone = escaped(chosen.backbone)
    if run is not None and run.state in UNFINISHED:
        if shown is None:
            words = f"The map of **{backbone}** appears here as soon as there is something to see."
        else:
            words = f"**{backbone}**: {PICTURE_NAMES[shown.picture]} for now; {method} takes its place by itself."
        st.info(words, icon=":material/hourglass_top:")
        return
    if run is not None and run.state in RETRIABLE:
        st.error(escaped(run.reason or f"The projection was {run.state}."), icon=":material/error:")
    with st.container(horizontal=True, vertical_alignment="center"):
        images = count(chosen.dataset.card.images, "image")
        words = f"No {method} projection of **{escaped(chosen.dataset.name)}** under **{backbone}** yet."
        if shown is None:
            words += f" It embeds {images}, as far as they are not embedded already."
        st.markdown(words, width="stretch" if shown is None else "content")
        st.button(
            "Draw the map",
            icon=":material/scatter_plot:",
            type="primary",
            key=f"draw_{chosen.backbone}",
            on_click=_request,
            args=(chosen, run),
        )


def _request(chosen: ChosenMap, run: Run | None) -> None:
    with shown_errors():
        if run is not None and run.state in RETRIABLE:
            session.store().retry([run.key], session.actor())
            return
        title = f"{METHODS[chosen.method]} · {chosen.dataset.name} · {chosen.backbone}"
        request_run(session.store(), "project", chosen.config, title, session.actor())


def await_pictures(waiting: Sequence[ChosenMap]) -> None:
    """Draw the page anew as soon as the worker leaves a picture of one of these maps. At the top level of a page."""
    before = _stamps(waiting)

    @st.fragment(run_every=POLL_SECONDS)
    def poll() -> None:
        if _stamps(waiting) != before:
            st.rerun()

    poll()


def _stamps(waiting: Sequence[ChosenMap]) -> list[int]:
    paths = [chosen.path(picture) for chosen in waiting for picture in ("early", "pca")]
    return [path.stat().st_mtime_ns if path.is_file() else 0 for path in paths]


def choose_run(chosen: ChosenMap) -> ChosenRun | None:
    """A finished run with this backbone, by study, adaptation, size and seed; None while there is none."""
    studies = [
        study.name
        for study in chosen.store.studies()
        if study.config["dataset"] == chosen.dataset.name and chosen.backbone in study.config["backbones"]
    ]
    if not studies:
        st.caption(
            f"No study of this dataset with {escaped(chosen.backbone)} yet: labels, splits and sites colour the map."
        )
        return None
    study = links.choose("Study", studies, "study", width=280) or studies[0]
    runs = chosen.store.runs(study)
    runs = runs[(runs["state"] == "done") & (runs["backbone"] == chosen.backbone) & runs["adaptation"].notna()]
    if runs.empty:
        st.caption("None of its runs has finished yet.")
        return None
    return _one_of(chosen.store, study, runs)


def _one_of(store: Store, study: str, runs: pd.DataFrame) -> ChosenRun:
    adaptations = {adaptation_name(key): key for key in in_usual_order(runs["adaptation"])}
    adaptation = links.choose("Adaptation", list(adaptations), "adaptation", width=280) or next(iter(adaptations))
    runs = runs[runs["adaptation"] == adaptations[adaptation]]
    scheme = str(runs["scheme"].iloc[0])
    sizes = [str(size) for size in sorted(runs["size"].unique(), reverse=True)]
    size = links.choose(size_label(scheme), sizes, "size", width=280) or sizes[0]
    runs = runs[runs["size"] == int(size)].sort_values("seed")
    seeds = [str(seed) for seed in runs["seed"]]
    seed = links.choose("Subset (seed)", seeds, "seed", width=280) or seeds[0]
    run = store.run(str(runs["key"].iloc[seeds.index(seed)]))
    return ChosenRun(run, study, f"{adaptation} on {size_text(int(size), scheme)}, subset {seed}")
