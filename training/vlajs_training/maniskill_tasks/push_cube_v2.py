"""VlajsPushCube-v2: push a larger, green cube to the left into a disc, with the hand closed."""

from typing import Any

import numpy as np
import sapien
import torch
from mani_skill.envs.tasks.tabletop.push_cube import PushCubeEnv
from mani_skill.utils.building import actors
from mani_skill.utils.registration import register_env
from mani_skill.utils.scene_builder.table import TableSceneBuilder
from mani_skill.utils.structs import Pose

from vlajs.tasks import MARKER_HEIGHT_M, PUSH_GOAL_RADIUS_M, PUSH_V2_CUBE_HALF_SIZE_M
from vlajs_training.maniskill_tasks.disc import FACE_UP_WXYZ, build_disc
from vlajs_training.tasks.sub_optimal import near

GREEN = np.array([40, 160, 60, 255]) / 255

HAND_HALF_WIDTH_M = 0.02
"""Half the width of the two closed fingers, along which they push."""

REACHED_M = 0.02
"""Distance from the place to push from within which the cube's way is paid."""


@register_env("VlajsPushCube-v2", max_episode_steps=50)
class PushCubeV2Env(PushCubeEnv):
    """ManiSkill's PushCube-v1 with a green cube of 5 cm that is to go 0.2 m along +y."""

    agent: Any
    cube_half_size = PUSH_V2_CUBE_HALF_SIZE_M
    goal_radius = PUSH_GOAL_RADIUS_M

    def _load_scene(self, options: dict[str, Any]) -> None:
        self.table_scene = TableSceneBuilder(env=self, robot_init_qpos_noise=self.robot_init_qpos_noise)
        self.table_scene.build()
        self.obj = actors.build_cube(
            self.scene,
            half_size=self.cube_half_size,
            color=GREEN,
            name="cube",
            body_type="dynamic",
            initial_pose=sapien.Pose(p=[0, 0, self.cube_half_size]),
        )
        self.goal_region = build_disc(self.scene, "goal_region", self.goal_radius)

    def _initialize_episode(self, env_idx: torch.Tensor, options: dict[str, Any]) -> None:
        with torch.device(self.device):
            self.table_scene.initialize(env_idx)
            cube_m = torch.zeros(len(env_idx), 3)
            cube_m[:, :2] = torch.rand(len(env_idx), 2) * 0.2 - 0.1
            cube_m[:, 2] = self.cube_half_size
            self.obj.set_pose(Pose.create_from_pq(p=cube_m, q=torch.tensor([1.0, 0.0, 0.0, 0.0])))
            goal_m = cube_m + torch.tensor([0.0, 0.1 + self.goal_radius, 0.0])
            goal_m[:, 2] = MARKER_HEIGHT_M
            self.goal_region.set_pose(Pose.create_from_pq(p=goal_m, q=torch.tensor(FACE_UP_WXYZ)))

    def compute_dense_reward(self, obs: Any, action: torch.Tensor, info: dict[str, torch.Tensor]) -> torch.Tensor:
        """As in PushCube-v1, from behind the cube on the way to its goal; at most 4."""
        behind_m = torch.tensor([0.0, -self.cube_half_size - HAND_HALF_WIDTH_M, 0.0], device=self.device)
        to_push_m = (self.obj.pose.p + behind_m - self.agent.tcp.pose.p).norm(dim=1)
        to_goal_m = (self.obj.pose.p - self.goal_region.pose.p)[:, :2].norm(dim=1)
        lifted_m = (self.obj.pose.p[:, 2] - self.cube_half_size).abs()
        reached = (to_push_m < REACHED_M).float()
        reward = near(to_push_m) + reached * near(to_goal_m) * (1 + near(lifted_m))
        reward[info["success"]] = 4.0
        return reward
