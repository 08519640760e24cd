"""What makes the twin stop as an arm would: estimates of external force, thresholds, faults.

No network here: :mod:`vlajs.twin.wire` asks :class:`FaultMonitor` after every tick and tells the client.
"""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo is an extension module without type stubs)

from dataclasses import dataclass, field

import mujoco
import numpy as np

from vlajs.geometry import FloatArray

ERROR_NAMES = (
    "joint_position_limits_violation",
    "cartesian_position_limits_violation",
    "self_collision_avoidance_violation",
    "joint_velocity_violation",
    "cartesian_velocity_violation",
    "force_control_safety_violation",
    "joint_reflex",
    "cartesian_reflex",
    "max_goal_pose_deviation_violation",
    "max_path_pose_deviation_violation",
    "cartesian_velocity_profile_safety_violation",
    "joint_position_motion_generator_start_pose_invalid",
    "joint_motion_generator_position_limits_violation",
    "joint_motion_generator_velocity_limits_violation",
    "joint_motion_generator_velocity_discontinuity",
    "joint_motion_generator_acceleration_discontinuity",
    "cartesian_position_motion_generator_start_pose_invalid",
    "cartesian_motion_generator_elbow_limit_violation",
    "cartesian_motion_generator_velocity_limits_violation",
    "cartesian_motion_generator_velocity_discontinuity",
    "cartesian_motion_generator_acceleration_discontinuity",
    "cartesian_motion_generator_elbow_sign_inconsistent",
    "cartesian_motion_generator_start_elbow_invalid",
    "force_controller_desired_force_tolerance_violation",
    "start_elbow_sign_inconsistent",
    "communication_constraints_violation",
    "power_limit_violation",
    "cartesian_motion_generator_joint_position_limits_violation",
    "cartesian_motion_generator_joint_velocity_limits_violation",
    "cartesian_motion_generator_joint_velocity_discontinuity",
    "cartesian_motion_generator_joint_acceleration_discontinuity",
    "cartesian_position_motion_generator_invalid_frame_flag",
    "controller_torque_discontinuity",
    "joint_p2p_insufficient_torque_for_planning",
    "tau_J_range_violation",
    "instability_detected",
    "joint_move_in_wrong_direction",
    "cartesian_spline_motion_generator_violation",
    "joint_via_motion_generator_planning_joint_limit_violation",
    "base_acceleration_initialization_timeout",
    "base_acceleration_invalid_reading",
)
"""libfranka's errors under their names in franky, in the order of the wire format (not that of libfranka's headers)."""

PANDA_JOINT_VELOCITY_LIMITS_RAD_S = (2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61)
PANDA_TCP_VELOCITY_LIMIT_M_S = 2.0
_NEGLIGIBLE_TORQUE_NM = 1e-4


@dataclass(frozen=True, kw_only=True)
class ReflexConfig:
    """When the twin faults.

    Attributes:
        joint_torque_thresholds_nm: external torque of a joint that is a collision, until a client sets its own
            with SetCollisionBehavior (7 values).
        cartesian_thresholds: external force (N) and torque (Nm) at the tool that is a collision (6 values).
        joint_velocity_limits_rad_s: measured speeds above are ``joint_velocity_violation`` (7 values; a Panda's).
        tcp_velocity_limit_m_s: measured tool speed above is ``cartesian_velocity_violation``.
        estimate_time_constant_s: low pass of the external force estimates.
        communication_timeout_s: robot time without a command during a motion that is
            ``communication_constraints_violation``. An arm allows 0.02 s; the twin's clients share its machine and
            have no real-time kernel.
        recovery_time_s: robot time that automatic error recovery takes; contact forces relax meanwhile.
    """

    joint_torque_thresholds_nm: tuple[float, ...] = (20.0,) * 7
    cartesian_thresholds: tuple[float, ...] = (20.0,) * 6
    joint_velocity_limits_rad_s: tuple[float, ...] = PANDA_JOINT_VELOCITY_LIMITS_RAD_S
    tcp_velocity_limit_m_s: float = PANDA_TCP_VELOCITY_LIMIT_M_S
    estimate_time_constant_s: float = 0.02
    communication_timeout_s: float = 0.25
    recovery_time_s: float = 0.2

    def __post_init__(self) -> None:
        sizes = {"joint_torque_thresholds_nm": 7, "cartesian_thresholds": 6, "joint_velocity_limits_rad_s": 7}
        for name, size in sizes.items():
            values = getattr(self, name)
            if len(values) != size or not all(np.isfinite(v) and v > 0 for v in values):
                raise ValueError(f"reflex.{name} is {values}: {size} finite numbers above 0 are needed")
        for name in (
            "tcp_velocity_limit_m_s",
            "estimate_time_constant_s",
            "communication_timeout_s",
            "recovery_time_s",
        ):
            if not 0.0 < getattr(self, name) < np.inf:
                raise ValueError(f"reflex.{name} is {getattr(self, name)}: it must be finite and above 0")


class ExternalForceEstimator:
    """Low-passed external joint torques and tool wrench, as an arm with torque sensors would report them.

    The torque is what contacts (and pushes through ``xfrc_applied``) do to the arm's joints; joint friction and
    the hand's inner forces are no part of it. The wrench at the tool explains that torque in the least-squares sense.
    """

    def __init__(self, model: mujoco.MjModel, arm_dofs: list[int], tcp_site: int, time_constant_s: float) -> None:
        """Args: the compiled model, addresses of the seven joints in ``qvel``, id of the tool's site, seconds."""
        self._model = model
        self._arm_dofs = np.array(arm_dofs)
        self._tcp_site = tcp_site
        self._gain = min(1.0, model.opt.timestep / time_constant_s)
        self._row_forces = np.zeros(0)
        self._generalized = np.zeros(model.nv)
        self._jacobian = np.zeros((6, model.nv))
        self.joint_torque_nm: FloatArray = np.zeros(7)
        self.tcp_wrench: FloatArray = np.zeros(6)
        """Force (N) then torque (Nm) on the tool, in base axes."""

    def update(self, data: mujoco.MjData) -> None:
        """Take in the tick that ``mj_step`` has just computed."""
        torque = self._contact_torque(data)
        if np.any(data.xfrc_applied):
            torque = torque + self._pushed_torque(data)
        self.joint_torque_nm = self.joint_torque_nm + self._gain * (torque - self.joint_torque_nm)
        if np.max(np.abs(self.joint_torque_nm)) < _NEGLIGIBLE_TORQUE_NM:
            self.tcp_wrench = np.zeros(6)
            return
        mujoco.mj_jacSite(self._model, data, self._jacobian[:3], self._jacobian[3:], self._tcp_site)
        arm_jacobian = self._jacobian[:, self._arm_dofs]
        # Small damping keeps the wrench finite near singular poses, where torques say nothing about some directions.
        gram = arm_jacobian @ arm_jacobian.T + 1e-6 * np.eye(6)
        self.tcp_wrench = np.linalg.solve(gram, arm_jacobian @ self.joint_torque_nm)

    def _contact_torque(self, data: mujoco.MjData) -> FloatArray:
        """Joint torques of all contacts: J^T f over the contacts' rows, which come last among the constraints."""
        first_contact_row = data.ne + data.nf + data.nl
        if data.nefc == first_contact_row:
            return np.zeros(7)
        forces = np.array(data.efc_force)
        forces[:first_contact_row] = 0.0
        mujoco.mj_mulJacTVec(self._model, data, self._generalized, forces)
        return self._generalized[self._arm_dofs]

    def _pushed_torque(self, data: mujoco.MjData) -> FloatArray:
        total = np.zeros(self._model.nv)
        for body in np.flatnonzero(np.any(data.xfrc_applied, axis=1)):
            force, torque = data.xfrc_applied[body, :3], data.xfrc_applied[body, 3:]
            mujoco.mj_applyFT(self._model, data, force, torque, data.xipos[body], int(body), total)
        return total[self._arm_dofs]


@dataclass(frozen=True, kw_only=True)
class CollisionThresholds:
    """Limits of the last SetCollisionBehavior above which a force is a collision; the twin reports no mere contact."""

    torque_nm: FloatArray
    wrench: FloatArray

    @classmethod
    def of_config(cls, config: ReflexConfig) -> "CollisionThresholds":
        """Those that hold until a client says otherwise."""
        return cls(torque_nm=np.array(config.joint_torque_thresholds_nm), wrench=np.array(config.cartesian_thresholds))


@dataclass(frozen=True, kw_only=True)
class TickMeasurements:
    """What a tick is judged by.

    Attributes:
        command_age_s: robot time since the client's last command.
        joint_velocities_rad_s: shape (7,).
        tcp_speed_m_s: norm of the tool's velocity.
        joint_torque_nm: external, shape (7,).
        tcp_wrench: external force (N) and torque (Nm) at the tool, shape (6,).
    """

    command_age_s: float
    joint_velocities_rad_s: FloatArray
    tcp_speed_m_s: float
    joint_torque_nm: FloatArray
    tcp_wrench: FloatArray


@dataclass
class FaultMonitor:
    """Whether the arm is in reflex, and why.

    Attributes:
        active: names of the current errors; empty when the arm may move.
        last: names of the errors of the last fault; kept after recovery.
    """

    config: ReflexConfig
    thresholds: CollisionThresholds = field(init=False)
    active: tuple[str, ...] = ()
    last: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Thresholds are the configuration's until a client sets its own."""
        self.thresholds = CollisionThresholds.of_config(self.config)
        self._joint_velocity_limits = np.array(self.config.joint_velocity_limits_rad_s)

    def judge(self, tick: "TickMeasurements") -> str | None:
        """The error that a tick's measurements amount to, or None."""
        if tick.command_age_s > self.config.communication_timeout_s:
            return "communication_constraints_violation"
        if np.any(np.abs(tick.joint_velocities_rad_s) > self._joint_velocity_limits):
            return "joint_velocity_violation"
        if tick.tcp_speed_m_s > self.config.tcp_velocity_limit_m_s:
            return "cartesian_velocity_violation"
        if np.any(np.abs(tick.tcp_wrench) > self.thresholds.wrench):
            return "cartesian_reflex"
        if np.any(np.abs(tick.joint_torque_nm) > self.thresholds.torque_nm):
            return "joint_reflex"
        return None

    def fault(self, name: str) -> None:
        """Enter reflex with the named error.

        Raises:
            ValueError: not one of :data:`ERROR_NAMES`.
        """
        if name not in ERROR_NAMES:
            raise ValueError(f"unknown fault {name!r}: known faults are {', '.join(ERROR_NAMES)}")
        self.active = (name,)
        self.last = (name,)

    def recover(self) -> None:
        """Automatic error recovery: the arm may move again."""
        self.active = ()


def error_flags(names: tuple[str, ...]) -> tuple[bool, ...]:
    """libfranka's 41 flags for these names."""
    return tuple(name in names for name in ERROR_NAMES)
