"""A node of the test's own in a domain of its own, spun by whoever waits."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from tests.support.processes import PATIENCE_S


def own_context(domain_id: int) -> Context:
    """A context that sees this machine's nodes of one domain."""
    context = Context()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        rclpy.init(context=context, domain_id=domain_id)
    return context


class Tester:
    """Calls services and waits for messages. Callbacks run only within :meth:`until` and what calls it."""

    __test__ = False  # no test class, whatever its name

    def __init__(self, name: str, domain_id: int) -> None:
        """Join the domain."""
        self.context = own_context(domain_id)
        self.node = Node(name, context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Spin until the condition is met; fails with ``what`` was waited for."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline_s, f"waited {PATIENCE_S:g} s for {what}{self.told()}"
            self.executor.spin_once(timeout_sec=0.005)

    def told(self) -> str:
        """What to add to a failure's message."""
        return ""

    def call(self, client: Any, request: Any) -> Any:
        """The answer of a service, waited for."""
        self.until(client.service_is_ready, f"service {client.srv_name}")
        future = client.call_async(request)
        self.until(future.done, f"an answer from {client.srv_name}")
        return future.result()

    def close(self) -> None:
        """Leave the domain."""
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()
