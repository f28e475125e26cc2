"""The linear SVM solver keeps its promises: the objective of LinearSVC, certified, whatever the features' scale."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.svm import LinearSVC

from fmlab.adapt.configs import LinearSVM
from fmlab.adapt.linear_svm import decision_scores, fit_linear_svms, one_against_rest
from fmlab.adapt.pool import Pool
from fmlab.adapt.svm_certificate import certify
from fmlab.errors import BadInput


def clouds(items: int, width: int, classes: int, seed: int = 0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian clouds around random centres: features (items, width) float32 and labels, every class present."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, items - classes)])
    features = rng.standard_normal((items, width)) + spread * rng.standard_normal((classes, width))[labels]
    return features.astype(np.float32), labels


def fit(features, labels, subsets, **settings_of):
    pool = Pool.of(features, labels, int(labels.max()) + 1, subsets)
    return fit_linear_svms(pool, LinearSVM(**settings_of))


def objective(features, targets, coefficients, intercept, C=1.0):
    values = features.astype(np.float64) @ coefficients + intercept
    return (coefficients @ coefficients + intercept**2) / 2 + C * (np.maximum(0, 1 - targets * values) ** 2).sum()


# ------------------------------------------------------------------------------------------------ the same objective


@pytest.mark.parametrize(("items", "width"), [(12, 40), (150, 40), (600, 20)])
@pytest.mark.parametrize("classes", [2, 4])
def test_coefficients_are_those_of_linear_svc_at_a_tight_tolerance(items, width, classes):
    features, labels = clouds(items, width, classes)
    ours = fit(features, labels, [np.arange(items)], gap=1e-9)[0]
    theirs = LinearSVC(tol=1e-10, max_iter=1_000_000, random_state=0).fit(features, labels)
    assert ours.converged
    assert ours.coefficients.shape == theirs.coef_.shape
    np.testing.assert_allclose(ours.coefficients, theirs.coef_, atol=2e-4)
    np.testing.assert_allclose(ours.intercepts, theirs.intercept_, atol=2e-4)


def test_two_items_on_a_line_can_be_checked_by_hand():
    # x = ±1 with its label's sign: by symmetry no intercept; ½w² + 2(1 − w)² is least at w = 4/5.
    found = fit(np.array([[1.0], [-1.0]], np.float32), np.array([1, 0]), [np.array([0, 1])])[0]
    assert found.coefficients[0, 0] == pytest.approx(0.8, abs=1e-6)
    assert found.intercepts[0] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("items", [60, 900])
def test_badly_scaled_features_converge_where_linear_svc_does_not(items):
    features, labels = clouds(items, 100, 2, spread=0.3)
    features *= np.logspace(-2, 3, 100).astype(np.float32)
    ours = fit(features, labels, [np.arange(items)])[0]
    assert ours.converged
    with pytest.warns(match="converge"):
        theirs = LinearSVC(dual=True, random_state=0).fit(features, labels)
    targets = 2 * labels - 1
    own = objective(features, targets, ours.coefficients[0], ours.intercepts[0])
    assert own <= objective(features, targets, theirs.coef_[0], theirs.intercept_[0]) * (1 + 1e-4)


def test_nearly_separable_classes_with_many_items_do_not_cycle():
    """Full Newton steps went round in circles here, with about as many items on the margin as features."""
    features, labels = clouds(1500, 120, 3, spread=0.6)
    features *= (10 / np.sqrt(np.arange(1, 121))).astype(np.float32)
    found = fit(features, labels, [np.arange(1500)])[0]
    assert found.converged
    assert found.iterations.max() < 40


# ---------------------------------------------------------------------------------------------------- the certificate


@settings(max_examples=30, deadline=None)
@example(items=55, width=21, classes=2, scale=1000.0, C=0.01, seed=365)  # the first guess left no item inside
@example(items=12, width=4, classes=4, scale=1000.0, C=0.01, seed=0)  # full steps cycled at every C near the last
@example(items=13, width=3, classes=2, scale=1000.0, C=100.0, seed=1)  # float32 margins were too coarse
@given(
    items=st.integers(4, 90),
    width=st.integers(1, 30),
    classes=st.integers(2, 4),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    C=st.sampled_from([0.01, 1.0, 100.0]),
    seed=st.integers(0, 10_000),
)
def test_every_fit_is_certified_and_the_certificate_is_true(items, width, classes, scale, C, seed):
    features, labels = clouds(max(items, classes), width, classes, seed)
    features *= np.float32(scale)
    rows = np.arange(len(labels))
    loose, tight = (fit(features, labels, [rows], C=C, gap=gap)[0] for gap in (1e-2, 1e-9))
    assert loose.converged
    assert (loose.gaps <= 1e-2).all()
    targets = one_against_rest(labels)[1]
    for p, gap in enumerate(loose.gaps):
        found, best = (
            objective(features, targets[:, p], f.coefficients[p], f.intercepts[p], C) for f in (loose, tight)
        )
        assert found - best <= gap * found + 1e-8 * found


def test_a_gap_is_never_negative_and_large_for_bad_weights():
    features, labels = clouds(50, 5, 2)
    extended = np.concatenate([features, np.ones((50, 1), np.float32)], axis=1)
    targets = one_against_rest(labels)[1]
    gaps = certify(extended, targets, np.full((6, 1), 10.0), targets, 1.0)
    assert gaps[0] > 0.5


def test_a_fit_stopped_too_early_says_that_it_did_not_converge():
    features, labels = clouds(300, 30, 2, spread=0.2)
    found = fit(features, labels, [np.arange(300)], max_iterations=1, gap=1e-9)[0]
    assert not found.converged
    assert found.gaps.max() > 1e-9


# --------------------------------------------------------------------------------- a fit depends on its own items alone


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_order_of_a_subset_changes_nothing(seed):
    features, labels = clouds(80, 12, 3, seed)
    rows = np.arange(80)
    given_order, shuffled = fit(features, labels, [rows, np.random.default_rng(seed).permutation(rows)])
    np.testing.assert_array_equal(given_order.coefficients, shuffled.coefficients)


def test_the_subsets_beside_it_and_the_pool_around_it_change_nothing_that_shows():
    """A killed study resumes with fewer subsets and a smaller pool, and has to end with the same numbers."""
    features, labels = clouds(700, 90, 3, spread=0.3)
    rng = np.random.default_rng(1)
    subsets = [rng.permutation(700)[:n] for n in (20, 150, 400)]
    together = fit(features, labels, subsets)
    for position, rows in enumerate(subsets):
        used = np.unique(rows)
        alone = fit(features[used], labels[used], [np.searchsorted(used, rows)])[0]
        np.testing.assert_allclose(together[position].coefficients, alone.coefficients, rtol=0, atol=1e-7)


# --------------------------------------------------------------------------------------------------------------- scores


def test_scores_are_decision_values_and_two_classes_mirror_each_other():
    features, labels = clouds(60, 8, 2)
    found = fit(features, labels, [np.arange(60)])
    scores = decision_scores(found, 2, features)
    assert scores.shape == (1, 60, 2)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores[0, :, 0], -scores[0, :, 1])
    expected = features @ found[0].coefficients[0] + found[0].intercepts[0]
    np.testing.assert_allclose(scores[0, :, 1], expected, atol=1e-4)


def test_a_class_without_training_items_is_never_predicted():
    features, labels = clouds(90, 6, 4)
    rows = np.flatnonzero(labels != 2)
    scores = decision_scores(fit(features, labels, [rows, rows[labels[rows] < 2]]), 4, features)
    assert not (scores.argmax(axis=2) == 2).any()
    assert set(np.unique(scores[1].argmax(axis=1))) <= {0, 1}
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("rows", "message"),
    [([1, 2], "one class only"), ([], "empty"), ([0, 99], "names row 99"), ([0, 3], "label 7")],
)
def test_subsets_that_cannot_be_learnt_from_are_refused(rows, message):
    with pytest.raises(BadInput, match=message):
        Pool.of(np.eye(4, dtype=np.float32), np.array([0, 1, 1, 7]), 2, [np.array(rows, np.int64)])


def test_features_that_are_not_finite_are_refused_by_row():
    features = np.eye(4, dtype=np.float32)
    features[2, 1] = np.nan
    with pytest.raises(BadInput, match="row 2"):
        Pool.of(features, np.array([0, 1, 0, 1]), 2, [np.arange(4)])
    Pool.of(features, np.array([0, 1, 0, 1]), 2, [np.array([0, 1])])


# ----------------------------------------------------------------------------------------------------------- on a device


@pytest.mark.parametrize("classes", [2, 3])
def test_the_torch_solver_finds_the_same_weights(classes):
    """On CPU tensors, where the same code runs that a GPU would."""
    from fmlab.adapt.svm_torch import fit_linear_svms_on_device

    features, labels = clouds(260, 14, classes, spread=0.5)
    rng = np.random.default_rng(0)
    subsets = [rng.permutation(260)[:n] for n in (12, 12, 30, 200, 200)]
    pool = Pool.of(features, labels, classes, subsets)
    config = LinearSVM(gap=1e-8)
    told = []
    on_device = fit_linear_svms_on_device(pool, config, "cpu", told.append)
    for ours, theirs in zip(fit_linear_svms(pool, config), on_device, strict=True):
        assert theirs.converged
        np.testing.assert_array_equal(ours.classes, theirs.classes)
        np.testing.assert_allclose(ours.coefficients, theirs.coefficients, atol=1e-4)
        np.testing.assert_allclose(ours.intercepts, theirs.intercepts, atol=1e-4)
    assert told[-1] == len(subsets)
