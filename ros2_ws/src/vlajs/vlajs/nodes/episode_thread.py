"""One episode at a time on a thread of its own, for a node that may command the arm.

Whatever ends the ticks ends the episode: no command follows, the bridge holds the arm, and the reason is told.
"""

# pyright: reportPrivateImportUsage=false
# (rclpy does not mark its public names as exported)

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from rclpy.impl.rcutils_logger import RcutilsLogger

from vlajs.episode import Episode
from vlajs.nodes.commander import Commander
from vlajs.policy.deadline import ClockStalledError, TickClock, run_ticks
from vlajs.states import PolicyPhase

JOIN_TIMEOUT_S = 5.0
WARNING_PERIOD_S = 2.0

E = TypeVar("E", bound=Episode)


@dataclass(frozen=True, kw_only=True)
class EpisodeReport:
    """What is told of the newest episode, or of the attempt to start one.

    Attributes:
        phase: IDLE before the first episode, REFUSED after a start that was refused, else the episode's.
        reason: why the phase is what it is; empty when there is nothing to say.
        number: episodes begun.
        step: the episode's; 0 without one.
        overruns: deadlines that the episode has missed.
    """

    phase: PolicyPhase
    reason: str
    number: int
    step: int
    overruns: int


class EpisodeThread(Generic[E]):
    """Starts, ticks, stops and joins the episodes of one commander.

    Attributes:
        lock: held in every tick and every report; guards what is here, the commander, and what a node's tick shares
            with its callbacks.
        episode: the newest; None before the first.
        number: episodes begun.
    """

    def __init__(
        self,
        name: str,
        commander: Commander,
        logger: RcutilsLogger,
        *,
        tick: Callable[[E], None],
        publish: Callable[[EpisodeReport], None],
    ) -> None:
        """Nothing runs before :meth:`start`.

        Args:
            name: of the node's topics and services, ``/<name>/stop``.
            commander: opened and closed here.
            logger: of the node.
            tick: what is done at every deadline, the lock held; the episode decides, the node sends.
            publish: told, the lock held, whenever what there is to tell has changed.
        """
        self.lock = threading.RLock()
        self.episode: E | None = None
        self.number = 0
        self._name, self._commander, self._logger = name, commander, logger
        self._tick, self._publish = tick, publish
        self._open = False
        self._refused = ""
        self._overruns = 0
        self._told: tuple[object, ...] = ()
        self._cancel = threading.Event()
        self._thread: threading.Thread | None = None

    # -- who may command -----------------------------------------------------------------------------------------

    def open(self) -> None:
        """From now on episodes may be started.

        Raises:
            CommanderError: another commander is active.
        """
        self._commander.open()
        self._open = True

    def close(self, reason: str) -> None:
        """End the episode and command nothing any more; its thread has gone on return. May be called twice."""
        self._open = False
        try:
            self.end(reason)
        finally:  # a thread that does not end may not go on commanding
            with self.lock:
                self._commander.close()

    def end_beside_another(self) -> None:
        """End a running episode when another commander has come up; to be called again and again."""
        with self.lock:
            if self.episode is not None and self.episode.active and (rival := self._commander.rival()):
                self._logger.error(f"the episode ends: {rival}")
                self.episode.stop(rival)

    # -- episodes ------------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether an episode goes on."""
        return self.episode is not None and self.episode.active

    def start(self, begin: Callable[[], E], clock: TickClock) -> None:
        """Start the thread of the episode that ``begin`` gives.

        Raises:
            ValueError: it may not start, for a reason of ``begin`` or of this class; the message is the reason.
        """
        if not self.running:
            self._join()  # outside the lock, which the thread of the episode before may still need to end
        with self.lock:
            try:
                self._require_free()
                episode = begin()
            except ValueError as error:
                self._logger.warning(f"start refused: {error}")
                if not self.running:
                    self._refused = str(error)
                    self.tell()
                raise
            self.episode = episode
            self.number += 1
            self._overruns, self._refused = 0, ""
            self._commander.begin()
            self._cancel = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(episode, clock, self._cancel), name="ticks")
            self._thread.start()
            self.tell()

    def _require_free(self) -> None:
        """Check that an episode may begin now.

        Raises:
            ValueError: it may not; the message is the reason.
        """
        if not self._open:
            raise ValueError(f"the {self._name} node is not active: activate it first")
        if self.running:
            raise ValueError(f"an episode is running: call /{self._name}/stop first")
        self._commander.require_alone()

    def end(self, reason: str) -> bool:
        """Stop the episode and wait for its thread, no command follows; whether one was running."""
        with self.lock:
            was_running = self.running
            if self.episode is not None:
                self.episode.stop(reason)
            self._cancel.set()
        self._join()
        return was_running

    def forget(self) -> None:
        """Tell of no episode any more, nor of a refusal; for when none is running."""
        with self.lock:
            self.episode, self._refused, self._told = None, "", ()

    def _run(self, episode: E, clock: TickClock, cancel: threading.Event) -> None:
        """The thread of one episode."""

        def tick(overruns: int) -> bool:
            with self.lock:
                self._overruns = overruns
                if episode.active:  # it may have been stopped since the last tick
                    self._tick(episode)
                self._tell_change()
                return episode.active

        try:
            run_ticks(clock, episode.tick_rate_hz, tick, cancel)
        except ClockStalledError as error:
            episode.stop(str(error))
        finally:  # whatever ended the ticks, nobody may believe that they go on
            with self.lock:
                episode.stop("the tick loop ended unexpectedly; see the log")
                self.tell()
            self._logger.info(f"episode ended after {episode.step} steps: {episode.reason}")

    def _join(self) -> None:
        """Wait for the thread of an episode that is over; it ends without another command.

        Raises:
            RuntimeError: it does not end.
        """
        if self._thread is not None:
            self._cancel.set()
            self._thread.join(JOIN_TIMEOUT_S)
            if self._thread.is_alive():
                raise RuntimeError(f"the tick thread did not end within {JOIN_TIMEOUT_S:g} s of being told to")
            self._thread = None

    # -- reports -------------------------------------------------------------------------------------------------

    def report(self) -> EpisodeReport:
        """What there is to tell now."""
        with self.lock:
            phase, reason = PolicyPhase.IDLE, ""
            if self._refused:
                phase, reason = PolicyPhase.REFUSED, self._refused
            elif self.episode is not None:
                phase, reason = self.episode.phase, self.episode.reason
            step = 0 if self.episode is None else self.episode.step
            return EpisodeReport(phase=phase, reason=reason, number=self.number, step=step, overruns=self._overruns)

    def tell(self) -> None:
        """Publish what there is to tell."""
        with self.lock:
            report = self.report()
            self._told = _what_counts(report)
            self._publish(report)

    def _tell_change(self) -> None:
        """Publish at once what changed."""
        report = self.report()
        if _what_counts(report) == self._told:
            return
        if report.phase is PolicyPhase.RUNNING and report.reason:
            self._logger.warning(report.reason, throttle_duration_sec=WARNING_PERIOD_S)
        self.tell()


def _what_counts(report: EpisodeReport) -> tuple[object, ...]:
    """What is told at once when it changes: phase, reason, and the first step, from which a session counts."""
    return report.phase, report.reason, report.number, report.step > 0
