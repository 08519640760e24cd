"""``vlajs identify``: measure the response of arm and hand, and write the file that training reads.

Drives the arm directly (no ROS graph) through the same RobotArm as the bridge, with the dynamics given, by default the
bridge's: it opens and closes the hand, moves home from wherever the arm is, then about ten seconds within 0.12 m of the
start configuration. On a real arm it asks first. Stand by the stop button.
"""

import ipaddress
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from vlajs.control.identification import CONTROL_PERIOD_S, Recording, excitation, fit
from vlajs.geometry import Pose
from vlajs.policy.response import MAX_LATENCY_S, ControllerResponse
from vlajs.robot.arm import ArmConfig, ArmError, RobotArm
from vlajs.robot.hand import Hand
from vlajs.tasks import HOME_JOINTS_RAD

_FINGER_STARTED_M = 0.001
_HAND_TIMEOUT_S = 3.0


@dataclass(frozen=True, kw_only=True)
class IdentifyConfig:
    """Measure the response of arm and hand for training."""

    robot_ip: str | None = None
    """Address of a real arm or a running twin; by default a twin is started for the measurement."""
    output: Path = Path("response.yaml")
    """Where to write the response file."""
    max_tool_speed_m_s: float = ArmConfig.max_tool_speed_m_s
    """As the bridge is given it, like the factors: the response is that of the dynamics it was measured with."""
    velocity_factor: float = ArmConfig.velocity_factor
    acceleration_factor: float = ArmConfig.acceleration_factor
    jerk_factor: float = ArmConfig.jerk_factor
    home_factor: float = ArmConfig.home_factor
    """Of the motion to the start configuration."""
    yes: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Move a real arm without asking, for scripts: everyone stands clear, the way home is free."""

    def arm(self, robot_ip: str) -> ArmConfig:
        """The arm to measure.

        Raises:
            ValueError: a speed or factor outside its range.
        """
        return ArmConfig(
            robot_ip=robot_ip,
            max_tool_speed_m_s=self.max_tool_speed_m_s,
            velocity_factor=self.velocity_factor,
            acceleration_factor=self.acceleration_factor,
            jerk_factor=self.jerk_factor,
            home_factor=self.home_factor,
        )


def is_loopback(robot_ip: str) -> bool:
    """Whether only a twin can be at an address; a host name may be anyone's."""
    try:
        return ipaddress.ip_address(robot_ip).is_loopback
    except ValueError:
        return False


def ask_to_stand_clear(robot_ip: str) -> None:
    """Say what is going to move and wait for the operator's word.

    Raises:
        ArmError: the operator declined, or nobody can answer.
    """
    print(
        f"The arm at {robot_ip} is going to open and close its hand, move home from where it is (in joint space, it "
        "knows no obstacles) and move within 0.12 m of there for about ten seconds. Hold the stop button."
    )
    try:
        answer = input("Does everyone stand clear, is the way free and the hand empty? [y/n] ")
    except EOFError as error:
        raise ArmError("nobody can answer: run it in a terminal beside the arm, or pass --yes") from error
    if answer.strip().lower() not in ("y", "yes"):
        raise ArmError("declined: nothing has moved")


def record_arm(arm: RobotArm) -> Recording:
    """Stream the excitation at the control rate and sample the tool at every opportunity.

    Raises:
        ArmError: the arm refused or faulted; it has been stopped.
    """
    arm.home(HOME_JOINTS_RAD)
    state = arm.state()
    start_s, target_m = state.robot_time_s + CONTROL_PERIOD_S, state.tcp_in_base.position_m.copy()
    quat_wxyz = state.tcp_in_base.quat_wxyz
    commands: list[tuple[float, np.ndarray]] = []
    samples: list[tuple[float, np.ndarray]] = [(state.robot_time_s, state.tcp_in_base.position_m)]
    try:
        for index, increment in enumerate(excitation()):
            while state.robot_time_s < start_s + index * CONTROL_PERIOD_S:
                time.sleep(0.002)
                state = arm.state()
                samples.append((state.robot_time_s, state.tcp_in_base.position_m))
            if not increment.any():
                continue  # nothing new to tell, as in the bridge: a plan to where the arm already is can fail
            target_m = target_m + increment
            arm.stream_target(Pose(position_m=target_m, quat_wxyz=quat_wxyz))
            commands.append((state.robot_time_s, target_m))
    finally:
        arm.stop()
    return Recording(
        command_s=np.array([stamp for stamp, _ in commands]),
        target_m=np.array([target for _, target in commands]),
        sample_s=np.array([stamp for stamp, _ in samples]),
        measured_m=np.array([position for _, position in samples]),
    )


def time_hand(arm: RobotArm, hand: Hand) -> tuple[float, float]:
    """(delay_s, speed_m_s of each finger) of closing from fully open, on the arm's clock.

    Raises:
        ArmError: the hand did not move within three seconds.
    """
    hand.open_fingers()
    _follow(arm, hand, until=lambda width: width > 0.075)
    hand.close_fingers()
    stamps, widths = _follow(arm, hand, until=lambda width: width < 0.005)
    travelled = widths[0] - widths
    moving = np.nonzero(travelled > _FINGER_STARTED_M)[0][0]
    # the middle half of the travel, clear of acceleration and of the fingers meeting
    middle = (travelled > 0.25 * travelled[-1]) & (travelled < 0.75 * travelled[-1])
    slope = np.polyfit(stamps[middle], travelled[middle], 1)[0]
    return float(stamps[moving] - stamps[0]), float(slope / 2)


def _follow(arm: RobotArm, hand: Hand, until) -> tuple[np.ndarray, np.ndarray]:
    """Sample (robot time, width) until the width satisfies ``until``."""
    rows: list[tuple[float, float]] = []
    while not rows or not until(rows[-1][1]):
        rows.append((arm.state().robot_time_s, hand.state().width_m))
        if rows[-1][0] - rows[0][0] > _HAND_TIMEOUT_S:
            raise ArmError(f"the hand stopped at {1e3 * rows[-1][1]:.0f} mm: is something between its fingers?")
        time.sleep(0.005)
    stamps, widths = zip(*rows, strict=True)
    return np.array(stamps), np.array(widths)


def identify(config: ArmConfig, source: str) -> ControllerResponse:
    """Measure the hand, then the arm.

    Raises:
        ArmError: the arm or hand refused or faulted.
        ValueError: the fit makes no sense.
    """
    with ExitStack() as stack:
        arm = RobotArm(config)
        stack.callback(arm.close)
        hand = Hand(config.robot_ip)
        stack.callback(hand.close)
        hand_delay_s, hand_speed_m_s = time_hand(arm, hand)
        latency_s, natural_frequency_rad_s, damping_ratio, residual_m = fit(record_arm(arm), MAX_LATENCY_S)
    return ControllerResponse(
        latency_s=round(latency_s, 4),
        natural_frequency_rad_s=round(natural_frequency_rad_s, 1),
        damping_ratio=round(damping_ratio, 2),
        residual_m=round(residual_m, 5),
        hand_delay_s=round(hand_delay_s, 3),
        hand_speed_m_s=round(hand_speed_m_s, 3),
        source=source,
        dynamics_factors=(config.velocity_factor, config.acceleration_factor, config.jerk_factor),
        measured_on=datetime.now(UTC).date().isoformat(),
    )


def main(args: list[str] | None = None) -> int:
    """Command line."""
    config = tyro.cli(IdentifyConfig, args=args, prog="vlajs identify", description=IdentifyConfig.__doc__)
    try:
        with ExitStack() as stack:
            robot_ip = config.robot_ip
            config.arm(robot_ip or "twin")  # refuse before anything starts
            if robot_ip is not None and not (config.yes or is_loopback(robot_ip)):
                ask_to_stand_clear(robot_ip)
            if robot_ip is None:
                from vlajs.twin.server import TwinConfig, TwinServer  # the robot's PC has no simulator

                print("starting a twin; pass --robot-ip for an arm")
                robot_ip = stack.enter_context(TwinServer(TwinConfig())).address
            response = identify(config.arm(robot_ip), config.robot_ip or "twin")
    except (ArmError, ValueError) as error:
        print(f"vlajs identify: {error}", file=sys.stderr)
        return 2
    response.to_yaml(config.output)
    print(config.output.read_text(), end="")
    print(
        f"RESULT latency_ms={1e3 * response.latency_s:.1f} frequency_rad_s={response.natural_frequency_rad_s:.1f} "
        f"damping={response.damping_ratio:.2f} "
        f"residual_mm={1e3 * response.residual_m:.1f} hand_delay_ms={1e3 * response.hand_delay_s:.0f}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
