"""Comparisons, savings, targets, calibration and tables of a study, against a miniature worked out by hand.

The dataset: T1 has 40 images, T2 has 8, each a patient of its own, in classes x and y by turns. A run is given by how many
of the first images of each test set it gets right; its scores are logits with a fixed margin. RIGHT holds T1's counts:

    size                  1    2    4    8
    strong, logistic     20   24   32   36     of 40
    weak, logistic       16   20   24   32
    steep, logistic       8   20   34   38     crosses strong between 2 and 4
"""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from fmlab.data.writer import CardFacts, DatasetWriter, ImageRow
from fmlab.errors import BadInput
from fmlab.metrics.accuracy import accuracy_of_counts, macro_f1
from fmlab.metrics.paired import paired_difference
from fmlab.predictions import Predictions, write_predictions
from fmlab.runs.queue import Queue
from fmlab.runs.records import Actor, RunRequest
from fmlab.runs.store import open_store
from fmlab.settings import Home
from fmlab.studies.calibration import calibration_of
from fmlab.studies.comparison import differences
from fmlab.studies.configs import study_config
from fmlab.studies.efficiency import cost, pareto_front
from fmlab.studies.export import FILES
from fmlab.studies.maximum import generalisation, largest_common_size, maximum
from fmlab.studies.paper import PRINTED_TABLE_3, printed_table_3
from fmlab.studies.ranking import ranking
from fmlab.studies.resampling import resampled_curve, resampled_runs
from fmlab.studies.results import results
from fmlab.studies.savings import crossings, label_savings
from fmlab.studies.summary import SUMMARIES, summary
from fmlab.studies.targets import labels_for_target

IMAGES = {"T1": 40, "T2": 8}
SIZES = (1, 2, 4, 8)
RIGHT = {"pixels-24": (20, 24, 32, 36), "random-resnet18": (16, 20, 24, 32), "efficientnet-lite0": (8, 20, 34, 38)}
STRONG, WEAK, STEEP = (("pixels-24", "logistic"), ("random-resnet18", "logistic"), ("efficientnet-lite0", "logistic"))
MARGIN = 2.0  # of the logits: the confidence is 1 / (1 + exp(−2)) = 0.8808


def make_dataset(home):
    with DatasetWriter(home, "mini") as writer:
        for split, count in {**IMAGES, "train": 4}.items():
            for number in range(count):
                row = ImageRow(
                    f"{split}-{number:02d}", label="xy"[number % 2], patient_id=f"{split}{number}", split=split
                )
                writer.add(row, np.full((8, 8), 50 * (split == "train") + 100 * (split == "T2") + number, np.uint8))
        return writer.finish(CardFacts("toy"), ("x", "y"))


def add_runs(home, dataset, name, cells):
    """A study whose cells, (backbone, adaptation, size, seed) → numbers right on T1 and T2 or masks, are all done."""
    store = open_store(home)
    requests = {
        cell: RunRequest(
            "adapt",
            {
                "dataset": "mini",
                "backbone": cell[0],
                "adaptation": {"kind": cell[1]},
                "subset": {"scheme": "sequences", "size": cell[2], "seed": cell[3]},
            },
            {"cell": [name, *cell]},
            "g",
            "mini",
        )
        for cell in cells
    }
    config = study_config(
        {"name": name, "dataset": "mini", "backbones": ["pixels-24"], "scheme": "sequences", "sizes": [1]}
    )
    store.add_study(name, config.plain(), list(requests.values()), [], Actor("anna", "test"))
    rows = dataset.manifest(["image_id", "path", "label", "split"]).sort_values("path")
    tests = {split: rows[rows["split"] == split] for split in IMAGES}
    ids = np.concatenate([part["image_id"].to_numpy(dtype=str) for part in tests.values()])
    truth = np.concatenate([(part["label"] == "y").to_numpy().astype(int) for part in tests.values()])
    scores = []
    for right in cells.values():
        hits = np.concatenate(
            [
                np.arange(count) < given if np.ndim(given) == 0 else np.asarray(given)
                for count, given in zip(IMAGES.values(), right, strict=True)
            ]
        )
        scores.append(MARGIN * np.eye(2)[np.where(hits, truth, 1 - truth)])
    queue = Queue(store)
    queue.acquire()
    queue.claim("cpu")
    keys = tuple(request.key for request in requests.values())
    write_predictions(home.predictions / f"{name}.parquet", Predictions(keys, ids, np.array(scores, "f4"), ("x", "y")))
    facts = {"predictions": f"{name}.parquet", "converged": True, "n_train": 2}
    queue.finish({key: facts for key in keys}, 1.0)
    queue.release()
    return store, results(home, store, name)


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    """The home, its store and the results of the study in the module's docstring, one seed. No test changes it."""
    home = Home(tmp_path_factory.mktemp("mini"))
    return home, *add_mini(home)


def add_mini(home):
    cells = {
        (backbone, "logistic", size, 0): (count, count // 5)
        for backbone, counts in RIGHT.items()
        for size, count in zip(SIZES, counts, strict=True)
    }
    return add_runs(home, make_dataset(home), "mini", cells)


def runs_at(table, combination, size, test_set="T1"):
    chosen = (table["backbone"] == combination[0]) & (table["adaptation"] == combination[1])
    return table[chosen & (table["size"] == size) & (table["test_set"] == test_set)]["run"].tolist()


# ------------------------------------------------------------------------------------------------------------ resampling


def test_runs_under_resamples_are_the_paired_differences(mini):
    home, store, table = mini
    one, other = (tuple(runs_at(table, each, 4)) for each in (STRONG, WEAK))
    sides = [resampled_runs(home, store, runs, "T1", "image_accuracy") for runs in (one, other)]
    truth, groups = np.zeros(40, int), np.arange(40)
    predicted = [(np.arange(40) >= count).astype(int) for count in (32, 24)]
    expected = paired_difference(*predicted, truth, groups, 2, accuracy_of_counts)
    gaps = sides[0].drawn[:, 0] - sides[1].drawn[:, 0]
    assert sides[0].values.tolist() == [0.8]
    assert np.quantile(gaps, [0.025, 0.975]) == pytest.approx(expected[1:])
    assert sides[0].right.sum() == 32
    assert sides[0].groups == "patients"
    whole = resampled_runs(home, store, one, "T1", "macro_f1")
    assert whole.values[0] == pytest.approx(results_of(table, one[0])["macro_f1"])
    assert whole.values[0] == pytest.approx(macro_f1(np.array([[16, 4], [4, 16]])))
    areas = [resampled_runs(home, store, runs, "T1", "auroc") for runs in (one, other)]
    assert areas[0].values[0] == pytest.approx(results_of(table, one[0])["auroc"])
    gap = differences(home, store, table, STRONG, WEAK, "T1", "auroc").set_index("size").loc[4]
    assert gap["difference"] == pytest.approx(areas[0].values[0] - areas[1].values[0])
    drawn = areas[0].drawn[:, 0] - areas[1].drawn[:, 0]
    assert (gap["low"], gap["high"]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.01)
    assert gap["low"] < gap["difference"] < gap["high"]


def results_of(table, run):
    return table[(table["run"] == run) & (table["test_set"] == "T1")].iloc[0]


def test_seeds_are_drawn_again_too(home):
    """Two seeds, all right and all wrong: the mean is 0, ½ or 1 of them, in ¼, ½ and ¼ of the resamples."""
    cells = {("pixels-24", "logistic", 2, seed): (40 * seed, 0) for seed in (0, 1)}
    cells |= {("pixels-24", "logistic", 4, 0): (40, 0)}
    store, table = add_runs(home, make_dataset(home), "two", cells)
    curve = resampled_curve(home, store, table, STRONG, "T1", "image_accuracy", [0, 1])
    assert curve.sizes.tolist() == [2, 4]
    assert curve.values.tolist() == [0.5, 1]
    shares = pd.Series(curve.drawn[:, 0]).value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({0.0: 0.25, 0.5: 0.5, 1.0: 0.25}, abs=0.04)
    assert (curve.drawn[:, 1] == 1).all()  # seed 1 was never run there: that size keeps what it has


# --------------------------------------------------------------------------------------------------------------- ranking


def test_the_ranking_names_every_pair_once_with_the_better_mean_first(mini):
    home, store, table = mini
    pairs = ranking(home, store, table, "T1", 4)
    named = list(zip(pairs["first_backbone"], pairs["second_backbone"], strict=True))
    assert named == [(STEEP[0], STRONG[0]), (STEEP[0], WEAK[0]), (STRONG[0], WEAK[0])]
    assert pairs["difference"].tolist() == pytest.approx([2 / 40, 10 / 40, 8 / 40])
    # The hits are nested: only one side has images of its own.
    expected = [statsmodels_mcnemar([[0, only], [0, 0]], exact=True).pvalue for only in (2, 10, 8)]
    assert pairs["mcnemar_p"].tolist() == pytest.approx(expected)
    assert pairs["holm_p"].tolist() == pytest.approx(multipletests(pairs["p"], method="holm")[1])
    assert pairs["mcnemar_holm_p"].tolist() == pytest.approx(multipletests(expected, method="holm")[1])
    # Two images cannot make a difference; eight and ten of forty do.
    assert pairs["verdict"].tolist() == ["tied", "better", "better"]
    assert pairs["p"].tolist()[0] == 0.5
    assert set(pairs["n_groups"]) == {40}


def test_an_interval_without_zero_is_not_enough(mini):
    """On T2, five patients against seven and a half: the interval may exclude zero, eight patients prove nothing."""
    home, store, table = mini
    pairs = ranking(home, store, table, "T2", 8)
    assert (pairs["verdict"] == "tied").all()
    home_pairs = ranking(home, store, table, "T1", 1)  # strong 20, weak 16, steep 8: differences of 4, 12 and 8
    four = home_pairs[home_pairs["difference"].round(6) == 0.1].iloc[0]
    assert four["low"] > 0  # more than 97.5 % of the resamples hold one of the four
    assert four["p"] == 2 * 0.5**4
    assert four["verdict"] == "tied"


def test_only_seeds_of_both_count(home):
    cells = {("pixels-24", "logistic", 2, 0): (30, 4), ("pixels-24", "logistic", 2, 1): (40, 4)}
    cells |= {("random-resnet18", "logistic", 2, 0): (30, 4), ("efficientnet-lite0", "logistic", 2, 7): (1, 1)}
    store, table = add_runs(home, make_dataset(home), "seeds", cells)
    pairs = ranking(home, store, table, "T1", 2)
    assert len(pairs) == 1  # a seed that no other has cannot be paired
    assert pairs.iloc[0][["difference", "seeds", "p", "verdict"]].tolist() == [0, 1, 1, "tied"]


def test_correction_turns_a_doubtful_better_into_tied(home):
    """Seven patients more: 2⁻⁶ = 0.0156 alone, times three pairs 0.047; among six pairs no longer below 0.05."""
    dataset = make_dataset(home)
    cells = {("pixels-24", "logistic", 2, 0): (27, 4), ("random-resnet18", "logistic", 2, 0): (20, 4)}
    cells |= {("efficientnet-lite0", "logistic", 2, 0): (20, 4)}
    store, table = add_runs(home, dataset, "three", cells)
    assert ranking(home, store, table, "T1", 2)["verdict"].tolist() == ["better", "better", "tied"]
    cells |= {("echo-clip", "logistic", 2, 0): (20, 4)}
    store, table = add_runs(home, dataset, "four", cells)
    assert set(ranking(home, store, table, "T1", 2)["verdict"]) == {"tied"}


# ------------------------------------------------------------------------------------------------- savings and crossings


def test_labels_saved_by_hand(mini):
    home, store, table = mini
    saved = label_savings(home, store, table, STRONG, WEAK, "T1").set_index("n")
    # Strong's 20, 24, 32 of 40 are weak's at 2, 4 and 8; its 36 are beyond.
    assert saved["m"].tolist()[:3] == pytest.approx([2, 4, 8])
    assert saved["factor"].tolist()[:3] == pytest.approx([2, 2, 2])
    assert saved["relation"].tolist() == ["equals", "equals", "equals", "beyond"]
    assert np.isnan(saved.loc[8, "m"])
    assert (saved.loc[[1, 2], "low"] <= saved.loc[[1, 2], "m"]).all()
    assert "equals random-resnet18 with logistic at 4 " in saved.loc[2, "sentence"]
    assert "does not get there with its 8" in saved.loc[8, "sentence"]
    back = label_savings(home, store, table, WEAK, STRONG, "T1").set_index("n")
    # Weak's 16 lie below strong's smallest; its 20 and 24 are strong's at 1 and 2, its 32 at 4.
    assert back["relation"].tolist() == ["at most", "equals", "equals", "equals"]
    assert back["m"].tolist() == pytest.approx([1, 1, 2, 4])
    assert "random-resnet18 with logistic at 1 sequence per class is no better" in back.loc[1, "sentence"]


def test_the_interval_of_a_saving_is_that_of_its_resamples(mini):
    """Nested hits: in a resample the images 16–19, 20–23, 24–31 alone decide; brute force with draws of another stream."""
    home, store, table = mini
    saved = label_savings(home, store, table, STRONG, WEAK, "T1").set_index("n")
    drawn = np.random.default_rng(99).integers(0, 40, (4000, 40))
    reached = [(drawn < count).mean(axis=1) for count in (16, 20, 24, 32)]
    found = []
    for values in zip(*reached, strict=True):
        level = values[2]  # strong with 2 gets 24 right, as does weak with 4
        position = next(k for k, value in enumerate(values) if value >= level)
        found.append(SIZES[position] if values[position] == level else np.nan)
    low, high = np.nanquantile(found, [0.025, 0.975], method="nearest")
    assert (saved.loc[2, "low"], saved.loc[2, "high"]) == (low, high)


def test_zero_labels_equal_some(home):
    cells = {("pixels-24", "logistic", size, 0): (10 * size, size) for size in (1, 2, 4)}
    cells |= {("echo-clip", "zero_shot", 0, 0): (30, 4)}
    store, table = add_runs(home, make_dataset(home), "zero", cells)
    saved = label_savings(home, store, table, ("echo-clip", "zero_shot"), STRONG, "T1").iloc[0]
    assert saved["m"] == pytest.approx(np.sqrt(8))  # half-way from 20 at 2 to 40 at 4
    assert np.isnan(saved["factor"])
    with pytest.raises(BadInput, match="has 0 sizes above zero on T1"):
        label_savings(home, store, table, STRONG, ("echo-clip", "zero_shot"), "T1")
    assert largest_common_size(table) == 4  # zero-shot has no labels, and holds nobody back


def test_a_crossing_by_hand(mini):
    home, store, table = mini
    found = crossings(home, store, table, STRONG, STEEP, "T1")
    # Strong leads by 4 at 2 and trails by 2 at 4: two thirds of the way, 2^(1 + 2/3).
    assert found["size"].tolist() == pytest.approx([2 ** (5 / 3)])
    row = found.iloc[0]
    assert (row["leads_below"], row["leads_above"]) == ("first", "second")
    assert 2 <= row["low"] <= row["size"]
    assert 0.8 < row["share"] < 1  # resamples without the two images in which steep leads do not cross
    turned = crossings(home, store, table, STEEP, STRONG, "T1").iloc[0]
    assert (turned["leads_below"], turned["size"]) == ("second", row["size"])
    assert row["sentence"].startswith("pixels-24 with logistic leads below 3.17 sequences per class")
    assert turned["sentence"] == row["sentence"]
    assert crossings(home, store, table, STRONG, WEAK, "T1").empty
    with pytest.raises(BadInput, match="share 1 sizes"):
        crossings(home, store, table[table["size"] == 4], STRONG, WEAK, "T1")


# --------------------------------------------------------------------------------------------------------------- targets


@pytest.fixture(scope="module")
def lawful(tmp_path_factory):
    """A curve that follows 0.95 − 0.5/n to within half an image of 40, under ten seeds."""
    home = Home(tmp_path_factory.mktemp("lawful"))
    rng = np.random.default_rng(0)
    cells = {}
    for size in (1, 2, 4, 8, 16, 32):
        for seed in range(10):
            right = np.zeros(40, bool)
            right[rng.permutation(40)[: round(40 * (0.95 - 0.5 / size) + 0.4 * rng.normal())]] = True
            cells["pixels-24", "logistic", size, seed] = (right, 4)
    return home, *add_runs(home, make_dataset(home), "lawful", cells)


def test_a_target_within_reach(lawful):
    home, store, table = lawful
    found = labels_for_target(home, store, table, STRONG, "T1", 0.85)
    assert found.refusal is None
    assert found.size == pytest.approx(5, rel=0.2)  # 0.95 − 0.5/n = 0.85
    assert found.low < found.size < found.high < 40
    assert found.curve["size"].iloc[[0, -1]].tolist() == pytest.approx([1, 128])
    middle = found.curve.iloc[30]
    assert middle["low"] < middle["fitted"] < middle["high"]
    assert len(found.points) == 6
    assert found.sentence.startswith("85 % takes about")


def test_a_target_already_reached(lawful):
    found = labels_for_target(*lawful, STRONG, "T1", 0.2)
    assert (found.size, found.low, found.refusal) == (1, None, None)
    assert "with the smallest size measured" in found.sentence


def test_a_target_above_the_fit_is_refused(lawful):
    above = labels_for_target(*lawful, STRONG, "T1", 0.99)
    assert above.size is above.low is above.high is None
    assert "levels off at 9" in above.refusal
    assert "support targets up to 9" in above.refusal


def test_a_target_far_beyond_the_data_is_refused(home):
    """Three images of 40 more with every doubling of the labels: thirteen more take 8 · 2^(13/3) = 161."""
    cells = {("pixels-24", "logistic", size, 0): (n, 4) for size, n in zip(SIZES, (14, 17, 20, 23), strict=True)}
    far = labels_for_target(home, *add_runs(home, make_dataset(home), "far", cells), STRONG, "T1", 0.9)
    assert far.size is None
    assert "more than 4 times the largest size measured (8)" in far.refusal


def test_three_sizes_are_too_few_for_a_learning_curve(mini):
    home, store, table = mini
    few = labels_for_target(home, store, table[table["size"] < 8], WEAK, "T1", 0.5)
    assert few.refusal == few.sentence == "A learning curve needs 4 sizes or more; 3 are finished."
    assert few.curve.empty
    assert few.points["mean"].tolist() == pytest.approx([16 / 40, 20 / 40, 24 / 40])
    with pytest.raises(BadInput, match="fraction above 0 and at most 1; got 85"):
        labels_for_target(home, store, table, WEAK, "T1", 85)


def test_a_curve_that_follows_no_law_is_refused(home):
    cells = {("pixels-24", "logistic", size, 0): (n, 4) for size, n in zip(SIZES, (10, 35, 15, 38), strict=True)}
    found = labels_for_target(home, *add_runs(home, make_dataset(home), "wild", cells), STRONG, "T1", 0.9)
    assert "misses the measured accuracies" in found.refusal
    assert found.fit is not None  # to be drawn, so that one sees why


def test_a_bound_beyond_all_measure_is_refused(home):
    """Ten patients' worth of noise: the mean curve reaches the target, many resamples of it never do."""
    cells = {("pixels-24", "logistic", s, 0): (n, 4) for s, n in zip((1, 2, 4, 8), (20, 26, 30, 32), strict=True)}
    found = labels_for_target(home, *add_runs(home, make_dataset(home), "noise", cells), STRONG, "T1", 0.83)
    assert "so its size has no upper bound" in found.refusal


# ------------------------------------------------------------------------------------------------------------ calibration


def test_calibration_by_hand(mini):
    home, store, table = mini
    found = calibration_of(home, store, runs_at(table, STRONG, 4), "T1")
    confidence = 1 / (1 + np.exp(-MARGIN))
    assert found.ece == pytest.approx(confidence - 0.8)  # all in one bin, of which 32 of 40 are right
    assert found.table["count"].sum() == 40
    filled = found.table[found.table["count"] > 0].iloc[0]
    assert (filled["confidence"], filled["accuracy"]) == pytest.approx((confidence, 0.8))
    assert found.brier == pytest.approx(2 * (0.8 * (1 - confidence) ** 2 + 0.2 * confidence**2))
    assert found.interval.low <= found.ece <= found.interval.high
    both = calibration_of(home, store, runs_at(table, STRONG, 4) + runs_at(table, STRONG, 1), "T1")
    assert both.ece == pytest.approx(((confidence - 0.8) + (confidence - 0.5)) / 2)
    assert (both.runs, both.table["count"].sum(), both.accuracy) == (2, 80, pytest.approx(0.65))


def test_what_is_no_probability_is_refused(home):
    dataset = make_dataset(home)
    cells = {("pixels-24", kind, 2, 0): (30, 4) for kind in ("linear_svm", "knn", "logistic")}
    store, table = add_runs(home, dataset, "kinds", cells)
    with pytest.raises(BadInput, match="distances from a plane"):
        calibration_of(home, store, runs_at(table, ("pixels-24", "linear_svm"), 2), "T1")
    with pytest.raises(BadInput, match="different adaptations"):
        calibration_of(home, store, table[table["test_set"] == "T1"]["run"].tolist(), "T1")
    shares = calibration_of(home, store, runs_at(table, ("pixels-24", "knn"), 2), "T1")
    assert shares.confidence == MARGIN  # taken as they stand, not through a softmax
    rows = summary(home, store, "kinds", "calibration").set_index("adaptation")
    assert rows.loc["linear_svm", "refusal"].iloc[0].startswith("A linear SVM gives distances")
    assert rows.loc["logistic", "refusal"].isna().all()


# ------------------------------------------------------------------------------------- the most labels, test sets, cost


def test_the_table_of_the_most_labels(mini):
    home, store, table = mini
    rows = maximum(home, store, table).set_index(["backbone", "test_set"])
    strong = rows.loc[(STRONG[0], "T1")]
    assert (strong["size"], strong["n_images"], strong["image_accuracy"]) == (8, 40, 0.9)
    low, high = np.quantile(np.random.default_rng(1).binomial(40, 0.9, 20_000) / 40, [0.025, 0.975])
    assert (strong["image_accuracy_low"], strong["image_accuracy_high"]) == pytest.approx((low, high), abs=0.026)
    assert rows.loc[(WEAK[0], "T2"), "sequence_accuracy"] == 6 / 8
    unfinished = table.drop(table[(table["backbone"] == WEAK[0]) & (table["size"] == 8)].index)
    assert largest_common_size(unfinished) == 4
    with pytest.raises(BadInput, match="No size has been finished by every"):
        largest_common_size(table[(table["size"] == 1) ^ (table["backbone"] == WEAK[0])])


def test_the_change_between_test_sets(mini):
    home, store, table = mini
    rows = generalisation(home, store, table)
    image = rows[(rows["backbone"] == STRONG[0]) & (rows["measure"] == "image_accuracy")].iloc[0]
    assert (image["from_set"], image["to_set"]) == ("T1", "T2")
    assert image["change"] == pytest.approx(7 / 8 - 36 / 40)
    rng = np.random.default_rng(3)  # independent draws of both sets
    drawn = rng.binomial(8, 7 / 8, 20_000) / 8 - rng.binomial(40, 0.9, 20_000) / 40
    assert (image["low"], image["high"]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.04)
    with pytest.raises(BadInput, match="needs two; this study has T1"):
        generalisation(home, store, table[table["test_set"] == "T1"])


def test_equal_numbers_of_patients_are_not_drawn_alike(home):
    """Two test sets of one size with the same hits: drawn alike, their difference would never vary."""
    with DatasetWriter(home, "mini") as writer:
        for split in ("T1", "T2", "train"):
            for number in range(8):
                row = ImageRow(f"{split}-{number}", label="xy"[number % 2], patient_id=f"{split}{number}", split=split)
                writer.add(row, np.full((8, 8), 20 * ("T1", "T2", "train").index(split) + number, np.uint8))
        dataset = writer.finish(CardFacts("toy"), ("x", "y"))
    mask = np.arange(8) < 5
    cells = {("pixels-24", "logistic", 1, 0): (np.append(mask, []).astype(bool), mask)}
    store, table = add_runs_of(home, dataset, cells)
    row = generalisation(home, store, table).iloc[0]
    assert row["change"] == 0
    assert row["low"] < 0 < row["high"]


def add_runs_of(home, dataset, cells):
    counts = dict(IMAGES)
    IMAGES.update(T1=8, T2=8)
    try:
        return add_runs(home, dataset, "equal", cells)
    finally:
        IMAGES.update(counts)


def test_the_pareto_front_by_hand():
    assert pareto_front([1, 2, 3, 3, 9], [0.5, 0.7, 0.6, 0.8, 0.8]).tolist() == [True, True, False, True, False]
    assert pareto_front([1, 1], [0.5, 0.5]).tolist() == [True, True]  # neither beats the other
    assert pareto_front([np.nan, 5], [0.9, 0.5]).tolist() == [False, True]


def test_cost_stands_beside_accuracy(home):
    store, table = add_mini(home)
    with pytest.raises(BadInput, match="No latency of these backbones"):
        cost(home, store, table)
    measure_latency(store, "pixels-24", 1.5, "cpu")
    measure_latency(store, "random-resnet18", 4.0, "cpu")
    measure_latency(store, "efficientnet-lite0", 3.0, "another device")
    rows = cost(home, store, table).set_index(["backbone", "test_set"])
    assert rows.loc[("pixels-24", "T1"), ["milliseconds", "device", "pareto"]].tolist() == [1.5, "cpu", True]
    assert not rows.loc[("random-resnet18", "T1"), "pareto"]  # slower and worse
    assert np.isnan(rows.loc[("efficientnet-lite0", "T1"), "milliseconds"])
    assert rows.loc[("random-resnet18", "T2"), "parameters"] == 11_176_512


def measure_latency(store, backbone, milliseconds, device):
    request = RunRequest("latency", {"backbone": backbone}, {"backbone": backbone}, f"l-{backbone}", backbone)
    store.request(request, Actor("anna", "test"))
    queue = Queue(store)
    queue.acquire()
    queue.claim("cpu")
    queue.finish({request.key: {"batch1_ms": milliseconds, "images_per_second": 9.0, "device": device}}, 1.0)
    queue.release()


def test_the_printed_numbers():
    assert PRINTED_TABLE_3["echo-clip"]["T2", "sequence_accuracy"] == 0.75
    rows = printed_table_3().set_index(["backbone", "test_set"])
    assert rows.loc[("dinov2-base-imagenet1k-1-layer", "T2"), "image_accuracy"] == 0.856
    assert rows.loc[("random-resnet50", "T1"), "adaptation"] == "scratch"
    assert len(rows) == 8


# ----------------------------------------------------------------------------------------------------- summary and export


def test_summaries_are_about_the_measure_asked_for(mini):
    home, store, _ = mini
    pairs = summary(home, store, "mini", "ranking", "macro_f1")
    assert set(pairs["measure"]) == {"macro_f1"}
    assert len(pairs) == 2 * 4 * 3  # test sets, sizes, pairs
    assert len(summary(home, store, "mini", "savings")) == 2 * 6 * 4
    with pytest.raises(BadInput, match="'kappa' cannot be compared"):
        summary(home, store, "mini", "ranking", "kappa")


def test_one_combination_has_nothing_to_be_compared_with(home):
    cells = {("pixels-24", "linear_svm", size, 0): (30, 4) for size in (1, 2)}
    store, _ = add_runs(home, make_dataset(home), "lone", cells)
    for by, reason in {
        "ranking": "needs two",
        "savings": "needs two",
        "crossings": "needs two",
        "targets": "4 sizes",
        "calibration": "plane",
    }.items():
        with pytest.raises(BadInput, match=reason):
            summary(home, store, "lone", by)


def test_the_export_is_every_table_at_full_precision(mini, fmlab, tmp_path):
    table = mini[2]
    status, out, err = fmlab("results", "mini", "--home", mini[0].path, "--export", tmp_path / "out")
    assert status == 0, err
    written = {path.stem: pd.read_csv(path) for path in (tmp_path / "out").iterdir()}
    assert {f"{tmp_path}/out/{name}.csv" for name in written} == set(out.split())
    others = {"runs", "figure-2-probing-sequences", "reliability-diagrams", "learning-curves", "table-3-as-printed"}
    assert set(written) == (others | {FILES[by] for by in SUMMARIES}) - {FILES["cost"]}
    assert all(len(part) for part in written.values())
    assert "No figure-5-accuracy-against-cost.csv: No latency of these backbones" in err
    assert written["runs"]["macro_f1"].tolist() == table["macro_f1"].tolist()  # to the last digit
    figure = written["figure-2-probing-sequences"].set_index(["backbone", "test_set", "size"])
    assert figure.loc[(STRONG[0], "T1", 4), "image_accuracy"] == 0.8
    again = fmlab("results", "mini", "--home", mini[0].path, "--export", tmp_path / "out")
    assert again[0] == 0
    (tmp_path / "file").write_text("")
    status, _, err = fmlab("results", "mini", "--home", mini[0].path, "--export", tmp_path / "file")
    assert (status, "is a file" in err) == (2, True)


def test_trained_and_probed_curves_are_figures_of_their_own(home, fmlab, tmp_path):
    adaptations = ("linear_svm", "finetune")
    cells = {("pixels-24", kind, size, 0): (30, 4) for size in (1, 2) for kind in adaptations}
    add_runs(home, make_dataset(home), "modes", cells)
    assert fmlab("results", "modes", "--export", tmp_path / "out")[0] == 0
    probing, training = (
        pd.read_csv(tmp_path / "out" / f"{name}.csv")
        for name in ("figure-2-probing-sequences", "figure-4-finetuning-sequences")
    )
    assert set(probing["adaptation"]) == {"linear_svm"}
    assert set(training["adaptation"]) == {"finetune"}


def test_results_by_ranking_on_the_command_line(mini, fmlab):
    study = ("results", "mini", "--home", mini[0].path)
    status, out, _ = fmlab(*study, "--by", "ranking", "--measure", "sequence_accuracy", "--format", "csv")
    assert status == 0
    assert out.startswith("test_set,size,measure,first_backbone")
    assert ",sequence_accuracy," in out
    status, out, _ = fmlab(*study, "--by", "crossings", "--measure", "sequence_accuracy")
    assert "pixels-24 with logistic leads below" in out
    status, _, err = fmlab(*study, "--by", "moon")
    assert (status, "maximum, generalisation, ranking" in err) == (2, True)


def test_two_adaptations_are_compared_on_the_command_line(home, fmlab):
    counts = {"finetune": 36, "scratch": 16}
    names = {"finetune": "pixels-24", "scratch": "random-resnet18"}
    cells = {(names[kind], kind, 2, 0): (count, 4) for kind, count in counts.items()}
    add_runs(home, make_dataset(home), "modes", cells)
    sides = ("pixels-24", "random-resnet18", "--adaptation", "finetune", "--against", "scratch")
    status, out, err = fmlab("compare", "modes", *sides, "--measure", "image_accuracy", "--format", "csv")
    assert status == 0, err
    size, difference, low, _, tied = out.splitlines()[1].split(",")[:5]
    assert (size, float(difference), tied) == ("2", 0.5, "False")
    assert float(low) > 0
    status, _, err = fmlab("compare", "modes", *sides[:2])
    assert (status, "with linear_svm has finished" in err) == (2, True)


def test_no_crossing_is_said_in_words(home, fmlab):
    cells = {("pixels-24", "logistic", size, 0): (30, 4) for size in (1, 2)}
    cells |= {("random-resnet18", "logistic", size, 0): (20, 4) for size in (1, 2)}
    add_runs(home, make_dataset(home), "apart", cells)
    assert fmlab("results", "apart", "--by", "crossings")[1] == "No two curves cross at the sizes measured.\n"
