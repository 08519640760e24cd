"""Where to begin: a linear solution of ``link @ board = camera @ board_in_camera``, not spoilt by a few wrong views."""

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vlajs_perception.calibration.board import AprilTag, Board
from vlajs_perception.calibration.errors import CalibrationError
from vlajs_perception.calibration.lens import Lens
from vlajs_perception.calibration.problem import Problem, Unknowns
from vlajs_perception.calibration.se3 import nearest_rotation, pose_of
from vlajs_perception.calibration.views import View
from vlajs_perception.rigid import inverse

FloatArray = NDArray[np.float64]

SUBSETS = 24
"""How many groups of views are tried; with a fifth of the views wrong, 2 in 5 groups of four are right."""
SUBSET_SIZE = 4
MIN_VIEWS_FOR_LENS = 6


def estimate_lens(board: Board, views: Sequence[View], image_size: tuple[int, int]) -> Lens:
    """The intrinsics from the images alone, a start for the joint fit.

    Raises:
        CalibrationError: too few views, or a tag, which is too small for it.
    """
    if isinstance(board, AprilTag) or len(views) < MIN_VIEWS_FOR_LENS:
        raise CalibrationError(
            f"the lens is not known and cannot be estimated from {len(views)} views of {board.describe()}: give its "
            f"matrix and distortion (camera_info has them), or take {MIN_VIEWS_FOR_LENS} views of a ChArUco board"
        )
    points = [view.detection.points_in_board_m.astype(np.float32) for view in views]
    pixels = [view.detection.pixels.astype(np.float32) for view in views]
    width, height = image_size
    guess = np.array([[width, 0, width / 2 - 0.5], [0, width, height / 2 - 0.5], [0, 0, 1.0]])
    _, matrix, distortion, _, _ = cv2.calibrateCamera(
        points, pixels, image_size, guess, np.zeros(5), flags=cv2.CALIB_USE_INTRINSIC_GUESS
    )
    return Lens(
        matrix=np.asarray(matrix, dtype=np.float64),
        distortion=np.asarray(distortion, dtype=np.float64).reshape(-1)[:5],
        image_size=image_size,
    )


def boards_in_camera(view: View, lens: Lens) -> list[FloatArray]:
    """The poses (4, 4) of the board that fit a view alone, best first: a flat board has up to two.

    Raises:
        CalibrationError: the points fix no pose.
    """
    detection = view.detection
    found, turns, shifts, _ = cv2.solvePnPGeneric(
        detection.points_in_board_m, detection.pixels, lens.matrix, lens.distortion, flags=cv2.SOLVEPNP_IPPE
    )
    if not found:
        raise CalibrationError(
            f"the {len(detection.ids)} points of view {view.number} fix no pose of the board: remove the view"
        )
    return [pose_of(turn, shift) for turn, shift in zip(turns, shifts, strict=True)]


def first_guess(problem: Problem, lens: Lens, board: FloatArray | None = None) -> Unknowns:
    """Unknowns to start from; ``board`` (4, 4) is its pose where that is known.

    Raises:
        CalibrationError: a view's points fix no pose of the board.
    """
    choices = [boards_in_camera(view, lens) for view in problem.views]
    chosen = np.stack([poses[0] for poses in choices])
    if board is not None:
        cameras = problem.links @ board @ inverse(chosen)
        return _best(problem, [Unknowns(camera=camera, board=board, lens=lens) for camera in cameras])
    count = len(chosen)
    groups = [np.arange(count)]
    random = np.random.default_rng(0)
    if count > SUBSET_SIZE:
        groups += [random.choice(count, SUBSET_SIZE, replace=False) for _ in range(SUBSETS)]
    best = _best(problem, [_linear(problem.links[group], chosen[group], lens) for group in groups])
    for _ in range(3):  # of a view's two poses take the one that agrees with the others, leave out those that do not
        predicted = inverse(best.camera) @ problem.links @ best.board
        chosen = np.stack([_nearest(poses, pose) for poses, pose in _pairs(choices, predicted)])
        errors = _rms_of_views(problem, best)
        keep = np.flatnonzero(errors <= 3 * np.median(errors))
        best = _best(problem, [best, _linear(problem.links[keep], chosen[keep], lens)])
    return best


def _linear(links: FloatArray, boards: FloatArray, lens: Lens) -> Unknowns:
    """Rotations from the smallest singular vector of their linear equation, then positions by least squares."""
    rows = [
        np.hstack([np.kron(a[:3, :3], np.eye(3)), -np.kron(np.eye(3), c[:3, :3].T)]) for a, c in _pairs(links, boards)
    ]
    solution = np.linalg.svd(np.concatenate(rows))[2][-1]
    solution = solution * np.sign(np.linalg.det(solution[9:].reshape(3, 3)) or 1.0)
    board, camera = np.eye(4), np.eye(4)
    board[:3, :3] = nearest_rotation(solution[:9].reshape(3, 3))
    camera[:3, :3] = nearest_rotation(solution[9:].reshape(3, 3))
    sides = np.concatenate([np.hstack([a[:3, :3], -np.eye(3)]) for a in links])
    right = np.concatenate([camera[:3, :3] @ c[:3, 3] - a[:3, 3] for a, c in _pairs(links, boards)])
    positions = np.linalg.lstsq(sides, right, rcond=None)[0]
    board[:3, 3], camera[:3, 3] = positions[:3], positions[3:]
    return Unknowns(camera=camera, board=board, lens=lens)


def _pairs(left: Iterable[Any], right: FloatArray) -> zip:
    return zip(left, right, strict=True)


def _nearest(poses: list[FloatArray], to: FloatArray) -> FloatArray:
    """The pose that is turned least from another."""
    return max(poses, key=lambda pose: float(np.sum(pose[:3, :3] * to[:3, :3])))


def _rms_of_views(problem: Problem, unknowns: Unknowns) -> FloatArray:
    squares = np.sum(problem.residual_px(unknowns) ** 2, axis=-1)
    return np.sqrt([np.mean(squares[part]) for part in problem.parts])


def _best(problem: Problem, candidates: Sequence[Unknowns]) -> Unknowns:
    """The one that fits half of the views best."""
    return min(candidates, key=lambda unknowns: float(np.median(_rms_of_views(problem, unknowns))))
