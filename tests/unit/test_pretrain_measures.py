"""The numbers of a pretraining's health against NumPy and against cases worked out by hand."""

import math

import numpy as np
import pytest
import torch

from fmlab.pretrain.measures import LARGEST_SAMPLE, assignment_signals, feature_signals, retrieval, weight_distance


def rankme(features):
    """Garrido et al., equation 1, in float64."""
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    shares = values / np.abs(values).sum() + 1e-7
    return math.exp(-(shares * np.log(shares)).sum())


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_effective_rank_is_rankme(shape):
    features = np.random.default_rng(0).normal(size=shape).astype(np.float32) * np.linspace(0.01, 3, shape[1])
    found = feature_signals(torch.from_numpy(features.astype(np.float32)))
    assert found["effective_rank"].item() == pytest.approx(rankme(features), rel=1e-4)


def test_effective_rank_counts_equal_directions():
    assert feature_signals(torch.eye(8))["effective_rank"].item() == pytest.approx(8, rel=1e-4)
    assert feature_signals(torch.ones(8, 5))["effective_rank"].item() == pytest.approx(1, abs=1e-2)


def test_the_spread_is_one_on_the_whole_sphere_and_zero_in_one_direction():
    draw = torch.Generator().manual_seed(0)
    assert feature_signals(torch.randn(500, 64, generator=draw))["feature_std"].item() == pytest.approx(1, abs=0.02)
    lengths = torch.rand(50, 1, generator=draw) + 0.1
    assert feature_signals(lengths * torch.ones(50, 16))["feature_std"].item() == pytest.approx(0, abs=1e-6)


def test_the_spread_is_that_of_numpy_on_normalised_rows():
    features = np.random.default_rng(1).normal(size=(30, 6)) + 1
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    found = feature_signals(torch.from_numpy(features))["feature_std"].item()
    assert found == pytest.approx(unit.std(axis=0, ddof=1).mean() * math.sqrt(6), rel=1e-5)


def test_only_the_first_rows_of_a_large_batch_are_looked_at():
    features = torch.randn(LARGEST_SAMPLE + 100, 4, generator=torch.Generator().manual_seed(0))
    changed = features.clone()
    changed[LARGEST_SAMPLE:] = 0
    assert feature_signals(features) == feature_signals(changed)


def test_low_precision_is_computed_in_full():
    features = torch.randn(32, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = feature_signals(features)
    assert found["effective_rank"].dtype == torch.float32
    assert found["effective_rank"].item() == pytest.approx(rankme(features.float().numpy()), rel=1e-4)


# Assignments ----------------------------------------------------------------------------------------------------------

SURE = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])


def test_two_images_with_a_prototype_each_tell_one_bit():
    found = assignment_signals(SURE, torch.full((2, 4), 0.25).log())
    assert found["teacher_entropy"].item() == 0
    assert found["mean_entropy"].item() == pytest.approx(0.5)  # log 2 of log 4
    assert found["mutual_information"].item() == pytest.approx(math.log(2))
    assert found["teacher_student_kl"].item() == pytest.approx(math.log(4))


def test_an_even_answer_tells_nothing():
    even = torch.full((3, 4), 0.25)
    found = assignment_signals(even, even.log())
    assert found["teacher_entropy"].item() == pytest.approx(1)
    assert found["mean_entropy"].item() == pytest.approx(1)
    assert found["mutual_information"].item() == pytest.approx(0, abs=1e-6)
    assert found["teacher_student_kl"].item() == pytest.approx(0, abs=1e-6)


def test_one_prototype_for_all_images_tells_nothing_either():
    found = assignment_signals(SURE[:1].expand(5, -1), torch.full((5, 4), 0.25).log())
    assert found["mean_entropy"].item() == found["mutual_information"].item() == 0


def test_half_sure_images_worked_out_by_hand():
    """Rows (½, ½, 0, 0) and (0, 0, ½, ½): log 2 each, log 4 together, so log 2 of information."""
    teacher = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    student = torch.tensor([[0.25, 0.75, 1e-9, 1e-9], [0.25, 0.25, 0.25, 0.25]]).log()
    found = assignment_signals(teacher, student)
    assert found["teacher_entropy"].item() == pytest.approx(0.5)
    assert found["mutual_information"].item() == pytest.approx(math.log(2))
    first = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert found["teacher_student_kl"].item() == pytest.approx((first + math.log(2)) / 2, rel=1e-5)


# Retrieval and weights ------------------------------------------------------------------------------------------------


def test_retrieval_counts_both_ways():
    one = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert retrieval(one, 3 * one).item() == 1
    assert retrieval(one, one.flip(0)).item() == 0
    # From the first side each finds the other's partner; from the second side the first row alone finds its own.
    assert retrieval(one, torch.tensor([[1.0, 0.2], [1.0, 0.1]])).item() == pytest.approx(0.25)


def test_equal_features_are_found_by_chance_alone():
    assert retrieval(torch.ones(10, 3), torch.ones(10, 3)).item() == pytest.approx(0.1)


def test_weight_distance_is_relative():
    teacher = [torch.tensor([3.0, 0.0]), torch.tensor([4.0])]
    student = [torch.tensor([3.0, 1.0]), torch.tensor([4.0])]
    assert weight_distance(student, teacher).item() == pytest.approx(1 / 5)
    assert weight_distance(teacher, teacher).item() == 0
