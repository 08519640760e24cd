"""The calibration itself: one least-squares fit of the camera's and the board's pose to all points of all views.

First robustly in pixels, from a linear start. Then, with the errors of pixels and tool poses estimated from what is
left, once more with each view weighted by them; the covariance of that fit says how well the camera is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vlajs_perception.calibration.errors import CalibrationError
from vlajs_perception.calibration.lens import Lens
from vlajs_perception.calibration.minimise import minimise
from vlajs_perception.calibration.noise import Noise, estimate_noise, whiteners
from vlajs_perception.calibration.problem import Free, Problem, Unknowns
from vlajs_perception.calibration.se3 import pose_of, step_between
from vlajs_perception.calibration.start import first_guess
from vlajs_perception.calibration.views import Kind, View
from vlajs_perception.rigid import inverse

FloatArray = NDArray[np.float64]

MIN_SCALE_PX = 0.02
"""Residuals below this are never taken for outliers."""
WHITE_LOSS_SCALE = 6.0
"""Standard deviations beyond which a residual loses its pull."""
MIN_INFORMATION = 1e-11
"""Least by greatest eigenvalue of the scaled information: below, some motion of the unknowns changes no pixel."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A fitted calibration.

    Attributes:
        kind: what the two poses are.
        unknowns: camera, board, lens (and the board's scale where it was free).
        covariance: shape (6, 6), of the camera's pose: m and rad along the axes of the base (eye to hand) or the tool.
        noise: size of the errors of pixels and tool poses.
        scale_sigma: standard deviation of the board's scale where it was free, else 0.
        residuals_px: per view shape (N, 2), projected less detected.
    """

    kind: Kind
    unknowns: Unknowns
    covariance: FloatArray
    noise: Noise
    scale_sigma: float
    residuals_px: tuple[FloatArray, ...]

    @property
    def position_sigma_m(self) -> float:
        """Root mean square distance to expect between the camera's true place and this one."""
        return float(np.sqrt(np.trace(self.covariance[:3, :3])))

    @property
    def rotation_sigma_rad(self) -> float:
        """Root mean square angle to expect between the camera's true orientation and this one."""
        return float(np.sqrt(np.trace(self.covariance[3:, 3:])))


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """How far a view is from what a calibration says, the error of seeing it included.

    Attributes:
        distance_m: between where the board's middle is seen and where it should be.
        angle_rad: between how it is seen turned and how it should be.
        rms_px: between points seen and where they should be.
    """

    distance_m: float
    angle_rad: float
    rms_px: float


def robust_fit(problem: Problem, start: Unknowns, free: Free) -> Unknowns:
    """The unknowns that fit most points of most views in pixels; views that disagree hardly pull."""
    unknowns = start

    def linearise(state: Unknowns) -> tuple[FloatArray, FloatArray]:
        linearised = problem.linearise(state, free)
        return linearised.residual_px.reshape(-1), linearised.by_unknowns.reshape(-1, free.count)

    for _ in range(2):
        spread = float(np.median(np.abs(problem.residual_px(unknowns))))
        unknowns = minimise(
            unknowns,
            lambda state: problem.residual_px(state).reshape(-1),
            linearise,
            free.moved,
            loss_scale=max(4.0 * spread, MIN_SCALE_PX),
        )
    return unknowns


def solve(
    kind: Kind,
    views: Sequence[View],
    lens: Lens,
    *,
    free_lens: bool = False,
    free_scale: bool = False,
    board: FloatArray | None = None,
    start: Unknowns | None = None,
) -> Solution:
    """Fit the camera's pose and what else is free.

    Args:
        kind: eye_to_hand or eye_in_hand.
        views: at least three, turned about at least two axes; :mod:`quality` says whether they are good.
        lens: the intrinsics, or a start for them.
        free_lens: refine the intrinsics too.
        free_scale: fit the board's size too.
        board: shape (4, 4), its pose in the tool (eye to hand) or base where it is known; it then stays.
        start: where to begin, where that is known; else a linear solution is found first.

    Raises:
        CalibrationError: views that leave the camera's pose open.
    """
    problem = Problem(kind, views)
    free = Free(board=board is None, lens=free_lens, scale=free_scale)
    if 2 * len(problem.pixels) < free.count:
        raise CalibrationError(f"{len(problem.pixels)} points cannot fix {free.count} numbers: add views")
    unknowns = robust_fit(problem, start or first_guess(problem, lens, board), free)
    for _ in range(2):
        about = problem.linearise(unknowns, free)
        noise = estimate_noise(about, problem.parts, free_lens)
        white = whiteners(about, problem.parts, noise)

        def whitened(values: FloatArray, white: list[FloatArray] = white) -> FloatArray:
            parts = zip(white, problem.parts, strict=True)
            return np.concatenate([w @ values[part].reshape(len(w), -1) for w, part in parts])

        def linearise(state: Unknowns) -> tuple[FloatArray, FloatArray]:
            linearised = problem.linearise(state, free)
            return whitened(linearised.residual_px)[:, 0], whitened(linearised.by_unknowns)

        unknowns = minimise(
            unknowns,
            lambda state: whitened(problem.residual_px(state))[:, 0],
            linearise,
            free.moved,
            loss_scale=WHITE_LOSS_SCALE,
        )
    derivatives = whitened(problem.linearise(unknowns, free).by_unknowns)
    covariance = _covariance(derivatives.T @ derivatives)
    residual = problem.residual_px(unknowns)
    return Solution(
        kind=kind,
        unknowns=unknowns,
        covariance=covariance[:6, :6],
        noise=noise,
        scale_sigma=float(np.sqrt(covariance[-1, -1])) if free_scale else 0.0,
        residuals_px=tuple(residual[part] for part in problem.parts),
    )


def disagreement(kind: Kind, unknowns: Unknowns, view: View, centre_m: FloatArray) -> Disagreement:
    """How far a view is from what a calibration says of it; ``centre_m`` (3,) is the board's middle in its frame."""
    problem, detection = Problem(kind, [view]), view.detection
    expected = (inverse(unknowns.camera) @ problem.links @ unknowns.board)[0]
    turn, shift = step_between(np.eye(4), expected)[3:], expected[:3, 3]
    points = unknowns.board_scale * detection.points_in_board_m
    lens = unknowns.lens
    _, turn, shift = cv2.solvePnP(
        points, detection.pixels, lens.matrix, lens.distortion, turn.copy(), shift.copy(), useExtrinsicGuess=True
    )
    seen = pose_of(turn, shift)
    apart = (seen - expected) @ np.append(unknowns.board_scale * centre_m, 1.0)
    residual = problem.residual_px(unknowns)
    return Disagreement(
        distance_m=float(np.linalg.norm(apart[:3])),
        angle_rad=float(np.linalg.norm(step_between(expected, seen)[3:])),
        rms_px=float(np.sqrt(np.mean(np.sum(residual**2, axis=-1)))),
    )


def _covariance(information: FloatArray) -> FloatArray:
    scale = np.sqrt(np.diag(information))
    if np.all(scale > 0):
        values, vectors = np.linalg.eigh(information / scale / scale[:, None])
        if values[0] > MIN_INFORMATION * values[-1]:
            return (vectors / values) @ vectors.T / scale / scale[:, None]
    raise CalibrationError(
        "these views leave the camera's pose open: some motion of camera and board changes no pixel; add views with "
        "the tool turned about another axis"
    )
