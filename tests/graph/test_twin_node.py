"""The twin node as a process of its own, seen over DDS."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from std_srvs.srv import Trigger

from tests.support.processes import PATIENCE_S, node_words, output_of_refused_start, own_domain, python
from tests.support.tester import Tester
from vlajs.tasks import get_task, sample_scene
from vlajs_msgs.srv import ResetScene

pytestmark = pytest.mark.graph

DOMAIN_ID = own_domain()
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
# Deep, so that a slow test machine sees every message
MANY = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)


class Listener(Tester):
    """Records what the twin says."""

    def __init__(self) -> None:
        super().__init__("listener", DOMAIN_ID)
        self.clock_s: list[float] = []
        self.truth: list[PoseStamped] = []
        self.measured: list[PoseWithCovarianceStamped] = []
        self.peg: list[PoseWithCovarianceStamped] = []
        self.diagnostics: list[DiagnosticArray] = []
        self.node.create_subscription(Clock, "/clock", lambda m: self.clock_s.append(seconds(m.clock)), MANY)
        self.node.create_subscription(PoseStamped, "/twin/objects/cube/pose", self.truth.append, MANY)
        self.node.create_subscription(
            PoseWithCovarianceStamped, "/objects/cube/pose", self.measured.append, BEST_EFFORT
        )
        self.node.create_subscription(PoseWithCovarianceStamped, "/objects/peg/pose", self.peg.append, BEST_EFFORT)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self.diagnostics.append, 10)
        self.reset_scene = self.node.create_client(ResetScene, "/twin/reset_scene")
        self.clear_scene = self.node.create_client(Trigger, "/twin/clear_scene")
        self.push = self.node.create_client(Trigger, "/twin/push")
        self.set_parameters = self.node.create_client(SetParameters, "/twin/set_parameters")
        self.inject_fault = self.node.create_client(Trigger, "/twin/inject_fault")

    def cube_m(self) -> np.ndarray:
        """The next true position of the cube."""
        self.truth.clear()
        self.until(lambda: bool(self.truth), "the cube's pose")
        position = self.truth[-1].pose.position
        return np.array([position.x, position.y, position.z])


def seconds(stamp: Any) -> float:
    return stamp.sec + stamp.nanosec * 1e-9


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    log = tmp_path_factory.mktemp("twin") / "log"
    with python(DOMAIN_ID, *node_words("twin_node", address="auto", injected_fault="joint_reflex"), log=log) as process:
        yield
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0, log.read_text()


@pytest.fixture
def listener(twin: None) -> Iterator[Listener]:
    listener = Listener()
    try:
        yield listener
    finally:
        listener.close()


def test_clock_is_robot_time_in_steps_of_five_milliseconds(listener: Listener) -> None:
    listener.until(lambda: len(listener.clock_s) > 100, "a hundred clock messages")
    steps_s = np.diff(listener.clock_s)
    assert np.min(steps_s) > 0.0
    # 200 Hz of robot time: 5 ms between messages, at whole milliseconds
    assert np.median(steps_s) == pytest.approx(0.005, abs=1e-9)
    assert np.allclose(np.array(listener.clock_s) * 1e3, np.round(np.array(listener.clock_s) * 1e3), atol=1e-3)


def test_scene_of_a_seed_is_set_and_published(listener: Listener) -> None:
    for task_name, seed in (("push_cube", 11), ("pick_cube", 12)):
        wanted = sample_scene(get_task(task_name), seed)
        response = listener.call(listener.reset_scene, ResetScene.Request(task=task_name, seed=seed))
        assert response.success, response.message
        goal = response.goal.point
        assert np.array([goal.x, goal.y, goal.z]) == pytest.approx(wanted.goal_m)
        told = response.object_poses[0]
        assert told.header.frame_id == response.goal.header.frame_id == "panda_link0"
        listener.until(lambda since=told: newer(listener.truth, since), "a pose after the reset")
        assert listener.cube_m() == pytest.approx(wanted.objects["cube"].position_m, abs=1e-3)


def newer(poses: list[PoseStamped], than: PoseStamped) -> bool:
    return bool(poses) and seconds(poses[-1].header.stamp) > seconds(than.header.stamp)


def test_object_pose_stands_in_for_a_camera(listener: Listener) -> None:
    listener.until(lambda: bool(listener.measured) and bool(listener.clock_s), "a measured pose")
    pose = listener.measured[-1]
    assert pose.header.frame_id == "panda_link0"
    assert pose.pose.pose.position.z == pytest.approx(0.02, abs=1e-3)
    assert pose.pose.covariance[0] > 0.0
    assert abs(seconds(pose.header.stamp) - listener.clock_s[-1]) < 1.0


def test_another_task_brings_its_own_object_and_takes_the_others_away(listener: Listener) -> None:
    for task_name, there, away in (
        ("lift_peg_upright", listener.peg, listener.measured),
        ("push_cube", listener.measured, listener.peg),
    ):
        response = listener.call(listener.reset_scene, ResetScene.Request(task=task_name, seed=11))
        assert response.success, response.message
        set_s = seconds(response.goal.header.stamp)
        there.clear()
        away.clear()
        name = get_task(task_name).objects[0]
        wanted_m = sample_scene(get_task(task_name), 11).objects[name].position_m
        listener.until(
            lambda there=there, set_s=set_s: bool(there) and seconds(there[-1].header.stamp) > set_s + 0.2,
            f"the {name} for a while",
        )
        position = there[-1].pose.pose.position
        assert [position.x, position.y, position.z] == pytest.approx(wanted_m, abs=1e-3)
        assert not [pose for pose in away if seconds(pose.header.stamp) > set_s]
    assert listener.call(listener.clear_scene, Trigger.Request()).success
    cleared_s = listener.clock_s[-1]
    listener.until(lambda: listener.clock_s[-1] > cleared_s + 0.3, "a while after clearing")
    listener.measured.clear()
    since_s = listener.clock_s[-1]
    listener.until(lambda: listener.clock_s[-1] > since_s + 0.2, "a while without poses")
    assert not listener.measured
    response = listener.call(listener.reset_scene, ResetScene.Request(task="peg_insertion_side", seed=1))
    assert not response.success
    assert "the twin has no hole" in response.message


def test_impossible_scene_is_refused_with_the_reason(listener: Listener) -> None:
    response = listener.call(listener.reset_scene, ResetScene.Request(task="juggle", seed=1))
    assert not response.success
    assert "unknown task 'juggle'" in response.message


def test_a_push_moves_the_cube_and_an_impossible_one_is_refused(listener: Listener) -> None:
    listener.call(listener.reset_scene, ResetScene.Request(task="push_cube", seed=11))
    before_m = listener.cube_m()
    # 0.36 N less the friction of 0.4 * 0.064 kg * 9.81 m/s2 = 0.251 N: 1.7 m/s2 for 0.15 s, then 3.9 m/s2 of braking:
    # 1.9 cm + 0.8 cm
    for values, moved in (({"push_newton": [0.0, -0.36, 0.0], "push_s": 0.15}, True), ({"push_body": "table"}, False)):
        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        listener.call(listener.set_parameters, SetParameters.Request(parameters=parameters))
        response = listener.call(listener.push, Trigger.Request())
        assert response.success is moved, response.message
    assert "no object or link 'table'" in response.message
    listener.until(lambda: bool(listener.cube_m()[1] < before_m[1] - 0.015), "the cube to move by more than 1.5 cm")
    after_m = listener.cube_m()
    assert after_m[1] == pytest.approx(before_m[1] - 0.027, abs=0.015)
    assert after_m[0] == pytest.approx(before_m[0], abs=0.005)


def test_injected_fault_shows_in_diagnostics(listener: Listener) -> None:
    response = listener.call(listener.inject_fault, Trigger.Request())
    assert (response.success, response.message) == (True, "injected joint_reflex")

    def told() -> bool:
        status = listener.diagnostics[-1].status[0] if listener.diagnostics else None
        return status is not None and "joint_reflex" in status.message and real_time_factor(status) > 0.0

    listener.until(told, "the fault and the real-time factor in /diagnostics")
    assert listener.diagnostics[-1].status[0].hardware_id.startswith("127.")


def real_time_factor(status: DiagnosticStatus) -> float:
    return float({pair.key: pair.value for pair in status.values}["real_time_factor"])


@pytest.mark.beside
@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"address": "10.0.0.1"}, "address is 10.0.0.1: the twin listens on loopback only"),
        ({"address": "auto", "speed": 0.0}, "speed is 0.0"),
        ({"address": "auto", "object_friction": -1.0}, "object_friction is -1.0"),
    ],
)
def test_bad_parameter_ends_the_process_with_the_reason(parameters: dict[str, object], reason: str) -> None:
    output = output_of_refused_start(DOMAIN_ID, "twin_node", **parameters)
    assert f"on_configure refused: {reason}" in output.replace("scene.", "")


def test_without_autostart_it_waits_to_be_managed(tmp_path: Path) -> None:
    words = node_words("twin_node", name="managed", address="auto", autostart="false")
    listener = Listener()
    with (
        contextlib.closing(listener),
        python(DOMAIN_ID, *words, log=tmp_path / "log") as process,
    ):
        change_state = listener.node.create_client(ChangeState, "/managed/change_state")
        listener.until(lambda: "managed" in listener.node.get_node_names(), "the node's name")
        assert "/clock" not in published_by(listener.node, "managed")
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=transition))
            assert listener.call(change_state, request).success
        listener.until(lambda: "/clock" in published_by(listener.node, "managed"), "the clock")
        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
        assert listener.call(change_state, request).success
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0, (tmp_path / "log").read_text()


def published_by(node: Node, name: str) -> list[str]:
    return [topic for topic, _ in node.get_publisher_names_and_types_by_node(name, "/")]
