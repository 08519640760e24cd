"""The policy node: runs a policy bundle at its contract's rate and sends increments to the bridge.

Lifecycle node ``policy``. The decisions are :mod:`vlajs.policy.runner`'s; this module joins them to topics,
services and a clock. Ticks run on a thread of their own; the executor's thread receives.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future

from vlajs.nodes.commander import Commander, CommanderError
from vlajs.nodes.episode_server import EpisodeServer, Served
from vlajs.nodes.episode_thread import EpisodeReport, EpisodeThread
from vlajs.nodes.lifecycle import refuse_on, run_lifecycle_node
from vlajs.nodes.parameters import declare
from vlajs.nodes.policy_inputs import PolicyInputs
from vlajs.nodes.tick_clock import RobotClock, tick_clock
from vlajs.policy.bundle import PolicyBundle, load_bundle
from vlajs.policy.contract import Contract, ContractError
from vlajs.policy.deadline import NS_PER_S
from vlajs.policy.runner import (
    SOURCE,
    AgeLimits,
    EpisodeRunner,
    checked_stride,
    horizon_steps,
    limits_mismatch,
    object_topics,
    unknown_size,
)
from vlajs.states import PolicyPhase
from vlajs_msgs.srv import LoadCheckpoint


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
        declare(self, "stride", 1.0)
        self._commander = Commander(self, SOURCE)
        self._thread = EpisodeThread[EpisodeRunner](
            "policy", self._commander, self.get_logger(), tick=self._tick, publish=self._publish
        )
        self._bundle: PolicyBundle | None = None  # guarded by the thread's lock
        self._inputs: PolicyInputs | None = None
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="verify")

    # -- lifecycle ---------------------------------------------------------------------------------------------

    @refuse_on(ValueError, OSError)
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check the parameters, load the bundle, open the topics; refuse with the reason."""
        self._age_limits = self._age_limits_from_parameters()
        self._stride = checked_stride(self.get_parameter("stride").get_parameter_value().double_value)
        self._bundle = self._bundle_from_parameters()
        contract = self._bundle.contract
        self._tick_clock = tick_clock(self)
        self._inputs = PolicyInputs(self, self._tick_clock, object_topics(contract).values())
        self._server = EpisodeServer(
            self, "policy", self._thread, self._tick_clock, begin=self._begin, served=self._served, health=self._health
        )
        # rclpy awaits coroutines, its annotations do not say so
        self._loading = self.create_service(LoadCheckpoint, "/policy/load_checkpoint", self._on_load)  # type: ignore[arg-type]
        self.get_logger().info(
            f"loaded {contract.contract_id}: {contract.task}, {contract.control_rate_hz:g} Hz, "
            f"{horizon_steps(contract, self._stride)} steps of {self._stride:g} of their length"
        )
        return TransitionCallbackReturn.SUCCESS

    @refuse_on(CommanderError)
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From now on episodes may be started; refused while another commander is active."""
        self._thread.open()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the episode; its thread has gone when this returns."""
        self._thread.close("the policy node was deactivated")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close what configuration opened."""
        self._thread.close("the policy node was cleaned up")
        self._server.close()
        self.destroy_service(self._loading)
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
        if isinstance(self._tick_clock, RobotClock):
            self._tick_clock.close()
        self._thread.forget()
        self._bundle = None
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the episode."""
        self._thread.close("the policy node shut down")
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

    # -- loading -----------------------------------------------------------------------------------------------

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
        with self._thread.lock:
            running = self._thread.running
            self._bundle = bundle  # a running episode keeps the one it began with
            self._inputs.add_objects(object_topics(contract).values())
            if not running:
                self._thread.forget()
            self._thread.tell()
        response.success = True
        response.message = "loaded; it takes over after the running episode" if running else "loaded"
        response.task, response.contract_id = contract.task, contract.contract_id
        self.get_logger().info(f"loaded {contract.contract_id}")

    # -- episode -----------------------------------------------------------------------------------------------

    def _begin(self, task: str) -> EpisodeRunner:
        """A new episode of the loaded policy.

        Raises:
            ValueError: it may not start; the message is the reason.
        """
        assert self._bundle is not None, "services exist only while configured"
        assert self._inputs is not None, "configured"
        _check_task(self._bundle.contract, task)
        now_s = self._tick_clock.now_ns() / NS_PER_S
        episode = EpisodeRunner(self._bundle, self._inputs.readings(), self._age_limits, now_s, stride=self._stride)
        self.get_logger().info(f"episode {self._thread.number + 1} of {self._bundle.contract.contract_id} started")
        return episode

    def _tick(self, episode: EpisodeRunner) -> None:
        assert self._inputs is not None, "the thread is joined before cleanup"
        readings = self._inputs.readings()
        increment = episode.tick(readings, self._tick_clock.now_ns() / NS_PER_S)
        if increment is not None:
            contract_id = episode.bundle.contract.contract_id
            self._commander.send(increment, stamp_ns=readings.stamp_ns, contract_id=contract_id)

    # -- reports -----------------------------------------------------------------------------------------------

    def _publish(self, report: EpisodeReport) -> None:
        self._server.publish(report)

    def _served(self) -> Served:
        bundle = self._bundle if self._thread.episode is None else self._thread.episode.bundle
        assert bundle is not None, "configured"
        contract = bundle.contract
        steps = horizon_steps(contract, self._stride)
        return Served(task=contract.task, contract_id=contract.contract_id, horizon_steps=steps)

    def _health(self) -> list[DiagnosticStatus]:
        report = self._thread.report()
        assert self._bundle is not None, "configured"
        assert self._inputs is not None, "configured"
        ages_s = self._inputs.readings().ages_s
        trouble = report.phase in (PolicyPhase.STOPPED, PolicyPhase.REFUSED)
        phase = report.phase.name.lower()
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if trouble else DiagnosticStatus.OK,
            name="policy: episode",
            hardware_id=self._bundle.contract.contract_id,
            message=f"{phase}: {report.reason}" if report.reason else phase,
            values=[
                KeyValue(key="step", value=str(report.step)),
                KeyValue(key="overruns", value=str(report.overruns)),
                *(KeyValue(key=f"age of {topic}, s", value=f"{age_s:.3f}") for topic, age_s in ages_s.items()),
            ],
        )
        return [status]


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
