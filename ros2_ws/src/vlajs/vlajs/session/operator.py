"""What a session on a real arm asks the person beside it."""

import select
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vlajs.geometry import Pose, yaw_of
from vlajs.session.plan import TrialPlan
from vlajs.session.records import SessionError

NO_TERMINAL = "nobody can answer: standard input is closed; run the session in a terminal beside the arm"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the operator saw."""

    success: bool
    reason: str


def _enter_pressed() -> bool:
    """Whether a line is waiting on standard input; takes it."""
    if not select.select([sys.stdin], [], [], 0.0)[0]:
        return False
    if not sys.stdin.readline():
        raise SessionError(NO_TERMINAL)
    return True


def _ask(question: str) -> str:
    """A line from standard input."""
    try:
        return input(question)
    except EOFError as error:
        raise SessionError(NO_TERMINAL) from error


class Operator:
    """Prompts on the terminal. ``ask`` and ``pressed`` are replaced in tests."""

    def __init__(
        self,
        ask: Callable[[str], str] = _ask,
        pressed: Callable[[], bool] = _enter_pressed,
        show: Callable[[str], None] = print,
    ) -> None:
        """``ask`` is answered with a line; ``pressed`` polls for Enter; ``show`` prints."""
        self._ask = ask
        self.pressed = pressed
        self._show = show

    def clear_the_way(self) -> None:
        """Warn before the hand opens and the arm moves home, which it does over whatever is in the way."""
        self._show(
            "\nThe hand lets go of what it holds; then the arm moves to its start configuration. It sees no obstacles."
        )
        self._ask("Stand clear of the arm, then press Enter. ")

    def place(self, plan: TrialPlan) -> None:
        """Ask for the objects to be put in their places."""
        self._show(f"\nTrial {plan.trial}. Put, in the robot base's frame (x ahead, y left, metres):")
        for name, pose in plan.scene.objects.items():
            self._show(f"  {name}: {describe_pose(pose)}")
        goal = plan.scene.goal_m
        self._show(f"  goal: x {goal[0]:.3f}, y {goal[1]:.3f}, z {goal[2]:.3f}")
        self._ask("Stand clear of the arm, then press Enter. ")

    def place_again(self, name: str, wanted: Pose, measured: Pose, limit_m: float) -> None:
        """Tell how far off an object lies and ask for a correction."""
        off = wanted.position_m - measured.position_m
        self._show(
            f"  {name} is {np.linalg.norm(off[:2]):.3f} m off (limit {limit_m:g} m): "
            f"move it by x {off[0]:+.3f}, y {off[1]:+.3f} m"
        )
        self._ask("Stand clear of the arm, then press Enter. ")

    def approve_recovery(self, faults: tuple[str, ...]) -> None:
        """Ask before a fault is cleared: the arm will move home afterwards.

        Raises:
            SessionError: the operator declined.
        """
        self._show(f"The arm is in fault: {'; '.join(faults) or 'no reason given'}.")
        answer = self._ask("Check arm and workspace. Recover and go on? [y/n] ")
        if not answer.strip().lower().startswith("y"):
            raise SessionError(
                "the operator declined to recover the arm: call /franka/recover when it is safe, then resume"
            )

    def judge(self) -> Judgement:
        """Ask until the answer is yes or no; a no is asked for its reason."""
        while True:
            answer = self._ask("Did it succeed? [y/n] ").strip().lower()
            if answer in ("y", "yes"):
                return Judgement(success=True, reason="success, judged by the operator")
            if answer in ("n", "no"):
                reason = self._ask("What went wrong? ").strip()
                return Judgement(success=False, reason=reason or "failure, judged by the operator; no reason given")


def describe_pose(pose: Pose) -> str:
    """``x 0.512, y -0.031, z 0.020, turned 12 degrees`` (about the vertical, anticlockwise from above)."""
    x, y, z = pose.position_m
    yaw_deg = np.degrees(float(yaw_of(pose.quat_wxyz)))
    return f"x {x:.3f}, y {y:.3f}, z {z:.3f}, turned {yaw_deg:.0f} degrees"
