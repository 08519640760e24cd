"""A session's node as one that waits and calls services, from another thread than the one that receives."""

import time
from collections.abc import Callable
from typing import Any

from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future

from vlajs.nodes.session_inputs import SessionInputs
from vlajs.session.records import SessionError
from vlajs.tasks import Task

SERVICE_TIMEOUT_S = 5.0
POLL_S = 0.1


class ServiceCalls(Node):
    """What :class:`vlajs.nodes.session_graph.RosGraph` is made on.

    Attributes:
        check_nodes: asked whenever something is waited for; raises ``SessionError`` when a node that was started for
            the session has died.
        is_spun: whether the receiving thread lives; :func:`vlajs.nodes.session_graph.spinning` sets it.
    """

    def __init__(self, name: str, task: Task, *, on_twin: bool, check_nodes: Callable[[], None]) -> None:
        """Subscribe to what a session hears; the clients are the subclass's."""
        super().__init__(name, parameter_overrides=[Parameter("use_sim_time", value=on_twin)])
        self.check_nodes = check_nodes
        self.is_spun: Callable[[], bool] = lambda: True
        self._inputs = SessionInputs(self, task, on_twin=on_twin)
        self._clients_of: dict[str, Client] = {}

    def _check(self) -> None:
        """What would keep a wait from ever ending well.

        Raises:
            SessionError: the receiving thread or a node of ours has died.
        """
        if not self.is_spun():
            raise SessionError(
                "the session hears nothing any more: its receiving thread ended with the traceback above, a defect "
                "of vlajs: report it"
            )
        self.check_nodes()

    def _wait_until(self, met: Callable[[], bool], timeout_s: float) -> bool:
        """Whether ``met`` came true within ``timeout_s`` of wall time."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            with self._inputs.changed:
                if met():
                    return True
                if time.monotonic() > deadline_s:
                    return False
                self._inputs.changed.wait(POLL_S)
            self._check()

    def _call(self, name: str, request: Any, timeout_s: float = SERVICE_TIMEOUT_S) -> Any:
        """The response of a service.

        Raises:
            SessionError: no answer in time, or refused (``success`` false) with the server's message.
        """
        response = self._ask(name, request, timeout_s)
        if not response.success:
            raise SessionError(f"{name} was refused: {response.message}")
        return response

    def _ask(self, name: str, request: Any, timeout_s: float = SERVICE_TIMEOUT_S) -> Any:
        """The response of a service, whatever it says.

        Raises:
            SessionError: no answer in time.
        """
        client = self._clients_of[name]
        if not client.service_is_ready():
            raise SessionError(f"{name} is not there: did its node die?")
        future: Future = client.call_async(request)
        future.add_done_callback(lambda _: self._wake())
        if not self._wait_until(future.done, timeout_s):
            client.remove_pending_request(future)
            raise SessionError(f"{name} did not answer within {timeout_s:g} s: is its node alive?")
        return future.result()

    def _wake(self) -> None:
        with self._inputs.changed:
            self._inputs.changed.notify_all()

    def _set_parameters(self, service: str, values: dict[str, Any]) -> None:
        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        response = self._ask(service, SetParameters.Request(parameters=parameters))
        refused = [result.reason for result in response.results if not result.successful]
        if refused:
            raise SessionError(f"{service} refused: {'; '.join(refused)}")
