"""Robust least squares over unknowns that are not a vector: Levenberg-Marquardt with small steps."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
State = TypeVar("State")

MAX_ITERATIONS = 200
ENOUGH = 1e-10
"""Stop when the next step promises to lower the cost by less than this share of it."""


def minimise(
    start: State,
    residuals: Callable[[State], FloatArray],
    linearise: Callable[[State], tuple[FloatArray, FloatArray]],
    moved: Callable[[State, FloatArray], State],
    *,
    loss_scale: float,
) -> State:
    """The state near ``start`` with the least robust cost (Cauchy's: a residual far beyond the scale hardly pulls).

    Args:
        start: where to begin.
        residuals: of a state, shape (R,).
        linearise: of a state, residuals (R,) and their derivatives (R, P) by a step.
        moved: a state after a step (P,).
        loss_scale: residuals well below it count as in ordinary least squares.
    """
    state, damping = start, 1e-4
    cost = _cost(residuals(state), loss_scale)
    for _ in range(MAX_ITERATIONS):
        residual, derivatives = linearise(state)
        weighted = derivatives / (1 + (residual / loss_scale) ** 2)[:, None]
        curvature, slope = derivatives.T @ weighted, weighted.T @ residual
        diagonal = np.diag(np.maximum(np.diag(curvature), 1e-12))
        while True:
            step = np.asarray(np.linalg.solve(curvature + damping * diagonal, -slope), dtype=np.float64)
            if -slope @ step <= ENOUGH * cost * loss_scale**2:
                return state
            candidate = moved(state, step)
            candidate_cost = _cost(residuals(candidate), loss_scale)
            if candidate_cost < cost:
                break
            damping *= 10
        state, cost, damping = candidate, candidate_cost, max(damping / 10, 1e-12)
    return state


def _cost(residual: FloatArray, scale: float) -> float:
    return float(np.sum(np.log1p((residual / scale) ** 2)))
