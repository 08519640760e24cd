"""Episodes on a thread of their own, with a real commander on real DDS: how they start, end, and are refused."""

import threading
from collections.abc import Callable, Iterator

import pytest
from rclpy.node import Node

from tests.support.processes import own_domain, wait_for
from tests.support.tester import Tester
from vlajs.episode import Episode, still
from vlajs.nodes.commander import COMMAND_TOPIC, Commander
from vlajs.nodes.episode_thread import EpisodeReport, EpisodeThread
from vlajs.nodes.messages import RELIABLE_QOS
from vlajs.policy.deadline import ClockStalledError, SteadyClock
from vlajs.states import PolicyPhase
from vlajs_msgs.msg import EndEffectorDelta

DOMAIN_ID = own_domain()
IDLE, PREPARING, RUNNING, STOPPED, REFUSED = (
    PolicyPhase.IDLE,
    PolicyPhase.PREPARING,
    PolicyPhase.RUNNING,
    PolicyPhase.STOPPED,
    PolicyPhase.REFUSED,
)


class Steps(Episode):
    """Runs from its first tick on, and fails at a step if it is told to."""

    def __init__(self, *, fails_at: int = 0) -> None:
        super().__init__(tick_rate_hz=100.0, initial_width_m=0.08, stale_grace_s=0.1, refused_commands=0, now_s=0.0)
        self.fails_at = fails_at

    def tick(self) -> None:
        self.step += 1
        self.phase, self.reason = RUNNING, ""
        if self.step == self.fails_at:
            raise RuntimeError("a defect")


class StalledClock(SteadyClock):
    """Stops before the first deadline."""

    def wait_until(self, deadline_ns: int, cancel: threading.Event) -> bool:
        raise ClockStalledError("no /clock for 5 s of wall time: the twin stopped; restart it")


class Bench:
    """The thread of a node ``arm_mover``, and what it told and sent."""

    def __init__(self, node: Node, commander: Commander) -> None:
        self.commander = commander
        self.reports: list[EpisodeReport] = []
        self.ticks = 0
        self.thread = EpisodeThread[Steps](
            "mover", commander, node.get_logger(), tick=self.tick, publish=self.reports.append
        )

    def tick(self, episode: Steps) -> None:
        episode.tick()
        self.ticks += 1
        self.commander.send(still(0.08), stamp_ns=0, contract_id="")

    def start(self, episode: Callable[[], Steps] = Steps, clock: SteadyClock | None = None) -> None:
        self.thread.start(episode, clock or SteadyClock())

    def wait_for_phase(self, phase: PolicyPhase) -> EpisodeReport:
        wait_for(lambda: self.reports[-1].phase is phase, f"phase {phase}")
        return self.reports[-1]


@pytest.fixture(scope="module")
def mover() -> Iterator[tuple[Tester, Commander]]:
    """One for all: a commander waits for discovery once."""
    tester = Tester("arm_mover", DOMAIN_ID)
    yield tester, Commander(tester.node, "mover")
    tester.close()


@pytest.fixture
def bench(mover: tuple[Tester, Commander]) -> Iterator[Bench]:
    tester, commander = mover
    bench = Bench(tester.node, commander)
    bench.thread.open()
    yield bench
    bench.thread.close("the test is over")


@pytest.fixture
def rival(bench: Bench) -> Iterator[Tester]:
    """Another node that comes up while the bench's is open."""
    tester = Tester("rival", DOMAIN_ID)
    tester.node.create_publisher(EndEffectorDelta, COMMAND_TOPIC, RELIABLE_QOS)
    tester.until(lambda: "rival" in bench.commander.rival(), "the rival to be seen by its name")
    yield tester
    tester.close()
    wait_for(lambda: not bench.commander.rival(), "the rival to be gone")


def test_what_changes_is_told_once(bench: Bench) -> None:
    assert bench.thread.report() == EpisodeReport(phase=IDLE, reason="", number=0, step=0, overruns=0)
    bench.start()
    wait_for(lambda: bench.ticks >= 5, "ticks")
    assert bench.thread.end("enough")
    assert not bench.thread.end("again")
    told = [(report.phase, report.number, min(report.step, 1)) for report in bench.reports]
    assert told == [(PREPARING, 1, 0), (RUNNING, 1, 1), (STOPPED, 1, 1)]
    assert bench.reports[-1].reason == "enough"


def test_nothing_is_ticked_once_an_end_has_returned_and_the_next_episode_may_start(bench: Bench) -> None:
    for number in (1, 2):
        bench.start()
        wait_for(lambda: bench.ticks >= 2, "ticks")
        bench.thread.end("enough")
        assert not any(thread.name == "ticks" for thread in threading.enumerate())
        assert bench.reports[-1].number == number
        bench.ticks = 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_episode_that_raises_is_over_and_told(bench: Bench) -> None:
    bench.start(lambda: Steps(fails_at=3))
    assert bench.wait_for_phase(STOPPED).reason == "the tick loop ended unexpectedly; see the log"
    assert bench.ticks == 2  # nothing was sent in the tick that failed, nor after
    assert not bench.thread.running
    bench.start()
    bench.wait_for_phase(RUNNING)


def test_a_clock_that_stands_still_ends_the_episode(bench: Bench) -> None:
    bench.start(clock=StalledClock())
    assert bench.wait_for_phase(STOPPED).reason.startswith("no /clock for 5 s")
    assert bench.ticks == 0


def test_a_closed_thread_commands_nothing_and_starts_nothing(bench: Bench) -> None:
    bench.start()
    bench.wait_for_phase(RUNNING)
    bench.thread.close("the node was deactivated")
    assert bench.reports[-1].reason == "the node was deactivated"
    assert not bench.commander.is_open
    assert not any(thread.name == "ticks" for thread in threading.enumerate())
    with pytest.raises(ValueError, match="the mover node is not active: activate it first"):
        bench.start()
    assert bench.reports[-1].phase is REFUSED


def test_one_episode_at_a_time(bench: Bench) -> None:
    bench.start()
    bench.wait_for_phase(RUNNING)
    with pytest.raises(ValueError, match="an episode is running: call /mover/stop first"):
        bench.start()
    assert bench.thread.running
    assert bench.thread.report().phase is RUNNING  # what runs is told, not the refusal


def test_a_refused_start_is_told_until_one_is_accepted(bench: Bench) -> None:
    def refused() -> Steps:
        raise ValueError("the robot is in mode FAULT")

    with pytest.raises(ValueError, match="mode FAULT"):
        bench.start(refused)
    assert (bench.reports[-1].phase, bench.reports[-1].reason) == (REFUSED, "the robot is in mode FAULT")
    assert bench.reports[-1].number == 0
    bench.start()
    assert bench.wait_for_phase(RUNNING).number == 1
    bench.thread.end("enough")
    bench.thread.forget()
    assert bench.thread.report().phase is IDLE


def test_no_episode_starts_beside_another_commander(bench: Bench, rival: Tester) -> None:
    with pytest.raises(ValueError, match="rival may command the arm, too"):
        bench.start()
    assert bench.reports[-1].phase is REFUSED
    assert bench.ticks == 0


def test_an_episode_ends_when_another_commander_comes_up(bench: Bench, request: pytest.FixtureRequest) -> None:
    bench.start()
    bench.thread.end_beside_another()
    assert bench.thread.running
    request.getfixturevalue("rival")
    bench.thread.end_beside_another()
    assert not bench.thread.running, "a stopped episode is not ticked again, or it would run"
    assert "rival may command the arm, too" in bench.wait_for_phase(STOPPED).reason
