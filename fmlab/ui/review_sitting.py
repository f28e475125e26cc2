"""One reviewer at one queue: the card on the page, its pictures from the dataset, its verdicts into the store.

In: a `Sitting`. Out: the card, drawn in a fragment of its own, so that a key redraws nothing else of the page.

What leaves the server: pictures, and items under names that mean nothing outside this sitting, because a sequence's id
may name a patient or a class. Blinded, nothing else does (no label, no answer, no vote, no reason, no other reviewer's
verdict) until the reviewer's own verdict on that item is in the store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import pandas as pd
import streamlit as st

from fmlab.data.manifest import Dataset
from fmlab.errors import BadInput, FMLabError, NotFound
from fmlab.files import digest_bytes
from fmlab.plots.wording import test_set_name
from fmlab.review.orders import order_for
from fmlab.review.queues import Queue, QueueItem
from fmlab.review.verdicts import Answer, parse_answer, record_answers, refused_answers, standing, verdicts_of
from fmlab.runs.records import Run
from fmlab.runs.store import Store
from fmlab.settings import Home
from fmlab.studies.label_versions import parted
from fmlab.studies.scoring import item_table
from fmlab.ui import session
from fmlab.ui.format import count
from fmlab.ui.messages import shown_errors
from fmlab.ui.review_card import CardFrame, CardItem, CardSession, CardState, card_state, review_card
from fmlab.ui.review_pictures import CINE_SIDE, Frame, ReviewPictures
from fmlab.ui.why_view import show_why

CARD = "review_card"  # its name on the page
EXPLAINED = "explained_item"
FIRST_STILLS = 8  # sent before they are asked for
MOST_FRAMES = 300  # of one cine; a longer one is thinned, which is said
NAME_DIGITS = 16
VERDICT_WORDS = {
    "label_right": "label right",
    "label_wrong": "label wrong",
    "ambiguous": "ambiguous",
    "poor_quality": "poor quality",
    "skip": "skipped",
}


@dataclass(frozen=True)
class Sitting:
    """Who reviews what, and whether blinded."""

    home: Home
    store: Store
    dataset: Dataset
    queue: Queue
    reviewer: str
    blinded: bool

    @cached_property
    def names(self) -> dict[str, QueueItem]:
        """The items by the names that the browser knows them under."""
        return {self.name_of(item.item): item for item in self.queue.items}

    def name_of(self, item: str) -> str:
        """The name of an item in the browser: a digest, because the item's own may be that of a patient or a class."""
        return digest_bytes(self.queue.key.encode(), item.encode())[:NAME_DIGITS]

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Names of the items, in this reviewer's order."""
        places = order_for(self.queue, self.reviewer, self.blinded)
        return tuple(self.name_of(self.queue.items[place].item) for place in places)

    @property
    def adjudicating(self) -> bool:
        """Whether this is about what reviewers disagreed on."""
        return self.queue.config.kind == "adjudication"

    @property
    def card_name(self) -> str:
        """Names the sitting in the browser; blinded or not are two."""
        mode = "blinded" if self.blinded else "open"
        return f"{self.queue.key[:NAME_DIGITS]} {mode} {self.reviewer}"


def answered(sitting: Sitting) -> dict[str, str]:
    """What this reviewer has answered in the queue: the item's name in the browser → kind of the standing verdict."""
    mine = standing(verdicts_of(sitting.store, queue=sitting.queue.key, reviewer=sitting.reviewer))
    return {sitting.name_of(item): kind for item, kind in zip(mine["item"], mine["kind"], strict=True)}


def show_card(sitting: Sitting) -> None:
    """Draw the card; its keys run the fragment alone."""
    _card(sitting, answered(sitting))


@st.fragment
def _card(sitting: Sitting, before: Mapping[str, str]) -> None:
    with shown_errors():
        state = card_state(CARD, sitting.card_name)
        kept, refused = keep(sitting, state)
        stills, cines = _asked(sitting, state, before)
        review_card(
            CARD,
            _session(sitting, state, before),
            window(sitting, stills, cines, state.whole_frame),
            kept,
            refused,
            reveal(sitting, state, kept),
        )


@st.fragment
def show_reason(sitting: Sitting) -> None:
    """Why the item on show was answered as it was, on demand; to a blinded reviewer only once the verdict is in."""
    source = _answering(sitting)
    if source is None:
        return
    asked = st.button("Why? Explain the item on show", icon=":material/troubleshoot:", key="explain_item")
    if asked and sitting.order:
        at = min(max(card_state(CARD, sitting.card_name).position, 0), len(sitting.order) - 1)
        st.session_state[EXPLAINED] = sitting.order[at]
    name = st.session_state.get(EXPLAINED)
    if name not in sitting.names:
        return
    if sitting.blinded and answered(sitting).get(name, "skip") == "skip":
        st.info("This is told once your verdict on the item is in.", icon=":material/visibility_off:")
        return
    item = sitting.names[name]
    st.markdown(f"**Item {sitting.order.index(name) + 1:,} of {len(sitting.order):,}**")
    test_set = item.test_set if parted(item.test_set)[0] in sitting.dataset.test_sets else None
    run = source if item.answers else None
    backbone = str(source.config["backbone"])
    study = _study_of(sitting.store, source.key)
    show_why(
        sitting.home,
        sitting.store,
        sitting.dataset,
        run,
        item.image_id,
        test_set,
        study,
        backbone=backbone,
        key="card_why",
    )


def _answering(sitting: Sitting) -> Run | None:
    """The run whose answers the queue shows, or that looked for label errors; None where no run was asked."""
    runs = sitting.queue.config.runs or tuple(item.answers[0][0] for item in sitting.queue.items[:1] if item.answers)
    return sitting.store.run(runs[0]) if runs else None


def _study_of(store: Store, run: str) -> str | None:
    """The newest study that holds a run."""
    return next((each.name for each in store.studies() if run in set(store.runs(each.name)["key"])), None)


def _session(sitting: Sitting, state: CardState, before: Mapping[str, str]) -> CardSession:
    judges_model = sitting.queue.config.kind == "misclassified" and not sitting.queue.config.mixed
    return CardSession(
        name=sitting.card_name,
        order=sitting.order,
        answered=before,
        classes=sitting.dataset.card.classes,
        blinded=sitting.blinded,
        adjudicating=sitting.adjudicating,
        titles={"label_right": "Model wrong"} if judges_model and not sitting.blinded else {},
        whole_frame=state.whole_frame if sitting.dataset.card.sectors_found else None,
    )


def _asked(sitting: Sitting, state: CardState, before: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Names of the items whose stills and cines are wanted; at first those that the reviewer begins with."""
    if state.holds:
        known = sitting.names
        return [n for n in state.wanted_stills if n in known], [n for n in state.wanted_cines if n in known]
    first = next((at for at, name in enumerate(sitting.order) if name not in before), 0)
    opening = list(sitting.order[first : first + FIRST_STILLS])
    return opening, opening[:1]


# ------------------------------------------------------------------------------------------------------------- verdicts


def keep(sitting: Sitting, state: CardState) -> tuple[list[str], dict[str, str]]:
    """Store the verdicts that wait in the browser: the ids that stand now, and those refused, each with a sentence."""
    answers: list[Answer] = []
    refused: dict[str, str] = {}
    for words in state.answers:
        try:
            answers.append(_answer(sitting, words))
        except BadInput as error:
            refused[str(words.get("id"))] = str(error)
    facts = (sitting.store, sitting.queue)
    unkept = refused_answers(*facts, answers, sitting.reviewer, sitting.blinded) if answers else {}
    good = [answer for answer in answers if answer.id not in unkept]
    kept = record_answers(*facts, good, sitting.reviewer, sitting.blinded, session.actor()) if good else []
    items = {answer.id: answer.item for answer in answers}
    told = {identity: reason.replace(repr(items[identity]), "This item") for identity, reason in unkept.items()}
    return kept, refused | told


def _answer(sitting: Sitting, words: Mapping[str, object]) -> Answer:
    """An answer about the item itself, from one about its name in the browser."""
    item = sitting.names.get(str(words.get("item")))
    if item is None:
        raise BadInput("This item is not in the queue. Load the page again.")
    return parse_answer(dict(words) | {"item": item.item})


def reveal(sitting: Sitting, state: CardState, kept: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Label and answer of the items that this reviewer has just given a verdict on; only a blinded one is told so."""
    if not sitting.blinded:
        return {}
    stored = set(kept)
    judged = [
        str(words["item"])
        for words in state.answers
        if words.get("id") in stored and words.get("kind") not in ("undo", "skip")
    ]
    return {name: _label_and_answer(sitting.names[name]) for name in judged}


def _label_and_answer(item: QueueItem) -> list[tuple[str, str]]:
    facts = [("Label", item.label or "none")]
    return facts if item.answer is None else [*facts, ("Model", item.answer)]


# ---------------------------------------------------------------------------------------------- what is sent of an item


def window(
    sitting: Sitting, stills: Sequence[str], cines: Sequence[str], whole_frame: bool = False
) -> dict[str, CardItem]:
    """The items asked for, by name: with one picture, or with every frame of their sequence."""
    pictures = ReviewPictures(sitting.dataset, whole_frame)
    moving, standing_still = set(cines), {}
    frames: dict[str, tuple[Frame, ...] | str] = {}
    for name in dict.fromkeys([*stills, *cines]):
        try:
            frames[name] = pictures.frames(sitting.names[name].image_id)
            standing_still[name] = sitting.names[name].image_id
        except NotFound as error:
            frames[name] = str(error)
    urls = pictures.urls([image for name, image in standing_still.items() if name not in moving])
    for name in moving & standing_still.keys():
        urls |= pictures.urls([frame.image_id for frame in _thinned(frames[name], standing_still[name])], CINE_SIDE)
    said = _others_verdicts(sitting) if sitting.adjudicating and not sitting.blinded else {}
    return {
        name: _item(sitting, sitting.names[name], found, urls, name in moving, said) for name, found in frames.items()
    }


def _thinned(frames: Sequence[Frame], shown: str) -> list[Frame]:
    """All frames of a cine, or of a long one every n-th with the scored ones and the one shown first."""
    step = -(-len(frames) // MOST_FRAMES)
    return [frame for place, frame in enumerate(frames) if place % step == 0 or frame.scored or frame.image_id == shown]


def _item(
    sitting: Sitting,
    item: QueueItem,
    frames: Sequence[Frame] | str,
    urls: Mapping[str, str],
    moving: bool,
    said: Mapping[str, list[tuple[str, str]]],
) -> CardItem:
    if isinstance(frames, str):
        return CardItem((), 0, True, problem=frames)
    wanted = _thinned(frames, item.image_id) if moving else [f for f in frames if f.image_id == item.image_id]
    readable = [frame for frame in wanted if frame.image_id in urls]
    if not any(frame.image_id == item.image_id for frame in readable):
        return CardItem(
            (), 0, True, problem="The picture is missing or damaged on this disk. Skip it; the rest goes on."
        )
    votes = {} if sitting.blinded else _votes(sitting, item)
    shown = tuple(_frame(frame, urls[frame.image_id], votes or {}, item) for frame in readable)
    first = next(place for place, frame in enumerate(readable) if frame.image_id == item.image_id)
    whole = moving or len(frames) == 1
    if sitting.blinded:
        return CardItem(shown, first, whole)
    facts = _facts(sitting, item, said.get(item.item, ()))
    return CardItem(shown, first, whole, facts, _tags(item, len(frames), votes is None), item.label, item.answer)


def _frame(frame: Frame, url: str, votes: Mapping[str, str], item: QueueItem) -> CardFrame:
    vote = votes.get(frame.image_id)
    return CardFrame(url, frame.number, frame.scored, vote, vote is not None and vote != item.label)


def _facts(sitting: Sitting, item: QueueItem, said: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """What an open reviewer is told; in an adjudication what the reviewers said stands in place of the reason."""
    facts = [("Label", item.label or "none")]
    if item.answer is not None:
        facts.append(("Models of other patients" if item.suggested else "Model", item.answer))
    facts.extend(_answers_by_backbone(sitting.store, item.answers))
    if said or sitting.queue.config.kind in ("random", "selection"):
        return (*facts, *said)
    return (*facts, ("Here because", item.reason))


def _answers_by_backbone(store: Store, answers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each backbone's answer where there are several runs; of a backbone with several, how many said what."""
    if len(answers) < 2:
        return []
    said: dict[str, list[str]] = {}
    for run, answer in answers:
        said.setdefault(_backbone(store, run), []).append(answer)
    lines = []
    for backbone, each in said.items():
        counts = pd.Series(each).value_counts()
        words = [
            f"{label} ({number} of {len(each)})" if len(each) > 1 else str(label) for label, number in counts.items()
        ]
        lines.append((backbone, ", ".join(words)))
    return lines


@lru_cache(maxsize=512)
def _backbone(store: Store, run: str) -> str:
    return str(store.run(run).config["backbone"])


def _tags(item: QueueItem, frames: int, votes_lost: bool) -> tuple[str, ...]:
    tags = [test_set_name(item.test_set)] if item.test_set else []
    if item.votes is not None and item.images is not None and item.images > 1:
        tags.append(f"{item.votes} of {count(item.images, 'vote')}")
    if frames > MOST_FRAMES:
        tags.append(f"long cine of {frames} frames, thinned")
    if votes_lost:
        tags.append("the run's answers to single frames are missing on this disk")
    return tuple(tags)


def _votes(sitting: Sitting, item: QueueItem) -> dict[str, str] | None:
    """What the first run took each scored image of the item's test set for, by image id; none where no run was asked.

    None when its predictions are gone: the item can still be looked at.
    """
    if not item.answers:
        return {}
    try:
        return _answers_of_run(sitting.home, sitting.store, item.answers[0][0], item.test_set)
    except FMLabError:
        return None


@lru_cache(maxsize=16)
def _answers_of_run(home: Home, store: Store, run: str, test_set: str) -> dict[str, str]:
    items = item_table(home, store, run, test_set)
    return dict(zip(items["image_id"].astype(str), items["predicted"].astype(str), strict=True))


def _others_verdicts(sitting: Sitting) -> dict[str, list[tuple[str, str]]]:
    """What reviewers said of the items of an adjudication, by item: (reviewer, words)."""
    table = standing(verdicts_of(sitting.store, dataset=sitting.dataset.name))
    table = table[~table["adjudication"] & (table["level"] == sitting.queue.config.level) & (table["kind"] != "skip")]
    said: dict[str, list[tuple[str, str]]] = {}
    for row in table.itertuples():
        words = f"{VERDICT_WORDS[row.kind]}: {row.label}" if row.label else VERDICT_WORDS[row.kind]
        said.setdefault(str(row.item), []).append((str(row.reviewer), words + (f" ({row.note})" if row.note else "")))
    return said
