"""What a session hears of the robot's nodes: the newest usable message of every topic, and every sample of objects."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState

from vlajs.geometry import Pose
from vlajs.nodes.messages import RELIABLE_QOS, STREAM_QOS, pose_from, stamp_ns_of, truth_topic
from vlajs.nodes.policy_inputs import ARM_JOINTS, base_pose_from
from vlajs.policy.deadline import NS_PER_S
from vlajs.policy.runner import JOINTS_TOPIC, STATUS_TOPIC, TARGET_TOPIC, TCP_TOPIC, object_topic
from vlajs.session.graph import Sample
from vlajs.states import RobotMode
from vlajs.tasks import Task
from vlajs_msgs.msg import RobotStatus

MAX_WAITING_SAMPLES = 1000
"""Samples kept while nobody watches, such as during homing; the oldest go first."""

WARNING_PERIOD_S = 5.0
TRUTH_QOS = QoSProfile(depth=20, reliability=ReliabilityPolicy.BEST_EFFORT)  # every sample is judged


class SessionInputs:
    """Subscriptions of the session's node; messages that cannot be used are logged and leave no trace.

    Attributes:
        changed: notified of every message; hold it to read the others.
        seen: newest message by topic.
        heard_s: steady time at which it came.
        objects: newest pose of each object, in ``panda_link0``.
        samples: those that nobody has taken yet, in order.
    """

    def __init__(self, node: Node, task: Task, *, on_twin: bool) -> None:
        """Subscribe; ``on_twin`` follows ground truth, else the pose estimator."""
        self._node, self._task, self._on_twin = node, task, on_twin
        self.changed = threading.Condition()
        self.seen: dict[str, Any] = {}
        self.heard_s: dict[str, float] = {}
        self.objects: dict[str, Pose] = {}
        self.samples: deque[Sample] = deque(maxlen=MAX_WAITING_SAMPLES)
        self.listen(JointState, JOINTS_TOPIC, STREAM_QOS, _check_joints)
        self.listen(PoseStamped, TCP_TOPIC, STREAM_QOS, _check_pose)
        self.listen(PoseStamped, TARGET_TOPIC, STREAM_QOS, _check_pose)
        self.listen(RobotStatus, STATUS_TOPIC, RELIABLE_QOS, _check_status)
        kind = PoseStamped if on_twin else PoseWithCovarianceStamped
        for name in task.objects:
            self.listen(kind, self.topic_of(name), TRUTH_QOS, self._taker_of(name))

    def topic_of(self, name: str) -> str:
        """Where the pose of an object comes from."""
        return truth_topic(name) if self._on_twin else object_topic(name)

    def listen(self, kind: type, topic: str, qos: QoSProfile, take: Callable[[Any], object]) -> None:
        """Keep the newest message that ``take``, which is called with ``changed`` held, raises no ValueError for."""

        def receive(message: Any) -> None:
            try:
                with self.changed:
                    take(message)
                    self.seen[topic] = message
                    self.heard_s[topic] = time.monotonic()
                    self.changed.notify_all()
            except ValueError as error:  # one bad message of an estimator is no reason to end a session
                self._node.get_logger().warning(f"{topic}: {error}; not used", throttle_duration_sec=WARNING_PERIOD_S)

        self._node.create_subscription(kind, topic, receive, qos)

    def _taker_of(self, name: str) -> Callable[[PoseStamped | PoseWithCovarianceStamped], None]:
        def take(message: PoseStamped | PoseWithCovarianceStamped) -> None:
            pose = message.pose if isinstance(message, PoseStamped) else message.pose.pose
            self.objects[name] = base_pose_from(pose, message.header)
            if set(self.objects) == set(self._task.objects):
                self.samples.append(self._sample(stamp_ns_of(message.header) / NS_PER_S))

        return take

    def _sample(self, time_s: float) -> Sample:
        tool, target, joints = (self.seen.get(topic) for topic in (TCP_TOPIC, TARGET_TOPIC, JOINTS_TOPIC))
        return Sample(
            time_s=time_s,
            objects=dict(self.objects),
            tool=pose_from(tool.pose) if tool else None,
            target=pose_from(target.pose) if target else None,
            joint_velocities_rad_s=np.array(joints.velocity[:ARM_JOINTS]) if joints else np.zeros(ARM_JOINTS),
        )


def _check_pose(message: PoseStamped) -> None:
    base_pose_from(message.pose, message.header)


def _check_joints(message: JointState) -> None:
    for what, values in (("positions", message.position), ("velocities", message.velocity)):
        if len(values) < ARM_JOINTS or not np.all(np.isfinite(values[:ARM_JOINTS])):
            raise ValueError(f"joint {what} {list(values)}, expected {ARM_JOINTS} finite ones; check the bridge")


def _check_status(message: RobotStatus) -> None:
    RobotMode(message.mode)  # one this vlajs knows
