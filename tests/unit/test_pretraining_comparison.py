"""Pretrainings compared, on files written by hand. Run: pytest tests/unit/test_pretraining_comparison.py"""

import numpy as np
import pandas as pd
import pytest

from fmlab.errors import BadInput, NotFound
from fmlab.metrics.paired import holm
from fmlab.plots.pretraining_wording import floor_rows, row_names, told
from fmlab.runs.records import Actor, RunRequest
from fmlab.runs.store import open_store
from fmlab.studies.pretraining_comparison import (
    PIXELS,
    START,
    comparison,
    comparison_requests,
    is_there,
    paired_differences,
    probed_datasets,
    without_backbone,
)
from tests.pages.made_pretrainings import answers, asked_for, make_pretraining
from tests.pages.made_study import make_dataset


def rewrite(home, key, change):
    path = home.backbones / key / "probe.parquet"
    rows = pd.read_parquet(path)
    change(rows).to_parquet(path)


def balanced(rows, column):
    return (rows[column] == rows["label"]).groupby(rows["label"]).mean().mean()


def drawn_again(rows, columns, rng):
    """The 95 % interval of the first column's balanced accuracy (less the second's), each patient having one class."""
    right = pd.concat([(rows[name] == rows["label"]) for name in columns], axis=1, keys=columns)
    patients = rows[["label"]].join(right).groupby(rows["patient_id"], sort=False)
    of_class, counts = pd.factorize(patients["label"].first())[0], patients.size().to_numpy()
    hits = patients[columns].sum().to_numpy().T
    values = []
    for _ in range(3000):
        drawn = rng.integers(0, len(counts), len(counts))
        whole = np.bincount(of_class[drawn], counts[drawn])
        shares = [(np.bincount(of_class[drawn], each[drawn]) / whole).mean() for each in hits]
        values.append(shares[0] - sum(shares[1:]))
    return np.quantile(values, [0.025, 0.975])


def row_of(table, first, second):
    return table[(table["first"] == first) & (table["second"] == second)].to_dict("records")[0]


# The table ------------------------------------------------------------------------------------------------------------


def test_the_table_holds_what_was_done_and_accuracies_with_intervals_over_patients(home):
    make_pretraining(home, "a", "mae", right=(1.0, 0.5, 0.6))
    row = comparison(home, "toy").iloc[0]
    rows = answers((1.0, 0.5, 0.6), 60, 5, 0)
    assert (row["knn"], row["knn_low"], row["knn_high"]) == (1.0, 1.0, 1.0)
    assert row["start_linear"] == pytest.approx(balanced(rows, "start_linear"))
    assert row["pixels_knn_low"] < row["pixels_knn"] < row["pixels_knn_high"]
    assert (row["budget"], row["network"], row["start"], row["classes"]) == (
        "10 min",
        "vit-tiny/16",
        "random weights",
        3,
    )


def test_an_interval_is_that_of_drawing_patients_again(home):
    """All images of a patient are right or wrong together: the interval is that of 30 patients, not of 300 images."""
    make_pretraining(home, "a", patients=30, each=10)
    rng = np.random.default_rng(1)

    def together(rows):
        right = {patient: rng.random() < 0.6 for patient in rows["patient_id"].unique()}
        return rows.assign(knn=rows["label"].where(rows["patient_id"].map(right), "none of these"))

    rewrite(home, "a", together)
    row = comparison(home, "toy").iloc[0]
    rows = pd.read_parquet(home.backbones / "a" / "probe.parquet")
    low, high = drawn_again(rows, ["knn"], np.random.default_rng(2))
    assert (row["knn_low"], row["knn_high"]) == (pytest.approx(low, abs=0.03), pytest.approx(high, abs=0.03))
    assert row["knn_high"] - row["knn_low"] > 0.25  # of 300 single images it would be 0.11


def test_only_what_is_whole_and_was_probed_on_the_dataset_is_compared(home):
    make_pretraining(home, "a")
    make_pretraining(home, "half-written")
    (home.backbones / "half-written" / "card.json").unlink()
    make_pretraining(home, "elsewhere", labelled="other")
    make_pretraining(home, "unlabelled", labelled=None)
    assert comparison(home, "toy")["key"].tolist() == ["a"]
    assert probed_datasets(home) == {"other": 1, "toy": 1}


def test_without_answers_to_each_image_there_are_numbers_but_no_intervals(home):
    make_pretraining(home, "a", right=(0.8, 0.5, 0.6))
    (home.backbones / "a" / "probe.parquet").unlink()
    row = comparison(home, "toy").iloc[0]
    assert (row["knn"], row["start_knn"], row["pixels_knn"]) == (0.8, 0.5, 0.6)
    assert np.isnan(row["knn_low"])
    with pytest.raises(NotFound, match=r"a has no probe\.parquet"):
        paired_differences(home, "toy", ["a"])


# Differences ----------------------------------------------------------------------------------------------------------


def test_a_difference_is_paired_over_patients(home):
    make_pretraining(home, "a", right=(0.8, 0.5, 0.6))
    row = row_of(paired_differences(home, "toy", ["a"]), "a", PIXELS)
    rows = answers((0.8, 0.5, 0.6), 60, 5, 0)
    assert row["difference"] == pytest.approx(balanced(rows, "knn") - balanced(rows, "pixels_knn"))
    low, high = drawn_again(rows, ["knn", "pixels_knn"], np.random.default_rng(2))
    assert (row["low"], row["high"]) == (pytest.approx(low, abs=0.015), pytest.approx(high, abs=0.015))
    assert (row["verdict"], row["images"], row["n_groups"], row["resampled"]) == ("better", 300, 60, "patients")


def test_what_answers_as_at_the_start_is_tied_with_it(home):
    make_pretraining(home, "a", right=(0.6, 0.6, 0.8))
    table = paired_differences(home, "toy", ["a"])
    start = row_of(table, "a", START)
    assert (start["difference"], start["low"], start["high"], start["p"], start["verdict"]) == (0, 0, 0, 1, "tied")
    assert row_of(table, "a", PIXELS)["verdict"] == "worse"


def test_the_better_backbone_stands_first_and_each_question_is_corrected_by_itself(home):
    for key, method, right in (("a", "mae", 0.62), ("b", "simclr", 0.8), ("c", "dinov2", 0.66)):
        make_pretraining(home, key, method, right=(right, 0.5, 0.6))
    table = paired_differences(home, "toy", ["a", "b", "c"])
    assert list(zip(table["first"], table["second"], strict=True)) == [
        *[(key, PIXELS) for key in "bca"],
        *[(key, START) for key in "bca"],
        ("b", "c"), ("b", "a"), ("c", "a"),
    ]  # fmt: skip
    for rows in (table[:3], table[3:6], table[6:]):
        assert rows["holm_p"].tolist() == pytest.approx(holm(rows["p"].to_numpy()).tolist())


def test_of_many_backbones_only_those_that_differ_in_one_thing_are_compared(home):
    for method in ("mae", "simclr"):
        for images in (1000, 4000):
            for minutes in (5.0, 20.0):
                key = f"{method}-{images}-{minutes:g}"
                make_pretraining(home, key, method, images=images, hours=minutes / 60, max_minutes=minutes, patients=12)
    table = paired_differences(home, "toy", comparison(home, "toy")["key"].tolist())
    pairs = {frozenset(pair) for pair in zip(table["first"], table["second"], strict=True)}
    between = [pair for pair in pairs if not pair & {PIXELS, START}]
    assert len(between) == 12  # the edges of a cube
    assert frozenset(["mae-1000-5", "simclr-1000-5"]) in between
    assert frozenset(["mae-1000-5", "simclr-4000-5"]) not in between


def test_of_many_backbones_one_method_is_compared_on_both_its_networks(home):
    for method in ("mae", "simclr", "simsiam"):
        for network in ("vit-tiny", "resnet18"):
            make_pretraining(home, f"{method}-{network}", method, network=network, patients=12)
    table = paired_differences(home, "toy", comparison(home, "toy")["key"].tolist())
    pairs = {frozenset(pair) for pair in zip(table["first"], table["second"], strict=True)}
    assert frozenset(["simclr-vit-tiny", "simclr-resnet18"]) in pairs
    assert frozenset(["simclr-vit-tiny", "mae-resnet18"]) in pairs
    assert len([pair for pair in pairs if not pair & {PIXELS, START}]) == 6 * 5 // 2


def test_all_is_compared_on_the_images_that_all_were_probed_on(home):
    make_pretraining(home, "a", "mae")
    make_pretraining(home, "b", "simclr", patients=40)
    table = paired_differences(home, "toy", ["a", "b"])
    assert set(table["images"]) == {200}
    assert set(table["n_groups"]) == {40}
    rewrite(home, "b", lambda rows: rows.assign(image_id="other " + rows["image_id"]))
    with pytest.raises(BadInput, match="no common image"):
        paired_differences(home, "toy", ["a", "b"])


def test_what_cannot_be_compared_is_refused_by_name(home):
    make_pretraining(home, "a", "mae")
    make_pretraining(home, "b", "simclr")
    make_pretraining(home, "elsewhere", labelled="other")
    with pytest.raises(BadInput, match="elsewhere was not probed on 'toy'"):
        paired_differences(home, "toy", ["a", "elsewhere"])
    with pytest.raises(BadInput, match="'svm' is no probe"):
        paired_differences(home, "toy", ["a"], "svm")
    rewrite(home, "b", lambda rows: rows.assign(label=rows["label"].where(rows.index != 7, "A")))
    with pytest.raises(BadInput, match=r"labels of 'toy' changed before b"):
        paired_differences(home, "toy", ["a", "b"])
    rewrite(home, "b", lambda rows: rows.drop(columns="pixels_knn"))
    with pytest.raises(BadInput, match=r"b/probe\.parquet lacks pixels_knn"):
        comparison(home, "toy")


def test_images_of_unknown_patients_are_drawn_by_sequence(home):
    """The toy set has three images in each sequence of T1."""
    test = make_dataset(home).manifest(["image_id", "split"]).query("split == 'T1'")
    make_pretraining(home, "a", patients=len(test), each=1)
    rewrite(home, "a", lambda rows: rows.assign(image_id=test["image_id"].to_numpy(), patient_id=None))
    table = paired_differences(home, "toy", ["a"])
    assert (table["images"].iloc[0], table["n_groups"].iloc[0]) == (len(test), len(test) // 3)
    assert table["resampled"].iloc[0] == "patients or sequences"


# Words ----------------------------------------------------------------------------------------------------------------


def test_the_sentences_say_who_beats_pixels_who_learned_and_at_which_compute(home):
    make_pretraining(home, "a", "mae", right=(0.9, 0.5, 0.6))
    make_pretraining(home, "b", "simclr", right=(0.5, 0.5, 0.6), hours=0.17, health="stalled")
    table = comparison(home, "toy")
    said = told(table, paired_differences(home, "toy", ["a", "b"]), "knn")
    assert said.headline.startswith("Highest by nearest neighbours: MAE, ")
    assert "1 of 2 (MAE) is better than raw pixels, 1 of 2 (MAE) is better than at the start." in said.headline
    assert said.compute == "Equal compute: 10.1 min each on cpu; 40,000 images seen."
    assert said.backbones[0].startswith("MAE against raw pixels: +")
    assert "better. Against its random start +" in said.backbones[0]
    assert said.backbones[0].endswith("it learned something.")
    assert (
        "worse. Against its random start +0.0 points [+0.0, +0.0]: nothing learned that shows on these 60 patients."
        in (said.backbones[1])
    )
    assert said.backbones[1].endswith("Its health: stalled.")
    assert said.pairs[0].startswith("MAE against SimCLR, equal compute: +")


def test_unequal_compute_and_other_devices_are_said(home):
    make_pretraining(home, "a", "mae", hours=1.0, images_seen=90_000)
    make_pretraining(home, "b", "simsiam", hours=0.25)
    table = comparison(home, "toy")
    said = told(table, paired_differences(home, "toy", ["a", "b"]), "linear")
    assert said.compute == (
        "Not equal compute: 15 min to 1 h on cpu; 40,000 to 90,000 images seen. They differ in their networks, too."
    )
    assert "with 4 times the compute" in said.pairs[0] or "with 0.25 times the compute" in said.pairs[0]
    make_pretraining(home, "c", "dinov2", device="H100")
    assert told(comparison(home, "toy"), paired_differences(home, "toy", ["a", "c"]), "knn") is not None
    table = comparison(home, "toy")
    said = told(table[table["key"] != "b"], paired_differences(home, "toy", ["a", "c"]), "knn")
    assert said.compute.startswith("Compute cannot be compared: 10 min to 1 h on different devices (H100, cpu);")
    assert "on different devices" in said.pairs[0]


def test_names_are_as_short_as_tells_them_apart(home):
    make_pretraining(home, "a", "mae")
    make_pretraining(home, "b", "simclr", images=900)
    assert row_names(comparison(home, "toy")) == {"a": "MAE", "b": "SimCLR"}
    make_pretraining(home, "c", "mae", images=900)
    assert set(row_names(comparison(home, "toy")).values()) == {
        "MAE · 4,000 images",
        "MAE · 900 images",
        "SimCLR · 900 images",
    }
    make_pretraining(home, "d", "mae", images=900)
    assert row_names(comparison(home, "toy"))["d"] == "MAE · 900 images (d)"


def test_a_floor_stands_once_however_many_backbones_share_it(home):
    make_pretraining(home, "a", "mae")
    make_pretraining(home, "b", "simclr")
    make_pretraining(home, "c", "mae", start="random-vit-tiny", right=(0.7, 0.6, 0.6))
    assert [row["name"] for row in floor_rows(comparison(home, "toy"))] == ["raw pixels", "random weights, vit-tiny/16"]
    make_pretraining(home, "d", "dinov2", right=(0.7, 0.4, 0.6))
    assert [row["name"] for row in floor_rows(comparison(home, "toy"))] == [
        "raw pixels",
        "random weights, vit-tiny/16, DINOv2",
        "random weights, vit-tiny/16, MAE",
    ]


# The grid -------------------------------------------------------------------------------------------------------------


def test_a_grid_is_every_method_on_every_share_for_every_length():
    base = asked_for("gb", "mae", thin=3)
    grid = comparison_requests(["mae", "simclr"], [1, 0.25], [10, 2.5], base)
    assert [asked.key for asked in grid] == [
        "gb-mae-25-2.5min", "gb-simclr-25-2.5min", "gb-mae-100-2.5min", "gb-simclr-100-2.5min",
        "gb-mae-25-10min", "gb-simclr-25-10min", "gb-mae-100-10min", "gb-simclr-100-10min",
    ]  # fmt: skip
    assert [asked.sources[0].share for asked in grid[:4]] == [0.25, 0.25, 1, 1]
    assert {asked.max_minutes for asked in grid[4:]} == {10}
    assert {asked.thin for asked in grid} == {3}


def test_compute_may_grow_with_the_data_or_be_counted_in_steps():
    grid = comparison_requests(["mae"], [0.25, 0.5], [10], asked_for("gb", "mae"), growing=True)
    assert [(asked.key, asked.max_minutes) for asked in grid] == [("gb-mae-25", 5), ("gb-mae-50", 10)]
    base = asked_for("gb", "mae", steps=40, max_minutes=None)
    assert [asked.steps for asked in comparison_requests(["mae", "dinov2"], [1], [], base)] == [40, 40]
    assert [asked.key for asked in comparison_requests(["mae", "dinov2"], [1], [], base)] == ["gb-mae", "gb-dinov2"]
    with pytest.raises(BadInput, match="add --max-minutes"):
        comparison_requests(["mae"], [0.5, 1], [], base, growing=True)


@pytest.mark.parametrize(
    ("methods", "shares", "minutes", "words"),
    [
        ([], [1], [1], "methods are none"),
        (["mae", "mae"], [1], [1], "methods are mae, mae"),
        (["moco"], [1], [1], "method"),
        (["mae"], [1.5], [1], "share"),
        (["mae"], [0], [1], "share"),
        (["mae"], [1], [-1], "max_minutes"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(methods, shares, minutes, words):
    with pytest.raises(BadInput, match=words):
        comparison_requests(methods, shares, minutes, asked_for("gb", "mae"))


def test_a_grid_knows_what_is_there(home):
    make_pretraining(home, "gb-mae", "mae")
    assert is_there(home, asked_for("gb-mae", "mae"))
    assert not is_there(home, asked_for("gb-mae", "mae", max_minutes=11.0))
    assert not is_there(home, asked_for("gb-simclr", "simclr"))


def test_pretrainings_that_left_no_backbone_are_told(home):
    store = open_store(home)
    for number, labelled in enumerate(["toy", "other"]):
        config = {"asked": asked_for(f"gb-{number}", "simsiam").plain, "labelled": labelled, "backbone": f"gb-{number}"}
        request = RunRequest("pretrain", config, {"number": number}, f"group {number}", "title")
        store.cancel([store.request(request, Actor("anna", "test")).key], Actor("anna", "test"))
    lost = without_backbone(store, "toy")
    assert lost[["key", "method", "state"]].to_numpy().tolist() == [["gb-0", "simsiam", "cancelled"]]
    assert lost["reason"].iloc[0] == "Cancelled before it started."
