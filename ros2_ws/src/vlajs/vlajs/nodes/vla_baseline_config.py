"""Parameters of the baseline node, checked."""

# pyright: reportPrivateImportUsage=false
# (rclpy does not mark its public names as exported)

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rclpy.node import Node

from vlajs.nodes.parameters import declare
from vlajs.policy.runner import AgeLimits
from vlajs.tasks import get_task
from vlajs.vla.backend import VlaConfig
from vlajs.vla.baseline import BaselineConfig
from vlajs.vla.caller import Retries
from vlajs.vla.client import BACKENDS
from vlajs.vla.endpoint import token_from
from vlajs.vla.errors import VlaConfigError
from vlajs.vla.images import RAW
from vlajs.vla.presets import preset
from vlajs.vla.transport import Limits

_EPISODE_FIELDS = tuple(field for field in fields(BaselineConfig) if field.name != "instruction")


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """What the node was told.

    Attributes:
        server: which VLA.
        episode: how it is run.
        ages: oldest readings of the robot to act on.
        task: named by whoever starts an episode; empty for a free instruction.
    """

    server: VlaConfig
    episode: BaselineConfig
    ages: AgeLimits
    task: str


def declare_parameters(node: Node) -> None:
    """Declare them, with their defaults."""
    server, ages = VlaConfig(backend="vlajs"), AgeLimits()
    for name, default in (
        ("backend", ""),
        ("url", server.url),
        ("convention", ""),
        ("token_file", ""),
        ("ca_file", ""),
        ("image_encoding", RAW),
        ("answer_timeout_s", 5.0),
        ("task", ""),
        ("instruction", ""),
        ("state_age_limit_s", ages.state_s),
        ("status_age_limit_s", ages.status_s),
    ):
        declare(node, name, default)
    for field in _EPISODE_FIELDS:
        declare(node, field.name, field.default)


def config_of(node: Node) -> NodeConfig:
    """The parameters.

    Raises:
        ValueError: the first one that cannot be; the message says what to do.
    """
    task = _text(node, "task")
    instruction = _text(node, "instruction") or (get_task(task).instruction if task else "")
    values: dict[str, Any] = {field.name: node.get_parameter(field.name).value for field in _EPISODE_FIELDS}
    ages = AgeLimits(
        state_s=_number(node, "state_age_limit_s"),
        status_s=_number(node, "status_age_limit_s"),
        grace_s=_number(node, "stale_grace_s"),
    )
    return NodeConfig(
        server=_server(node),
        episode=BaselineConfig(instruction=instruction, **values),
        ages=ages,
        task=task,
    )


def _server(node: Node) -> VlaConfig:
    backend, convention = _text(node, "backend"), _text(node, "convention")
    if backend not in BACKENDS:
        raise VlaConfigError(f"backend is {backend!r}: give what the server speaks, {' or '.join(BACKENDS)}")
    if backend == "openvla-rest" and not convention:
        raise VlaConfigError(
            "convention is empty, and an openvla-rest server never says what its actions mean: give the one of its "
            "weights (convention:=openvla-maniskill or openvla-bridge)"
        )
    token_file, ca_file = _text(node, "token_file"), _text(node, "ca_file")
    return VlaConfig(
        backend=backend,
        url=_text(node, "url"),
        token=token_from(Path(token_file).expanduser()) if token_file else None,
        ca_file=ca_file or None,
        convention=preset(convention) if convention else None,
        image_encoding=_text(node, "image_encoding"),
        limits=Limits(read_timeout_s=_number(node, "answer_timeout_s")),
        # a question asked again would be about an old picture: the episode asks about a new one
        retries=Retries(attempts=1),
    )


def _text(node: Node, name: str) -> str:
    return node.get_parameter(name).get_parameter_value().string_value


def _number(node: Node, name: str) -> float:
    return node.get_parameter(name).get_parameter_value().double_value
