"""A bridge node as a process on a twin, with all it takes to command it, hear it and see the arm as it truly is."""

import contextlib
import signal
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, Vector3
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from tests.support.processes import PATIENCE_S, node_words, python
from tests.support.tester import Tester
from vlajs.geometry import Pose
from vlajs.twin.server import TwinServer
from vlajs_msgs.msg import EndEffectorDelta, RobotStatus

BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class Station(Tester):
    """Runs a bridge: sends commands, calls services, hears what it says, and sees the arm as it truly is."""

    def __init__(self, domain_id: int, twin: TwinServer, log: Path) -> None:
        super().__init__("station", domain_id)
        self.domain_id = domain_id
        self.twin = twin
        self.log = log
        self.running = contextlib.ExitStack()
        self.statuses: list[RobotStatus] = []
        self.targets: list[PoseStamped] = []
        self.joints: list[JointState] = []
        self.tcps: list[PoseStamped] = []
        self.sequence = 0
        self.node.create_subscription(RobotStatus, "/franka/status", self.statuses.append, RELIABLE)
        self.node.create_subscription(PoseStamped, "/franka/target_pose", self.targets.append, BEST_EFFORT)
        self.node.create_subscription(JointState, "/franka/joint_states", self.joints.append, BEST_EFFORT)
        self.node.create_subscription(PoseStamped, "/franka/tcp_pose", self.tcps.append, BEST_EFFORT)
        self.commands = self.node.create_publisher(EndEffectorDelta, "/command/ee_delta", RELIABLE)
        self.clients = {
            name: self.node.create_client(Trigger, f"/franka/{name}") for name in ("stop", "release", "recover", "home")
        }
        self.start_bridge()

    def start_bridge(self) -> None:
        # times of wall clock in it suit a twin at half speed on a busy machine
        words = node_words("bridge_node", robot_ip=self.twin.address, home_factor=0.1, home_timeout_s=80.0)
        self.bridge = self.running.enter_context(python(self.domain_id, *words, log=self.log))

    def end_bridge(self) -> None:
        self.bridge.send_signal(signal.SIGINT)
        assert self.bridge.wait(PATIENCE_S) == 0, self.log.read_text()

    def close(self) -> None:
        super().close()
        self.running.close()

    def told(self) -> str:
        return f"; {self.statuses[-1:]}"

    def begin(self, service: str) -> Any:
        client = self.clients[service]
        self.until(client.service_is_ready, f"service {service}")
        return client.call_async(Trigger.Request())

    def ask(self, service: str) -> Trigger.Response:
        return self.call(self.clients[service], Trigger.Request())

    def until_mode(self, mode: int) -> RobotStatus:
        self.statuses.clear()
        self.until(lambda: bool(self.statuses) and self.statuses[-1].mode == mode, f"mode {mode}")
        return self.statuses[-1]

    def status(self) -> RobotStatus:
        """One that was sent from now on."""
        self.statuses.clear()
        self.until(lambda: len(self.statuses) >= 2, "a status")
        return self.statuses[-1]

    def send(
        self,
        delta_pos_m: tuple[float, float, float] = (0.0, 0.0, 0.0),
        *,
        source: str = "policy",
        width_m: float = 0.08,
        frame: str = "panda_link0",
        age_s: float = 0.0,
    ) -> None:
        message = EndEffectorDelta(source=source, sequence=self.sequence, gripper_width_m=width_m)
        self.sequence += 1
        stamp_ns = self.node.get_clock().now().nanoseconds - int(age_s * 1e9)
        message.header.frame_id = frame
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
        message.delta_pos_m = Vector3(x=delta_pos_m[0], y=delta_pos_m[1], z=delta_pos_m[2])
        self.commands.publish(message)

    def stream(self, delta_pos_m: tuple[float, float, float], steps: int, width_m: float = 0.08) -> None:
        """Commands at 20 Hz of robot time."""
        start_s = self.twin.robot_time_s
        for step in range(steps):
            self.send(delta_pos_m, width_m=width_m)
            due_s = start_s + (step + 1) / 20.0
            self.until(lambda: self.twin.robot_time_s >= due_s, "the arm's clock going on")  # noqa: B023

    def leads_m(self) -> list[float]:
        """Distances of target to measured position, where both were told at the same time."""
        measured = {stamp_ns(tcp): position(tcp) for tcp in self.tcps}
        return [
            float(np.linalg.norm(position(target) - measured[stamp_ns(target)]))
            for target in self.targets
            if stamp_ns(target) in measured
        ]

    def until_carried_out(self) -> None:
        """The last command sent has been accepted."""
        self.until(lambda: self.statuses[-1].last_sequence == self.sequence - 1, "the command to be carried out")

    def at_rest(self) -> Pose:
        """The true tool pose once the arm stands still."""
        self.until(lambda: bool(np.max(np.abs(self.twin.joint_velocities())) < 1e-3), "the arm at rest")
        return self.twin.tcp_pose()

    def make_ready(self) -> None:
        """Home and ready, whatever the test before left behind."""
        if self.status().mode == RobotStatus.MODE_FAULT:
            assert self.ask("recover").success
        if self.status().mode == RobotStatus.MODE_STOPPED:
            assert self.ask("release").success
        if self.status().mode == RobotStatus.MODE_TRACKING:
            self.until_mode(RobotStatus.MODE_HOLDING)
        answer = self.ask("home")
        assert answer.success, answer.message
        # another source may have commanded last
        self.until(lambda: not self.statuses[-1].commander, "nobody commanding")
        for heard in (self.targets, self.tcps, self.joints):
            heard.clear()


def stamp_ns(message: PoseStamped) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def position(message: PoseStamped) -> np.ndarray:
    point = message.pose.position
    return np.array([point.x, point.y, point.z])


def moved_m(before: Pose, after: Pose) -> float:
    return float(np.linalg.norm(after.position_m - before.position_m))
