"""The baseline node with twin, camera, bridge and a VLA server, each a process of its own, over real DDS."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from std_srvs.srv import Trigger

from tests.support.bundles import make_bundle
from tests.support.moving_vla import STEP_M
from tests.support.processes import PATIENCE_S, node_words, output_of_refused_start, own_domain, python
from tests.support.station import BEST_EFFORT, RELIABLE, position
from tests.support.tester import Tester
from vlajs.bringup import free_twin_address
from vlajs.nodes.messages import LATCHED_QOS
from vlajs.policy.bundle import save_bundle
from vlajs_msgs.msg import EndEffectorDelta, PolicyState, RobotStatus
from vlajs_msgs.srv import StartPolicy

pytestmark = [pytest.mark.graph, pytest.mark.timeout(600)]

DOMAIN_ID, REFUSED_DOMAIN_ID = own_domain(), own_domain()
INSTRUCTION = "push the cube away from the robot base"


class Bench(Tester):
    """Starts and stops episodes, tells the server how to behave, hears bridge, tool, commands and the node's words."""

    def __init__(self, mood: Path, port: int, log: Path) -> None:
        super().__init__("bench", DOMAIN_ID)
        self.mood, self.port, self.log = mood, port, log
        self.server: subprocess.Popen[bytes] | None = None
        self.statuses: list[RobotStatus] = []
        self.tools: list[PoseStamped] = []
        self.commands: list[EndEffectorDelta] = []
        self.states: list[PolicyState] = []
        self.health: dict[str, str] = {}
        self.node.create_subscription(RobotStatus, "/franka/status", self.statuses.append, RELIABLE)
        self.node.create_subscription(PoseStamped, "/franka/tcp_pose", self.tools.append, BEST_EFFORT)
        self.node.create_subscription(EndEffectorDelta, "/command/ee_delta", self.commands.append, RELIABLE)
        self.node.create_subscription(PolicyState, "/baseline/state", self.states.append, LATCHED_QOS)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self.on_diagnostics, RELIABLE)
        self.start = self.node.create_client(StartPolicy, "/baseline/start")
        self.stop = self.node.create_client(Trigger, "/baseline/stop")
        self.recover = self.node.create_client(Trigger, "/franka/recover")
        self.home = self.node.create_client(Trigger, "/franka/home")
        self.manage = {
            name: self.node.create_client(ChangeState, f"/{name}/change_state") for name in ("policy", "vla_baseline")
        }

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        self.health |= {status.name: status.message for status in message.status}

    def told(self) -> str:
        return f"; state {self.states[-1:]}, bridge {self.statuses[-1:]}, health {self.health}"

    def change(self, name: str, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.call(self.manage[name], request).success

    def begin(self) -> None:
        """An episode from the start configuration, started as soon as server, camera and bridge are there."""
        self.mood.write_text("move")
        self.end()  # of a test that failed
        self.statuses.clear()
        self.until(lambda: bool(self.statuses) and self.statuses[-1].mode != RobotStatus.MODE_TRACKING, "the arm held")
        if self.statuses[-1].mode == RobotStatus.MODE_FAULT:
            assert self.call(self.recover, Trigger.Request()).success
        answer = self.call(self.home, Trigger.Request())
        assert answer.success, answer.message
        self.until(lambda: not self.statuses[-1].commander, "nobody commanding")
        self.commands.clear()
        answers: list[StartPolicy.Response] = []

        def started() -> bool:
            answers.append(self.call(self.start, StartPolicy.Request(task="push_cube")))
            return answers[-1].success

        self.until(started, "the episode to start")
        self.tools.clear()
        self.until(lambda: bool(self.tools), "a tool pose")
        self.from_m = position(self.tools[-1])

    def end(self) -> None:
        assert self.call(self.stop, Trigger.Request()).success

    def moved_m(self) -> np.ndarray:
        return position(self.tools[-1]) - self.from_m

    def until_ahead(self, distance_m: float) -> None:
        self.until(lambda: self.moved_m()[0] > distance_m, f"the tool {distance_m} m ahead")

    def robot_time(self, duration_s: float) -> None:
        """Let the arm's clock go on."""
        begin_s = self.statuses[-1].robot_time_s
        self.until(lambda: self.statuses[-1].robot_time_s >= begin_s + duration_s, "robot time")

    def until_held(self, words: str) -> None:
        """Nothing is sent, the bridge holds, the node says why, and the arm stays where it is."""
        self.until(lambda: self.statuses[-1].mode == RobotStatus.MODE_HOLDING, "the bridge to hold")
        self.until(lambda: words in self.states[-1].reason, f"the reason {words!r}")
        self.until(lambda: words in self.health.get("vla_baseline: episode", ""), "the diagnostics")
        self.robot_time(0.3)
        sent, rest_m = len(self.commands), position(self.tools[-1])
        self.robot_time(0.6)
        assert len(self.commands) == sent
        assert np.linalg.norm(position(self.tools[-1]) - rest_m) < 1e-3
        assert self.statuses[-1].faults == []


@contextlib.contextmanager
def serving(mood: Path, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with python(DOMAIN_ID, "-m", "tests.support.moving_vla", str(port), str(mood), log=log) as process:
        yield process


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("baseline")
    mood = folder / "mood"
    mood.write_text("move")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = free_twin_address()

    def node(module: str, **parameters: object):
        return python(DOMAIN_ID, *node_words(module, **parameters), log=folder / f"{module}.log")

    with (
        contextlib.closing(Bench(mood, port, folder / "vla_baseline_node.log")) as bench,
        serving(mood, port, folder / "server.log") as server,
        # a busy machine slows the arm instead of losing its packets
        node("twin_node", address=address, command_patience_s=0.2),
        node("twin_camera_node", width=128, height=96, rate_hz=10, use_sim_time="true"),
        node("bridge_node", robot_ip=address, use_sim_time="true", connect_timeout_s=60.0),
        node(
            "vla_baseline_node",
            backend="vlajs",
            url=f"http://127.0.0.1:{port}",
            task="push_cube",
            use_sim_time="true",
            server_patience_s=4.0,
            answer_timeout_s=120.0,
        ) as baseline,
    ):
        bench.server = server
        yield bench
        baseline.terminate()
        assert baseline.wait(PATIENCE_S) == 0, (folder / "vla_baseline_node.log").read_text()


def test_the_arm_does_what_the_vla_says(bench: Bench) -> None:
    bench.begin()
    bench.until_ahead(0.06)
    bench.mood.write_text("still")
    bench.robot_time(0.8)
    commands = list(bench.commands)
    assert {(command.source, command.header.frame_id) for command in commands} == {("vla", "panda_link0")}
    assert [command.sequence for command in commands] == list(range(len(commands)))
    steps_m = np.array([command.delta_pos_m.x for command in commands])
    assert set(np.round(steps_m, 6)) == {0.0, STEP_M}
    assert all(command.gripper_width_m == 0.08 for command in commands)
    # what was commanded was reached, and nothing else: the target goes on from where it was while the VLA thinks
    np.testing.assert_allclose(bench.moved_m(), [steps_m.sum(), 0.0, 0.0], atol=4e-3)
    state = bench.states[-1]
    assert (state.phase, state.task, state.reason) == (PolicyState.PHASE_RUNNING, "push_cube", "")
    assert state.contract_id.startswith("vla-")
    bench.end()
    assert "stopped on request" in bench.states[-1].reason


def test_a_slow_server_is_not_obeyed(bench: Bench) -> None:
    bench.begin()
    bench.until_ahead(0.03)
    bench.mood.write_text("slow")
    bench.until_held("no answer for more than 1 s")
    before_m, sent, logged = bench.moved_m()[0], len(bench.commands), len(bench.log.read_text())
    bench.mood.write_text("still")  # the answer that was waited for says to move
    # in the log: as a state it lasts until the next answer, and of two states in a row only the newer may arrive
    bench.until(lambda: "stale answer: its picture was taken" in bench.log.read_text()[logged:], "a drop")
    bench.until(lambda: len(bench.commands) > sent, "answers in time")
    assert not any(command.delta_pos_m.x for command in bench.commands[sent:])
    bench.mood.write_text("move")
    bench.until_ahead(before_m + 0.02)
    bench.end()


def test_an_answer_that_is_no_number_is_not_obeyed(bench: Bench) -> None:
    bench.begin()
    bench.until_ahead(0.03)
    bench.mood.write_text("nan")
    bench.until_held("NaN or infinity")
    bench.mood.write_text("move")
    before_m = bench.moved_m()[0]
    bench.until_ahead(before_m + 0.02)
    bench.end()


def test_a_policy_beside_an_active_baseline_is_refused_and_they_change_places(bench: Bench, tmp_path: Path) -> None:
    checkpoint, log = tmp_path / "policy.safetensors", tmp_path / "policy.log"
    save_bundle(make_bundle("push_cube", horizon_steps=2000), checkpoint)
    said = output_of_refused_start(DOMAIN_ID, "policy_node", checkpoint=checkpoint, use_sim_time="true")
    assert "on_activate refused: vla_baseline may command the arm, too" in said
    assert "ros2 lifecycle set /vla_baseline deactivate" in said
    words = node_words("policy_node", checkpoint=checkpoint, use_sim_time="true", start_active="false")
    with python(DOMAIN_ID, *words, log=log):
        assert not bench.change("policy", Transition.TRANSITION_ACTIVATE)
        assert bench.change("vla_baseline", Transition.TRANSITION_DEACTIVATE)
        refused = bench.call(bench.start, StartPolicy.Request(task="push_cube"))
        assert "not active" in refused.message
        bench.until(lambda: bench.change("policy", Transition.TRANSITION_ACTIVATE), "the policy to be active")
        assert not bench.change("vla_baseline", Transition.TRANSITION_ACTIVATE)
        assert bench.change("policy", Transition.TRANSITION_DEACTIVATE)
        bench.until(lambda: bench.change("vla_baseline", Transition.TRANSITION_ACTIVATE), "the baseline to be active")


def test_a_stranger_who_begins_to_publish_ends_the_episode(bench: Bench) -> None:
    bench.begin()
    bench.until_ahead(0.01)
    intruder = bench.node.create_publisher(EndEffectorDelta, "/command/ee_delta", RELIABLE)
    bench.until(lambda: bench.states[-1].phase == PolicyState.PHASE_STOPPED, "the end of the episode")
    assert "bench may command the arm, too" in bench.states[-1].reason
    bench.node.destroy_publisher(intruder)


def test_a_killed_server_leaves_the_arm_held_and_ends_the_episode(bench: Bench, tmp_path: Path) -> None:
    """Last of all: the server comes back, and the next episode runs."""
    bench.begin()
    bench.until_ahead(0.03)
    assert bench.server is not None
    bench.server.kill()
    bench.until_held(str(bench.port))
    assert str(bench.port) in bench.health["vla_baseline: server"]
    bench.until(lambda: bench.states[-1].phase == PolicyState.PHASE_STOPPED, "patience to end")
    assert "no usable answer for 4 s (server_patience_s)" in bench.states[-1].reason
    refused = bench.call(bench.start, StartPolicy.Request(task="push_cube"))
    assert not refused.success
    assert f"127.0.0.1:{bench.port}" in refused.message
    with serving(bench.mood, bench.port, tmp_path / "server.log"):
        bench.begin()
        bench.until_ahead(0.02)
        bench.end()


@pytest.mark.beside
@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"backend": "vlajs"}, "on_configure refused: instruction is empty"),
        (
            {"backend": "vlajs", "task": "push_cube", "token_file": "/nowhere/token"},
            "token_file /nowhere/token cannot be",
        ),
    ],
)
def test_a_start_that_cannot_work_is_refused_with_its_reason(parameters: dict, words: str) -> None:
    said = output_of_refused_start(REFUSED_DOMAIN_ID, "vla_baseline_node", **parameters)
    assert words in said
