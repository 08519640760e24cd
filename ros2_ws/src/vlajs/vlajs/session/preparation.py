"""What comes before a trial's policy is started: the arm at home, the scene set, the session's own policy loaded."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vlajs.session.conditions import CONDITIONS, UNDISTURBED, Condition
from vlajs.session.graph import Graph
from vlajs.session.operator import Operator
from vlajs.session.plan import TrialPlan
from vlajs.session.records import Baseline, Checkpoint, Commander, PoseSource, SessionError
from vlajs.states import RobotMode
from vlajs.tasks import Task

WATCH_S = 0.1
"""Wall time to wait for a sample before robot and policy are looked at again."""

SILENCE_S = 10.0
"""Wall time without ground truth after which the twin is taken for dead."""

COMMAND_TIMEOUT_S = 5.0
"""Robot time for the bridge to let go of whoever commanded last; it does so a second after the last command."""

SCENE_TIMEOUT_S = 3.0
PLACE_TOLERANCE_M = {"twin": 0.005, "real": 0.015}
"""How far in the plane an object may lie from the plan, centre to centre."""

PLACE_ATTEMPTS = 5
SIGHT_TIMEOUT_S = 5.0
"""Robot time for the pose estimator to see the objects of a scene that was set anew on the twin."""

POSES_TIMEOUT_S = 5.0
"""Wall time for the pose estimator to see what the operator has placed; it speaks at 60 Hz or so."""


class UnseenError(SessionError):
    """The policy cannot begin because the pose estimator does not see the objects: a failure of the system."""


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """What is the same for every trial of a session.

    Attributes:
        checkpoint: the policy that is evaluated.
        control_rate_hz: of its contract.
        pose_source: of the policy's object poses.
        condition: what trials are disturbed by.
        baseline: what it is compared with; None without.
        operator: who sets the scene and judges on a real arm; None on the twin, where ground truth judges and a
            fault is recovered from without asking.
        on_phase: told "homing", "resetting", "running" and "judging", with the elapsed robot time and the distance
            of the object to the goal, as far as known.
    """

    task: Task
    checkpoint: Checkpoint
    control_rate_hz: float
    pose_source: PoseSource = "truth"
    condition: Condition = field(default_factory=lambda: CONDITIONS[UNDISTURBED])
    baseline: Baseline | None = None
    operator: Operator | None = None
    on_phase: Callable[[str, float, float | None], None] = lambda phase, elapsed_s, distance_m: None

    def contract_id_of(self, commander: Commander) -> str:
        """What a start of this commander must answer."""
        if commander == "policy":
            return self.checkpoint.contract_id
        assert self.baseline is not None, "planned trials of a baseline have one"
        return self.baseline.contract_id


def prepare(graph: Graph, plan: TrialPlan, settings: TrialSettings) -> None:
    """Bring arm and scene to where the trial begins.

    Raises:
        SessionError: the arm does not get ready, or the objects are not where the plan has them.
    """
    settings.on_phase("homing", 0.0, None)
    graph.stop_policy()
    if settings.baseline is not None:
        graph.choose(plan.commander)
    if settings.operator is None:
        graph.clear_scene()  # what is held may press on the table, and between the fingers it would jam on the way home
    robot = graph.robot()
    if robot.mode == RobotMode.FAULT:
        if settings.operator is not None:
            settings.operator.approve_recovery(robot.faults)
        graph.recover()
    if graph.robot().mode == RobotMode.STOPPED:
        raise SessionError("the arm is stopped: call /franka/release when it is safe, then resume the session")
    if settings.operator is not None:
        settings.operator.clear_the_way()
    if graph.robot().may_hold:
        _wait_until_nobody_commands(graph)
        _past_a_fault(graph, settings, graph.open_hand)
    _past_a_fault(graph, settings, graph.home)
    settings.on_phase("resetting", 0.0, None)
    if settings.operator is None:
        graph.reset_scene(plan)
        _wait_for_placement(graph, plan)
        if settings.pose_source == "camera":
            graph.set_camera(settings.condition.camera_of(plan.disturbed_as))
            # a VLA looks for itself
            if plan.commander == "policy" and (reason := graph.look_anew(SIGHT_TIMEOUT_S)):
                raise UnseenError(
                    f"the pose estimator did not see {', '.join(plan.scene.objects)} within {SIGHT_TIMEOUT_S:g} s: "
                    f"{reason}"
                )
    else:
        settings.operator.place(plan)
        _correct_placement(graph, plan, settings.operator)
    _wait_until_nobody_commands(graph)


def _wait_until_nobody_commands(graph: Graph) -> None:
    """Wait until the bridge takes anybody's commands.

    It takes those of one source at a time and holds on to that source for a moment of robot time. Without this wait
    the first commands of whoever comes next are refused: the policy's, after the session has opened the hand.

    Raises:
        SessionError: somebody goes on commanding, or the bridge has fallen silent.
    """
    asked_s, deadline_s = graph.robot().time_s, graph.now_s() + COMMAND_TIMEOUT_S
    silent_s = 0.0
    while True:
        robot = graph.robot()
        # what the bridge said before may be older than the last command
        is_new = robot.time_s > asked_s
        if is_new and not robot.commander:
            return
        if graph.now_s() > deadline_s or silent_s > SILENCE_S:
            if is_new:
                raise SessionError(
                    f"{robot.commander!r} goes on commanding the arm: stop it, a session needs the arm for itself"
                )
            raise SessionError(
                f"the bridge has said nothing new since {asked_s:.2f} s of the arm's clock, in mode {robot.mode.name}: "
                "is its node alive?"
            )
        silent_s = 0.0 if graph.watch(WATCH_S) else silent_s + WATCH_S


def _past_a_fault(graph: Graph, settings: TrialSettings, move: Callable[[], None]) -> None:
    """Open the hand, or home; on the twin a fault on the way, or one that the bridge hears of then, is cleared once."""
    try:
        move()
    except SessionError:
        if settings.operator is not None or graph.robot().mode != RobotMode.FAULT:
            raise
        graph.recover()
        move()


def _misplaced(graph: Graph, plan: TrialPlan, limit_m: float) -> tuple[str, float] | None:
    """The first object too far from its place, and how far; None when all lie right."""
    poses = graph.object_poses()
    for name, wanted in plan.scene.objects.items():
        if name not in poses:
            return name, float("inf")
        off_m = float(np.linalg.norm((wanted.position_m - poses[name].position_m)[:2]))
        if not off_m <= limit_m:
            return name, off_m
    return None


def _wait_for_placement(graph: Graph, plan: TrialPlan) -> None:
    limit_m = PLACE_TOLERANCE_M["twin"]
    deadline_s = graph.now_s() + SCENE_TIMEOUT_S
    silent_s = 0.0
    while wrong := _misplaced(graph, plan, limit_m):
        silent_s = 0.0 if graph.watch(WATCH_S) else silent_s + WATCH_S
        if graph.now_s() > deadline_s or silent_s > SILENCE_S:
            name, off_m = wrong
            seen = (
                "was never seen" if off_m == float("inf") else f"lies {off_m:.3f} m from the plan (limit {limit_m} m)"
            )
            raise SessionError(
                f"trial {plan.trial}: the {name} {seen} after the reset: do twin and session agree on the task, "
                "and is /twin/objects published?"
            )


def _correct_placement(graph: Graph, plan: TrialPlan, operator: Operator) -> None:
    limit_m = PLACE_TOLERANCE_M["real"]
    for _ in range(PLACE_ATTEMPTS):
        while graph.watch(0.0) is not None:  # what was seen while the operator's hands were there
            pass
        if graph.watch(POSES_TIMEOUT_S) is None:  # what is known is older than what the operator did
            raise SessionError(
                f"the pose estimator has said nothing usable for {POSES_TIMEOUT_S:g} s: check camera, light and "
                f"/objects/{next(iter(plan.scene.objects))}/pose, and the warnings above"
            )
        wrong = _misplaced(graph, plan, limit_m)
        if wrong is None:
            return
        name, _ = wrong
        poses = graph.object_poses()
        if name not in poses:
            raise SessionError(
                f"the pose estimator does not see the {name}: check camera, light and /objects/{name}/pose"
            )
        operator.place_again(name, plan.scene.objects[name], poses[name], limit_m)
    raise SessionError(f"trial {plan.trial}: the scene was not set within {PLACE_ATTEMPTS} attempts; resume later")


def load_policy(graph: Graph, settings: TrialSettings) -> None:
    """Have the policy node run the very file that is evaluated, whatever it was given since the last trial.

    A contract's id does not tell the weights of two seeds apart, and the node says nothing else of what it holds.

    Raises:
        SessionError: the file has changed, or the policy node refuses it.
    """
    settings.checkpoint.require_unchanged()
    graph.load_checkpoint(Path(settings.checkpoint.path), settings.control_rate_hz)
