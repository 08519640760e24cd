"""A place on the table, marked by ManiSkill's disc."""

from typing import Any

import sapien
from mani_skill.utils.building import actors

from vlajs.tasks import MARKER_HEIGHT_M

FACE_UP_WXYZ = (0.5**0.5, 0.0, 0.5**0.5, 0.0)
"""Lays the disc flat on the table."""


def build_disc(scene: Any, name: str, radius_m: float) -> Any:
    """A disc of ManiSkill's that is seen and never touched; it is to be laid down with :data:`FACE_UP_WXYZ`."""
    return actors.build_red_white_target(
        scene,
        radius=radius_m,
        thickness=1e-5,
        name=name,
        add_collision=False,
        body_type="kinematic",
        initial_pose=sapien.Pose(p=[0, 0, MARKER_HEIGHT_M]),
    )
