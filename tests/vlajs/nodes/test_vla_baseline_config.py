"""Parameters of the baseline node on a real node, without a process: what is taken, what is refused and why."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter

from tests.support.processes import own_domain
from tests.support.tester import own_context
from vlajs.nodes.vla_baseline_config import NodeConfig, config_of, declare_parameters
from vlajs.tasks import get_task
from vlajs.vla.presets import OPENVLA_BRIDGE

GOOD = {"backend": "vlajs", "task": "push_cube"}


@pytest.fixture(scope="module")
def context() -> Iterator[Context]:
    context = own_context(own_domain())
    yield context
    context.try_shutdown()


@pytest.fixture
def config(context: Context) -> Callable[..., NodeConfig]:
    """The configuration that a node with these parameters has."""

    def read(**parameters: Any) -> NodeConfig:
        given = [Parameter(name, value=value) for name, value in parameters.items()]
        node = Node("vla_baseline", context=context, parameter_overrides=given)
        try:
            declare_parameters(node)
            return config_of(node)
        finally:
            node.destroy_node()

    return read


def test_a_tasks_instruction_is_told_unless_there_is_another(config: Callable[..., NodeConfig]) -> None:
    read = config(**GOOD)
    assert (read.task, read.episode.instruction) == ("push_cube", get_task("push_cube").instruction)
    assert config(**GOOD, instruction="shove it").episode.instruction == "shove it"
    assert config(backend="vlajs", instruction="shove it").task == ""


def test_numbers_reach_the_one_they_are_for(config: Callable[..., NodeConfig]) -> None:
    read = config(**GOOD, horizon_s=20, overlap=True, answer_timeout_s=2.5, status_age_limit_s=0.4, stale_grace_s=0.2)
    assert (read.episode.horizon_s, read.episode.overlap, read.episode.stale_grace_s) == (20.0, True, 0.2)
    assert (read.server.limits.read_timeout_s, read.ages.status_s, read.ages.grace_s) == (2.5, 0.4, 0.2)
    assert read.server.retries.attempts == 1


def test_token_and_convention_are_read(config: Callable[..., NodeConfig], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("abc123\nsecond line\n")
    read = config(backend="openvla-rest", task="push_cube", convention="openvla-bridge", token_file=str(token))
    assert (read.server.token, read.server.convention) == ("abc123", OPENVLA_BRIDGE)
    assert "abc123" not in repr(read)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"backend": ""}, "backend is '': give what the server speaks, openvla-rest or openpi or vlajs"),
        ({"backend": "openvla-rest"}, "convention is empty, .*convention:=openvla-maniskill"),
        ({"backend": "openvla-rest", "convention": "mine"}, "unknown convention 'mine': known are openvla-maniskill"),
        ({"task": ""}, "instruction is empty"),
        ({"task": "juggle"}, "juggle"),
        ({"token_file": "/nowhere"}, "token_file /nowhere cannot be read"),
        ({"answer_timeout_s": 0.0}, "read_timeout_s = 0.0 is outside"),
        ({"image_encoding": "png"}, "image_encoding 'png'"),
        ({"state_age_limit_s": 3.0}, "state_s = 3.0 s: an age limit"),
        ({"stale_grace_s": -0.1}, "stale_grace_s|grace_s"),
        ({"max_speed_m_s": 3.0}, "max_speed_m_s = 3.0 is outside"),
        ({"horizon_s": float("inf")}, "horizon_s = inf is outside"),
    ],
)
def test_what_cannot_be_is_refused(config: Callable[..., NodeConfig], parameters: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config(**(GOOD | parameters))
