"""Batched rotations in torch, quaternions ``wxyz``: what controller and observation terms need at every physics step.

Written for few calls into torch rather than few operations: at 64 environments a call costs more than its arithmetic.
ManiSkill's conversions, five times as many calls, agree with them (tests/training/test_rotations.py).
"""

from functools import lru_cache

import torch

# row i, column k of a product a b is the part of b that a_i brings to component k, with its sign
_FACTOR = ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0))
_SIGN = ((1, 1, 1, 1), (-1, 1, -1, 1), (-1, 1, 1, -1), (-1, -1, 1, 1))


@lru_cache
def _tables(dtype: torch.dtype, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Factors and signs of a product (4, 4), signs of an inverse (4,), from products to matrix entries (16, 9)."""
    # entries of a rotation matrix are 1 or 0 plus these multiples of w w, w x, ..., z z; written for unit quaternions
    # as sums of products alone, so that 1 = w w + x x + y y + z z
    entries = torch.zeros(4, 4, 3, 3, dtype=dtype, device=device)
    w, x, y, z = range(4)
    for i in range(3):
        entries[w, w, i, i] = 1.0
        for axis in (x, y, z):
            entries[axis, axis, i, i] = 1.0 if axis == i + 1 else -1.0
    for i, j, k, sign in ((0, 1, z, -1.0), (0, 2, y, 1.0), (1, 2, x, -1.0)):
        for row, column, turn in ((i, j, sign), (j, i, -sign)):
            entries[i + 1, j + 1, row, column] = 2.0
            entries[w, k, row, column] = 2.0 * turn
    return (
        torch.tensor(_FACTOR, device=device),
        torch.tensor(_SIGN, dtype=dtype, device=device),
        torch.tensor((1.0, -1.0, -1.0, -1.0), dtype=dtype, device=device),
        entries.reshape(16, 9),
    )


def quaternion_multiply(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Products (N, 4) of unit quaternions (N, 4), the rotation ``second`` followed by ``first``, with w >= 0."""
    factor, sign, _, _ = _tables(first.dtype, first.device)
    product = (first[:, :, None] * (second[:, factor] * sign)).sum(dim=1)
    return torch.where(product[:, :1] < 0, -product, product)


def quaternion_invert(quat_wxyz: torch.Tensor) -> torch.Tensor:
    """Inverses (N, 4) of unit quaternions (N, 4)."""
    return quat_wxyz * _tables(quat_wxyz.dtype, quat_wxyz.device)[2]


def quaternion_to_matrix(quat_wxyz: torch.Tensor) -> torch.Tensor:
    """Rotation matrices (N, 3, 3) of unit quaternions (N, 4)."""
    products = (quat_wxyz[:, :, None] * quat_wxyz[:, None, :]).reshape(-1, 16)
    return (products @ _tables(quat_wxyz.dtype, quat_wxyz.device)[3]).reshape(-1, 3, 3)


def quat_from_rotvec(rotvec: torch.Tensor) -> torch.Tensor:
    """Quaternions (N, 4) of rotation vectors (N, 3)."""
    half = rotvec.norm(dim=1, keepdim=True) / 2
    return torch.cat([half.cos(), rotvec * (torch.sinc(half / torch.pi) / 2)], dim=1)


def rotvec_from_quat(quat_wxyz: torch.Tensor) -> torch.Tensor:
    """Rotation vectors (N, 3) of norm at most pi of unit quaternions (N, 4), either sign."""
    quat_wxyz = torch.where(quat_wxyz[:, :1] < 0, -quat_wxyz, quat_wxyz)
    imaginary = quat_wxyz[:, 1:]
    sine = imaginary.norm(dim=1, keepdim=True)
    # angle / sin(angle / 2) tends to 2 as the angle vanishes
    factor = torch.where(sine > 1e-8, 2 * torch.atan2(sine, quat_wxyz[:, :1]) / sine.clamp_min(1e-8), 2.0)
    return imaginary * factor


def rotvec_between(from_wxyz: torch.Tensor, to_wxyz: torch.Tensor) -> torch.Tensor:
    """Rotation vector (N, 3) in base axes with ``to = exp(v) * from``."""
    return rotvec_from_quat(quaternion_multiply(to_wxyz, quaternion_invert(from_wxyz)))


def small_rotvec_between(from_matrix: torch.Tensor, to_matrix: torch.Tensor) -> torch.Tensor:
    """As :func:`rotvec_between`, of rotation matrices (N, 3, 3): its direction, and the sine of its angle as its norm.

    For angles well below 90 degrees that somebody makes smaller step by step.
    """
    turn = to_matrix @ from_matrix.transpose(1, 2)
    skew = (turn - turn.transpose(1, 2)).reshape(-1, 9)
    return skew[:, [7, 2, 3]] / 2


def clamp_norm(vector: torch.Tensor, max_norm: float) -> torch.Tensor:
    """Shorten vectors (N, k) to at most ``max_norm``; direction is kept."""
    norm = vector.norm(dim=1, keepdim=True)
    return vector * (max_norm / norm.clamp_min(max_norm))
