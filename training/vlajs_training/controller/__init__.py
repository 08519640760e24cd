"""The Panda as the robot side drives it: the same target rule, an identified response, a hand that opens or closes."""

import mani_skill.envs  # noqa: F401 - first: its agents and scenes import each other in this order only

from vlajs_training.controller.agent import DeployPanda, register_control_mode
from vlajs_training.controller.arm import DeployArmController
from vlajs_training.controller.hand import DeployHandController

__all__ = ["DeployArmController", "DeployHandController", "DeployPanda", "register_control_mode"]
