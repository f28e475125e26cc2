"""Why an image was answered as it was: its neighbours, its distance from training, its scores, and where the model looked.

In: an image of a dataset, and the run that answered it or the backbone that arranges it. Out: a panel, in the order in
which a person asks. Nothing identifying is shown: no path, no patient, no sequence name.

A page that shows it calls `live_groups(…, kinds=WHY_KINDS)` at its top level: what the panel asks for is computed by the
worker, and the panel appears anew when it is there. In a blinded review nothing of it may be shown before the verdict.
"""

import numpy as np
import pandas as pd
import streamlit as st

from fmlab.backbones.catalogue import find_backbone
from fmlab.data.manifest import Dataset
from fmlab.plots.distances import class_dots, distance_histograms
from fmlab.plots.wording import percent, test_set_name
from fmlab.runs.records import UNFINISHED, Run
from fmlab.runs.requests import projection_request
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.label_versions import find_label_version, parted
from fmlab.studies.nearest import (
    Space,
    answers_of_others,
    class_scores,
    lacking_embeddings,
    nearest_training,
    training_distances,
)
from fmlab.ui.format import count, escaped
from fmlab.ui.messages import shown_errors
from fmlab.ui.pictures import Tile, data_url, gallery
from fmlab.ui.theme import Mode, mode, show_figure
from fmlab.ui.why_asked import Asked, ask_for, find_run
from fmlab.ui.why_looked import show_looked

WHY_KINDS = ("explain", "project")  # of the runs that the panel asks for
NEIGHBOURS = 8
TILE_WIDTH = 88  # CSS pixels: the image and its neighbours in one row of a small laptop
UNLABELLED = "no label"


def show_why(
    home: Home,
    store: Store,
    dataset: Dataset,
    run: Run | None,
    image_id: str,
    test_set: str | None,
    study: str | None,
    *,
    backbone: str | None = None,
    whole: bool = False,
    colours: Mode | None = None,
    key: str = "why",
) -> None:
    """The whole panel.

    Args:
        run: whose answer it is; None on a map without a run, then `backbone` is needed.
        test_set: in which the image was scored, under its label version (`T1`, `T1@v2`); None for a training image.
        study: the name of the study whose other backbones are asked; None: they are left out.
        backbone: its key, where there is no run.
        whole: also show what lies outside the ultrasound sector.
        colours: of the figures; by default those of the page. A dark surface on a light page says `dark`.
        key: names the panel on its page.
    """
    with shown_errors():
        card = find_backbone(home, run.config["backbone"] if run else str(backbone))
        scores = class_scores(home, store, run, image_id, test_set) if run else pd.DataFrame()
        label = _label(store, dataset, image_id, test_set)
        answer = str(scores.loc[scores["answer"], "class"].iloc[0]) if len(scores) else None
        surface = colours or mode()
        asked = Asked(home, store, dataset, card, run, image_id, test_set, study, label, answer, whole, surface, key)
        near = None
        with shown_errors():
            near = _show_neighbours(asked)
        left, right = st.columns(2, gap="medium")
        with left, shown_errors():
            _show_distances(asked, near)
            _show_others(asked)
        with right, shown_errors():
            _show_scores(asked, scores)
        with shown_errors():
            show_looked(asked)


def _label(store: Store, dataset: Dataset, image_id: str, test_set: str | None) -> str | None:
    """The image's label under the label version that the test set is seen under; None: it has none."""
    label = dataset.rows_of([image_id], ["label"])[0]["label"]
    version = find_label_version(store, dataset, parted(test_set)[1]) if test_set else None
    return label if version is None else version.changes.get(image_id, label)


# ---------------------------------------------------------------------------------------------------------- neighbours


def _show_neighbours(asked: Asked) -> pd.DataFrame | None:
    """The image beside the training images nearest to it; their table, None where no embeddings are there."""
    st.markdown("**Nearest training sequences**")
    space, learnt_by = _searched(asked)
    if space is None:
        _offer_embeddings(asked)
        return None
    near = nearest_training(space, asked.image_id, NEIGHBOURS, learnt_by)
    pixels = asked.pixels([asked.image_id, *near["image_id"].astype(str)])
    own = (asked.label or UNLABELLED) + (f" → {asked.answer}" if asked.answer is not None else "")
    tiles = [Tile(asked.image_id, _url(pixels[asked.image_id]), own, "this image")]
    for row in near.itertuples():
        tone = "plain" if asked.label is None else "good" if row.label == asked.label else "bad"
        url = _url(pixels[str(row.image_id)])
        tiles.append(Tile(str(row.image_id), url, str(row.label), f"distance {row.distance:.3f}", tone))
    gallery(tiles, key=f"{asked.key}_near", tile_width=TILE_WIDTH)
    st.markdown(neighbour_sentence(near, asked.label, asked.answer))
    _say_where(asked, learnt_by)
    return near


def _searched(asked: Asked) -> tuple[Space | None, Run | None]:
    """In which space to look, among all training images where they are embedded, else among those the run learnt from."""
    for space in (asked.own_space, asked.space):
        if not lacking_embeddings(space):
            return space, None
    learnt = asked.run is not None and asked.run.kind == "adapt" and asked.run.config["subset"]["size"]
    return (asked.own_space, asked.run) if learnt else (None, None)


def _say_where(asked: Asked, learnt_by: Run | None) -> None:
    """What the distances are, and among which images was looked."""
    words = "Cosine distance between the features of the backbone: 0 is the same, 1 unrelated."
    if asked.run is not None and asked.run.kind == "train":
        words += " The backbone is seen as it was before this run trained it: trained weights are not kept."
    st.caption(words)
    if learnt_by is not None:
        number = int(learnt_by.config["subset"]["size"])
        st.caption(f"Only the images that this run learnt from were searched (its subset of size {number:,}).")
        _offer_embeddings(asked)


def _offer_embeddings(asked: Asked) -> None:
    """A button that embeds every image of the dataset, or how far that is."""
    space = asked.space
    names = {"dataset": asked.dataset.name, "backbone": asked.card.key, "method": "pca"}
    request = projection_request(asked.home, names | {"style": space.style, "mask_sector": space.mask_sector})
    run = find_run(asked.store, request)
    if run is not None and run.state in UNFINISHED:
        st.info("Embedding the images; the neighbours appear here.", icon=":material/hourglass_top:")
        return
    if run is not None and run.state == "done":
        st.caption("Some images of the cross-validation are not scored and have no embedding.")
        return
    if run is not None:
        st.error(escaped(run.reason or f"Embedding was {run.state}."), icon=":material/error:")
    lacking = lacking_embeddings(space)
    st.button(
        f"Embed the other {count(lacking, 'image')} too",
        key=f"{asked.key}_embed",
        icon=":material/grain:",
        on_click=ask_for,
        args=(request, run),
    )


def neighbour_sentence(near: pd.DataFrame, label: str | None, answer: str | None) -> str:
    """`Of the 8 nearest: 5 A4C, the label; 2 PLAX, the answer; 1 of other classes.` as Markdown."""
    labels = near["label"].value_counts()
    parts = []
    for name, what in ((label, "the label"), (answer, "the answer")):
        if name is not None and (what == "the label" or answer != label):
            both = " and the answer" if what == "the label" and answer == label else ""
            parts.append(f"**{int(labels.get(name, 0))}** {escaped(name)}, {what}{both}")
    if not parts:
        parts = [f"**{number}** {escaped(str(name))}" for name, number in labels.items()]
    elif others := int((~near["label"].isin([label, answer])).sum()):
        parts.append(f"**{others}** of other classes")
    return f"Of the {len(near)} nearest: {'; '.join(parts)}."


# ------------------------------------------------------------------------------------------------- distances and scores


def _show_distances(asked: Asked, near: pd.DataFrame | None) -> None:
    """The image's distance among those of the test sets."""
    st.markdown("**Distance from the training images**")
    space = next((space for space in (asked.own_space, asked.space) if not lacking_embeddings(space)), None)
    if space is None or near is None:
        st.caption("Drawn as soon as all images are embedded.")
        return
    table = training_distances(space)
    if table.empty:
        st.caption("The dataset has no labelled test images to compare it with.")
        return
    distance = float(near["distance"].iloc[0])
    synthetic = asked.dataset.card.synthetic
    show_figure(distance_histograms(table, distance, synthetic=synthetic, mode=asked.mode), f"{asked.key}_distances")
    st.markdown(f"At **{distance:.3f}**: farther than {farther_than(table, distance)}.")
    sampled = table[table["images"] > table.groupby("test_set")["image_id"].transform("size")]
    for name, rows in sampled.groupby("test_set"):
        st.caption(
            f"{escaped(test_set_name(name))}: {len(rows):,} of its {rows['images'].iloc[0]:,} images, always the same."
        )


def farther_than(table: pd.DataFrame, distance: float) -> str:
    """`93.1 % of T1 and 41.0 % of T2`: the share of each test set that lies nearer to training than this."""
    shares = [
        f"{percent(float((rows['distance'] < distance).mean()))} of {escaped(test_set_name(str(name)))}"
        for name, rows in table.groupby("test_set", sort=True)
    ]
    return " and ".join([", ".join(shares[:-1]), shares[-1]] if len(shares) > 1 else shares)


def _show_scores(asked: Asked, scores: pd.DataFrame) -> None:
    """The score of each class."""
    st.markdown("**Score of each class**")
    if asked.run is None or scores.empty:
        st.caption("No run was chosen." if asked.run is None else "This image was not scored by this run.")
        return
    figure = class_dots(scores, synthetic=asked.dataset.card.synthetic, mode=asked.mode)
    show_figure(figure, f"{asked.key}_scores")


def _show_others(asked: Asked) -> None:
    """What the study's other backbones answered."""
    if asked.run is None or asked.study is None or asked.answer is None:
        return
    others = answers_of_others(asked.home, asked.store, asked.study, asked.run, asked.image_id, asked.test_set)
    if others.empty:
        st.caption("The study has no other backbone with this adaptation, size and subset.")
        return
    st.markdown(f"**Other backbones** · {int(others['right'].sum())} of {len(others)} give the label")
    st.markdown(other_answers(others))


def other_answers(others: pd.DataFrame) -> str:
    """One line per backbone as a Markdown table: its key, its answer, whether that is the label."""
    lines = [
        f"| {escaped(row.backbone)} | {escaped(row.answer)} | "
        f"{':material/check: right' if row.right else ':material/close: wrong'} |"
        for row in others.itertuples()
    ]
    return "\n".join(["| backbone | answer | |", "|:--|:--|:--|", *lines])


def _url(pixels: np.ndarray) -> str:
    return data_url(pixels, longest_side=2 * TILE_WIDTH)
