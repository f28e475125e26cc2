"""A page with nothing but the review card, for its tests and its benchmark: numbered pictures, verdicts in a text file.

In: CARD_FOLDER in the environment; ?items=, ?frames=, ?classes=, ?blinded=1, ?name= in the address.
Out: `verdicts.jsonl` in that folder, one answer a line in the order of arrival, each id once. While a file `die` is there,
the server ends with the next verdict, after it was stored and before the browser is told. Verdicts with the note "refuse"
are refused. The last item but one of a queue has no picture when the address says ?missing=1.
"""

import base64
import io
import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image, ImageDraw

from fmlab.ui.review_card import CardFrame, CardItem, CardSession, card_state, review_card

SIDE = 256
FOLDER = Path(os.environ["CARD_FOLDER"])
VERDICTS = FOLDER / "verdicts.jsonl"


@cache
def picture(item: int, frame: int) -> str:
    grain = np.random.default_rng(1000 * item + frame).integers(20, 90, (SIDE, SIDE), dtype=np.uint8)
    drawn = Image.fromarray(grain)
    ImageDraw.Draw(drawn).text((40, 80), f"{item}.{frame}", fill=255, font_size=60)
    encoded = io.BytesIO()
    drawn.save(encoded, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode()


def classes() -> list[str]:
    count = int(st.query_params.get("classes", "4"))
    return ["A4C", "<b id='injected'>A2C</b>", *[f"class {number}" for number in range(2, count)]]


def item(number: int, last: int, whole: bool) -> CardItem:
    if "missing" in st.query_params and number == last - 1:
        return CardItem((), 0, True, problem="This image is not where it was.")
    frames = int(st.query_params.get("frames", "6"))
    places = range(frames) if whole else range(1)
    shown = tuple(
        CardFrame(picture(number, place), place, place % 3 == 0, "A4C" if place % 3 == 0 else None, place == 3)
        for place in places
    )
    blinded = "blinded" in st.query_params
    return CardItem(
        shown,
        first=0,
        whole=whole or frames == 1,
        facts=() if blinded else (("Label", classes()[1]), ("Model", "A4C"), ("Why here", "ahead by 2.1 of 4.0")),
        label=None if blinded else classes()[1],
        answer=None if blinded else "A4C",
    )


def stored() -> list[dict]:
    return [json.loads(line) for line in VERDICTS.read_text().splitlines()] if VERDICTS.exists() else []


def store(answers: tuple[dict, ...], name: str) -> None:
    known = {row["id"] for row in stored()}
    with VERDICTS.open("a") as lines:
        for answer in answers:
            if answer["id"] not in known and answer["note"] != "refuse":
                lines.write(json.dumps(answer | {"by": name}) + "\n")
    if answers and (FOLDER / "die").exists():
        (FOLDER / "die").unlink()
        os._exit(1)


@st.fragment
def card() -> None:
    name = st.query_params.get("name", "ada")
    order = tuple(f"item-{number}" for number in range(int(st.query_params.get("items", "12"))))
    state = card_state("card", name)
    store(state.answers, name)
    own = [row for row in stored() if row["by"] == name]
    undone = {row["undoes"] for row in own}
    answered = {row["item"]: row["kind"] for row in own if row["kind"] != "undo" and row["id"] not in undone}
    blinded = "blinded" in st.query_params
    wanted = {place: False for place in state.wanted_stills or order[:3]} | dict.fromkeys(state.wanted_cines, True)
    review_card(
        "card",
        CardSession(name, order, answered, tuple(classes()), blinded, False, {"label_right": "Model wrong"}),
        {place: item(int(place.removeprefix("item-")), len(order) - 1, whole) for place, whole in wanted.items()},
        acknowledged=[row["id"] for row in own],
        refused={each["id"]: "no such class." for each in state.answers if each["note"] == "refuse"},
        revealed={place: [("label", "A4C"), ("model", "A2C")] for place in answered} if blinded else {},
    )


st.set_page_config(layout="wide")
card()
