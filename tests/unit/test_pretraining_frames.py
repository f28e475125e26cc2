"""Which frames a pretraining learns from, and that nobody who is tested is among them.

Pictures are named by a number: the same number is the same picture, pixel for pixel; 0 is a blank one.
"""

import numpy as np
import pytest

from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow, write_manifest
from fmlab.errors import BadInput, Cancelled, NotFound
from fmlab.phantom.cases import PhantomConfig, plan
from fmlab.phantom.render import render
from fmlab.pretrain.configs import Source
from fmlab.runs.pretraining_frames import ACCEPTED, chosen_frames, frames_plan
from fmlab.runs.pretraining_guard import read_seen, write_seen
from fmlab.runs.pretraining_thinning import differs_from_last

PSEUDONYM = "patient-0123456789abcdef"


def picture(number):
    if number == 0:
        return np.zeros((12, 12), np.uint8)
    return np.random.default_rng(number).integers(1, 255, (12, 12)).astype(np.uint8)


def made(home, name, rows, folds=None, unreadable=0):
    """Rows are dictionaries of `ImageRow`, with the number of the picture; a split is train unless said."""
    with DatasetWriter(home, name) as writer:
        for place, row in enumerate(rows):
            facts = {"path": f"{name}{place}.png", "split": "train"} | {k: v for k, v in row.items() if k != "number"}
            writer.add(ImageRow(**facts), picture(row["number"]))
        for place in range(unreadable):
            writer.add_unreadable(ImageRow(f"{name}-broken{place}.png"), "cut off in the middle")
        return writer.finish(CardFacts("toy"), folds=folds)


def patients(*numbers, split="train", prefix="p"):
    """One picture of a patient each, both named by the number."""
    return [{"number": number, "patient_id": f"{prefix}{number}", "split": split} for number in numbers]


def clip(sequence, frames, first=1, **facts):
    """Frames of a clip by their numbers; a picture of its own each."""
    return [
        {"number": first + place, "path": f"{sequence}.mp4", "frame": frame, "sequence_id": sequence} | facts
        for place, frame in enumerate(frames)
    ]


def source(name, **facts):
    return Source(dataset=name, **facts)


def refusal(home, *names):
    with pytest.raises(BadInput) as error:
        chosen_frames(home, [source(name) for name in names])
    return str(error.value)


# ----------------------------------------------------------------------------------------------------------- the choice


def test_rows_of_the_chosen_splits_are_taken_and_unreadable_ones_counted(home):
    made(home, "a", [*patients(1, 2), *patients(3, split="val"), *patients(4, split="T1")], unreadable=2)
    frames = chosen_frames(home, [source("a")])
    assert frames.rows["path"].tolist() == ["a0.png", "a1.png", "a2.png"]
    assert frames.rows["dataset"].unique().tolist() == ["a"]
    (counts,) = frames.counts
    assert (counts.images, counts.patients, counts.unreadable) == (3, 3, 2)
    assert counts.plain["splits"] == ["train", "val"], "of the usual ones those that hold an image"
    assert frames.notes == ("2 unreadable images of 'a' left out.",)
    assert len(chosen_frames(home, [source("a", splits=("val",))]).rows) == 1


def test_rows_without_a_split_are_taken_under_none(home):
    dataset = made(home, "a", patients(1, 2, 3))
    manifest = dataset.manifest()
    manifest.loc[0, "split"] = None
    write_manifest(dataset.folder, manifest)
    assert chosen_frames(home, [source("a", splits=("none",))]).rows["path"].tolist() == ["a0.png"]
    assert len(chosen_frames(home, [source("a", splits=("train",))]).rows) == 2


def test_a_split_that_is_not_there_is_refused_with_those_that_are(home):
    made(home, "a", [*patients(1, 2), *patients(3, split="T1")])
    with pytest.raises(BadInput, match=r"'a' has no readable image in T9; its splits are: T1 \(1 images\), train \(2"):
        chosen_frames(home, [source("a", splits=("train", "T9"))])
    made(home, "tests", patients(4, split="T1"))
    with pytest.raises(BadInput, match="has no readable image in train or val or none"):
        frames_plan(home, [source("tests")])
    with pytest.raises(NotFound, match="no dataset 'absent'"):
        frames_plan(home, [source("absent")])


def test_every_third_frame_of_each_clip_is_taken_by_its_number(home):
    """The manifest has the frames of one clip in another order, and its numbers go in steps of five."""
    rows = [*clip("x", range(7), 1), *clip("y", [15, 0, 10, 5, 20], 11)]
    made(home, "a", rows)
    frames = chosen_frames(home, [source("a", stride=3)])
    taken = [(each["sequence_id"], each["frame"]) for each in frames.rows.to_dict("records")]
    assert taken == [("x", 0), ("x", 3), ("x", 6), ("y", 15), ("y", 0)]
    assert frames.counts[0].by_stride == 7


def test_stills_are_no_clip(home):
    made(home, "a", patients(1, 2, 3, 4))
    assert len(chosen_frames(home, [source("a", stride=2)], thin=64).rows) == 4


def test_shares_are_nested_and_by_patient(home):
    rows = [
        {"number": 10 * p + f, "patient_id": f"p{p}", "frame": f, "path": f"{p}"} for p in range(8) for f in range(3)
    ]
    made(home, "a", rows)
    taken = {}
    for share in (0.25, 0.5, 1.0):
        frames = chosen_frames(home, [source("a", share=share)])
        taken[share] = set(frames.rows["image_id"])
        assert frames.counts[0].patients == 8 * share
        assert len(taken[share]) == 24 * share
        assert frames.counts[0].by_share == 24 - 24 * share
    assert taken[0.25] < taken[0.5] < taken[1.0]
    assert frames_plan(home, [source("a", share=0.01)]).counts[0].patients == 1


def test_a_share_counts_sequences_and_stills_where_patients_are_unknown(home):
    made(home, "clips", [*clip("x", range(4), 1), *clip("y", range(4), 11)])
    assert chosen_frames(home, [source("clips", share=0.5)]).rows["sequence_id"].nunique() == 1
    made(home, "stills", [{"number": number} for number in range(1, 11)])
    counts = frames_plan(home, [source("stills", share=0.3)]).counts[0]
    assert (counts.images, counts.patients, counts.by_share) == (3, None, 7)


def test_a_picture_of_two_datasets_is_taken_once_and_seen_of_both(home):
    made(home, "a", patients(1, 2, 2, prefix="a"))
    made(home, "b", patients(2, 3, prefix="b"))
    frames = chosen_frames(home, [source("a"), source("b")])
    assert frames.rows["path"].tolist() == ["a0.png", "a1.png", "b1.png"]
    assert [(each.images, each.duplicates) for each in frames.counts] == [(2, 1), (1, 1)]
    assert frames.notes == ("2 images equal to another, pixel for pixel, left out.",)
    seen = list(zip(frames.seen["dataset"], frames.seen["patient_id"], strict=True))
    assert seen == [("a", "a1"), ("a", "a2"), ("b", "b2"), ("b", "b3")]


def test_the_digest_is_of_the_pictures_in_their_order(home):
    made(home, "a", patients(1, 2))
    made(home, "b", patients(3))
    made(home, "again", patients(1, 2, prefix="other"))
    both = chosen_frames(home, [source("a"), source("b")]).digest
    assert chosen_frames(home, [source("again"), source("b")]).digest == both
    assert chosen_frames(home, [source("b"), source("a")]).digest != both
    assert chosen_frames(home, [source("a")]).digest != both


# ---------------------------------------------------------------------------------------------------------------- alike


def test_a_frame_is_compared_with_the_last_one_kept():
    """One bit changes from frame to frame: with one bit allowed every second one stays, in each of two sequences."""
    drift = np.array([0b0, 0b1, 0b11, 0b111, 0b1111], np.uint64)[:, None]
    rank = np.r_[np.arange(5), np.arange(3)]
    kept = differs_from_last(np.concatenate([drift, drift[:3]]), rank, 1)
    assert kept.tolist() == [True, False, True, False, True, True, False, True]
    assert differs_from_last(drift, np.arange(5), 0).all()
    assert differs_from_last(drift[:0], rank[:0], 1).tolist() == []


def test_thinning_goes_through_all_sequences_as_through_each():
    draw = np.random.default_rng(0)
    lengths = draw.integers(1, 30, 20)
    hashes = [np.cumsum(draw.integers(0, 2, (length, 4)), axis=0).astype(np.uint64) for length in lengths]
    expected = []
    for frames in hashes:
        last = None
        for frame in frames:
            new = last is None or np.bitwise_count(frame ^ last).sum() > 3
            last = frame if new else last
            expected.append(new)
    rank = np.concatenate([np.arange(length) for length in lengths])
    assert differs_from_last(np.concatenate(hashes), rank, 3).tolist() == expected


def phantom_clips(home, frames=10):
    """Two clips of the phantom's beating heart, and a still."""
    config = PhantomConfig(sequences_per_class=1, t1_sequences=0, t2_sequences=0, frames_per_sequence=frames)
    with DatasetWriter(home, "beats") as writer:
        for number, planned in enumerate(plan(config)[:2]):
            for frame, pixels in enumerate(render(config, planned).frames):
                row = ImageRow(
                    f"{number}.mp4", frame=frame, sequence_id=f"s{number}", patient_id=f"p{number}", split="train"
                )
                writer.add(row, pixels)
        writer.add(ImageRow("still.png", split="train"), picture(1))
        return writer.finish(CardFacts("toy"))


def test_consecutive_frames_of_a_beating_heart_are_thinned(home):
    phantom_clips(home)
    images = {}
    for bits in (None, 0, 12, 64):
        frames = chosen_frames(home, [source("beats")], thin=bits)
        (counts,) = frames.counts
        images[bits] = counts.images
        assert counts.images + counts.near_duplicates == 21
        assert len(frames.rows) == counts.images
        assert counts.patients == 2
        assert {"still.png", "0.mp4", "1.mp4"} == set(frames.rows["path"])
        assert (frames.rows.groupby("path")["frame"].min() == 0).all()  # the first of each stays
        assert len(frames.seen) == counts.images
    assert images[None] == images[0] == 21  # noise: no frame is exactly like another
    assert 3 <= images[64] < images[12] < 21
    assert frames_plan(home, [source("beats")]).counts[0].near_duplicates == 0


def test_hashing_tells_how_far_it_is_and_can_be_stopped(home):
    phantom_clips(home, frames=5)
    told = []
    chosen_frames(home, [source("beats")], thin=8, on_progress=lambda *each: told.append(each))
    assert told == [(10, 10, "comparing frames")]  # the still is not looked at
    with pytest.raises(Cancelled, match="choice of frames"):
        chosen_frames(home, [source("beats")], thin=8, cancelled=lambda: True)


# ------------------------------------------------------------------------------------------------------------ the guard


def test_an_image_of_a_test_set_is_refused(home):
    made(home, "a", [*patients(1), *patients(*range(10, 17), split="T1")])
    with pytest.raises(BadInput) as error:
        chosen_frames(home, [source("a", splits=("train", "T1"))])
    names = ", ".join(f"a{place}.png" for place in range(1, 6))
    assert f"7 images of 'a' stand in its test set T1 ({names} and 2 more)" in str(error.value)
    assert "--allow-test-patients" in str(error.value)


def test_a_patient_with_further_images_in_a_test_set_is_refused(home):
    made(
        home,
        "a",
        [
            *patients(*range(1, 9)),
            *[row | {"number": row["number"] + 20} for row in patients(*range(1, 8), split="T1")],
        ],
    )
    assert (
        "patient p1, patient p2, patient p3, patient p4, patient p5 and 2 more of 'a' have further images in its test sets"
        in (refusal(home, "a"))
    )


def test_a_clip_cut_apart_is_refused_where_patients_are_unknown(home):
    made(home, "a", [*clip("x", [0, 1], 1), *clip("x", [2], 3, split="T1"), *clip("y", [0], 4)])
    assert "sequence x of 'a' has further images in its test sets" in refusal(home, "a")


def test_a_pseudonym_is_one_patient_in_all_datasets_and_another_name_is_not(home):
    made(home, "a", [{"number": 1, "patient_id": PSEUDONYM}, {"number": 2, "patient_id": "p7"}])
    made(home, "b", [{"number": 3, "patient_id": "p7", "split": "T1"}, {"number": 4, "patient_id": "p8"}])
    assert frames_plan(home, [source("a")]).refusal is None
    made(home, "c", [{"number": 5, "patient_id": PSEUDONYM, "split": "T2"}, {"number": 6, "patient_id": "p9"}])
    assert f"patient {PSEUDONYM} of 'a' has further images in test sets of 'c'" in refusal(home, "a")


def test_a_picture_that_is_tested_in_another_dataset_is_refused(home):
    made(home, "a", clip("x", [0, 1], 1, patient_id="p1"))
    made(home, "b", [*patients(2, split="T1", prefix="q"), *patients(8, prefix="q")])
    assert "1 image of 'a' is pixel for pixel tested in 'b' (x.mp4 frame 1)" in refusal(home, "a")
    assert frames_plan(home, [source("b")]).refusal is None


def test_a_picture_dropped_as_a_duplicate_is_guarded_all_the_same(home):
    """Picture 2 is taken of `a`, but of `b` it is of a test patient."""
    made(home, "a", patients(2, prefix="a"))
    made(home, "b", [*patients(2, prefix="b"), {"number": 9, "patient_id": "b2", "split": "T1"}])
    assert "patient b2 of 'b' has further images" in refusal(home, "a", "b")


def test_two_blank_pictures_are_no_proof(home):
    made(home, "a", patients(0, 1, prefix="a"))
    made(home, "b", [*patients(0, split="T1", prefix="b"), *patients(2, prefix="b")])
    assert frames_plan(home, [source("a")]).refusal is None


def test_every_image_of_a_cross_validated_dataset_is_tested(home):
    made(home, "a", patients(1, 2, 3, 4), folds=2)
    assert "'a' is cross-validated in 2 folds, so every image of it is tested" in refusal(home, "a")
    made(home, "b", patients(4, 5, prefix="b"))
    assert "pixel for pixel tested in 'a'" in refusal(home, "b")


def test_what_is_accepted_is_noted(home):
    made(home, "a", [*patients(1), {"number": 2, "patient_id": "p1", "split": "T1"}, *patients(3)])
    frames = chosen_frames(home, [source("a")], allow_test_patients=True)
    assert len(frames.rows) == 2
    assert frames.notes == (f"{ACCEPTED}, which flatters it: patient p1 of 'a' has further images in its test sets.",)


def test_what_a_share_leaves_out_is_not_refused(home):
    made(home, "all", patients(*range(1, 9)))
    (kept,) = chosen_frames(home, [source("all", share=0.125)]).rows["patient_id"]
    for name, tested in (("fair", "p1" if kept != "p1" else "p2"), ("unfair", kept)):
        made(home, name, [*patients(*range(1, 9)), {"number": 20, "patient_id": tested, "split": "T1"}])
    assert frames_plan(home, [source("fair", share=0.125)]).refusal is None
    assert frames_plan(home, [source("fair")]).refusal is not None
    assert frames_plan(home, [source("unfair", share=0.125)]).refusal is not None


def test_the_plan_is_the_choice_and_follows_the_datasets(home):
    made(home, "a", [*patients(1, 2), *patients(3, split="T1")], unreadable=1)
    chosen, planned = chosen_frames(home, [source("a")]), frames_plan(home, [source("a")])
    assert (planned.images, planned.counts, planned.refusal) == (2, chosen.counts, None)
    made(home, "b", [*patients(2, split="T1", prefix="q"), *patients(9, prefix="q")])
    assert "tested in 'b'" in str(frames_plan(home, [source("a")]).refusal)


# ------------------------------------------------------------------------------------------------------- what was seen


def test_what_a_backbone_has_seen_holds_what_its_start_had_seen(home):
    made(home, "a", patients(1, 2))
    made(home, "b", [*patients(2, prefix="b"), {"number": 3}])
    write_seen(home, "first", chosen_frames(home, [source("a")]).seen)
    write_seen(home, "second", chosen_frames(home, [source("b")]).seen, start="first")
    write_seen(home, "third", chosen_frames(home, [source("b")]).seen, start="random-vit-tiny")
    assert len(read_seen(home, "first")) == 2
    second = read_seen(home, "second")
    assert second["dataset"].tolist() == ["a", "a", "b", "b"]
    assert second["patient_id"].isna().tolist() == [False, False, False, True]
    assert len(read_seen(home, "third")) == 2
    assert len(read_seen(home, "random-vit-tiny")) == 0


def test_a_damaged_list_of_what_was_seen_is_refused(home):
    path = home.backbones / "own" / "seen.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(BadInput, match="'own' has seen is damaged"):
        read_seen(home, "own")
