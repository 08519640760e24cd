"""Registers the Panda with our control modes; everything else about the robot stays ManiSkill's."""

from typing import Any

from mani_skill import logger
from mani_skill.agents.registration import register_agent
from mani_skill.agents.robots.panda.panda import Panda

from vlajs.policy.contract import ActionContract
from vlajs_training.controller.arm import DeployArmConfig
from vlajs_training.controller.hand import DeployHandConfig

_MODES: dict[str, ActionContract] = {}


def register_control_mode(name: str, contract: ActionContract) -> None:
    """Make ``control_mode=name`` drive the arm under ``contract``; environments made afterwards see it."""
    _install()
    _MODES[name] = contract


class DeployPanda(Panda):
    """ManiSkill's Panda plus the control modes of :func:`register_control_mode`.

    It keeps the uid ``panda``: ManiSkill's tasks and table ask for that name when they place the robot.
    """

    uid = "panda"

    @property
    def _controller_configs(self) -> dict[str, Any]:
        configs = super()._controller_configs
        mimic: Any = {"panda_finger_joint2": {"joint": "panda_finger_joint1"}}  # annotated as floats by ManiSkill
        for name, contract in _MODES.items():
            configs[name] = {
                "arm": DeployArmConfig(joint_names=self.arm_joint_names, contract=contract),
                "gripper": DeployHandConfig(
                    joint_names=self.gripper_joint_names,
                    lower=-0.01,
                    upper=0.04,
                    stiffness=self.gripper_stiffness,
                    damping=self.gripper_damping,
                    force_limit=self.gripper_force_limit,
                    normalize_action=False,
                    mimic=mimic,
                    contract=contract.gripper,
                ),
            }
        return configs

    def before_simulation_step(self) -> None:
        """Controllers move drive targets within a control step; batched backends must be told to take them."""
        super().before_simulation_step()
        if self.scene.gpu_sim_enabled:
            px: Any = self.scene.px  # PhysX on the GPU, or the batched stand-in for it
            px.gpu_apply_articulation_target_position()


def _install() -> None:
    if _MODES:
        return
    level = logger.level
    logger.setLevel("ERROR")  # overriding a registered robot is the point, not worth a warning in every worker
    register_agent(override=True)(DeployPanda)
    logger.setLevel(level)
