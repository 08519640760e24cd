"""The ways in which a box-shaped object can rest on a table: which of its faces is down.

An object's model lies with its own z axis up. A peg also stands on its end, and a symmetric object's corners may have
been counted from another face: the same object, turned by quarters, is then the model that lies.
"""

from dataclasses import dataclass, replace

import numpy as np

from vlajs_perception.estimate import Estimate
from vlajs_perception.objects import ObjectModel
from vlajs_perception.rigid import FloatArray, matrix_of, quat_of

_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class Resting:
    """An object as it rests on one of its faces.

    Attributes:
        model: the object with its axes turned so that its z is up as it rests; its keypoints keep their order.
        turn: shape (3, 3), a quarter or half turn, from the object's own axes to those of ``model``.
    """

    model: ObjectModel
    turn: FloatArray

    def own(self, estimate: Estimate) -> Estimate:
        """A pose of ``model`` as the pose of the object itself. The origin is the same, so the covariance is too."""
        return replace(estimate, quat_wxyz=quat_of(matrix_of(estimate.quat_wxyz) @ self.turn))


def resting_on(model: ObjectModel, rotation: FloatArray) -> tuple[Resting, float]:
    """How an object in this orientation would rest if it were let down, and how far it is turned from that.

    Args:
        model: the object.
        rotation: shape (3, 3), object to base.

    Returns:
        The object as it rests on the face that points down most, and the angle in rad between that face and the table.
    """
    up_in_object = rotation.T @ _UP
    axis = int(np.argmax(np.abs(up_in_object)))
    up = np.zeros(3)
    up[axis] = np.sign(up_in_object[axis])
    turn = _turn_up(up)
    symmetries = turn @ matrix_of(model.symmetries_wxyz) @ turn.T
    turned = ObjectModel(
        name=model.name,
        half_size_m=np.abs(turn) @ model.half_size_m,
        keypoints_m=model.keypoints_m @ turn.T,
        symmetries_wxyz=quat_of(symmetries),
    )
    return Resting(model=turned, turn=turn), float(np.arccos(np.clip(np.abs(up_in_object[axis]), 0.0, 1.0)))


def _turn_up(up: FloatArray) -> FloatArray:
    """The turn, shape (3, 3), that takes an axis of an object (a signed unit vector) to z."""
    if abs(up[2]) == 1.0:
        return np.diag([1.0, up[2], up[2]])  # nothing, or half a turn about x
    # a quarter turn about the axis that is across both
    across = np.cross(up, _UP)
    return np.outer(across, across) + np.outer(_UP, up) - np.outer(up, _UP)
