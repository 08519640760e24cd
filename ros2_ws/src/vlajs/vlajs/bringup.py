"""What runs together, as plain data: the nodes of a launch, their parameters, and what a user may set.

``launch/*.launch.py`` turns a description into ``launch_ros`` actions (``vlajs.launching``); ``vlajs up`` and
:func:`vlajs.processes.running` start the very same nodes where ``launch`` is not installed.
"""

import difflib
import math
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Value = bool | int | float | str | tuple[float, ...]
LIBFRANKA_PORT = 1337
ALL_NODES = "/**"
"""Section of a parameter file for every node."""

_ADDRESS_ATTEMPTS = 50


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


def free_twin_address() -> str:
    """A loopback address on which no robot server listens, so that several twins fit on one machine.

    Raises:
        OSError: none of those tried was free.
    """
    for _ in range(_ADDRESS_ATTEMPTS):
        address = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(1, 254)}"
        with socket.socket() as probe:
            try:
                probe.bind((address, LIBFRANKA_PORT))
            except OSError:
                continue
            return address
    raise OSError(f"none of {_ADDRESS_ATTEMPTS} loopback addresses has port {LIBFRANKA_PORT} free: stop some twins")


def description_named(name: str) -> Description:
    """The launch of that name.

    Raises:
        ValueError: unknown; the message lists the known ones.
    """
    if name not in DESCRIPTIONS:
        raise ValueError(f"unknown launch {name!r}: known are {', '.join(DESCRIPTIONS)}")
    return DESCRIPTIONS[name]


_COMMON_ARGUMENTS = (
    Argument(
        name="params_file",
        kind=Path,
        default="",
        description="ROS parameter file with a site's own values for any node: workspace, speeds, thresholds",
    ),
    Argument(
        name="checkpoint",
        kind=Path,
        default="",
        description="policy bundle (.safetensors) that the policy node loads; needed unless policy:=false",
        nodes_own=True,
    ),
    Argument(name="policy", kind=bool, default="true", description="whether to start the policy node"),
    Argument(
        name="state_age_limit_s",
        kind=float,
        default="0.1",
        description="oldest robot state to act on, s",
        nodes_own=True,
    ),
    Argument(
        name="objects_age_limit_s",
        kind=float,
        default="0.2",
        description="oldest object pose to act on, s",
        nodes_own=True,
    ),
)


def _policy_node(use_sim_time: bool) -> NodeSpec:
    return NodeSpec(
        module="policy_node",
        name="policy",
        parameters={
            "use_sim_time": use_sim_time,
            "checkpoint": Use("checkpoint"),
            "state_age_limit_s": Use("state_age_limit_s"),
            "objects_age_limit_s": Use("objects_age_limit_s"),
        },
        condition=Is("policy", True),
    )


_CAMERA_ARGUMENTS = (
    Argument(
        name="detector", kind=Path, default="", description="trained detector of the pose estimator", nodes_own=True
    ),
    Argument(
        name="task",
        kind=str,
        default="",
        description="task whose objects the pose estimator looks for; that of the checkpoint if empty",
        nodes_own=True,
    ),
    Argument(
        name="annotated",
        kind=bool,
        default="false",
        description="whether the pose estimator publishes /perception/annotated",
        nodes_own=True,
    ),
)

TWIN_CAMERA_POSE = (1.245, 0.0, 0.685, 0.28211278, -0.64839215, -0.64839215, 0.28211278)
"""Pose of the optical frame of the twin's front camera in panda_link0: x, y, z in m, quaternion w, x, y, z."""


def _pose_estimator_node(use_sim_time: bool, condition: Is, parameters: Mapping[str, Value | Use]) -> NodeSpec:
    return NodeSpec(
        module="pose_estimator_node",
        name="pose_estimator",
        parameters={
            "use_sim_time": use_sim_time,
            "detector": Use("detector"),
            "task": Use("task"),
            "checkpoint": Use("checkpoint"),
            "annotated": Use("annotated"),
            **parameters,
        },
        condition=condition,
    )


REAL_ROBOT = Description(
    name="real_robot",
    summary="bridge and policy on a Franka arm; object poses from a camera, or from whatever publishes them",
    arguments=(
        Argument(name="robot_ip", kind=str, default=None, description="address of the arm's control interface (FCI)"),
        *_COMMON_ARGUMENTS,
        Argument(name="camera", kind=bool, default="false", description="whether to start the pose estimator"),
        Argument(
            name="calibration",
            kind=Path,
            default="",
            description="calibration of the camera (vlajs calibrate solve); needed with camera:=true",
            nodes_own=True,
        ),
        *_CAMERA_ARGUMENTS,
    ),
    nodes=(
        NodeSpec(
            module="bridge_node", name="franka_bridge", parameters={"use_sim_time": False, "robot_ip": Use("robot_ip")}
        ),
        _pose_estimator_node(False, Is("camera", True), {"calibration": Use("calibration")}),
        _policy_node(use_sim_time=False),
    ),
)

TWIN = Description(
    name="twin",
    summary="the simulated arm and its cube, with bridge and policy, all on robot time",
    arguments=(
        Argument(
            name="robot_ip",
            kind=str,
            default=free_twin_address,
            description="loopback address the twin listens on; a free one if not given",
        ),
        Argument(
            name="pose_source",
            kind=str,
            default="truth",
            description="who publishes /objects/<name>/pose: the twin the truth, or a pose estimator behind its camera",
            choices=("truth", "camera"),
        ),
        Argument(
            name="publish_objects",
            kind=bool,
            default="true",
            description="false for a pose estimator of your own; never with pose_source:=camera",
            nodes_own=True,
        ),
        Argument(
            name="cube_half_size_m",
            kind=float,
            default="0.02",
            description="half an edge of the twin's cube, m; 0.025 for push_cube_v2",
            nodes_own=True,
        ),
        Argument(
            name="camera",
            kind=bool,
            default="false",
            description="whether a camera looks at the twin and publishes /camera/image_raw and /camera/camera_info",
        ),
        Argument(
            name="camera_board",
            kind=bool,
            default="false",
            description="whether that camera sees a calibration board on the hand, for vlajs calibrate capture",
            nodes_own=True,
        ),
        *_COMMON_ARGUMENTS,
        *_CAMERA_ARGUMENTS,
    ),
    nodes=(
        NodeSpec(
            module="twin_node",
            name="twin",
            parameters={
                "address": Use("robot_ip"),
                "publish_objects": Use("publish_objects"),
                "cube_half_size_m": Use("cube_half_size_m"),
            },
            # two publishers of one pose would contradict each other
            forced=(Is("pose_source", "camera"), {"publish_objects": False}),
        ),
        NodeSpec(
            module="twin_camera_node",
            name="twin_camera",
            parameters={"cube_half_size_m": Use("cube_half_size_m"), "board": Use("camera_board")},
            condition=AnyOf((Is("camera", True), Is("pose_source", "camera"))),
        ),
        NodeSpec(
            module="bridge_node",
            name="franka_bridge",
            # both start at once, and the twin takes a while to build its world
            parameters={"use_sim_time": True, "robot_ip": Use("robot_ip"), "connect_timeout_s": 60.0},
        ),
        _pose_estimator_node(
            True,
            Is("pose_source", "camera"),
            # what MuJoCo renders has no noise: of a scene at rest all pictures are the same
            {"camera_pose": TWIN_CAMERA_POSE, "refuse_repeats": False},
        ),
        _policy_node(use_sim_time=True),
    ),
)

DESCRIPTIONS: dict[str, Description] = {description.name: description for description in (REAL_ROBOT, TWIN)}


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
