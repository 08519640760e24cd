"""The Franka Hand on a thread of its own: the newest wish wins, and nobody waits for fingers."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import franky
import numpy as np

from vlajs.robot.arm import FRANKY_ERRORS, ArmError

HAND_ERRORS: tuple[type[BaseException], ...] = (*FRANKY_ERRORS, franky.GripperException)
HAND_WIDTH_MAX_M = 0.08
CLOSE_TIMEOUT_S = 2.0


@dataclass(frozen=True, kw_only=True)
class HandConfig:
    """How the hand moves.

    Attributes:
        speed_m_s: of opening and closing, in (0, 0.1].
        force_n: kept up on a grasped object, in (0, 70].
        min_grasp_width_m: closed fingers further apart than this hold something.
        poll_rate_hz: how often the opening is read; a real hand reports about 10 times a second.
        command_timeout_s: a hand that takes longer to open or close is at fault (wall clock).

    Raises:
        ValueError: a number outside its range.
    """

    speed_m_s: float = 0.1
    force_n: float = 40.0
    min_grasp_width_m: float = 0.002
    poll_rate_hz: float = 50.0
    command_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        ranges = {
            "speed_m_s": 0.1,
            "force_n": 70.0,
            "min_grasp_width_m": HAND_WIDTH_MAX_M,
            "poll_rate_hz": 200.0,
            "command_timeout_s": 60.0,
        }
        for name, limit in ranges.items():
            value = getattr(self, name)
            if not 0 < value <= limit:
                raise ValueError(f"hand {name} = {value} is outside (0, {limit:g}]")


class HandCommand(Enum):
    """What the hand can be told; the value is the opening that it stands for, metres."""

    OPEN = HAND_WIDTH_MAX_M
    CLOSE = 0.0


@dataclass(frozen=True, kw_only=True)
class HandState:
    """Newest reading of the hand.

    Attributes:
        width_m: measured opening.
        command_m: opening last commanded, 0 or 0.08; the opening at start before the first command.
        busy: a command is being carried out or waits to be.
        grasped: the fingers were closed and something keeps them apart.
        fault: why the hand cannot be relied on; None when it can.
    """

    width_m: float
    command_m: float
    busy: bool
    grasped: bool
    fault: str | None


class _Run:
    """One command on its own short-lived thread: franky answers only when the fingers rest."""

    def __init__(self, command: HandCommand, action: Callable[[], bool]) -> None:
        self.command = command
        self.failure: str | None = None
        self.started_s = time.monotonic()
        self._action = action
        self._thread = threading.Thread(target=self._work, name=f"hand-{command.name.lower()}", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        """Wait for the hand's answer."""
        self._thread.join(timeout_s)

    def _work(self) -> None:
        try:
            if not self._action():
                self.failure = "the hand did not finish the motion"
        except HAND_ERRORS as error:
            self.failure = str(error)


class Hand:
    """A connected hand. Methods return at once and may be called from any thread."""

    def __init__(self, robot_ip: str, config: HandConfig | None = None) -> None:
        """Connect and start the hand's thread.

        Raises:
            ArmError: no hand answers at this address.
        """
        self._config = config or HandConfig()
        try:
            self._gripper = franky.Gripper(robot_ip)
            first = self._gripper.state
        except HAND_ERRORS as error:
            raise ArmError(f"no Franka Hand answers at {robot_ip}: {error}; is it connected and enabled?") from error
        # asking for more than the hand's own maximum is an error
        self._open_width_m = min(HAND_WIDTH_MAX_M, first.max_width) if first.max_width > 0 else HAND_WIDTH_MAX_M
        self._lock = threading.Lock()
        self._wanted: HandCommand | None = None
        self._done: HandCommand | None = None
        self._run: _Run | None = None
        self._ending: list[_Run] = []
        self._width_m = float(first.width)
        self._start_width_m = self._width_m
        self._fault: str | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="hand", daemon=True)
        self._thread.start()

    def open_fingers(self) -> None:
        """Open as soon as the command being carried out has ended."""
        self._want(HandCommand.OPEN)

    def close_fingers(self) -> None:
        """Close on whatever is there, as soon as the command being carried out has ended."""
        self._want(HandCommand.CLOSE)

    def keep_on(self) -> None:
        """Go on with what is being carried out: a wish that came meanwhile is forgotten, as it is in training."""
        with self._lock:
            if self._run is not None:
                self._wanted = self._run.command

    def stop(self) -> None:
        """Forget the wish and stop moving fingers; a grip that is complete is kept."""
        with self._lock:
            run, self._run, self._wanted = self._run, None, None
            # a later wish must be carried out even if it is what was done last
            self._done = None if run is not None else self._done
        if run is not None and run.running:
            still_going = [earlier for earlier in self._ending if earlier.running]
            self._ending = [*still_going, run, _Run(run.command, self._gripper.stop)]

    def state(self) -> HandState:
        """The newest reading; never waits for the hand."""
        with self._lock:
            command = self._run.command if self._run is not None else self._done
            waiting = self._wanted is not None and self._wanted is not self._done
            fault = self._fault
            if fault is None and not self._thread.is_alive() and not self._closing.is_set():
                fault = "the hand's thread has ended: restart the bridge"
            return HandState(
                width_m=self._width_m,
                command_m=self._start_width_m if command is None else command.value,
                busy=self._run is not None or waiting,
                grasped=(
                    self._run is None
                    and self._done is HandCommand.CLOSE
                    and self._width_m > self._config.min_grasp_width_m
                ),
                fault=fault,
            )

    def clear_fault(self) -> None:
        """Forget a fault after someone has checked the hand; the next wish is carried out afresh."""
        with self._lock:
            self._fault = self._wanted = self._done = None

    def close(self) -> None:
        """Stop, and end all threads: one that is still inside the client when Python ends would abort the process."""
        self._closing.set()
        self.stop()
        self._thread.join(CLOSE_TIMEOUT_S)
        for run in self._ending:
            run.join(CLOSE_TIMEOUT_S)

    def _want(self, command: HandCommand) -> None:
        with self._lock:
            self._wanted = command

    def _loop(self) -> None:
        period_s = 1.0 / self._config.poll_rate_hz
        while not self._closing.wait(period_s):
            try:
                width_m = float(self._gripper.state.width)  # up to 0.1 s on a real hand
            except HAND_ERRORS as error:
                with self._lock:
                    self._fault = f"no state from the hand: {error}"
                continue
            with self._lock:
                self._width_m = width_m
                self._advance()

    def _advance(self) -> None:
        """End and begin commands; the lock is held."""
        run = self._run
        if run is not None:
            if run.running:
                if time.monotonic() - run.started_s > self._config.command_timeout_s:
                    self._run, self._wanted = None, None
                    self._fault = (
                        f"the hand has not finished to {run.command.name.lower()} within "
                        f"{self._config.command_timeout_s:g} s: check the fingers, then recover"
                    )
                return
            self._run, self._done = None, run.command
            if run.failure is not None:
                self._fault, self._wanted = f"the hand failed to {run.command.name.lower()}: {run.failure}", None
        if self._fault is None and self._wanted is not None and self._wanted is not self._done:
            self._run = _Run(self._wanted, self._open if self._wanted is HandCommand.OPEN else self._close)

    def _open(self) -> bool:
        return self._gripper.move(self._open_width_m, self._config.speed_m_s)

    def _close(self) -> bool:
        # any width is a success: whether something was caught is judged by the width measured from then on
        self._gripper.grasp(0.0, self._config.speed_m_s, self._config.force_n, epsilon_inner=0.08, epsilon_outer=0.08)
        return True


def fingers_m(width_m: float) -> tuple[float, float]:
    """Positions of the two finger joints at an opening, metres."""
    half_m = float(np.clip(width_m, 0.0, HAND_WIDTH_MAX_M)) / 2
    return half_m, half_m
