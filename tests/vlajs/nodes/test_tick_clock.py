"""Waiting on robot time that another thread drives."""

import threading

import pytest
from rclpy.clock import ROSClock
from rclpy.clock_type import ClockType
from rclpy.time import Time

from vlajs.nodes.tick_clock import RobotClock
from vlajs.policy.deadline import NS_PER_S, ClockStalledError


def robot_clock(at_s: float, stall_timeout_s: float = 30.0) -> tuple[ROSClock, RobotClock]:
    """As a node with ``use_sim_time`` has it after a message on ``/clock``."""
    clock = ROSClock()
    clock._set_ros_time_is_active(True)
    set_time(clock, at_s)
    return clock, RobotClock(clock, stall_timeout_s=stall_timeout_s)


def set_time(clock: ROSClock, at_s: float) -> None:
    clock.set_ros_time_override(Time(nanoseconds=int(at_s * NS_PER_S), clock_type=ClockType.ROS_TIME))


def test_a_deadline_is_met_when_robot_time_says_so() -> None:
    clock, robot = robot_clock(5.0)
    seen_ns: list[int] = []

    def wait() -> None:
        assert robot.wait_until(6 * NS_PER_S, threading.Event())
        seen_ns.append(robot.now_ns())

    thread = threading.Thread(target=wait)
    thread.start()
    set_time(clock, 5.999)
    thread.join(0.3)
    assert thread.is_alive(), "a millisecond early"
    set_time(clock, 6.002)
    thread.join(30)
    assert seen_ns == [6_002_000_000]
    robot.close()


def test_cancel_ends_a_wait_on_a_clock_that_stands_still() -> None:
    _, robot = robot_clock(5.0)
    cancel = threading.Event()
    cancel.set()
    assert not robot.wait_until(6 * NS_PER_S, cancel)
    robot.close()


def test_a_clock_that_stops_is_told() -> None:
    _, robot = robot_clock(5.0, stall_timeout_s=0.2)
    with pytest.raises(ClockStalledError, match=r"no /clock for 0.2 s of wall time: the twin stopped"):
        robot.wait_until(6 * NS_PER_S, threading.Event())
    robot.close()


def test_a_clock_that_was_restarted_is_told() -> None:
    clock, robot = robot_clock(5.0)
    raised: list[str] = []

    def wait() -> None:
        try:
            robot.wait_until(6 * NS_PER_S, threading.Event())
        except ClockStalledError as error:
            raised.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(0.3)
    set_time(clock, 0.5)
    thread.join(30)
    assert raised == ["/clock went back from 5.000 s to 0.500 s: the twin was restarted; start the episode again"]
    robot.close()
