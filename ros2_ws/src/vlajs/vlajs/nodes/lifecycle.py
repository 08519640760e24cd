"""Runs one lifecycle node as a process: start by itself, stop cleanly on a signal, say why in the exit code."""

# pyright: reportPrivateImportUsage=false
# (rclpy does not mark its public names as exported)

import functools
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions

from vlajs.nodes.parameters import ParameterError, declare, refuse_unknown

SIGNAL_POLL_S = 0.1
"""Longest time between a signal and the start of winding down."""

SAME_REQUEST_S = 2.0
"""Signals within this time of the first are taken for the same request."""

NodeT = TypeVar("NodeT", bound=LifecycleNode)


Transition = Callable[[LifecycleState], TransitionCallbackReturn]
NodeTransition = Callable[[NodeT, LifecycleState], TransitionCallbackReturn]


def refuse_on(*refusals: type[Exception]) -> Callable[[NodeTransition[NodeT]], NodeTransition[NodeT]]:
    """Decorate a transition callback: the named errors are logged as the reason and refuse the transition.

    Args:
        refusals: errors that mean "not with these parameters", for instance ``ValueError``; their message is
            what the user reads. Any other error fails the transition, with a traceback.
    """

    def decorate(callback: NodeTransition[NodeT]) -> NodeTransition[NodeT]:
        @functools.wraps(callback)
        def guarded(node: NodeT, state: LifecycleState) -> TransitionCallbackReturn:
            try:
                return callback(node, state)
            except refusals as error:
                node.get_logger().error(f"{callback.__name__} refused: {error}")
                return TransitionCallbackReturn.FAILURE

        return guarded

    return decorate


def run_lifecycle_node(factory: Callable[[], LifecycleNode], *, executor_threads: int = 2) -> int:
    """Create a lifecycle node, configure and activate it, spin until a signal, wind it down.

    The node gets two parameters (bool, default true): with ``autostart`` false it waits unconfigured for whoever
    manages it, with ``start_active`` false configured. A parameter that the node does not have, or that is of another
    type, refuses the start. On SIGINT or SIGTERM the node is deactivated and cleaned up while its context is still
    valid, so a last message or command can be sent; a signal more than 2 s later interrupts that. ``on_deactivate``
    stops what ``on_activate`` started, ``on_cleanup`` frees what ``on_configure`` took.

    Args:
        factory: makes the node, after rclpy has been initialised; usually the node's class.
        executor_threads: 1 for callbacks one after another, more for callback groups that may block.

    Returns:
        The process's exit code: 0 after a signal or a shutdown from outside, 1 if starting was refused (the
        reason has been logged).

    Raises:
        Exception: whatever a callback raised; the node has been wound down by then.
        ValueError: ``executor_threads`` below 1.
    """
    if executor_threads < 1:
        raise ValueError(f"executor_threads is {executor_threads}, at least 1 is needed")
    stop = threading.Event()
    if not initialise():
        return 1
    try:
        with _signals_set(stop):
            try:
                node = factory()
            except ParameterError as error:
                get_logger("vlajs").fatal(f"{error}: exiting")
                return 1
            _log_failing_transitions(node)
            executor: Executor = (
                SingleThreadedExecutor() if executor_threads == 1 else MultiThreadedExecutor(executor_threads)
            )
            executor.add_node(node)
            try:
                if not _start(node):
                    return 1
                while rclpy.ok() and not stop.is_set():
                    executor.spin_once(timeout_sec=SIGNAL_POLL_S)
            except ExternalShutdownException:
                node.get_logger().info("the context was shut down from outside: ending")
            finally:
                if rclpy.ok():
                    _wind_down(node)
                executor.shutdown()
                node.destroy_node()
    finally:
        rclpy.try_shutdown()
    return 0


def initialise() -> bool:
    """Initialise rclpy; False, with the reason on standard error, if the process's ROS arguments are no good."""
    try:
        # rclpy's own handlers would invalidate the context first, and nothing could be sent while winding down.
        rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # what rclpy's errors have in common; they quote the file and its line
        reason = " ".join(str(error).split())
        print(
            f"the ROS arguments or parameter files cannot be read: {reason}; in YAML the numbers of one list are "
            "written alike, 0.0 beside 0.3 and not 0",
            file=sys.stderr,
        )
        return False
    return True


@contextmanager
def _signals_set(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set the event; a later one raises KeyboardInterrupt.

    Ctrl-C on a terminal reaches the whole process group, and a launcher passes it on as well: the same request
    twice, which must not cut winding down short.
    """
    first_s = 0.0

    def on_signal(signum: int, _frame: FrameType | None) -> None:
        nonlocal first_s
        if not stop.is_set():
            first_s = time.monotonic()
            stop.set()
        elif time.monotonic() - first_s > SAME_REQUEST_S:
            raise KeyboardInterrupt(f"second signal {signal.Signals(signum).name}")

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _log_failing_transitions(node: LifecycleNode) -> None:
    """Log what a transition callback raises; rclpy would drop it in silence and call ``on_error``."""

    def logged(callback: Transition) -> Transition:
        @functools.wraps(callback)
        def wrapper(state: LifecycleState) -> TransitionCallbackReturn:
            try:
                return callback(state)
            except Exception:  # whatever rclpy would swallow; it goes on as it would have
                node.get_logger().fatal(f"{callback.__name__} failed:\n{traceback.format_exc()}")
                raise

        return wrapper

    # rclpy keeps the callbacks it was given at construction; there is no public way to reach them
    for state_id, callback in node._callbacks.items():
        node._callbacks[state_id] = logged(callback)


def _start(node: LifecycleNode) -> bool:
    """Configure and activate as far as the parameters say so; False if the node refused."""
    try:
        autostart = declare(node, "autostart", True)
        start_active = declare(node, "start_active", True)
        refuse_unknown(node)
    except ParameterError as error:
        node.get_logger().fatal(f"{error}: exiting")
        return False
    if not autostart:
        return True
    transitions = (("configure", node.trigger_configure), ("activate", node.trigger_activate))
    for name, transition in transitions if start_active else transitions[:1]:
        if transition() != TransitionCallbackReturn.SUCCESS:
            node.get_logger().fatal(f"{name} did not succeed (see the reason above): exiting")
            return False
    return True


def _wind_down(node: LifecycleNode) -> None:
    """Take the node from any state to finalized."""
    if _state(node) == "active":
        node.trigger_deactivate()
    if _state(node) == "inactive":
        node.trigger_cleanup()
    if _state(node) != "finalized":
        node.trigger_shutdown()


def _state(node: LifecycleNode) -> str:
    # rclpy offers a node's own state only through a service
    return node._state_machine.current_state[1]
