"""The action server's own decisions, in this process: what a request to cancel does before a trial has begun."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy

from tests.support.bundles import make_bundle
from tests.support.processes import own_domain
from vlajs.nodes import session_node
from vlajs.nodes.session_node import TrialServer
from vlajs.policy.bundle import save_bundle
from vlajs_msgs.action import RunTrial

pytestmark = [pytest.mark.graph, pytest.mark.beside]


class Handle:
    """A goal as rclpy hands it to the server."""

    request = RunTrial.Goal(task="push_cube", trial=1, seed=3)
    ended = ""

    def __init__(self, *, cancelled: bool) -> None:
        self.is_cancel_requested = cancelled

    def canceled(self) -> None:
        self.ended = "canceled"

    def abort(self) -> None:
        self.ended = "aborted"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrialServer]:
    save_bundle(make_bundle(), tmp_path / "policy.safetensors")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    parameter = ["--ros-args", "-p", f"checkpoint:={tmp_path / 'policy.safetensors'}"]
    rclpy.init(args=parameter, domain_id=own_domain())
    server = TrialServer()
    yield server
    server.graph.destroy_node()
    server.destroy_node()
    rclpy.try_shutdown()


def test_cancel_between_accepting_and_executing_runs_nothing(server: TrialServer, monkeypatch: pytest.MonkeyPatch):
    def unexpected(*_: Any) -> None:
        raise AssertionError("the arm would have moved")

    monkeypatch.setattr(session_node, "run_trial", unexpected)
    handle = Handle(cancelled=True)
    server._on_cancel(handle)  # type: ignore[arg-type]
    result = server._execute(handle)  # type: ignore[arg-type]
    assert (handle.ended, result.outcome, result.message) == ("canceled", "cancelled", "the trial was cancelled")


def test_cancel_of_a_running_trial_is_raised_once_so_that_the_policy_can_be_stopped(
    server: TrialServer, monkeypatch: pytest.MonkeyPatch
):
    handle = Handle(cancelled=False)

    def trial(graph: Any, *_: Any) -> None:
        graph.check_nodes()
        handle.is_cancel_requested = True
        try:
            graph.check_nodes()
        except BaseException as error:
            graph.check_nodes()  # waiting for the policy's stop
            error.add_note("the policy is stopped and the arm holds")
            raise

    monkeypatch.setattr(session_node, "run_trial", trial)
    result = server._execute(handle)  # type: ignore[arg-type]
    assert (handle.ended, result.outcome) == ("canceled", "cancelled")
    assert result.message == "the trial was cancelled; the policy is stopped and the arm holds"
