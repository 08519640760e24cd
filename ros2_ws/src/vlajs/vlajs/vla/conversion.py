"""The one place where a VLA's actions become the project's own, ``base_delta``.

``base_delta``: a translation in metres and a rotation vector in radians, both in the robot base's axes, the rotation
composed on the left (``R_new = exp(v) R_tool``); the gripper in [-1, 1], 1 open.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from vlajs.geometry import quat_of, rotation
from vlajs.vla.convention import EULER_SEQUENCES, QUATERNIONS, RIGHT, ROTATION_VECTOR, TOOL, Convention
from vlajs.vla.errors import BadAnswerError, ConventionError

FloatArray = NDArray[np.float64]

BASE_DELTA = "base_delta"
"""Name of the project's own convention."""
MAX_TRANSLATION_M = 0.5
MAX_ROTATION_RAD = math.pi
GRIPPER_TOLERANCE = 0.5
"""A gripper up to this far outside [-1, 1] is clipped; beyond, the answer is in another range than was agreed."""
QUATERNION_TOLERANCE = 0.01


def to_base_delta(
    actions: ArrayLike,
    convention: Convention,
    tool_quat_in_base_wxyz: ArrayLike | None = None,
    *,
    max_translation_m: float = MAX_TRANSLATION_M,
    max_rotation_rad: float = MAX_ROTATION_RAD,
) -> FloatArray:
    """Actions of a convention in the project's own.

    Args:
        actions: (B, 7), with a quaternion (B, 8), in ``convention``.
        convention: what they mean.
        tool_quat_in_base_wxyz: (B, 4) orientation of the tool in the base when the images were taken; needed where
            ``convention.needs_tool_pose``.
        max_translation_m: a longer translation is refused.
        max_rotation_rad: a larger rotation is refused.

    Returns:
        (B, 7) ``base_delta``: m (3), rad (3), gripper in [-1, 1] (1).

    Raises:
        ConventionError: the tool's orientation is needed and missing or no rotation.
        BadAnswerError: a wrong shape, or a number that no arm could follow or that must be meant in another convention.
    """
    actions = np.asarray(actions, dtype=np.float64)
    if actions.ndim != 2 or actions.shape[1] != convention.action_size:
        raise BadAnswerError(f"actions of shape {actions.shape}, expected (B, {convention.action_size})")
    if not np.isfinite(actions).all():
        raise BadAnswerError("actions hold NaN or infinity: no arm can follow them")
    if len(actions) == 0:
        return np.zeros((0, 7))
    translation = actions[:, :3] * convention.translation_scale_m
    _check_norm(translation, max_translation_m, "m", "translation", "translation_scale_m")
    delta = _rotation_of(actions[:, 3:-1], convention, max_rotation_rad)
    tool = _tool_rotation(tool_quat_in_base_wxyz, len(actions)) if convention.needs_tool_pose else None
    camera = None if convention.frame_quat_in_base_wxyz is None else rotation(convention.frame_quat_in_base_wxyz)
    axes = tool if convention.frame == TOOL else camera
    if axes is not None:
        translation = axes.apply(translation)
    turned = tool if convention.composition == RIGHT else camera
    if turned is not None:
        delta = turned * delta * turned.inv()
    return np.column_stack([translation, delta.as_rotvec(), _gripper_of(actions[:, -1], convention)])


def chunks_to_base_delta(
    chunks: ArrayLike,
    convention: Convention,
    tool_quat_in_base_wxyz: ArrayLike | None = None,
    *,
    max_translation_m: float = MAX_TRANSLATION_M,
    max_rotation_rad: float = MAX_ROTATION_RAD,
) -> FloatArray:
    """:func:`to_base_delta` for chunks (B, K, 7 or 8): each action turns the tool the next one is relative to.

    Returns:
        (B, K, 7).

    Raises:
        ConventionError, BadAnswerError: as :func:`to_base_delta`.
    """
    chunks = np.asarray(chunks, dtype=np.float64)
    if chunks.ndim != 3:
        raise BadAnswerError(f"chunks of shape {chunks.shape}, expected (B, K, {convention.action_size})")
    tool, converted = tool_quat_in_base_wxyz, np.zeros((len(chunks), chunks.shape[1], 7))
    for step in range(chunks.shape[1]):
        converted[:, step] = delta = to_base_delta(
            chunks[:, step], convention, tool, max_translation_m=max_translation_m, max_rotation_rad=max_rotation_rad
        )
        if tool is not None and len(chunks):
            tool = quat_of(Rotation.from_rotvec(delta[:, 3:6]) * rotation(tool))
    return converted


def _rotation_of(numbers: FloatArray, convention: Convention, max_rotation_rad: float) -> Rotation:
    if convention.rotation in QUATERNIONS:
        norm = np.linalg.norm(numbers, axis=1)
        if np.any(np.abs(norm - 1.0) > QUATERNION_TOLERANCE):
            worst = norm[np.abs(norm - 1.0).argmax()]
            raise BadAnswerError(f"a quaternion of norm {worst:.3g}: it must be 1, is {convention.rotation!r} right?")
        turn = Rotation.from_quat(numbers, scalar_first=convention.rotation == "quaternion_wxyz")
        angle = turn.magnitude()
        if angle.max() > max_rotation_rad:
            raise _out_of_range(angle.max(), max_rotation_rad, "rad", "rotation", "rotation")
        return turn
    angles = numbers * convention.rotation_scale_rad
    _check_norm(angles, max_rotation_rad, "rad", "rotation", "rotation_scale_rad")
    if convention.rotation == ROTATION_VECTOR:
        return Rotation.from_rotvec(angles)
    return Rotation.from_euler(EULER_SEQUENCES[convention.rotation], angles)


def _gripper_of(numbers: FloatArray, convention: Convention) -> FloatArray:
    closed, opened = convention.gripper_closed, convention.gripper_open
    gripper = 2.0 * (numbers - closed) / (opened - closed) - 1.0
    if np.any(np.abs(gripper) > 1.0 + GRIPPER_TOLERANCE):
        worst = numbers[np.abs(gripper).argmax()]
        raise BadAnswerError(
            f"gripper {worst:.3g} is outside {closed:g} (closed) to {opened:g} (open): "
            "the server means another range; correct gripper_open and gripper_closed of the convention"
        )
    return gripper.clip(-1.0, 1.0)


def _tool_rotation(quat_wxyz: ArrayLike | None, count: int) -> Rotation:
    if quat_wxyz is None:
        raise ConventionError(
            "actions are relative to the tool: give tool_quat_in_base_wxyz, its orientation when the image was taken"
        )
    quat = np.asarray(quat_wxyz, dtype=np.float64)
    if quat.shape != (count, 4):
        raise ConventionError(
            f"tool_quat_in_base_wxyz has shape {quat.shape}, expected {(count, 4)}, one for each image"
        )
    if not np.all(np.abs(np.linalg.norm(quat, axis=1) - 1.0) < 1e-3):
        raise ConventionError("tool_quat_in_base_wxyz holds quaternions whose norm is not 1")
    return rotation(quat)


def _check_norm(vectors: FloatArray, limit: float, unit: str, what: str, scale: str) -> None:
    largest = np.linalg.norm(vectors, axis=1).max()
    if largest > limit:
        raise _out_of_range(largest, limit, unit, what, scale)


def _out_of_range(value: float, limit: float, unit: str, what: str, cause: str) -> BadAnswerError:
    return BadAnswerError(
        f"a {what} of {value:.3g} {unit}, at most {limit:.3g} {unit} are believed: "
        f"a wrong {cause} or unnorm_key is the likely cause; correct the convention"
    )
