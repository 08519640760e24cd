"""One trial, from homing to the verdict. Knows the robot only through :class:`vlajs.session.graph.Graph`."""

import time
from dataclasses import dataclass
from pathlib import Path

from vlajs.session.conditions import Push, TrialDisturbance
from vlajs.session.graph import Episode, Graph, Sample
from vlajs.session.judge import GroundTruth, TrialJudge, Verdict
from vlajs.session.paths import TrialPaths
from vlajs.session.plan import TrialPlan
from vlajs.session.preparation import SILENCE_S, WATCH_S, TrialSettings, UnseenError, load_policy, prepare
from vlajs.session.records import Outcome, SessionError, TrialResult, utc_now
from vlajs.states import PolicyPhase, RobotMode

POLICY_SILENCE_S = 2.0
"""Wall time without a word of the policy node, which speaks at 5 Hz, after which it is taken for dead."""

PREPARE_TIMEOUT_S = 20.0
"""Robot time for the policy node to bring the hand to its initial width; it gives up by itself before that."""

HORIZON_GRACE_S = 1.0
"""Robot time past the horizon after which the session no longer waits for the policy node to say so."""

SETTLE_S = 0.25
"""Robot time in which a fault of the arm, reported a little later than the policy's stop, is still the cause."""

REST_TIMEOUT_S = 1.0
"""Wall time for the bridge to report how the arm is after the policy's stop; it reports at 20 Hz."""

_ARM_IN_MODE = {
    RobotMode.DISCONNECTED: "is not connected to the bridge",
    RobotMode.READY: "is at rest",
    RobotMode.TRACKING: "still follows commands: look who sends them",
    RobotMode.HOLDING: "holds",
    RobotMode.STOPPED: "is stopped: call /franka/release when it is safe",
    RobotMode.FAULT: "is in fault",
}

HALTING = ("policy_fault", "operator_stop")
"""Outcomes after which nobody but a person can tell whether it is right to go on."""


class NotBegunError(SessionError):
    """The policy gave no first action, for instance because the arm faulted while the hand moved."""


@dataclass(frozen=True, kw_only=True)
class TrialReport:
    """What a trial leaves behind.

    Attributes:
        halt: why no further trial may begin without a person; empty when one may.
    """

    result: TrialResult
    paths: TrialPaths
    halt: str = ""


def run_trial(graph: Graph, plan: TrialPlan, settings: TrialSettings, recording: Path | None = None) -> TrialReport:
    """Home, set the scene, run the policy, judge. When this returns or raises the policy is stopped, or the arm.

    Whatever is raised carries a note of what was seen of policy and arm.

    Args:
        graph: the robot's nodes.
        plan: which trial.
        settings: of the session.
        recording: MCAP file for the raw messages; None records nothing.

    Raises:
        NotBegunError: the policy gave no first action.
        SessionError: the trial could not be run or judged; it says nothing about the policy and is to be repeated.
    """
    try:
        try:
            prepare(graph, plan, settings)
        except UnseenError as error:
            return _unseen(plan, str(error))
        if recording is not None:
            graph.start_recording(recording)
        graph.publish_goal(plan.scene.goal_m)
        if plan.commander == "policy":
            load_policy(graph, settings)
        episode = graph.start_policy()
        _require_contract(episode, plan, settings)
        return _Watch(graph, plan, settings, episode).run()
    except BaseException as error:  # Ctrl-C above all: whatever ends a trial, no policy goes on commanding
        error.add_note(come_to_rest(graph))
        raise
    finally:
        graph.stop_recording()


def _require_contract(episode: Episode, plan: TrialPlan, settings: TrialSettings) -> None:
    """Refuse to judge another policy or baseline than the session's.

    Raises:
        SessionError: which runs.
    """
    expected = settings.contract_id_of(plan.commander)
    if episode.contract_id == expected:
        return
    if plan.commander == "baseline":
        raise SessionError(
            f"the baseline node runs {episode.contract_id}, the session compares with {expected}: another model, "
            "instruction or parameter; restart server and node as the session began (baseline.json)"
        )
    raise SessionError(
        f"the policy node runs contract {episode.contract_id}, the session evaluates {expected}: does the policy node "
        f"see another file at {settings.checkpoint.path}, or does somebody else load policies into it?"
    )


def come_to_rest(graph: Graph) -> str:
    """End whatever may move the arm; in words, what was seen of policy and arm afterwards.

    The arm itself is stopped, which latches, where stopping the policy is not enough: when the policy node does not
    confirm, when the arm is on its way home, which it would go on with alone, and when the bridge does not tell.
    """
    try:
        graph.stop_policy()
    except SessionError as failure:
        return f"the policy could not be stopped ({_first_line(failure)}); {_stop_arm(graph)}"
    mode = _mode_from_now_on(graph)
    if mode is None:
        before = graph.robot().mode.name
        return f"the policy is stopped; the bridge says nothing new (before: {before}); {_stop_arm(graph)}"
    if mode == RobotMode.HOMING:
        return f"the policy is stopped; the arm was on its way home; {_stop_arm(graph)}"
    return f"the policy is stopped and the arm {_ARM_IN_MODE[mode]}"


def _stop_arm(graph: Graph) -> str:
    """Stop it; in words, whether it was."""
    try:
        graph.stop_arm()
    except SessionError as failure:
        return f"the arm could not be stopped ({_first_line(failure)}): use the stop button"
    return "the arm was stopped: call /franka/release when it is safe"


def _mode_from_now_on(graph: Graph) -> RobotMode | None:
    """The arm's mode as the bridge reports it after this call, once no command is being carried out any more.

    None when the bridge reports nothing.
    """
    asked_s, deadline_s = graph.robot().time_s, time.monotonic() + REST_TIMEOUT_S
    while True:
        robot = graph.robot()
        is_new = robot.time_s > asked_s
        if is_new and robot.mode != RobotMode.TRACKING:
            return robot.mode
        if time.monotonic() > deadline_s:
            return robot.mode if is_new else None
        try:
            graph.watch(WATCH_S)
        except SessionError:  # a node has died; what its death ended is being told already
            return None


def _first_line(error: SessionError) -> str:
    return str(error).partition("\n")[0]


def _unseen(plan: TrialPlan, reason: str) -> TrialReport:
    """A trial that the policy never began, for want of sight: it counts, as a failure."""
    result = TrialResult(
        trial=plan.trial,
        scene_seed=plan.scene_seed,
        success=False,
        outcome="object_lost",
        reason=reason,
        duration_s=0.0,
        time_to_success_s=None,
        final_distance_m=None,
        closest_m=None,
        judged_by="ground truth",
        ended_utc=utc_now(),
        commander=plan.commander,
    )
    goal_m = [float(value) for value in plan.scene.goal_m]
    return TrialReport(result=result, paths=TrialPaths(trial=plan.trial, scene_seed=plan.scene_seed, goal_m=goal_m))


class _Watch:
    """Follows one running episode to its end."""

    def __init__(self, graph: Graph, plan: TrialPlan, settings: TrialSettings, episode: Episode) -> None:
        self._graph = graph
        self._plan = plan
        self._settings = settings
        self._horizon_s = episode.horizon_s
        self._faults: tuple[str, ...] = ()
        self._pressed_s: float | None = None
        self._disturbance = TrialDisturbance(settings.condition, plan.disturbed_as, settings.task.objects)
        self._paths = TrialPaths(
            trial=plan.trial, scene_seed=plan.scene_seed, goal_m=[float(value) for value in plan.scene.goal_m]
        )

    def run(self) -> TrialReport:
        """Until success, horizon or a fault; then the policy is stopped and the trial judged."""
        self._start_s = self._wait_for_first_action()
        judge = TrialJudge(self._settings.task, self._plan.scene.goal_m, self._start_s, self._horizon_s)
        self._settings.on_phase("running", 0.0, None)
        verdict = self._follow(judge)
        halt = self._stop_policy()
        self._settings.on_phase("judging", self._graph.now_s() - self._start_s, judge.distance_m)
        if self._settings.operator is not None:
            verdict = self._ask(judge, verdict)
        assert verdict is not None, "only an operator leaves the verdict open"
        if verdict.outcome in HALTING:
            halt = "; ".join(filter(None, (verdict.reason, halt)))
        return TrialReport(result=self._result(verdict), paths=self._paths, halt=halt)

    def _stop_policy(self) -> str:
        """Stop it at once; a failure to do so must not lose the verdict, but ends the session."""
        try:
            self._graph.stop_policy()
        except SessionError as error:
            return f"{error}; {_stop_arm(self._graph)}"
        return ""

    def _wait_for_first_action(self) -> float:
        """Robot time of the policy's first action."""
        begun_s = self._graph.now_s()
        silent_s = 0.0
        while True:
            policy = self._graph.policy()
            if policy is not None and policy.running_since_s is not None:
                return policy.running_since_s
            if policy is not None and policy.phase in (PolicyPhase.STOPPED, PolicyPhase.REFUSED):
                raise NotBegunError(f"the {self._plan.commander} did not get going: {policy.reason}")
            silent_s = 0.0 if self._graph.watch(WATCH_S) else silent_s + WATCH_S
            if self._graph.now_s() - begun_s > PREPARE_TIMEOUT_S or silent_s > SILENCE_S:
                raise NotBegunError(
                    f"no first action within {self._graph.now_s() - begun_s:.1f} s of robot time: "
                    f"is its node alive and /{self._plan.commander}/state published?"
                )

    def _follow(self, judge: TrialJudge) -> Verdict | None:
        """The verdict of ground truth; None when the operator of a real arm has to give it."""
        silent_s = 0.0
        ended: tuple[Outcome, str, float] | None = None
        while True:
            sample = self._graph.watch(WATCH_S)
            silent_s = 0.0 if sample else silent_s + WATCH_S
            if sample is not None and (verdict := self._take(judge, sample)):
                return verdict
            now_s = self._graph.now_s()
            self._disturb(now_s - self._start_s)
            if self._settings.operator is not None and self._settings.operator.pressed():
                self._pressed_s = now_s
                return None
            if self._settings.operator is None and silent_s > SILENCE_S:
                raise SessionError(
                    f"no ground truth for {SILENCE_S:g} s: the twin died, its clock stands still, or it diverged and "
                    "publishes what is no pose, as warnings above would say"
                )
            # a fault of the arm goes before whatever the policy made of it
            ended = self._robot_ended() or ended or self._policy_ended(now_s)
            if ended is not None and now_s >= ended[2]:
                return self._close(judge, ended[0], ended[1], now_s)

    def _disturb(self, elapsed_s: float) -> None:
        for what in self._disturbance.due(elapsed_s):
            if isinstance(what, Push):
                self._graph.push(what)
            else:
                self._graph.set_camera(what)

    def _take(self, judge: TrialJudge, sample: Sample) -> Verdict | None:
        if sample.time_s < self._start_s:
            return None
        elapsed_s = sample.time_s - self._start_s
        self._paths.add(elapsed_s, sample.tool, sample.target, sample.objects)
        truth = GroundTruth(
            time_s=sample.time_s,
            objects=sample.objects,
            joint_velocities_rad_s=sample.joint_velocities_rad_s,
            tool_m=None if sample.tool is None else sample.tool.position_m,
        )
        verdict = judge.observe(truth)
        self._settings.on_phase("running", elapsed_s, judge.distance_m)
        # an estimator is no judge: on a real arm the operator is
        return verdict if self._settings.operator is None else None

    def _robot_ended(self) -> tuple[Outcome, str, float] | None:
        """Outcome, cause and the robot time at which it is final."""
        robot = self._graph.robot()
        if robot.mode in (RobotMode.FAULT, RobotMode.DISCONNECTED):
            self._faults = robot.faults
            words = " ".join("; ".join(robot.faults).split())  # libfranka's messages come in several lines
            return "robot_fault", f"robot fault: {words or robot.mode.name.lower()}", 0.0
        if robot.mode == RobotMode.STOPPED:
            return "operator_stop", "the arm was stopped by /franka/stop", 0.0
        return None

    def _policy_ended(self, now_s: float) -> tuple[Outcome, str, float] | None:
        policy = self._graph.policy()
        if now_s > self._start_s + self._horizon_s + HORIZON_GRACE_S:
            return "time_limit", "", now_s
        if policy is None or policy.silent_s > POLICY_SILENCE_S:
            mode = self._graph.robot().mode.name.lower()
            return "policy_fault", f"the {self._plan.commander} node no longer answers; the arm is {mode}", now_s
        if policy.phase == PolicyPhase.FINISHED:
            return "time_limit", "", max(now_s, self._start_s + self._horizon_s) + SETTLE_S
        if policy.phase == PolicyPhase.STOPPED:
            return (
                _outcome_of_stop(policy.reason),
                f"the {self._plan.commander} stopped: {policy.reason}",
                now_s + SETTLE_S,
            )
        return None

    def _close(self, judge: TrialJudge, outcome: Outcome, cause: str, now_s: float) -> Verdict | None:
        if outcome == "time_limit":
            return None if self._settings.operator is not None else judge.time_limit()
        return judge.failure(outcome, cause, now_s)

    def _ask(self, judge: TrialJudge, verdict: Verdict | None) -> Verdict:
        """On a real arm: a fault is a failure whatever the operator thinks; anything else is theirs to judge."""
        assert self._settings.operator is not None, "the caller checks"
        if verdict is not None:
            return verdict
        judgement = self._settings.operator.judge()
        end_s = self._start_s + self._horizon_s if self._pressed_s is None else self._pressed_s
        return judge.operator_says(judgement.success, judgement.reason, end_s, pressed=self._pressed_s is not None)

    def _result(self, verdict: Verdict) -> TrialResult:
        return TrialResult(
            trial=self._plan.trial,
            scene_seed=self._plan.scene_seed,
            success=verdict.success,
            outcome=verdict.outcome,
            reason=verdict.reason,
            duration_s=verdict.duration_s,
            time_to_success_s=verdict.time_to_success_s,
            final_distance_m=verdict.final_distance_m,
            closest_m=verdict.closest_m,
            judged_by=verdict.judged_by,
            faults=self._faults,
            ended_utc=utc_now(),
            commander=self._plan.commander,
        )


def _outcome_of_stop(reason: str) -> Outcome:
    """What the policy node's words for an early end amount to."""
    if "stale input" in reason or "has no source" in reason:
        return "stale_input"
    if "on request" in reason:
        return "operator_stop"
    if "the robot is in mode" in reason or "the bridge refused" in reason:
        return "robot_fault"
    return "policy_fault"
