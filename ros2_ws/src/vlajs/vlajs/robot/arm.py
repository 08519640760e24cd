"""One Franka arm through franky: connect, stream targets, brake, home, recover, read.

The same code drives a real arm and the twin. Poses are of the tool centre point (TCP) in the robot base
``panda_link0``: 0.1034 m beyond the flange, turned by -45 degrees, as Franka's own hand configuration says, so that a
pose here is the pose ManiSkill calls the TCP's.
"""

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import franky
import numpy as np

from vlajs.geometry import FloatArray, Pose, xyzw_from_wxyz
from vlajs.robot.end_effector import FLANGE_TO_TCP_M, FLANGE_TO_TCP_WXYZ, end_effector_refusal, pose_of
from vlajs.robot.speed import SpeedLimits, velocity_share

# What franky raises: its exception classes have no common base, and a planner's refusal is a bare RuntimeError.
FRANKY_ERRORS: tuple[type[BaseException], ...] = (
    RuntimeError,
    franky.CommandException,
    franky.ControlException,
    franky.Exception,
    franky.IncompatibleVersionException,
    franky.InvalidMotionTypeException,
    franky.InvalidOperationException,
    franky.ModelException,
    franky.MotionReuseException,
    franky.NetworkException,
    franky.ProtocolException,
    franky.RealtimeException,
)

_HEALTHY_MODES = (franky.RobotMode.Idle.name, franky.RobotMode.Move.name)
_RECOVERY_TIMEOUT_S = 2.0
_REST_RAD_S = 0.01
_TWITCH_RAD_S = 0.1
"""An arm at rest moves this much at most when control of it ends."""
_NO_PLAN = "Motion planner failed"
_HOME_SHARES = (1.0, 0.93, 0.86)
"""Of the homing speed, one after the other, until there is a plan."""
_ERROR_NAMES = tuple(name for name in dir(franky.Errors) if not name.startswith("_"))
_BRAKE_OF = {
    franky.ControlSignalType.CartesianPose: franky.CartesianStopMotion,
    franky.ControlSignalType.JointPositions: franky.JointStopMotion,
}


class ArmError(RuntimeError):
    """The arm refused, failed or cannot be reached; the message says what and what to do."""


@dataclass(frozen=True, kw_only=True)
class ArmConfig:
    """How to reach the arm and how hard it may be driven.

    Factors are fractions of Franka's limits for the tool (13 m/s^2, 6500 m/s^3; 2.5 rad/s, 25 rad/s^2, 12500 rad/s^3)
    or, for homing, of the joints' limits; in (0, 1].

    Attributes:
        robot_ip: host name or address of the arm's control interface.
        max_tool_speed_m_s: the tool never goes faster towards a streamed target, in (0, 1].
        max_joint_speed_share: nor any joint faster than this share of its velocity limit, in (0, 0.95].
        velocity_factor: for streamed targets; limits the turning speed, the translation being slower anyway.
        acceleration_factor: for streamed targets.
        jerk_factor: for streamed targets.
        home_factor: velocity, acceleration and jerk of the joint motion home.
        collision_torque_nm: external joint torque that triggers the arm's own reflex.
        collision_force_n: external force at the tool that triggers it.

    Raises:
        ValueError: a factor outside (0, 1] or a threshold outside (0, 100].
    """

    robot_ip: str
    max_tool_speed_m_s: float = 0.35
    max_joint_speed_share: float = 0.8
    velocity_factor: float = 0.6
    acceleration_factor: float = 0.5
    jerk_factor: float = 0.3
    home_factor: float = 0.2
    collision_torque_nm: float = 30.0
    collision_force_n: float = 40.0

    def __post_init__(self) -> None:
        if not self.robot_ip:
            raise ValueError("robot_ip is empty: give the arm's address, or the address the twin printed")
        if not 0 < self.max_tool_speed_m_s <= 1:
            raise ValueError(f"max_tool_speed_m_s = {self.max_tool_speed_m_s} is outside (0, 1] m/s")
        if not 0 < self.max_joint_speed_share <= 0.95:
            raise ValueError(
                f"max_joint_speed_share = {self.max_joint_speed_share} is outside (0, 0.95]: the arm stops with a "
                "reflex at its limit, and what moves it overshoots a little"
            )
        for name in ("velocity_factor", "acceleration_factor", "jerk_factor", "home_factor"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise ValueError(f"{name} = {value} is outside (0, 1]: it is a fraction of Franka's limit")
        for name in ("collision_torque_nm", "collision_force_n"):
            value = getattr(self, name)
            if not 0 < value <= 100:
                raise ValueError(f"{name} = {value} is outside (0, 100]: above that the reflex protects nobody")


@dataclass(frozen=True, kw_only=True)
class ArmState:
    """One reading of the arm.

    Attributes:
        tcp_in_base: measured tool pose.
        joints_rad: shape (7,).
        joint_velocities_rad_s: shape (7,).
        robot_time_s: the arm's own clock.
        mode: libfranka's robot mode, ``Idle`` and ``Move`` being the healthy ones.
        errors: names of the arm's present errors.
    """

    tcp_in_base: Pose
    joints_rad: FloatArray
    joint_velocities_rad_s: FloatArray
    robot_time_s: float
    mode: str
    errors: tuple[str, ...]

    @property
    def fault(self) -> str | None:
        """Why the arm must not be commanded, in plain words; None when it may be."""
        if self.errors:
            return f"the arm reports {', '.join(self.errors)} (mode {self.mode}): check the arm, then recover"
        if self.mode not in _HEALTHY_MODES:
            return f"the arm is in mode {self.mode}: release the stop button or end guiding, then recover"
        return None


class RobotArm:
    """A connected arm.

    All methods may be called from any thread. Motions are carried out by franky's own 1 kHz thread; while one runs,
    :meth:`state` is a copy made by that thread and costs about 60 us, at rest it waits for the next packet (1 ms).
    """

    def __init__(self, config: ArmConfig) -> None:
        """Connect.

        Raises:
            ArmError: no connection, or the arm's end effector is not the Franka Hand's.
        """
        self._config = config
        self._lock = threading.Lock()  # between looking for a fault and moving
        self._braked_at_rest = False
        try:
            self._robot = franky.Robot(config.robot_ip, realtime_config=franky.RealtimeConfig.Ignore)
            self._robot.set_collision_behavior(config.collision_torque_nm, config.collision_force_n)
            # the planner multiplies this limit by the velocity factor
            speed_limit = self._robot.translation_velocity_limit
            speed_limit.set(min(config.max_tool_speed_m_s / config.velocity_factor, speed_limit.max))
            flange_to_tcp = self._robot.state.F_T_EE
        except FRANKY_ERRORS as error:
            raise ArmError(
                f"cannot connect to the arm at {config.robot_ip}: {error}; check the address, that the control "
                "interface is activated (FCI) and the joints unlocked, and that nothing else controls the arm"
            ) from error
        refusal = end_effector_refusal(pose_of(flange_to_tcp))
        if refusal is not None:
            raise ArmError(refusal)
        self._speed_limits = SpeedLimits(
            tool_m_s=config.velocity_factor * speed_limit.get(),
            tool_rad_s=config.velocity_factor * self._robot.rotation_velocity_limit.get(),
            joint_share=config.max_joint_speed_share,
        )

    def state(self) -> ArmState:
        """The newest state.

        Raises:
            ArmError: the connection is lost.
        """
        try:
            state = self._robot.state
        except FRANKY_ERRORS as error:
            raise ArmError(f"no state from the arm at {self._config.robot_ip}: {error}; reconnect") from error
        return ArmState(
            tcp_in_base=pose_of(state.O_T_EE),
            joints_rad=np.array(state.q).ravel(),
            joint_velocities_rad_s=np.array(state.dq).ravel(),
            robot_time_s=state.time.to_msec() * 1e-3,
            mode=state.robot_mode.name,
            errors=_error_names(state),
        )

    def tool_jacobian(self, joints_rad: FloatArray) -> FloatArray:
        """Jacobian of the TCP, shape (6, 7), base axes, linear rows first, from the arm's own model."""
        offset = franky.Affine([0.0, 0.0, FLANGE_TO_TCP_M], xyzw_from_wxyz(FLANGE_TO_TCP_WXYZ))
        return np.asarray(
            self._robot.model.zero_jacobian(franky.Frame.EndEffector, joints_rad, offset, franky.Affine())
        )

    @property
    def is_moving(self) -> bool:
        """Whether a motion (a stream included, even when it has reached its target) is being carried out."""
        return self._robot.is_in_control

    def stream_target(self, target_in_base: Pose) -> None:
        """Head for an absolute pose at once, replacing the previous target; returns in about 0.1 ms.

        The arm comes to rest at the last target it was given and stays in control there.

        Raises:
            ArmError: not a pose, the arm is in a fault, an earlier motion failed, or another kind of motion runs.
        """
        if not target_in_base.is_finite():
            raise ArmError(f"the target is not a pose: {target_in_base}")
        pose = franky.Affine(target_in_base.position_m, xyzw_from_wxyz(target_in_base.quat_wxyz))
        dynamics = franky.RelativeDynamicsFactor(
            self._velocity_share(target_in_base) * self._config.velocity_factor,
            self._config.acceleration_factor,
            self._config.jerk_factor,
        )
        self._move(franky.CartesianMotion(pose, relative_dynamics_factor=dynamics, return_when_finished=False))

    def _velocity_share(self, target_in_base: Pose) -> float:
        """Of the planner's velocity limits, so that the way to the target keeps tool and joints below theirs."""
        state = self.state()
        try:
            return velocity_share(
                state.tcp_in_base, target_in_base, state.joints_rad, self.tool_jacobian, self._speed_limits
            )
        except ValueError as error:
            raise ArmError(f"{error} (joints {np.round(state.joints_rad, 3)})") from error

    def start_home(self, joints_rad: Sequence[float]) -> None:
        """Begin a joint motion from rest; :attr:`is_moving` says when it is over, :meth:`check_motion` if it failed.

        Raises:
            ArmError: not seven finite numbers, the arm is in a fault, or not at rest (call :meth:`stop` first).
        """
        joints = np.asarray(joints_rad, dtype=np.float64)
        if joints.shape != (7,) or not np.all(np.isfinite(joints)):
            raise ArmError(f"joints {joints_rad}: expected seven finite numbers, radians")
        for share in _HOME_SHARES:
            factor = share * self._config.home_factor
            try:
                self._move(franky.JointMotion(joints, relative_dynamics_factor=factor))
                return
            except ArmError as error:
                # from some rests the planner finds no way at one speed and finds one a little slower
                if _NO_PLAN not in str(error) or share == _HOME_SHARES[-1]:
                    raise

    def home(self, joints_rad: Sequence[float], timeout_s: float = 20.0) -> None:
        """Stop, move to a joint configuration and wait until it is reached (wall-clock timeout).

        Raises:
            ArmError: as :meth:`start_home`, or the motion failed or took longer than the timeout.
        """
        self.stop()
        self.start_home(joints_rad)
        self._join(timeout_s, "the motion home")

    def hold(self) -> None:
        """Brake at once, without waiting: the arm comes to rest on its path within the dynamics limits.

        Does nothing at rest.

        Raises:
            ArmError: the arm refused the brake; it was then stopped by ending control.
        """
        signal = self._robot.current_control_signal_type
        if signal is None:
            return
        try:
            self._move(_BRAKE_OF[signal](), brakes_at_rest=_is_slower_than(_REST_RAD_S, self.state()))
        except ArmError:
            if self._robot.is_in_control:  # it may just have come to rest by itself
                self._end_control()
            raise

    def stop(self, timeout_s: float = 3.0) -> None:
        """Brake and wait until control has ended (wall-clock timeout), by force if it must be.

        Raises:
            ArmError: braking failed; control has been ended all the same.
        """
        self.hold()
        self._join(timeout_s, "braking")

    def check_motion(self) -> None:
        """Surface the failure of an asynchronous motion, which franky reports once.

        Raises:
            ArmError: a motion failed since the last look: a planner's refusal or the arm's reflex.
        """
        try:
            self._robot.poll_motion()
        except FRANKY_ERRORS as error:
            if not self._stands_as_asked(error, self._braked_at_rest):
                raise ArmError(f"motion failed: {error}") from error

    def recover(self) -> None:
        """Clear the arm's errors after someone has checked it.

        Raises:
            ArmError: errors remain.
        """
        with contextlib.suppress(ArmError):  # the failure recovered from: else franky reports it at the next motion
            self.check_motion()
        try:
            self._robot.recover_from_errors()
        except FRANKY_ERRORS as error:
            raise ArmError(f"recovery failed: {error}") from error
        # the answer may overtake the state that says so
        deadline_s = time.monotonic() + _RECOVERY_TIMEOUT_S
        while (fault := self.state().fault) is not None:
            if time.monotonic() > deadline_s:
                raise ArmError(f"recovery failed: {fault}")
            time.sleep(0.01)

    def close(self) -> None:
        """Brake and give up control; never raises."""
        try:
            self.stop()
        except ArmError:
            self._end_control()

    def _move(
        self, motion: franky.BaseCartesianPoseMotion | franky.BaseJointPositionMotion, *, brakes_at_rest: bool = False
    ) -> None:
        """Hand a motion to franky, refusing while the arm is in a fault: franky itself would accept it in reflex."""
        with self._lock:
            fault = self.state().fault
            if fault:
                raise ArmError(fault)
            braked_at_rest, self._braked_at_rest = self._braked_at_rest, brakes_at_rest
            try:
                try:
                    self._robot.move(motion, asynchronous=True)
                except FRANKY_ERRORS as error:
                    # franky reports now how the motion before ended, and carries out the next one that it is given
                    if not self._stands_as_asked(error, braked_at_rest):
                        raise
                    self._robot.move(motion, asynchronous=True)
            except FRANKY_ERRORS as error:
                raise ArmError(f"motion refused: {error}") from error

    def _join(self, timeout_s: float, what: str) -> None:
        try:
            finished = self._robot.join_motion(timeout_s)
        except FRANKY_ERRORS as error:
            if self._stands_as_asked(error, self._braked_at_rest):
                return
            raise ArmError(f"{what} failed: {error}") from error
        if not finished:
            self._end_control()
            raise ArmError(f"{what} took longer than {timeout_s} s: control was ended")

    def _stands_as_asked(self, error: BaseException, braked_at_rest: bool) -> bool:
        """Whether ``error`` is only that an arm which stood still found no plan to brake, and it stands still.

        From rest to rest the planner fails now and then (Ruckig's error -111). Control has ended then, which is all
        that was asked for. Any other error, motion or fault is none of this.
        """
        if _NO_PLAN not in str(error) or not braked_at_rest or self._robot.is_in_control:
            return False
        state = self.state()
        return state.fault is None and _is_slower_than(_TWITCH_RAD_S, state)

    def _end_control(self) -> None:
        """Last resort: tell the arm to end the motion; it brakes by itself."""
        # preemption is reported as an error by design, and a lost connection stops the arm by itself
        with contextlib.suppress(*FRANKY_ERRORS):
            self._robot.stop()
        with contextlib.suppress(*FRANKY_ERRORS):
            self._robot.join_motion(1.0)


def _is_slower_than(speed_rad_s: float, state: ArmState) -> bool:
    return bool(np.max(np.abs(state.joint_velocities_rad_s)) < speed_rad_s)


def _error_names(state: franky.RobotState) -> tuple[str, ...]:
    errors = state.current_errors
    if not any(errors.__getstate__()):
        return ()
    return tuple(name for name in _ERROR_NAMES if getattr(errors, name))
