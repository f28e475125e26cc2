"""Linear heads: the descent is torch's, the choice uses the subset alone, and what is chosen is what was best held out.

Run: pytest tests/unit/test_linear_head.py
"""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from fmlab.adapt.configs import KNN, LinearHead, adaptation_from
from fmlab.adapt.fit import fit_and_score
from fmlab.adapt.linear_head import feature_parts
from fmlab.adapt.linear_head_folds import KEPT, deal_folds
from fmlab.adapt.linear_head_training import ItemHeads, WeightHeads, plan_course, start_heads, train_heads
from fmlab.errors import BadInput

CLASSES = 3


def clouds(count=120, width=20, distance=1.5, seed=0):
    """Features (count, width) of three clouds side by side, and their labels 0, 1, 2, 0, 1, 2, …"""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    features = rng.standard_normal((count, width)) + distance * np.eye(CLASSES, width)[labels] + 0.5
    return features.astype(np.float32), labels


def config(**settings):
    return LinearHead(**({"learning_rates": (1.0,), "batch": 16, "samples": 1024} | settings))


def scores_of(features, labels, rows, test=None, *, seeds=(4,), **settings):
    given = {key: settings.pop(key) for key in ("groups", "feature", "on_progress") if key in settings}
    rows = rows if isinstance(rows, list) else [rows]
    test = features if test is None else test
    return fit_and_score(config(**settings), features, labels, CLASSES, rows, test, seeds=seeds, **given)


def by_torch(features, labels, learned, rate, seed, fold=0, batch=16, samples=1024):
    """A head trained by torch's own layer, loss, optimiser and schedule, on the batches of one fold of a course."""
    start = np.random.default_rng([seed, 0, 0, features.shape[1]])
    head = torch.nn.Linear(features.shape[1], CLASSES)
    head.weight.data = 0.01 * torch.from_numpy(start.standard_normal((features.shape[1], CLASSES), np.float32)).T
    head.bias.data.zero_()
    size, epochs = min(batch, len(learned)), math.ceil(samples / len(learned))
    order = np.random.default_rng([seed, 2, fold]).permuted(np.tile(learned, (epochs, 1)), axis=1).ravel()
    steps = math.ceil(len(order) / size)
    optimiser = torch.optim.SGD(head.parameters(), lr=rate * size / 256, momentum=0.9, weight_decay=0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=0)
    for step in range(steps):
        rows = order[step * size : (step + 1) * size]
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(
            head(torch.from_numpy(features[rows])), torch.from_numpy(labels[rows])
        ).backward()
        optimiser.step()
        schedule.step()
    return lambda items: head(torch.from_numpy(items)).detach().numpy()


# --- the descent ---------------------------------------------------------------------------------------------------


# Fewer items than numbers in a feature, more of them, and fewer than a batch; 1,024 is no multiple of 61.
@pytest.mark.parametrize(("count", "width"), [(61, 90), (61, 20), (11, 20)])
def test_a_head_is_the_one_that_torchs_own_optimiser_trains(count, width):
    features, labels = clouds(count + 30, width)
    rows = np.arange(count)
    found = scores_of(features, labels, rows, features[count:]).scores[0]
    expected = by_torch(features, labels, rows, rate=1.0, seed=4)(features[count:])
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())


def test_heads_kept_as_items_and_as_weights_are_the_same_in_every_part_fold_and_learning_rate():
    features, labels = clouds(40, 60)
    given, targets = torch.from_numpy(features), torch.eye(CLASSES)[labels]
    parts, rates = [slice(0, 60), slice(20, 50)], (0.1, 1.0)
    course = plan_course([np.arange(0, 40, 2), np.arange(15)], 16, 512, seed=1, device="cpu")
    first = [0.01 * torch.randn(part.stop - part.start, CLASSES * 2, generator=torch.Generator()) for part in parts]
    every = torch.arange(40).repeat(2, 1)
    logits, results = [], []
    for kind in (ItemHeads, WeightHeads):
        heads = kind(given, parts, first, folds=2)
        train_heads(heads, targets, rates, course)
        logits.append(heads.logits(every))
        results.append([heads.result(part, fold) for part in (0, 1) for fold in (0, 1)])
    assert torch.allclose(logits[0], logits[1], atol=1e-3)
    for (weights, biases), (others, other_biases) in zip(*results, strict=True):
        assert torch.allclose(weights, others, atol=1e-3)
        assert torch.allclose(biases, other_biases, atol=1e-3)
    # Each of them is a head of its own.
    heads = logits[0].unflatten(3, (CLASSES, 2)).permute(0, 1, 4, 2, 3).reshape(8, -1)
    assert min(float((a - b).abs().max()) for n, a in enumerate(heads) for b in heads[:n]) > 0.1


def test_the_way_that_is_cheaper_is_taken():
    features = torch.randn(30, 40)
    assert isinstance(start_heads(features, [slice(0, 40), slice(0, 22)], CLASSES, 2, 3, seed=0), ItemHeads)
    assert isinstance(start_heads(features, [slice(0, 40), slice(0, 18)], CLASSES, 2, 3, seed=0), WeightHeads)


def test_a_course_sees_whole_epochs_in_full_batches():
    course = plan_course([np.arange(10), np.array([3, 5, 7])], batch=4, samples=25, seed=0, device="cpu")
    seen = [course.rows[:, fold][course.shares[:, fold] > 0].tolist() for fold in (0, 1)]
    assert [sorted(seen[0][start : start + 10]) for start in (0, 10, 20)] == [list(range(10))] * 3
    assert [sorted(seen[1][start : start + 3]) for start in range(0, 27, 3)] == [[3, 5, 7]] * 9
    assert seen[0][:10] != seen[0][10:20] != seen[0][20:]
    counts = (course.shares > 0).sum(dim=2)
    assert counts[:, 0].tolist() == [4] * 7 + [2, 0]  # 30 items, then the other fold alone goes on
    assert counts[:, 1].tolist() == [3] * 9
    assert torch.allclose(course.shares.sum(dim=2)[:8], torch.ones(8, 2))
    assert course.pace[0].tolist() == pytest.approx([4 / 256, 3 / 256])
    assert course.pace[4].tolist() == pytest.approx([4 / 256 / 2, 3 / 256 * (1 + math.cos(4 * math.pi / 9)) / 2])
    assert course.pace[8, 0] == 0


# --- the choice ----------------------------------------------------------------------------------------------------


def test_the_setting_chosen_is_the_best_on_held_out_items_as_torch_trains_each():
    features, labels = clouds(60, 30, distance=1.0)
    rows, rates, seed = np.arange(47), (1e-3, 0.5, 30.0), 4
    note = scores_of(features, labels, rows, learning_rates=rates, batch=5, samples=400).notes[0]
    fold_of = deal_folds(labels[rows], rows, 3, seed)
    correct, loss = np.zeros(3), np.zeros(3)
    for number, rate in enumerate(rates):
        for fold in range(3):
            held = rows[fold_of == fold]
            logits = by_torch(features, labels, rows[fold_of != fold], rate, seed, fold, batch=5, samples=400)(
                features[held]
            )
            correct[number] += (logits.argmax(axis=1) == labels[held]).sum()
            loss[number] += torch.nn.functional.cross_entropy(
                torch.from_numpy(logits), torch.from_numpy(labels[held]), reduction="sum"
            ).item()
    best = max(range(3), key=lambda number: (correct[number], -loss[number]))
    assert best == 1, "a toy whose best rate is at the end of the grid shows little"
    assert note["learning_rate"] == rates[best]
    assert note["accuracy"] == pytest.approx(correct[best] / 47)
    assert note["log_loss"] == pytest.approx(loss[best] / 47, rel=2e-4)
    assert (note["chosen_on"], note["items_held_out"]) == ("held-out items", 47)


def test_of_settings_that_are_right_equally_often_the_surest_is_chosen():
    features, labels = clouds(60, distance=9)
    note = scores_of(features, labels, np.arange(60), learning_rates=(0.01, 0.1, 0.02)).notes[0]
    assert (note["accuracy"], note["learning_rate"]) == (1.0, 0.1)


def test_it_is_as_good_as_scikit_learn_and_better_than_a_poor_learning_rate():
    features, labels = clouds(1300, 40, distance=1.2, seed=1)
    rows, test = np.arange(300), slice(300, 1300)
    settings = {"learning_rates": (1e-6, 1e-4, 1e-2, 0.1, 1.0), "batch": 128, "samples": 16_384}

    def accuracy(scores):
        return (scores.argmax(axis=1) == labels[test]).mean()

    reference = LogisticRegression(max_iter=1000).fit(features[rows], labels[rows]).score(features[test], labels[test])
    chosen = accuracy(scores_of(features, labels, rows, features[test], **settings).scores[0])
    poor = accuracy(
        scores_of(features, labels, rows, features[test], **settings | {"learning_rates": (1e-6,)}).scores[0]
    )
    assert chosen > reference - 0.02
    assert chosen > poor + 0.1
    assert reference < 0.9, "an easy toy would show little"


# Of five parts of four numbers each, what every part of the grid is made of.
@pytest.mark.parametrize(
    ("blocks", "mean", "columns"),
    [(1, False, (12, 16)), (1, True, (12, 20)), (4, False, (0, 16)), (4, True, (0, 20)), (2, True, (8, 20))],
)
def test_blocks_are_the_last_ones_and_the_mean_stands_behind_them(blocks, mean, columns):
    (part,) = feature_parts(LinearHead(blocks=(blocks,), average_pool=(mean,)), 20, "blocks")
    assert (part.columns.start, part.columns.stop) == columns
    assert part.facts == {"blocks": blocks, "average_pool": mean}


@pytest.mark.parametrize(("where", "blocks", "mean"), [(0, 4, False), (3, 1, False), (4, 1, True)])
def test_the_grid_finds_where_the_classes_can_be_told_apart(where, blocks, mean):
    """The block before the last three, the last block, or the mean of its patch tokens alone says anything."""
    rng = np.random.default_rng(2)
    labels = np.arange(90) % CLASSES
    features = 1.5 * rng.standard_normal((90, 5, 30))
    features[:, where, :CLASSES] += 3 * np.eye(CLASSES)[labels]
    features = features.reshape(90, 150).astype(np.float32)
    note = scores_of(features, labels, np.arange(60), feature="blocks", learning_rates=(0.1, 1.0)).notes[0]
    assert note["blocks"] == blocks
    assert note["average_pool"] is mean


def test_a_feature_of_another_kind_is_not_taken_apart():
    features, labels = clouds(60, 40)
    assert set(scores_of(features, labels, np.arange(30), feature="pooled").notes[0]) == {
        "learning_rate", "chosen_on", "items_held_out", "accuracy", "log_loss",
    }  # fmt: skip
    assert fit_and_score(KNN(), features, labels, CLASSES, [np.arange(30)] * 2, features).notes == ({}, {})


# --- nothing but the subset ----------------------------------------------------------------------------------------

RATES = (0.01, 0.1, 1.0)


def test_what_lies_outside_a_subset_changes_nothing():
    features, labels = clouds()
    rows, test = np.arange(0, 60), features[100:].copy()
    before = scores_of(features, labels, rows, test, learning_rates=RATES)
    features[60:], labels[60:] = 1e3, 2
    after = scores_of(features, labels, rows, test, learning_rates=RATES)
    np.testing.assert_array_equal(before.scores, after.scores)
    assert before.notes == after.notes


def test_a_fit_depends_neither_on_its_company_nor_on_the_number_of_threads():
    features, labels = clouds()
    subsets = [np.arange(start, start + size) for start, size in ((0, 9), (9, 30), (20, 70), (0, 100))]
    together = scores_of(features, labels, subsets, seeds=(0, 1, 2, 3), learning_rates=RATES)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        beside = scores_of(features, labels, subsets, seeds=(0, 1, 2, 3), learning_rates=RATES)
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(together.scores, beside.scores)
    for seed, rows in enumerate(subsets):
        alone = scores_of(features, labels, rows, seeds=(seed,), learning_rates=RATES)
        np.testing.assert_array_equal(alone.scores[0], together.scores[seed])
        assert alone.notes[0] == together.notes[seed]
    other = scores_of(features, labels, subsets[1], seeds=(7,), learning_rates=RATES)
    assert np.abs(other.scores[0] - together.scores[1]).max() > 1e-4


def test_a_class_without_items_is_never_predicted():
    features, labels = clouds()
    found = scores_of(features, labels, np.flatnonzero(labels != 1)[:30]).scores[0]
    assert set(np.unique(found.argmax(axis=1))) == {0, 2}
    np.testing.assert_allclose(found[:, 1], found.min(axis=1))


def test_one_item_of_each_class_is_enough():
    features, labels = clouds(distance=6)
    found = scores_of(features, labels, np.arange(3), learning_rates=RATES)
    assert found.notes[0]["chosen_on"] == "training items"
    assert found.notes[0]["items_held_out"] == 0
    assert (found.scores[0].argmax(axis=1) == labels).mean() > 0.9


def test_a_learning_rate_that_blows_up_is_not_chosen():
    features, labels = clouds()
    note = scores_of(features, labels, np.arange(90), learning_rates=(0.5, 3e38)).notes[0]
    assert note["learning_rate"] == 0.5
    assert math.isfinite(note["log_loss"])


# --- folds ---------------------------------------------------------------------------------------------------------


def test_a_sequence_is_held_out_as_a_whole_and_every_fold_has_its_share_of_each_class():
    labels = np.repeat([0, 1, 2], [40, 30, 20])
    groups = np.arange(90) // 5 * 11  # numbers with gaps
    fold_of = deal_folds(labels, groups, 3, seed=0)
    assert all(len(set(fold_of[groups == group])) == 1 for group in groups)
    table = np.array([np.bincount(fold_of[labels == label], minlength=3) for label in range(3)])
    assert (table.max(axis=1) - table.min(axis=1) <= 5).all()
    assert sorted(table.sum(axis=0)) == [30, 30, 30]
    assert (deal_folds(labels, groups, 3, seed=0) == fold_of).all()
    assert (deal_folds(labels, groups, 3, seed=1) != fold_of).any()


def test_classes_with_few_sequences():
    # Class 0: three sequences. Class 1: two. Class 2: one of four items. Class 3: one item.
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3])
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 5, 6])
    for seed in range(5):
        fold_of = deal_folds(labels, groups, 3, seed)
        assert sorted(fold_of[:6:2]) == [0, 1, 2]
        assert fold_of[6] == fold_of[7] != fold_of[8] == fold_of[9]
        assert set(fold_of[10:14]) == {0, 1, 2}
        assert fold_of[14] == KEPT
        for fold in range(3):
            assert set(labels[fold_of != fold]) == {0, 1, 2, 3}


def test_a_sequence_belongs_to_its_most_frequent_class():
    labels = np.array([0, 1, 1, 0, 0, 0, 0, 1, 1])
    groups = np.array([0, 0, 0, 1, 1, 2, 2, 3, 3])
    for seed in range(5):
        first, second, third, fourth = (set(deal_folds(labels, groups, 2, seed)[groups == group]) for group in range(4))
        assert first | fourth == second | third == {0, 1}
        assert len(first) == len(second) == len(third) == len(fourth) == 1


def test_groups_keep_copies_of_an_item_from_telling_its_label():
    """Labels are noise, but every item is there four times: told apart by group, none can be learned."""
    rng = np.random.default_rng(3)
    features = np.repeat(rng.standard_normal((60, 60)), 4, axis=0).astype(np.float32)
    labels = np.repeat(rng.permutation(np.arange(60) % CLASSES), 4)
    rows, groups = np.arange(240), np.arange(240) // 4
    assert scores_of(features, labels, rows).notes[0]["accuracy"] > 0.9
    assert scores_of(features, labels, rows, groups=groups).notes[0]["accuracy"] < 0.5


# --- what is refused, and what ends the work -----------------------------------------------------------------------


def test_what_does_not_fit_is_refused_in_a_sentence():
    features, labels = clouds()
    rows = np.arange(30)
    with pytest.raises(BadInput, match="blocks are numbers from 1 to 4"):
        adaptation_from({"kind": "linear_head", "blocks": [1, 5]})
    with pytest.raises(BadInput, match="'blocks' of 18 numbers"):
        scores_of(features[:, :18], labels, rows, feature="blocks")
    with pytest.raises(BadInput, match=r"groups of shape \(30,\) for 120 items and 1 seeds for 1 subsets"):
        scores_of(features, labels, rows, groups=rows)
    with pytest.raises(BadInput, match="2 seeds for 1 subsets"):
        scores_of(features, labels, rows, seeds=(1, 2))


def test_a_cancellation_ends_the_work_and_progress_is_told_after_each_subset():
    features, labels = clouds()
    told = []

    def tell(done, total):
        told.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scores_of(features, labels, [np.arange(30)] * 5, seeds=range(5), on_progress=tell)
    assert told == [(1, 5), (2, 5)]
