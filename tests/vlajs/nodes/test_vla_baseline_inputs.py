"""When a picture was taken, which one counts, and where the tool was then."""

from collections.abc import Iterator

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import Image

from tests.support.processes import own_domain
from tests.support.tester import own_context
from vlajs.nodes.image_messages import image_message
from vlajs.nodes.messages import stamp_of
from vlajs.nodes.vla_baseline_inputs import CameraInputs
from vlajs.policy.deadline import NS_PER_S

BLUE = np.zeros((2, 3, 3), np.uint8)
BLUE[..., 2] = 200


class StillClock:
    """A clock of ticks that says what it is told."""

    def __init__(self) -> None:
        self.time_ns = 50 * NS_PER_S

    def now_ns(self) -> int:
        return self.time_ns


class Eyes:
    """Inputs whose callbacks are called by hand."""

    def __init__(self, node: Node) -> None:
        self.node, self.clock, self.told = node, StillClock(), 0
        self.inputs = CameraInputs(node, self.clock, self.on_picture)  # type: ignore[arg-type]  (it is never waited on)

    def on_picture(self) -> None:
        self.told += 1

    def picture(self, age_s: float, rgb: np.ndarray = BLUE) -> Image:
        """One that was stamped that long ago."""
        message = image_message(rgb, self.node.get_clock().now().nanoseconds - int(age_s * NS_PER_S), "camera")
        self.inputs._on_image(message)
        return message

    def tool(self, stamp_ns: int, x: float, w: float) -> None:
        pose = PoseStamped()
        pose.header.stamp = stamp_of(stamp_ns)
        pose.pose.orientation.x, pose.pose.orientation.w = x, w
        self.inputs._on_tool(pose)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    context = own_context(own_domain())
    node = Node("eyes", context=context)
    yield node
    node.destroy_node()
    context.try_shutdown()


@pytest.fixture
def eyes(node: Node) -> Iterator[Eyes]:
    eyes = Eyes(node)
    yield eyes
    eyes.inputs.close()


def test_a_picture_is_as_old_as_its_stamp_on_the_clock_of_the_ticks(eyes: Eyes) -> None:
    assert eyes.inputs.newest() is None
    assert "nothing usable received on /camera/image_raw; start the camera" in eyes.inputs.objection(1.0)
    eyes.picture(0.3)
    seen = eyes.inputs.newest()
    assert seen is not None
    assert seen.taken_s == pytest.approx(49.7, abs=0.05)  # received at 50 s, stamped 0.3 s before
    assert eyes.told == 1
    assert eyes.inputs.objection(1.0) == ""
    eyes.clock.time_ns += NS_PER_S
    assert "/camera/image_raw is 1.3" in eyes.inputs.objection(1.0)


def test_a_frozen_camera_shows_nothing_new(eyes: Eyes) -> None:
    message = eyes.picture(0.1)
    eyes.clock.time_ns += NS_PER_S // 2
    eyes.inputs._on_image(message)
    seen = eyes.inputs.newest()
    assert seen is not None
    assert seen.taken_s == pytest.approx(49.9, abs=0.05)
    assert eyes.told == 1


def test_a_picture_from_the_future_is_not_used(eyes: Eyes) -> None:
    eyes.picture(-5.0)
    assert eyes.inputs.newest() is None
    assert eyes.told == 0


def test_the_model_is_shown_red_where_the_camera_saw_red(eyes: Eyes) -> None:
    eyes.picture(0.0)
    seen = eyes.inputs.newest()
    assert seen is not None
    np.testing.assert_array_equal(seen.rgb(), BLUE)
    seen.message.encoding = "yuv422"
    with pytest.raises(ValueError, match="yuv422"):
        seen.rgb()


def test_the_tool_is_where_it_was_when_the_picture_was_taken(eyes: Eyes) -> None:
    assert eyes.inputs.tool_quat_wxyz(0) is None
    eyes.tool(1_000, 1.0, 0.0)
    eyes.tool(2_000, 0.0, 1.0)
    eyes.tool(3_000, float("nan"), 1.0)  # no pose: not kept
    for stamp_ns, quat_wxyz in ((0, [0, 1, 0, 0]), (1_400, [0, 1, 0, 0]), (1_600, [1, 0, 0, 0]), (9_000, [1, 0, 0, 0])):
        np.testing.assert_array_equal(eyes.inputs.tool_quat_wxyz(stamp_ns), quat_wxyz)
