"""The Franka bridge: increments in, motion of one arm and its hand out.

Lifecycle node ``franka_bridge``. The decisions are :mod:`vlajs.control.bridge`'s, arm and hand are
:mod:`vlajs.robot`'s; this module joins them to topics and services. A thread of its own ticks and publishes at
absolute deadlines on the steady clock; commands act at once, in the executor's thread that receives them. Staleness
is judged by the arm's own clock, so the same node serves a real arm and the twin.
"""

# pyright: reportPrivateImportUsage=false
# (rclpy does not mark its public names as exported)

import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from rclpy.time import Time
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from vlajs.control.bridge import Bridge, BridgeConfig, BridgeStatus
from vlajs.control.command_filter import FilterConfig
from vlajs.control.gripper import GripperThresholds
from vlajs.control.guards import GuardConfig
from vlajs.control.target import TargetLimits
from vlajs.nodes.bridge_messages import (
    command_from,
    diagnostics_message,
    frame_refusal,
    joints_message,
    limits_message,
    stamped,
    status_message,
)
from vlajs.nodes.lifecycle import refuse_on, run_lifecycle_node
from vlajs.nodes.messages import RELIABLE_QOS, STREAM_QOS
from vlajs.nodes.parameters import declare
from vlajs.robot.arm import ArmConfig, ArmError, RobotArm
from vlajs.robot.hand import Hand, HandConfig
from vlajs.states import RobotMode
from vlajs.tasks import HOME_JOINTS_RAD
from vlajs_msgs.msg import EndEffectorDelta, RobotStatus

TICK_RATE_HZ = 100.0
STATE_PERIOD_NS = 7_500_000
"""Least time between two messages of the arm's state: a tick that is early is not left out, behind a twin at half pace
every other one is, whose readers would else do twice the work."""

STATUS_EVERY_TICKS = 5
DIAGNOSTICS_EVERY_TICKS = 100

CONFIG_CLASSES = (TargetLimits, FilterConfig, GuardConfig, GripperThresholds, ArmConfig, HandConfig)
"""Dataclasses whose fields are the node's parameters, under their own names and defaults."""


class BridgeNode(LifecycleNode):
    """See the module's description, and README.md of ``vlajs/control`` and ``vlajs/robot`` for the rules."""

    def __init__(self) -> None:
        """Declare the parameters; nothing is read or connected before configuration."""
        super().__init__("franka_bridge")
        for cls in CONFIG_CLASSES:
            for field in fields(cls):
                default = "" if field.name == "robot_ip" else field.default
                declare(self, field.name, list(default) if isinstance(default, tuple) else default)
        declare(self, "stale_after_s", 0.09)
        declare(self, "home_joints_rad", [float(angle) for angle in HOME_JOINTS_RAD])
        declare(self, "home_timeout_s", 30.0)
        declare(self, "connect_timeout_s", 10.0)
        self._arm: RobotArm | None = None
        self._hand: Hand | None = None
        self._bridge: Bridge | None = None
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self._background = ThreadPoolExecutor(max_workers=2, thread_name_prefix="bridge-service")
        self._late_ticks = 0
        self._state_ns = 0
        self._shown: tuple[RobotMode, float] | None = None

    # -- lifecycle ---------------------------------------------------------------------------------------------

    @refuse_on(ValueError, ArmError)
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check every parameter, then connect to arm and hand; nothing moves."""
        arm_config, hand_config = self._config(ArmConfig), self._config(HandConfig)
        config = BridgeConfig(
            home_joints_rad=self._home_joints(),
            limits=self._config(TargetLimits),
            commands=self._config(FilterConfig),
            guards=self._config(GuardConfig),
            gripper=self._config(GripperThresholds),
            stale_after_s=self.get_parameter("stale_after_s").get_parameter_value().double_value,
        )
        self._limits = limits_message(config.limits)
        self._home_timeout_s = self._positive("home_timeout_s")
        connect_timeout_s = self._positive("connect_timeout_s")
        try:
            self._arm = self._connect(arm_config, connect_timeout_s)
            self._hand = Hand(arm_config.robot_ip, hand_config)
        except ArmError:
            self._disconnect()  # an arm without its hand is given up again
            raise
        self._bridge = Bridge(self._arm, self._hand, config)
        self._open_topics()
        self.get_logger().info(f"connected to the arm at {arm_config.robot_ip}")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to tick; commands are accepted from now on."""
        self._ending.clear()
        self._thread = threading.Thread(target=self._run, name="bridge-ticks")
        self._thread.start()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Brake; nothing moves and nothing is accepted any more."""
        self._halt()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the arm and the hand up, close the topics."""
        self._halt()
        self.destroy_subscription(self._commands)
        for service in self._services_open:
            self.destroy_service(service)
        for publisher in self._publishers_open:
            # it is a LifecyclePublisher, rclpy's annotations call it a Publisher
            self.destroy_lifecycle_publisher(publisher)  # type: ignore[arg-type]
        self._disconnect()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Brake and give the arm up."""
        self._halt()
        self._disconnect()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition failed half-way: brake and give the arm up."""
        self._halt()
        self._disconnect()
        return TransitionCallbackReturn.SUCCESS

    # -- configuration -----------------------------------------------------------------------------------------

    def _config(self, cls: type) -> Any:
        """A configuration dataclass from the parameters; raises ValueError with the reason."""
        values = {field.name: self.get_parameter(field.name).value for field in fields(cls)}
        # rclpy hands arrays out as array.array
        return cls(
            **{
                name: tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
                for name, value in values.items()
            }
        )

    def _positive(self, name: str) -> float:
        value = self.get_parameter(name).get_parameter_value().double_value
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} = {value}: expected a positive number of seconds")
        return value

    def _home_joints(self) -> tuple[float, ...]:
        joints = tuple(self.get_parameter("home_joints_rad").get_parameter_value().double_array_value)
        if len(joints) != 7 or not np.all(np.isfinite(joints)):
            raise ValueError(f"home_joints_rad = {list(joints)}: expected seven finite numbers")
        return joints

    def _connect(self, config: ArmConfig, timeout_s: float) -> RobotArm:
        """Connect, waiting for an arm (or twin) that is still starting; raises ArmError when time is up."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                return RobotArm(config)
            except ArmError as error:
                if time.monotonic() > deadline_s:
                    raise
                self.get_logger().warning(f"{error}; trying again", throttle_duration_sec=5.0)
                time.sleep(0.5)

    def _open_topics(self) -> None:
        self._joints_out = self.create_lifecycle_publisher(JointState, "/franka/joint_states", STREAM_QOS)
        self._tcp_out = self.create_lifecycle_publisher(PoseStamped, "/franka/tcp_pose", STREAM_QOS)
        self._target_out = self.create_lifecycle_publisher(PoseStamped, "/franka/target_pose", STREAM_QOS)
        self._status_out = self.create_lifecycle_publisher(RobotStatus, "/franka/status", RELIABLE_QOS)
        self._diagnostics_out = self.create_lifecycle_publisher(DiagnosticArray, "/diagnostics", 10)
        self._publishers_open = [
            self._joints_out, self._tcp_out, self._target_out, self._status_out, self._diagnostics_out
        ]  # fmt: skip
        self._commands = self.create_subscription(
            EndEffectorDelta,
            "/command/ee_delta",
            self._on_command,
            RELIABLE_QOS,
        )
        # reentrant: an awaited /franka/home must not keep /franka/stop waiting
        group = ReentrantCallbackGroup()
        # rclpy takes coroutines too, though its type hints do not say so
        callbacks: dict[str, Any] = {
            "stop": self._on_stop,
            "release": self._on_release,
            "recover": self._on_recover,
            "home": self._on_home,
        }
        self._services_open = [
            self.create_service(Trigger, f"/franka/{name}", callback, callback_group=group)
            for name, callback in callbacks.items()
        ]

    def _halt(self) -> None:
        """Brake and end the ticks; the latched stop stays until the node is configured again."""
        if self._bridge is not None:
            reason = self._bridge.stop()
            if reason is not None:
                self.get_logger().error(f"braking: {reason}")
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _disconnect(self) -> None:
        if self._arm is not None:
            self._arm.close()
        if self._hand is not None:
            self._hand.close()
        self._arm = self._hand = self._bridge = None

    # -- commands and services ---------------------------------------------------------------------------------

    def _on_command(self, message: EndEffectorDelta) -> None:
        bridge = self._bridge
        if bridge is None or self._thread is None:
            return
        now = self.get_clock().now()
        if (unreadable := frame_refusal(message)) is not None:
            refusal = bridge.refuse(unreadable)
        else:
            refusal = bridge.accept(command_from(message, now.nanoseconds))
        if refusal is not None:
            self.get_logger().warning(f"command refused: {refusal}", throttle_duration_sec=1.0)
            return
        self._publish_target(bridge.status(), now)

    def _on_stop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        bridge = self._running_bridge()
        return _answer(response, bridge.stop() if bridge else NOT_ACTIVE, "stopped; /franka/release ends it")

    def _on_release(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        bridge = self._running_bridge()
        return _answer(response, bridge.release() if bridge else NOT_ACTIVE, "released")

    async def _on_recover(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Answers when the arm has recovered; meanwhile other requests are served."""
        bridge = self._running_bridge()
        reason = NOT_ACTIVE if bridge is None else await self._in_background(bridge.recover)
        return _answer(response, reason, "recovered")

    async def _on_home(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Answers when the arm is there, or will not come; meanwhile other requests are served."""
        bridge = self._running_bridge()
        reason = NOT_ACTIVE if bridge is None else bridge.home()
        if bridge is not None and reason is None:
            reason = await self._in_background(lambda: self._wait_home(bridge))
        return _answer(response, reason, "home")

    def _wait_home(self, bridge: Bridge) -> str | None:
        deadline_s = time.monotonic() + self._home_timeout_s
        while bridge.mode == RobotMode.HOMING:
            if time.monotonic() > deadline_s:
                bridge.stop()
                return f"not home within {self._home_timeout_s:g} s: stopped"
            time.sleep(0.02)
        if bridge.mode == RobotMode.READY:
            return None
        return f"homing ended in mode {bridge.mode.name}; {'; '.join(bridge.status().faults)}"

    def _in_background(self, work: Callable[[], str | None]) -> Future:
        """The result of a blocking call made on another thread, to be awaited: the executor goes on meanwhile."""
        done = Future()
        self._background.submit(work).add_done_callback(lambda job: done.set_result(job.result()))
        return done

    def _running_bridge(self) -> Bridge | None:
        return None if self._thread is None else self._bridge

    # -- the tick thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Tick at absolute deadlines until told to end; whatever else ends it brakes the arm and the node."""
        bridge = self._bridge
        assert bridge is not None, "active nodes are configured"
        period_s = 1.0 / TICK_RATE_HZ
        deadline_s = time.monotonic()
        ticks = 0
        try:
            while not self._ending.is_set():
                bridge.tick()
                self._publish(bridge.status(), ticks)
                ticks += 1
                deadline_s += period_s
                ahead_s = deadline_s - time.monotonic()
                if ahead_s > 0:
                    time.sleep(ahead_s)
                elif ahead_s < -period_s:  # never make up for missed ticks in a burst
                    self._late_ticks += int(-ahead_s / period_s)
                    deadline_s = time.monotonic()
        finally:
            if not self._ending.is_set():
                bridge.stop()
                self.get_logger().fatal("the bridge's loop ended unexpectedly: the arm was stopped")
                self.context.try_shutdown()

    def _publish(self, status: BridgeStatus, ticks: int) -> None:
        now = self.get_clock().now()
        if status.arm is not None and status.mode != RobotMode.DISCONNECTED and self._is_due(now):
            self._joints_out.publish(joints_message(status.arm, status.hand, now))
            self._tcp_out.publish(stamped(status.arm.tcp_in_base, now))
            self._publish_target(status, now)
        # what the hand was told is an observation of policies that grasp: it must not be 50 ms old
        shown = (status.mode, status.hand.command_m)
        if ticks % STATUS_EVERY_TICKS == 0 or shown != self._shown:
            self._shown = shown
            self._status_out.publish(status_message(status, self._limits, now))
        if ticks % DIAGNOSTICS_EVERY_TICKS == 0:
            self._diagnostics_out.publish(self._diagnostics(status, now))

    def _is_due(self, now: Time) -> bool:
        """Whether it is time for the arm's state, in robot time: behind a twin at half pace at every other tick."""
        passed_ns = now.nanoseconds - self._state_ns
        due = not 0 <= passed_ns < STATE_PERIOD_NS
        self._state_ns = now.nanoseconds if due else self._state_ns
        return due

    def _publish_target(self, status: BridgeStatus, now: Time) -> None:
        if status.target_in_base is not None:
            self._target_out.publish(stamped(status.target_in_base, now))

    def _diagnostics(self, status: BridgeStatus, now: Time) -> DiagnosticArray:
        robot_ip = str(self.get_parameter("robot_ip").value)
        return diagnostics_message(status, robot_ip, self._late_ticks, now)


NOT_ACTIVE = "the bridge is not active: activate it first"


def _answer(response: Trigger.Response, reason: str | None, success: str) -> Trigger.Response:
    response.success = reason is None
    response.message = success if reason is None else reason
    return response


def main() -> int:
    """Run the node until a signal; the process's exit code."""
    # ticks and commands share Python's lock: hand it over sooner than every 5 ms
    sys.setswitchinterval(1e-3)
    # one thread, so that commands are taken in order; what may block is awaited
    return run_lifecycle_node(BridgeNode, executor_threads=1)


if __name__ == "__main__":
    sys.exit(main())
