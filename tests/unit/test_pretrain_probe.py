"""The probe of a pretraining: against scikit-learn, by patient, on toys whose answers can be seen by eye."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.errors import BadInput
from fmlab.pretrain.probe import LabelledImages, drawn_by_patient
from tests.toys import CLASSES, half_bright, halves


def dataset(home, name, split_of, patients=10, frames=4, colour=False, label_of=lambda patient: CLASSES[patient % 2]):
    """Half-bright squares; `split_of(patient, frame)` says where each goes."""
    rng = np.random.default_rng(3)
    with DatasetWriter(home, name) as writer:
        for patient in range(patients):
            for frame in range(frames):
                label = label_of(patient)
                row = ImageRow(
                    path=f"p{patient}-{frame}.png",
                    frame=0,
                    label=label,
                    sequence_id=f"s{patient}-{frame}",
                    patient_id=f"p{patient}",
                    split=split_of(patient, frame),
                )
                picture = half_bright(label or "left", rng)
                writer.add(row, np.stack([picture, picture // 2, picture // 3], axis=2) if colour else picture)
        return writer.finish(CardFacts("toy", title="Half-bright squares"), CLASSES)


def labelled(home, name="halves", **options):
    return LabelledImages(home, name, 16, 1, (0.5,), (0.25,), **options)


def halves_of(images):
    """What tells the toys apart: mean grey left and right, and noise that does not."""
    left, right = images[..., :8].mean(dim=(1, 2, 3)), images[..., 8:].mean(dim=(1, 2, 3))
    return torch.stack([left, right, torch.ones_like(left)], dim=1)


# Against scikit-learn -------------------------------------------------------------------------------------------------


def test_both_probes_give_the_answers_of_scikit_learn(home):
    halves(home)
    images = labelled(home)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(images), 12)).astype(np.float32) + 0.6 * images.labels[:, None].astype(np.float32)
    train, test = slice(0, 48), slice(48, None)
    known, asked = features[train], features[test]
    nearest = KNeighborsClassifier(20, weights=lambda far: np.exp((1 - far) / 0.07), metric="cosine", algorithm="brute")
    linear = LinearSVC(C=1.0, tol=1e-8, max_iter=100_000)
    middle, length = known.mean(axis=0), np.sqrt(known.var(axis=0).sum())
    expected = [
        nearest.fit(known, images.labels[train]).predict(asked),
        linear.fit((known - middle) / length, images.labels[train]).predict((asked - middle) / length),
    ]
    found = images.predicted(features)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    result = images.probe(features)
    assert result.knn == pytest.approx(balanced_accuracy_score(images.truth, expected[0]))
    assert result.linear == pytest.approx(balanced_accuracy_score(images.truth, expected[1]))
    assert 0 < result.knn < 1  # or the comparison would be empty
    assert result.knn_low < result.knn < result.knn_high
    assert result.plain["low"] == result.knn_low


def test_the_linear_probe_knows_no_units_and_is_not_drowned_by_dimensions_that_hardly_vary(home):
    halves(home)
    images = labelled(home)
    told = images.features(halves_of)
    dark = 1e-5 * np.random.default_rng(0).normal(size=(len(images), 500)).astype(np.float32)
    assert images.probe(np.concatenate([told, dark], axis=1)).linear == 1
    np.testing.assert_array_equal(images.predicted(1000 * told)[1], images.predicted(told)[1])


# Who is learnt from, who is tested ------------------------------------------------------------------------------------


def test_the_first_test_set_is_tested_and_good_features_are_seen(home):
    halves(home)
    images = labelled(home)
    assert images.test_set == "T1"
    assert len(images) == 72
    assert len(images.truth) == 24
    assert len(np.unique(images.test_groups)) == 8
    assert "48 images of 16 patients" in images.note
    assert "24 images of 8 patients" in images.note
    result = images.probe(images.features(halves_of))
    assert (result.linear, result.linear_low, result.linear_high) == (1, 1, 1)


def test_features_that_know_the_patient_alone_know_nothing(home):
    """Dealt out by images instead of patients, these features would be right every time."""
    dataset(home, "no-test", lambda patient, frame: "train")
    images = labelled(home, "no-test")
    assert images.test_set == "folds"
    assert len(images.truth) == 40
    identity = np.eye(10, dtype=np.float32)[images.groups[: len(images.labels)]]
    result = images.probe(identity)
    assert result.knn <= 0.6
    assert result.linear <= 0.6
    assert images.probe(images.features(halves_of)).linear == 1


def test_without_a_test_set_val_is_tested(home):
    dataset(home, "held-out", lambda patient, frame: "val" if patient < 4 else "train")
    images = labelled(home, "held-out")
    assert images.test_set == "val"
    assert len(images.truth) == 16
    assert images.probe(images.features(halves_of)).linear == 1


def test_a_patient_on_both_sides_is_tested_and_not_learnt_from(home):
    dataset(home, "leaky", lambda patient, frame: "T1" if patient < 3 or (patient == 3 and frame == 0) else "train")
    images = labelled(home, "leaky")
    assert len(images.truth) == 13
    assert len(images) - len(images.truth) == 6 * 4


def test_what_cannot_be_probed_is_refused(home):
    dataset(home, "one-class", lambda patient, frame: "T1" if patient < 3 else "train", label_of=lambda patient: "left")
    with pytest.raises(BadInput, match="all of one class"):
        labelled(home, "one-class")
    dataset(home, "nobody", lambda patient, frame: "train", patients=1)
    with pytest.raises(BadInput, match="1 patients"):
        labelled(home, "nobody")
    dataset(home, "unlabelled", lambda patient, frame: "train", label_of=lambda patient: None)
    with pytest.raises(BadInput, match="0 patients"):
        labelled(home, "unlabelled")
    dataset(home, "only-test", lambda patient, frame: "T1")
    with pytest.raises(BadInput, match="not tested"):
        labelled(home, "only-test")


def test_features_that_do_not_fit_are_refused(home):
    halves(home)
    images = labelled(home)
    with pytest.raises(BadInput, match="expected 72"):
        images.probe(np.zeros((71, 3), np.float32))
    with pytest.raises(BadInput, match="not finite"):
        images.probe(np.full((72, 3), np.nan, np.float32))


# How many -------------------------------------------------------------------------------------------------------------


def rows_of(counts):
    patients = [patient for patient, count in counts.items() for _ in range(count)]
    ids = [f"{number:016x}" for number in range(len(patients))]
    return pd.DataFrame({"image_id": ids, "patient_id": patients, "sequence_id": ids})


def test_few_images_are_drawn_evenly_over_patients():
    rows = rows_of({"a": 100, "b": 2, "c": 1})
    drawn = drawn_by_patient(rows, 10, seed=0)
    assert drawn["patient_id"].value_counts().to_dict() == {"a": 7, "b": 2, "c": 1}
    assert drawn["image_id"].is_monotonic_increasing
    assert len(drawn_by_patient(rows, 103, seed=0)) == 103
    assert set(drawn_by_patient(rows, 2, seed=0)["patient_id"].value_counts()) == {1}


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_rows():
    rows = rows_of({"a": 50, "b": 50})
    first = set(drawn_by_patient(rows, 20, seed=0)["image_id"])
    assert set(drawn_by_patient(rows[::-1].reset_index(drop=True), 20, seed=0)["image_id"]) == first
    assert set(drawn_by_patient(rows, 20, seed=1)["image_id"]) != first


def test_a_cap_holds_for_each_side_and_is_said(home):
    halves(home)
    images = labelled(home, most=10)
    assert (len(images) - len(images.truth), len(images.truth)) == (10, 10)
    assert "10 of 48 images" in images.note


# Pixels ---------------------------------------------------------------------------------------------------------------


def test_images_arrive_in_the_network_normalised(home):
    halves(home)
    images = LabelledImages(home, "halves", 32, 3, (0.5, 0.4, 0.3), (0.25, 0.2, 0.1))
    (batch,) = images.batches(100)
    assert batch.shape == (72, 3, 32, 32)
    assert batch.dtype == torch.float32
    grey = images.images[5].float() / 255
    torch.testing.assert_close(batch[5, 2], (grey - 0.3) / 0.1)
    assert [len(part) for part in images.batches(50)] == [50, 22]
    features = images.features(lambda part: part.mean(dim=(2, 3)), batch=50)
    torch.testing.assert_close(torch.from_numpy(features), batch.mean(dim=(2, 3)))


def test_colour_becomes_its_luma_where_the_network_takes_one_channel(home):
    dataset(home, "colour", lambda patient, frame: "T1" if patient < 4 else "train", colour=True)
    one, three = labelled(home, "colour"), LabelledImages(home, "colour", 16, 3, (0.5,) * 3, (0.2,) * 3)
    assert one.images.shape == (40, 16, 16)
    assert three.images.shape == (40, 16, 16, 3)
    luma = three.images.float() @ torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(one.images.float(), luma, atol=1.5, rtol=0)
    assert three.pixels.shape == (40, 576)


def test_the_pixel_floor_is_the_image_at_24_pixels(home):
    halves(home)
    images = LabelledImages(home, "halves", 48, 1, (0.5,), (0.25,))
    assert images.pixels.shape == (72, 576)
    by_hand = images.images[0].numpy().reshape(24, 2, 24, 2).mean(axis=(1, 3)).ravel() / 255
    np.testing.assert_allclose(images.pixels[0], by_hand, rtol=1e-5)
    assert images.pixel_floor.linear > 0.9
