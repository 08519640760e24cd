"""A node's clock as something ticks can wait on: ``/clock`` with ``use_sim_time``, else the steady clock."""

import threading
import time

from rclpy.clock import Clock, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node

from vlajs.policy.deadline import NS_PER_S, ClockStalledError, SteadyClock, TickClock

STALL_TIMEOUT_S = 5.0
"""Wall time without a single ``/clock`` message after which the twin is taken for dead."""

BACKWARD_JUMP_S = 0.5
"""A clock that falls back this far was restarted."""


class RobotClock:
    """ROS time driven by ``/clock``. The node's executor must run in another thread than the one that waits."""

    def __init__(self, clock: Clock, *, stall_timeout_s: float = STALL_TIMEOUT_S) -> None:
        """Follow a clock whose ROS time is active."""
        self._clock = clock
        self._stall_timeout_s = stall_timeout_s
        self._moved = threading.Event()
        threshold = JumpThreshold(
            min_forward=Duration(nanoseconds=1), min_backward=Duration(nanoseconds=-1), on_clock_change=True
        )
        self._jumps = clock.create_jump_callback(threshold, post_callback=self._on_move)

    def _on_move(self, _jump: TimeJump) -> None:
        self._moved.set()

    def close(self) -> None:
        """Stop following the clock."""
        self._jumps.unregister()

    def now_ns(self) -> int:
        """Robot time, nanoseconds."""
        return self._clock.now().nanoseconds

    def wait_until(self, deadline_ns: int, cancel: threading.Event) -> bool:
        """Block until the deadline in robot time; False as soon as possible after ``cancel`` is set.

        Raises:
            ClockStalledError: no ``/clock`` for :data:`STALL_TIMEOUT_S` of wall time, or it ran backwards.
        """
        latest_ns = self.now_ns()
        moved_s = time.monotonic()
        while not cancel.is_set():
            now_ns = self.now_ns()
            if now_ns >= deadline_ns:
                return True
            if now_ns < latest_ns - BACKWARD_JUMP_S * NS_PER_S:
                raise ClockStalledError(
                    f"/clock went back from {latest_ns / NS_PER_S:.3f} s to {now_ns / NS_PER_S:.3f} s: "
                    "the twin was restarted; start the episode again"
                )
            if now_ns != latest_ns:
                latest_ns, moved_s = now_ns, time.monotonic()
            elif time.monotonic() - moved_s > self._stall_timeout_s:
                raise ClockStalledError(
                    f"no /clock for {self._stall_timeout_s:g} s of wall time: the twin stopped; restart it"
                )
            # bounded, so that cancel is seen when the clock stands still
            self._moved.wait(0.1)
            self._moved.clear()
        return False


def tick_clock(node: Node) -> TickClock:
    """The clock a node's loops follow: robot time with ``use_sim_time``, else the steady clock."""
    if uses_robot_time(node):
        return RobotClock(node.get_clock())
    return SteadyClock()


def uses_robot_time(node: Node) -> bool:
    """Whether ``use_sim_time`` is set."""
    return node.get_parameter("use_sim_time").get_parameter_value().bool_value
