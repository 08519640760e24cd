"""What ``ros2 launch`` makes of a description, on a stand-in for ``launch``, which the wheels do not bring."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from vlajs.bringup import OPENVLA_BASELINE, TWIN
from vlajs.launch_description import Description


@dataclass
class Context:
    """Of a launch: what was typed, then the defaults."""

    launch_configurations: dict[str, str]


class DeclareLaunchArgument:
    """Fills in its default where nothing was typed, as the real one does."""

    def __init__(self, name: str, *, default_value: str | None, description: str) -> None:
        self.name, self.default_value = name, default_value

    def execute(self, context: Context) -> None:
        if self.name not in context.launch_configurations:
            assert self.default_value is not None, f"{self.name} is required"
            context.launch_configurations[self.name] = self.default_value


@dataclass
class OpaqueFunction:
    function: Callable[[Context], Any]

    def execute(self, context: Context) -> Any:
        return self.function(context)


@dataclass
class Other:
    """Any action that does nothing here."""

    values: dict[str, Any] = field(default_factory=dict)

    def execute(self, _context: Context) -> None:
        return None


def other(*_: Any, **values: Any) -> Other:
    return Other(values)


@pytest.fixture
def nodes_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, list[Any]]]:
    """Parameters of each node that ``ros2 launch`` would start with these words."""
    modules: dict[str, dict[str, Any]] = {
        "launch": {"LaunchContext": Context, "LaunchDescription": lambda entities: SimpleNamespace(entities=entities)},
        "launch.actions": {
            "DeclareLaunchArgument": DeclareLaunchArgument,
            "OpaqueFunction": OpaqueFunction,
            "RegisterEventHandler": other,
            "Shutdown": other,
        },
        "launch.event_handlers": {"OnShutdown": other},
        "launch_ros": {},
        "launch_ros.actions": {"Node": other},
    }
    for name, contents in modules.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "vlajs.launching", raising=False)
    launching = importlib.import_module("vlajs.launching")
    monkeypatch.delitem(sys.modules, "vlajs.launching")  # nobody else must meet the stand-ins

    def run(description: Description = TWIN, **typed: str) -> dict[str, list[Any]]:
        context = Context(dict(typed))
        results = [entity.execute(context) for entity in launching.launch_description(description).entities]
        return {node.values["name"]: node.values["parameters"] for node in results[-1]}

    return run


def test_defaults_that_nobody_typed_are_left_to_the_nodes(nodes_of: Callable[..., dict[str, list[Any]]]) -> None:
    nodes = nodes_of(objects_age_limit_s="0.05")
    assert nodes["policy"] == [{"use_sim_time": True, "objects_age_limit_s": 0.05}]
    (twin,), (bridge,) = nodes["twin"], nodes["franka_bridge"]
    # chosen once, for both
    assert twin == {"address": bridge["robot_ip"]}


def test_a_baseline_on_an_arm_is_launched_with_what_was_typed(nodes_of: Callable[..., dict[str, list[Any]]]) -> None:
    nodes = nodes_of(
        OPENVLA_BASELINE, robot_ip="172.16.0.2", backend="openvla-rest", convention="openvla-bridge", instruction="push"
    )
    assert nodes == {
        "franka_bridge": [{"use_sim_time": False, "robot_ip": "172.16.0.2"}],
        "vla_baseline": [
            {
                "use_sim_time": False,
                "backend": "openvla-rest",
                "convention": "openvla-bridge",
                "instruction": "push",
            }
        ],
    }
