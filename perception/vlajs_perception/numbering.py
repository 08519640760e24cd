"""Which corner of a symmetric object is number 0, 1, 2...: two rules that follow from what a camera sees.

A cube turned by a quarter looks as before: nobody can tell from a picture which corner was number 0. Corners are
therefore counted from one out of all equal orientations: the nearest to a reference that depends on the view alone.
Any such rule jumps somewhere, a cube's where its yaw is 45 degrees off the reference, and near its jump a detector says
something between the two. So there are two references, and their rules jump far apart:

======================  ==========================  =====================  ==============================
object                  second reference            yaws between jumps     where the jumps repeat
======================  ==========================  =====================  ==============================
cube                    turned by 45 degrees        45 degrees             every 90 degrees
peg, box with a hole    turned by 135 degrees       45 degrees             every 180 lying, 90 standing
======================  ==========================  =====================  ==============================

A peg's references have their x axis raised by 30 degrees, else a peg on end would be as near to one as upside down. In
the air there are single directions of a peg where both rules jump, as there must be for any two rules; angles, turn and
raise are the best of a search that kept them away from lying and standing pegs (tests/perception/test_numbering.py).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from vlajs_perception.camera import Camera
from vlajs_perception.objects import ObjectModel
from vlajs_perception.symmetry import canonicalise

FloatArray = NDArray[np.float64]

NUMBERINGS = 2

_MIN_HORIZONTAL = 1e-6
_LONG_TURN_RAD = float(np.radians(135.0))
_LONG_RAISED_RAD = float(np.radians(30.0))


class NumberingError(ValueError):
    """A view from which no reference follows; the message says why."""


def view_reference(camera: Camera, middle_m: ArrayLike) -> FloatArray:
    """The upright frame that faces a camera, as a rotation matrix (3, 3) in ``panda_link0``.

    Its z is the base's; its x is level and points back to the camera, or down in the picture where the camera looks
    straight down: the level part of (object to camera) + (down in the picture, at right angles to that).

    Args:
        camera: that sees the object; any elevation from level to straight down, rolled by at most a quarter turn.
        middle_m: shape (3,), of the object, in ``panda_link0``.

    Raises:
        NumberingError: both parts cancel, or the object is not before the camera.
    """
    ray = np.asarray(middle_m, dtype=np.float64) - camera.position_in_base_m
    distance_m = float(np.linalg.norm(ray))
    right, down, forward = camera.camera_in_base[:3, :3].T
    if distance_m < _MIN_HORIZONTAL or ray @ forward <= 0:
        raise NumberingError(f"the object at {np.asarray(middle_m).tolist()} m is not before the camera")
    ray = ray / distance_m
    below = down - (down @ ray) * ray
    below /= np.linalg.norm(below)  # an object before the camera is never exactly below it
    towards = (below - ray)[:2]
    size = float(np.linalg.norm(towards))
    if size < _MIN_HORIZONTAL:
        raise NumberingError(
            f"seen by a camera whose right is {right.round(3).tolist()} and whose down is {down.round(3).tolist()} in "
            "the base, no direction is the front: the camera is upside down or looks up; turn its picture first"
        )
    x, y = towards / size
    return np.array([[x, -y, 0.0], [y, x, 0.0], [0.0, 0.0, 1.0]])


def numbered_orientations(model: ObjectModel, quat_wxyz: ArrayLike, view: FloatArray) -> FloatArray:
    """The equal orientations from which each rule counts an object's keypoints, shape (NUMBERINGS, 4).

    Keypoint i of a numbering is keypoint i of the model in this orientation. Equal orientations give equal answers.

    Args:
        model: the object, for its symmetries.
        quat_wxyz: shape (4,), its orientation in ``panda_link0``, whichever of the equal ones.
        view: shape (3, 3), of :func:`view_reference`.
    """
    facing = Rotation.from_matrix(view)
    return np.stack(
        [
            canonicalise(quat_wxyz, model.symmetries_wxyz, (facing * turn).as_quat(scalar_first=True))
            for turn in _rules(model.yaw_period_rad)
        ]
    )


def _rules(yaw_period_rad: float) -> tuple[Rotation, Rotation]:
    """From the view's reference to those of the two rules."""
    if not np.isclose(yaw_period_rad, np.pi):
        return Rotation.identity(), Rotation.from_rotvec([0.0, 0.0, yaw_period_rad / 2])
    raised = Rotation.from_rotvec([0.0, -_LONG_RAISED_RAD, 0.0])
    turned = Rotation.from_rotvec([0.0, 0.0, _LONG_TURN_RAD])
    return raised, turned * raised
