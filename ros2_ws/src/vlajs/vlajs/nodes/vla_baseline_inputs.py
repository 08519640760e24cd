"""What the baseline node sees: the newest picture with the time it was taken, and where the tool was then."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import Image

from vlajs.geometry import FloatArray
from vlajs.nodes.image_messages import bgr_from
from vlajs.nodes.messages import IMAGE_TOPIC, STREAM_QOS, pose_from, stamp_ns_of
from vlajs.policy.deadline import NS_PER_S, TickClock
from vlajs.policy.runner import TCP_TOPIC

KEPT_POSES = 300
"""Three seconds at the bridge's rate: cameras are late."""

MAX_FUTURE_S = 0.05
WARNING_PERIOD_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A camera's message and when it was taken.

    Attributes:
        taken_s: on the clock of the node's ticks.
        stamp_ns: as the camera says.
    """

    message: Image
    taken_s: float
    stamp_ns: int

    def rgb(self) -> NDArray[np.uint8]:
        """The picture (H, W, 3).

        Raises:
            ValueError: an encoding that is not read, or data that do not fit.
        """
        return np.ascontiguousarray(bgr_from(self.message)[..., ::-1])


class CameraInputs:
    """Subscriptions to camera and tool. Thread-safe."""

    def __init__(self, node: Node, clock: TickClock, on_picture: Callable[[], None]) -> None:
        """Subscribe; ``clock`` is that of the ticks, ``on_picture`` is told of every new picture."""
        self._node, self._clock, self._on_picture = node, clock, on_picture
        self._lock = threading.Lock()
        self._seen: Seen | None = None
        self._tools: deque[tuple[int, FloatArray]] = deque(maxlen=KEPT_POSES)
        self._subscriptions = [
            node.create_subscription(Image, IMAGE_TOPIC, self._on_image, STREAM_QOS),
            node.create_subscription(PoseStamped, TCP_TOPIC, self._on_tool, STREAM_QOS),
        ]

    def close(self) -> None:
        """Stop listening."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def newest(self) -> Seen | None:
        """The newest picture; None before the first."""
        with self._lock:
            return self._seen

    def objection(self, limit_s: float) -> str:
        """Why there is nothing to ask about, in words; empty when there is."""
        seen = self.newest()
        if seen is None:
            return f"the VLA has no source: nothing usable received on {IMAGE_TOPIC}; start the camera"
        age_s = self._clock.now_ns() / NS_PER_S - seen.taken_s
        if age_s <= limit_s:
            return ""
        return f"stale input: {IMAGE_TOPIC} is {age_s:.3f} s old, limit {limit_s:g} s; its publisher stopped or is late"

    def tool_quat_wxyz(self, stamp_ns: int) -> FloatArray | None:
        """Orientation of the tool in the base at the time nearest to a stamp, shape (4,); None without any."""
        with self._lock:
            tools = list(self._tools)
        if not tools:
            return None
        return min(tools, key=lambda tool: abs(tool[0] - stamp_ns))[1]

    def _on_image(self, message: Image) -> None:
        stamp_ns = stamp_ns_of(message.header)
        age_s = (self._node.get_clock().now().nanoseconds - stamp_ns) / NS_PER_S
        if age_s < -MAX_FUTURE_S:
            self._node.get_logger().warning(
                f"{IMAGE_TOPIC}: a picture stamped {-age_s:.3f} s ahead is not used: the camera's clock and this "
                "machine's disagree (use_sim_time on one side only?)",
                throttle_duration_sec=WARNING_PERIOD_S,
            )
            return
        # the stamp is on the ROS clock, which is not that of the ticks on a real arm
        taken_s = self._clock.now_ns() / NS_PER_S - max(age_s, 0.0)
        with self._lock:
            if self._seen is not None and stamp_ns == self._seen.stamp_ns:  # the same picture again is no newer one
                return
            self._seen = Seen(message=message, taken_s=taken_s, stamp_ns=stamp_ns)
        self._on_picture()

    def _on_tool(self, message: PoseStamped) -> None:
        pose = pose_from(message.pose)
        if pose.is_finite():
            with self._lock:
                self._tools.append((stamp_ns_of(message.header), pose.quat_wxyz))
