"""The checks that look at pictures: clips cut apart, copies, contradicted labels, text that gives the label away."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from fmlab.audit.duplicates import Changed, Pictures, check_copies, check_near
from fmlab.audit.embedded import confirmation, find_embedded
from fmlab.audit.hashes import CHANGES, WORDS, changed, thumbnail
from fmlab.audit.label_errors import check_labels, contradicted
from fmlab.audit.outside import blacked_out, check_outside
from fmlab.audit.pixels import check_duplicates, sides_and_tested, split_rows
from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.embeddings.cache import EmbeddingCache, items_of
from fmlab.errors import Cancelled

SIZE = 96
FRAMES = 4


def blobs(seed):
    raw = np.random.default_rng(seed).normal(size=(SIZE, SIZE))
    smooth = ndimage.gaussian_filter(raw, 6)
    return 120 + 60 * smooth / smooth.std()


def clip(number):
    """A picture that moves a little from frame to frame."""
    return [np.uint8(np.clip(np.roll(blobs(number), step, axis=1), 0, 255)) for step in range(FRAMES)]


def clips(home, split_of, known=False, clips=20, extra=()):
    """Clips of one class each; `split_of` gives the split of (clip, frame); sequences unnamed unless `known`."""
    with DatasetWriter(home, "clips") as writer:
        for number in range(clips):
            for frame, pixels in enumerate(clip(number)):
                row = ImageRow(
                    path=f"{number:02d}_{frame}.png",
                    label="ab"[number % 2],
                    split=split_of(number, frame),
                    sequence_id=f"s{number}" if known else None,
                )
                writer.add(row, pixels)
        for place, (pixels, split) in enumerate(extra):
            writer.add(ImageRow(path=f"extra{place}.png", label="a", split=split), pixels)
        return writer.finish(CardFacts("toy"))


def by_clip(number, frame):
    return "T1" if number % 4 == 0 else "train"


def by_frame(number, frame):
    return "T1" if frame == FRAMES - 1 else "train"


def duplicates(home, dataset):
    return {check.key: check for check in check_duplicates(home, dataset, split_rows(dataset))}


def test_a_split_by_clips_passes(home):
    found = duplicates(home, clips(home, by_clip))
    assert {key: check.level for key, check in found.items()} == {
        "near_duplicates": "fine",
        "frames": "fine",
        "copies": "fine",
    }


def test_a_split_by_frames_leaks_though_no_sequence_is_known(home):
    found = duplicates(home, clips(home, by_frame))
    assert (found["frames"].level, found["near_duplicates"].level) == ("leak", "leak")
    assert found["frames"].count == 20
    assert "made by frames" in found["frames"].sentence
    row = found["near_duplicates"].rows[0]
    assert (row["split"], row["other_split"]) == ("T1", "train")
    assert row["image"][:2] == row["other"][:2]  # the same clip


def test_without_a_test_set_every_image_is_held_against_other_patients(home):
    """Cross-validation deals images of no known patient one by one, and so cuts clips apart."""
    assert duplicates(home, clips(home, lambda number, frame: "train"))["frames"].level == "leak"


def test_without_a_test_set_known_sequences_stay_together(home):
    found = duplicates(home, clips(home, lambda number, frame: "train", known=True))
    assert (found["frames"].level, found["near_duplicates"].level, found["copies"].level) == ("fine", "fine", "skipped")


def test_a_single_duplicate_is_a_warning(home):
    """Of twenty test images one stands in train again, a little brighter: too little to refuse every study."""
    brighter = np.uint8(np.clip(clip(0)[0] * 1.1, 0, 255))
    found = duplicates(home, clips(home, by_clip, extra=[(brighter, "train")]))
    assert found["near_duplicates"].level == "warning"
    assert [(row["image"], row["other"]) for row in found["near_duplicates"].rows] == [("00_0.png", "extra0.png")]
    assert found["frames"].level == "fine"


def copy_of(number, change):
    return np.asarray(changed(thumbnail(clip(number)[0]), change))


@pytest.mark.parametrize("change", [(5.0, 1.0, False), (0.0, 0.9, False), (0.0, 1.0, True)])
@pytest.mark.parametrize(("side", "numbers"), [("T1", (1, 2, 3)), ("train", (0, 4, 8))])
def test_copies_on_the_other_side_of_their_original_leak(home, change, side, numbers):
    extra = [(copy_of(number, change), side) for number in numbers]
    found = duplicates(home, clips(home, by_clip, extra=extra))["copies"]
    assert found.level == "leak"
    extras, originals = ("image", "other") if side == "T1" else ("other", "image")
    assert {row[extras] for row in found.rows} == {"extra0.png", "extra1.png", "extra2.png"}
    assert {int(row[originals][:2]) for row in found.rows} == set(numbers)
    assert all(row["split"] == "T1" and row["other_split"] == "train" for row in found.rows)


def test_copies_beside_their_originals_are_no_leak(home):
    extra = [(copy_of(number, (5.0, 1.0, False)), "train") for number in (1, 2, 3)]
    assert duplicates(home, clips(home, by_clip, extra=extra))["copies"].level == "fine"


def test_flat_pictures_are_never_duplicates(home):
    black = [(np.full((SIZE, SIZE), level, np.uint8), split) for level in (0, 1) for split in ("T1", "train")]
    assert duplicates(home, clips(home, by_clip, extra=black))["near_duplicates"].level == "fine"


def store_embeddings(home, dataset, features, backbone="efficientnet-lite0"):
    rows = split_rows(dataset)
    facts = {"backbone": backbone, "width": features.shape[1]}
    cache = EmbeddingCache(home.embeddings / f"made-{backbone}", features.shape[1], facts)
    cache.append(items_of(rows), features.astype(np.float32))
    return rows


def test_embeddings_that_say_otherwise_acquit(home):
    """What hashes take for the same is not, if a trained backbone sees two pictures as unlike as any two."""
    dataset = clips(home, by_frame)
    generator = np.random.default_rng(0)
    rows = split_rows(dataset)
    alike = generator.normal(size=(len(rows) // FRAMES, 32)).repeat(FRAMES, axis=0)
    store_embeddings(home, dataset, alike)
    found = duplicates(home, dataset)["frames"]
    assert found.level == "leak"
    for path in home.embeddings.glob("*/*"):
        path.unlink()
    store_embeddings(home, dataset, generator.normal(size=(len(rows), 32)))
    assert duplicates(home, dataset)["frames"].level == "fine"


def test_only_trained_backbones_that_saw_every_image_confirm(home):
    dataset = clips(home, by_clip)
    rows = split_rows(dataset)
    assert find_embedded(home, rows) is None
    store_embeddings(home, dataset, np.ones((len(rows), 4)), "random-efficientnet-lite0")
    assert find_embedded(home, rows) is None
    store_embeddings(home, dataset, np.eye(4)[np.arange(len(rows)) % 4])
    embedded = find_embedded(home, rows)
    assert embedded.backbone == "efficientnet-lite0"
    same = confirmation(embedded)
    assert same(np.array([0, 0]), np.array([4, 1])).tolist() == [True, False]


def test_the_sides_are_train_val_and_all_test_sets_or_else_folds(home):
    rows = split_rows(clips(home, lambda number, frame: ("train", "val", "T1", "T2")[number % 4]))
    sides, tested = sides_and_tested(rows)
    assert set(sides[rows["split"].isin(["T1", "T2"])]) == {2}
    assert set(sides[rows["split"] == "val"]) == {1}
    assert (tested == (sides == 2)).all()
    folds = rows[rows["split"] == "train"].assign(fold=lambda table: np.arange(len(table)) % 2)
    sides, tested = sides_and_tested(folds)
    assert set(sides) == {0, 1}
    assert tested.all()


def test_nothing_to_look_at_is_skipped():
    nobody = np.zeros(0, bool)
    pictures = Pictures(None, np.zeros(0, int), nobody, np.zeros((0, 2 * WORDS), np.uint64), nobody)
    none = Changed(np.zeros(0, int), np.zeros((0, len(CHANGES), 2 * WORDS), np.uint64))
    assert check_copies(pictures, none, none).level == "skipped"


# ------------------------------------------------------------------------------------------------------ doubtful labels


def test_contradicted_labels_by_hand():
    """Class 0 is usually 0.8 sure of itself, class 1 0.7. Image 2 says 0 and looks like 1 more than 1s do."""
    shares = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7], [0.5, 0.5]])
    labels = np.array([0, 0, 0, 0, 1, 1, 1])
    suspects, instead = contradicted(shares, labels)
    # usual: class 0 (0.9 + 0.9 + 0.1 + 0.4) / 4 = 0.575, class 1 (0.8 + 0.7 + 0.5) / 3 = 0.667
    assert suspects.tolist() == [2]  # image 3 looks like 1 by 0.6, less than a usual 1
    assert instead.tolist() == [1]


def labelled_features(dataset, wrong):
    """Features that show the class of every clip, but for the clips named: those show the other."""
    rows = split_rows(dataset)
    number = rows["path"].str[:2].astype(int).to_numpy()
    shown = (number % 2) ^ np.isin(number, wrong)
    return np.eye(2)[shown] + np.random.default_rng(0).normal(0, 0.05, (len(rows), 2))


@pytest.mark.parametrize(("wrong", "level"), [((), "fine"), ((3,), "note"), (range(10), "skipped")])
def test_a_clip_under_the_wrong_label_is_named_unless_most_labels_disagree(home, wrong, level):
    dataset = clips(home, by_clip, known=True)
    rows = store_embeddings(home, dataset, labelled_features(dataset, list(wrong)))
    found = check_labels(home, rows)
    assert found.level == level, found.sentence
    if level == "note":
        assert {row["image"][:2] for row in found.rows} == {"03"}
        assert found.rows[0]["looks_like"] == "a"


def test_labels_wait_for_embeddings(home):
    dataset = clips(home, by_clip, known=True)
    assert "embeddings" in check_labels(home, split_rows(dataset)).sentence


# ------------------------------------------------------------------------------------------------------- shortcut test

BOX = (0.25, 0.25, 0.75, 0.25, 0.75, 0.75, 0.25, 0.75)


def scans(home, telling, patients=24):
    """Noise in a box, and beside it a bar: at the side that the label says, or at any side."""
    generator = np.random.default_rng(0)
    with DatasetWriter(home, "scans") as writer:
        for patient in range(patients):
            pixels = np.zeros((64, 64), np.uint8)
            pixels[16:48, 16:48] = generator.integers(60, 200, (32, 32))
            side = patient % 2 if telling else generator.integers(2)
            pixels[8:56, (2, 56)[side] : (8, 62)[side]] = 255
            row = ImageRow(f"{patient}.png", label="ab"[patient % 2], patient_id=f"p{patient}", sector=BOX)
            writer.add(row, pixels)
        return writer.finish(CardFacts("toy"))


@pytest.mark.parametrize(("telling", "level"), [(True, "warning"), (False, "fine")])
def test_bars_beside_the_scan_are_a_shortcut_when_they_tell_the_label(home, telling, level):
    dataset = scans(home, telling)
    found = check_outside(home, dataset, split_rows(dataset), "cpu")
    assert found.level == level, found.sentence
    facts = found.rows[0]
    assert facts["low"] <= facts["accuracy"] <= facts["high"]
    assert facts["ahead"] == pytest.approx(facts["accuracy"] - facts["majority"])
    if telling:
        assert facts["accuracy"] == 1.0


def test_without_sectors_or_patients_the_shortcut_test_is_skipped(home):
    assert check_outside(home, *_of(clips(home, by_clip)), "cpu").level == "skipped"
    few = scans(home, True, patients=6)
    assert "too few" in check_outside(home, *_of(few), "cpu").sentence


def _of(dataset):
    return dataset, split_rows(dataset)


def test_a_wish_to_stop_is_heeded_while_embedding(home):
    with pytest.raises(Cancelled):
        check_outside(home, *_of(scans(home, True)), "cpu", cancelled=lambda: True)


def test_the_scan_is_blacked_out_and_nothing_else():
    image = np.full((40, 40), 7, np.uint8)
    outside = blacked_out(image, np.array(BOX))
    assert outside[10:30, 10:30].max() == 0
    outside[9:31, 9:31] = 7  # its rim may count to either
    assert outside.min() == 7


def test_confirmation_is_named_in_the_sentence():
    hashes = np.zeros((2, 2 * WORDS), np.uint64)
    rows = pd.DataFrame({"path": ["a.png", "b.png"], "frame": [0, 3], "split": ["train", "T1"], "label": ["x", "y"]})
    pictures = Pictures(rows, np.array([0, 2]), np.array([False, True]), hashes, np.zeros(2, bool))
    (near, _), named = check_near(pictures, None, "Said by nobody.")
    assert named.tolist() == [False, True]
    assert near.sentence.endswith("b.png frame 3 (T1) and a.png (train) for one. Said by nobody.")
