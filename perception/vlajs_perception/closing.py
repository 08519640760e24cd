"""What closing fingers do to the object between them, however old the last image is.

A hand that is told to close begins late, and the tool often still comes down meanwhile: until a finger touches it, the
object stays where it is. Then the fingers push it to the middle and turn it flush, and once both touch it and have come
to rest it goes with the tool, but not into the table. Where tool and fingers have been since the last image is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlajs_perception.estimate import Estimate
from vlajs_perception.estimator_settings import EstimatorSettings, GraspSettings
from vlajs_perception.held import Grasp, fit_held, grasp_of
from vlajs_perception.objects import ObjectModel
from vlajs_perception.rigid import FloatArray, exp, matrix_of, quat_of
from vlajs_perception.sight import gap_m
from vlajs_perception.tool_history import HandMoment

_SHARES = np.linspace(1.0, 0.0, 11)
"""Of an object's turn from flush, tried from what it has to none."""

_DROPPED_STD_M, _DROPPED_STD_RAD = 0.015, 0.15
"""In each axis; enough for the next image to be believed, not too much to go on with until then."""


@dataclass(frozen=True, kw_only=True)
class InHand:
    """An object between closing fingers, or out of them.

    Attributes:
        pose: of the object, in ``panda_link0``.
        grasp: how it lies in the gripper; None until both fingers rest on it, and after they have let go of it.
        dropped: whether they have.
    """

    pose: Estimate
    grasp: Grasp | None = None
    dropped: bool = False


def follow(in_hand: InHand, model: ObjectModel, moments: Sequence[HandMoment], settings: EstimatorSettings) -> InHand:
    """Where the object is after some moments, in order.

    A hand that is told to open holds until its fingers come apart, and fingers that come together further than the
    object is wide have lost it: then it lies on the table beneath.

    Raises:
        TransformError: a moment's pose is no rigid motion.
    """
    for index, moment in enumerate(moments):
        # what is held is where the tool is last, whatever was its way
        kept = moment.gripper.grips and may_hold(in_hand.pose, model, moment, settings.grasp)
        kept = kept and in_hand.grasp is not None and _sunk_m(in_hand.grasp, model, moment, settings) <= 0.0
        if not kept or index == len(moments) - 1:
            in_hand = _after(in_hand, model, moment, settings)
    return in_hand


def may_hold(pose: Estimate, model: ObjectModel, moment: HandMoment, settings: GraspSettings) -> bool:
    """Whether something as wide as the object can be between the fingers; so taken where their width is not known."""
    facing, _ = _facing(pose, moment.tool_in_base)
    least_m = 2.0 * float(model.half_size_m[facing])
    return moment.gripper.width_m is None or moment.gripper.width_m >= least_m - settings.soft_m


def _after(in_hand: InHand, model: ObjectModel, moment: HandMoment, settings: EstimatorSettings) -> InHand:
    grasp, tool, width_m = in_hand.grasp, moment.tool_in_base, moment.gripper.width_m
    if grasp is None:
        return _taken(in_hand, model, moment, settings.grasp) if moment.gripper.grips else in_hand
    pose = fit_held(model, grasp, tool, near_wxyz=in_hand.pose.quat_wxyz, settings=settings.grasp.held)
    let_go = not moment.gripper.grips and not _touched(pose, model, moment, settings.grasp)
    if let_go or not may_hold(pose, model, moment, settings.grasp):
        return InHand(pose=_fallen(pose, model, settings.table.height_m), dropped=True)
    if width_m is not None:
        pose = _squeezed(pose, model, tool, width_m)
    # fingers that come down further slide along what stands on the table
    stopped_m = np.array([0.0, 0.0, max(_sunk_m(grasp, model, moment, settings), 0.0)])
    pose = replace(pose, position_m=pose.position_m + stopped_m)
    # its covariance is of how it was taken, and is not to grow with every moment
    return InHand(pose=pose, grasp=replace(grasp_of(pose, tool), covariance=grasp.covariance))


def _sunk_m(grasp: Grasp, model: ObjectModel, moment: HandMoment, settings: EstimatorSettings) -> float:
    """How far below the table's top an object would reach that went all the way with the tool."""
    held = moment.tool_in_base @ grasp.object_in_tool
    half_height_m = float(np.abs(held[2, :3]) @ model.half_size_m)
    return settings.table.height_m + half_height_m - float(held[2, 3])


def _taken(in_hand: InHand, model: ObjectModel, moment: HandMoment, settings: GraspSettings) -> InHand:
    """What fingers that close do to what they do not hold yet."""
    pose, tool, width_m = in_hand.pose, moment.tool_in_base, moment.gripper.width_m
    reached = gap_m(pose, model, tool[:3, 3]) <= settings.tip_m
    if not reached or not may_hold(pose, model, moment, settings):
        return in_hand
    if width_m is not None:
        pose = _squeezed(pose, model, tool, width_m)
    if not (moment.gripper.grasped or _closed_on(pose, model, moment, settings)):
        return replace(in_hand, pose=pose)
    return InHand(pose=pose, grasp=grasp_of(pose, tool, settings=settings.held))


def _fallen(pose: Estimate, model: ObjectModel, table_m: float) -> Estimate:
    """The pose on the table beneath; it falls 5 cm in 0.1 s, and comes to lie somehow."""
    half_height_m = model.half_size_m[int(np.argmax(np.abs(matrix_of(pose.quat_wxyz)[2])))]
    roughly = np.diag([_DROPPED_STD_M**2] * 3 + [_DROPPED_STD_RAD**2] * 3)
    position_m = np.array([*pose.position_m[:2], table_m + half_height_m])
    return replace(pose, position_m=position_m, covariance=pose.covariance + roughly)


def _closed_on(pose: Estimate, model: ObjectModel, moment: HandMoment, settings: GraspSettings) -> bool:
    """Whether the fingers have come to rest on it; where their speed is not known, whether both touch it."""
    width_m, speed_m_s = moment.gripper.width_m, moment.gripper.closing_m_s
    if width_m is None or speed_m_s is None:
        return _touched(pose, model, moment, settings)
    near = width_m <= _extent_m(pose, model, moment.tool_in_base) + settings.rest_m
    return near and speed_m_s < settings.resting_m_s


def _touched(pose: Estimate, model: ObjectModel, moment: HandMoment, settings: GraspSettings) -> bool:
    """Whether both fingers touch it, by their width; not if that is not known."""
    width_m = moment.gripper.width_m
    return width_m is not None and width_m <= _extent_m(pose, model, moment.tool_in_base) + settings.touch_m


def _squeezed(pose: Estimate, model: ObjectModel, tool: FloatArray, width_m: float) -> Estimate:
    """The pose turned and moved as little as it must be to fit between the fingers."""
    closing_axis = tool[:3, 1]
    rotation = matrix_of(pose.quat_wxyz)
    _, face = _facing(pose, tool)
    axis = np.cross(face, closing_axis)
    sine = float(np.linalg.norm(axis))
    if sine > 1e-9 and _extent_m(pose, model, tool) > width_m:
        off = axis / sine * np.arctan2(sine, float(face @ closing_axis))
        for share in _SHARES:
            turned = replace(pose, quat_wxyz=quat_of(exp((1.0 - share) * off) @ rotation))
            if _extent_m(turned, model, tool) <= width_m:
                break
        pose = turned
    free_m = max((width_m - _extent_m(pose, model, tool)) / 2, 0.0)
    off_m = float((pose.position_m - tool[:3, 3]) @ closing_axis)
    return replace(pose, position_m=pose.position_m + (np.clip(off_m, -free_m, free_m) - off_m) * closing_axis)


def _facing(pose: Estimate, tool: FloatArray) -> tuple[int, FloatArray]:
    """The object's axis nearest the closing one: which, and as it points with it, in ``panda_link0``."""
    rotation = matrix_of(pose.quat_wxyz)
    along = rotation.T @ tool[:3, 1]
    facing = int(np.argmax(np.abs(along)))
    return facing, rotation[:, facing] * np.sign(along[facing])


def _extent_m(pose: Estimate, model: ObjectModel, tool: FloatArray) -> float:
    """How wide the object is along the line on which the fingers move, the tool's y."""
    return 2.0 * float(np.abs(matrix_of(pose.quat_wxyz).T @ tool[:3, 1]) @ model.half_size_m)
