"""Logistic regression: scikit-learn's model on features scaled by the subset, with an honest convergence flag."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from fmlab.adapt.configs import Logistic
from fmlab.adapt.logistic import score_logistic
from fmlab.adapt.pool import Pool


def three_clouds() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    return (rng.standard_normal((90, 5)) + 2 * np.eye(3, 5)[labels]).astype(np.float32), labels


def test_it_is_scikit_learn_on_features_scaled_by_the_subset_alone():
    features, labels = three_clouds()
    rows = np.arange(40)
    scores, converged = score_logistic(Pool.of(features, labels, 3, [rows]), Logistic(), features[40:])
    scaler = StandardScaler().fit(features[rows])
    model = LogisticRegression(max_iter=1000).fit(scaler.transform(features[rows]), labels[rows])
    np.testing.assert_allclose(scores[0], model.decision_function(scaler.transform(features[40:])), atol=1e-3)
    assert converged.tolist() == [True]


def test_a_fit_that_ran_out_of_iterations_says_so():
    features, labels = three_clouds()
    config = Logistic(max_iterations=1)
    assert score_logistic(Pool.of(features, labels, 3, [np.arange(40)]), config, features)[1].tolist() == [False]


def test_a_class_without_training_items_is_never_predicted():
    features, labels = three_clouds()
    two = np.flatnonzero(labels != 1)[:30]
    scores, _ = score_logistic(Pool.of(features, labels, 3, [two]), Logistic(), features)
    assert set(np.unique(scores[0].argmax(axis=1))) == {0, 2}


def test_a_constant_feature_is_harmless():
    features, labels = three_clouds()
    features[:, 2] = 4
    scores, _ = score_logistic(Pool.of(features, labels, 3, [np.arange(40)]), Logistic(), features)
    assert np.isfinite(scores).all()
