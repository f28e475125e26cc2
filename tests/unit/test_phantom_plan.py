"""The plan of a phantom dataset: counts, splits, patients, sites and wrong labels."""

from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from fmlab.errors import BadInput
from fmlab.phantom.cases import PhantomConfig, plan, share_out
from fmlab.phantom.views import CONFUSABLE, VIEWS

DEMO = PhantomConfig()
T2_CLASSES = {"2CH", "4CH", "A-5CH", "A-RV", "APLAX", "PLAX", "SUBCOSTAL"}


def of(split, config=DEMO):
    return [sequence for sequence in plan(config) if sequence.split == split]


def test_demo_has_the_promised_size():
    labels = Counter(sequence.label for sequence in of("train"))
    assert min(labels[view] for view in VIEWS) >= 16
    assert labels["4CH"] > labels["SUBCOSTAL"]
    assert 100 <= len(of("T1")) <= 130
    assert 50 <= len(of("T2")) <= 64
    assert 2700 <= sum(sequence.frames for sequence in plan(DEMO)) <= 3300


def test_test_sets_follow_the_study():
    assert share_out("T1", 1026) == dict(zip(VIEWS, (120, 176, 41, 92, 107, 76, 160, 183, 70, 1), strict=True))
    assert share_out("T2", 64) == dict(zip(VIEWS, (4, 19, 3, 2, 14, 0, 0, 21, 0, 1), strict=True))
    assert sum(share_out("T1", 37).values()) == 37
    assert {sequence.view for sequence in of("T1")} == set(VIEWS)
    assert {sequence.view for sequence in of("T2")} == T2_CLASSES
    assert {sequence.label for sequence in of("T2")} <= T2_CLASSES


def test_patients_and_sites_never_cross_splits():
    splits, sites, views = defaultdict(set), defaultdict(set), defaultdict(set)
    for sequence in plan(DEMO):
        splits[sequence.patient_id].add(sequence.split)
        sites[sequence.patient_id].add(sequence.site)
        views[sequence.patient_id].add(sequence.view)
    assert all(len(found) == 1 for found in splits.values())
    assert all(len(found) == 1 for found in sites.values())
    assert sum(len(found) > 1 for found in views.values()) > 0.7 * len(views)
    by_split = {split: {sequence.site for sequence in of(split)} for split in ("train", "T1", "T2")}
    assert by_split == {
        "train": {"hospital-A", "hospital-B", "hospital-C"},
        "T1": {"hospital-D"},
        "T2": {"external"},
    }


def test_every_training_site_sees_every_view():
    seen = {(sequence.site, sequence.view) for sequence in of("train")}
    assert len(seen) == 3 * len(VIEWS)


def test_wrong_labels_are_few_known_and_confusable():
    for split in ("train", "T1", "T2"):
        wrong = [sequence for sequence in of(split) if sequence.label != sequence.view]
        assert 1 <= len(wrong) <= 0.06 * len(of(split)), split
        assert all(sequence.label == CONFUSABLE[sequence.view] for sequence in wrong)
    large = plan(PhantomConfig(sequences_per_class=300, t1_sequences=0, t2_sequences=0))
    share = sum(sequence.label != sequence.view for sequence in large) / len(large)
    assert share == pytest.approx(0.03, abs=0.004)
    clean = plan(replace(DEMO, wrong_label_share=0.0))
    assert all(sequence.label == sequence.view for sequence in clean)


def test_a_larger_plan_contains_the_smaller_one():
    larger = plan(replace(DEMO, sequences_per_class=40, t1_sequences=300, t2_sequences=128))
    assert set(plan(DEMO)) <= set(larger)
    assert len({sequence.sequence_id for sequence in larger}) == len(larger)


def test_ids_tell_neither_view_nor_seed_order():
    for sequence in plan(DEMO):
        assert not any(view.lower() in sequence.sequence_id.lower() for view in VIEWS if len(view) > 3)
    assert not {sequence.sequence_id for sequence in plan(DEMO)} & {
        sequence.sequence_id for sequence in plan(replace(DEMO, seed=1))
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"sequences_per_class": 0},
        {"frames_per_sequence": 4},
        {"largest_class": 0.5},
        {"wrong_label_share": 0.7},
        {"t1_sequences": -1},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(BadInput):
        PhantomConfig(**settings)


def test_too_small_a_test_set_is_refused():
    with pytest.raises(BadInput, match="one for each class"):
        plan(PhantomConfig(t1_sequences=5))
