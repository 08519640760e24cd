"""A launch as plain data: its nodes, their parameters, what a user may set. ``bringup.py`` has those there are."""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Value = bool | int | float | str | tuple[float, ...]
ALL_NODES = "/**"
"""Section of a parameter file for every node."""


@dataclass(frozen=True, kw_only=True)
class Argument:
    """Something a user may set with ``name:=value``.

    Attributes:
        name: as typed.
        kind: type of the value: ``str``, ``Path`` (an existing file), ``bool``, ``int`` or ``float``.
        default: its text when it is not given; a function is asked each time; None makes it required.
        description: one line for ``--show-args``.
        choices: the only values it may have; any if empty.
        nodes_own: the default is that of the node's parameter: passed on only when it is given, so that a site's
            parameter file counts.
    """

    name: str
    kind: type
    default: str | Callable[[], str] | None
    description: str
    nodes_own: bool = False
    choices: tuple[str, ...] = ()

    def default_text(self) -> str | None:
        """The default as text, None when the argument is required."""
        return self.default() if callable(self.default) else self.default

    def parse(self, text: str) -> Value:
        """The typed value of what a user typed.

        Raises:
            ValueError: not a value of this kind.
        """
        if self.choices and text not in self.choices:
            raise ValueError(f"{self.name}:={text}: expected {' or '.join(self.choices)}")
        if self.kind is bool:
            if text.lower() not in ("true", "false"):
                raise ValueError(f"{self.name}:={text}: expected true or false")
            return text.lower() == "true"
        if self.kind is Path:
            # nodes may run in another folder
            path = Path(text).expanduser().absolute() if text else None
            if path is not None and not path.is_file():
                raise ValueError(f"{self.name}:={text}: no such file")
            return str(path or "")
        try:
            value = self.kind(text)
        except ValueError as error:
            raise ValueError(f"{self.name}:={text}: expected a value of type {self.kind.__name__}") from error
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{self.name}:={text}: expected a finite number")
        return value


@dataclass(frozen=True)
class Use:
    """Stands for the value of an argument in the parameters of a node."""

    argument: str


@dataclass(frozen=True)
class Is:
    """Whether an argument has a value."""

    argument: str
    value: Value

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Whether it does among the resolved arguments of a launch."""
        return values[self.argument] == self.value


@dataclass(frozen=True)
class AnyOf:
    """Whether at least one of several arguments has a value."""

    conditions: tuple[Is, ...]

    def holds(self, values: Mapping[str, Value]) -> bool:
        """Whether it does among the resolved arguments of a launch."""
        return any(condition.holds(values) for condition in self.conditions)


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """One node of a launch: a process.

    Attributes:
        module: of the node in ``vlajs.nodes``, and the name of its executable in the ROS package ``vlajs``.
        name: of the node.
        parameters: ROS parameters; values, or :class:`Use` of an argument.
        condition: what must hold for the node to start; None: always.
        forced: what must hold, and parameters that then count more than the others, whatever the user gave.
    """

    module: str
    name: str
    parameters: Mapping[str, Value | Use] = field(default_factory=dict)
    condition: Is | AnyOf | None = None
    forced: tuple[Is, Mapping[str, Value]] | None = None


@dataclass(frozen=True, kw_only=True)
class Description:
    """A launch.

    Attributes:
        name: as typed after ``vlajs up``.
        summary: one line.
        arguments: what a user may set.
        nodes: in the order they start; they stop in the reverse order, so that what moves the arm outlives what
            commands it.
    """

    name: str
    summary: str
    arguments: tuple[Argument, ...]
    nodes: tuple[NodeSpec, ...]

    def resolve(self, given: Mapping[str, str]) -> dict[str, Value]:
        """Typed values of the arguments from the texts a user gave, without those left to the nodes.

        Raises:
            ValueError: an unknown or missing argument, a bad value, or a parameter file that is not for this launch;
                the message lists what is known.
        """
        known = {argument.name: argument for argument in self.arguments}
        if unknown := sorted(set(given) - set(known)):
            raise ValueError(
                f"{self.name} has no argument {', '.join(map(repr, unknown))}: known are {', '.join(known)}"
            )
        values: dict[str, Value] = {}
        for name, argument in known.items():
            if argument.nodes_own and name not in given:
                continue
            text = given.get(name, argument.default_text())
            if text is None:
                raise ValueError(f"{self.name} needs {name}:=...: {argument.description}")
            values[name] = argument.parse(text)
        if values.get("params_file"):
            _check_site_file(Path(str(values["params_file"])), {node.name for node in self.nodes})
        return values

    def selected(self, values: Mapping[str, Value]) -> list[NodeSpec]:
        """The nodes whose condition holds."""
        return [node for node in self.nodes if node.condition is None or node.condition.holds(values)]


def given_to(description: Description, before: Mapping[str, str], declared: Mapping[str, str]) -> dict[str, str]:
    """What a user gave to ``ros2 launch``, and the defaults that were chosen there and shown.

    Args:
        description: of the launch.
        before: launch configurations before the arguments were declared: what the user typed.
        declared: the same after it: defaults have been filled in.
    """
    names = [argument.name for argument in description.arguments if argument.name in before or not argument.nodes_own]
    return {name: declared[name] for name in names}


def parameters_of(node: NodeSpec, values: Mapping[str, Value]) -> dict[str, Value]:
    """The ROS parameters of a node, every :class:`Use` replaced by its value, or left out where there is none."""
    parameters = {
        name: values[value.argument] if isinstance(value, Use) else value
        for name, value in node.parameters.items()
        if not isinstance(value, Use) or value.argument in values
    }
    forced = node.forced[1] if node.forced is not None and node.forced[0].holds(values) else {}
    return {**parameters, **forced}


def _check_site_file(path: Path, nodes: set[str]) -> None:
    """Refuse a parameter file with values for nobody: ROS would ignore them, limits included.

    Raises:
        ValueError: not YAML, no ``ros__parameters``, or a node that the launch does not have.
    """
    try:
        sections = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML ({' '.join(str(error).split())}): correct the file") from error
    if not isinstance(sections, dict):
        raise ValueError(f"{path} holds {sections!r}, expected a section for each node: {', '.join(sorted(nodes))}")
    for name, section in sections.items():
        if name != ALL_NODES and str(name).removeprefix("/") not in nodes:
            near = difflib.get_close_matches(str(name), nodes, n=1)
            raise ValueError(
                f"{path} has values for {name!r}, which this launch does not start, so that they would not be in "
                f"force: {f'did you mean {near[0]}?' if near else 'its nodes are ' + ', '.join(sorted(nodes))}"
            )
        if not (isinstance(section, dict) and set(section) == {"ros__parameters"}):
            raise ValueError(f"{path}: the section {name!r} must hold ros__parameters and nothing else")


def show_arguments(description: Description) -> str:
    """A table of what may be set."""
    lines = [f"{description.name}: {description.summary}", ""]
    for argument in description.arguments:
        if callable(argument.default):
            default = "chosen at start"
        else:
            default = "required" if argument.default is None else f"default {argument.default or 'empty'}"
        lines.append(f"  {argument.name}:=<{argument.kind.__name__.lower()}>  {argument.description} ({default})")
    return "\n".join(lines)


def given_from(pairs: list[str]) -> dict[str, str]:
    """``key:=value`` words as a mapping.

    Raises:
        ValueError: a word of another form, or a key given twice.
    """
    given: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition(":=")
        if not (separator and key):
            raise ValueError(f"{pair!r} is not of the form key:=value")
        if key in given:
            raise ValueError(f"{key} is given twice")
        given[key] = value
    return given


def as_texts(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Python values as a user would type them."""
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in arguments.items()}
