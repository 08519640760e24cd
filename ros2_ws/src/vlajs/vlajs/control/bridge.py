"""The bridge's state machine: what happens to a command, when the arm is held, and when nothing moves any more.

It knows an arm and a hand only by what they can do (:mod:`vlajs.control.ports`); it reads no clock but the arm's.
Everything fails closed: what is not known to be in order is refused, and a failure brakes the arm and latches.

Modes and what leads from one to another::

    READY ---- valid command ----> TRACKING ---- nothing for stale_after_s ----> HOLDING
      ^                               ^--------------- valid command -------------'
      |-- home reached -- HOMING <-- home() -- READY, HOLDING
      |-- release() ----- STOPPED <-- stop() -- any mode; latched, also behind a fault
      '-- recover() ----- FAULT <--- error of arm, planner or hand; latched

    DISCONNECTED: no state from the arm; configure the node again.
"""

import threading
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from vlajs.control.command_filter import Command, CommandFilter, FilterConfig
from vlajs.control.gripper import GripperCommand, GripperThresholds, gripper_command
from vlajs.control.guards import GuardConfig, RateGuard, geometry_refusal, workspace_refusal
from vlajs.control.ports import Arm, ArmReading, Hand, HandReading
from vlajs.control.target import TargetLimits, integrate_target
from vlajs.control.watchdog import Watchdog
from vlajs.geometry import Pose, clamp_norm, rotvec_between
from vlajs.states import RobotMode

REFUSAL_SHOWN_S = 2.0
"""How long a refusal stays among the faults, robot time."""

HOME_TOLERANCE_RAD = 0.02
_RATE_BURST_STEPS = 2.0
_SAME_TARGET_M = 2e-5
_SAME_TARGET_RAD = 1e-4
_MAX_NOTES = 8


@dataclass(frozen=True, kw_only=True)
class BridgeConfig:
    """Everything the bridge enforces.

    Attributes:
        home_joints_rad: where :meth:`Bridge.home` goes.
        limits: clamp, box and leash of the target.
        commands: what a command must be like.
        guards: margins of the guards.
        gripper: hysteresis of the hand.
        stale_after_s: robot time without a valid command after which a tracking arm is held, in (0, 0.1].

    Raises:
        ValueError: ``stale_after_s`` is outside its range.
    """

    home_joints_rad: tuple[float, ...]
    limits: TargetLimits = field(default_factory=TargetLimits)
    commands: FilterConfig = field(default_factory=FilterConfig)
    guards: GuardConfig = field(default_factory=GuardConfig)
    gripper: GripperThresholds = field(default_factory=GripperThresholds)
    stale_after_s: float = 0.09

    def __post_init__(self) -> None:
        Watchdog(self.stale_after_s)


@dataclass(frozen=True, kw_only=True)
class BridgeStatus:
    """One consistent view of the bridge; the fields are those of ``RobotStatus.msg``."""

    mode: RobotMode
    faults: tuple[str, ...]
    arm: ArmReading | None
    target_in_base: Pose | None
    hand: HandReading
    last_command_age_s: float
    last_sequence: int
    refused_commands: int
    commander: str


class Bridge:
    """Decides; see the module's description. All methods may be called from any thread.

    Call :meth:`tick` at 100 Hz or more; commands act at once, in the thread that brings them.
    """

    def __init__(self, arm: Arm, hand: Hand, config: BridgeConfig) -> None:
        """Take over a connected arm and hand; nothing moves. A first :meth:`tick` leaves DISCONNECTED."""
        self._arm = arm
        self._hand = hand
        self._config = config
        self._lock = threading.RLock()
        self._filter = CommandFilter(config.limits, config.commands)
        self._watchdog = Watchdog(config.stale_after_s)
        self._reset_rates()
        self._mode = RobotMode.DISCONNECTED
        self._stopped = False
        self._home_begun = False
        self._recovering = False
        self._state: ArmReading | None = None
        self._target: Pose | None = None
        self._streamed: Pose | None = None
        self._faults: list[str] = []
        self._refusals: deque[tuple[float, str]] = deque(maxlen=_MAX_NOTES)
        self._refused = 0

    # -- reading -----------------------------------------------------------------------------------------------

    @property
    def mode(self) -> RobotMode:
        """What the bridge is doing."""
        return self._mode

    def status(self) -> BridgeStatus:
        """A consistent view; reads nothing from the arm."""
        with self._lock:
            now_s = self._now_s()
            shown = [text for at_s, text in self._refusals if 0 <= now_s - at_s <= REFUSAL_SHOWN_S]
            return BridgeStatus(
                mode=self._mode,
                faults=(*self._faults, *dict.fromkeys(shown)),
                arm=self._state,
                target_in_base=self._target,
                hand=self._hand.state(),
                last_command_age_s=self._filter.accepted_age_s(now_s),
                last_sequence=self._filter.last_sequence,
                refused_commands=self._refused,
                commander=self._filter.commander(now_s),
            )

    # -- commands ----------------------------------------------------------------------------------------------

    def accept(self, command: Command) -> str | None:
        """Carry out one command, or say why not; a refused command moves nothing and does not feed the watchdog."""
        with self._lock:
            reason = self._mode_refusal()
            if reason is None:
                try:
                    self._state = self._arm.state()
                except RuntimeError as error:
                    self._disconnect(str(error))
                    reason = str(error)
            reason = reason or self._refusal(command)
            if reason is None:
                reason = self._carry_out(command)
            return None if reason is None else self.refuse(reason)

    def refuse(self, reason: str) -> str:
        """Count a command that is refused and show why, also one that cannot even be read; returns the reason."""
        with self._lock:
            self._refused += 1
            self._refusals.append((self._now_s(), f"refused: {reason}"))
            return reason

    def _mode_refusal(self) -> str | None:
        remedies = {
            RobotMode.DISCONNECTED: "no connection to the arm: configure the bridge again",
            RobotMode.STOPPED: "stopped: call /franka/release when it is safe",
            RobotMode.FAULT: "in a fault: check the arm, then call /franka/recover",
            RobotMode.HOMING: "homing: wait until the arm is ready",
        }
        return remedies.get(self._mode)

    def _refusal(self, command: Command) -> str | None:
        """Why the command must not be carried out from the present state."""
        state, config = self._state, self._config
        assert state is not None, "accept() has just read it"
        if state.fault:
            self._fail(state.fault)
            return state.fault
        refusal = self._filter.refusal(command, state.robot_time_s)
        if refusal is not None:
            return refusal
        delta_pos_m = clamp_norm(command.delta_pos_m, config.limits.max_step_m)
        delta_rotvec_rad = clamp_norm(command.delta_rotvec_rad, config.limits.max_step_rad)
        return (
            workspace_refusal(state.tcp_in_base.position_m, config.limits, config.guards)
            or geometry_refusal(
                state.joints_rad,
                np.concatenate([delta_pos_m, delta_rotvec_rad]),
                self._arm.tool_jacobian,
                config.guards,
            )
            or self._move_rate.refusal(float(np.linalg.norm(delta_pos_m)), state.robot_time_s)
            or self._turn_rate.refusal(float(np.linalg.norm(delta_rotvec_rad)), state.robot_time_s)
        )

    def _carry_out(self, command: Command) -> str | None:
        """Move the target and the hand; the reason if the arm will not."""
        state = self._state
        assert state is not None, "accept() has just read it"
        before = self._target if self._mode == RobotMode.TRACKING and self._target is not None else state.tcp_in_base
        target = integrate_target(
            before, state.tcp_in_base, command.delta_pos_m, command.delta_rotvec_rad, self._config.limits
        )
        if self._mode != RobotMode.TRACKING or self._streamed is None or _differs(target, self._streamed):
            try:
                self._arm.stream_target(target)
            except RuntimeError as error:
                self._fail(str(error))
                return str(error)
            self._streamed = target
        self._target = target
        self._filter.accept(command, state.robot_time_s)
        self._watchdog.feed(state.robot_time_s)
        self._mode = RobotMode.TRACKING
        match gripper_command(command.gripper_width_m, self._config.gripper):
            case GripperCommand.OPEN:
                self._hand.open_fingers()
            case GripperCommand.CLOSE:
                self._hand.close_fingers()
            case None:
                self._hand.keep_on()
        return None

    # -- time --------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Read the arm, look for faults, hold when commands are stale, follow the motion home."""
        if self._mode == RobotMode.DISCONNECTED and self._state is not None:
            return
        try:
            state = self._arm.state()  # may wait for a packet: not under the lock
        except RuntimeError as error:
            with self._lock:
                self._disconnect(str(error))
            return
        with self._lock:
            self._state = state
            if self._mode == RobotMode.DISCONNECTED:
                self._mode = RobotMode.READY
            self._look_for_faults(state)
            if self._mode == RobotMode.TRACKING and self._watchdog.is_stale(state.robot_time_s):
                self._hold(RobotMode.HOLDING)
            elif self._mode == RobotMode.HOMING:
                self._follow_home(state)
            if self._mode != RobotMode.TRACKING:
                self._target = state.tcp_in_base

    def _look_for_faults(self, state: ArmReading) -> None:
        """Latch what is wrong with the arm, its motion or the hand."""
        try:
            self._arm.check_motion()
        except RuntimeError as error:
            if self._recovering:  # told once: the recovery must not miss it
                self._faults.append(str(error))
            self._fail(str(error))
        if fault := state.fault or self._hand.state().fault:
            self._fail(fault)

    def _follow_home(self, state: ArmReading) -> None:
        if self._arm.is_moving:
            return
        try:
            if not self._home_begun:
                self._arm.start_home(self._config.home_joints_rad)
                self._home_begun = True
                return
        except RuntimeError as error:
            self._fail(str(error))
            return
        off_rad = float(np.max(np.abs(state.joints_rad - np.array(self._config.home_joints_rad))))
        if off_rad > HOME_TOLERANCE_RAD:
            self._fail(f"homing ended {off_rad:.3f} rad from the start configuration: is something in the way?")
        else:
            self._mode = RobotMode.READY

    # -- requests ----------------------------------------------------------------------------------------------

    def stop(self) -> str | None:
        """Brake at once and refuse commands until :meth:`release`; None, or what went wrong while braking."""
        with self._lock:
            self._stopped = True
            self._hand.stop()
            if self._mode in (RobotMode.FAULT, RobotMode.DISCONNECTED):
                return None
            return self._hold(RobotMode.STOPPED)

    def release(self) -> str | None:
        """Allow commands again after :meth:`stop`; None, or why not yet."""
        with self._lock:
            if not self._stopped:
                return "not stopped: nothing to release"
            self._stopped = False
            if self._mode == RobotMode.STOPPED:
                self._ready_again()
            return None

    def recover(self) -> str | None:
        """Clear a fault after someone has checked the arm; None, or what remains. May take a second."""
        with self._lock:
            if self._recovering:
                return "a recovery is under way: wait for its answer"
            if self._mode != RobotMode.FAULT:
                return f"nothing to recover from in mode {self._mode.name}"
            self._recovering = True
            known = len(self._faults)
        try:
            self._arm.recover()  # not under the lock: stop() must not wait for it
            self._hand.clear_fault()
            state = self._arm.state()
        except RuntimeError as error:
            with self._lock:
                self._faults.append(str(error))
            return str(error)
        else:
            with self._lock:
                return self._recovered(state, self._faults[known:])
        finally:
            self._recovering = False

    def home(self) -> str | None:
        """Begin to move to the start configuration; None, or why not. :attr:`mode` leaves HOMING at the end."""
        with self._lock:
            if self._mode not in (RobotMode.READY, RobotMode.HOLDING):
                tracking = self._mode == RobotMode.TRACKING
                remedy = "stop the source of commands first" if tracking else self._mode_refusal()
                return f"cannot home in mode {self._mode.name}: {remedy}"
            reason = self._hold(RobotMode.HOMING)
            self._home_begun = False
            return reason

    # -- transitions; the lock is held -------------------------------------------------------------------------

    def _hold(self, mode: RobotMode) -> str | None:
        """Brake and go on in ``mode``; in a fault if the arm will not."""
        try:
            self._arm.hold()
        except RuntimeError as error:
            self._fail(f"braking failed: {error}")
            return str(error)
        self._mode = mode
        return None

    def _fail(self, text: str) -> None:
        """Latch a fault; brake what still moves."""
        if self._mode == RobotMode.FAULT:
            return
        self._faults.append(text)
        self._mode = RobotMode.FAULT
        self._hand.stop()
        try:
            self._arm.hold()
        except RuntimeError as error:
            self._faults.append(f"braking: {error}")

    def _recovered(self, state: ArmReading, new_faults: list[str]) -> str | None:
        """End FAULT if nothing happened while the arm recovered; None, or what did."""
        if self._mode != RobotMode.FAULT:
            return f"in mode {self._mode.name} after the recovery: {'; '.join(self._faults)}"
        if state.fault:
            new_faults = [*new_faults, state.fault]
        if new_faults:
            self._faults = new_faults
            return f"failed again during the recovery: {'; '.join(new_faults)}; check the arm, then recover again"
        self._state = state
        self._faults.clear()
        self._ready_again()
        return None

    def _disconnect(self, text: str) -> None:
        if self._mode != RobotMode.DISCONNECTED:
            self._faults.append(text)
        self._mode = RobotMode.DISCONNECTED

    def _ready_again(self) -> None:
        """Nothing is moving and nothing is wrong: the next command starts from the measured pose."""
        self._reset_rates()
        self._refusals.clear()
        self._target = None if self._state is None else self._state.tcp_in_base
        self._mode = RobotMode.STOPPED if self._stopped else RobotMode.READY

    def _reset_rates(self) -> None:
        limits, guards = self._config.limits, self._config.guards
        self._move_rate = RateGuard(guards.max_target_speed_m_s, _RATE_BURST_STEPS * limits.max_step_m, "m")
        self._turn_rate = RateGuard(guards.max_target_turn_rad_s, _RATE_BURST_STEPS * limits.max_step_rad, "rad")

    def _now_s(self) -> float:
        return 0.0 if self._state is None else self._state.robot_time_s


def _differs(target: Pose, streamed: Pose) -> bool:
    """Whether the arm must be told: planning anew for next to nothing, it only stumbles over rounding."""
    moved_m = float(np.linalg.norm(target.position_m - streamed.position_m))
    turned_rad = float(np.linalg.norm(rotvec_between(streamed.quat_wxyz, target.quat_wxyz)))
    return moved_m > _SAME_TARGET_M or turned_rad > _SAME_TARGET_RAD
