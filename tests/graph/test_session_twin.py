"""The whole graph: twin, bridge, policy node and session, as they run for a user."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rclpy

from tests.support.bundles import make_bundle
from tests.support.processes import PATIENCE_S, node_words, own_domain, python, wait_for
from vlajs.bringup import free_twin_address
from vlajs.policy.bundle import PolicyBundle, save_bundle
from vlajs.session.journal import read_session
from vlajs.session.plan import plan_trials
from vlajs.session.preparation import TrialSettings, load_policy, prepare
from vlajs.session.records import Checkpoint
from vlajs.states import RobotMode
from vlajs.tasks import get_task

pytestmark = [pytest.mark.graph, pytest.mark.timeout(900)]

SESSION_DOMAIN_ID, HOLD_DOMAIN_ID = own_domain(), own_domain()
UP_M_S = 0.06


def rising_bundle(horizon_steps: int) -> PolicyBundle:
    """Whatever it sees, it raises the tool, away from everything, at ``UP_M_S``."""
    bundle = make_bundle(scale=0.0, horizon_steps=horizon_steps)
    contract = bundle.contract
    weight, bias = bundle.layers[-1]
    action = np.zeros_like(bias)
    action[2] = UP_M_S / contract.control_rate_hz / contract.action.position_scale_m
    return replace(bundle, layers=(*bundle.layers[:-1], (weight, action)))


def finished(session: Path) -> int:
    journal = session / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def test_session_on_the_twin_is_killed_and_resumed(tmp_path: Path):
    """It starts a twin with the larger cube that push_cube_v2 needs: one with another refuses to set its scene."""
    checkpoint, session, log = tmp_path / "policy.safetensors", tmp_path / "session", tmp_path / "cli.log"
    bundle, task = rising_bundle(horizon_steps=20), get_task("push_cube_v2")
    contract = replace(bundle.contract, task=task.name, instruction=task.instruction)
    save_bundle(replace(bundle, contract=contract), checkpoint)
    words = ["run", "--task", task.name, "--checkpoint", str(checkpoint), "--trials", "2", "--seed", "11"]
    command = ["-m", "vlajs.cli", "session"]
    with python(SESSION_DOMAIN_ID, *command, *words, "--launch", "twin", "--folder", str(session), log=log) as process:
        wait_for(lambda: finished(session) == 1 or process.poll() is not None, "the first trial", 3 * PATIENCE_S)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert finished(session) == 1, log.read_text()
    with python(SESSION_DOMAIN_ID, *command, "resume", str(session), log=log) as process:
        assert process.wait(3 * PATIENCE_S) == 0, log.read_text()
    assert log.read_text().splitlines()[-1] == "RESULT task=push_cube_v2 trials=2 success=0 wilson95=[0.000,0.658]"
    results = read_session(session).results
    assert [(result.trial, result.outcome) for result in results] == [(1, "time_limit"), (2, "time_limit")]
    for result in results:
        # 20 steps at 20 Hz; the cube stays where it was put: the goal's middle is 0.1 m and its radius of 0.1 m away
        assert result.duration_s == pytest.approx(1.0)
        assert result.final_distance_m == pytest.approx(0.2, abs=0.005)
    assert sorted(path.name for path in (session / "trials").iterdir()) == [
        "0001.json",
        "0001.mcap",
        "0002.json",
        "0002.mcap",
    ]


@pytest.fixture
def ros_domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """rclpy in this process, in the test's domain."""
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init(domain_id=HOLD_DOMAIN_ID)
    yield
    rclpy.try_shutdown()


class Observer:
    """Begins an episode as a session does, and sees how high the true tool is."""

    def __init__(self, checkpoint: Checkpoint, control_rate_hz: float) -> None:
        from vlajs.nodes.session_graph import RosGraph

        task = get_task("push_cube")
        self.graph = RosGraph(task, "twin", record=False)
        self.plan = plan_trials(task, 1, 11)[0]
        self.settings = TrialSettings(task=task, checkpoint=checkpoint, control_rate_hz=control_rate_hz)

    def height_m(self) -> float:
        sample = self.graph.watch(5.0)
        assert sample is not None, "the twin is silent"
        assert sample.tool is not None
        return float(sample.tool.position_m[2])

    def begin(self) -> bool:
        """Until the arm is under way; False when the planner gave up before, which it may on a busy machine."""
        prepare(self.graph, self.plan, self.settings)
        self.graph.publish_goal(self.plan.scene.goal_m)
        start_m = self.height_m()
        self.graph.start_policy()
        wait_for(lambda: self.height_m() > start_m + 0.02 or self.mode() == RobotMode.FAULT, "the arm to move")
        return self.mode() != RobotMode.FAULT

    def mode(self) -> RobotMode:
        return self.graph.robot().mode

    def wait_robot_time(self, duration_s: float) -> None:
        end_s = self.graph.now_s() + duration_s
        wait_for(lambda: self.graph.now_s() > end_s, f"{duration_s} s of robot time")
        while self.graph.watch(0.0) is not None:
            pass


@pytest.mark.usefixtures("ros_domain")
def test_arm_holds_when_the_policy_is_killed_in_motion(tmp_path: Path):
    from vlajs.nodes.session_graph import spinning

    checkpoint = tmp_path / "policy.safetensors"
    bundle = rising_bundle(horizon_steps=400)
    save_bundle(bundle, checkpoint)
    address = free_twin_address()

    def node(module: str, **parameters: object):
        return python(HOLD_DOMAIN_ID, *node_words(module, **parameters), log=tmp_path / f"{module}.log")

    contract = bundle.contract
    observer = Observer(Checkpoint.of(checkpoint, contract.contract_id, {}), contract.control_rate_hz)
    with (
        spinning(observer.graph),
        node("twin_node", address=address),
        node("bridge_node", robot_ip=address, use_sim_time="true"),
        node("policy_node", checkpoint=checkpoint, use_sim_time="true") as policy,
    ):
        observer.graph.wait_for_nodes(PATIENCE_S)
        load_policy(observer.graph, observer.settings)
        assert any(observer.begin() for _ in range(5)), observer.graph.robot().faults
        policy.kill()
        wait_for(lambda: observer.mode() == RobotMode.HOLDING, "the bridge to hold")
        observer.wait_robot_time(0.5)  # it brakes from 0.06 m/s
        rest_m = observer.height_m()
        observer.wait_robot_time(1.5)
        # at 0.06 m/s it would have risen by 90 mm
        assert observer.height_m() == pytest.approx(rest_m, abs=0.002)
        assert observer.mode() == RobotMode.HOLDING
        assert observer.graph.robot().faults == ()
