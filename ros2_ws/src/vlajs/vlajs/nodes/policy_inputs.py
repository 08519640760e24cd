"""What the policy node listens to: the newest usable message of every topic, with its age."""

import functools
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from geometry_msgs.msg import PointStamped, PoseStamped, PoseWithCovarianceStamped
from geometry_msgs.msg import Pose as PoseMsg
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from vlajs.geometry import Pose
from vlajs.nodes.messages import LATCHED_QOS, RELIABLE_QOS, STREAM_QOS, pose_from, stamp_ns_of
from vlajs.policy.contract import BASE_FRAME
from vlajs.policy.deadline import NS_PER_S, TickClock
from vlajs.policy.runner import (
    GOAL_TOPIC,
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
from vlajs_msgs.msg import RobotStatus

ARM_JOINTS = 7


def base_pose_from(message: PoseMsg, header: Header) -> Pose:
    """A pose in ``panda_link0``.

    Raises:
        ValueError: another frame, or numbers that are no pose.
    """
    _check_frame(header)
    pose = pose_from(message)
    if not pose.is_finite():
        raise ValueError(f"not a pose: {pose.position_m} m, wxyz {pose.quat_wxyz}; check the publisher")
    return pose


def robot_state_from(message: RobotStatus) -> RobotState:
    """The bridge's status.

    Raises:
        ValueError: a mode this vlajs does not know.
    """
    limits = message.limits
    return RobotState(
        mode=RobotMode(message.mode),
        faults=tuple(message.faults),
        gripper_command_m=message.gripper_command_m,
        gripper_busy=message.gripper_busy,
        commander=message.commander,
        refused_commands=message.refused_commands,
        limits=BridgeLimits(
            max_step_m=limits.max_step_m,
            max_step_rad=limits.max_step_rad,
            leash_m=limits.leash_m,
            leash_rad=limits.leash_rad,
            workspace_min_m=(limits.workspace_min_m[0], limits.workspace_min_m[1], limits.workspace_min_m[2]),
            workspace_max_m=(limits.workspace_max_m[0], limits.workspace_max_m[1], limits.workspace_max_m[2]),
        ),
    )


def _check_frame(header: Header) -> None:
    if header.frame_id != BASE_FRAME:
        raise ValueError(f"frame {header.frame_id!r}, expected {BASE_FRAME!r}; transform it before publishing")


class PolicyInputs:
    """Subscriptions of the policy node and the newest of what they brought. Thread-safe."""

    def __init__(self, node: Node, clock: TickClock, objects: Iterable[str]) -> None:
        """Subscribe; ``clock`` times the receipt."""
        self._node = node
        self._clock = clock
        self._lock = threading.Lock()
        self._readings = Readings()
        self._received_ns: dict[str, int] = {}
        self._stamps_ns: dict[str, int] = {}
        self._problems: dict[str, str] = {}
        self._subscriptions: list[Subscription] = []
        self._objects: set[str] = set()
        self._listen(PoseStamped, TCP_TOPIC, self._on_tcp, STREAM_QOS)
        self._listen(PoseStamped, TARGET_TOPIC, self._on_target, STREAM_QOS)
        self._listen(JointState, JOINTS_TOPIC, self._on_joints, STREAM_QOS)
        self._listen(RobotStatus, STATUS_TOPIC, self._on_status, RELIABLE_QOS)
        self._listen(PointStamped, GOAL_TOPIC, self._on_goal, LATCHED_QOS)
        self.add_objects(objects)

    def add_objects(self, objects: Iterable[str]) -> None:
        """Listen to the poses of these objects too."""
        for name in objects:
            if name not in self._objects:
                self._objects.add(name)
                store = functools.partial(self._on_object, name)
                self._listen(PoseWithCovarianceStamped, object_topic(name), store, STREAM_QOS)

    def close(self) -> None:
        """Stop listening."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def readings(self) -> Readings:
        """The newest of everything; an age is the greater of time since receipt and time since the stamp."""
        ros_ns = self._node.get_clock().now().nanoseconds
        now_ns = self._clock.now_ns()
        with self._lock:
            ages_s = {
                # a stamp from the future is as suspect as one from the past: the clocks disagree
                topic: max(now_ns - received_ns, abs(ros_ns - self._stamps_ns[topic])) / NS_PER_S
                for topic, received_ns in self._received_ns.items()
            }
            newest_ns = max((self._stamps_ns.get(topic, 0) for topic in (TCP_TOPIC, TARGET_TOPIC)), default=0)
            return replace(self._readings, ages_s=ages_s, problems=dict(self._problems), stamp_ns=newest_ns)

    def _listen(self, kind: type, topic: str, store: Callable[[Any], dict[str, Any]], qos: QoSProfile) -> None:
        def receive(message: Any) -> None:
            now_ns = self._clock.now_ns()
            try:
                with self._lock:
                    self._readings = replace(self._readings, **store(message))
                    self._received_ns[topic] = now_ns
                    self._stamps_ns[topic] = stamp_ns_of(message.header)
                    self._problems.pop(topic, None)
            except ValueError as error:  # the last usable one stays and grows old
                with self._lock:
                    self._problems[topic] = str(error)
                    if topic == GOAL_TOPIC:  # a goal never grows old: the one before must not be taken for this one
                        self._readings = replace(self._readings, goal_m=None)
                self._node.get_logger().warning(f"{topic}: {error}", throttle_duration_sec=5.0)

        self._subscriptions.append(self._node.create_subscription(kind, topic, receive, qos))

    def _on_tcp(self, message: PoseStamped) -> dict[str, Any]:
        return {"tcp": base_pose_from(message.pose, message.header)}

    def _on_target(self, message: PoseStamped) -> dict[str, Any]:
        return {"target": base_pose_from(message.pose, message.header)}

    def _on_joints(self, message: JointState) -> dict[str, Any]:
        fingers_m = message.position[ARM_JOINTS:]
        if len(fingers_m) != 2 or not np.all(np.isfinite(fingers_m)):
            raise ValueError(f"finger positions {list(fingers_m)} m, expected 7 arm joints and two finite ones")
        return {"gripper_width_m": float(sum(fingers_m))}

    def _on_status(self, message: RobotStatus) -> dict[str, Any]:
        return {"robot": robot_state_from(message)}

    def _on_goal(self, message: PointStamped) -> dict[str, Any]:
        _check_frame(message.header)
        goal_m = np.array([message.point.x, message.point.y, message.point.z])
        if not np.all(np.isfinite(goal_m)):
            raise ValueError(f"goal {goal_m} m is not finite")
        return {"goal_m": goal_m}

    def _on_object(self, name: str, message: PoseWithCovarianceStamped) -> dict[str, Any]:
        pose = base_pose_from(message.pose.pose, message.header)
        return {"objects": {**self._readings.objects, name: pose}}
