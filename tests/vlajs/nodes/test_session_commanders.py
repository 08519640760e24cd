"""Lifecycle transitions between commanders, on nodes of a few lines."""

from typing import Any

import pytest
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters

from vlajs.nodes.session_commanders import RECORDED_SETTINGS, changes, settings_of

UNCONFIGURED, INACTIVE, ACTIVE = (
    State.PRIMARY_STATE_UNCONFIGURED,
    State.PRIMARY_STATE_INACTIVE,
    State.PRIMARY_STATE_ACTIVE,
)
LEADS_TO = {
    Transition.TRANSITION_CONFIGURE: INACTIVE,
    Transition.TRANSITION_ACTIVATE: ACTIVE,
    Transition.TRANSITION_DEACTIVATE: INACTIVE,
}


class Pair:
    """Two lifecycle nodes; one refuses to be activated beside the other."""

    def __init__(self, policy: int, vla_baseline: int) -> None:
        self.states = {"policy": policy, "vla_baseline": vla_baseline}
        self.done: list[tuple[str, int]] = []

    def ask(self, service: str, request: Any) -> Any:
        _, node, what = service.split("/")
        if what == "get_state":
            return GetState.Response(current_state=State(id=self.states[node], label=f"state {self.states[node]}"))
        transition = request.transition.id
        beside = [state for name, state in self.states.items() if name != node]
        if transition == Transition.TRANSITION_ACTIVATE and ACTIVE in beside:
            return ChangeState.Response(success=False)
        self.done.append((node, transition))
        self.states[node] = LEADS_TO[transition]
        return ChangeState.Response(success=True)


@pytest.mark.parametrize("policy", [UNCONFIGURED, INACTIVE, ACTIVE])
@pytest.mark.parametrize("baseline", [UNCONFIGURED, INACTIVE, ACTIVE])
def test_whatever_they_are_the_chosen_one_ends_up_active_alone(policy: int, baseline: int) -> None:
    pair = Pair(policy, baseline)
    assert list(changes(pair.ask, "baseline")) == ["", ""]
    assert pair.states == {"policy": INACTIVE, "vla_baseline": ACTIVE}
    assert list(changes(pair.ask, "policy")) == ["", ""]
    assert pair.states == {"policy": ACTIVE, "vla_baseline": INACTIVE}
    pair.done.clear()
    list(changes(pair.ask, "policy"))
    assert pair.done == []  # nothing is done twice


def test_the_other_one_goes_first() -> None:
    pair = Pair(ACTIVE, INACTIVE)
    list(changes(pair.ask, "baseline"))
    assert pair.done == [
        ("policy", Transition.TRANSITION_DEACTIVATE),
        ("vla_baseline", Transition.TRANSITION_ACTIVATE),
    ]


def test_one_that_cannot_come_or_refuses_is_named() -> None:
    finalized = Pair(State.PRIMARY_STATE_FINALIZED, INACTIVE)
    assert "node policy is in state" in next(changes(finalized.ask, "baseline"))

    class Stubborn(Pair):
        def ask(self, service: str, request: Any) -> Any:
            if service == "/policy/change_state":
                return ChangeState.Response(success=False)
            return super().ask(service, request)

    assert "node policy refuses to leave state" in next(changes(Stubborn(ACTIVE, INACTIVE).ask, "baseline"))


def test_settings_are_text_and_the_instruction_is_the_one_in_force() -> None:
    values = {
        "task": ParameterValue(type=ParameterType.PARAMETER_STRING, string_value="pick_cube"),
        "horizon_s": ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=60.0),
        "overlap": ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=True),
    }

    def ask(service: str, request: Any) -> Any:
        assert service == "/vla_baseline/get_parameters"
        return GetParameters.Response(values=[values.get(name, ParameterValue()) for name in request.names])

    settings = settings_of(ask)
    assert list(settings) == list(RECORDED_SETTINGS)
    assert (settings["horizon_s"], settings["overlap"], settings["url"]) == ("60", "true", "")
    assert settings["instruction"] == "pick up the cube"
