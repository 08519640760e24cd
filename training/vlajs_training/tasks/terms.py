"""Observation terms as batched torch: the same quantities as ``vlajs.policy.observations``, for N environments.

A test drives both with the same states.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from vlajs.geometry import TOOL_DOWN_WXYZ
from vlajs_training.rotations import quaternion_to_matrix, rotvec_between


@dataclass(frozen=True, kw_only=True)
class BatchPose:
    """Poses in the base frame: ``position_m`` (N, 3), ``wxyz`` (N, 4)."""

    position_m: torch.Tensor
    wxyz: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class BatchState:
    """What rewards and observations are made of, for N environments, in the base frame ``panda_link0``.

    Attributes:
        tcp_position_m: (N, 3) measured tool.
        tcp_wxyz: (N, 4).
        target_position_m: (N, 3) commanded tool.
        target_wxyz: (N, 4).
        gripper_width_m: (N,) measured opening.
        gripper_command_m: (N,) opening last commanded.
        objects: pose of each object, by name.
        half_sizes_m: (N, 3) by name, of the objects whose size differs between episodes.
        goal_m: (N, 3); NaN in a task without a goal position.
        joint_speed_share: (N,) fastest joint as a share of its limit; for rewards, no observation term.
    """

    tcp_position_m: torch.Tensor
    tcp_wxyz: torch.Tensor
    target_position_m: torch.Tensor
    target_wxyz: torch.Tensor
    gripper_width_m: torch.Tensor
    gripper_command_m: torch.Tensor
    objects: Mapping[str, BatchPose]
    half_sizes_m: Mapping[str, torch.Tensor]
    goal_m: torch.Tensor
    joint_speed_share: torch.Tensor

    @property
    def cube_position_m(self) -> torch.Tensor:
        """Of the object "cube", (N, 3)."""
        return self.objects["cube"].position_m

    @property
    def cube_wxyz(self) -> torch.Tensor:
        """Of the object "cube", (N, 4)."""
        return self.objects["cube"].wxyz

    @property
    def peg_position_m(self) -> torch.Tensor:
        """Of the object "peg", (N, 3)."""
        return self.objects["peg"].position_m

    @property
    def peg_axis(self) -> torch.Tensor:
        """Direction (N, 3) of the object "peg", along its own x axis."""
        return axis_of(self.objects["peg"].wxyz, 0)


def axis_of(quat_wxyz: torch.Tensor, axis: int) -> torch.Tensor:
    """One of the bodies' own axes (0, 1, 2: x, y, z) in the base frame, unit vectors (N, 3)."""
    return quaternion_to_matrix(quat_wxyz)[:, :, axis]


def yaw_of(quat_wxyz: torch.Tensor) -> torch.Tensor:
    """Heading (N,) of the body's x axis in the base's xy plane."""
    w, x, y, z = quat_wxyz.unbind(dim=1)
    return torch.atan2(2 * (x * y + w * z), 1 - 2 * (y * y + z * z))


def tool_rotation(state: BatchState) -> torch.Tensor:
    """Rotation vector (N, 3) in base axes from tool-down to the tool."""
    down = state.tcp_wxyz.new_tensor(TOOL_DOWN_WXYZ).expand_as(state.tcp_wxyz)
    return rotvec_between(down, state.tcp_wxyz)


def _cube_yaw4(state: BatchState) -> torch.Tensor:
    yaw = yaw_of(state.cube_wxyz)
    return torch.stack([torch.cos(4 * yaw), torch.sin(4 * yaw)], dim=1)


def _peg_axis2(state: BatchState) -> torch.Tensor:
    x, y, z = state.peg_axis.unbind(dim=1)
    return torch.stack([x * x, y * y, z * z, x * y, x * z, y * z], dim=1)


def _hole_from_peg_head(state: BatchState) -> torch.Tensor:
    head_m = state.peg_position_m + state.peg_axis * state.half_sizes_m["peg"][:, :1]
    return state.objects["hole"].position_m - head_m


TERMS: dict[str, Callable[[BatchState], torch.Tensor]] = {
    "tcp_position": lambda s: s.tcp_position_m,
    "tcp_rotation": tool_rotation,
    "target_lead_position": lambda s: s.target_position_m - s.tcp_position_m,
    "target_lead_rotation": lambda s: rotvec_between(s.tcp_wxyz, s.target_wxyz),
    "gripper_width": lambda s: s.gripper_width_m[:, None],
    "gripper_command": lambda s: s.gripper_command_m[:, None],
    "cube_position": lambda s: s.cube_position_m,
    "cube_yaw4": _cube_yaw4,
    "cube_from_tcp": lambda s: s.cube_position_m - s.tcp_position_m,
    "goal_position": lambda s: s.goal_m,
    "goal_from_cube": lambda s: s.goal_m - s.cube_position_m,
    "tcp_axes": lambda s: torch.cat([axis_of(s.tcp_wxyz, 1), axis_of(s.tcp_wxyz, 2)], dim=1),
    "peg_position": lambda s: s.peg_position_m,
    "peg_axis": lambda s: s.peg_axis,
    "peg_axis2": _peg_axis2,
    "peg_half_size": lambda s: s.half_sizes_m["peg"][:, :2],
    "peg_from_tcp": lambda s: s.peg_position_m - s.tcp_position_m,
    "cube_from_peg": lambda s: s.cube_position_m - s.peg_position_m,
    "hole_position": lambda s: s.objects["hole"].position_m,
    "hole_axis": lambda s: axis_of(s.objects["hole"].wxyz, 0),
    "hole_radius": lambda s: s.half_sizes_m["hole"][:, 1:2],
    "hole_from_peg_head": _hole_from_peg_head,
}


def assemble(names: list[str], state: BatchState) -> torch.Tensor:
    """Observations (N, sum of sizes)."""
    return torch.cat([TERMS[name](state) for name in names], dim=1)
