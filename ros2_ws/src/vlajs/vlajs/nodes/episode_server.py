"""What a node that runs episodes serves and publishes: ``/<name>/start``, ``/<name>/stop``, ``/<name>/state``."""

# pyright: reportPrivateImportUsage=false
# (rclpy does not mark its public names as exported)

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode
from std_srvs.srv import Trigger

from vlajs.nodes.episode_thread import E, EpisodeReport, EpisodeThread
from vlajs.nodes.messages import LATCHED_QOS
from vlajs.policy.deadline import TickClock
from vlajs_msgs.msg import PolicyState
from vlajs_msgs.srv import StartPolicy

STATE_RATE_HZ = 5.0
ALONE_PERIOD_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Served:
    """What runs, else what would.

    Attributes:
        task: what a start must name.
        contract_id: what tells it from another policy or model; empty while that is not known.
        horizon_steps: of an episode.
    """

    task: str
    contract_id: str
    horizon_steps: int


class EpisodeServer(Generic[E]):
    """Services, topics and timers of a configured node, around its :class:`EpisodeThread`."""

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        thread: EpisodeThread[E],
        clock: TickClock,
        *,
        begin: Callable[[str], E],
        served: Callable[[], Served],
        health: Callable[[], list[DiagnosticStatus]],
    ) -> None:
        """Open the topics.

        Args:
            node: whose they are.
            name: what their names begin with.
            thread: which runs the episodes; it is to report to :meth:`publish`.
            clock: of the ticks.
            begin: an episode of a task, or a ``ValueError`` with the reason why not; the thread's lock is held in this
                and the others.
            served: what runs, else what would.
            health: what goes to ``/diagnostics`` every second.
        """
        self._node, self._thread, self._clock = node, thread, clock
        self._begin, self._served, self._health = begin, served, health
        self._states = node.create_publisher(PolicyState, f"/{name}/state", LATCHED_QOS)
        self._diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._services = [
            node.create_service(StartPolicy, f"/{name}/start", self._on_start),
            node.create_service(Trigger, f"/{name}/stop", self._on_stop),
        ]
        # reports keep coming when robot time stands still
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timers = [
            node.create_timer(1.0 / STATE_RATE_HZ, thread.tell, clock=steady),
            node.create_timer(1.0, self._publish_diagnostics, clock=steady),
            node.create_timer(ALONE_PERIOD_S, thread.end_beside_another, clock=steady),
        ]

    def close(self) -> None:
        """Close the topics; no episode may be running."""
        for timer in self._timers:
            self._node.destroy_timer(timer)
        for service in self._services:
            self._node.destroy_service(service)
        for publisher in (self._states, self._diagnostics):
            self._node.destroy_publisher(publisher)

    def publish(self, report: EpisodeReport) -> None:
        """Publish the state."""
        served = self._served()
        message = PolicyState(
            phase=int(report.phase),
            episode=report.number,
            step=report.step,
            horizon_steps=served.horizon_steps,
            reason=report.reason,
            task=served.task,
            contract_id=served.contract_id,
            overruns=report.overruns,
        )
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._states.publish(message)

    def _on_start(self, request: StartPolicy.Request, response: StartPolicy.Response) -> StartPolicy.Response:
        try:
            self._thread.start(lambda: self._begin(request.task), self._clock)
            response.success, response.message = True, f"episode {self._thread.number} started"
        except ValueError as error:
            response.success, response.message = False, str(error)
        with self._thread.lock:
            served = self._served()
        response.contract_id, response.horizon_steps = served.contract_id, served.horizon_steps
        return response

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """No command follows the answer."""
        was_running = self._thread.end("stopped on request")
        response.success = True
        response.message = "stopped" if was_running else "no episode was running"
        return response

    def _publish_diagnostics(self) -> None:
        with self._thread.lock:
            array = DiagnosticArray(status=self._health())
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(array)
