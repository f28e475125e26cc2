"""The first page's parts: the demo, the latest study's picture, where to go next.

In: the home and its store. Out: one figure at most, and links.
"""

from collections.abc import Callable, Sequence

import plotly.graph_objects as go
import streamlit as st

from fmlab.data.manifest import open_dataset
from fmlab.plots.curves import accuracy_curve
from fmlab.runs.records import StudyRecord
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.demo import start_demo
from fmlab.studies.points import points
from fmlab.studies.results import results
from fmlab.ui import links, session
from fmlab.ui.format import ago, count, escaped
from fmlab.ui.messages import shown_errors, synthetic_note
from fmlab.ui.results_tables import majority_rates, sequence_majority
from fmlab.ui.study_choice import ChosenStudy
from fmlab.ui.theme import mode, show_figure

NEXT: tuple[tuple[str, str, str, str], ...] = (
    (links.DATASETS, "Import images", ":material/photo_library:", "A folder, a table, DICOM files or clips."),
    (links.BACKBONES, "Choose backbones", ":material/account_tree:", "What each one is, and what it sees of an image."),
    (links.LAUNCH, "Launch a study", ":material/rocket_launch:", "The price first, then the button."),
    (links.REVIEW, "Look at the mistakes", ":material/fact_check:", "Is the model wrong, or the label?"),
)


def offer_demo(store: Store) -> None:
    """The demo in two sentences and one button; or why it could not start."""
    with st.container(border=True):
        st.markdown("**Try it without data**")
        st.caption(
            "FMLab draws a synthetic echocardiography dataset and measures on it how accuracy grows with the number of "
            "labels, for ImageNet features and for an untrained network. No download, no GPU; a few minutes."
        )
        st.button("Start the demo", type="primary", icon=":material/play_circle:", on_click=_start_demo)
    events = store.events(20)
    failed = events[events["verb"] == "could not start"]
    if len(failed):
        st.error(f"The demo did not start: {escaped(failed['details'].iloc[0])}", icon=":material/error:")


def _start_demo() -> None:
    with shown_errors():
        start_demo(session.home(), session.store(), by=session.actor())


def show_latest(home: Home, store: Store, studies: Sequence[StudyRecord]) -> Callable[[], None] | None:
    """The newest study with a result; a newer one without any is named. Returns what puts its curve into its place."""
    newest = studies[0]
    record = next((study for study in studies if store.counts(study.name).get("done")), newest)
    if record is not newest:
        st.caption(f"Study {escaped(newest.name)} has no result yet.")
    study = ChosenStudy(
        home, store, record, open_dataset(home, record.config["dataset"]), results(home, store, record.name)
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(f"Latest study: {escaped(record.name)}", anchor=False, width="content")
        st.caption(f"launched {ago(record.created)} by {escaped(record.by)}")
    if study.table.empty:
        st.info("Its first point appears here as soon as a run has finished.", icon=":material/hourglass_top:")
        return None
    figure, place = _figure(study), st.container()
    synthetic_note(study.synthetic)
    with st.container(horizontal=True, vertical_alignment="center"):
        counts = store.counts(record.name)
        total = sum(counts.values())
        st.caption(f"{counts.get('done', 0):,} of {count(total, 'run')} done")
        links.link(links.RESULTS, "All results", ":material/show_chart:", {"study": record.name})
        links.link(links.RUNS, "Its runs", ":material/list_alt:", {"study": record.name})

    def draw() -> None:
        with place:
            show_figure(figure, key="latest")

    return draw


def _figure(study: ChosenStudy) -> go.Figure:
    measure = "image_accuracy"
    return accuracy_curve(
        points(study.home, study.store, study.table, measure),
        majority_rates(study.table, measure, sequence_majority(study.dataset, study.folds, study.labels)),
        study.scheme,
        measure=measure,
        backbones=study.backbones,
        baselines=study.baselines,
        mode=mode(),
        **study.said,
    )


def show_next() -> None:
    """Four places to go, each with why."""
    st.subheader("Where to go next", anchor=False)
    for column, (page, label, icon, why) in zip(st.columns(len(NEXT)), NEXT, strict=True):
        with column.container(border=True, height="stretch"):
            links.link(page, label, icon)
            st.caption(why)
