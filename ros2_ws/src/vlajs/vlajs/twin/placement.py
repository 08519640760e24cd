"""Whether objects can be put somewhere now, putting them there, and putting them away."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo is an extension module without type stubs)

import contextlib
from collections.abc import Collection, Iterator, Mapping

import mujoco
import numpy as np

from vlajs.geometry import Pose
from vlajs.twin.scene import HIDDEN_Z_M, OBJECT_NAMES, ROBOT_PREFIX

MAX_PENETRATION_M = 1e-3
"""Deeper overlap with anything at the new place is refused."""


def place_object(model: mujoco.MjModel, data: mujoco.MjData, name: str, pose: Pose) -> None:
    """Move the free body ``name`` to ``pose`` (in ``panda_link0``) at rest."""
    joint = model.joint(f"{name}_joint")
    start, dof = int(joint.qposadr[0]), int(joint.dofadr[0])
    data.qpos[start : start + 3] = pose.position_m
    data.qpos[start + 3 : start + 7] = pose.quat_wxyz / np.linalg.norm(pose.quat_wxyz)
    data.qvel[dof : dof + 6] = 0.0
    data.qacc_warmstart[dof : dof + 6] = 0.0


def put_away(model: mujoco.MjModel, data: mujoco.MjData, name: str) -> None:
    """Take the free body ``name`` out of the world: under the floor, where it rests, weightless and untouchable."""
    place_object(
        model,
        data,
        name,
        Pose(position_m=np.array([0.0, 0.0, HIDDEN_Z_M]), quat_wxyz=np.array([1.0, 0.0, 0.0, 0.0])),
    )
    _set_tangible(model, name, False)


def bring_out(model: mujoco.MjModel, name: str) -> None:
    """Let the free body ``name`` have weight and be touched; harmless where it is so already."""
    _set_tangible(model, name, True)


def _set_tangible(model: mujoco.MjModel, name: str, tangible: bool) -> None:
    geom, body = model.geom(f"{name}_geom").id, model.body(name).id
    model.geom_contype[geom] = model.geom_conaffinity[geom] = int(tangible)
    model.body_contype[body] = model.body_conaffinity[body] = int(tangible)  # pairs are sorted out by these first
    model.body_gravcomp[body] = 0.0 if tangible else 1.0


def placement_refusal(
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
            place_object(model, scratch, name, pose)
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
