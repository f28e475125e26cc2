"""The Review page: queues from the address, the card's pictures and verdicts, what a blinded reviewer is not sent."""

import json
import uuid
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from fmlab.data.manifest import open_dataset
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.review.queues import QueueConfig, open_queue, queues_of
from fmlab.review.verdicts import verdicts_of
from fmlab.runs.records import Actor
from fmlab.studies.label_versions import label_versions
from fmlab.studies.results import results
from fmlab.studies.scoring import item_table
from fmlab.ui.review_agreement import KIND_TITLES, by_reviewer
from fmlab.ui.review_card import CardState
from fmlab.ui.review_gallery import score_lines
from fmlab.ui.review_labels import counts_of
from fmlab.ui.review_pictures import ReviewPictures
from fmlab.ui.review_sitting import Sitting, answered, keep, reveal, window
from tests.pages.conftest import text_of
from tests.pages.made_study import CLASSES, FRAMES, launch_study, make_dataset, make_study

BY = Actor("tester", "test")
CELL = {"study": "made", "backbone": "pixels-24", "adaptation": "linear SVM", "size": "1", "seed": "2"}


def wrong_queue(home, store, **changes):
    """The misclassified sequences of the run in `CELL`, on T1."""
    table = results(home, store, "made")
    run = table.query("backbone == 'pixels-24' and size == 1 and seed == 2 and test_set == 'T1'").iloc[0]["run"]
    facts = {"kind": "misclassified", "dataset": "toy", "runs": (run,), "test_set": "T1", "level": "sequence"}
    return open_queue(home, store, QueueConfig(**facts | changes), BY)


def sitting(home, store, queue, reviewer="anna", blinded=False):
    return Sitting(home, store, open_dataset(home, "toy"), queue, reviewer, blinded)


def said(name, kind, label=None, **facts):
    """A verdict as the browser sends it."""
    return {"id": str(uuid.uuid4()), "item": name, "kind": kind, "label": label, "note": "", "shown": {}} | facts


def review(home, store, queue, reviewer, verdicts, blinded=False):
    """Let a reviewer answer the first items of a queue: a kind and label each."""
    place = sitting(home, store, queue, reviewer, blinded)
    names = [place.name_of(item.item) for item in queue.items]
    words = [said(name, *verdict) for name, verdict in zip(names, verdicts, strict=False)]
    kept, refused = keep(place, CardState(answers=tuple(words)))
    assert refused == {}
    return kept


# The page ---------------------------------------------------------------------------------------------------------------


def test_an_empty_home_says_what_to_do_next(open_page):
    page = open_page("review")
    assert not page.exception
    assert "No study yet" in text_of(page)


def test_a_study_without_a_finished_run_says_that_it_will_come(open_page, home):
    make_dataset(home)
    launch_study(home)
    for part in ("Review", "Gallery"):
        page = open_page("review", part=part)
        assert not page.exception
        assert "as soon as a run has finished" in text_of(page)


def test_a_broken_store_is_one_message(open_page, home):
    make_study(home)
    for file in home.path.glob("fmlab.db*"):
        file.write_bytes(b"this is not a database" * 1000)
    page = open_page("review")
    assert not page.exception
    assert len(page.error) == 1


def test_a_link_from_results_opens_the_queue_of_that_run(open_page, home):
    store = make_study(home)
    page = open_page("review", **CELL, test_set="T1", truth="A")
    assert not page.exception
    assert not page.error
    (queue,) = queues_of(store, "toy")
    assert queue.config.kind == "misclassified"
    assert (queue.config.test_set, queue.config.truth, queue.config.level) == ("T1", "A", "sequence")
    assert store.run(queue.config.runs[0]).config["subset"]["seed"] == 2
    assert {item.label for item in queue.items} == {"A"}


def test_the_same_address_is_the_same_queue(open_page, home):
    store = make_study(home)
    for _ in range(2):
        open_page("review", **CELL, test_set="T1", kind="Near ties", level="images")
    (queue,) = queues_of(store, "toy")
    assert (queue.config.kind, queue.config.level) == ("near_ties", "image")
    page = open_page("review", queue=queue.key)
    assert not page.exception
    assert not page.error
    assert queue.title.split(",")[0] in text_of(page)


@pytest.mark.parametrize("kind", ["Misclassified", "Disagreement", "Near ties", "Random sample"])
def test_every_kind_of_queue_opens(open_page, home, kind):
    store = make_study(home)
    page = open_page("review", **CELL, kind=kind)
    assert not page.exception
    assert not page.error
    assert len(queues_of(store, "toy")) == 1


def test_label_errors_are_looked_for_on_demand(open_page, home):
    store = make_study(home)
    page = open_page("review", study="made", kind="Label errors")
    assert not page.exception
    next(button for button in page.button if button.label == "Look for label errors").click()
    page = page.run()
    assert not page.exception
    runs = store.runs()
    assert runs[runs["kind"] == "suspects"]["state"].tolist() == ["queued"]
    assert "looked through" in text_of(page)


def test_the_address_names_the_queue_and_changes_with_the_widgets(open_page, home):
    store = make_study(home)
    page = open_page("review", **CELL, test_set="T1")
    first = queues_of(store, "toy")[0]
    assert page.query_params["queue"] == first.key
    page.radio(key="kind").set_value("Near ties").run()
    second = queues_of(store, "toy")[0]
    assert second.config.kind == "near_ties"
    assert page.query_params["queue"] == second.key
    linked = open_page("review", queue=first.key)  # in a session of its own
    assert first.title.split(",")[0] in text_of(linked)
    linked.button(key="leave").click().run()
    assert not linked.exception
    assert linked.radio(key="kind").value == "Misclassified"


def test_a_queue_that_is_gone_is_said_and_the_page_goes_on(open_page, home):
    make_study(home)
    page = open_page("review", study="made", queue="0" * 32)
    assert not page.exception
    assert "no queue" in page.error[0].value


def test_whoever_signed_in_reviews_under_that_name_alone(open_page, home):
    """Streamlit's harness signs somebody in."""
    make_study(home)
    page = open_page("review", study="made", reviewer="somebody else")
    assert not page.exception
    assert page.text_input(key="reviewer").disabled


# The card: pictures -------------------------------------------------------------------------------------------------------


def test_a_card_gets_every_frame_of_the_sequence_with_its_votes(home):
    store = make_study(home)
    queue = wrong_queue(home, store)
    place = sitting(home, store, queue)
    name = place.order[0]
    item = place.names[name]
    still = window(place, [name], [])[name]
    assert (len(still.frames), still.first, still.whole) == (1, 0, False)
    cine = window(place, [], [name])[name]
    assert (len(cine.frames), cine.whole) == (FRAMES, True)
    assert cine.frames[cine.first].url.startswith("data:image/jpeg;base64,")
    items = item_table(home, store, queue.config.runs[0], "T1")
    votes = items[items["sequence_id"] == item.item].sort_values("frame")
    assert [frame.vote for frame in cine.frames] == votes["predicted"].tolist()
    assert [frame.against for frame in cine.frames] == (~votes["correct"]).tolist()
    assert dict(cine.facts)["Label"] == item.label
    assert dict(cine.facts)["Model"] == item.answer


def test_nothing_identifying_is_sent(home):
    store = make_study(home)
    place = sitting(home, store, wrong_queue(home, store))
    shown = window(place, place.order, place.order[:2])
    content = json.dumps({name: asdict(item) for name, item in shown.items()}) + json.dumps(place.order)
    for identifying in ("patient of", ".avi", "T1-A", "T1-B", "T1-C"):
        assert identifying not in content


def test_a_blinded_reviewer_is_sent_pictures_alone_until_the_verdict_is_in(home):
    store = make_study(home)
    queue = wrong_queue(home, store)
    review(home, store, queue, "ben", [("ambiguous",)])
    place = sitting(home, store, queue, blinded=True)
    names = place.order
    for item in window(place, names, names).values():
        assert (item.facts, item.tags, item.label, item.answer) == ((), (), None, None)
        assert {frame.vote for frame in item.frames} == {None}
        assert not any(frame.against for frame in item.frames)
    skip, judged = said(names[0], "skip"), said(names[1], "class", "B")
    state = CardState(answers=(skip, judged))
    kept, _ = keep(place, state)
    assert reveal(place, state, []) == {}
    known = place.names[names[1]]
    assert reveal(place, state, kept) == {names[1]: [("Label", known.label), ("Model", known.answer)]}


def test_reviewers_have_orders_of_their_own_when_blinded(home):
    store = make_study(home)
    queue = wrong_queue(home, store, kind="near_ties")
    orders = {who: sitting(home, store, queue, who, True).order for who in ("anna", "ben", "carla")}
    assert len(set(orders.values())) > 1
    assert {tuple(sorted(order)) for order in orders.values()} == {tuple(sorted(orders["anna"]))}
    assert sitting(home, store, queue, "anna", False).order == sitting(home, store, queue, "ben", False).order


def test_pictures_that_are_gone_are_said_and_the_others_shown(home):
    """A dataset of that name was imported anew, without one of the sequences; then its pixels are lost."""
    store = make_study(home)
    queue = wrong_queue(home, store, kind="near_ties")
    gone, stays = queue.items[0], queue.items[1]
    folder = open_dataset(home, "toy").folder
    rows = pd.read_parquet(folder / "manifest.parquet")
    rows[rows["sequence_id"] != gone.item].to_parquet(folder / "manifest.parquet")
    place = sitting(home, store, queue)
    shown = window(place, place.order, place.order)
    assert "not in the dataset any more" in shown[place.name_of(gone.item)].problem
    assert shown[place.name_of(gone.item)].frames == ()
    assert len(shown[place.name_of(stays.item)].frames) == FRAMES

    next((folder / "store").glob("shard-*.bin")).write_bytes(b"")
    lost = window(sitting(home, store, queue), place.order, [], whole_frame=True)
    assert "missing or damaged" in lost[place.name_of(stays.item)].problem


def test_what_lies_outside_the_sector_is_black_unless_asked_for(home):
    writer = DatasetWriter(home, "sectors")
    left_half = (0.0, 0.0, 0.5, 0.0, 0.5, 1.0, 0.0, 1.0)
    for name, sector in (("with.png", left_half), ("without.png", None)):
        writer.add(ImageRow(name, label=name, split="T1", sector=sector), np.full((8, 8), 200, np.uint8))
    dataset = writer.finish(CardFacts("toy"))
    table = dataset.manifest(["image_id", "label"])
    ids = dict(zip(table["label"], table["image_id"], strict=True))
    shown = ReviewPictures(dataset).pixels(table["image_id"].tolist())
    assert (shown[ids["with.png"]][:, :3] == 200).all()
    assert (shown[ids["with.png"]][:, 5:] == 0).all()
    assert (shown[ids["without.png"]] == 200).all()
    assert (ReviewPictures(dataset, whole=True).pixels(table["image_id"].tolist())[ids["with.png"]] == 200).all()


def test_stills_and_cines_of_both_kinds_are_kept_apart(home):
    dataset = make_dataset(home)
    image = str(dataset.manifest(["image_id"])["image_id"].iloc[0])
    pictures = ReviewPictures(dataset)
    small, large = pictures.urls([image], side=8)[image], pictures.urls([image])[image]
    assert small != large
    assert pictures.urls([image], side=8)[image] == small


# The card: verdicts -------------------------------------------------------------------------------------------------------


def test_verdicts_are_stored_once_and_known_when_the_reviewer_comes_back(home):
    store = make_study(home)
    queue = wrong_queue(home, store)
    place = sitting(home, store, queue)
    words = [said(place.order[0], "label_right"), said(place.order[1], "poor_quality", note="shadow")]
    for _ in range(2):  # the second time as after a lost acknowledgement
        kept, refused = keep(place, CardState(answers=tuple(words)))
        assert (kept, refused) == ([each["id"] for each in words], {})
    table = verdicts_of(store, "toy")
    assert table["reviewer"].tolist() == ["anna", "anna"]
    assert table["item"].tolist() == [queue.items[0].item, queue.items[1].item]
    assert table["note"].tolist() == ["", "shadow"]
    assert answered(sitting(home, store, queue)) == {place.order[0]: "label_right", place.order[1]: "poor_quality"}
    assert answered(sitting(home, store, queue, "ben")) == {}
    undo = said(place.order[1], "undo", undoes=words[1]["id"])
    keep(place, CardState(answers=(undo,)))
    assert answered(sitting(home, store, queue)) == {place.order[0]: "label_right"}


def test_what_cannot_be_kept_is_refused_alone_and_names_no_item(home):
    store = make_study(home)
    queue = wrong_queue(home, store)
    place = sitting(home, store, queue)
    label = place.names[place.order[0]].label
    words = [
        said(place.order[0], "label_wrong", label),
        said("nowhere", "skip"),
        said(place.order[1], "label_wrong", "no such class"),
        said(place.order[1], "skip"),
    ]
    kept, refused = keep(place, CardState(answers=tuple(words)))
    assert kept == [words[3]["id"]]
    assert set(refused) == {each["id"] for each in words[:3]}
    assert not any(item.item in sentence for item in queue.items for sentence in refused.values())


# Agreement and adjudication -------------------------------------------------------------------------------------------------


def test_agreement_leads_to_an_adjudication_that_decides(open_page, home):
    store = make_study(home)
    queue = wrong_queue(home, store, kind="near_ties")
    right = [("label_right",)] * 4
    other = {item.item: next(c for c in CLASSES if c != item.label) for item in queue.items}
    review(home, store, queue, "anna", right)
    review(home, store, queue, "ben", [("label_wrong", other[queue.items[0].item]), *right[1:]])
    page = open_page("review", study="made", part="Agreement")
    assert not page.exception
    assert not page.error
    assert "Cohen" in page.metric[0].label
    assert "**4 sequences** answered by two reviewers" in text_of(page)
    page.button(key="adjudicate_sequence").click().run()
    assert not page.exception
    dispute = queues_of(store, "toy")[0]
    assert (dispute.config.kind, [item.item for item in dispute.items]) == ("adjudication", [queue.items[0].item])
    assert page.query_params["queue"] == dispute.key

    judge = sitting(home, store, dispute, "chair")
    facts = dict(window(judge, judge.order, [])[judge.order[0]].facts)
    assert facts["anna"].startswith("label right")
    assert facts["ben"] == f"label wrong: {other[queue.items[0].item]}"
    blind = sitting(home, store, dispute, "chair", blinded=True)
    assert window(blind, blind.order, [])[blind.order[0]].facts == ()
    review(home, store, dispute, "chair", [("label_right",)])
    page = open_page("review", study="made", part="Agreement")
    assert not [button for button in page.button if button.key == "adjudicate_sequence"]


def test_agreement_counts_each_reviewers_standing_verdicts(home):
    store = make_study(home)
    queue = wrong_queue(home, store)
    first = review(home, store, queue, "anna", [("ambiguous",), ("skip",)])
    place = sitting(home, store, queue)
    keep(place, CardState(answers=(said(place.order[0], "undo", undoes=first[0]),)))
    review(home, store, queue, "anna", [("poor_quality",)])
    (row,) = by_reviewer(verdicts_of(store, "toy")).to_dict("records")
    assert (row["reviewer"], row["items"], row["poor quality"], row["ambiguous"], row["skipped"]) == (
        "anna",
        2,
        1,
        0,
        1,
    )
    assert set(KIND_TITLES.values()) <= set(row)


# Labels -----------------------------------------------------------------------------------------------------------------


def test_corrected_labels_are_published_and_lead_to_results(open_page, home):
    store = make_study(home)
    queue = wrong_queue(home, store)
    item = queue.items[0]
    other = next(name for name in CLASSES if name != item.label)
    page = open_page("review", study="made", part="Labels")
    assert "No label would change" in text_of(page)
    review(home, store, queue, "anna", [("label_wrong", other)])
    page = open_page("review", study="made", part="Labels")
    assert not page.exception
    assert not page.error
    assert "**1 sequence** with **3 images**" in text_of(page)
    next(button for button in page.button if button.label.startswith("Publish")).click()
    page = page.run()
    assert not page.exception
    assert "are published" in text_of(page)
    (version,) = label_versions(store, open_dataset(home, "toy"))
    assert (version.name, set(version.changes.values()), len(version.changes)) == ("v2", {other}, 3)


def test_changes_are_counted_in_sequences_and_images():
    rows = pd.DataFrame(
        {
            "image_id": list("abcd"),
            "sequence_id": ["s", "s", "t", "u"],
            "split": "T1",
            "was": ["A", "A", "A", "B"],
            "becomes": ["B", "B", "B", "taken out"],
        }
    )
    assert counts_of(rows).to_dict("records") == [
        {"was": "A", "becomes": "B", "sequences": 2, "images": 3},
        {"was": "B", "becomes": "taken out", "sequences": 1, "images": 1},
    ]


# The gallery ------------------------------------------------------------------------------------------------------------


def test_the_gallery_counts_what_was_misclassified(open_page, home):
    store = make_study(home)
    page = open_page("review", part="Gallery", **CELL, test_set="T1", level="images")
    assert not page.exception
    assert not page.error
    table = results(home, store, "made")
    run = table.query("backbone == 'pixels-24' and size == 1 and seed == 2 and test_set == 'T1'").iloc[0]
    wrong = (~item_table(home, store, run["run"], "T1")["correct"]).sum()
    assert f"**{wrong} of 21 images** of T1 misclassified" in text_of(page)
    assert "Scores order the classes" in text_of(page)


@pytest.mark.parametrize("level", ["images", "sequences"])
def test_filters_of_the_gallery_come_from_the_address(open_page, home, level):
    make_study(home)
    page = open_page("review", part="Gallery", **CELL, level=level, truth="A", pictures="Large")
    assert not page.exception
    assert not page.error
    assert page.selectbox(key="truth").value == "A"


@pytest.mark.parametrize("part", ["Review", "Gallery", "Agreement", "Labels"])
def test_nothing_identifying_stands_on_the_page(open_page, home, part):
    store = make_study(home)
    queue = wrong_queue(home, store)
    review(home, store, queue, "anna", [("label_wrong", next(c for c in CLASSES if c != queue.items[0].label))])
    page = open_page("review", part=part, **CELL)
    assert not page.exception
    words = text_of(page) + "".join(str(table.value) for table in page.dataframe)
    for identifying in ("patient of", ".avi", "T1-A-0", "T1-B-0", "T1-C-0"):
        assert identifying not in words


def test_truth_and_answer_are_marked_even_when_the_truth_scored_last():
    scores = {f"score_{letter}": 10.0 - place for place, letter in enumerate("ABCDEFGH")}
    lines = score_lines(pd.Series({"label": "H", "predicted": "A", "score": 10.0} | scores)).split("\n")
    assert lines[2] == "| A | 10.00 | answer |"
    assert lines[-1] == "| H | 3.00 | truth |"
    assert len(lines) == 2 + 5 + 1


def test_a_class_name_cannot_break_out_of_the_table():
    row = pd.Series({"label": "a|b", "predicted": "<b>c</b>", "score_a|b": 1.0, "score_<b>c</b>": 2.0})
    assert "<b>" not in score_lines(row)
    assert "| a\\|b | 1.00 | truth |" in score_lines(row)
