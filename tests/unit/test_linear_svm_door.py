"""The door to the probes: configs from names and mappings, and one call that fits and scores."""

import numpy as np
import pytest

from fmlab.adapt.configs import KNN, LinearSVM, Logistic, adaptation_from
from fmlab.adapt.fit import fit_and_score
from fmlab.errors import BadInput

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3
FEATURES = (RNG.standard_normal((60, 6)) + 8 * np.eye(3, 6)[LABELS]).astype(np.float32)
SUBSETS = [np.arange(9), np.arange(3, 40)]


@pytest.mark.parametrize("kind", ["linear_svm", "logistic", "knn", "linear_head"])
def test_every_probe_scores_every_subset_and_tells_how_far_it_is(kind):
    told = []
    fits = fit_and_score(
        adaptation_from(kind), FEATURES, LABELS, 3, SUBSETS, FEATURES[40:], on_progress=lambda *now: told.append(now)
    )
    assert fits.scores.shape == (2, 20, 3)
    assert fits.scores.dtype == np.float32
    assert fits.converged.all()
    assert ((fits.scores.argmax(axis=2) == LABELS[40:]).mean(axis=1) > 0.8).all()
    assert np.isnan(fits.gap).all() == (kind != "linear_svm")
    assert told == [(1, 2), (2, 2)]
    assert fits.seconds > 0


def test_configs_come_from_names_mappings_and_themselves():
    assert adaptation_from("linear_svm") == LinearSVM()
    assert adaptation_from({"kind": "knn", "k": 5}) == KNN(k=5)
    assert adaptation_from({"kind": "logistic", "C": 2}) == Logistic(C=2.0)
    assert adaptation_from(KNN(k=3)) == KNN(k=3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("linear-svm", "no adaptation 'linear-svm'; use one of linear_svm"),
        ({"k": 5}, "no adaptation None"),
        ({"kind": "knn", "neighbours": 5}, "no setting 'neighbours'; the settings are k"),
        ({"kind": "knn", "k": 0}, "k is 0, but input should be greater than or equal to 1"),
        ({"kind": "knn", "k": "5"}, "k is '5'"),
        (7, "a name or a mapping, got int"),
    ],
)
def test_a_wrong_config_is_told_in_a_sentence(given, message):
    with pytest.raises(BadInput, match=message):
        adaptation_from(given)


@pytest.mark.parametrize(
    ("subsets", "test", "message"),
    [
        ([], FEATURES, "no subset"),
        (SUBSETS, FEATURES[:, :4], r"expected \(items, 6\)"),
        (SUBSETS, FEATURES[:0], "at least one item"),
        ([np.array([0, 3, 6])], FEATURES, "one class only"),
    ],
)
def test_what_cannot_be_fitted_is_refused(subsets, test, message):
    with pytest.raises(BadInput, match=message):
        fit_and_score(LinearSVM(), FEATURES, LABELS, 3, subsets, test)


def test_a_memory_map_is_as_good_as_an_array(tmp_path):
    np.save(tmp_path / "features.npy", FEATURES)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    one, other = (fit_and_score(LinearSVM(), x, LABELS, 3, SUBSETS, x[40:]).scores for x in (FEATURES, mapped))
    np.testing.assert_array_equal(one, other)


def test_what_progress_raises_ends_the_work():
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_and_score(KNN(), FEATURES, LABELS, 3, SUBSETS, FEATURES, on_progress=stop)
