"""What a lab would not want, priced: shared by the dense rewards of the tasks.

Numbers (N,) at least 0.
"""

import torch

from vlajs.tasks import CUBE_HALF_SIZE_M
from vlajs_training.rotations import quaternion_to_matrix
from vlajs_training.tasks.definition import WORKSPACE_MIN_M
from vlajs_training.tasks.terms import BatchPose, BatchState, axis_of, tool_rotation, yaw_of

APPROACH_M = 0.07
"""Below this height the tool comes down on an object, not from its side: an open finger must not land on it."""

CLOSE_BELOW_M = 0.015
"""Height of the tool above an object's centre from which it may close: earlier, fingers land on the object."""

LIFTED_M = 0.04
"""Height of a cube's centre from which its yaw no longer matters."""

EMPTY_WIDTH_M = 0.01
"""A commanded fist narrower than this missed the object: opening again must be worth it at once."""


def tilt_rad(state: BatchState) -> torch.Tensor:
    """Angle-like size (N,) of the tool's rotation away from vertical; yaw is free."""
    return tool_rotation(state)[:, :2].norm(dim=1)


GENTLE_SHARE = 0.5
"""Joint speed, as a share of the Panda's limit, that costs nothing: the planner on the robot overshoots a stream."""


def haste(state: BatchState) -> torch.Tensor:
    """By how much (N,) the fastest joint exceeds a gentle speed: near the stretched elbow the arm must slow down."""
    return (state.joint_speed_share - GENTLE_SHARE).clamp(0.0, 2.0)


STOPPING_SHARE = 0.5
"""A stream that stops is overshot by up to this share of the target's lead (measured on the twin: about 0.4)."""

LOWEST_TOOL_M = 0.018
"""Height the tool must not pass even when it overshoots; the fingertips are 9 mm lower."""


def slam(state: BatchState) -> torch.Tensor:
    """How far (N,), in centimetres, the tool would overshoot below its lowest height if the target stopped now."""
    lead_m = (state.target_position_m - state.tcp_position_m)[:, 2].clamp_max(0.0)
    bottom_m = state.target_position_m[:, 2] + STOPPING_SHARE * lead_m
    return 100 * (LOWEST_TOOL_M - bottom_m).clamp_min(0.0)


def set_down_hard(state: BatchState, held: BatchPose, half_size_m: tuple[float, float, float]) -> torch.Tensor:
    """How far (N,), in centimetres, a held box would go into the table if the target stopped now.

    It moves with the tool, which goes to its target and past it as in :func:`slam`. What comes down slowly enough to
    succeed before it touches costs nothing; at 0.15 m/s the arm's reflex answers the touch.
    """
    lowest_m = _lowest_m(held.position_m, quaternion_to_matrix(held.wxyz), half_size_m)
    lead = quaternion_to_matrix(state.target_wxyz) @ quaternion_to_matrix(state.tcp_wxyz).transpose(1, 2)
    from_tcp_m = (held.position_m - state.tcp_position_m)[:, :, None]
    moved_m = state.target_position_m + (lead @ from_tcp_m)[:, :, 0]
    target_m = _lowest_m(moved_m, lead @ quaternion_to_matrix(held.wxyz), half_size_m)
    bottom_m = target_m + STOPPING_SHARE * (target_m - lowest_m).clamp_max(0.0)
    return 100 * (-bottom_m).clamp_min(0.0)


def _lowest_m(position_m: torch.Tensor, turn: torch.Tensor, half_size_m: tuple[float, float, float]) -> torch.Tensor:
    """Height (N,) of a box's lowest corner."""
    return position_m[:, 2] - turn[:, 2].abs() @ turn.new_tensor(half_size_m)


def rough(state: BatchState, action: torch.Tensor) -> torch.Tensor:
    """Large actions, fast joints, diving at the table and asking for what lies below the workspace."""
    # not clipped: a policy that saturates downwards on the floor of the box would never notice that up is better
    effort = action[:, :6].square().sum(dim=1)
    on_floor = (state.target_position_m[:, 2] < WORKSPACE_MIN_M[2] + 0.001).float()
    denied = on_floor * (-action[:, 2]).clamp(0.0, 1.0)
    return 0.01 * effort + 0.5 * haste(state) + 0.2 * slam(state) + 0.1 * denied


def clumsy(state: BatchState, grasped: torch.Tensor, above_m: torch.Tensor, beside_m: torch.Tensor) -> torch.Tensor:
    """A grasp from above done badly: fingers that close too early, an empty fist, a tool that comes from the side.

    Args:
        state: of N environments.
        grasped: (N,) whether the object is held; then nothing is clumsy.
        above_m: (N,) height of the tool above the object's centre.
        beside_m: (N,) horizontal distance of the tool from where it may come down.
    """
    closing = state.gripper_command_m == 0
    empty_fist = (closing & (state.gripper_width_m < EMPTY_WIDTH_M)).float()
    early = (closing & (above_m > CLOSE_BELOW_M)).float()
    low = ((APPROACH_M - state.tcp_position_m[:, 2]) / APPROACH_M).clamp(0.0, 1.0)
    beside = low * ((beside_m - 0.01) / 0.02).clamp(0.0, 1.0)
    return torch.where(grasped, torch.zeros_like(early), 0.1 * empty_fist + 0.3 * early + 0.15 * beside)


def clumsy_at_peg(state: BatchState, grasped: torch.Tensor) -> torch.Tensor:
    """:func:`clumsy` at the object "peg", on which the tool may come down anywhere along its length."""
    from_peg_m = state.tcp_position_m - state.peg_position_m
    along = torch.nn.functional.normalize(state.peg_axis[:, :2], dim=1)
    beside_m = (from_peg_m[:, 0] * along[:, 1] - from_peg_m[:, 1] * along[:, 0]).abs()
    return clumsy(state, grasped, from_peg_m[:, 2], beside_m)


def misaligned(state: BatchState) -> torch.Tensor:
    """From 0, fingers on two faces of the cube, to 1, on two of its edges."""
    return (1 - torch.cos(4 * (yaw_of(state.tcp_wxyz) - yaw_of(state.cube_wxyz)))) / 2


FINGER_HALF_M = 0.01
"""Half a fingertip, along the tool's x and y."""

TIP_M = 0.009
"""Fingertips end so far below the tool's middle."""

LANDING_M = 0.015
"""A fingertip that comes nearer to the top from above is about to land: half of what a decision moves it."""


def landing(state: BatchState, half_edge_m: float) -> torch.Tensor:
    """From 0 to 2 (N,): fingertips that land on the object "cube" rather than beside it, which an arm's reflex ends."""
    from_cube_m = state.tcp_position_m - state.cube_position_m
    tip_above_m = from_cube_m[:, 2] - TIP_M - half_edge_m
    near = (1 - tip_above_m / LANDING_M).clamp(0.0, 1.0) * (tip_above_m > -TIP_M)
    closing_axis, forward = axis_of(state.tcp_wxyz, 1), axis_of(state.cube_wxyz, 0)[:, :2]
    cost = torch.zeros_like(near)
    for side in (-1.0, 1.0):
        reach_m = side * (state.gripper_width_m / 2 + FINGER_HALF_M)
        finger_m = (from_cube_m + reach_m[:, None] * closing_axis)[:, :2]
        along_m = (finger_m * forward).sum(dim=1).abs()
        across_m = (finger_m[:, 0] * forward[:, 1] - finger_m[:, 1] * forward[:, 0]).abs()
        inside_m = half_edge_m + FINGER_HALF_M - torch.maximum(along_m, across_m)
        cost = cost + near * (inside_m / FINGER_HALF_M).clamp(0.0, 1.0)
    return cost


def clumsy_at_cube(state: BatchState, grasped: torch.Tensor) -> torch.Tensor:
    """:func:`clumsy` at the object "cube", on whose middle the tool comes down, its fingers beside the cube."""
    from_cube_m = state.tcp_position_m - state.cube_position_m
    free = (~grasped).float()
    return (
        clumsy(state, grasped, from_cube_m[:, 2], from_cube_m[:, :2].norm(dim=1))
        + 0.5 * landing(state, CUBE_HALF_SIZE_M) * free
    )


def pushing(state: BatchState, action: torch.Tensor, half_size_m: float) -> torch.Tensor:
    """Pushing a cube badly: pressing on its top (another contact model will not drag it), turning the tool, haste."""
    offset_m = (state.tcp_position_m - state.cube_position_m)[:, :2].abs()
    over_cube = (offset_m < half_size_m + 0.01).all(dim=1)
    above_top_m = state.tcp_position_m[:, 2] - 2 * half_size_m
    on_top = over_cube & (above_top_m > -0.005) & (above_top_m < 0.02)
    turned = tool_rotation(state).norm(dim=1)
    effort = action[:, :6].square().sum(dim=1)
    return 0.5 * on_top.float() + 0.2 * turned + 0.003 * effort + 0.2 * haste(state) + 0.1 * slam(state)


def lean(state: BatchState) -> torch.Tensor:
    """Sine of the angle between the tool and the vertical, however it is turned about the vertical."""
    return axis_of(state.tcp_wxyz, 2)[:, :2].norm(dim=1)
