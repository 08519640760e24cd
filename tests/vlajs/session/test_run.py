"""Trials against a stand-in for the robot's nodes: order of commands, verdicts, halts, resumption."""

import errno
import os
from pathlib import Path

import pytest

from tests.support.session_graph import CHECKPOINT, FakeGraph, make_header, make_settings
from vlajs.session.conditions import CONDITIONS
from vlajs.session.graph import Episode, Sample
from vlajs.session.journal import SessionFolder, read_session
from vlajs.session.operator import Operator
from vlajs.session.paths import TrialPaths, load_paths
from vlajs.session.plan import plan_trials
from vlajs.session.records import Checkpoint, SessionError, TrialResult, with_notes
from vlajs.session.run import run_session
from vlajs.session.trial import TrialReport, run_trial
from vlajs.states import PolicyPhase, RobotMode
from vlajs.tasks import get_task

TASK = get_task("push_cube")
PLANS = plan_trials(TASK, 3, 7)


def trial(graph: FakeGraph, operator: Operator | None = None) -> TrialReport:
    return run_trial(graph, PLANS[0], make_settings(operator))


def session(graph: FakeGraph, folder: SessionFolder) -> list[TrialResult]:
    seen: list[TrialResult] = []
    run_session(graph, folder, PLANS, make_settings(), seen.append)
    return seen


def answers(*lines: str) -> Operator:
    """An operator who types these lines and never presses Enter in a trial."""
    queue = list(lines)
    return Operator(ask=lambda _: queue.pop(0), pressed=lambda: False, show=lambda _: None)


def test_success_is_timed_from_the_first_action_and_stops_the_policy():
    graph = FakeGraph({1: "push"})
    report = trial(graph)
    assert report.result.success
    # 0.2 m to go less the radius of 0.1 m at 0.1 m/s = 1.0 s, seen at a sample every 1/60 s
    assert report.result.time_to_success_s == pytest.approx(1.0, abs=2 / 60)
    order = [call.split()[0] for call in graph.calls]
    assert order == [
        "stop_policy",
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
    result = trial(FakeGraph({1: script})).result
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

    result = trial(LateFault({1: "stale"})).result
    assert result.outcome == "robot_fault"
    assert "aborted by reflex! [communication_constraints_violation]" in result.reason


def test_dead_twin_is_no_failure_of_the_policy():
    graph = FakeGraph({1: "clock"})
    with pytest.raises(SessionError, match="no ground truth"):
        trial(graph)
    assert graph.calls[-2:] == ["stop_policy", "stop_recording"]


def test_object_out_of_place_is_refused():
    with pytest.raises(SessionError, match=r"lies 0\.010 m from the plan"):
        trial(FakeGraph({}, place_error_m=0.01))


def test_other_policy_is_refused():
    with pytest.raises(SessionError, match="the policy node runs contract pick"):
        trial(FakeGraph({}, contract_id="pick"))


def test_a_scene_set_anew_is_looked_at_anew_before_the_policy_starts() -> None:
    graph = FakeGraph({1: "push"})
    assert run_trial(graph, PLANS[0], make_settings(pose_source="camera")).result.success
    order = [call.split()[0] for call in graph.calls]
    assert order[2:5] == ["reset_scene", "set_camera", "look_anew"]
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


def test_policy_swapped_between_trials_is_swapped_back(tmp_path: Path):
    class SomebodyElseLoads(FakeGraph):
        def home(self) -> None:
            super().home()
            self.loaded = Path("/policies/of-another-seed.safetensors")

    graph = SomebodyElseLoads({})
    with SessionFolder.create(tmp_path, make_header()) as folder:
        session(graph, folder)
    assert graph.ran == [Path(CHECKPOINT.path)] * 3


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
    graph = FakeGraph({}, grasped=True)
    # the session has just commanded the hand: the policy's first commands would be refused for a second
    assert trial(graph).result.success
    assert graph.calls.index("open_hand") < graph.calls.index("home")


@pytest.mark.parametrize("grasped, refused", [(False, "start_policy"), (True, "open_hand")])
def test_nothing_is_commanded_while_somebody_else_commands(grasped: bool, refused: str):
    graph = FakeGraph({}, grasped=grasped, stranger="teleop")
    with pytest.raises(SessionError, match="'teleop' goes on commanding the arm: stop it"):
        trial(graph)
    assert refused not in graph.calls
    # 5 s of robot time, looked at once a sample
    assert graph.now_s() == pytest.approx(100.0 + 5.0, abs=0.1)


def test_policy_is_not_started_on_a_bridge_that_has_fallen_silent():
    graph = FakeGraph({}, bridge_silent=True)
    with pytest.raises(SessionError, match="the bridge has said nothing new"):
        trial(graph)
    assert "start_policy" not in graph.calls


def test_fault_is_recovered_from_on_the_twin_without_asking(tmp_path: Path):
    graph = FakeGraph({1: "fault"})
    with SessionFolder.create(tmp_path, make_header()) as folder:
        results = session(graph, folder)
    assert [result.outcome for result in results] == ["robot_fault", "success", "success"]
    assert results[0].faults == ("cartesian_reflex: 45 N on z, limit 40 N",)
    assert graph.calls.count("recover") == 1


def test_operator_is_told_to_stand_clear_before_the_hand_opens_and_the_arm_moves():
    graph = PlacedByHand({1: "idle"}, grasped=True, mode=RobotMode.FAULT)
    replies = iter(["y", "", "", "y"])

    def ask(question: str) -> str:
        graph.calls.append(question)
        return next(replies)

    assert trial(graph, Operator(ask=ask, pressed=lambda: False, show=lambda _: None)).result.success
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
        trial(graph, answers("n"))
    assert "recover" not in graph.calls


def test_stopped_arm_is_never_released():
    with pytest.raises(SessionError, match="/franka/release"):
        trial(FakeGraph({}, mode=RobotMode.STOPPED))


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
        trial(Blind({}), answers("", ""))


def test_operator_judges_on_a_real_arm():
    yes = trial(PlacedByHand({1: "idle"}), answers("", "", "y")).result
    assert (yes.success, yes.outcome, yes.judged_by, yes.time_to_success_s) == (True, "success", "operator", None)
    no = trial(PlacedByHand({1: "push"}), answers("", "", "maybe", "n", "pushed it sideways")).result
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
    result = trial(graph, operator).result
    assert result.time_to_success_s == pytest.approx(1.0, abs=2 / 60)


def test_fault_on_a_real_arm_is_a_failure_without_asking():
    result = trial(PlacedByHand({1: "fault"}), answers("", "")).result
    assert (result.success, result.outcome) == (False, "robot_fault")


def test_dead_policy_is_journalled_and_ends_the_session(tmp_path: Path):
    with SessionFolder.create(tmp_path, make_header()) as folder:
        with pytest.raises(SessionError, match="session ends here"):
            session(FakeGraph({2: "silent"}), folder)
        assert [result.outcome for result in folder.record.results] == ["success", "policy_fault"]
        assert folder.remaining() == [3]


def test_interrupted_trial_is_stopped_not_journalled_and_run_again(tmp_path: Path):
    class Interrupted(FakeGraph):
        def _advance(self) -> None:
            if self._plan is PLANS[1] and self._elapsed() > 0.5:
                raise KeyboardInterrupt
            super()._advance()

    graph = Interrupted({})
    with SessionFolder.create(tmp_path, make_header()) as folder, pytest.raises(KeyboardInterrupt):
        session(graph, folder)
    assert graph.calls[-2:] == ["stop_policy", "stop_recording"]
    with SessionFolder.resume(tmp_path, make_header()) as folder:
        assert folder.remaining() == [2, 3]
        assert len(session(FakeGraph({}), folder)) == 2
    record = read_session(tmp_path)
    assert [result.trial for result in record.results] == [1, 2, 3]
    assert record.abandoned == {2: 1}


def test_verdict_is_kept_when_its_paths_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(TrialPaths, "save", full)
    with SessionFolder.create(tmp_path, make_header()) as folder, pytest.raises(OSError, match="No space left"):
        session(FakeGraph({}), folder)
    assert [result.trial for result in read_session(tmp_path).results] == [1]


def test_policy_that_cannot_be_stopped_does_not_hide_the_interruption():
    class InterruptedAndDeaf(FakeGraph):
        def _advance(self) -> None:
            self._silent_s = 1.0  # from now on the policy node does not answer
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as interruption:
        trial(InterruptedAndDeaf({}))
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
        trial(graph)
    assert graph.calls == ["stop_policy", "stop_policy", "stop_arm", "stop_recording"]
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
        trial(Interrupted({}))
    assert with_notes(interruption.value) == words


def test_arm_whose_bridge_is_silent_is_stopped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vlajs.session.trial.REST_TIMEOUT_S", 0.05)
    with pytest.raises(SessionError) as failure:
        trial(FakeGraph({}, bridge_silent=True))
    assert "the bridge says nothing new (before: READY); the arm was stopped" in with_notes(failure.value)


def test_arm_of_a_policy_that_cannot_be_stopped_is_stopped_and_the_verdict_kept():
    graph = FakeGraph({1: "silent"})
    report = trial(graph)
    assert report.result.outcome == "policy_fault"
    assert graph.calls[-3:] == ["stop_policy", "stop_arm", "stop_recording"]
    assert report.halt.endswith("the arm was stopped: call /franka/release when it is safe")


class FaultsBeforeActing(FakeGraph):
    """The arm faults while the hand is brought to its initial width, as often as ``faults``."""

    faults = 1

    def start_policy(self) -> Episode:
        episode = super().start_policy()
        if self.faults > 0:
            self.faults -= 1
            self.mode, self._since_s = RobotMode.FAULT, None
            self._phase, self._reason = PolicyPhase.STOPPED, "the robot is in mode FAULT"
        return episode


def test_fault_before_the_first_action_is_no_result_and_begun_anew_on_the_twin(tmp_path: Path):
    with SessionFolder.create(tmp_path, make_header()) as folder:
        results = session(FaultsBeforeActing({}), folder)
    assert [result.outcome for result in results] == ["success"] * 3
    assert read_session(tmp_path).abandoned == {1: 1}


def test_trial_that_never_begins_ends_the_session(tmp_path: Path):
    graph = FaultsBeforeActing({})
    graph.faults = 10
    with SessionFolder.create(tmp_path, make_header()) as folder, pytest.raises(SessionError, match="get going"):
        session(graph, folder)
    assert read_session(tmp_path).abandoned == {1: 3}


def test_paths_are_thinned_to_20_hz(tmp_path: Path):
    with SessionFolder.create(tmp_path, make_header(record=True)) as folder:
        graph = FakeGraph({1: "idle"})
        session(graph, folder)
    assert "record 0001.mcap" in graph.calls
    paths = load_paths(tmp_path / "trials" / "0001.json")
    assert paths is not None
    # 2.5 s at a sample every 3/60 s, and a little more until the policy reports its end
    assert 50 <= len(paths.time_s) <= 58
    steps = [later - earlier for earlier, later in zip(paths.time_s, paths.time_s[1:], strict=False)]
    assert min(steps) == pytest.approx(0.05, abs=1e-3)
    assert len(paths.objects_m["cube"]) == len(paths.tool_m) == len(paths.target_m) == len(paths.time_s)
