"""Trials beside a real arm: what the operator is asked and told, and whose word counts."""

import os

import pytest

from tests.support.session_graph import PLANS, FakeGraph, first_trial
from vlajs.session.graph import Sample
from vlajs.session.operator import Operator
from vlajs.session.records import SessionError
from vlajs.states import RobotMode


def answers(*lines: str) -> Operator:
    """An operator who types these lines and never presses Enter in a trial."""
    queue = list(lines)
    return Operator(ask=lambda _: queue.pop(0), pressed=lambda: False, show=lambda _: None)


def test_operator_is_told_to_stand_clear_before_the_hand_opens_and_the_arm_moves():
    graph = PlacedByHand({1: "idle"}, may_hold=True, mode=RobotMode.FAULT)
    replies = iter(["y", "", "", "y"])

    def ask(question: str) -> str:
        graph.calls.append(question)
        return next(replies)

    assert first_trial(graph, Operator(ask=ask, pressed=lambda: False, show=lambda _: None)).result.success
    clear = "Stand clear of the arm, then press Enter. "
    begun = graph.calls[: graph.calls.index("start_policy")]
    assert begun == [
        "stop_policy",
        "Check arm and workspace. Recover and go on? [y/n] ",
        "recover",
        clear,
        "open_hand",
        "home",
        clear,  # after the objects were put in their places
        "publish_goal",
        "load_checkpoint",
    ]


def test_fault_on_a_real_arm_waits_for_the_operator():
    graph = FakeGraph({}, mode=RobotMode.FAULT)
    with pytest.raises(SessionError, match="declined"):
        first_trial(graph, answers("n"))
    assert "recover" not in graph.calls


class PlacedByHand(FakeGraph):
    """A real arm's graph: there is no scene to reset, the cube lies where it lies."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._plan = PLANS[0]


def test_placement_is_not_judged_from_poses_older_than_it():
    class Blind(PlacedByHand):
        def watch(self, timeout_s: float) -> Sample | None:
            return None

    with pytest.raises(SessionError, match=r"the pose estimator has said nothing usable for 5 s: .*/objects/cube/pose"):
        first_trial(Blind({}), answers("", ""))


def test_operator_judges_on_a_real_arm():
    yes = first_trial(PlacedByHand({1: "idle"}), answers("", "", "y")).result
    assert (yes.success, yes.outcome, yes.judged_by, yes.time_to_success_s) == (True, "success", "operator", None)
    no = first_trial(PlacedByHand({1: "push"}), answers("", "", "maybe", "n", "pushed it sideways")).result
    assert (no.success, no.outcome, no.reason) == (False, "operator", "pushed it sideways")


def test_real_arm_without_a_terminal_is_refused(monkeypatch: pytest.MonkeyPatch):
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        operator = Operator(show=lambda _: None)
        with pytest.raises(SessionError, match="nobody can answer"):
            operator.judge()
        with pytest.raises(SessionError, match="nobody can answer"):  # end of file is no press of Enter
            operator.pressed()


def test_operator_marks_the_moment_of_success():
    graph = PlacedByHand({1: "idle"})
    operator = answers("", "", "y")
    operator.pressed = lambda: graph._elapsed() > 1.0
    result = first_trial(graph, operator).result
    assert result.time_to_success_s == pytest.approx(1.0, abs=2 / 60)


def test_fault_on_a_real_arm_is_a_failure_without_asking():
    result = first_trial(PlacedByHand({1: "fault"}), answers("", "")).result
    assert (result.success, result.outcome) == (False, "robot_fault")
