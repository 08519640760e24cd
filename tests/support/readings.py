"""Readings of a robot at rest in front of a cube, as the policy's runner takes them."""

from dataclasses import replace
from typing import Any

import numpy as np

from vlajs.geometry import TOOL_DOWN_WXYZ, Pose
from vlajs.policy.contract import ActionContract
from vlajs.policy.runner import (
    JOINTS_TOPIC,
    STATUS_TOPIC,
    TARGET_TOPIC,
    TCP_TOPIC,
    BridgeLimits,
    Readings,
    RobotState,
    object_topic,
)
from vlajs.states import RobotMode

AGES_S = {
    TCP_TOPIC: 0.01,
    TARGET_TOPIC: 0.01,
    JOINTS_TOPIC: 0.01,
    STATUS_TOPIC: 0.05,
    object_topic("cube"): 0.02,
}


def limits_of(action: ActionContract) -> BridgeLimits:
    """What a bridge enforces that was started for this policy."""
    return BridgeLimits(
        max_step_m=action.position_scale_m,
        max_step_rad=action.rotation_scale_rad,
        leash_m=action.leash_m,
        leash_rad=action.leash_rad,
        workspace_min_m=action.workspace_min_m,
        workspace_max_m=action.workspace_max_m,
    )


def make_robot(action: ActionContract, **changes: Any) -> RobotState:
    """A bridge that is ready; ``changes`` replace its fields."""
    robot = RobotState(
        mode=RobotMode.READY,
        faults=(),
        gripper_command_m=action.gripper.initial_width_m,
        gripper_busy=False,
        commander="",
        refused_commands=0,
        limits=limits_of(action),
    )
    return replace(robot, **changes)


def make_readings(action: ActionContract, **changes: Any) -> Readings:
    """Everything fresh and the hand at its initial width; ``changes`` replace its fields."""
    tcp = Pose(position_m=np.array([0.5, 0.0, 0.2]), quat_wxyz=TOOL_DOWN_WXYZ)
    readings = Readings(
        tcp=tcp,
        target=tcp,
        gripper_width_m=action.gripper.initial_width_m,
        robot=make_robot(action),
        objects={"cube": Pose(position_m=np.array([0.6, 0.05, 0.02]), quat_wxyz=np.array([1.0, 0.0, 0.0, 0.0]))},
        goal_m=np.array([0.8, 0.05, 0.0]),
        ages_s=AGES_S,
        stamp_ns=1_000_000_000,
    )
    return replace(readings, **changes)
