"""The ROS side of collecting calibration views: what camera and bridge say, and moving the arm through the bridge."""

# pyright: reportPrivateImportUsage=false
# (rclpy does not mark its public names as exported)

import time
from collections import deque

import numpy as np
from geometry_msgs.msg import PoseStamped, Vector3
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

from vlajs.control.calibration_moves import MoveConfig, increment_towards
from vlajs.geometry import FloatArray, Pose, rotation
from vlajs.nodes.image_messages import bgr_from
from vlajs.nodes.messages import CAMERA_INFO_TOPIC, IMAGE_TOPIC, RELIABLE_QOS, STREAM_QOS, pose_from, stamp_ns_of
from vlajs.policy.contract import BASE_FRAME
from vlajs.policy.runner import STATUS_TOPIC, TARGET_TOPIC, TCP_TOPIC
from vlajs.states import RobotMode
from vlajs_msgs.msg import EndEffectorDelta, RobotStatus
from vlajs_perception.calibration.capture import WINDOW_NS, Collector

SOURCE = "calibration"
COMMAND_TOPIC = "/command/ee_delta"
COMMAND_PERIOD_NS = 50_000_000
_KEPT_POSES = 600
"""Six seconds at the bridge's rate."""
_MOVE_TIMEOUT_NS = 20_000_000_000
_TARGET_AGE_NS = 200_000_000
"""Older, the target says nothing of where the next increment leads: none is sent, and the bridge holds the arm."""
_SILENCE_S = 3.0
"""Wall time without a tool pose after which the bridge is taken for dead."""


class CaptureNode(Node):
    """Keeps the newest image and the last seconds of tool poses; one thread at a time."""

    def __init__(self, parameters: list[Parameter]) -> None:
        """Subscribe to camera and bridge."""
        super().__init__("calibration_capture", parameter_overrides=parameters)
        self.info: CameraInfo | None = None
        self.status: RobotStatus | None = None
        self.target: Pose | None = None
        self.target_stamp_ns = 0
        self.heard_s = time.monotonic()
        self._image: tuple[Image, int] | None = None
        self._tools: deque[tuple[int, Pose]] = deque(maxlen=_KEPT_POSES)
        self._said = ""
        self.create_subscription(Image, IMAGE_TOPIC, self._on_image, STREAM_QOS)
        self.create_subscription(CameraInfo, CAMERA_INFO_TOPIC, self._on_info, STREAM_QOS)
        self.create_subscription(PoseStamped, TCP_TOPIC, self._on_tool, STREAM_QOS)
        self.create_subscription(PoseStamped, TARGET_TOPIC, self._on_target, STREAM_QOS)
        self.create_subscription(RobotStatus, STATUS_TOPIC, self._on_status, RELIABLE_QOS)

    def now_ns(self) -> int:
        """The clock that all stamps are on."""
        return self.get_clock().now().nanoseconds

    def tool(self) -> Pose:
        """Where the tool was last, in the base frame."""
        return self._tools[-1][1]

    def silent_topics(self) -> list[str]:
        """Topics on which nothing was heard yet."""
        heard = {
            IMAGE_TOPIC: self._image,
            CAMERA_INFO_TOPIC: self.info,
            TCP_TOPIC: self._tools,
            TARGET_TOPIC: self.target,
            STATUS_TOPIC: self.status,
        }
        return [topic for topic, message in heard.items() if not message]

    def offer_latest(self, collector: Collector, *, after_ns: int = 0) -> None:
        """Offer the newest image as a view once the tool's poses around it are known; say what is to be done.

        Args:
            collector: of the views.
            after_ns: images taken before are left out.
        """
        if self._image is None:
            return
        message, arrived_ns = self._image
        stamp_ns = stamp_ns_of(message.header)
        refusal = collector.refusal_of_stamp(stamp_ns, arrived_ns)
        if refusal is None and stamp_ns < after_ns:
            self._image = None
            return
        if refusal is None and self._tools[-1][0] < stamp_ns + WINDOW_NS and self.now_ns() < stamp_ns + 5 * WINDOW_NS:
            return  # the poses after it are still to come
        self._image = None
        if refusal is None:
            offer = collector.offer(
                bgr_from(message),
                stamp_ns=stamp_ns,
                now_ns=arrived_ns,
                tool_stamps_ns=[stamp for stamp, _ in self._tools],
                tools_in_base=np.stack([matrix_of(pose) for _, pose in self._tools]),
            )
            self._say(offer.reason, collector if offer.view is not None else None)
        else:
            self._say(refusal, None)

    def _say(self, text: str, collector: Collector | None) -> None:
        if text != self._said:
            print(text, flush=True)
            self._said = text
        if collector is not None and (missing := collector.missing()):
            print(f"  next: {missing[-1]}", flush=True)

    def _on_image(self, message: Image) -> None:
        # one is kept until it has been offered: the next would push it out before its poses are known
        if self._image is None:
            self._image = (message, self.now_ns())

    def _on_info(self, message: CameraInfo) -> None:
        self.info = message

    def _on_tool(self, message: PoseStamped) -> None:
        pose, stamp_ns = pose_from(message.pose), stamp_ns_of(message.header)
        if message.header.frame_id != BASE_FRAME or not pose.is_finite():
            self._say(f"{TCP_TOPIC} is no pose in {BASE_FRAME}: {message.header.frame_id!r}, {pose}", None)
            return
        self.heard_s = time.monotonic()
        if self._tools and stamp_ns <= self._tools[-1][0]:
            if stamp_ns == self._tools[-1][0]:
                return  # robot time is slower than the bridge's ticks
            self._tools.clear()  # the twin was restarted
        self._tools.append((stamp_ns, pose))

    def _on_target(self, message: PoseStamped) -> None:
        target = pose_from(message.pose)
        if message.header.frame_id != BASE_FRAME or not target.is_finite():
            self._say(f"{TARGET_TOPIC} is no pose in {BASE_FRAME}: {message.header.frame_id!r}, {target}", None)
            return
        self.target, self.target_stamp_ns = target, stamp_ns_of(message.header)

    def _on_status(self, message: RobotStatus) -> None:
        self.status = message


class MoveError(RuntimeError):
    """The arm must not be moved any more; the message says why."""


class Mover:
    """The one source of commands while views are taken; everything it asks for passes the bridge's checks."""

    def __init__(self, node: CaptureNode, config: MoveConfig) -> None:
        """Become a source of commands.

        Raises:
            MoveError: another one is there, or the arm is not ready.
        """
        self._node, self._config = node, config
        others = node.count_publishers(COMMAND_TOPIC)
        if others:
            raise MoveError(
                f"{others} other publishers of {COMMAND_TOPIC}: stop them (start the launch with policy:=false)"
            )
        status = self._status()
        # the hand stays as it is: closed on the board, or open
        self._width_m = min(max(status.gripper_width_m, 0.0), 0.08)
        self._commands = node.create_publisher(EndEffectorDelta, COMMAND_TOPIC, RELIABLE_QOS)
        self._sequence = 0
        self.check()

    def workspace_m(self) -> tuple[FloatArray, FloatArray]:
        """Corners of the bridge's box, each of shape (3,)."""
        limits = self._status().limits
        return np.array(limits.workspace_min_m), np.array(limits.workspace_max_m)

    def check(self) -> None:
        """Return while this is the only source of commands and the arm may move.

        Raises:
            MoveError: it is not; nothing more is commanded, and the bridge holds the arm.
        """
        status = self._status()
        if status.commander not in ("", SOURCE):
            raise MoveError(f"{status.commander!r} commands the arm, too: stop it, then go on with the same command")
        if self._node.count_publishers(COMMAND_TOPIC) > 1:
            raise MoveError(f"another publisher of {COMMAND_TOPIC} has come up: stop it, then go on")
        if status.mode not in (RobotMode.READY, RobotMode.TRACKING, RobotMode.HOLDING):
            faults = "; ".join(status.faults) or "no fault"
            raise MoveError(f"the bridge is in mode {RobotMode(status.mode).name} ({faults}): see to it, then go on")
        if time.monotonic() - self._node.heard_s > _SILENCE_S:
            raise MoveError(
                f"nothing on {TCP_TOPIC} for {_SILENCE_S:g} s: the bridge has ended; restart it, then go on"
            )

    def go(self, goal: Pose, executor: SingleThreadedExecutor) -> str | None:
        """Bring the tool to a pose by increments at 20 Hz and let it rest there; why it cannot come there, or None.

        Raises:
            MoveError: the arm must not be moved any more.
        """
        node = self._node
        refused = self._status().refused_commands
        begun_ns = due_ns = node.now_ns()
        while node.now_ns() < begun_ns + _MOVE_TIMEOUT_NS:
            executor.spin_once(timeout_sec=0.01)
            self.check()
            if self._status().refused_commands > refused:
                return "; ".join(self._status().faults) or "refused by the bridge"
            if node.now_ns() < due_ns or abs(node.now_ns() - node.target_stamp_ns) > _TARGET_AGE_NS:
                continue
            due_ns = node.now_ns() + COMMAND_PERIOD_NS
            assert node.target is not None, "the bridge was heard before"
            increment = increment_towards(goal, node.target, self._config)
            if increment is None:
                return None
            self._send(*increment)
        return f"not there within {_MOVE_TIMEOUT_NS / 1e9:g} s"

    def _send(self, delta_pos_m: FloatArray, delta_rotvec_rad: FloatArray) -> None:
        message = EndEffectorDelta(source=SOURCE, sequence=self._sequence, gripper_width_m=self._width_m)
        self._sequence += 1
        message.header.stamp, message.header.frame_id = self._node.get_clock().now().to_msg(), BASE_FRAME
        message.delta_pos_m = _vector(delta_pos_m)
        message.delta_rotvec_rad = _vector(delta_rotvec_rad)
        self._commands.publish(message)

    def _status(self) -> RobotStatus:
        assert self._node.status is not None, "the bridge was heard before"
        return self._node.status


def _vector(values: FloatArray) -> Vector3:
    x, y, z = values.tolist()
    return Vector3(x=x, y=y, z=z)


def matrix_of(pose: Pose) -> FloatArray:
    """A pose as a (4, 4) matrix."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(pose.quat_wxyz).as_matrix(), pose.position_m
    return matrix
