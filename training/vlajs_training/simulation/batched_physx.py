"""N PhysX CPU scenes behind the interface of SAPIEN's `PhysxGpuSystem`.

ManiSkill's "GPU" code is ordinary batched torch code over a handful of tables (`cuda_rigid_body_data`,
`cuda_articulation_qpos`, ...). `BatchedCpuPhysx` offers those tables as CPU tensors over N `PhysxCpuSystem`, so that
the same code simulates N environments in one process with no GPU.

Two differences from the GPU system, both towards what the stock CPU simulation does:
- a table is up to date whenever it is read: steps are collected and run when somebody looks, and no fetch is needed;
- a drive target written between two steps takes effect at the next step, with or without an apply call.

Steps and the drive targets that go with them wait until somebody reads the state: a scene that takes all its waiting
steps in a row finds itself in the processor's cache, and a step costs less than half of one that takes turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sapien

from vlajs_training.simulation.buffers import SyncedBuffer
from vlajs_training.simulation.contacts import ContactReader, ImpulseQuery
from vlajs_training.simulation.layout import BODY_SIZE, POSE_SIZE, StateLayout

_POSE = slice(0, POSE_SIZE)
_VELOCITY = slice(POSE_SIZE, BODY_SIZE)

DriveTargets = list[list[tuple[Callable[[float], None], float]]]
"""For each scene, the setters of its joints' drives and what they are to set."""


def _pose(row: np.ndarray) -> sapien.Pose:
    values: Any = row
    return sapien.Pose(values[:3], values[3:7])


class LinkGroup:
    """Links that are read together (one ManiSkill `Link`: the same link in every environment)."""

    def __init__(self, rows: np.ndarray, envs: np.ndarray, bodies: Sequence[Any]) -> None:
        self.rows = rows
        self.envs = envs
        self.bodies = list(bodies)
        self.pose_versions = np.full(len(self.bodies), -1, np.int64)
        self.velocity_versions = self.pose_versions.copy()


class BatchedCpuPhysx:
    """Stand-in for `PhysxGpuSystem` over N CPU scenes. Names that begin with gpu_ or cuda_ are ManiSkill's.

    Units and frames are SAPIEN's: metres, radians, seconds, quaternions wxyz, world frame of each scene.
    """

    def __init__(self, systems: Sequence[Any]) -> None:
        self.systems = list(systems)
        self._pending_steps: list[DriveTargets] = []
        self._waiting_targets: DriveTargets = [[] for _ in self.systems]

    @property
    def timestep(self) -> float:
        """Length of one simulation step, s."""
        return self.systems[0].timestep

    @timestep.setter
    def timestep(self, seconds: float) -> None:
        for system in self.systems:
            system.timestep = seconds

    def get_scene_offset(self, _scene: Any) -> np.ndarray:
        """Scenes are separate worlds: none is shifted."""
        return np.zeros(3)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"BatchedCpuPhysx has no {name!r}. Either gpu_init() was not called yet, or the task needs a part of "
            "SAPIEN's GPU interface that the batched CPU simulation does not offer: use backend 'stock_cpu' or 'cuda'."
        )

    # ---- building -------------------------------------------------------------------------------------------------

    def gpu_init(self) -> None:
        """Allocate the tables. Bodies cannot be added to the scenes afterwards."""
        layout = StateLayout(self.systems)
        self.layout = layout
        count, joints, dof = len(self.systems), len(layout.articulations), layout.dof
        self._version = np.zeros(count, np.int64)
        self._read_version = np.full(count, -1, np.int64)
        self._packed = np.zeros(layout.packed_size, np.float32)
        self._contacts = ContactReader(self.systems, layout.env_of_body)
        self._active_joints = [art.active_joints for _, art in layout.articulations]
        self._position_setters = [[joint.set_drive_target for joint in joints] for joints in self._active_joints]
        self._velocity_setters = [
            [joint.set_drive_velocity_target for joint in joints] for joints in self._active_joints
        ]
        self._moved_articulations: set[int] = set()
        # As written, not as read back: writing back what PhysX says would let fixed bases creep by rounding.
        self._written_root_poses = [articulation.pose for _, articulation in layout.articulations]
        self.cuda_rigid_body_data = SyncedBuffer(len(layout.env_of_row), BODY_SIZE, self._read_state)
        self.cuda_articulation_qpos = SyncedBuffer(joints, dof, self._read_state)
        self.cuda_articulation_qvel = SyncedBuffer(joints, dof, self._read_state)
        self.cuda_articulation_qacc = SyncedBuffer(joints, dof, self._read_acceleration)
        self.cuda_articulation_qf = SyncedBuffer(joints, dof)
        self.cuda_articulation_target_qpos = SyncedBuffer(joints, dof)
        self.cuda_articulation_target_qvel = SyncedBuffer(joints, dof)
        self._read_drive_targets()
        self._read_links(LinkGroup(layout.link_rows, layout.env_of_row[layout.link_rows], [b for _, b in layout.links]))

    def body_rows(self, bodies: Sequence[Any]) -> list[int]:
        """Rows of the bodies in `cuda_rigid_body_data`."""
        return [self.layout.row_of_body[body] for body in bodies]

    def articulation_rows(self, articulations: Sequence[Any]) -> list[int]:
        """Rows of the articulations in the joint tables."""
        return [self.layout.row_of_articulation[articulation] for articulation in articulations]

    # ---- stepping -------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Advance every scene by one timestep, under the drive targets as they are now, when somebody looks."""
        self._take_drive_targets()
        self._pending_steps.append(self._waiting_targets)
        self._waiting_targets = [[] for _ in self.systems]

    def _run_pending_steps(self) -> None:
        pending, self._pending_steps = self._pending_steps, []
        if not pending:
            return
        for env, system in enumerate(self.systems):
            step = system.step
            for targets in pending:
                for set_target, value in targets[env]:
                    set_target(value)
                step()
        self._contacts.invalidate()
        self._version += 1

    # ---- reading --------------------------------------------------------------------------------------------------

    def _read_state(self) -> None:
        """Bring free bodies and joints up to date: one packed read for each scene that changed."""
        self._run_pending_steps()
        stale = np.flatnonzero(self._read_version != self._version)
        if stale.size == 0:
            return
        layout, packed = self.layout, self._packed
        if stale.size == len(self.systems):
            packed[:-1] = np.frombuffer(b"".join([system.pack() for system in self.systems]), np.float32)
        else:
            for env in stale.tolist():
                start, stop = layout.packed_spans[env]
                packed[start:stop] = np.frombuffer(self.systems[env].pack(), np.float32)
        self._read_version[:] = self._version
        everything = slice(None)
        self.cuda_rigid_body_data.store(layout.rigid_rows, everything, packed[layout.packed_rigid])
        joint_rows = np.arange(len(layout.articulations))
        self.cuda_articulation_qpos.store(joint_rows, everything, packed[layout.packed_qpos])
        self.cuda_articulation_qvel.store(joint_rows, everything, packed[layout.packed_qvel])

    def _read_acceleration(self) -> None:
        self._run_pending_steps()
        for row, (_, articulation) in enumerate(self.layout.articulations):
            self.cuda_articulation_qacc.data[row, : articulation.dof] = articulation.qacc

    def _read_drive_targets(self) -> None:
        for row, joints in enumerate(self._active_joints):
            for column, joint in enumerate(joints):
                self.cuda_articulation_target_qpos.data[row, column] = joint.drive_target[0]
                self.cuda_articulation_target_qvel.data[row, column] = joint.drive_velocity_target[0]
        rows = np.arange(len(self._active_joints))
        self.cuda_articulation_target_qpos.accept(rows)
        self.cuda_articulation_target_qvel.accept(rows)

    def link_group(self, bodies: Sequence[Any]) -> LinkGroup:
        """A handle for reading these links together."""
        rows = np.array(self.body_rows(bodies), np.int64)
        return LinkGroup(rows, self.layout.env_of_row[rows], bodies)

    def read_link_poses(self, group: LinkGroup) -> None:
        """Bring the group's poses in `cuda_rigid_body_data` up to date (links are only read when asked for)."""
        self._run_pending_steps()
        versions = self._version[group.envs]
        stale = np.flatnonzero(group.pose_versions != versions)
        if stale.size == 0:
            return
        bodies = group.bodies
        poses = np.array([bodies[i].entity_pose.__getstate__() for i in stale.tolist()], np.float32)
        self.cuda_rigid_body_data.store(group.rows[stale], _POSE, poses)
        group.pose_versions[:] = versions

    def read_link_velocities(self, group: LinkGroup) -> None:
        """Bring the group's linear and angular velocities up to date."""
        self._run_pending_steps()
        versions = self._version[group.envs]
        stale = np.flatnonzero(group.velocity_versions != versions)
        if stale.size == 0:
            return
        bodies = [group.bodies[i] for i in stale.tolist()]
        velocities = np.array([(*b.linear_velocity, *b.angular_velocity) for b in bodies], np.float32)
        self.cuda_rigid_body_data.store(group.rows[stale], _VELOCITY, velocities)
        group.velocity_versions[:] = versions

    def _read_links(self, group: LinkGroup) -> None:
        if group.bodies:
            self.read_link_poses(group)
            self.read_link_velocities(group)

    def _fetch_on_read(self) -> None:
        """Tables are brought up to date when they are read, so there is nothing to fetch."""

    gpu_fetch_rigid_dynamic_data = _fetch_on_read
    gpu_fetch_articulation_link_pose = _fetch_on_read
    gpu_fetch_articulation_link_velocity = _fetch_on_read
    gpu_fetch_articulation_qpos = _fetch_on_read
    gpu_fetch_articulation_qvel = _fetch_on_read
    gpu_fetch_articulation_qacc = _fetch_on_read
    gpu_fetch_articulation_target_qpos = _fetch_on_read
    gpu_fetch_articulation_target_qvel = _fetch_on_read
    sync_poses_gpu_to_cpu = _fetch_on_read

    # ---- writing --------------------------------------------------------------------------------------------------

    def gpu_apply_rigid_dynamic_data(self) -> None:
        """Send the written rows of free bodies to PhysX."""
        self._run_pending_steps()
        table = self.cuda_rigid_body_data
        rows = table.changed_rows()
        rows = rows[rows < len(self.layout.rigid)]
        table.require_finite(rows, "body pose or velocity")
        for row in rows.tolist():
            env, body = self.layout.rigid[row]
            values = table.data[row]
            if table.is_changed(row, _POSE):
                body.entity_pose = _pose(values)
                if not body.kinematic:  # marks that a task moves along do not make a new state
                    self._contacts.forget(env)
            if table.is_changed(row, _VELOCITY) and not body.kinematic:
                body.linear_velocity = values[7:10]
                body.angular_velocity = values[10:13]
        self._written(table, rows, self.layout.env_of_row[rows])

    def gpu_apply_articulation_root_pose(self) -> None:
        """Send the written root poses to PhysX."""
        self._run_pending_steps()
        table, layout = self.cuda_rigid_body_data, self.layout
        rows = self._written_roots(_POSE)
        table.require_finite(rows, "articulation root pose")
        for row in rows.tolist():
            index = layout.articulation_of_root_row[row]
            self._written_root_poses[index] = layout.articulations[index][1].pose = _pose(table.data[row])
            self._moved_articulations.discard(index)  # setting the root pose moves the links
        table.accept(rows, _POSE)
        self._version[layout.env_of_row[rows]] += 1

    def gpu_apply_articulation_root_velocity(self) -> None:
        """Send the written root velocities to PhysX. Writes to other links have no effect, as on the GPU."""
        self._run_pending_steps()
        table, layout = self.cuda_rigid_body_data, self.layout
        rows = self._written_roots(_VELOCITY)
        table.require_finite(rows, "articulation root velocity")
        for row in rows.tolist():
            _, articulation = layout.articulations[layout.articulation_of_root_row[row]]
            articulation.set_root_linear_velocity(table.data[row, 7:10])
            articulation.set_root_angular_velocity(table.data[row, 10:13])
        rows = table.changed_rows()
        rows = rows[rows >= len(layout.rigid)]
        self._written(table, rows, layout.env_of_row[rows])

    def _written_roots(self, columns: slice) -> np.ndarray:
        rows = self.cuda_rigid_body_data.changed_rows(columns).tolist()
        return np.array([row for row in rows if row in self.layout.articulation_of_root_row], np.int64)

    def _apply_joints(self, table: SyncedBuffer, attribute: str) -> np.ndarray:
        self._run_pending_steps()
        rows = table.changed_rows()
        table.require_finite(rows, f"articulation {attribute}")
        for row in rows.tolist():
            articulation = self.layout.articulations[row][1]
            setattr(articulation, attribute, table.data[row, : articulation.dof])
        self._written(table, rows, self.layout.env_of_articulation[rows])
        return rows

    def gpu_apply_articulation_qpos(self) -> None:
        """Send the written joint positions to PhysX."""
        rows = self._apply_joints(self.cuda_articulation_qpos, "qpos").tolist()
        self._moved_articulations.update(rows)
        for row in rows:
            self._contacts.forget(self.layout.articulations[row][0])

    def gpu_apply_articulation_qvel(self) -> None:
        """Send the written joint velocities to PhysX."""
        self._apply_joints(self.cuda_articulation_qvel, "qvel")

    def gpu_apply_articulation_qf(self) -> None:
        """Send the written joint forces to PhysX."""
        self._apply_joints(self.cuda_articulation_qf, "qf")

    def gpu_update_articulation_kinematics(self) -> None:
        """Recompute link poses where joints or roots were written (PhysX does it when the root pose is set)."""
        for row in sorted(self._moved_articulations):
            env, articulation = self.layout.articulations[row]
            fixed = articulation.root.joint.type == "fixed"
            articulation.pose = self._written_root_poses[row] if fixed else articulation.pose
            self._version[env] += 1
        self._moved_articulations.clear()

    def gpu_apply_articulation_target_position(self) -> None:
        """Take the written drive targets: they hold from the next step on."""
        self._take_drive_targets()

    gpu_apply_articulation_target_velocity = gpu_apply_articulation_target_position

    def _take_drive_targets(self) -> None:
        """Note the written drive targets for the next step."""
        for table, setters in (
            (self.cuda_articulation_target_qpos, self._position_setters),
            (self.cuda_articulation_target_qvel, self._velocity_setters),
        ):
            rows, columns = np.nonzero(table.changed())
            if rows.size == 0:
                continue
            table.require_finite(np.unique(rows), "drive target")
            values = table.data[rows, columns].tolist()
            envs = self.layout.env_of_articulation[rows].tolist()
            for env, row, column, value in zip(envs, rows.tolist(), columns.tolist(), values, strict=True):
                self._waiting_targets[env].append((setters[row][column], value))
            table.accept(rows, columns)

    def _written(self, table: SyncedBuffer, rows: np.ndarray, envs: np.ndarray) -> None:
        """After rows went to PhysX: they wait no longer, and their environments must be read anew."""
        table.accept(rows)
        self._version[envs] += 1

    # ---- contacts -------------------------------------------------------------------------------------------------

    def gpu_create_contact_pair_impulse_query(self, pairs: Sequence[tuple[Any, Any]]) -> ImpulseQuery:
        """Query for the impulses between pairs of bodies, N s."""
        return self._contacts.pair_query(pairs)

    def gpu_query_contact_pair_impulses(self, query: ImpulseQuery) -> None:
        """Fill a pair query with the impulses of the last step."""
        self._run_pending_steps()
        self._contacts.update_pairs(query)

    def gpu_create_contact_body_impulse_query(self, bodies: Sequence[Any]) -> ImpulseQuery:
        """Query for the net contact impulse on bodies, N s."""
        return self._contacts.body_query(bodies)

    def gpu_query_contact_body_impulses(self, query: ImpulseQuery) -> None:
        """Fill a body query with the net impulses of the last step."""
        self._run_pending_steps()
        self._contacts.update_bodies(query)
