"""Hand-made states of two environments for tests of rewards."""

from dataclasses import replace
from typing import Any

import torch

from vlajs_training.tasks.terms import BatchPose, BatchState

DOWN = [0.0, 1.0, 0.0, 0.0]
NO_TURN = [1.0, 0.0, 0.0, 0.0]


def rows(values: list[float] | list[list[float]]) -> torch.Tensor:
    """(2, k): the same row twice, or two rows."""
    table = torch.tensor(values)
    return table.expand(2, -1).clone() if table.ndim == 1 else table


def pose(position_m: list[float] | list[list[float]], wxyz: list[float] | list[list[float]] = NO_TURN) -> BatchPose:
    """One pose for both environments, or one each."""
    return BatchPose(position_m=rows(position_m), wxyz=rows(wxyz))


def state(**changes: Any) -> BatchState:
    """An open hand at rest, pointing down at (0.5, 0, 0.2)."""
    at_rest = BatchState(
        tcp_position_m=rows([0.5, 0.0, 0.2]),
        tcp_wxyz=rows(DOWN),
        target_position_m=rows([0.5, 0.0, 0.2]),
        target_wxyz=rows(DOWN),
        gripper_width_m=torch.full((2,), 0.08),
        gripper_command_m=torch.full((2,), 0.08),
        objects={},
        half_sizes_m={},
        goal_m=rows([0.6, 0.0, 0.02]),
        joint_speed_share=torch.zeros(2),
    )
    return replace(at_rest, **changes)


def flags(**values: list[bool]) -> dict[str, torch.Tensor]:
    """ManiSkill's info; no success unless given."""
    return {"success": torch.zeros(2, dtype=torch.bool), **{k: torch.tensor(v) for k, v in values.items()}}
