"""`vlajs session run --baseline` with the real policy and baseline nodes and a VLA; a stand-in for twin and bridge."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from rosbags.highlevel import AnyReader

from tests.graph.test_session import finished, idle_policy
from tests.support.processes import PATIENCE_S, node_words, own_domain, python, wait_for
from vlajs.session.journal import read_session
from vlajs.session.plan import order_of

pytestmark = [pytest.mark.graph, pytest.mark.beside, pytest.mark.timeout(600)]

DOMAIN_ID = own_domain()
SEED = 4
FAST_M_S = 0.2


@contextlib.contextmanager
def nodes(folder: Path, checkpoint: Path, port: int) -> Iterator[None]:
    """The baseline is active, the policy waits, as the launch has it."""
    mood = folder / "mood"
    mood.write_text("move")
    policy = node_words("policy_node", checkpoint=checkpoint, use_sim_time="true", start_active="false")
    baseline = node_words(
        "vla_baseline_node",
        backend="vlajs",
        url=f"http://127.0.0.1:{port}",
        task="push_cube",
        use_sim_time="true",
        horizon_s=5.0,
    )
    with (
        python(DOMAIN_ID, "-m", "tests.support.robot_stand_in", str(FAST_M_S), "camera", log=folder / "robot.log"),
        python(DOMAIN_ID, "-m", "tests.support.moving_vla", str(port), str(mood), log=folder / "server.log"),
        python(DOMAIN_ID, *policy, log=folder / "policy.log"),
        python(DOMAIN_ID, *baseline, log=folder / "baseline.log"),
    ):
        yield


def sources_of(recording: Path) -> set[str]:
    """Who sent commands in a trial."""
    with AnyReader([recording]) as reader:
        wanted = [connection for connection in reader.connections if connection.topic == "/command/ee_delta"]
        return {reader.deserialize(raw, found.msgtype).source for found, _, raw in reader.messages(connections=wanted)}


def test_commanders_alternate_over_a_kill_and_each_commands_in_its_own_trials_alone(tmp_path: Path) -> None:
    session, log = tmp_path / "session", tmp_path / "cli.log"
    checkpoint = idle_policy(tmp_path, horizon_steps=60)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["session", "run", "--task", "push_cube", "--checkpoint", str(checkpoint), "--trials", "2", "--baseline"]
    command = ["-m", "vlajs.cli", *words, "--seed", str(SEED), "--folder", str(session)]
    with nodes(tmp_path, checkpoint, port):
        with python(DOMAIN_ID, *command, log=log) as process:
            wait_for(lambda: finished(session) >= 1 or process.poll() is not None, "the first trial")
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        assert 1 <= finished(session) < 4, log.read_text()
        with python(DOMAIN_ID, "-m", "vlajs.cli", "session", "resume", str(session), log=log) as process:
            assert process.wait(2 * PATIENCE_S) == 0, log.read_text()
    record = read_session(session)
    assert [result.commander for result in record.results] == [*order_of(SEED, 1), *order_of(SEED, 2)]
    assert all(result.success for result in record.results), record.results
    assert log.read_text().splitlines()[-2:] == [
        # 2 of 2: 2 / (2 + 1.96^2)
        "RESULT task=push_cube commander=policy trials=2 success=2 wilson95=[0.342,1.000]",
        "RESULT task=push_cube commander=baseline trials=2 success=2 wilson95=[0.342,1.000]",
    ]
    source = {"policy": "policy", "baseline": "vla"}
    for result in record.results:
        assert sources_of(session / "trials" / f"{result.trial:04d}.mcap") == {source[result.commander]}
    assert record.baseline is not None
    assert record.baseline.settings["instruction"] == "push the cube away from the robot base"
    assert record.baseline.settings["horizon_s"] == "5"
    assert (record.baseline.settings["overlap"], record.baseline.settings["backend"]) == ("false", "vlajs")
