"""Words of tests that move the twin as a franky client and set its scene."""

import time
from collections.abc import Callable

import franky
import numpy as np

from vlajs.geometry import Pose
from vlajs.tasks import Scene

TOOL_DOWN_XYZW = [1.0, 0.0, 0.0, 0.0]
FAR_GOAL_M = np.array([0.6, 0.3, 0.2])


def cube_at(x_m: float, y_m: float, z_m: float = 0.02, yaw_rad: float = 0.0) -> Scene:
    quat = np.array([np.cos(yaw_rad / 2), 0.0, 0.0, np.sin(yaw_rad / 2)])
    return Scene(objects={"cube": Pose(position_m=np.array([x_m, y_m, z_m]), quat_wxyz=quat)}, goal_m=FAR_GOAL_M)


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.005)


def go(robot: franky.Robot, position_m: np.ndarray, quat_xyzw: list[float] | None = None) -> None:
    robot.move(franky.CartesianMotion(franky.Affine(position_m, quat_xyzw or TOOL_DOWN_XYZW)))
