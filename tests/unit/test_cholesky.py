"""Positive definite systems are solved right, and other threads go on meanwhile."""

import threading
import time

import numpy as np
import pytest

from fmlab.adapt.cholesky import solve_positive_definite


def system(size: int, dtype: type) -> np.ndarray:
    factors = np.random.default_rng(0).standard_normal((size, size))
    return (factors @ factors.T / size + np.eye(size)).astype(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-4), (np.float64, 1e-10)])
@pytest.mark.parametrize("size", [1, 2, 50])
def test_the_solution_is_that_of_numpy(size, dtype, tolerance):
    matrix, right = system(size, dtype), np.arange(1, size + 1).astype(dtype)
    expected = np.linalg.solve(matrix.astype(np.float64), right)
    found = solve_positive_definite(matrix, right)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(right, np.arange(1, size + 1))


def test_what_lies_left_of_the_diagonal_is_not_read():
    matrix = system(5, np.float64)
    expected = np.linalg.solve(matrix, np.ones(5))
    matrix[np.tril_indices(5, -1)] = np.nan
    np.testing.assert_allclose(solve_positive_definite(matrix, np.ones(5)), expected)


def test_an_indefinite_system_is_refused():
    with pytest.raises(np.linalg.LinAlgError, match="2 unknowns is not positive definite in float64"):
        solve_positive_definite(np.array([[1.0, 2.0], [2.0, 1.0]]), np.ones(2))


@pytest.mark.parametrize(
    ("matrix", "right"),
    [
        (np.eye(2, dtype=np.int64), np.ones(2)),
        (np.eye(2), np.ones(2, np.float32)),
        (np.asfortranarray(np.ones((2, 2)) + np.eye(2)), np.ones(2)),
    ],
)
def test_another_dtype_or_order_is_refused(matrix, right):
    with pytest.raises(TypeError, match="expected one of float32 and float64, in C order"):
        solve_positive_definite(matrix, right)


def test_other_threads_go_on_while_a_large_system_is_solved():
    beats, over = [], threading.Event()

    def beat() -> None:
        while not over.wait(0.001):
            beats.append(time.perf_counter())

    matrix = 2 * np.eye(3000)
    thread = threading.Thread(target=beat)
    thread.start()
    began = time.perf_counter()
    solve_positive_definite(matrix, np.ones(3000))
    ended = time.perf_counter()
    over.set()
    thread.join()
    inside = [moment for moment in beats if began + 0.2 * (ended - began) < moment < ended - 0.2 * (ended - began)]
    assert len(inside) >= 3
