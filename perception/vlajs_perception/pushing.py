"""An object that closed fingers push is before them, however old the last image is.

While it is pushed an object moves by centimetres between two images. Where the tool has been since is known, and that
nothing is inside the fingers.
"""

import itertools
from dataclasses import replace

import numpy as np

from vlajs_perception.estimate import UNOBSERVED_RAD, Estimate
from vlajs_perception.objects import ObjectModel
from vlajs_perception.rigid import FloatArray, matrix_of
from vlajs_perception.sight import gap_m

_STEP_M = 2e-3
_SLIP = 0.3
"""Of how far an object is pushed, the standard deviation of where it ends: it slides off and turns, as a push goes."""


def pushed_along(pose: Estimate, model: ObjectModel, path_m: FloatArray, finger_m: float) -> Estimate:
    """The pose after closed fingers went along a path: what was in their way went with them, we know not how exactly.

    Args:
        pose: of the object when they were at the path's beginning, in ``panda_link0``.
        model: of the object.
        path_m: shape (n, 3), where the middle of the fingers was, in order.
        finger_m: from there to the fingers' surface.
    """
    seen_at_m = pose.position_m
    top_m = pose.position_m[2] + np.abs(matrix_of(pose.quat_wxyz)[2]) @ model.half_size_m
    for before_m, after_m in itertools.pairwise(path_m):
        level = (after_m - before_m) * [1.0, 1.0, 0.0]
        length_m = float(np.linalg.norm(level))
        # above its top, fingers press on an object and push nothing
        if length_m < 1e-6 or after_m[2] > top_m:
            continue
        for share in np.linspace(0.0, 1.0, 2 + int(length_m / _STEP_M)):
            pose = _clear_of(pose, model, before_m + share * (after_m - before_m), level / length_m, finger_m)
    return _less_certain(pose, model, float(np.linalg.norm(pose.position_m - seen_at_m)))


def _less_certain(pose: Estimate, model: ObjectModel, pushed_m: float) -> Estimate:
    """The pose with what a push over this distance leaves open, on the table's plane."""
    off_m = _SLIP * pushed_m
    off_rad = min(off_m / float(np.min(model.half_size_m)), UNOBSERVED_RAD)
    return replace(pose, covariance=pose.covariance + np.diag([off_m, off_m, 0.0, 0.0, 0.0, off_rad]) ** 2)


def _clear_of(pose: Estimate, model: ObjectModel, tool_m: FloatArray, way: FloatArray, finger_m: float) -> Estimate:
    """The pose, moved along the way of the fingers until it is clear of them."""
    longest_m = finger_m + 2 * float(np.linalg.norm(model.half_size_m))
    for _ in range(int(longest_m / _STEP_M)):
        short_m = finger_m - gap_m(pose, model, tool_m)
        if short_m <= 1e-4:
            break
        pose = replace(pose, position_m=pose.position_m + min(short_m, _STEP_M) * way)
    return pose
