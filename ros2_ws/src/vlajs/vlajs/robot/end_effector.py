"""The tool centre point of the Franka Hand, and whether that is what an arm has at its flange."""

import franky
import numpy as np

from vlajs.geometry import Pose, rotvec_between, wxyz_from_xyzw

FLANGE_TO_TCP_M = 0.1034
FLANGE_TO_TCP_WXYZ = np.array([np.cos(np.pi / 8), 0.0, 0.0, -np.sin(np.pi / 8)])
"""-45 degrees about z."""
_TOLERANCE_M = 1e-3
_TOLERANCE_RAD = 0.01


def end_effector_refusal(flange_to_tcp: Pose) -> str | None:
    """Why poses mean nothing with this end effector: it is not where the hand's is, or turned otherwise or tilted.

    Args:
        flange_to_tcp: the arm's end effector as set in Desk (``F_T_EE``).
    """
    off_m = float(np.linalg.norm(flange_to_tcp.position_m - [0.0, 0.0, FLANGE_TO_TCP_M]))
    off_rad = float(np.linalg.norm(rotvec_between(FLANGE_TO_TCP_WXYZ, flange_to_tcp.quat_wxyz)))
    if off_m <= _TOLERANCE_M and off_rad <= _TOLERANCE_RAD:
        return None
    return (
        f"the arm's end effector is at {np.round(flange_to_tcp.position_m, 4)} m from the flange and its orientation "
        f"is {np.degrees(off_rad):.1f} degrees from the Franka Hand's; expected (0, 0, {FLANGE_TO_TCP_M}) m and 0 "
        "(-45 about z): select the Franka Hand as end effector in Desk"
    )


def pose_of(affine: franky.Affine) -> Pose:
    """The client library's pose as ours, with w >= 0."""
    quat = wxyz_from_xyzw(np.asarray(affine.quaternion).ravel())
    quat = quat if quat[0] >= 0 else -quat
    return Pose(position_m=np.array(affine.translation).ravel(), quat_wxyz=quat)
