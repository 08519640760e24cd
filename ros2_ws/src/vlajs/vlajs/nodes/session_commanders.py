"""The nodes that may command the arm, as a session sees them: the policy node, and the baseline node if it compares.

One of them is active at a time (:mod:`vlajs.nodes.commander`); the session changes that between trials by lifecycle
transitions.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters
from rclpy.node import Node
from std_srvs.srv import Trigger

from vlajs.nodes.messages import LATCHED_QOS, stamp_ns_of
from vlajs.nodes.session_inputs import SessionInputs
from vlajs.policy.deadline import NS_PER_S
from vlajs.session.graph import PolicyView
from vlajs.session.records import COMMANDERS, Commander
from vlajs.states import PolicyPhase
from vlajs.tasks import get_task
from vlajs.vla.baseline import STEP_RATE_HZ
from vlajs_msgs.msg import PolicyState
from vlajs_msgs.srv import LoadCheckpoint, StartPolicy

NODE_OF: dict[Commander, str] = {"policy": "policy", "baseline": "vla_baseline"}
RECORDED_SETTINGS = (
    "backend",
    "url",
    "convention",
    "instruction",
    "task",
    "horizon_s",
    "image_age_limit_s",
    "overlap",
    "initial_width_m",
    "max_speed_m_s",
    "max_turn_rad_s",
)
"""Parameters of the baseline node that a session writes down."""


class CommanderView:
    """What one commander says of its episodes.

    Attributes:
        rate_hz: its steps a second.
    """

    def __init__(self, commander: Commander, inputs: SessionInputs, node: Node) -> None:
        """Listen to its state and know its services."""
        self.topic = f"/{commander}/state"
        self.start, self.stop = f"/{commander}/start", f"/{commander}/stop"
        self._inputs = inputs
        self._episode_before: int | None = None
        self._running_since_s: float | None = None
        self.rate_hz = STEP_RATE_HZ if commander == "baseline" else 0.0
        inputs.listen(PolicyState, self.topic, LATCHED_QOS, self._on_state)
        self.clients: dict[str, Any] = {
            self.start: node.create_client(StartPolicy, self.start),
            self.stop: node.create_client(Trigger, self.stop),
        }
        if commander == "policy":
            name = "/policy/load_checkpoint"
            self.clients[name] = node.create_client(LoadCheckpoint, name)

    def _on_state(self, message: PolicyState) -> None:
        begun = self.rate_hz > 0 and message.episode != self._episode_before and message.step > 0
        if begun and self._running_since_s is None:
            # the first word after the start may be a later tick's
            since_last_s = (message.step - 1) / self.rate_hz
            self._running_since_s = stamp_ns_of(message.header) / NS_PER_S - since_last_s

    def expect_episode(self) -> None:
        """What it says of the episode before does not count from now on; ``changed`` of the inputs is held."""
        self._episode_before = self._inputs.seen[self.topic].episode
        self._running_since_s = None

    def view(self) -> PolicyView | None:
        """Its last word on the running episode."""
        with self._inputs.changed:
            state: PolicyState = self._inputs.seen[self.topic]
            if state.episode == self._episode_before:
                return None
            return PolicyView(
                phase=PolicyPhase(state.phase),
                reason=state.reason,
                running_since_s=self._running_since_s,
                silent_s=time.monotonic() - self._inputs.heard_s[self.topic],
            )


def lifecycle_clients(node: Node) -> dict[str, Any]:
    """Clients of the transitions of both commanders and of the baseline's parameters, by service."""
    kinds = {"get_state": GetState, "change_state": ChangeState}
    clients: dict[str, Any] = {
        f"/{NODE_OF[commander]}/{what}": node.create_client(kind, f"/{NODE_OF[commander]}/{what}")
        for commander in COMMANDERS
        for what, kind in kinds.items()
    }
    name = f"/{NODE_OF['baseline']}/get_parameters"
    return clients | {name: node.create_client(GetParameters, name)}


def next_transition(state_id: int, wanted_id: int) -> int | None:
    """The transition that leads from a lifecycle state towards active or inactive; None when it is there."""
    if state_id == wanted_id:
        return None
    return {
        State.PRIMARY_STATE_UNCONFIGURED: Transition.TRANSITION_CONFIGURE,
        State.PRIMARY_STATE_INACTIVE: Transition.TRANSITION_ACTIVATE,
        State.PRIMARY_STATE_ACTIVE: Transition.TRANSITION_DEACTIVATE,
    }.get(state_id)


def bring(ask: Callable[[str, Any], Any], commander: Commander, *, active: bool) -> str:
    """Take a commander to active or inactive; why it does not go there, in words, or empty.

    Args:
        ask: calls a service by name with a request and returns its response.
        commander: which.
        active: whether it is to be active.
    """
    node = NODE_OF[commander]
    wanted = State.PRIMARY_STATE_ACTIVE if active else State.PRIMARY_STATE_INACTIVE
    for _ in range(3):  # unconfigured, inactive, active
        state = ask(f"/{node}/get_state", GetState.Request()).current_state
        transition = next_transition(state.id, wanted)
        if transition is None:
            return "" if state.id == wanted else f"node {node} is in state {state.label}: restart it"
        request = ChangeState.Request(transition=Transition(id=transition))
        if not ask(f"/{node}/change_state", request).success:
            return f"node {node} refuses to leave state {state.label}: its log says why"
    state = ask(f"/{node}/get_state", GetState.Request()).current_state
    return "" if state.id == wanted else f"node {node} does not stay in its state, it is {state.label}: who else does?"


def changes(ask: Callable[[str, Any], Any], commander: Commander) -> Iterator[str]:
    """Take the other commander to inactive, then this one to active; yields what :func:`bring` says of each."""
    for name in COMMANDERS:
        if name != commander:
            yield bring(ask, name, active=False)
    yield bring(ask, commander, active=True)


def settings_of(ask: Callable[[str, Any], Any]) -> dict[str, str]:
    """The baseline node's parameters that a session writes down, as text; the instruction is the one in force."""
    request = GetParameters.Request(names=list(RECORDED_SETTINGS))
    values = ask(f"/{NODE_OF['baseline']}/get_parameters", request).values
    settings = {name: text_of(value) for name, value in zip(RECORDED_SETTINGS, values, strict=True)}
    return settings | {"instruction": settings["instruction"] or get_task(settings["task"]).instruction}


def text_of(value: ParameterValue) -> str:
    """A parameter as text."""
    texts = {
        ParameterType.PARAMETER_BOOL: str(value.bool_value).lower(),
        ParameterType.PARAMETER_INTEGER: str(value.integer_value),
        ParameterType.PARAMETER_DOUBLE: f"{value.double_value:g}",
        ParameterType.PARAMETER_STRING: value.string_value,
    }
    return texts.get(value.type, "")
