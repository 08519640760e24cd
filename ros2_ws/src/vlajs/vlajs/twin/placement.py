"""Whether objects can be put somewhere now, and putting them there."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo is an extension module without type stubs)

from collections.abc import Mapping

import mujoco
import numpy as np

from vlajs.geometry import Pose
from vlajs.twin.scene import ROBOT_PREFIX

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


def placement_refusal(
    model: mujoco.MjModel, data: mujoco.MjData, scratch: mujoco.MjData, poses: Mapping[str, Pose]
) -> str | None:
    """Why the objects cannot be put at these poses now; None if they can.

    Args:
        model: the compiled scene.
        data: the present state; not changed.
        scratch: another state of the same model, overwritten.
        poses: new poses in ``panda_link0`` by object.
    """
    for name in poses:
        touching = [other for other, _ in _contacts(model, data, name) if other.startswith(ROBOT_PREFIX)]
        if touching:
            return (
                f"the arm touches the {name} (at {', '.join(sorted(set(touching)))}): open the hand, move the arm "
                "away (/franka/home) and try again"
            )
    scratch.qpos[:] = data.qpos
    scratch.mocap_pos[:] = data.mocap_pos
    for name, pose in poses.items():
        place_object(model, scratch, name, pose)
    mujoco.mj_fwdPosition(model, scratch)
    for name in poses:
        for other, depth_m in _contacts(model, scratch, name):
            if depth_m > MAX_PENETRATION_M:
                where = np.round(poses[name].position_m, 3)
                return (
                    f"the new place of the {name} at {where} m is taken by {other} ({1e3 * depth_m:.1f} mm overlap, "
                    f"{1e3 * MAX_PENETRATION_M:.0f} mm allowed): move the arm away, or choose another pose"
                )
    return None


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
