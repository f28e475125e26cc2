"""The review card: one image or clip at a time, large, judged by keys of which none is lost.

In: a `CardSession` (whose queue, in which order), the `CardItem`s that the browser asked for, what became of its verdicts.
Out: a `CardState`: verdicts that wait to be stored, oldest first, and the pictures that are wanted next.

The browser keeps every verdict in a log until its id is acknowledged or refused, and sends the log again after a lost
connection or a reload: whoever stores verdicts must take the same id twice as one. A page reads `card_state` first,
stores its answers, and then draws `review_card` with what it stored and what was wanted: one pass for each key.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st
from pydantic import BaseModel, ConfigDict, ValidationError

from fmlab.errors import BadInput

TITLES = {
    "label_right": "Label right",
    "label_wrong": "Label wrong",
    "ambiguous": "Ambiguous",
    "poor_quality": "Poor quality",
    "skip": "Skip",
}
STATE = "log"  # the one value that the browser sends: all of it at once, or nothing


@dataclass(frozen=True)
class CardSession:
    """What one reviewer goes through. Another `name` is another sitting: its verdicts are kept apart in the browser."""

    name: str
    order: tuple[str, ...]  # items, in this reviewer's order
    answered: Mapping[str, str]  # item → kind of this reviewer's standing verdict; the card opens at the first without
    classes: tuple[str, ...]
    blinded: bool  # the card asks for the class, and `facts`, `label` and `answer` of its items are left out
    adjudicating: bool
    titles: Mapping[str, str] = field(default_factory=dict)  # kind → words of its button, where TITLES do not fit
    whole_frame: bool | None = None  # how the pictures in the window were made; None offers no choice


@dataclass(frozen=True)
class CardFrame:
    """One picture of a clip."""

    url: str  # a data URL
    number: int  # as the recording counts its frames
    scored: bool = True
    vote: str | None = None  # the class that this frame was taken for
    against: bool = False  # whether the vote spoke against the label


@dataclass(frozen=True)
class CardItem:
    """An image or a clip. No frames and a `problem`: a sentence stands in the picture's place, and only skip is taken."""

    frames: tuple[CardFrame, ...]  # all of them when `whole`, else the one shown first
    first: int  # which of `frames` is shown first
    whole: bool
    facts: tuple[tuple[str, str], ...] = ()  # (name, value); the first two stand large
    tags: tuple[str, ...] = ()
    label: str | None = None  # marked among the classes; naming it confirms it
    answer: str | None = None  # the model's, marked among the classes
    problem: str = ""


@dataclass(frozen=True)
class CardState:
    """What the browser last said."""

    answers: tuple[dict[str, Any], ...] = ()  # id, item, kind, label, note, undoes, shown; not yet acknowledged
    wanted_stills: tuple[str, ...] = ()  # items of which the card lacks the picture shown first, most urgent first
    wanted_cines: tuple[str, ...] = ()  # items of which it wants all frames
    position: int = 0  # place in the order of the item on show
    whole_frame: bool = False  # whether the reviewer wants to see what lies outside the sector too
    turn: int = 0  # counts what the browser sent; returned to it, so that it knows that it was heard
    holds: str = ""  # digest of the session that the browser holds


class _Said(BaseModel):
    """The browser's words, to be judged before use."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    name: str
    turn: int
    holds: str
    answers: list[dict[str, Any]]
    wanted_stills: list[str]
    wanted_cines: list[str]
    position: int
    whole_frame: bool


def card_state(key: str, name: str) -> CardState:
    """What the card `key` last said in the session `name`; an empty state before that, or while it speaks of another.

    So no verdict of one reviewer is ever taken for another's. Raises BadInput for what no card would say.
    """
    said = (st.session_state.get(key) or {}).get(STATE)
    if said is None:
        return CardState()
    try:
        words = _Said.model_validate(said)
    except ValidationError as error:
        raise BadInput(
            "The review card sent what this app cannot read. Reload the page; no verdict is lost."
        ) from error
    if words.name != name:
        return CardState()
    return CardState(
        tuple(words.answers),
        tuple(words.wanted_stills),
        tuple(words.wanted_cines),
        words.position,
        words.whole_frame,
        words.turn,
        words.holds,
    )


def review_card(
    key: str,
    session: CardSession,
    window: Mapping[str, CardItem],
    acknowledged: Sequence[str] = (),
    refused: Mapping[str, str] | None = None,
    revealed: Mapping[str, Sequence[tuple[str, str]]] | None = None,
) -> CardState:
    """Draw the card and return what the browser has said so far.

    `window` holds the items asked for in the last state (the first few of the order before that); what was not asked
    for is not sent again. `acknowledged` are ids that stand in the store, `refused` ids that never will, each with a
    sentence. `revealed` (item → facts) is told in blinded mode once an item has its verdict.
    """
    before = card_state(key, session.name)
    fixed = _fixed(session)
    digest = hashlib.blake2b(json.dumps(fixed, sort_keys=True).encode(), digest_size=12).hexdigest()
    news = before.holds != digest
    asked = {*before.wanted_stills, *before.wanted_cines}
    content = {
        "session": digest,
        "name": session.name,
        "turn": before.turn,
        # The order of a long queue is told once, not with every key.
        "fixed": fixed | {"answered": dict(session.answered)} if news else None,
        "wholeFrame": session.whole_frame,
        "items": {item: asdict(shown) for item, shown in window.items() if news or item in asked},
        "acknowledged": list(acknowledged),
        "refused": dict(refused or {}),
        "revealed": {item: [list(fact) for fact in facts] for item, facts in (revealed or {}).items()},
    }
    _component(key=key, data=content, on_log_change=_keep)
    return card_state(key, session.name)


def _fixed(session: CardSession) -> dict[str, Any]:
    """What does not change while a reviewer works through a queue."""
    return {
        "name": session.name,
        "order": list(session.order),
        "classes": list(session.classes),
        "blinded": session.blinded,
        "adjudicating": session.adjudicating,
        "titles": TITLES | dict(session.titles),
    }


def _keep() -> None:
    """A named event is what makes the component's state reach the script."""


# One module in the browser, read in this order: the log of verdicts, the pictures, the looks, and what the card does.
_SCRIPTS = (
    "review_card_log.js",
    "review_card_picture.js",
    "review_card_sheets.js",
    "review_card_view.js",
    "review_card.js",
)
_component = st.components.v2.component(
    "fmlab_review_card",
    css=Path(__file__).with_suffix(".css").read_text(encoding="utf-8"),
    js="\n".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in _SCRIPTS),
)
