"""Closed-form forward kinematics and Jacobian of the Panda (and FR3) arm, for batches of joint positions.

Frames: base is `panda_link0`; the tool centre point (TCP) is 0.1034 m beyond the hand's frame, between the fingertips
(ManiSkill's link `panda_hand_tcp`). Lengths in metres, angles in radians. Works in the dtype and on the device of `q`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch

JOINT_COUNT = 7
FLANGE_OFFSET_M = 0.107
TCP_OFFSET_M = 0.1034
HAND_ANGLE_RAD = -math.pi / 4

# Denavit-Hartenberg parameters in Craig's (modified) convention, as Franka publishes them, joints 1 to 7.
_D_M = (0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0)
_A_M = (0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088)
_COS_ALPHA = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
_SIN_ALPHA = (0.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0)


@lru_cache
def _joint_transforms(dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(7, 4, 4) each: a joint's frame in the one before is the first, plus cos(q) the second, plus sin(q) the third."""
    fixed, on_cos, on_sin = torch.zeros(3, JOINT_COUNT, 4, 4, dtype=torch.float64)
    d, a, cos_alpha, sin_alpha = (
        torch.tensor(row, dtype=torch.float64) for row in (_D_M, _A_M, _COS_ALPHA, _SIN_ALPHA)
    )
    on_cos[:, 0, 0], on_sin[:, 0, 1], fixed[:, 0, 3] = 1.0, -1.0, a
    on_sin[:, 1, 0], on_cos[:, 1, 1], fixed[:, 1, 2], fixed[:, 1, 3] = cos_alpha, cos_alpha, -sin_alpha, -sin_alpha * d
    on_sin[:, 2, 0], on_cos[:, 2, 1], fixed[:, 2, 2], fixed[:, 2, 3] = sin_alpha, sin_alpha, cos_alpha, cos_alpha * d
    fixed[:, 3, 3] = 1.0
    return fixed.to(device, dtype), on_cos.to(device, dtype), on_sin.to(device, dtype)


@lru_cache
def _hand_rotation(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(3, 3): how the hand is turned on the flange."""
    cos, sin = math.cos(HAND_ANGLE_RAD), math.sin(HAND_ANGLE_RAD)
    return torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]], dtype=dtype, device=device)


def _joint_frames(q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotations (B, 7, 3, 3) and origins (B, 7, 3) of the seven joint frames in the base frame."""
    if q.ndim != 2 or q.shape[1] != JOINT_COUNT:
        raise ValueError(f"q has shape {tuple(q.shape)}, expected (batch, {JOINT_COUNT}): pass the arm's joints only.")
    fixed, on_cos, on_sin = _joint_transforms(q.dtype, q.device)
    angle = q[:, :, None, None]
    step = torch.addcmul(torch.addcmul(fixed, angle.cos(), on_cos), angle.sin(), on_sin)
    frames = [step[:, 0]]
    for joint in range(1, JOINT_COUNT):
        frames.append(frames[-1] @ step[:, joint])
    stacked = torch.stack(frames, dim=1)
    return stacked[..., :3, :3], stacked[..., :3, 3]


def _tcp_position(rotations: torch.Tensor, origins: torch.Tensor) -> torch.Tensor:
    return origins[:, -1] + (FLANGE_OFFSET_M + TCP_OFFSET_M) * rotations[:, -1, :, 2]


def forward(q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pose of the TCP in the base frame.

    Args:
        q: joint positions (B, 7), rad.
    Returns:
        position (B, 3) in metres and rotation matrix (B, 3, 3).
    Raises:
        ValueError: q is not (B, 7).
    """
    return _tcp_pose(*_joint_frames(q))


def jacobian(q: torch.Tensor) -> torch.Tensor:
    """Geometric Jacobian of the TCP in the base frame's axes.

    Args:
        q: joint positions (B, 7), rad.
    Returns:
        (B, 6, 7): rows are linear velocity (m/s) then angular velocity (rad/s), per rad/s of each joint.
    Raises:
        ValueError: q is not (B, 7).
    """
    return _tcp_jacobian(*_joint_frames(q))


def forward_and_jacobian(q: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What :func:`forward` and :func:`jacobian` give, for little more than one of them costs."""
    rotations, origins = _joint_frames(q)
    return *_tcp_pose(rotations, origins), _tcp_jacobian(rotations, origins)


def _tcp_pose(rotations: torch.Tensor, origins: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    hand = _hand_rotation(rotations.dtype, rotations.device)
    return _tcp_position(rotations, origins), rotations[:, -1] @ hand


def _tcp_jacobian(rotations: torch.Tensor, origins: torch.Tensor) -> torch.Tensor:
    axes = rotations[..., 2]
    arms = _tcp_position(rotations, origins)[:, None] - origins
    return torch.cat([torch.linalg.cross(axes, arms), axes], dim=-1).transpose(1, 2)
