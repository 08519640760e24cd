"""One trial against a stand-in for the robot's nodes: order of commands, verdicts, and how it is interrupted."""

from pathlib import Path

import pytest

from tests.support.session_graph import CHECKPOINT, PLANS, FakeGraph, first_trial, make_settings
from vlajs.session.conditions import CONDITIONS
from vlajs.session.graph import Sample
from vlajs.session.records import Checkpoint, SessionError, with_notes
from vlajs.session.trial import run_trial
from vlajs.states import RobotMode


def test_success_is_timed_from_the_first_action_and_stops_the_policy():
    graph = FakeGraph({1: "push"})
    report = first_trial(graph)
    assert report.result.success
    # 0.2 m to go less the radius of 0.1 m at 0.1 m/s = 1.0 s, seen at a sample every 1/60 s
    assert report.result.time_to_success_s == pytest.approx(1.0, abs=2 / 60)
    order = [call.split()[0] for call in graph.calls]
    assert order == [
        "stop_policy",
        "clear_scene",
        "home",
        "reset_scene",
        "publish_goal",
        "load_checkpoint",
        "start_policy",
        "stop_policy",
        "stop_recording",
    ]


@pytest.mark.parametrize(
    ("script", "outcome", "words"),
    [
        ("idle", "time_limit", "time limit of 2.5 s; cube 0.200 m from the goal"),
        ("fault", "robot_fault", "cartesian_reflex: 45 N on z"),
        ("stale", "stale_input", "/franka/tcp_pose is 0.200 s old"),
        ("fall", "object_lost", "the cube left the table"),
        ("silent", "policy_fault", "no longer answers"),
        ("stopped", "operator_stop", "/franka/stop"),
    ],
)
def test_failures_say_why(script: str, outcome: str, words: str):
    result = first_trial(FakeGraph({1: script})).result
    assert not result.success
    assert result.outcome == outcome
    assert words in result.reason


def test_fault_reported_after_the_policys_stop_is_still_the_cause():
    class LateFault(FakeGraph):
        def watch(self, timeout_s: float) -> Sample | None:
            if self._reason.startswith("stale") and self._elapsed() > 0.6:
                self.mode, self._faults = (
                    RobotMode.FAULT,
                    ("aborted by reflex!\n[communication_constraints_violation]",),
                )
            return super().watch(timeout_s)

    result = first_trial(LateFault({1: "stale"})).result
    assert result.outcome == "robot_fault"
    assert "aborted by reflex! [communication_constraints_violation]" in result.reason


def test_dead_twin_is_no_failure_of_the_policy():
    graph = FakeGraph({1: "clock"})
    with pytest.raises(SessionError, match="no ground truth"):
        first_trial(graph)
    assert graph.calls[-2:] == ["stop_policy", "stop_recording"]


def test_object_out_of_place_is_refused():
    with pytest.raises(SessionError, match=r"lies 0\.010 m from the plan"):
        first_trial(FakeGraph({}, place_error_m=0.01))


def test_other_policy_is_refused():
    with pytest.raises(SessionError, match="the policy node runs contract pick"):
        first_trial(FakeGraph({}, contract_id="pick"))


def test_a_scene_set_anew_is_looked_at_anew_before_the_policy_starts() -> None:
    graph = FakeGraph({1: "push"})
    assert run_trial(graph, PLANS[0], make_settings(pose_source="camera")).result.success
    order = [call.split()[0] for call in graph.calls]
    assert order[3:6] == ["reset_scene", "set_camera", "look_anew"]
    assert "set_camera 0.0 s {}" in graph.calls  # what an earlier session changed is put back


def test_what_the_camera_does_not_see_is_a_failure_and_no_reason_to_end() -> None:
    graph = FakeGraph({}, unseen=True)
    report = run_trial(graph, PLANS[0], make_settings(pose_source="camera"))
    assert (report.result.success, report.result.outcome, report.halt) == (False, "object_lost", "")
    assert report.result.reason == "the pose estimator did not see cube within 5 s: cube absent: not seen"
    assert "start_policy" not in graph.calls


@pytest.mark.parametrize(
    ("condition", "trial_index", "calls"),
    [
        # half a second in the lens is covered, a second later it is clear; the cube is at the goal after 1 s
        ("occlusion", 0, ["set_camera 0.0 s {}", "set_camera 0.5 s {'occluded': True}"]),
        ("textures", 1, ["set_camera 0.0 s {'textures': 2}"]),
        ("clutter", 2, ["set_camera 0.0 s {'clutter': 6, 'clutter_seed': 3}"]),
        ("object_push", 0, ["set_camera 0.0 s {}", "push 0.3 s cube 0.36 N"]),
        ("arm_push", 1, ["set_camera 0.0 s {}", "push 0.5 s fr3_link6 -10 N"]),
    ],
)
def test_a_trial_is_disturbed_as_its_condition_says(condition: str, trial_index: int, calls: list[str]) -> None:
    graph = FakeGraph({})
    settings = make_settings(pose_source="camera", condition=CONDITIONS[condition])
    run_trial(graph, PLANS[trial_index], settings)
    assert [call for call in graph.calls if call.startswith(("set_camera", "push "))] == calls


@pytest.mark.parametrize(("change", "words"), [("write", "has changed: its sha256 was"), ("unlink", "cannot be read")])
def test_bundle_that_changes_during_a_session_is_not_run(tmp_path: Path, change: str, words: str):
    bundle = tmp_path / "policy.safetensors"
    bundle.write_bytes(b"one seed")
    settings = make_settings(checkpoint=Checkpoint.of(bundle, CHECKPOINT.contract_id, {}))
    if change == "write":
        bundle.write_bytes(b"another seed")
    else:
        bundle.unlink()
    graph = FakeGraph({})
    with pytest.raises(SessionError, match=words):
        run_trial(graph, PLANS[0], settings)
    assert graph.ran == []


def test_held_object_is_let_go_before_homing():
    graph = FakeGraph({}, may_hold=True)
    # the session has just commanded the hand: the policy's first commands would be refused for a second
    assert first_trial(graph).result.success
    order = [graph.calls.index(call) for call in ("clear_scene", "open_hand", "home")]
    assert order == sorted(order)


def test_a_fault_that_is_heard_of_when_the_hand_opens_is_recovered_from_on_the_twin():
    class LateFault(FakeGraph):
        def open_hand(self) -> None:
            if "recover" not in self.calls:
                self.calls.append("open_hand refused")
                self.mode = RobotMode.FAULT
                raise SessionError("the hand did not open within 10 s: cartesian_reflex")
            super().open_hand()

    graph = LateFault({1: "push"}, may_hold=True)
    assert first_trial(graph).result.success
    order = [graph.calls.index(call) for call in ("open_hand refused", "recover", "open_hand", "home")]
    assert order == sorted(order)


@pytest.mark.parametrize("may_hold, refused", [(False, "start_policy"), (True, "open_hand")])
def test_nothing_is_commanded_while_somebody_else_commands(may_hold: bool, refused: str):
    graph = FakeGraph({}, may_hold=may_hold, stranger="teleop")
    with pytest.raises(SessionError, match="'teleop' goes on commanding the arm: stop it"):
        first_trial(graph)
    assert refused not in graph.calls
    # 5 s of robot time, looked at once a sample
    assert graph.now_s() == pytest.approx(100.0 + 5.0, abs=0.1)


def test_policy_is_not_started_on_a_bridge_that_has_fallen_silent():
    graph = FakeGraph({}, bridge_silent=True)
    with pytest.raises(SessionError, match="the bridge has said nothing new"):
        first_trial(graph)
    assert "start_policy" not in graph.calls


def test_stopped_arm_is_never_released():
    with pytest.raises(SessionError, match="/franka/release"):
        first_trial(FakeGraph({}, mode=RobotMode.STOPPED))


def test_policy_that_cannot_be_stopped_does_not_hide_the_interruption():
    class InterruptedAndDeaf(FakeGraph):
        def _advance(self) -> None:
            self._silent_s = 1.0  # from now on the policy node does not answer
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as interruption:
        first_trial(InterruptedAndDeaf({}))
    assert interruption.value.__notes__ == [
        "the policy could not be stopped (/policy/stop did not answer within 5 s); "
        "the arm was stopped: call /franka/release when it is safe"
    ]


def test_interrupted_arm_does_not_go_on_home_alone():
    class InterruptedOnTheWay(FakeGraph):
        def home(self) -> None:
            self.mode = RobotMode.HOMING
            raise KeyboardInterrupt

    graph = InterruptedOnTheWay({})
    with pytest.raises(KeyboardInterrupt) as interruption:
        first_trial(graph)
    assert graph.calls == ["stop_policy", "clear_scene", "stop_policy", "stop_arm", "stop_recording"]
    assert with_notes(interruption.value) == (
        "the policy is stopped; the arm was on its way home; the arm was stopped: call /franka/release when it is safe"
    )


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (RobotMode.HOLDING, "the policy is stopped and the arm holds"),
        (RobotMode.FAULT, "the policy is stopped and the arm is in fault"),
        (RobotMode.TRACKING, "the policy is stopped and the arm still follows commands: look who sends them"),
    ],
)
def test_who_interrupts_is_told_what_was_seen_of_the_arm(mode: RobotMode, words: str, monkeypatch: pytest.MonkeyPatch):
    class Interrupted(FakeGraph):
        def _advance(self) -> None:
            self.mode = mode
            raise KeyboardInterrupt

    monkeypatch.setattr("vlajs.session.trial.REST_TIMEOUT_S", 0.05)
    with pytest.raises(KeyboardInterrupt) as interruption:
        first_trial(Interrupted({}))
    assert with_notes(interruption.value) == words


def test_arm_whose_bridge_is_silent_is_stopped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vlajs.session.trial.REST_TIMEOUT_S", 0.05)
    with pytest.raises(SessionError) as failure:
        first_trial(FakeGraph({}, bridge_silent=True))
    assert "the bridge says nothing new (before: READY); the arm was stopped" in with_notes(failure.value)


def test_arm_of_a_policy_that_cannot_be_stopped_is_stopped_and_the_verdict_kept():
    graph = FakeGraph({1: "silent"})
    report = first_trial(graph)
    assert report.result.outcome == "policy_fault"
    assert graph.calls[-3:] == ["stop_policy", "stop_arm", "stop_recording"]
    assert report.halt.endswith("the arm was stopped: call /franka/release when it is safe")
