"""What verdicts change: the corrected labels as a table and pictures, published as a version, downloaded as files.

In: the verdicts on a dataset. Out: counts of what would change, thumbnails, a button that publishes it, CSV files, and the
versions there are. A blinded reviewer sees no picture here, because beside it stands what others said.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from fmlab.data.manifest import Dataset
from fmlab.errors import FMLabError
from fmlab.review.decisions import UNDECIDED, decisions, label_changes, next_version_name
from fmlab.review.exports import label_fixes_csv, verdicts_csv
from fmlab.review.verdicts import verdicts_of
from fmlab.runs.store import Store
from fmlab.studies.label_versions import ORIGINAL, LabelVersion, label_versions, publish
from fmlab.ui import links, session
from fmlab.ui.format import ago, count, escaped
from fmlab.ui.messages import empty_state
from fmlab.ui.pictures import Tile, gallery
from fmlab.ui.review_choice import review_button
from fmlab.ui.review_pictures import ReviewPictures
from fmlab.ui.study_choice import ChosenStudy

PER_PAGE = 24
TAKEN_OUT = "taken out"
UNLABELLED = "no label"
OUTCOME = "published_labels"  # what the last press of the button led to
EXCLUDE_HELP = "What reviewers called ambiguous or of poor quality is not scored under the new version."


@dataclass(frozen=True)
class Outcome:
    """What became of a publication: a version's name, or why there is none."""

    name: str
    problem: str = ""


def show_labels(store: Store, dataset: Dataset, study: ChosenStudy | None, blinded: bool) -> None:
    """The whole part."""
    _show_outcome(_study_of(store, dataset, study))
    exclude = links.switch("Take out what cannot be judged", "exclude", help=EXCLUDE_HELP)
    changes = label_changes(store, dataset, exclude)
    rows = changed_rows(dataset, changes)
    left, right = st.columns([3, 2], gap="large")
    with left:
        _show_changes(store, dataset, rows, blinded)
    with right:
        if changes:
            _offer_publication(store, dataset, changes)
        _offer_files(store, dataset)
        _show_versions(label_versions(store, dataset))


def changed_rows(dataset: Dataset, changes: Mapping[str, str | None]) -> pd.DataFrame:
    """One row per image whose label changes: image_id, sequence_id, split, was, becomes (in words)."""
    rows = dataset.manifest(["image_id", "sequence_id", "split", "label"])
    rows = rows[rows["image_id"].isin(list(changes))].reset_index(drop=True)
    becomes = [TAKEN_OUT if changes[image] is None else changes[image] for image in rows["image_id"]]
    return rows.assign(was=rows["label"].fillna(UNLABELLED), becomes=pd.Series(becomes, index=rows.index, dtype=object))


def counts_of(rows: pd.DataFrame) -> pd.DataFrame:
    """How many sequences and images change from which label to which, the most frequent change first."""
    grouped = rows.groupby(["was", "becomes"], sort=True)
    table = grouped.agg(sequences=("sequence_id", "nunique"), images=("image_id", "size")).reset_index()
    return table.sort_values(["images", "was", "becomes"], ascending=[False, True, True], ignore_index=True)


def _show_changes(store: Store, dataset: Dataset, rows: pd.DataFrame, blinded: bool) -> None:
    found = decisions(store, dataset)
    undecided = int((found["decision"] == UNDECIDED).sum())
    if rows.empty:
        empty_state(
            "No label would change",
            "A label changes when its reviewers call it wrong and name the right class: all of them, most of them, or "
            "whoever adjudicates.",
            [review_button],
        )
    else:
        st.markdown(
            f"**{count(int(rows['sequence_id'].nunique()), 'sequence')}** with **{count(len(rows), 'image')}** would get "
            "another label:"
        )
        st.dataframe(counts_of(rows), hide_index=True, key="changes", width="stretch")
    if undecided:
        st.caption(
            f"{count(undecided, 'item')} undecided: reviewers disagree. The part Agreement makes a queue of them to adjudicate."
        )
    if rows.empty:
        return
    if blinded:
        st.caption("What changes on which picture is not shown to a blinded reviewer.")
        return
    _show_pictures(dataset, rows, found)


def _show_pictures(dataset: Dataset, rows: pd.DataFrame, found: pd.DataFrame) -> None:
    """One picture per changed sequence, its middle one, a page at a time."""
    said = dict(zip(found["item"].astype(str), found["by"].astype(str), strict=True))
    groups = list(rows.groupby(["sequence_id", "was", "becomes"], sort=True))
    last = -(-len(groups) // PER_PAGE)
    number = 1 if last == 1 else st.pagination(last, key="changed_page", bind="query-params")
    part = groups[(number - 1) * PER_PAGE : number * PER_PAGE]
    middles = [str(members["image_id"].iloc[len(members) // 2]) for _, members in part]
    urls = ReviewPictures(dataset).urls(middles, side=260)
    tiles = [
        Tile(image, urls.get(image, ""), f"{was} → {becomes}", said.get(image) or said.get(str(sequence), ""))
        for image, ((sequence, was, becomes), _) in zip(middles, part, strict=True)
    ]
    gallery(tiles, key="changed", tile_width=150)


# --------------------------------------------------------------------------------------------------- publish, download


def _offer_publication(store: Store, dataset: Dataset, changes: Mapping[str, str | None]) -> None:
    with st.form("publish"):
        name = st.text_input("Name of the version", value=next_version_name(store, dataset), key="version_name")
        note = st.text_input("Note", key="version_note", placeholder="Why, by whom, which cases")
        pressed = st.form_submit_button(f"Publish labels {name}", icon=":material/publish:", type="primary")
    st.caption(
        "A version never changes. Every finished run is scored under it at once, nothing is trained again, and the labels "
        "as imported stay."
    )
    if pressed:
        # What was shown is what is published, whatever others have said meanwhile.
        st.session_state[OUTCOME] = _publish(store, dataset, name.strip(), changes, note)
        st.rerun()


def _publish(store: Store, dataset: Dataset, name: str, changes: Mapping[str, str | None], note: str) -> Outcome:
    try:
        publish(store, dataset, name, changes, note.strip(), session.actor())
    except FMLabError as error:
        return Outcome(name, str(error))
    return Outcome(name)


def _study_of(store: Store, dataset: Dataset, study: ChosenStudy | None) -> str | None:
    """The study that is chosen, else the newest one on the dataset, if any."""
    if study is not None:
        return study.name
    return next((each.name for each in store.studies() if each.config["dataset"] == dataset.name), None)


def _show_outcome(study: str | None) -> None:
    outcome = st.session_state.get(OUTCOME)
    if outcome is None:
        return
    if outcome.problem:
        st.error(escaped(outcome.problem), icon=":material/error:")
        return
    st.success(f"Labels **{escaped(outcome.name)}** are published.", icon=":material/check_circle:")
    if study is not None and st.button(
        f"See the results under labels {outcome.name}", icon=":material/show_chart:", key="to_results"
    ):
        forget_outcome()
        links.go(links.RESULTS, {"study": study, "labels": outcome.name, "part": "Runs"})


def forget_outcome() -> None:
    """Say no more what the last publication led to."""
    st.session_state.pop(OUTCOME, None)


def _offer_files(store: Store, dataset: Dataset) -> None:
    with st.container(horizontal=True):
        st.download_button(
            "Verdicts",
            data=lambda: verdicts_csv(verdicts_of(store, dataset.name)).encode(),
            file_name=f"{dataset.name}-verdicts.csv",
            mime="text/csv",
            icon=":material/download:",
            help="Every verdict ever given, with time, reviewer and queue.",
        )
        st.download_button(
            "Label fixes",
            data=lambda: label_fixes_csv(store, dataset, None).encode(),
            file_name=f"{dataset.name}-label-fixes.csv",
            mime="text/csv",
            icon=":material/download:",
            help="The labels that change, for the system the images come from; `fmlab data import --fixes` reads it too.",
        )


def _show_versions(versions: tuple[LabelVersion, ...]) -> None:
    st.markdown("**Versions**")
    rows = [{"name": ORIGINAL, "changed": "–", "by": "", "when": "", "note": "as imported"}]
    rows += [
        {
            "name": version.name,
            "changed": count(len(version.changes), "image"),
            "by": version.by,
            "when": ago(version.created),
            "note": version.note,
        }
        for version in versions
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="versions", width="stretch")
