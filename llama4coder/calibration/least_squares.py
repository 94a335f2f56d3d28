"""Least squares without negative coefficients: Lawson and Hanson, "Solving Least Squares Problems" (1974), chapter 23.

scipy has it too, and nothing else here needs scipy.
"""

import numpy as np
from numpy.typing import NDArray

_TOLERANCE = 1e-10

Floats = NDArray[np.float64]


def solve_non_negative(matrix: Floats, wanted: Floats) -> Floats:
    """The x of no negative element for which `matrix @ x` is nearest to `wanted`; a column of zeros gets 0."""
    scales: Floats = np.linalg.norm(matrix, axis=0)
    scales[scales == 0] = 1.0
    scaled = matrix / scales
    solution: Floats = np.zeros(matrix.shape[1])
    is_free = np.zeros(matrix.shape[1], dtype=bool)
    for _ in range(3 * matrix.shape[1]):
        gain = scaled.T @ (wanted - scaled @ solution)
        gain[is_free] = 0.0
        if gain.max(initial=0.0) <= _TOLERANCE * max(1.0, float(np.linalg.norm(wanted))):
            break
        is_free[int(gain.argmax())] = True
        solution = _feasible(scaled, wanted, solution, is_free)
    unscaled: Floats = solution / scales
    return unscaled


def _feasible(matrix: Floats, wanted: Floats, solution: Floats, is_free: NDArray[np.bool_]) -> Floats:
    """Solve for the free columns, and bind those again that would be negative; `is_free` is changed."""
    while True:
        trial = np.zeros_like(solution)
        trial[is_free] = np.linalg.lstsq(matrix[:, is_free], wanted, rcond=None)[0]
        negative = is_free & (trial <= 0)
        if not negative.any():
            return trial
        steps = solution[negative] / (solution[negative] - trial[negative])
        solution = solution + steps.min() * (trial - solution)
        is_free &= solution > _TOLERANCE
        solution[~is_free] = 0.0
