"""Symmetric positive definite systems, solved by Cholesky so that other threads go on meanwhile.

SciPy's own wrapper of LAPACK's ``potrf`` keeps the interpreter's lock while it works, and fits in threads beside each
other then wait for one another. This one calls the same routines through the addresses that SciPy publishes for Cython.

In: a system (m, m) and a right-hand side (m,), both float32 or both float64. Out: the solution (m,) in that dtype.
Source: LAPACK ``?potrf`` and ``?potrs``; ``scipy.linalg.cython_lapack``.
"""

import ctypes
from collections.abc import Callable

import numpy as np
from scipy.linalg import cython_lapack

_INT = ctypes.POINTER(ctypes.c_int)
# (uplo, n, a, lda, info) and (uplo, n, nrhs, a, lda, b, ldb, info), all by reference.
_FACTORISE = ctypes.CFUNCTYPE(None, ctypes.c_char_p, _INT, ctypes.c_void_p, _INT, _INT)
_SOLVE = ctypes.CFUNCTYPE(None, ctypes.c_char_p, _INT, _INT, ctypes.c_void_p, _INT, ctypes.c_void_p, _INT, _INT)


def solve_positive_definite(system: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solution (m,) of system·x = right by Cholesky, in the system's dtype.

    Args:
        system: (m, m) float32 or float64 in C order, m > 0. Only the diagonal and what lies right of it is read, and
            overwritten.
        right: (m,) of the same dtype; left as it is.

    Raises:
        TypeError: another dtype or order.
        numpy.linalg.LinAlgError: the system is not positive definite in this precision.
    """
    if system.dtype not in _ROUTINES or right.dtype != system.dtype or not system.flags.c_contiguous:
        raise TypeError(f"Got {system.dtype} and {right.dtype}; expected one of float32 and float64, in C order.")
    factorise, solve = _ROUTINES[system.dtype]
    solution = np.array(right, order="C")
    size, one, info = ctypes.c_int(len(system)), ctypes.c_int(1), ctypes.c_int()
    # In LAPACK's column order what lies right of the diagonal lies below it.
    factorise(b"L", size, system.ctypes.data, size, info)
    if info.value:
        raise np.linalg.LinAlgError(f"A system of {len(system)} unknowns is not positive definite in {system.dtype}.")
    solve(b"L", size, one, system.ctypes.data, size, solution.ctypes.data, size, info)
    return solution


def _routine(name: str, prototype: Callable) -> Callable:
    """A LAPACK routine as SciPy linked it; ctypes lets go of the interpreter's lock while it runs."""
    capsule = cython_lapack.__pyx_capi__[name]
    name_of, address_of = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    address_of.restype, address_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return prototype(address_of(capsule, name_of(capsule)))


_ROUTINES = {
    np.dtype(kind): (_routine(f"{letter}potrf", _FACTORISE), _routine(f"{letter}potrs", _SOLVE))
    for kind, letter in ((np.float32, "s"), (np.float64, "d"))
}
