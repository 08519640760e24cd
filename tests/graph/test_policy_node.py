"""The policy node as a process of its own, with a small stand-in for bridge, estimator and clock in this one."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PointStamped, PoseStamped, PoseWithCovarianceStamped
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from safetensors.numpy import save
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from tests.support.bundles import make_bundle, make_contract
from tests.support.processes import PATIENCE_S, node_words, output_of_refused_start, own_domain, python, wait_for
from tests.support.tester import own_context
from vlajs.policy.bundle import save_bundle
from vlajs_msgs.msg import EndEffectorDelta, PolicyState, RobotStatus
from vlajs_msgs.srv import LoadCheckpoint, StartPolicy

pytestmark = [pytest.mark.graph, pytest.mark.beside]

DOMAIN_ID = own_domain()
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
HORIZON = 2000
ACTION = make_contract("push_cube").action
STEP_NS, STEP_WALL_S = 10_000_000, 0.02
"""At half speed a busy machine has twice the time for what must be done within a time of the robot's clock."""


class World(Node):
    """Publishes robot, cube and ``/clock`` at 100 Hz of robot time; records what the policy sends."""

    def __init__(self, context: Context) -> None:
        super().__init__("world", context=context)
        self.time_ns = 10_000_000_000
        self.commands: list[EndEffectorDelta] = []
        self.reset()
        self.states: list[PolicyState] = []
        self.tcp_out = self.create_publisher(PoseStamped, "/franka/tcp_pose", BEST_EFFORT)
        self.target_out = self.create_publisher(PoseStamped, "/franka/target_pose", BEST_EFFORT)
        self.joints_out = self.create_publisher(JointState, "/franka/joint_states", BEST_EFFORT)
        self.status_out = self.create_publisher(RobotStatus, "/franka/status", 1)
        self.cube_out = self.create_publisher(PoseWithCovarianceStamped, "/objects/cube/pose", BEST_EFFORT)
        self.goal_out = self.create_publisher(PointStamped, "/task/goal", LATCHED)
        self.clock_out = self.create_publisher(Clock, "/clock", BEST_EFFORT)
        self.create_subscription(EndEffectorDelta, "/command/ee_delta", self.commands.append, 10)
        self.create_subscription(PolicyState, "/policy/state", self.states.append, LATCHED)
        self.start = self.create_client(StartPolicy, "/policy/start")
        self.stop = self.create_client(Trigger, "/policy/stop")
        self.load = self.create_client(LoadCheckpoint, "/policy/load_checkpoint")
        self.create_timer(STEP_WALL_S, self.step)

    def reset(self) -> None:
        """A robot in order that sees the cube."""
        self.mode = RobotStatus.MODE_READY
        self.leash_m = ACTION.leash_m
        self.finger_m = 0.0
        self.cube_published = True
        self.clock_runs = True
        self.commands.clear()

    def step(self) -> None:
        if not self.clock_runs:
            return
        self.time_ns += STEP_NS
        stamp = Time(nanoseconds=self.time_ns).to_msg()
        self.clock_out.publish(Clock(clock=stamp))
        pose = PoseStamped()
        pose.header.frame_id, pose.header.stamp = "panda_link0", stamp
        pose.pose.position.x, pose.pose.position.z = 0.5, 0.2
        pose.pose.orientation.x, pose.pose.orientation.w = 1.0, 0.0  # tool down
        self.tcp_out.publish(pose)
        self.target_out.publish(pose)
        joints = JointState(position=[0.0] * 7 + [self.finger_m, self.finger_m])
        joints.header.stamp = stamp
        self.joints_out.publish(joints)
        self.publish_status(stamp)
        if self.cube_published:
            cube = PoseWithCovarianceStamped(header=pose.header)
            cube.pose.pose.position.x, cube.pose.pose.position.z = 0.6, 0.02
            self.cube_out.publish(cube)

    def publish_status(self, stamp: Any) -> None:
        status = RobotStatus(mode=self.mode, gripper_width_m=2 * self.finger_m)
        status.header.stamp = stamp
        status.limits.max_step_m = ACTION.position_scale_m
        status.limits.max_step_rad = ACTION.rotation_scale_rad
        status.limits.leash_m, status.limits.leash_rad = self.leash_m, ACTION.leash_rad
        status.limits.workspace_min_m = list(ACTION.workspace_min_m)
        status.limits.workspace_max_m = list(ACTION.workspace_max_m)
        self.status_out.publish(status)

    def publish_goal(self) -> None:
        goal = PointStamped()
        goal.header.frame_id = "panda_link0"
        goal.point.x = 0.8
        self.goal_out.publish(goal)

    def call(self, client: Any, request: Any) -> Any:
        """Call a service from the test's thread."""
        assert client.wait_for_service(PATIENCE_S)
        future = client.call_async(request)
        wait_for(future.done, f"an answer from {client.srv_name}")
        return future.result()

    def start_policy(self, task: str = "push_cube") -> StartPolicy.Response:
        return self.call(self.start, StartPolicy.Request(task=task))

    def start_until(self, accepted: Callable[[StartPolicy.Response], bool]) -> StartPolicy.Response:
        """Start again until the answer is as wanted: discovery brings topics in at their own pace."""
        answer: list[StartPolicy.Response] = []

        def tried() -> bool:
            answer.append(self.start_policy())
            return accepted(answer[-1])

        wait_for(tried, "the expected answer to /policy/start", told=lambda: answer[-1].message)
        return answer[-1]

    def load_checkpoint(self, path: Path, expected_task: str = "") -> LoadCheckpoint.Response:
        return self.call(self.load, LoadCheckpoint.Request(path=str(path), expected_task=expected_task))

    def wait_for_phase(self, phase: int) -> PolicyState:
        wait_for(
            lambda: bool(self.states) and self.states[-1].phase == phase,
            f"phase {phase}",
            told=lambda: str(self.states[-1:]),
        )
        return self.states[-1]


def stamp_ns(command: EndEffectorDelta) -> int:
    return command.header.stamp.sec * 1_000_000_000 + command.header.stamp.nanosec


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    made = {
        "push": make_bundle("push_cube", horizon_steps=HORIZON),
        "short": make_bundle("push_cube", seed=1, horizon_steps=5),
        "pick": make_bundle("pick_cube", horizon_steps=HORIZON),
        "slow": make_bundle("push_cube", control_rate_hz=12.5),
        "leashed": make_bundle("push_cube", action=replace(ACTION, leash_m=0.03)),
    }
    for name, bundle in made.items():
        save_bundle(bundle, folder / f"{name}.safetensors")
    contract = {"contract": "[" * 100_000, "weights_sha256": ""}
    (folder / "deep.safetensors").write_bytes(save({"obs_mean": np.zeros(1, dtype=np.float32)}, contract))
    (folder / "broken.safetensors").write_bytes((folder / "push.safetensors").read_bytes()[:-100])
    return {path.stem: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def policy_process(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    log = tmp_path_factory.mktemp("policy") / "log"
    # with half of each step, so that an episode has twice as many
    words = node_words("policy_node", checkpoint=bundles["push"], use_sim_time="true", stride=0.5)
    with python(DOMAIN_ID, *words, log=log) as process:
        yield
        process.terminate()
        assert process.wait(PATIENCE_S) == 0, log.read_text()


@pytest.fixture(scope="module")
def graph(policy_process: None) -> Iterator[World]:
    context = own_context(DOMAIN_ID)
    node = World(context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    yield node
    executor.shutdown()
    thread.join(PATIENCE_S)
    node.destroy_node()
    context.try_shutdown()


@pytest.fixture
def world(graph: World, bundles: dict[str, Path]) -> Iterator[World]:
    """Everything in order, the long push policy loaded, no episode."""
    graph.reset()
    graph.publish_goal()
    wait_for(lambda: graph.load_checkpoint(bundles["push"]).success, "the node to see the cube's publisher")
    yield graph
    graph.reset()
    graph.call(graph.stop, Trigger.Request())


def test_a_start_without_goal_is_refused(graph: World) -> None:
    """First of all tests: the goal is latched and nobody has published one."""
    answer = graph.start_until(lambda answer: "/task/goal" in answer.message)
    assert not answer.success
    assert "term 'goal_from_cube' has no source: nothing received on /task/goal" in answer.message
    state = graph.wait_for_phase(PolicyState.PHASE_REFUSED)
    assert "/task/goal" in state.reason
    assert graph.commands == []


def test_an_episode_ticks_on_robot_time_from_sequence_0(world: World) -> None:
    world.start_until(lambda answer: answer.success)
    wait_for(lambda: len(world.commands) >= 20, "20 commands")
    commands = list(world.commands)
    state = world.wait_for_phase(PolicyState.PHASE_RUNNING)
    assert world.call(world.stop, Trigger.Request()).success
    first, last = commands[0], commands[-1]
    assert [c.sequence for c in commands] == list(range(len(commands)))
    assert {(c.source, c.contract_id, c.header.frame_id) for c in commands} == {
        ("policy", state.contract_id, "panda_link0")
    }
    assert state.contract_id.startswith("push_cube-")
    # 20 Hz: 50 ms of robot time a tick; stamps are those of the 100 Hz state, so either end may be 2 states off
    span_ms = (stamp_ns(last) - stamp_ns(first)) / 1e6
    assert span_ms >= 50 * (len(commands) - 1) - 20
    ended = world.wait_for_phase(PolicyState.PHASE_STOPPED)
    assert span_ms <= 50 * (len(commands) - 1 + ended.overruns) + 20
    assert ended.reason == "stopped on request"


def test_robot_time_that_stands_still_stops_the_ticks(world: World) -> None:
    world.start_until(lambda answer: answer.success)
    wait_for(lambda: len(world.commands) >= 3, "commands")
    world.clock_runs = False
    time.sleep(1.0)  # twenty periods of wall time
    # as many as fit into robot time, one at its beginning and one under way
    assert len(world.commands) <= (world.time_ns - stamp_ns(world.commands[0])) / 50e6 + 2


def test_nothing_follows_a_stop_and_the_next_episode_counts_from_0(world: World) -> None:
    world.start_until(lambda answer: answer.success)
    wait_for(lambda: len(world.commands) >= 3, "commands")
    assert "episode is running" in world.start_policy().message
    assert world.call(world.stop, Trigger.Request()).message == "stopped"
    stopped_ns = world.time_ns
    # one for every step: those under way arrive, and none after them
    steps = world.wait_for_phase(PolicyState.PHASE_STOPPED).step
    wait_for(lambda: world.commands[-1].sequence >= steps - 1, "the last command")
    wait_for(lambda: world.time_ns - stopped_ns > 300_000_000, "six periods of robot time")
    assert world.commands[-1].sequence == steps - 1
    world.commands.clear()
    world.start_until(lambda answer: answer.success)
    wait_for(lambda: len(world.commands) >= 1, "a command")
    assert world.commands[0].sequence == 0


def test_the_horizon_ends_the_episode(world: World, bundles: dict[str, Path]) -> None:
    assert world.load_checkpoint(bundles["short"], "push_cube").success
    world.start_until(lambda answer: answer.success)
    state = world.wait_for_phase(PolicyState.PHASE_FINISHED)
    # 5 steps of the whole length are 10 of half of it
    assert (state.step, state.horizon_steps, state.reason) == (10, 10, "horizon of 10 steps reached")
    wait_for(lambda: len(world.commands) >= 10, "10 commands")
    assert [command.sequence for command in world.commands] == list(range(10))


def test_the_hand_is_prepared_before_the_first_action(world: World) -> None:
    world.finger_m = 0.04  # open: the push policy wants it closed

    def prepares() -> bool:
        """Once the node has heard of the open hand."""
        world.start_until(lambda answer: answer.success)
        wait_for(lambda: len(world.commands) >= 1, "a command")
        if world.commands[0].delta_pos_m.x == 0.0:
            return True
        world.call(world.stop, Trigger.Request())
        world.commands.clear()
        return False

    wait_for(prepares, "an episode that prepares the hand")
    world.wait_for_phase(PolicyState.PHASE_PREPARING)
    command = world.commands[0]
    assert (command.delta_pos_m.x, command.delta_rotvec_rad.z, command.gripper_width_m) == (0.0, 0.0, 0.0)
    world.finger_m = 0.0
    state = world.wait_for_phase(PolicyState.PHASE_RUNNING)
    assert state.step >= 1


def test_a_stale_cube_stops_the_commands_and_ends_the_episode(world: World) -> None:
    world.start_until(lambda answer: answer.success)
    wait_for(lambda: len(world.commands) >= 3, "commands")
    world.cube_published = False
    state = world.wait_for_phase(PolicyState.PHASE_STOPPED)
    assert "stale input: /objects/cube/pose" in state.reason
    assert "limit 0.2 s" in state.reason
    refused = world.start_policy()
    assert not refused.success
    assert "/objects/cube/pose" in refused.message


def test_a_robot_fault_ends_the_episode(world: World) -> None:
    world.start_until(lambda answer: answer.success)
    wait_for(lambda: len(world.commands) >= 3, "commands")
    world.mode = RobotStatus.MODE_FAULT
    assert "mode FAULT" in world.wait_for_phase(PolicyState.PHASE_STOPPED).reason


def test_start_is_refused_for_another_task_or_under_other_limits(world: World) -> None:
    assert "'push_cube', 'pick_cube' was asked for" in world.start_policy("pick_cube").message
    world.leash_m = 0.05
    answer = world.start_until(lambda answer: "leash_m" in answer.message)
    assert not answer.success
    assert "trained under leash_m = 0.04, the bridge enforces 0.05" in answer.message


@pytest.mark.parametrize(
    ("name", "expected_task", "message"),
    [
        ("broken", "", "truncated"),
        ("missing", "", "does not exist"),
        ("deep", "", "the contract is not JSON"),
        ("pick", "push_cube", "task is 'pick_cube', 'push_cube' was asked for"),
        ("slow", "push_cube", "control rate 12.5 Hz differs from the loaded policy's 20 Hz"),
        ("leashed", "push_cube", "trained under leash_m = 0.03, the bridge enforces 0.04"),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused_and_the_old_one_stays(
    world: World, bundles: dict[str, Path], name: str, expected_task: str, message: str
) -> None:
    before = world.states[-1].contract_id
    answer = world.load_checkpoint(bundles.get(name, Path("/nowhere/missing.safetensors")), expected_task)
    assert not answer.success
    assert message in answer.message
    assert answer.message.endswith("the loaded policy stays")
    started = world.start_until(lambda answer: answer.success)
    assert started.contract_id == before


def test_a_bundle_is_swapped_between_episodes(world: World, bundles: dict[str, Path]) -> None:
    first = world.start_until(lambda answer: answer.success)
    wait_for(lambda: len(world.commands) >= 2, "commands")
    answer = world.load_checkpoint(bundles["short"])
    assert answer.success
    assert answer.message == "loaded; it takes over after the running episode"
    assert answer.contract_id != first.contract_id
    count = len(world.commands)
    wait_for(lambda: len(world.commands) >= count + 10, "commands of the running episode")
    assert {command.contract_id for command in world.commands} == {first.contract_id}
    world.call(world.stop, Trigger.Request())
    world.commands.clear()
    second = world.start_until(lambda answer: answer.success)
    assert (second.contract_id, second.horizon_steps) == (answer.contract_id, 10)
    wait_for(lambda: len(world.commands) >= 1, "commands")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "parameter checkpoint is empty"),
        ({"checkpoint": "/nowhere/policy.safetensors"}, "/nowhere/policy.safetensors does not exist"),
        ({"checkpoint": "deep"}, "the contract is not JSON"),
        ({"checkpoint": "a" * 300}, "File name too long"),
        ({"checkpoint": "push", "objects_age_limit_s": -1.0}, "objects_s = -1.0 s"),
        ({"checkpoint": "push", "stride": 1.5}, "stride = 1.5 is outside [0.05, 1]"),
    ],
)
def test_a_node_that_cannot_be_configured_says_why_and_exits(
    bundles: dict[str, Path], parameters: dict[str, Any], message: str
) -> None:
    if parameters.get("checkpoint") in bundles:
        parameters = {**parameters, "checkpoint": bundles[parameters["checkpoint"]]}
    output = output_of_refused_start(DOMAIN_ID, "policy_node", **parameters)
    assert message in output
    assert "Traceback" not in output
