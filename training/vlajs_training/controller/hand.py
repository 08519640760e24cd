"""ManiSkill controller of the hand: opens or closes, at its speed, one command at a time."""

from dataclasses import dataclass

import numpy as np
import torch
from gymnasium import spaces
from mani_skill.agents.controllers.pd_joint_pos import PDJointPosMimicController, PDJointPosMimicControllerConfig

from vlajs.policy.contract import GripperContract

FINGER_CLOSED_M = -0.01
"""Drive target of each finger when closing: inside the object, so that the drive squeezes it."""

RESTING_M_S = 0.005
"""A finger slower than this has arrived, at its end or at an object."""


@dataclass
class DeployHandConfig(PDJointPosMimicControllerConfig):
    """Hand part of control mode ``deploy``."""

    contract: GripperContract | None = None
    speed_m_s: float = 0.1
    delay_s: float = 0.05
    settle_s: float = 0.2


class DeployHandController(PDJointPosMimicController):
    """One action number to finger drives, as the Franka Hand behaves.

    The number asks for a width; hysteresis turns that into "open" or "close"; a command runs to its end before the
    next is taken (``busy``), after a delay, at a limited speed; it ends when the fingers have rested for a while, as
    they do on an object. With a fixed width the number is ignored.

    Attributes:
        command_m: (N,) opening last commanded, 0 or ``width_max_m``.
        speed_m_s: (N,) speed of each finger.
        delay_s: (N,) from command to motion.
    """

    config: DeployHandConfig

    def _initialize_action_space(self) -> None:
        self.single_action_space = spaces.Box(-1.0, 1.0, (1,), dtype=np.float32)

    @property
    def contract(self) -> GripperContract:
        """The gripper part of the action contract."""
        assert self.config.contract is not None
        return self.config.contract

    def _ready(self) -> None:
        count, device = self.scene.num_envs, self.device
        self._step_s = 1.0 / (self._control_freq * self._sim_steps)
        # one number for both fingers, though ManiSkill allows one each
        self._drive_lag_s = float(np.max(self.config.damping)) / float(np.max(self.config.stiffness))
        self.command_m = torch.zeros(count, device=device)
        self._finger_target_m = torch.zeros(count, device=device)
        self._delay_left_s = torch.zeros(count, device=device)
        self._busy_left_s = torch.zeros(count, device=device)
        self._rested_s = torch.zeros(count, device=device)
        self.speed_m_s = torch.full((count,), self.config.speed_m_s, device=device)
        self.delay_s = torch.full((count,), self.config.delay_s, device=device)

    def reset(self) -> None:
        """The masked environments start with the hand idle, commanded to the contract's initial width."""
        super().reset()
        if not hasattr(self, "command_m"):
            self._ready()
        mask = self.scene._reset_mask
        self.command_m[mask] = self.contract.initial_width_m
        self._finger_target_m[mask] = self.qpos[mask, 0]
        self._delay_left_s[mask] = 0.0
        self._busy_left_s[mask] = 0.0
        self._rested_s[mask] = 0.0

    def set_action(self, action: torch.Tensor) -> None:
        """Take one normalised number (N, 1); ignored while the hand is busy."""
        contract = self.contract
        if contract.fixed_width_m is not None:
            return
        width = contract.width_max_m * (action[:, 0].clamp(-1, 1) + 1) / 2
        wanted = torch.where(width > contract.open_above_m, contract.width_max_m, self.command_m)
        wanted = torch.where(width < contract.close_below_m, 0.0, wanted)
        changed = (wanted != self.command_m) & (self._busy_left_s <= 0)
        self.command_m = torch.where(changed, wanted, self.command_m)
        travel_s = (self.qpos[:, 0] - self.command_m / 2).abs() / self.speed_m_s
        self._busy_left_s = torch.where(changed, self.delay_s + travel_s + self.config.settle_s, self._busy_left_s)
        self._delay_left_s = torch.where(changed, self.delay_s, self._delay_left_s)
        self._rested_s = torch.where(changed, 0.0, self._rested_s)
        # an opening hand leaves the object at once, wherever the squeezing drive target was
        self._finger_target_m = torch.where(changed, self.qpos[:, 0], self._finger_target_m)

    def before_simulation_step(self) -> None:
        """Move the finger targets by one physics step."""
        goal = torch.where(self.command_m > 0, self.command_m / 2, FINGER_CLOSED_M)
        reach = torch.where(self._delay_left_s > 0, 0.0, self.speed_m_s * self._step_s)
        step = (goal - self._finger_target_m).clamp(-reach, reach)
        self._finger_target_m = self._finger_target_m + step
        self._delay_left_s = (self._delay_left_s - self._step_s).clamp_min(0.0)
        rests = (self._delay_left_s <= 0) & (self.qvel.abs().amax(dim=1) < RESTING_M_S)
        self._rested_s = torch.where(rests, self._rested_s + self._step_s, 0.0)
        self._busy_left_s = (self._busy_left_s - self._step_s).clamp_min(0.0)
        self._busy_left_s = torch.where(self._rested_s > self.config.settle_s, 0.0, self._busy_left_s)
        # a drive k (q* - q) - d dq/dt follows without lag when its target leads by d / k times the velocity
        lead = self._drive_lag_s * step / self._step_s
        target = (self._finger_target_m + lead).clamp(FINGER_CLOSED_M, self.contract.width_max_m / 2)
        self.set_drive_targets(target[:, None].expand(-1, 2))


DeployHandConfig.controller_cls = DeployHandController
