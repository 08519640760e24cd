"""A stand-in for the robot's nodes with a clock of its own: a cube that moves as told, faults on demand."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vlajs.control.command_filter import FilterConfig
from vlajs.geometry import TOOL_DOWN_WXYZ, FloatArray, Pose
from vlajs.session.conditions import USUAL_CAMERA, Push
from vlajs.session.graph import Episode, PolicyView, RobotView, Sample
from vlajs.session.operator import Operator
from vlajs.session.plan import TrialPlan, plan_record, plan_trials, scene_seed_of
from vlajs.session.preparation import TrialSettings
from vlajs.session.records import Baseline, Checkpoint, Commander, SessionError, SessionHeader, TrialResult
from vlajs.session.trial import TrialReport, run_trial
from vlajs.states import PolicyPhase, RobotMode
from vlajs.tasks import get_task

SAMPLE_S = 1 / 60
SOURCE_HOLD_S = FilterConfig().source_hold_s
HORIZON_S = 2.5
CONTRACT_ID = "push_cube-000000000000"
CHECKPOINT = Checkpoint.of(Path(__file__), CONTRACT_ID, {})
"""A file that is there; the stand-in does not look into it."""

PLANS = plan_trials(get_task("push_cube"), 3, 7)
"""Of :func:`make_header`'s session."""

BASELINE = Baseline(contract_id="vla-0123456789ab", settings={"backend": "vlajs", "instruction": "push <it>"})


def make_settings(operator: Operator | None = None, **changes) -> TrialSettings:
    """Of trials of ``push_cube`` with :data:`CHECKPOINT`."""
    values = {"task": get_task("push_cube"), "checkpoint": CHECKPOINT, "control_rate_hz": 20.0, "operator": operator}
    return TrialSettings(**(values | changes))


def make_header(
    *,
    trials: int = 3,
    seed: int = 7,
    task: str = "push_cube",
    sha256: str = "a" * 64,
    compare: bool = False,
    **changes,
):
    """The header of a session on the twin; ``trials`` scenes."""
    plans = plan_trials(get_task(task), trials, seed, compare=compare)
    values = {
        "task": task,
        "instruction": get_task(task).instruction,
        "arm": "twin",
        "seed": seed,
        "trials": len(plans),
        "checkpoint": Checkpoint(path="/policies/push.safetensors", sha256=sha256, contract_id=CONTRACT_ID),
        "plan": plan_record(plans),
        "record": False,
    }
    return SessionHeader(**(values | changes))


@dataclass
class FakeGraph:
    """Robot time advances by one sample a :meth:`watch`.

    Attributes:
        script: what happens in each trial: "push" (0.1 m/s towards the goal), "idle", "fall", "fault", "stale",
            "silent" (the policy node dies), "stopped" (somebody stops the arm), "clock" (nothing is heard any more).
        calls: names of the commands, in order.
        loaded: what the policy node was given last.
        ran: what it held at each start.
        stranger: somebody else who commands the arm all the time.
        unseen: the pose estimator sees no object.
        bridge_silent: the bridge says nothing any more.
        chosen: who may command; None while nobody was chosen.
        started: who was at each start.
    """

    script: dict[int, str]
    speed_m_s: float = 0.1
    time_s: float = 100.0
    calls: list[str] = field(default_factory=list)
    mode: RobotMode = RobotMode.READY
    may_hold: bool = False
    place_error_m: float = 0.0
    contract_id: str = CONTRACT_ID
    loaded: Path | None = None
    ran: list[Path | None] = field(default_factory=list)
    stranger: str = ""
    unseen: bool = False
    bridge_silent: bool = False
    chosen: Commander | None = None
    started: list[Commander | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Nothing runs."""
        self._plan: TrialPlan | None = None
        self._since_s: float | None = None
        self._phase = PolicyPhase.IDLE
        self._reason = ""
        self._faults: tuple[str, ...] = ()
        self._silent_s = 0.0
        self._session_commanded_s = -SOURCE_HOLD_S

    def now_s(self) -> float:
        return self.time_s

    def robot(self) -> RobotView:
        return RobotView(
            mode=self.mode,
            time_s=0.0 if self.bridge_silent else self.time_s,
            faults=self._faults,
            may_hold=self.may_hold,
            commander=self._commander(),
        )

    def _commander(self) -> str:
        """As the bridge has it: a source keeps others out for a while after its last command."""
        return "session" if self.time_s - self._session_commanded_s <= SOURCE_HOLD_S else self.stranger

    def policy(self) -> PolicyView | None:
        return PolicyView(
            phase=self._phase, reason=self._reason, running_since_s=self._since_s, silent_s=self._silent_s
        )

    def object_poses(self) -> dict[str, Pose]:
        return self._objects()

    def choose(self, commander: Commander) -> None:
        self.calls.append(f"choose {commander}")
        self.chosen = commander

    def load_checkpoint(self, path: Path, control_rate_hz: float) -> None:
        self.calls.append("load_checkpoint")
        self.loaded = path

    def stop_policy(self) -> None:
        self.calls.append("stop_policy")
        if self._silent_s > 0:
            raise SessionError("/policy/stop did not answer within 5 s")
        if self._phase == PolicyPhase.RUNNING:
            self._phase, self._reason = PolicyPhase.STOPPED, "stopped on request"

    def stop_arm(self) -> None:
        self.calls.append("stop_arm")
        self.mode = RobotMode.STOPPED

    def recover(self) -> None:
        self.calls.append("recover")
        self.mode, self._faults = RobotMode.READY, ()

    def open_hand(self) -> None:
        self.calls.append("open_hand")
        self.may_hold = False
        self._session_commanded_s = self.time_s

    def home(self) -> None:
        self.calls.append("home")
        if self.mode == RobotMode.FAULT:
            raise SessionError("/franka/home was refused: the arm is in fault")

    def clear_scene(self) -> None:
        self.calls.append("clear_scene")

    def reset_scene(self, plan: TrialPlan) -> None:
        self.calls.append(f"reset_scene {plan.scene_seed}")
        self._plan, self._since_s = plan, None

    def set_camera(self, parameters: dict[str, Any]) -> None:
        changed = {name: value for name, value in parameters.items() if value != USUAL_CAMERA[name]}
        self.calls.append(f"set_camera {self._elapsed():.1f} s {changed}")

    def push(self, push: Push) -> None:
        self.calls.append(f"push {self._elapsed():.1f} s {push.body} {push.newton[1]:g} N")

    def look_anew(self, timeout_s: float) -> str:
        self.calls.append("look_anew")
        return "cube absent: not seen" if self.unseen else ""

    def publish_goal(self, goal_m: FloatArray) -> None:
        self.calls.append("publish_goal")

    def start_policy(self) -> Episode:
        self.calls.append("start_policy")
        self.ran.append(self.loaded)
        self.started.append(self.chosen)
        self._since_s, self._phase, self._reason = self.time_s, PolicyPhase.RUNNING, ""
        if commander := self._commander():
            self._phase = PolicyPhase.STOPPED
            self._reason = f"the bridge refused 6 commands: {commander!r} commanded, one source at a time"
        contract_id = BASELINE.contract_id if self.chosen == "baseline" else self.contract_id
        return Episode(contract_id=contract_id, horizon_s=HORIZON_S)

    def start_recording(self, path: Path) -> None:
        self.calls.append(f"record {path.name}")

    def stop_recording(self) -> None:
        self.calls.append("stop_recording")

    def watch(self, timeout_s: float) -> Sample | None:
        if timeout_s == 0.0:
            return None
        if self._running() and self._elapsed() > 0.5 and self._action() == "clock":
            return None
        self.time_s += SAMPLE_S
        if self._running():
            self._advance()
        tool = Pose(position_m=np.array([0.5, 0.0, 0.05]), quat_wxyz=TOOL_DOWN_WXYZ)
        return Sample(
            time_s=self.time_s, objects=self._objects(), tool=tool, target=tool, joint_velocities_rad_s=np.zeros(7)
        )

    def _running(self) -> bool:
        return self._phase == PolicyPhase.RUNNING

    def _elapsed(self) -> float:
        return 0.0 if self._since_s is None else self.time_s - self._since_s

    def _action(self) -> str:
        return "idle" if self._plan is None else self.script.get(self._plan.trial, "push")

    def _advance(self) -> None:
        action = self._action()
        if self._elapsed() > HORIZON_S:
            self._phase, self._reason = PolicyPhase.FINISHED, "horizon of 50 steps reached"
        elif self._elapsed() > 0.5 and action == "fault":
            self.mode, self._faults = RobotMode.FAULT, ("cartesian_reflex: 45 N on z, limit 40 N",)
            self._phase, self._reason = PolicyPhase.STOPPED, "the robot is in mode FAULT"
        elif self._elapsed() > 0.5 and action == "stale":
            self._phase, self._reason = PolicyPhase.STOPPED, "stale input: /franka/tcp_pose is 0.200 s old, limit 0.1 s"
        elif self._elapsed() > 0.5 and action == "silent":
            self._silent_s += 0.5
        elif self._elapsed() > 0.5 and action == "stopped":
            self.mode = RobotMode.STOPPED

    def _objects(self) -> dict[str, Pose]:
        if self._plan is None:
            return {}
        start = self._plan.scene.objects["cube"]
        offset = np.array([0.0, self.place_error_m, 0.0])
        if self._action() == "push":
            offset[0] += self.speed_m_s * self._elapsed()
        if self._action() == "fall":
            offset[2] -= 0.2 * self._elapsed()
        return {"cube": Pose(position_m=start.position_m + offset, quat_wxyz=start.quat_wxyz)}


def make_result(trial: int, *, success: bool, time_s: float = 1.5, seed: int = 7) -> TrialResult:
    """The result of a trial of :func:`make_header`'s plan."""
    return TrialResult(
        trial=trial,
        scene_seed=scene_seed_of(seed, trial),
        success=success,
        outcome="success" if success else "time_limit",
        reason="as told",
        duration_s=time_s if success else HORIZON_S,
        time_to_success_s=time_s if success else None,
        final_distance_m=0.09 if success else 0.2,
        closest_m=0.09,
        judged_by="ground truth",
    )


def first_trial(graph: FakeGraph, operator: Operator | None = None) -> TrialReport:
    """Run the first of :data:`PLANS`."""
    return run_trial(graph, PLANS[0], make_settings(operator))
