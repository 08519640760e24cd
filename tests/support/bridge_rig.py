"""A bridge on a stand-in arm and hand, which do exactly what they are told and fail when they are told to."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from vlajs.control.bridge import Bridge, BridgeConfig
from vlajs.control.command_filter import Command
from vlajs.geometry import TOOL_DOWN_WXYZ, FloatArray, Pose
from vlajs.states import RobotMode
from vlajs.tasks import HOME_JOINTS_RAD

START_M = np.array([0.5, 0.0, 0.2])


@dataclass(frozen=True, kw_only=True)
class Reading:
    tcp_in_base: Pose = field(default_factory=lambda: Pose(position_m=START_M, quat_wxyz=TOOL_DOWN_WXYZ))
    joints_rad: FloatArray = field(default_factory=lambda: np.array(HOME_JOINTS_RAD))
    joint_velocities_rad_s: FloatArray = field(default_factory=lambda: np.zeros(7))
    robot_time_s: float = 100.0
    fault: str | None = None


class StandInArm:
    def __init__(self) -> None:
        self.reading = Reading()
        self.is_moving = False
        self.calls: list[str] = []
        self.targets: list[Pose] = []
        self.errors: dict[str, str] = {}
        self.meanwhile: Callable[[], object] = lambda: None
        """What happens while the arm recovers."""

    def _call(self, name: str) -> None:
        if name in self.errors:
            raise RuntimeError(self.errors[name])
        self.calls.append(name)

    def state(self) -> Reading:
        if "state" in self.errors:
            raise RuntimeError(self.errors["state"])
        return self.reading

    def tool_jacobian(self, joints_rad: FloatArray) -> FloatArray:
        return np.eye(6, 7)

    def stream_target(self, target_in_base: Pose) -> None:
        self._call("stream")
        self.targets.append(target_in_base)
        self.is_moving = True

    def start_home(self, joints_rad) -> None:
        self._call("home")
        self.is_moving = True

    def hold(self) -> None:
        self._call("hold")
        self.is_moving = False

    def check_motion(self) -> None:
        if "motion" in self.errors:
            raise RuntimeError(self.errors.pop("motion"))

    def recover(self) -> None:
        self._call("recover")
        self.reading = replace(self.reading, fault=None)
        self.meanwhile()

    def pass_time(self, seconds: float) -> None:
        self.reading = replace(self.reading, robot_time_s=self.reading.robot_time_s + seconds)

    def be_at(self, *position_m: float) -> None:
        pose = Pose(position_m=np.array(position_m), quat_wxyz=TOOL_DOWN_WXYZ)
        self.reading = replace(self.reading, tcp_in_base=pose)


@dataclass
class StandInHand:
    width_m: float = 0.08
    command_m: float = 0.08
    busy: bool = False
    grasped: bool = False
    fault: str | None = None
    calls: list[str] = field(default_factory=list)

    def state(self) -> "StandInHand":
        return self

    def open_fingers(self) -> None:
        self.calls.append("open")

    def close_fingers(self) -> None:
        self.calls.append("close")

    def keep_on(self) -> None:
        self.calls.append("keep on")

    def stop(self) -> None:
        self.calls.append("stop")

    def clear_fault(self) -> None:
        self.fault = None


class Rig:
    """A bridge in READY with its stand-ins; commands count up by themselves."""

    def __init__(self) -> None:
        self.arm, self.hand = StandInArm(), StandInHand()
        self.bridge = Bridge(self.arm, self.hand, BridgeConfig(home_joints_rad=HOME_JOINTS_RAD))
        self.sequence = 0
        self.bridge.tick()

    def send(self, *delta_pos_m: float, width_m: float = 0.08, source: str = "policy") -> str | None:
        self.sequence += 1
        return self.bridge.accept(
            Command(
                source=source,
                sequence=self.sequence,
                delta_pos_m=np.array(delta_pos_m or (0.01, 0.0, 0.0)),
                delta_rotvec_rad=np.zeros(3),
                gripper_width_m=width_m,
                age_s=0.0,
            )
        )

    def later(self, seconds: float) -> RobotMode:
        self.arm.pass_time(seconds)
        self.bridge.tick()
        return self.bridge.mode
