"""ManiSkill controller of the arm: target rule, identified response, inverse kinematics, stiff joint drives."""

from dataclasses import dataclass, field

import numpy as np
import torch
from gymnasium import spaces
from mani_skill.agents.controllers.base_controller import ControllerConfig
from mani_skill.agents.controllers.pd_joint_pos import PDJointPosController
from mani_skill.utils.geometry.rotation_conversions import matrix_to_quaternion

from vlajs.policy.contract import ActionContract
from vlajs_training.controller.response import ResponseFilter
from vlajs_training.controller.target_rule import integrate_target
from vlajs_training.rotations import quaternion_to_matrix, small_rotvec_between
from vlajs_training.simulation import panda_kinematics

JOINT_VELOCITY_LIMIT_RAD_S = (2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61)
"""libfranka 0.9.2, Panda (rate_limiting.h)."""

IK_DAMPING = 0.05
"""Damped least squares: keeps joint steps bounded near singularities, costs under 0.3 mm a step elsewhere."""


@dataclass
class DeployArmConfig(ControllerConfig):
    """Arm part of control mode ``deploy``; ``contract`` is the action contract written into the bundle."""

    contract: ActionContract
    stiffness: float = 2000.0
    damping: float = 150.0
    force_limit: float = 100.0
    friction: float = 0.0
    latency_s: float = 0.01
    natural_frequency_rad_s: float = 20.0
    damping_ratio: float = 0.7
    normalize_action: bool = False
    drive_mode: str = "force"
    lower: None = field(default=None)
    upper: None = field(default=None)


class DeployArmController(PDJointPosController):
    """Six action numbers to joint drives.

    Inverse kinematics runs on the *commanded* joints, as libfranka's does, so contact cannot wind it up: what ties the
    command to reality is the leash of the target rule. Commanded joints obey the Panda's velocity limits whatever the
    policy does, by scaling all joints alike, which keeps the direction of motion.

    Attributes:
        filter: the reference pose the joints follow.
        target_position_m: (N, 3) target of the rule, base frame.
        target_wxyz: (N, 4).
        joint_speed_share: (N,) fastest joint of the present control step as a share of its limit, before scaling.
    """

    config: DeployArmConfig

    def _initialize_action_space(self) -> None:
        self.single_action_space = spaces.Box(-1.0, 1.0, (6,), dtype=np.float32)

    def _ready(self) -> None:
        count, device = self.scene.num_envs, torch.device(str(self.device))
        self.filter = ResponseFilter(count, device)
        self._joints_ref = torch.zeros(count, 7, device=device)
        self.target_position_m = torch.zeros(count, 3, device=device)
        self.target_wxyz = torch.zeros(count, 4, device=device)
        self._step_s = 1.0 / (self._control_freq * self._sim_steps)
        self.joint_speed_share = torch.zeros(count, device=device)
        self._ik_damping = IK_DAMPING**2 * torch.eye(6, device=device)
        self._max_joint_step = torch.tensor(JOINT_VELOCITY_LIMIT_RAD_S, device=device) * self._step_s
        limits = self.articulation.get_qlimits()[0, self.active_joint_indices]
        self._joint_min, self._joint_max = limits[:, 0], limits[:, 1]
        self.set_response(
            torch.arange(count, device=device),
            torch.full((count,), self.config.latency_s, device=device),
            torch.full((count,), self.config.natural_frequency_rad_s, device=device),
            torch.full((count,), self.config.damping_ratio, device=device),
        )

    def set_response(
        self,
        env_idx: torch.Tensor,
        latency_s: torch.Tensor,
        natural_frequency_rad_s: torch.Tensor,
        damping_ratio: torch.Tensor,
    ) -> None:
        """Set the response (M,) of the environments ``env_idx`` (M,)."""
        self.filter.set_response(env_idx, latency_s, natural_frequency_rad_s, damping_ratio, self._step_s)

    def measured_pose(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Tool position (N, 3) and quaternion (N, 4) in the base frame, from the measured joints."""
        position, matrix = panda_kinematics.forward(self.qpos)
        return position, matrix_to_quaternion(matrix)

    def reset(self) -> None:
        """Start the masked environments at rest where they are: target, reference and commanded joints."""
        super().reset()
        if not hasattr(self, "filter"):
            self._ready()
        mask = self.scene._reset_mask
        position, quat = self.measured_pose()
        self.target_position_m[mask] = position[mask]
        self.target_wxyz[mask] = quat[mask]
        self.filter.reset(mask, position, quat)
        self._joints_ref[mask] = self.qpos[mask]

    def set_action(self, action: torch.Tensor) -> None:
        """Move the target by one normalised action (N, 6)."""
        position, quat = self.measured_pose()
        self.target_position_m, self.target_wxyz = integrate_target(
            self.target_position_m, self.target_wxyz, position, quat, action, self.config.contract
        )
        self.filter.set_target(self.target_position_m, self.target_wxyz)
        self.joint_speed_share = torch.zeros_like(self.joint_speed_share)

    def before_simulation_step(self) -> None:
        """Advance the reference by one physics step and drive the joints to it."""
        self.filter.step()
        position, matrix, jacobian = panda_kinematics.forward_and_jacobian(self._joints_ref)
        turn = small_rotvec_between(matrix, quaternion_to_matrix(self.filter.quat_wxyz))
        error = torch.cat([self.filter.position_m - position, turn], dim=1)
        normal = jacobian @ jacobian.transpose(1, 2)
        normal = normal + self._ik_damping
        step = (jacobian.transpose(1, 2) @ torch.linalg.solve(normal, error[:, :, None]))[:, :, 0]
        share = (step.abs() / self._max_joint_step).amax(dim=1)
        self.joint_speed_share = torch.maximum(self.joint_speed_share, share)
        step = step / share[:, None].clamp_min(1.0)
        joints = torch.maximum(torch.minimum(self._joints_ref + step, self._joint_max), self._joint_min)
        velocity = (joints - self._joints_ref) / self._step_s
        self._joints_ref = joints
        # A drive k (q* - q) - d dq/dt follows q without lag when its target leads by d / k times the velocity.
        self.set_drive_targets(joints + (self.config.damping / self.config.stiffness) * velocity)

    def get_state(self) -> dict[str, torch.Tensor]:
        """The target pose, for ManiSkill's state dictionaries."""
        return {"target_pose": torch.cat([self.target_position_m, self.target_wxyz], dim=1)}


DeployArmConfig.controller_cls = DeployArmController
