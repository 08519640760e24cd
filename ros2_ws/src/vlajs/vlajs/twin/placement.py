"""What is on the twin's table: putting a scene's objects and its goal marker there, and the others away."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo is an extension module without type stubs)

import contextlib
from collections.abc import Collection, Iterator, Mapping

import mujoco
import numpy as np

from vlajs.geometry import FloatArray, Pose
from vlajs.tasks import Scene
from vlajs.twin.scene import FIRST_OBJECT, HIDDEN_Z_M, MARKER_NAMES, OBJECT_NAMES, ROBOT_PREFIX

MAX_PENETRATION_M = 1e-3
"""Deeper overlap with anything at the new place is refused."""

_AWAY_M = np.array([0.0, 0.0, HIDDEN_Z_M])
_UPRIGHT_WXYZ = np.array([1.0, 0.0, 0.0, 0.0])


class PlacementRefusedError(ValueError):
    """The scene cannot be set now; the message says what is in the way and what to do."""


class Tabletop:
    """The objects and goal markers of a compiled world: which are there, and where.

    Whoever calls a method with ``data`` holds the twin's lock.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Only the first object is there."""
        self._model = model
        self._qpos_of = {name: int(model.joint(f"{name}_joint").qposadr[0]) for name in OBJECT_NAMES}
        self._mocap_of = {name: int(model.body(f"goal_{name}").mocapid[0]) for name in MARKER_NAMES}
        self.present: frozenset[str] = frozenset()
        """Names of the objects that are there."""
        self._let_be_present(data, frozenset({FIRST_OBJECT}))

    def place(self, data: mujoco.MjData, scratch: mujoco.MjData, scene: Scene, marker: str | None) -> None:
        """Put the objects, at rest, and a goal marker where the scene says, and the others away.

        Args:
            data: the world's state.
            scratch: another state of the same model, overwritten.
            scene: poses in ``panda_link0``.
            marker: to show at the goal; None hides them all.

        Raises:
            PlacementRefusedError: the hand touches an object, or something is in a new place; nothing has changed.
            ValueError: unknown object or marker, or a pose that is not finite.
        """
        if marker is not None and marker not in self._mocap_of:
            raise ValueError(f"no marker {marker!r}: markers are {', '.join(self._mocap_of)}")
        for name, pose in scene.objects.items():
            if name not in self._qpos_of:
                raise ValueError(f"no object {name!r}: objects are {', '.join(self._qpos_of)}")
            if not pose.is_finite():
                raise ValueError(f"pose of {name!r} is {pose}: numbers must be finite, the quaternion of unit norm")
        reason = _placement_refusal(self._model, data, scratch, scene.objects)
        if reason is not None:
            raise PlacementRefusedError(reason)
        self._let_be_present(data, frozenset(scene.objects))
        for name, pose in scene.objects.items():
            _place_object(self._model, data, name, pose)
        for name, mocap in self._mocap_of.items():
            data.mocap_pos[mocap] = scene.goal_m if name == marker else _AWAY_M

    def clear(self, data: mujoco.MjData) -> None:
        """Put every object away, whatever holds it, and every goal marker."""
        self._let_be_present(data, frozenset())
        for mocap in self._mocap_of.values():
            data.mocap_pos[mocap] = _AWAY_M

    def object_poses(self, qpos: FloatArray, present: frozenset[str]) -> dict[str, Pose]:
        """Poses in ``panda_link0`` of the objects that were ``present`` when the joints were at ``qpos``."""
        poses = {}
        for name, start in self._qpos_of.items():
            if name not in present:
                continue
            quat = qpos[start + 3 : start + 7]
            poses[name] = Pose(
                position_m=qpos[start : start + 3].copy(), quat_wxyz=quat * (1.0 if quat[0] >= 0 else -1.0)
            )
        return poses

    def marker_poses(self, mocap_pos_m: FloatArray) -> dict[str, Pose]:
        """Poses of the goal markers, by the names of their bodies."""
        return {
            f"goal_{name}": Pose(position_m=mocap_pos_m[mocap], quat_wxyz=_UPRIGHT_WXYZ)
            for name, mocap in self._mocap_of.items()
        }

    def _let_be_present(self, data: mujoco.MjData, names: frozenset[str]) -> None:
        for name in OBJECT_NAMES:
            _set_tangible(self._model, name, name in names)
            if name not in names:  # under the floor, where it rests
                _place_object(self._model, data, name, Pose(position_m=_AWAY_M, quat_wxyz=_UPRIGHT_WXYZ))
        self.present = names


def _place_object(model: mujoco.MjModel, data: mujoco.MjData, name: str, pose: Pose) -> None:
    """Move the free body ``name`` to ``pose`` (in ``panda_link0``) at rest."""
    joint = model.joint(f"{name}_joint")
    start, dof = int(joint.qposadr[0]), int(joint.dofadr[0])
    data.qpos[start : start + 3] = pose.position_m
    data.qpos[start + 3 : start + 7] = pose.quat_wxyz / np.linalg.norm(pose.quat_wxyz)
    data.qvel[dof : dof + 6] = 0.0
    data.qacc_warmstart[dof : dof + 6] = 0.0


def _set_tangible(model: mujoco.MjModel, name: str, tangible: bool) -> None:
    """Let a free body have weight and be touched, or neither."""
    geom, body = model.geom(f"{name}_geom").id, model.body(name).id
    model.geom_contype[geom] = model.geom_conaffinity[geom] = int(tangible)
    model.body_contype[body] = model.body_conaffinity[body] = int(tangible)  # pairs are sorted out by these first
    model.body_gravcomp[body] = 0.0 if tangible else 1.0


def _placement_refusal(
    model: mujoco.MjModel, data: mujoco.MjData, scratch: mujoco.MjData, poses: Mapping[str, Pose]
) -> str | None:
    """Why these objects cannot be put at these poses, and the others away, now; None if they can.

    Args:
        model: the compiled scene.
        data: the present state; not changed.
        scratch: another state of the same model, overwritten.
        poses: new poses in ``panda_link0`` by object.
    """
    for name in OBJECT_NAMES:
        touching = [other for other, _ in _contacts(model, data, name) if other.startswith(ROBOT_PREFIX)]
        if touching:
            return (
                f"the arm touches the {name} (at {', '.join(sorted(set(touching)))}): open the hand, move the arm "
                "away (/franka/home) and try again"
            )
    scratch.qpos[:] = data.qpos
    scratch.mocap_pos[:] = data.mocap_pos
    with _tangible_only(model, poses):
        for name, pose in poses.items():
            _place_object(model, scratch, name, pose)
        mujoco.mj_fwdPosition(model, scratch)
        for name in poses:
            for other, depth_m in _contacts(model, scratch, name):
                if depth_m > MAX_PENETRATION_M:
                    where = np.round(poses[name].position_m, 3)
                    return (
                        f"the new place of the {name} at {where} m is taken by {other} ({1e3 * depth_m:.1f} mm "
                        f"overlap, {1e3 * MAX_PENETRATION_M:.0f} mm allowed): move the arm away, or choose another pose"
                    )
    return None


@contextlib.contextmanager
def _tangible_only(model: mujoco.MjModel, names: Collection[str]) -> Iterator[None]:
    """Meanwhile these objects can be touched and no others."""
    before = {name: bool(model.geom(f"{name}_geom").contype[0]) for name in OBJECT_NAMES}
    try:
        for name in OBJECT_NAMES:
            _set_tangible(model, name, name in names)
        yield
    finally:
        for name, tangible in before.items():
            _set_tangible(model, name, tangible)


def _contacts(model: mujoco.MjModel, data: mujoco.MjData, name: str) -> list[tuple[str, float]]:
    """Bodies in contact with the named one, and how deep they overlap, metres (negative: a gap)."""
    own = model.body(name).id
    found: list[tuple[str, float]] = []
    for contact in range(data.ncon):
        first, second = (int(model.geom_bodyid[geom]) for geom in data.contact.geom[contact])
        if own in (first, second):
            other = second if first == own else first
            found.append((model.body(other).name or "world", -float(data.contact.dist[contact])))
    return found
