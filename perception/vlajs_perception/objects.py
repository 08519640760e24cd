"""What is known of an object before it is seen: its size, where its keypoints are, and which turns change nothing.

The object's frame has its origin in the middle of the object and z upwards when the object lies on the table; a peg's
long axis is x. Metres.
"""

from dataclasses import dataclass, field
from itertools import permutations, product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlajs_perception.rigid import matrix_of, quat_of

FloatArray = NDArray[np.float64]

SAME_M = 1e-9
"""Keypoints and half edges that differ by less are the same."""


class ObjectError(ValueError):
    """A description of an object that cannot be."""


@dataclass(frozen=True, kw_only=True)
class ObjectModel:
    """An object.

    Attributes:
        name: as the detector calls it.
        half_size_m: shape (3,), half edges of the box around it, along its own axes.
        keypoints_m: shape (K, 3), in the object's frame, in the order in which the detector gives them.
        symmetries_wxyz: shape (n, 4), every rotation about its origin that leaves it as it was, the one by nothing
            included: a pose turned by one of them (in the object's frame) is the same pose.

    Raises:
        ObjectError: wrong shapes, numbers that are not finite, a size that is not positive, a symmetry that does not
            take the keypoints onto each other.
    """

    name: str
    half_size_m: FloatArray
    keypoints_m: FloatArray
    symmetries_wxyz: FloatArray = field(default_factory=lambda: np.array([[1.0, 0.0, 0.0, 0.0]]))

    def __post_init__(self) -> None:
        for name, width in (("half_size_m", 0), ("keypoints_m", 3), ("symmetries_wxyz", 4)):
            value = np.array(getattr(self, name), dtype=np.float64)
            fits = value.shape == (3,) if width == 0 else value.ndim == 2 and value.shape[1] == width and len(value)
            if not fits or not np.all(np.isfinite(value)):
                wanted = "(3,)" if width == 0 else f"(at least one, {width})"
                raise ObjectError(f"{self.name}: {name} must be {wanted} finite numbers, not {value.tolist()}")
            value.flags.writeable = False
            object.__setattr__(self, name, value)
        if np.any(self.half_size_m <= 0):
            raise ObjectError(f"{self.name}: half_size_m is {self.half_size_m.tolist()}, all must be positive metres")
        if np.any(np.abs(np.linalg.norm(self.symmetries_wxyz, axis=1) - 1.0) > 1e-6):
            raise ObjectError(f"{self.name}: symmetries_wxyz must be unit quaternions: {self.symmetries_wxyz.tolist()}")
        self._check_symmetries()

    @property
    def yaw_symmetries(self) -> FloatArray:
        """The symmetries that keep the object's z axis, as rotation matrices, shape (n, 3, 3)."""
        turns = matrix_of(self.symmetries_wxyz)
        return turns[turns[:, 2, 2] > 1.0 - 1e-9]

    @property
    def yaw_period_rad(self) -> float:
        """The smallest turn about its upright axis that changes nothing: pi/2 for a cube, 2 pi for none."""
        return 2 * np.pi / len(self.yaw_symmetries)

    def _check_symmetries(self) -> None:
        turns = matrix_of(self.symmetries_wxyz)
        if not np.any(np.abs(turns - np.eye(3)).max(axis=(1, 2)) < 1e-9):
            raise ObjectError(f"{self.name}: symmetries_wxyz lacks the rotation by nothing, [1, 0, 0, 0]: add it")
        moved = self.keypoints_m @ np.swapaxes(turns, 1, 2)
        gaps = np.abs(moved[:, :, None] - self.keypoints_m).max(axis=-1).min(axis=-1)
        if np.any(gaps > SAME_M):
            turn, keypoint = np.unravel_index(int(np.argmax(gaps)), gaps.shape)
            raise ObjectError(
                f"{self.name}: symmetry {self.symmetries_wxyz[turn].tolist()} takes keypoint {keypoint} to "
                f"{moved[turn, keypoint].tolist()} m, {gaps[turn, keypoint]:.2e} m from the nearest keypoint (limit "
                f"{SAME_M} m): it is none, or a keypoint is missing"
            )


def box_corners(half_size_m: ArrayLike) -> FloatArray:
    """The eight corners, shape (8, 3), counted in binary: bit 2 is +x, bit 1 is +y, bit 0 is +z.

    Corner 0 is (-, -, -), corner 1 is (-, -, +), corner 4 is (+, -, -), corner 7 is (+, +, +).
    """
    return np.array(list(product((-1.0, 1.0), repeat=3))) * np.asarray(half_size_m, dtype=np.float64)


def box(name: str, half_size_m: ArrayLike, *, ends_alike: bool = True) -> ObjectModel:
    """A box in one colour, or one whose +x end can be told from its -x end.

    Its symmetries follow from its size: three unequal edges leave half turns, two equal ones the quarter turns between
    them, a cube all 24.

    Args:
        name: as the detector calls it.
        half_size_m: shape (3,), half edges.
        ends_alike: False where the ends along x differ and which is which matters.
    """
    half = np.asarray(half_size_m, dtype=np.float64)
    if half.shape != (3,):
        raise ObjectError(f"{name}: half_size_m must have shape (3,), not {half.shape}")
    turns = [
        turn
        for turn in _axis_turns()
        if np.allclose(np.abs(turn) @ half, half, rtol=0.0, atol=SAME_M) and (ends_alike or turn[0, 0] == 1.0)
    ]
    return ObjectModel(
        name=name, half_size_m=half, keypoints_m=box_corners(half), symmetries_wxyz=quat_of(np.array(turns))
    )


def cube(name: str, half_edge_m: float) -> ObjectModel:
    """A cube: on the table its yaw repeats every pi/2."""
    return box(name, [half_edge_m] * 3)


def peg(name: str, half_length_m: float, half_width_m: float, *, ends_alike: bool = True) -> ObjectModel:
    """A square peg along x: lying on the table its yaw repeats every pi, or every 2 pi if the ends differ."""
    return box(name, [half_length_m, half_width_m, half_width_m], ends_alike=ends_alike)


def _axis_turns() -> list[FloatArray]:
    """The 24 rotations that take the axes to axes."""
    signed = [
        np.eye(3)[list(order)] * np.array(signs)[:, None]
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    ]
    return [turn for turn in signed if np.linalg.det(turn) > 0]
