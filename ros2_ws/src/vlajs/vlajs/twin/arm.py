"""The twin's low-level controller: how the simulated arm follows joint and tool commands.

franky-sim's own lags by 0.1 s (its damping acts on the velocity itself), lets go of a tool pose within 0.1 mm, and
reports the desired tool pose as the measured one. This one follows like an arm's joint controller does: stiffness and
damping act on the error against a smoothed command.
"""

# pyright: reportAttributeAccessIssue=false, reportMissingImports=false, reportOptionalMemberAccess=false
# (MuJoCo and pinocchio are extension modules without type stubs)

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import mujoco
import numpy as np
import pinocchio
from franky_sim.base_simulator import InnerRobotState
from franky_sim.mujoco_simulator import FrankaMujocoRobot

from vlajs.geometry import FloatArray

TICK_S = 1e-3
_IK_ITERATIONS = 4
_IK_TOLERANCE = 1e-7
_IK_DAMPING = 1e-6


@dataclass(frozen=True, kw_only=True)
class ArmConfig:
    """The joint controller. Seven values each.

    Attributes:
        stiffness_nm_rad: torque per joint error.
        damping_nm_s_rad: torque per error of joint velocity; near critical damping for the arm's inertia.
        command_time_constant_s: smoothing of commands; the arm's lag behind a steadily moving command.
    """

    stiffness_nm_rad: tuple[float, ...] = (4500.0, 4500.0, 3500.0, 3500.0, 2000.0, 2000.0, 2000.0)
    damping_nm_s_rad: tuple[float, ...] = (150.0, 150.0, 110.0, 110.0, 30.0, 30.0, 30.0)
    command_time_constant_s: float = 0.01

    def __post_init__(self) -> None:
        for name in ("stiffness_nm_rad", "damping_nm_s_rad"):
            values = getattr(self, name)
            if len(values) != 7 or not all(np.isfinite(v) and v > 0 for v in values):
                raise ValueError(f"arm.{name} is {values}: seven finite numbers above 0 are needed")
        if not 4 * TICK_S <= self.command_time_constant_s < 1.0:
            raise ValueError(f"arm.command_time_constant_s is {self.command_time_constant_s}: from 0.004 to 1")


class TwinArm(FrankaMujocoRobot):
    """A simulated arm that follows commands closely.

    franky-sim creates the robot itself, so an instance is made by :meth:`of`, not by the constructor.
    """

    @classmethod
    def of(cls, robot: FrankaMujocoRobot, config: ArmConfig) -> "TwinArm":
        """Turn franky-sim's robot, before its simulator has started, into this class; the same object."""
        robot.__class__ = cls
        arm = cast(TwinArm, robot)
        arm.kp = np.array(config.stiffness_nm_rad)
        arm.kv = np.array(config.damping_nm_s_rad)
        # The filter's lag behind a ramp is two over its rate.
        arm._filter_rate = 2.0 / config.command_time_constant_s
        arm.release()
        return arm

    def release(self) -> None:
        """Forget the followed target: the next command starts from the measured joints."""
        self._followed_q: FloatArray | None = None
        self._smooth_q: FloatArray = np.zeros(7)
        self._smooth_dq: FloatArray = np.zeros(7)
        self._tool_q: FloatArray | None = None

    def begin_motion(self) -> None:
        """A new motion starts: keep the followed joints, but solve its tool pose anew."""
        self._tool_q = None

    def measured_velocities_rad_s(self) -> FloatArray:
        """Joint velocities of the last tick, shape (7,)."""
        return self._data.qvel[self._v_index]

    def kinematics(self, q: FloatArray) -> pinocchio.SE3:
        """Tool pose for joints ``q``, as a copy.

        franky-sim hands out a reference that its next call overwrites, so the measured pose on the wire would
        be the desired one.
        """
        return super().kinematics(q).copy()

    def cartesian_position_control(
        self,
        target_pose: Sequence[float],
        target_elbow_config: Sequence[float] | None,
        has_new_command: bool = True,
    ) -> None:
        """Follow a tool pose (x y z, quaternion xyzw); without a new command the last solution is kept."""
        pose = pinocchio.XYZQUATToSE3(np.asarray(target_pose))
        base = cast(Any, self)
        self._tracked_state_components["O_T_EE_c"].set(base._BaseRobot__t, pose, call_observers=has_new_command)
        if has_new_command or self._tool_q is None:
            elbow_rad, _ = base._process_elbow(target_elbow_config, has_new_command) or (None, None)
            self._tool_q = self._inverse_kinematics(pose, elbow_rad)
        self.joint_position_control(cast(Any, self._tool_q), has_new_command)

    def _inverse_kinematics(self, pose: pinocchio.SE3, elbow_rad: float | None) -> FloatArray:
        """Joints for a tool pose, from the followed joints on, so that nothing jumps and the elbow does not drift."""
        base = cast(Any, self)
        model, data, frame = base._BaseRobot__model, base._BaseRobot__data, base._BaseRobot__tcp_frame_id
        q = self._start_q()
        for _ in range(_IK_ITERATIONS):
            pinocchio.computeJointJacobians(model, data, q)
            placed = pinocchio.updateFramePlacement(model, data, frame)
            jacobian = pinocchio.getFrameJacobian(model, data, frame, pinocchio.ReferenceFrame.LOCAL)
            error = pinocchio.log6(placed.actInv(pose)).vector
            if elbow_rad is not None:
                jacobian = np.vstack([jacobian, np.eye(7)[2]])
                error = np.append(error, elbow_rad - q[2])
            if np.max(np.abs(error)) < _IK_TOLERANCE:
                break
            gram = jacobian @ jacobian.T + _IK_DAMPING * np.eye(len(error))
            q = q + jacobian.T @ np.linalg.solve(gram, error)
        return q

    def _joint_position_control(self, target_q: FloatArray) -> None:
        data = self._data
        q, dq = data.qpos[self._q_index], data.qvel[self._v_index]
        if self._followed_q is None:
            self._smooth_q, self._smooth_dq = q.copy(), np.zeros(7)
        self._followed_q = np.array(target_q)
        # A critically damped second-order filter: smooth position and velocity agree, so that there is no overshoot.
        acceleration = self._filter_rate * (self._filter_rate * (target_q - self._smooth_q) - 2 * self._smooth_dq)
        self._smooth_dq = self._smooth_dq + acceleration * TICK_S
        self._smooth_q = self._smooth_q + self._smooth_dq * TICK_S
        torque = self.kp * (self._smooth_q - q) + self.kv * (self._smooth_dq - dq)
        self._tracked_state_components["tau_J_d"].set(cast(Any, self)._BaseRobot__t, torque)
        self._torque_control(torque + data.qfrc_bias[self._v_index])

    def _joint_velocity_control(self, target_dq: FloatArray) -> None:
        self._joint_position_control(self._start_q() + np.asarray(target_dq) * TICK_S)

    def torque_control(self, torques: Sequence[float], has_new_command: bool = True) -> None:
        """Apply a client's torques; gravity is compensated."""
        self.release()
        super().torque_control(torques, has_new_command)

    def _torque_control(self, torques: FloatArray) -> None:
        self._applied_torques = np.clip(torques, self.torque_limit_low, self.torque_limit_high)
        self._data.qfrc_applied[self._v_index] = self._applied_torques

    def _start_q(self) -> FloatArray:
        return self._data.qpos[self._q_index] if self._followed_q is None else self._followed_q

    def _attach_to_scene(self, model: mujoco.MjModel, data: mujoco.MjData, prefix: str) -> None:
        super()._attach_to_scene(model, data, prefix)
        self._q_index = np.array(self._qpos_addrs)
        self._v_index = np.array(self._dof_addrs)

    def _get_state(self) -> InnerRobotState:
        if self._data is None:
            return super()._get_state()
        return InnerRobotState(
            q=tuple(self._data.qpos[self._q_index].tolist()),
            dq=tuple(self._data.qvel[self._v_index].tolist()),
            tau_j=tuple(self._applied_torques.tolist()),
        )
