"""From a stream of wanted openings to the two things a Franka Hand does: open and close."""

from dataclasses import dataclass
from enum import Enum


class GripperCommand(Enum):
    """What the hand is told."""

    OPEN = "open"
    CLOSE = "close"


@dataclass(frozen=True, kw_only=True)
class GripperThresholds:
    """Hysteresis between opening and closing.

    Attributes:
        open_above_m: the hand opens when the wanted opening rises above this.
        close_below_m: it closes when the wanted opening falls below this.

    Raises:
        ValueError: not 0 <= close_below_m < open_above_m <= 0.08.
    """

    open_above_m: float = 0.048
    close_below_m: float = 0.032

    def __post_init__(self) -> None:
        if not 0 <= self.close_below_m < self.open_above_m <= 0.08:
            raise ValueError(
                f"gripper thresholds must rise from 0 to at most 0.08 m: close below {self.close_below_m}, "
                f"open above {self.open_above_m}"
            )


def gripper_command(wanted_width_m: float, thresholds: GripperThresholds) -> GripperCommand | None:
    """The command for a wanted opening; None between the thresholds: the hand goes on with what it does."""
    if wanted_width_m > thresholds.open_above_m:
        return GripperCommand.OPEN
    if wanted_width_m < thresholds.close_below_m:
        return GripperCommand.CLOSE
    return None
