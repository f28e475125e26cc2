"""A backbone that was pretrained on what a study tests: counted, refused, and said in every figure once accepted.

The dataset is `halves` with 12 patients of 3 frames: p2, p5, p8 and p11 are T1, 12 images of 4 patients.
"""

import numpy as np
import pandas as pd
import pytest

from fmlab.backbones.catalogue import find_backbone
from fmlab.data.roles import roles
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.errors import BadInput
from fmlab.files import write_bytes
from fmlab.pretrain.configs import Source
from fmlab.runs.pretraining_frames import chosen_frames
from fmlab.runs.pretraining_guard import SEEN_COLUMNS, write_seen
from fmlab.runs.records import Actor
from fmlab.runs.store import open_store
from fmlab.studies.configs import study_config
from fmlab.studies.launch import launch
from fmlab.studies.planner import plan
from fmlab.studies.remarks import remarks_of
from fmlab.studies.seen import Seen, seen_backbones, seen_by
from tests.toys import CLASSES, half_bright, halves

ANNA = Actor("anna", "test")


def own_backbone(home, key="own", **changes):
    """A backbone as a pretraining leaves it, but for its weights, which no launch reads."""
    like = find_backbone(home, "random-vit-tiny")
    facts = {"key": key, "layout": "timm", "seed": None, "floor": False, "files": ("weights.safetensors",)}
    card = like.model_copy(update=facts | changes)
    write_bytes(home.backbones / key / "weights.safetensors", b"these are weights")
    write_bytes(home.backbones / key / "card.json", card.model_dump_json().encode())
    return card


def rows_of(dataset, split=None, name=None):
    """What a pretraining on a split of a dataset would have seen."""
    table = dataset.manifest(["content_hash", "patient_id", "split", "frame"])
    table = table if split is None else table[table["split"] == split]
    return table.assign(dataset=name or dataset.name)


def study(**changes):
    facts = {"name": "s", "dataset": "halves", "backbones": ["own"], "adaptations": ["knn"], "scheme": "images"}
    return study_config(facts | {"sizes": [4], "seeds": 1} | changes)


def seen_of(home, dataset, seen, folds=None):
    card = own_backbone(home)
    write_seen(home, card.key, seen[SEEN_COLUMNS])
    return seen_by(home, card, dataset, roles(dataset, folds))


# ------------------------------------------------------------------------------------------------------------- counted


def test_what_the_guard_let_through_has_seen_nothing_that_is_tested(home):
    dataset = halves(home, patients=12)
    found = seen_of(home, dataset, chosen_frames(home, [Source(dataset="halves")]).seen)
    assert found == Seen(images=0, patients=0, tested_images=12, tested_patients=4)
    assert found.fair
    assert seen_by(home, find_backbone(home, "random-vit-tiny"), dataset, roles(dataset)) == Seen()


def test_test_images_are_known_by_their_pixels_whatever_the_dataset_was_called(home):
    dataset = halves(home, patients=12)
    seen = rows_of(dataset, "T1", name="under another name")
    found = seen_of(home, dataset, seen[(seen["patient_id"] == "p2") & (seen["frame"] < 2)].assign(patient_id=None))
    assert (found.images, found.patients) == (2, 1)


def test_a_patient_is_known_by_name_in_the_dataset_of_that_name_alone(home):
    dataset = halves(home, patients=12)
    other = pd.DataFrame({"dataset": "halves", "content_hash": "0" * 32, "patient_id": ["p5", "p8", "p0"]})
    found = seen_of(home, dataset, other)
    assert (found.images, found.patients, found.fair) == (0, 2, False)
    assert seen_of(home, dataset, other.assign(dataset="elsewhere")).fair


def test_a_patient_is_known_by_any_of_their_images(home):
    """Of ten frames of a clip five are scored; the first was learnt from under another name."""
    with DatasetWriter(home, "clips") as writer:
        for number in range(4):
            for frame in range(10):
                facts = {"sequence_id": f"s{number}", "label": CLASSES[number % 2], "frame": frame}
                row = ImageRow(f"{number}.mp4", split="T1" if number < 2 else "train", **facts)
                writer.add(row, half_bright(CLASSES[number % 2], np.random.default_rng(10 * number + frame)))
        dataset = writer.finish(CardFacts("toy"), CLASSES)
    seen = rows_of(dataset, "T1", name="elsewhere")
    found = seen_of(home, dataset, seen[seen["frame"] == 0].iloc[:1])
    assert found == Seen(images=0, patients=1, tested_images=10, tested_patients=2)


def test_a_blank_picture_proves_nothing(home):
    with DatasetWriter(home, "blanks") as writer:
        for split in ("train", "T1"):
            for side in CLASSES:
                row = ImageRow(f"{split}{side}.png", label=side, patient_id=f"{split}{side}", split=split)
                writer.add(
                    row, np.zeros((8, 8), np.uint8) if side == "left" else half_bright(side, np.random.default_rng(1))
                )
        dataset = writer.finish(CardFacts("toy"), CLASSES)
    train = rows_of(dataset, "train", name="elsewhere")
    assert seen_of(home, dataset, train[train["patient_id"] == "trainleft"]).fair
    assert seen_of(home, dataset, train).images == 1


def test_a_cross_validation_tests_what_is_train_otherwise(home):
    dataset = halves(home, patients=12)
    seen = rows_of(dataset, "train")
    assert seen_of(home, dataset, seen).fair
    found = seen_of(home, dataset, seen, folds=2)
    assert (found.images, found.patients) == (24, 8)


def test_an_answer_is_asked_for_anew_when_the_list_or_the_dataset_changes(home):
    dataset = halves(home, patients=12)
    own_backbone(home)
    assert seen_backbones(home, dataset, None, ["own", "pixels-24"]) == {}
    write_seen(home, "own", rows_of(dataset, "T1")[SEEN_COLUMNS])
    assert seen_backbones(home, dataset, None, ["own", "pixels-24"])["own"].images == 12
    assert seen_backbones(home, dataset, 2, ["own"]) == {}


# ------------------------------------------------------------------------------------------------------------- refused


def test_a_study_of_it_is_refused_unless_accepted_by_name(home):
    dataset, store = halves(home, patients=12), open_store(home)
    own_backbone(home)
    seen = rows_of(dataset, "T1")
    write_seen(home, "own", seen[seen["patient_id"].isin(["p2", "p5"])][SEEN_COLUMNS])
    told = (
        "Backbone 'own' was pretrained on 2 of the 4 test patients of dataset 'halves', and on 6 of its 12 test images. "
        "The numbers would be too good: leave out own, or accept it by typing the dataset's name."
    )
    assert plan(home, store, study()).refusals == (told,)
    with pytest.raises(BadInput) as error:
        launch(home, store, study(), ANNA)
    assert str(error.value) == told
    assert plan(home, store, study(allow_leaking="own")).refusals == (told,)
    assert store.studies() == []

    accepted = study(allow_leaking="halves", backbones=["pixels-24", "own"])
    assert plan(home, store, accepted).refusals == ()
    record = launch(home, store, accepted, ANNA)
    assert record.notes[-1] == "Pretrained on what is tested: own."
    assert remarks_of(record, dataset) == ("pretrained on what is tested, so too good: own",)


def test_a_network_trained_from_random_weights_has_seen_nothing(home):
    dataset, store = halves(home, patients=12), open_store(home)
    own_backbone(home)
    write_seen(home, "own", rows_of(dataset, "T1")[SEEN_COLUMNS])
    assert plan(home, store, study(adaptations=["scratch"])).refusals == ()
    assert plan(home, store, study(backbones=["pixels-24"])).refusals == ()
    assert len(plan(home, store, study(adaptations=["scratch", "knn"])).refusals) == 1


def test_a_backbone_that_has_seen_nothing_of_it_is_launched_without_a_word(home):
    dataset, store = halves(home, patients=12), open_store(home)
    own_backbone(home)
    write_seen(home, "own", rows_of(dataset, "train")[SEEN_COLUMNS])
    record = launch(home, store, study(), ANNA)
    assert remarks_of(record, dataset) == record.notes == ()


def test_a_caution_stands_in_the_plan_and_beside_every_number(home):
    dataset, store = halves(home, patients=12), open_store(home)
    own_backbone(home, caution="pretrained on simulated images")
    told = "Beside every number of own: pretrained on simulated images."
    assert told in plan(home, store, study()).warnings
    record = launch(home, store, study(), ANNA)
    assert record.notes == (told,)
    assert remarks_of(record, dataset) == ("own: pretrained on simulated images",)


def test_the_sentence_counts_sequences_where_patients_are_unknown(home):
    with DatasetWriter(home, "halves") as writer:
        for number in range(12):
            side, split = CLASSES[number % 2], "T1" if number < 4 else "train"
            writer.add(
                ImageRow(f"{number}.png", label=side, split=split), half_bright(side, np.random.default_rng(number))
            )
        dataset = writer.finish(CardFacts("toy"), CLASSES)
    own_backbone(home)
    write_seen(home, "own", rows_of(dataset, "T1", name="elsewhere")[SEEN_COLUMNS].iloc[:3])
    (told,) = plan(home, open_store(home), study()).refusals
    assert "3 of the 4 test sequences of dataset 'halves', and on 3 of its 4 test images" in told
