"""VlajsPickPlaceCube-v1: carry a 4 cm cube to a marked spot on the other side of the table, let go and withdraw."""

from typing import Any

import numpy as np
import sapien
import torch
from mani_skill.envs.tasks.tabletop.pick_cube import PickCubeEnv
from mani_skill.envs.utils import randomization
from mani_skill.utils.building import actors
from mani_skill.utils.registration import register_env
from mani_skill.utils.scene_builder.table import TableSceneBuilder
from mani_skill.utils.structs import Pose

from vlajs.tasks import (
    CUBE_HALF_SIZE_M,
    MARKER_HEIGHT_M,
    PLACE_MAX_LIFT_M,
    PLACE_RADIUS_M,
    PLACE_SIDE_M,
    RELEASED_M,
    STATIC_RAD_S,
)
from vlajs_training.maniskill_tasks.disc import FACE_UP_WXYZ, build_disc
from vlajs_training.tasks.sub_optimal import near

CARRY_HEIGHT_M = 0.05
"""How high above the table the cube is carried: a cube that is dragged is one that another table stops."""

LOWER_WITHIN_M = 0.06
"""Distance to the spot within which it is lowered."""


@register_env("VlajsPickPlaceCube-v1", max_episode_steps=100)
class PickPlaceCubeEnv(PickCubeEnv):
    """ManiSkill's PickCube-v1 with a disc on the table instead of a point in the air.

    Success: the cube lies within the disc, at rest, the tool has withdrawn and the arm stands still.
    """

    def _load_scene(self, options: dict[str, Any]) -> None:
        self.table_scene = TableSceneBuilder(self, robot_init_qpos_noise=self.robot_init_qpos_noise)
        self.table_scene.build()
        self.cube = actors.build_cube(
            self.scene,
            half_size=CUBE_HALF_SIZE_M,
            color=np.array([1, 0, 0, 1]),
            name="cube",
            initial_pose=sapien.Pose(p=[0, 0, CUBE_HALF_SIZE_M]),
        )
        self.goal_site = build_disc(self.scene, "goal_site", PLACE_RADIUS_M)

    def _initialize_episode(self, env_idx: torch.Tensor, options: dict[str, Any]) -> None:
        count = len(env_idx)
        with torch.device(self.device):
            self.table_scene.initialize(env_idx)
            side = torch.randint(0, 2, (count,)) * 2.0 - 1.0
            x = torch.rand(count, 2) * 0.2 - 0.1
            y = torch.rand(count, 2) * (PLACE_SIDE_M[1] - PLACE_SIDE_M[0]) + PLACE_SIDE_M[0]
            cube_m = torch.stack([x[:, 0], side * y[:, 0], torch.full((count,), CUBE_HALF_SIZE_M)], dim=1)
            spot_m = torch.stack([x[:, 1], -side * y[:, 1], torch.full((count,), MARKER_HEIGHT_M)], dim=1)
            yaws = randomization.random_quaternions(count, lock_x=True, lock_y=True)
            self.cube.set_pose(Pose.create_from_pq(cube_m, yaws))
            self.goal_site.set_pose(Pose.create_from_pq(spot_m, torch.tensor(FACE_UP_WXYZ)))

    def evaluate(self) -> dict[str, torch.Tensor]:
        """ManiSkill's flags: what success is made of."""
        off_m = (self.cube.pose.p - self.goal_site.pose.p)[:, :2].norm(dim=1)
        lifted_m = (self.cube.pose.p[:, 2] - CUBE_HALF_SIZE_M).abs()
        placed = (off_m <= PLACE_RADIUS_M) & (lifted_m < PLACE_MAX_LIFT_M)
        withdrawn = (self.agent.tcp_pose.p - self.cube.pose.p).norm(dim=1) > RELEASED_M
        cube_static = self.cube.is_static(lin_thresh=1e-2, ang_thresh=0.5)
        robot_static = self.agent.is_static(STATIC_RAD_S)
        return {
            "success": placed & withdrawn & cube_static & robot_static,
            "is_obj_placed": placed,
            "is_withdrawn": withdrawn,
            "is_obj_static": cube_static,
            "is_robot_static": robot_static,
            "is_grasped": self.agent.is_grasping(self.cube),
        }

    def compute_dense_reward(self, obs: Any, action: torch.Tensor, info: dict[str, torch.Tensor]) -> torch.Tensor:
        """Reach (to 2), carry (4 to 5), open (6 to 6.5), withdraw (to 7): stages as in StackCube-v1; success is 8."""
        from_cube_m = (self.cube.pose.p - self.agent.tcp_pose.p).norm(dim=1)
        reward = 2 * near(from_cube_m)
        grasped, placed = info["is_grasped"], info["is_obj_placed"]
        to_spot_m = self.goal_site.pose.p - self.cube.pose.p
        off_m = to_spot_m[:, :2].norm(dim=1)
        height_m = CUBE_HALF_SIZE_M + CARRY_HEIGHT_M * (off_m / LOWER_WITHIN_M - 0.5).clamp(0.0, 1.0)
        to_path_m = torch.hypot(off_m, self.cube.pose.p[:, 2] - height_m)
        reward = torch.where(grasped, 4 + near(to_path_m), reward)
        opening = (self.agent.robot.get_qpos()[:, -2:].sum(dim=1) / 0.08).clamp(0.0, 1.0)
        opening = torch.where(grasped, opening, torch.ones_like(opening))
        withdrawn = torch.where(grasped, torch.zeros_like(opening), (from_cube_m / RELEASED_M).clamp(0.0, 1.0))
        reward = torch.where(placed, 6 + (opening + withdrawn) / 2, reward)
        reward[info["success"]] = 8.0
        return reward

    def compute_normalized_dense_reward(
        self, obs: Any, action: torch.Tensor, info: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """The dense reward as a share of its largest value."""
        return self.compute_dense_reward(obs, action, info) / 8
