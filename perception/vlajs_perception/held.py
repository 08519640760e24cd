"""Where an object is that the gripper holds: where the tool is, and how the object lay in it when it was last seen."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlajs_perception.estimate import Estimate, PoseError
from vlajs_perception.objects import ObjectModel
from vlajs_perception.rigid import checked_transform, inverse, quat_of, skew
from vlajs_perception.symmetry import canonicalise

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Grasp:
    """How an object lies in the gripper.

    Attributes:
        object_in_tool: shape (4, 4), fixed while it is held.
        covariance: shape (6, 6), of its error: position (m), then rotation vector (rad), in the tool's axes.
    """

    object_in_tool: FloatArray
    covariance: FloatArray


@dataclass(frozen=True, kw_only=True)
class HeldSettings:
    """How well a held object is known besides where it was seen.

    Attributes:
        tool_std_m: standard deviation of the tool's position, in each axis.
        tool_std_rad: standard deviation of the tool's rotation, about each axis.
        slip_std_m: how far closing the gripper may move the object, in each axis.
        slip_std_rad: how far it may turn it, about each axis.

    Raises:
        ValueError: one that is not positive and finite.
    """

    tool_std_m: float = 5e-4
    tool_std_rad: float = 2e-3
    slip_std_m: float = 3e-3
    slip_std_rad: float = 0.05

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}, it must be positive and finite")


def grasp_of(seen: Estimate, tool_in_base: ArrayLike, *, settings: HeldSettings | None = None) -> Grasp:
    """What the gripper holds, from where the object was last seen and where the tool was when it closed.

    Args:
        seen: the object, at rest between then and the closing of the gripper.
        tool_in_base: shape (4, 4), at the closing.
        settings: the slip is added here, the tool's error in ``fit_held``.

    Raises:
        TransformError: ``tool_in_base`` is no rigid motion.
    """
    settings = settings or HeldSettings()
    base_in_tool = inverse(checked_transform(tool_in_base, "tool_in_base"))
    turn = _both(base_in_tool[:3, :3])
    slip = np.diag([settings.slip_std_m**2] * 3 + [settings.slip_std_rad**2] * 3)
    return Grasp(object_in_tool=base_in_tool @ seen.object_in_base, covariance=turn @ seen.covariance @ turn.T + slip)


def fit_held(
    model: ObjectModel,
    grasp: Grasp,
    tool_in_base: ArrayLike,
    *,
    near_wxyz: ArrayLike = (1.0, 0.0, 0.0, 0.0),
    settings: HeldSettings | None = None,
) -> Estimate:
    """The pose of an object that moves with the gripper. No pixel is looked at.

    Args:
        model: the object.
        grasp: from ``grasp_of``.
        tool_in_base: shape (4, 4), now.
        near_wxyz: shape (4,), the track's orientation, whose branch is taken.
        settings: the tool's error is added here.

    Returns:
        An estimate of source ``held``.

    Raises:
        TransformError: ``tool_in_base`` is no rigid motion.
        PoseError: a grasp whose numbers are none.
    """
    settings = settings or HeldSettings()
    tool = checked_transform(tool_in_base, "tool_in_base")
    held = tool @ checked_transform(grasp.object_in_tool, "object_in_tool")
    if grasp.covariance.shape != (6, 6):
        raise PoseError(f"the grasp's covariance has shape {grasp.covariance.shape}, it must be (6, 6)")
    turn = _both(tool[:3, :3])
    # a tool that is turned by v moves the object by v x arm
    by_tool = np.eye(6)
    by_tool[:3, 3:] = -skew(held[:3, 3] - tool[:3, 3])
    tool_error = np.diag([settings.tool_std_m**2] * 3 + [settings.tool_std_rad**2] * 3)
    covariance = turn @ grasp.covariance @ turn.T + by_tool @ tool_error @ by_tool.T
    return Estimate(
        position_m=held[:3, 3],
        quat_wxyz=canonicalise(quat_of(held[:3, :3]), model.symmetries_wxyz, near_wxyz),
        covariance=(covariance + covariance.T) / 2,
        source="held",
    )


def _both(turn: FloatArray) -> FloatArray:
    """A rotation (3, 3) of position and rotation vector alike, shape (6, 6)."""
    return np.asarray(np.kron(np.eye(2), turn), dtype=np.float64)
