"""How large the errors of pixels and of tool poses are, from what a fit leaves over, and weights that follow from it.

Every point has an error of its own; all points of a view share the error of its tool pose (an arm's poses are off by
more than its repeatability says). Counting the points of a view as independent would state far too small an
uncertainty. The two sizes of tool error are those of greatest restricted likelihood: it allows for the unknowns fitted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from vlajs_perception.calibration.problem import Linearised

FloatArray = NDArray[np.float64]

MIN_PIXEL_SIGMA = 1e-3
"""No detector is better; a smaller estimate comes from made-up pixels."""
TOOL_SIGMA_M = (1e-6, 3e-2)
TOOL_SIGMA_RAD = (1e-6, 1e-1)
TOOL_STARTS = [(1e-5, 2e-5), (1e-4, 2e-4), (5e-4, 1e-3), (3e-3, 6e-3)]


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Standard deviations along each axis.

    Attributes:
        pixel_px: of a detected point.
        tool_m: of the position of a tool pose.
        tool_rad: of its rotation.
    """

    pixel_px: float
    tool_m: float
    tool_rad: float

    @property
    def tool_sigmas(self) -> FloatArray:
        """Of the six numbers of a step of the tool."""
        return np.repeat([self.tool_m, self.tool_rad], 3)


def estimate_noise(linearised: Linearised, parts: list[slice], free_lens: bool) -> Noise:
    """The noise of views whose points are ``parts`` of what was linearised at the best fit."""
    inside, freedom = 0.0, -9 if free_lens else 0
    for part in parts:
        residual = linearised.residual_px[part].reshape(-1)
        basis = np.linalg.svd(linearised.by_tool[part].reshape(-1, 6), full_matrices=False)[0]
        inside += float(residual @ residual - np.sum((basis.T @ residual) ** 2))
        freedom += len(residual) - 6
    pixel = max(np.sqrt(max(inside, 0.0) / max(freedom, 1)), MIN_PIXEL_SIGMA)

    # Per view, everything the likelihood needs, in units of the pixel error.
    tool, crossed, together = _grams(linearised, parts, pixel)
    bounds = [tuple(np.log(TOOL_SIGMA_M)), tuple(np.log(TOOL_SIGMA_RAD))]

    def loss(logs: FloatArray) -> float:
        sigmas = np.repeat(np.exp(logs), 3)
        # inverse(1 + K Q K^T) = 1 - K S (1 + S K^T K S)^-1 S K^T, with S the root of Q
        inner = np.eye(6) + sigmas[:, None] * tool * sigmas
        scaled = sigmas[:, None] * crossed
        taken = np.swapaxes(scaled, -1, -2) @ np.linalg.solve(inner, scaled)
        whole = together - np.sum(taken, axis=0)
        information, slope, square = whole[:-1, :-1], whole[:-1, -1], whole[-1, -1]
        scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
        information, slope = information / scale / scale[:, None], slope / scale
        fitted = slope @ np.linalg.lstsq(information, slope, rcond=None)[0]
        return float(
            np.sum(np.linalg.slogdet(inner)[1])
            + np.linalg.slogdet(information)[1]
            + 2 * np.sum(np.log(scale))
            + square
            - fitted
        )

    start = min((np.log(pair) for pair in TOOL_STARTS), key=loss)
    options = {"xatol": 0.02, "fatol": 0.01}  # to 2 %: views say less
    found = minimize(loss, start, method="Nelder-Mead", bounds=bounds, options=options)
    tool_m, tool_rad = np.exp(found.x)
    return Noise(pixel_px=float(pixel), tool_m=float(tool_m), tool_rad=float(tool_rad))


def whiteners(linearised: Linearised, parts: list[slice], noise: Noise) -> list[FloatArray]:
    """Matrices (2 N, 2 N), one a view, that make its residuals independent and of unit size."""
    result = []
    for part in parts:
        basis, sizes, _ = np.linalg.svd(
            linearised.by_tool[part].reshape(-1, 6) * noise.tool_sigmas, full_matrices=False
        )
        shrink = 1 - noise.pixel_px / np.hypot(noise.pixel_px, sizes)
        result.append((np.eye(len(basis)) - (basis * shrink) @ basis.T) / noise.pixel_px)
    return result


def _grams(linearised: Linearised, parts: list[slice], pixel_px: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """K^T K (G, 6, 6) and K^T [J r] (G, 6, P + 1) of each of G views, and the sum of [J r]^T [J r] over them."""
    tool, crossed, together = [], [], []
    for part in parts:
        by_tool = linearised.by_tool[part].reshape(-1, 6) / pixel_px
        by_unknowns = linearised.by_unknowns[part].reshape(len(by_tool), -1)
        both = np.concatenate([by_unknowns, linearised.residual_px[part].reshape(-1, 1)], axis=1) / pixel_px
        tool.append(by_tool.T @ by_tool)
        crossed.append(by_tool.T @ both)
        together.append(both.T @ both)
    return np.stack(tool), np.stack(crossed), np.sum(together, axis=0)
