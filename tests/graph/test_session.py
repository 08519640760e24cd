"""`vlajs session` as a process with the real policy node; twin and bridge are stood in for."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rclpy.action import ActionClient
from rosbags.highlevel import AnyReader

from tests.support.bundles import make_bundle
from tests.support.processes import PATIENCE_S, node_words, own_domain, python, wait_for
from tests.support.session_graph import make_header
from tests.support.tester import Tester
from vlajs.policy.bundle import save_bundle
from vlajs.session.journal import SessionFolder, read_session
from vlajs.session.records import Checkpoint
from vlajs_msgs.action import RunTrial

pytestmark = [pytest.mark.graph, pytest.mark.beside]

DOMAIN_ID, EMPTY_DOMAIN_ID = own_domain(), own_domain()
FAST_M_S = 0.2
SLOW_M_S = 0.001
"""Speeds of the stand-in's cube: the goal's edge, 0.1 m away, is reached in half a second, or never."""


def idle_policy(folder: Path, horizon_steps: int) -> Path:
    """A policy that hardly moves."""
    path = folder / "policy.safetensors"
    save_bundle(make_bundle(scale=0.01, horizon_steps=horizon_steps), path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 s at most."""
    return idle_policy(tmp_path_factory.mktemp("policy"), horizon_steps=60)


@contextlib.contextmanager
def robot_and_policy(
    folder: Path, checkpoint: Path, slide_m_s: float, *robot: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Yields the policy node's process; ``robot``: words for the stand-in."""
    words = node_words("policy_node", name="policy", checkpoint=checkpoint, use_sim_time="true")
    with (
        python(DOMAIN_ID, "-m", "tests.support.robot_stand_in", str(slide_m_s), *robot, log=folder / "robot.log"),
        python(DOMAIN_ID, *words, log=folder / "policy.log") as policy,
    ):
        yield policy


def run_words(session: Path, checkpoint: Path, trials: int) -> list[str]:
    words = ["session", "run", "--task", "push_cube", "--checkpoint", str(checkpoint), "--trials", str(trials)]
    return ["-m", "vlajs.cli", *words, "--seed", "4", "--folder", str(session)]


def finished(session: Path) -> int:
    """How many trials are journalled."""
    journal = session / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def test_killed_session_is_resumed_and_its_recordings_read_back(tmp_path: Path, checkpoint: Path):
    session, log = tmp_path / "session", tmp_path / "cli.log"
    with robot_and_policy(tmp_path, checkpoint, FAST_M_S):
        with python(DOMAIN_ID, *run_words(session, checkpoint, 3), log=log) as process:
            wait_for(lambda: finished(session) >= 1, "the first trial")
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        kept = finished(session)
        assert 1 <= kept < 3, log.read_text()
        with python(DOMAIN_ID, "-m", "vlajs.cli", "session", "resume", str(session), log=log) as process:
            assert process.wait(PATIENCE_S) == 0, log.read_text()
    lines = log.read_text().splitlines()
    assert f"{3 - kept} of 3 trials to run" in log.read_text()
    assert lines[-1] == "RESULT task=push_cube trials=3 success=3 wilson95=[0.439,1.000]"  # 3 / (3 + 1.96^2)
    results = read_session(session).results
    assert [result.trial for result in results] == [1, 2, 3]
    for result in results:
        # 0.2 m less the radius of 0.1 m at 0.2 m/s = 0.5 s; the first command takes its time on a busy machine
        assert result.time_to_success_s == pytest.approx(0.5, abs=0.2)
    assert json.loads((session / "summary.json").read_text())["successes"] == 3
    assert "3 / 3" in (session / "report.html").read_text()
    _check_recording(session / "trials" / "0003.mcap")


def test_resume_runs_the_file_that_moved_not_what_lies_at_its_old_path(tmp_path: Path):
    """Both are policies of one contract: nothing but the arm's motion tells them apart."""
    old, new = tmp_path / "policy.safetensors", tmp_path / "moved.safetensors"
    session, log = tmp_path / "session", tmp_path / "cli.log"
    bundle = make_bundle(scale=0.0, horizon_steps=20)
    weight, bias = bundle.layers[-1]
    rising = replace(bundle, layers=(*bundle.layers[:-1], (weight, np.eye(len(bias), dtype=np.float32)[2])))
    save_bundle(rising, new)
    save_bundle(bundle, old)  # trained anew meanwhile
    contract_id = rising.contract.contract_id
    begun_with = replace(Checkpoint.of(new, contract_id, {}), path=str(old))
    SessionFolder.create(session, make_header(trials=1, checkpoint=begun_with, record=True)).close()
    words = ["session", "resume", str(session), "--checkpoint", str(new)]
    with (
        robot_and_policy(tmp_path, old, SLOW_M_S),
        python(DOMAIN_ID, "-m", "vlajs.cli", *words, log=log) as process,
    ):
        assert process.wait(PATIENCE_S) == 0, log.read_text()
    with AnyReader([session / "trials" / "0001.mcap"]) as reader:
        wanted = [connection for connection in reader.connections if connection.topic == "/command/ee_delta"]
        rises = [reader.deserialize(raw, found.msgtype) for found, _, raw in reader.messages(connections=wanted)]
    # the last action of the policy that rises; the other's are zero
    assert rises[-1].delta_pos_m.z > 0.0


def _check_recording(path: Path) -> None:
    """Both readers find every topic of a trial, with the same numbers."""
    commands = []
    topics: dict[str, int] = {}
    with path.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        for _, channel, _, message in reader.iter_decoded_messages():
            topics[channel.topic] = topics.get(channel.topic, 0) + 1
            if channel.topic == "/command/ee_delta":
                commands.append((message.sequence, message.delta_pos_m.x))
    expected = {"/franka/joint_states", "/franka/tcp_pose", "/franka/target_pose", "/franka/status", "/task/goal"}
    expected |= {"/command/ee_delta", "/policy/state", "/objects/cube/pose", "/twin/objects/cube/pose"}
    assert set(topics) == expected
    assert len(commands) >= 5
    with AnyReader([path]) as reader:
        wanted = [connection for connection in reader.connections if connection.topic == "/command/ee_delta"]
        again = [reader.deserialize(raw, found.msgtype) for found, _, raw in reader.messages(connections=wanted)]
        assert [(message.sequence, message.delta_pos_m.x) for message in again] == commands
        assert {connection.topic: connection.msgcount for connection in reader.connections} == topics


def test_interrupt_keeps_the_journal_and_says_how_to_go_on(tmp_path: Path, checkpoint: Path):
    session, log = tmp_path / "session", tmp_path / "cli.log"
    with robot_and_policy(tmp_path, checkpoint, SLOW_M_S):
        with python(DOMAIN_ID, *run_words(session, checkpoint, 2), log=log) as process:
            wait_for(lambda: "episode 2 of" in (tmp_path / "policy.log").read_text(), "the second trial")
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == 130, log.read_text()
        assert "interrupted: the policy is stopped and the arm holds; 1 trials are kept" in log.read_text()
        assert f"vlajs session resume {session}" in log.read_text()
        record = read_session(session)
        assert [result.outcome for result in record.results] == ["time_limit"]
        assert record.abandoned == {2: 1}
        wait_for(lambda: "stopped on request" in (tmp_path / "policy.log").read_text(), "the policy to be stopped")


def test_interrupt_stops_an_arm_on_its_way_home(tmp_path: Path, checkpoint: Path):
    session, log, robot_log = tmp_path / "session", tmp_path / "cli.log", tmp_path / "robot.log"
    with robot_and_policy(tmp_path, checkpoint, FAST_M_S, "slow"):
        with python(DOMAIN_ID, *run_words(session, checkpoint, 1), log=log) as process:
            wait_for(lambda: "on the way home" in robot_log.read_text(), "the arm to leave for home")
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_S) == 130, log.read_text()
        assert "stopped" in robot_log.read_text()
    assert "the arm was on its way home; the arm was stopped: call /franka/release" in log.read_text()


def test_dead_policy_node_is_a_failure_and_ends_the_session(tmp_path: Path):
    session, log = tmp_path / "session", tmp_path / "cli.log"
    checkpoint = idle_policy(tmp_path, horizon_steps=2000)
    with (
        robot_and_policy(tmp_path, checkpoint, SLOW_M_S) as policy,
        python(DOMAIN_ID, *run_words(session, checkpoint, 2), "--no-record", log=log) as process,
    ):
        wait_for(lambda: "40 commands" in (tmp_path / "robot.log").read_text(), "the first episode to be under way")
        policy.kill()
        assert process.wait(PATIENCE_S) == 1, log.read_text()
    assert [result.outcome for result in read_session(session).results] == ["policy_fault"]
    assert "the policy node no longer answers" in log.read_text()
    assert not list((session / "trials").glob("*.mcap*"))


@pytest.mark.parametrize("hand", ["held", "closing"])
def test_policy_begins_once_the_session_has_ceased_to_command_the_hand(tmp_path: Path, checkpoint: Path, hand: str):
    """The hand holds the last trial's cube, or is still closing on it: the twin would not take it away from there."""
    session, log = tmp_path / "session", tmp_path / "cli.log"
    with (
        robot_and_policy(tmp_path, checkpoint, FAST_M_S, hand),
        python(DOMAIN_ID, *run_words(session, checkpoint, 1), log=log) as process,
    ):
        assert process.wait(PATIENCE_S) == 0, log.read_text()
        assert "the hand was opened" in (tmp_path / "robot.log").read_text()
    assert [result.outcome for result in read_session(session).results] == ["success"], log.read_text()
    assert read_session(session).abandoned == {}


def test_missing_nodes_are_named(checkpoint: Path, tmp_path: Path):
    code = (
        "import rclpy\n"
        "from vlajs.nodes.session_graph import RosGraph, spinning\n"
        "from vlajs.tasks import get_task\n"
        "rclpy.init()\n"
        "graph = RosGraph(get_task('push_cube'), 'twin', record=False)\n"
        "with spinning(graph):\n"
        "    graph.wait_for_nodes(0.5)\n"
    )
    with python(EMPTY_DOMAIN_ID, "-c", code, log=tmp_path / "log") as process:
        assert process.wait(PATIENCE_S) != 0
    text = (tmp_path / "log").read_text()
    for words in ("SessionError", "/franka/status", "no service /policy/start", "/clock", "vlajs up twin"):
        assert words in text


def test_one_trial_over_the_action(tmp_path: Path, checkpoint: Path):
    phases: list[str] = []
    words = node_words("session_node", checkpoint=checkpoint, record_folder=tmp_path / "trials")
    with (
        contextlib.closing(Tester("tester", DOMAIN_ID)) as tester,
        robot_and_policy(tmp_path, checkpoint, FAST_M_S),
        python(DOMAIN_ID, *words, log=tmp_path / "server.log"),
    ):
        client = ActionClient(tester.node, RunTrial, "/session/run_trial")
        tester.until(client.server_is_ready, "the action")
        other = client.send_goal_async(RunTrial.Goal(task="pick_cube", trial=1, seed=3))
        tester.until(other.done, "an answer")
        assert not other.result().accepted
        goal = client.send_goal_async(
            RunTrial.Goal(task="push_cube", trial=7, seed=3), lambda m: phases.append(m.feedback.phase)
        )
        tester.until(goal.done, "an answer")
        outcome = goal.result().get_result_async()
        tester.until(outcome.done, "the trial")
        result = outcome.result().result
        tester.until(lambda: "judging" in phases, "the last phase")
    assert (result.success, result.outcome) == (True, "success")
    assert result.time_to_success_s == pytest.approx(0.5, abs=0.2)
    assert list(dict.fromkeys(phases)) == ["homing", "resetting", "running", "judging"]
    assert (tmp_path / "trials" / "0007.mcap").is_file()
