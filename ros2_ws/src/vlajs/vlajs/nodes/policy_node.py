"""The policy node: runs a policy bundle at its contract's rate and sends increments to the bridge.

Lifecycle node ``policy``. The decisions are :mod:`vlajs.policy.runner`'s; this module joins them to topics,
services and a clock. Ticks run on a thread of their own; the executor's thread receives.
"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from std_srvs.srv import Trigger

from vlajs.nodes.commander import Commander, CommanderError
from vlajs.nodes.lifecycle import refuse_on, run_lifecycle_node
from vlajs.nodes.messages import LATCHED_QOS
from vlajs.nodes.parameters import declare
from vlajs.nodes.policy_inputs import PolicyInputs
from vlajs.nodes.tick_clock import RobotClock, tick_clock
from vlajs.policy.actions import Increment
from vlajs.policy.bundle import PolicyBundle, load_bundle
from vlajs.policy.contract import Contract, ContractError
from vlajs.policy.deadline import NS_PER_S, ClockStalledError, run_ticks
from vlajs.policy.runner import SOURCE, AgeLimits, EpisodeRunner, limits_mismatch, object_topics, unknown_size
from vlajs.states import PolicyPhase
from vlajs_msgs.msg import PolicyState
from vlajs_msgs.srv import LoadCheckpoint, StartPolicy

STATE_RATE_HZ = 5.0
ALONE_PERIOD_S = 0.5
JOIN_TIMEOUT_S = 5.0


class PolicyNode(LifecycleNode):
    """Policy bundle in, increments out; see README.md of this folder for the interface."""

    def __init__(self) -> None:
        """Declare the parameters; nothing is read before configuration."""
        super().__init__("policy")
        defaults = AgeLimits()
        declare(self, "checkpoint", "")
        declare(self, "state_age_limit_s", defaults.state_s)
        declare(self, "status_age_limit_s", defaults.status_s)
        declare(self, "objects_age_limit_s", defaults.objects_s)
        declare(self, "stale_grace_s", defaults.grace_s)
        self._lock = threading.RLock()  # guards _bundle, _episode, _refused, _commander and every publication
        self._bundle: PolicyBundle | None = None
        self._episode: EpisodeRunner | None = None
        self._episodes = 0
        self._overruns = 0
        self._commander = Commander(self, SOURCE)
        self._refused = ""
        self._published: tuple[PolicyPhase, str, int] | None = None
        self._active = False
        self._cancel = threading.Event()
        self._thread: threading.Thread | None = None
        self._inputs: PolicyInputs | None = None
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="verify")

    # -- lifecycle ---------------------------------------------------------------------------------------------

    @refuse_on(ValueError, OSError)
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check the parameters, load the bundle, open the topics; refuse with the reason."""
        self._age_limits = self._age_limits_from_parameters()
        self._bundle = self._bundle_from_parameters()
        contract = self._bundle.contract
        self._tick_clock = tick_clock(self)
        self._inputs = PolicyInputs(self, self._tick_clock, object_topics(contract).values())
        self._states = self.create_publisher(PolicyState, "/policy/state", LATCHED_QOS)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._served = [
            self.create_service(StartPolicy, "/policy/start", self._on_start),
            self.create_service(Trigger, "/policy/stop", self._on_stop),
            # rclpy awaits coroutines, its annotations do not say so
            self.create_service(LoadCheckpoint, "/policy/load_checkpoint", self._on_load),  # type: ignore[arg-type]
        ]
        # reports keep coming when robot time stands still
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._reports = [
            self.create_timer(1.0 / STATE_RATE_HZ, self._publish_state, clock=steady),
            self.create_timer(1.0, self._publish_diagnostics, clock=steady),
            self.create_timer(ALONE_PERIOD_S, self._end_beside_another, clock=steady),
        ]
        self.get_logger().info(
            f"loaded {contract.contract_id}: {contract.task}, {contract.control_rate_hz:g} Hz, "
            f"{contract.horizon_steps} steps"
        )
        return TransitionCallbackReturn.SUCCESS

    @refuse_on(CommanderError)
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From now on episodes may be started; refused while another commander is active."""
        self._commander.open()
        self._active = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the episode; its thread has gone when this returns."""
        self._active = False
        self._end_episode("the policy node was deactivated")
        self._commander.close()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close what configuration opened."""
        self._end_episode("the policy node was cleaned up")
        for timer in self._reports:
            self.destroy_timer(timer)
        for service in self._served:
            self.destroy_service(service)
        for publisher in (self._states, self._diagnostics):
            self.destroy_publisher(publisher)
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
        if isinstance(self._tick_clock, RobotClock):
            self._tick_clock.close()
        self._bundle = self._episode = self._published = None
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the episode."""
        self._active = False
        self._end_episode("the policy node shut down")
        self._commander.close()
        return TransitionCallbackReturn.SUCCESS

    def _age_limits_from_parameters(self) -> AgeLimits:
        def seconds(name: str) -> float:
            return self.get_parameter(name).get_parameter_value().double_value

        return AgeLimits(
            state_s=seconds("state_age_limit_s"),
            status_s=seconds("status_age_limit_s"),
            objects_s=seconds("objects_age_limit_s"),
            grace_s=seconds("stale_grace_s"),
        )

    def _bundle_from_parameters(self) -> PolicyBundle:
        checkpoint = self.get_parameter("checkpoint").get_parameter_value().string_value
        if not checkpoint:
            raise ValueError("parameter checkpoint is empty: give the path of a .safetensors policy bundle")
        return load_bundle(Path(checkpoint))

    # -- services ----------------------------------------------------------------------------------------------

    def _on_start(self, request: StartPolicy.Request, response: StartPolicy.Response) -> StartPolicy.Response:
        if not self._running():
            self._join()  # outside the lock, which the thread of the episode before may still need to end
        with self._lock:
            bundle = self._bundle
            assert bundle is not None, "services exist only while configured"
            response.contract_id = bundle.contract.contract_id
            response.horizon_steps = bundle.contract.horizon_steps
            try:
                self._begin_episode(bundle, request.task)
                response.success, response.message = True, f"episode {self._episodes} started"
            except ValueError as error:
                response.success, response.message = False, str(error)
                self.get_logger().warning(f"start refused: {error}")
                if not self._running():
                    self._refused = str(error)
                    self._publish_state()
        return response

    def _begin_episode(self, bundle: PolicyBundle, task: str) -> None:
        """Start the thread of a new episode.

        Raises:
            ValueError: it may not start; the message is the reason.
        """
        if not self._active:
            raise ValueError("the policy node is not active: activate it first")
        if self._running():
            raise ValueError("an episode is running: call /policy/stop first")
        self._commander.require_alone()
        _check_task(bundle.contract, task)
        assert self._inputs is not None, "configured"
        now_s = self._tick_clock.now_ns() / NS_PER_S
        self._episode = EpisodeRunner(bundle, self._inputs.readings(), self._age_limits, now_s)
        self._episodes += 1
        self._commander.begin()
        self._overruns = 0
        self._refused = ""
        self._cancel = threading.Event()
        self._thread = threading.Thread(target=self._run_episode, args=(self._episode, self._cancel), name="ticks")
        self._thread.start()
        self.get_logger().info(f"episode {self._episodes} of {bundle.contract.contract_id} started")
        self._publish_state()

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """No command follows the answer."""
        with self._lock:
            was_running = self._running()
        self._end_episode("stopped on request")
        response.success = True
        response.message = "stopped" if was_running else "no episode was running"
        return response

    async def _on_load(
        self, request: LoadCheckpoint.Request, response: LoadCheckpoint.Response
    ) -> LoadCheckpoint.Response:
        """Verify the other bundle on a worker while the running one ticks on; it takes over at the next start."""
        verified: Future = Future()
        loading = self._worker.submit(load_bundle, Path(request.path))
        loading.add_done_callback(verified.set_result)
        await verified
        try:
            bundle = loading.result()
            if request.expected_task:
                _check_task(bundle.contract, request.expected_task)
            self._check_swap(bundle.contract)
        except (ContractError, OSError) as error:
            response.success, response.message = False, f"{error}; the loaded policy stays"
            self.get_logger().warning(f"load refused: {error}")
            return response
        self._swap(bundle, response)
        return response

    def _check_swap(self, contract: Contract) -> None:
        """Refuse a bundle that could not run here.

        Raises:
            ContractError: what does not match.
        """
        assert self._bundle is not None, "services exist only while configured"
        assert self._inputs is not None, "configured"
        rate_hz = self._bundle.contract.control_rate_hz
        if contract.control_rate_hz != rate_hz:
            raise ContractError(
                f"control rate {contract.control_rate_hz:g} Hz differs from the loaded policy's {rate_hz:g} Hz, "
                "which the bridge's time limits were chosen for: restart policy and bridge with the other policy"
            )
        if reason := unknown_size(contract):
            raise ContractError(reason)
        for topic, name in object_topics(contract).items():
            if self.count_publishers(topic) == 0:
                raise ContractError(f"its terms about {name!r} have no source: nobody publishes {topic}")
        robot = self._inputs.readings().robot
        if robot is not None and (reason := limits_mismatch(contract, robot.limits)):
            raise ContractError(reason)

    def _swap(self, bundle: PolicyBundle, response: LoadCheckpoint.Response) -> None:
        contract = bundle.contract
        assert self._inputs is not None, "configured"
        with self._lock:
            running = self._running()
            self._bundle = bundle  # a running episode keeps the one it began with
            self._inputs.add_objects(object_topics(contract).values())
            self._refused = ""
            if not running:
                self._episode = None
            self._publish_state()
        response.success = True
        response.message = "loaded; it takes over after the running episode" if running else "loaded"
        response.task, response.contract_id = contract.task, contract.contract_id
        self.get_logger().info(f"loaded {contract.contract_id}")

    # -- episode -----------------------------------------------------------------------------------------------

    def _running(self) -> bool:
        return self._episode is not None and self._episode.active

    def _run_episode(self, episode: EpisodeRunner, cancel: threading.Event) -> None:
        """The thread of one episode."""

        def tick(overruns: int) -> bool:
            return self._tick(episode, overruns)

        try:
            run_ticks(self._tick_clock, episode.bundle.contract.control_rate_hz, tick, cancel)
        except ClockStalledError as error:
            episode.stop(str(error))
        finally:  # whatever ended the ticks, nobody may believe that they go on
            with self._lock:
                episode.stop("the tick loop ended unexpectedly; see the log")
                self._publish_state()
            self.get_logger().info(f"episode ended after {episode.step} steps: {episode.reason}")

    def _tick(self, episode: EpisodeRunner, overruns: int) -> bool:
        with self._lock:
            self._overruns = overruns
            assert self._inputs is not None, "the thread is joined before cleanup"
            readings = self._inputs.readings()
            increment = episode.tick(readings, self._tick_clock.now_ns() / NS_PER_S)
            if increment is not None:
                self._send(increment, readings.stamp_ns, episode.bundle.contract.contract_id)
            self._publish_change()
            return episode.active

    def _send(self, increment: Increment, stamp_ns: int, contract_id: str) -> None:
        self._commander.send(
            increment.delta_pos_m,
            increment.delta_rotvec_rad,
            increment.gripper_width_m,
            stamp_ns=stamp_ns,
            contract_id=contract_id,
        )

    def _end_beside_another(self) -> None:
        """End a running episode when another commander has come up."""
        with self._lock:
            if self._episode is not None and self._episode.active and (rival := self._commander.rival()):
                self.get_logger().error(f"the episode ends: {rival}")
                self._episode.stop(rival)

    def _end_episode(self, reason: str) -> None:
        """Stop the episode and wait for its thread; no command follows."""
        with self._lock:
            if self._episode is not None:
                self._episode.stop(reason)
            self._cancel.set()
        self._join()

    def _join(self) -> None:
        """Wait for the thread of an episode that is over; it ends without another command."""
        if self._thread is not None:
            self._cancel.set()
            self._thread.join(JOIN_TIMEOUT_S)
            if self._thread.is_alive():
                raise RuntimeError(f"the tick thread did not end within {JOIN_TIMEOUT_S:g} s of being told to")
            self._thread = None

    # -- reports -----------------------------------------------------------------------------------------------

    def _phase(self) -> tuple[PolicyPhase, str]:
        if self._refused:
            return PolicyPhase.REFUSED, self._refused
        if self._episode is None:
            return PolicyPhase.IDLE, ""
        return self._episode.phase, self._episode.reason

    def _publish_change(self) -> None:
        if self._published != (*self._phase(), self._episodes):
            self._publish_state()

    def _publish_state(self) -> None:
        with self._lock:
            phase, reason = self._phase()
            self._published = (phase, reason, self._episodes)
            bundle = self._episode.bundle if self._episode is not None else self._bundle
            assert bundle is not None, "configured"
            message = PolicyState(phase=int(phase), episode=self._episodes, reason=reason, overruns=self._overruns)
            message.header.stamp = self.get_clock().now().to_msg()
            message.step = self._episode.step if self._episode is not None else 0
            message.horizon_steps = bundle.contract.horizon_steps
            message.task, message.contract_id = bundle.contract.task, bundle.contract.contract_id
            self._states.publish(message)

    def _publish_diagnostics(self) -> None:
        with self._lock:
            phase, reason = self._phase()
            step = self._episode.step if self._episode is not None else 0
            assert self._bundle is not None, "configured"
            assert self._inputs is not None, "configured"
            ages_s = self._inputs.readings().ages_s
            trouble = phase in (PolicyPhase.STOPPED, PolicyPhase.REFUSED)
            status = DiagnosticStatus(
                level=DiagnosticStatus.WARN if trouble else DiagnosticStatus.OK,
                name="policy: episode",
                hardware_id=self._bundle.contract.contract_id,
                message=f"{phase.name.lower()}: {reason}" if reason else phase.name.lower(),
                values=[
                    KeyValue(key="step", value=str(step)),
                    KeyValue(key="overruns", value=str(self._overruns)),
                    *(KeyValue(key=f"age of {topic}, s", value=f"{age_s:.3f}") for topic, age_s in ages_s.items()),
                ],
            )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def _check_task(contract: Contract, expected: str) -> None:
    """Refuse a policy for another task.

    Raises:
        ContractError: it is.
    """
    if contract.task != expected:
        raise ContractError(f"the policy's task is {contract.task!r}, {expected!r} was asked for; load a policy for it")


def main() -> int:
    """Run the node until a signal; returns the process's exit code."""
    return run_lifecycle_node(PolicyNode, executor_threads=1)


if __name__ == "__main__":
    sys.exit(main())
