"""Where each body of N separate PhysX scenes stands in the batched tables and in a scene's packed state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

POSE_SIZE = 7
BODY_SIZE = 13
# PhysxCpuSystem.pack() writes a body as quaternion (wxyz), position, linear and angular velocity;
# ManiSkill's rows are position, quaternion, linear and angular velocity.
_PACKED_TO_ROW = np.array([4, 5, 6, 0, 1, 2, 3, 7, 8, 9, 10, 11, 12])


class StateLayout:
    """Rows of the batched tables, built once when the scenes are complete.

    Rows of the body table: every dynamic or kinematic body, scene by scene, then every articulation link.
    Rows of the joint tables: every articulation, scene by scene, padded to the largest number of joints.

    `packed` describes one long float32 vector: `pack()` of all scenes in a row, then one zero that padding points to.
    """

    def __init__(self, systems: Sequence[Any]) -> None:
        self.env_of_body: dict[Any, int] = {}
        self.row_of_body: dict[Any, int] = {}
        self.rigid: list[tuple[int, Any]] = []
        self.articulations: list[tuple[int, Any]] = []
        self.row_of_articulation: dict[Any, int] = {}
        links: list[tuple[int, Any]] = []
        for env, system in enumerate(systems):
            self._add_scene(env, system, links)
        self.links = links
        for row, (_, body) in enumerate([*self.rigid, *links]):
            self.row_of_body[body] = row
        self.rigid_rows = np.arange(len(self.rigid))
        self.link_rows = np.arange(len(self.rigid), len(self.rigid) + len(links))
        self.articulation_of_root_row = {self.row_of_body[art.root]: i for i, (_, art) in enumerate(self.articulations)}
        self.env_of_articulation = np.array([env for env, _ in self.articulations], np.int64)
        self.env_of_row = np.array([env for env, _ in [*self.rigid, *links]], np.int64)
        self.dof = max([1, *(art.dof for _, art in self.articulations)])
        self._index_packed_state(systems)

    def _add_scene(self, env: int, system: Any, links: list[tuple[int, Any]]) -> None:
        for body in (*system.rigid_static_components, *system.rigid_dynamic_components):
            self.env_of_body[body] = env
        self.rigid += [(env, body) for body in system.rigid_dynamic_components]
        for link in system.articulation_link_components:
            self.env_of_body[link] = env
            links.append((env, link))
            if link.is_root:
                self.row_of_articulation[link.articulation] = len(self.articulations)
                self.articulations.append((env, link.articulation))

    def _index_packed_state(self, systems: Sequence[Any]) -> None:
        """For every table entry, its place in the packed vector."""
        count = len(systems)
        rigid_of = [[i for i, (env, _) in enumerate(self.rigid) if env == e] for e in range(count)]
        arts_of = [[i for i, (env, _) in enumerate(self.articulations) if env == e] for e in range(count)]
        self.packed_spans: list[tuple[int, int]] = []
        self.packed_rigid = np.zeros((len(self.rigid), BODY_SIZE), np.int64)
        self.packed_qpos = np.full((len(self.articulations), self.dof), -1, np.int64)
        self.packed_qvel = self.packed_qpos.copy()
        start = 0
        for env in range(count):
            place = start
            for i in rigid_of[env]:
                self.packed_rigid[i] = place + _PACKED_TO_ROW
                place += BODY_SIZE
            for i in arts_of[env]:
                dof = self.articulations[i][1].dof
                place += BODY_SIZE  # the root's pose and velocity: read with the links instead
                self.packed_qpos[i, :dof] = place + np.arange(dof)
                self.packed_qvel[i, :dof] = place + dof + np.arange(dof)
                place += 4 * dof  # positions, velocities, then a drive target and a drive velocity per joint
            self.packed_spans.append((start, place))
            self._check_packed_scene(env, systems[env], place - start)
            start = place
        self.packed_size = start + 1  # index -1, where padding points, is the zero at the end

    def _check_packed_scene(self, env: int, system: Any, expected_floats: int) -> None:
        """The packed format is undocumented: refuse to run on a SAPIEN where it differs."""
        state = np.frombuffer(system.pack(), np.float32)
        start = self.packed_spans[env][0]
        agrees = state.size == expected_floats
        if agrees:
            for i, (owner, body) in enumerate(self.rigid):
                if owner == env:
                    packed_p = state[self.packed_rigid[i, :3] - start]
                    agrees &= bool(np.allclose(packed_p, body.entity_pose.p, atol=1e-5))
            for i, (owner, articulation) in enumerate(self.articulations):
                if owner == env:
                    packed_q = state[self.packed_qpos[i, : articulation.dof] - start]
                    agrees &= bool(np.allclose(packed_q, articulation.qpos, atol=1e-5))
        if not agrees:
            raise RuntimeError(
                f"Scene {env}: PhysxCpuSystem.pack() gave {state.size} floats, {expected_floats} were expected in the "
                "layout of sapien 3.0.3. Another SAPIEN is installed: install sapien==3.0.3, or adapt layout.py."
            )
