"""The one model behind both arrangements: where the board's points fall in the images, and how that changes.

    eye to hand:  point_in_camera = inverse(camera_in_base) @ tool_in_base          @ board_in_tool @ point_in_board
    eye in hand:  point_in_camera = inverse(camera_in_tool) @ inverse(tool_in_base) @ board_in_base @ point_in_board

so with ``link`` = ``tool_in_base`` or its inverse both are ``inverse(camera) @ link @ board @ point``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vlajs_perception.calibration.lens import Lens
from vlajs_perception.calibration.se3 import moved
from vlajs_perception.calibration.views import Kind, View
from vlajs_perception.rigid import inverse, skew

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Unknowns:
    """What a calibration looks for.

    Attributes:
        camera: shape (4, 4), ``camera_in_base`` (eye to hand) or ``camera_in_tool`` (eye in hand).
        board: shape (4, 4), ``board_in_tool`` (eye to hand) or ``board_in_base`` (eye in hand).
        lens: the intrinsics.
        board_scale: true size of the board by its stated size.
    """

    camera: FloatArray
    board: FloatArray
    lens: Lens
    board_scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Free:
    """Which unknowns may change besides the camera's pose; the columns of a Jacobian come in this order."""

    board: bool = True
    lens: bool = False
    scale: bool = False

    @property
    def count(self) -> int:
        """How many numbers that is."""
        return 6 + 6 * self.board + 9 * self.lens + self.scale

    def moved(self, unknowns: Unknowns, step: FloatArray) -> Unknowns:
        """The unknowns after a step of :attr:`count` numbers."""
        rest = step[6:]
        changed = replace(unknowns, camera=moved(unknowns.camera, step[:6]))
        if self.board:
            changed = replace(changed, board=moved(changed.board, rest[:6]))
            rest = rest[6:]
        if self.lens:
            # A lens has positive focal lengths: a step beyond halves them instead.
            vector = np.array(unknowns.lens.vector)
            vector += rest[:9]
            vector[:2] = np.maximum(vector[:2], unknowns.lens.vector[:2] / 2)
            changed = replace(changed, lens=unknowns.lens.with_vector(vector))
            rest = rest[9:]
        if self.scale:
            changed = replace(changed, board_scale=max(unknowns.board_scale + float(rest[0]), 0.1))
        return changed


@dataclass(frozen=True, kw_only=True)
class Linearised:
    """The images about some unknowns, M points in all.

    Attributes:
        residual_px: shape (M, 2), projected less detected.
        by_unknowns: shape (M, 2, P), its derivatives by the free unknowns.
        by_tool: shape (M, 2, 6), by an error of the tool's pose: m and rad along the tool's axes.
    """

    residual_px: FloatArray
    by_unknowns: FloatArray
    by_tool: FloatArray


class Problem:
    """All points of some views, one after the other."""

    def __init__(self, kind: Kind, views: Sequence[View]) -> None:
        self.kind: Kind = kind
        self.views = tuple(views)
        self.tools_in_base: FloatArray = np.stack([view.tool.tool_in_base for view in views])
        self.links: FloatArray = self.tools_in_base if kind == "eye_to_hand" else inverse(self.tools_in_base)
        counts = [len(view.detection.ids) for view in views]
        self.view_of: IntArray = np.repeat(np.arange(len(views)), counts)
        """Shape (M,): which view a point belongs to."""
        self.points_in_board_m: FloatArray = np.concatenate([view.detection.points_in_board_m for view in views])
        self.pixels: FloatArray = np.concatenate([view.detection.pixels for view in views])

    @cached_property
    def parts(self) -> list[slice]:
        """The points of each view."""
        ends = np.cumsum(np.bincount(self.view_of, minlength=len(self.views)))
        return [slice(int(end - len(view.detection.ids)), int(end)) for end, view in zip(ends, self.views, strict=True)]

    def points_in_camera_m(self, unknowns: Unknowns) -> FloatArray:
        """Where the model has the points, shape (M, 3)."""
        chain = inverse(unknowns.camera) @ self.links @ unknowns.board
        points = unknowns.board_scale * self.points_in_board_m
        return np.einsum("mij,mj->mi", chain[self.view_of, :3, :3], points) + chain[self.view_of, :3, 3]

    def residual_px(self, unknowns: Unknowns) -> FloatArray:
        """Projected less detected, shape (M, 2)."""
        return unknowns.lens.project(self.points_in_camera_m(unknowns)) - self.pixels

    def linearise(self, unknowns: Unknowns, free: Free) -> Linearised:
        """Residuals and derivatives about some unknowns."""
        camera_turn = unknowns.camera[:3, :3]
        link_turns = self.links[:, :3, :3][self.view_of]
        scaled = self.points_in_board_m @ unknowns.board[:3, :3].T  # along the axes of the board's parent
        turned = unknowns.board_scale * scaled
        at_board = turned + unknowns.board[:3, 3]
        from_camera = np.einsum("mij,mj->mi", link_turns, at_board) + self.links[self.view_of, :3, 3]
        from_camera = from_camera - unknowns.camera[:3, 3]
        pixels, by_point, by_lens = unknowns.lens.project_with_derivatives(from_camera @ camera_turn)

        by_parent = by_point @ camera_turn.T  # by a shift along the axes of the camera's parent
        by_board = by_parent @ link_turns  # and of the board's
        columns = [-by_parent, by_parent @ skew(from_camera)]
        if free.board:
            columns += [by_board, -by_board @ skew(turned)]
        if free.lens:
            columns.append(by_lens)
        if free.scale:
            columns.append(by_board @ scaled[:, :, None])

        # The tool is the board's parent or the camera's; an error of its pose moves everything seen from it.
        if self.kind == "eye_to_hand":
            in_tool, by_shift = at_board, by_board
        else:
            in_tool, by_shift = from_camera + unknowns.camera[:3, 3], -by_parent
        by_tool = np.concatenate([by_shift, -by_shift @ skew(in_tool)], axis=-1)
        return Linearised(
            residual_px=pixels - self.pixels, by_unknowns=np.concatenate(columns, axis=-1), by_tool=by_tool
        )
