"""PegInsertionSide-v1 with this project's arm: grasp a peg and put it into the hole of a box, from the side.

Peg and hole differ from episode to episode. ManiSkill draws them when it builds a scene; :class:`PegInsertionEnv` also
draws them at every reset of the batched CPU simulation, from several that each environment holds ready.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sapien
import torch
from mani_skill.envs.tasks.tabletop.peg_insertion_side import PegInsertionSideEnv
from mani_skill.utils.registration import register_env
from sapien import physx

from vlajs.tasks import INSERT_HALF_LENGTH_M, INSERT_HALF_WIDTH_M, TASKS
from vlajs_training import bodies
from vlajs_training.simulation.batched_physx import BatchedCpuPhysx

GEOMETRIES = 8
"""Pegs with their holes that each environment of the batched CPU simulation holds ready; 128 environments, 1024."""

STOCK_JOINT_NOISE_RAD = 0.02
STOCK_DENSITY_KG_M3 = 1000.0

COLLIDES = [1, 1, 0, 0]
GHOST = [0, 0, 0, 0]
"""SAPIEN's collision groups of a shape that touches nothing."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """A peg, its hole and the shapes they are made of, in one environment.

    Attributes:
        half_length_m: of the peg; also half of each edge of the box.
        half_width_m: of the peg.
        hole_offset_m: hole from the middle of the box's face, along the box's y and z.
        shapes: of both bodies.
    """

    half_length_m: float
    half_width_m: float
    hole_offset_m: tuple[float, float]
    shapes: list[Any]

    def collide(self, yes: bool) -> None:
        """Let the shapes be touched, or not."""
        for shape in self.shapes:
            shape.set_collision_groups(COLLIDES if yes else GHOST)


@register_env("VlajsPegInsertionSide-v1", max_episode_steps=100)
class PegInsertionEnv(PegInsertionSideEnv):
    """ManiSkill's PegInsertionSide-v1 without the wrist camera, its geometry drawn at every reset.

    On the batched CPU simulation each environment holds :data:`GEOMETRIES` geometries, one of which collides.
    On the stock CPU the scene is built anew in every reset, as ManiSkill does; on a GPU an environment keeps its
    geometry until the scenes are built anew.
    """

    agent: Any
    peg_half_sizes: Any
    peg_head_offsets: Any
    box_hole_offsets: Any
    box_hole_radii: Any
    SUPPORTED_ROBOTS: ClassVar = ["panda"]

    def __init__(
        self,
        *args: Any,
        robot_uids: str = "panda",
        num_envs: int = 1,
        robot_init_qpos_noise: float = STOCK_JOINT_NOISE_RAD,
        sim_backend: str = "auto",
        **kwargs: Any,
    ) -> None:
        """ManiSkill's arguments; ``robot_init_qpos_noise`` is the deviation of each joint at the start, rad."""
        self.robot_init_qpos_noise = robot_init_qpos_noise
        self._pool: list[list[Geometry]] = []
        kwargs.setdefault("reconfiguration_freq", 1 if sim_backend == "physx_cpu" else 0)
        super().__init__(*args, robot_uids=robot_uids, num_envs=num_envs, sim_backend=sim_backend, **kwargs)

    @property
    def hole_half_sizes(self) -> torch.Tensor:
        """Half the depth and the two half openings of each hole (N, 3)."""
        return torch.stack([self.peg_half_sizes[:, 0], self.box_hole_radii, self.box_hole_radii], dim=1)

    def use_geometry(
        self, env_idx: torch.Tensor, half_length_m: np.ndarray, half_width_m: np.ndarray, hole_offset_m: np.ndarray
    ) -> None:
        """Give environments a geometry of your own (batched CPU only); it replaces the one in use.

        Args:
            env_idx: (M,) which environments.
            half_length_m: (M,) of the pegs.
            half_width_m: (M,) of the pegs.
            hole_offset_m: (M, 2) of the holes from the middle of the box's face.
        """
        for row, env in enumerate(env_idx.tolist()):
            width_m, (off_y, off_z) = float(half_width_m[row]), hole_offset_m[row].tolist()
            self._pool[env].append(self._attach(env, float(half_length_m[row]), width_m, (off_y, off_z)))
            self._choose(env, len(self._pool[env]) - 1)

    def visible_shapes(self) -> torch.Tensor:
        """What pegs and boxes look like (N, 4): half length and half width of the peg, the hole's offsets in y, z."""
        return torch.cat([self.peg_half_sizes[:, :2], self.box_hole_offsets.p[:, 1:]], dim=1)

    def show_shapes(self, shapes: np.ndarray) -> None:
        """Make the peg and box of the first scene look like ``shapes`` (4,); what they collide with stays as it is."""
        length, width, off_y, off_z = np.asarray(shapes, dtype=np.float64).tolist()
        ends = [([length / 2, width, width], sapien.Pose([side * length / 2, 0, 0])) for side in (1, -1)]
        _repaint(self.peg._objs[0], ends)
        _repaint(self.box._objs[0], hole_walls(length, width + self._clearance, (off_y, off_z)))

    def _load_scene(self, options: dict[str, Any]) -> None:
        super()._load_scene(options)
        self._pool = []
        if not isinstance(self.scene.px, BatchedCpuPhysx):
            return
        rng = self._batched_episode_rng
        lengths = rng.uniform(*INSERT_HALF_LENGTH_M, size=(GEOMETRIES - 1,))
        widths = rng.uniform(*INSERT_HALF_WIDTH_M, size=(GEOMETRIES - 1,))
        offsets = 0.5 * (lengths - widths)[..., None] * rng.uniform(-1, 1, size=(GEOMETRIES - 1, 2))
        for env in range(self.num_envs):
            length, width, _ = self.peg_half_sizes[env].tolist()
            off_y, off_z = self.box_hole_offsets.p[env, 1:].tolist()
            shapes = [*self.peg._bodies[env].collision_shapes, *self.box._bodies[env].collision_shapes]
            built = Geometry(half_length_m=length, half_width_m=width, hole_offset_m=(off_y, off_z), shapes=shapes)
            others = zip(lengths[env].tolist(), widths[env].tolist(), offsets[env].tolist(), strict=True)
            self._pool.append([built, *(self._attach(env, a, b, (c[0], c[1])) for a, b, c in others)])

    def _attach(self, env: int, half_length_m: float, half_width_m: float, hole_offset_m: tuple[float, float]) -> Any:
        """Add the shapes of a geometry to an environment's peg and box, as ghosts."""
        peg: Any = self.peg._bodies[env]
        box: Any = self.box._bodies[env]
        like = peg.collision_shapes[0]
        shapes = [_box_shape(like, [half_length_m, half_width_m, half_width_m], sapien.Pose())]
        peg.attach(shapes[0])
        for half_size_m, pose in hole_walls(half_length_m, half_width_m + self._clearance, hole_offset_m):
            shapes.append(_box_shape(like, half_size_m, pose))
            box.attach(shapes[-1])
        geometry = Geometry(
            half_length_m=half_length_m, half_width_m=half_width_m, hole_offset_m=hole_offset_m, shapes=shapes
        )
        geometry.collide(False)
        return geometry

    def _choose(self, env: int, choice: int) -> None:
        """Make one of the pool the geometry of an environment: shapes, mass and what ManiSkill knows of it."""
        for index, geometry in enumerate(self._pool[env]):
            geometry.collide(index == choice)
        chosen = self._pool[env][choice]
        length, width = chosen.half_length_m, chosen.half_width_m
        bodies.set_box_density(self.peg._bodies[env], [length, width, width], STOCK_DENSITY_KG_M3)
        self.peg_half_sizes[env] = torch.tensor([length, width, width])
        self.peg_head_offsets.raw_pose[env, 0] = length
        self.box_hole_offsets.raw_pose[env, 1:3] = torch.tensor(chosen.hole_offset_m)
        self.box_hole_radii[env] = width + self._clearance

    def _initialize_episode(self, env_idx: torch.Tensor, options: dict[str, Any]) -> None:
        if self._pool:
            choices = torch.randint(0, GEOMETRIES, (len(env_idx),)).tolist()
            for env, choice in zip(env_idx.tolist(), choices, strict=True):
                self._choose(env, choice)
        super()._initialize_episode(env_idx, options)
        if self.robot_init_qpos_noise != STOCK_JOINT_NOISE_RAD:
            joints = self.agent.robot.get_qpos()[env_idx]
            home = joints.new_tensor(TASKS["peg_insertion_side"].home_joints_rad)
            factor = self.robot_init_qpos_noise / STOCK_JOINT_NOISE_RAD
            joints[:, :7] = home + factor * (joints[:, :7] - home)
            self.agent.robot.set_qpos(joints)


def hole_walls(
    half_edge_m: float, hole_radius_m: float, hole_offset_m: tuple[float, float]
) -> list[tuple[list[float], sapien.Pose]]:
    """Half sizes and poses, in the box's frame, of the four walls around a square hole along x.

    They are ManiSkill's (``_build_box_with_hole``), of which each pair is thinner where the hole is nearer.
    """
    thickness = (half_edge_m - hole_radius_m) / 2
    off_y, off_z = (value / 2 for value in hole_offset_m)
    middle = thickness + hole_radius_m
    return [
        ([half_edge_m, thickness - off_y, half_edge_m], sapien.Pose([0, middle + off_y, 0])),
        ([half_edge_m, thickness + off_y, half_edge_m], sapien.Pose([0, -middle + off_y, 0])),
        ([half_edge_m, half_edge_m, thickness - off_z], sapien.Pose([0, 0, middle + off_z])),
        ([half_edge_m, half_edge_m, thickness + off_z], sapien.Pose([0, 0, -middle + off_z])),
    ]


def _repaint(entity: Any, boxes: list[tuple[list[float], sapien.Pose]]) -> None:
    """Replace the boxes that an entity is seen as by others of the same materials, in order."""
    before = entity.find_component_by_type(sapien.render.RenderBodyComponent)
    after = sapien.render.RenderBodyComponent()
    for old, (half_size_m, pose) in zip(before.render_shapes, boxes, strict=True):
        shape = sapien.render.RenderShapeBox(half_size_m, old.material)
        shape.set_local_pose(pose)
        after.attach(shape)
    entity.remove_component(before)
    entity.add_component(after)


def _box_shape(like: Any, half_size_m: list[float], pose: sapien.Pose) -> Any:
    """A box shape that differs from ``like`` in size and place only."""
    shape = physx.PhysxCollisionShapeBox(half_size_m, like.physical_material)
    shape.set_local_pose(pose)
    shape.contact_offset, shape.rest_offset = like.contact_offset, like.rest_offset
    shape.patch_radius, shape.min_patch_radius = like.patch_radius, like.min_patch_radius
    return shape
