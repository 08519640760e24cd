"""What a session takes from its topics and what it leaves; no ROS network."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from sensor_msgs.msg import JointState

from vlajs.nodes.session_inputs import SessionInputs
from vlajs.tasks import get_task


class FakeNode:
    """Keeps the callbacks by topic and the warnings."""

    def __init__(self) -> None:
        self.receive: dict[str, Callable[[Any], None]] = {}
        self.warnings: list[str] = []

    def create_subscription(self, _kind: type, topic: str, receive: Callable[[Any], None], _qos: object) -> None:
        self.receive[topic] = receive

    def get_logger(self) -> SimpleNamespace:
        return SimpleNamespace(warning=lambda text, **_: self.warnings.append(text))


def stamped(x_m: float, *, w: float = 1.0, frame: str = "panda_link0") -> PoseStamped:
    message = PoseStamped()
    message.header.frame_id, message.header.stamp.sec = frame, 7
    message.pose.position.x, message.pose.orientation.w = x_m, w
    return message


def measured(x_m: float, **changes: Any) -> PoseWithCovarianceStamped:
    pose = stamped(x_m, **changes)
    message = PoseWithCovarianceStamped(header=pose.header)
    message.pose.pose = pose.pose
    return message


def inputs(node: FakeNode, *, on_twin: bool) -> SessionInputs:
    return SessionInputs(node, get_task("push_cube"), on_twin=on_twin)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flaw", "words"),
    [
        ({"x_m": float("nan")}, "not a pose"),
        ({"x_m": 0.6, "w": 0.5}, "not a pose"),
        ({"x_m": 0.6, "frame": "camera"}, "frame 'camera', expected 'panda_link0'"),
    ],
)
@pytest.mark.parametrize(
    ("on_twin", "topic", "message"),
    [(True, "/twin/objects/cube/pose", stamped), (False, "/objects/cube/pose", measured)],
)
def test_what_is_no_pose_is_dropped_and_told(
    flaw: dict[str, Any], words: str, on_twin: bool, topic: str, message: Callable[..., Any]
):
    node = FakeNode()
    heard = inputs(node, on_twin=on_twin)
    node.receive[topic](message(0.5))
    node.receive[topic](message(**flaw))
    assert [sample.objects["cube"].position_m[0] for sample in heard.samples] == [0.5]
    assert heard.samples[0].time_s == 7.0
    assert heard.objects["cube"].position_m[0] == 0.5
    assert len(node.warnings) == 1
    assert topic in node.warnings[0]
    assert words in node.warnings[0]


def test_the_last_usable_state_of_the_arm_stays():
    node = FakeNode()
    heard = inputs(node, on_twin=False)
    node.receive["/franka/tcp_pose"](stamped(0.4))
    node.receive["/franka/tcp_pose"](stamped(float("inf")))
    node.receive["/franka/joint_states"](JointState(position=[0.0] * 9, velocity=[0.1] * 9))
    node.receive["/franka/joint_states"](JointState(position=[0.0] * 9, velocity=[float("nan")] * 9))
    node.receive["/objects/cube/pose"](measured(0.6))
    (sample,) = heard.samples
    assert sample.tool is not None
    assert sample.tool.position_m[0] == 0.4
    assert sample.joint_velocities_rad_s.tolist() == [0.1] * 7
