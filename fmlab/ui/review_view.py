"""The Review page: which queue, by whom, and one of its four parts.

In: a home and its store; study, queue, reviewer and part in the address. Out: the card, the gallery, the agreement of
reviewers, or the corrected labels. `?queue=` names a stored queue (a selection on the map, an adjudication, a link) and
then stands in place of the choice.
"""

from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fmlab.data.manifest import open_dataset
from fmlab.errors import FMLabError, NotFound
from fmlab.review.queues import Queue, find_queue, open_queue
from fmlab.review.verdicts import reviewer_name
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.ui import links, session
from fmlab.ui.format import count, escaped
from fmlab.ui.messages import shown_errors, synthetic_note
from fmlab.ui.progress import live_groups
from fmlab.ui.review_agreement import show_agreement
from fmlab.ui.review_choice import choose_earlier, choose_queue, hold_choices
from fmlab.ui.review_gallery import show_gallery
from fmlab.ui.review_labels import forget_outcome, show_labels
from fmlab.ui.review_sitting import Sitting, show_card, show_reason
from fmlab.ui.study_choice import ChosenStudy, choose_study, waiting_note
from fmlab.ui.why_view import WHY_KINDS

CARD, GALLERY, AGREEMENT, LABELS = PARTS = ("Review", "Gallery", "Agreement", "Labels")
QUEUE = "queue"  # in the address
MADE = "queue_of_widgets"  # the key of the queue that the widgets mean
REVIEWER = "reviewer"  # a widget's key, which the session holds while this page is on
BLINDED_HELP = (
    "Label, model answer and other reviewers' verdicts stay on the server until yours is in. Items come in an order of your "
    "own."
)
TITLE_WIDTH = 440  # CSS pixels: beside the buttons on a small laptop
# The card needs the height of a small laptop: title, bar and card stand close. Constant text: nothing from a file is in it.
CLOSE_STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding: 0.6rem 1.5rem 1rem; }
[data-testid="stMainBlockContainer"] h1 { padding: 0.2rem 0 0; }
[data-testid="stMainBlockContainer"] > div > [data-testid="stVerticalBlock"] { gap: 0.6rem; }
[data-testid="stHeader"] { background: transparent; }
[data-testid="stHeader"], [data-testid="stHeader"] div { pointer-events: none; }
[data-testid="stHeader"] button { pointer-events: auto; }
.st-key-review_bar { gap: 0.6rem; }
.st-key-review_bar p { line-height: 1.25; }
</style>"""


@dataclass(frozen=True)
class Reviewer:
    """Who reviews, and whether blinded."""

    name: str
    blinded: bool


def show_review(home: Home, store: Store) -> None:
    """The whole page."""
    bar = st.container(horizontal=True, vertical_alignment="center", key="review_bar")
    with bar:
        part = links.choose_segment("Part", list(PARTS), "part", label_visibility="collapsed") or CARD
    hold_choices()
    opened = _opened(store)
    if opened is None and not store.studies():
        choose_study(home, store)  # says what to do next
        return
    st.html(CLOSE_STYLE)
    if part != LABELS:
        forget_outcome()
    if part == GALLERY:
        _gallery(home, store, bar)
        live_groups("review", kinds=WHY_KINDS)
        return
    with bar:
        choice = st.popover("Queue", icon=":material/tune:", width="content")
    advice = st.container()
    study, queue = _chosen(home, store, opened, choice, advice)
    dataset = open_dataset(home, queue.config.dataset) if queue is not None else study.dataset if study else None
    with bar:
        reviewer = _choose_reviewer()
        if part == CARD and queue is not None and reviewer is not None:
            st.markdown(_queue_words(queue, reviewer.blinded), width=TITLE_WIDTH)
    live_groups("review", kinds=("suspects", *WHY_KINDS))
    if dataset is None or reviewer is None:
        return
    with shown_errors():
        if part == AGREEMENT:
            show_agreement(home, store, dataset, queue)
        elif part == LABELS:
            show_labels(store, dataset, study, reviewer.blinded)
        elif queue is not None:
            _show_queue(Sitting(home, store, dataset, queue, reviewer.name, reviewer.blinded))
        elif study is not None and study.table.empty:
            waiting_note(study)


def _gallery(home: Home, store: Store, bar: DeltaGenerator) -> None:
    if st.query_params.get(QUEUE) == st.session_state.get(MADE):
        st.query_params.pop(QUEUE, None)  # another run may be chosen here
    with bar:
        choice = st.popover("Choose the run", icon=":material/tune:", width="content")
    with choice:
        study = choose_study(home, store)
    if study is None:
        return
    if study.table.empty:
        waiting_note(study)
        return
    show_gallery(study, choice, bar)


# ---------------------------------------------------------------------------------------------------------- what is open


def _opened(store: Store) -> Queue | None:
    """The queue that the address names, unless the widgets of this very page put it there."""
    key = st.query_params.get(QUEUE)
    if not key or (key == st.session_state.get(MADE) and REVIEWER in st.session_state):
        return None
    st.session_state.pop(MADE, None)
    try:
        return find_queue(store, key)
    except NotFound as error:
        st.error(escaped(str(error)), icon=":material/error:")
        st.query_params.pop(QUEUE, None)
        return None


def _made(queue: Queue) -> Queue:
    """Name a queue that the widgets mean in the address: it then stands in a link, whatever they would mean elsewhere."""
    st.session_state[MADE] = queue.key
    if st.query_params.get(QUEUE) != queue.key:
        st.query_params[QUEUE] = queue.key
    return queue


def _chosen(
    home: Home, store: Store, opened: Queue | None, choice: DeltaGenerator, advice: DeltaGenerator
) -> tuple[ChosenStudy | None, Queue | None]:
    """The study in the address, and the queue that is open or that the widgets in the popover mean."""
    with choice:
        if opened is not None:
            st.markdown(_queue_words(opened, _blinded_so_far()))
            st.button("Choose another queue", icon=":material/tune:", key="leave", on_click=_leave)
            return None, opened
        study = choose_study(home, store)
        if study is None or study.table.empty:
            return study, None
        choose_earlier(store, study.dataset)
        with shown_errors():
            config = choose_queue(study, advice)
            queue = None if config is None else open_queue(home, store, config, session.actor())
            return study, None if queue is None else _made(queue)
    return study, None


def _blinded_so_far() -> bool:
    """Whether the review is blinded, asked before the switch is drawn."""
    return bool(st.session_state.get("blinded", st.query_params.get("blinded") == "true"))


def _leave() -> None:
    st.query_params.pop(QUEUE, None)


def _choose_reviewer() -> Reviewer | None:
    """Whose verdicts these are: whoever signed in, else the name that is typed; None, with a sentence, without a name."""
    signed_in = bool(st.user.get("email"))
    usual = session.actor().name
    given = st.session_state.get(REVIEWER) or st.query_params.get(REVIEWER) or usual
    with st.popover(escaped(str(usual if signed_in else given)), icon=":material/person:", width="content"):
        name = st.text_input(
            "Reviewer", value=usual, key=REVIEWER, max_chars=100, disabled=signed_in, bind="query-params"
        )
        blinded = links.switch("Blinded", "blinded", help=BLINDED_HELP)
        try:
            return Reviewer(reviewer_name(usual if signed_in else name or ""), blinded)
        except FMLabError as error:
            st.error(escaped(str(error)), icon=":material/error:")
            return None


def _queue_words(queue: Queue, blinded: bool) -> str:
    """What is reviewed, as Markdown; to a blinded reviewer not why, because that may tell the label or the answer."""
    if blinded:
        return f"**Blinded**, {count(len(queue.items), queue.config.level)}"
    return f"**{escaped(queue.title)}**"


def _show_queue(sitting: Sitting) -> None:
    if not sitting.queue.items:
        st.success("Nothing here fits this queue.", icon=":material/check_circle:")
        return
    show_card(sitting)
    show_reason(sitting)
    synthetic_note(sitting.dataset.card.synthetic)
