"""A :mod:`vlajs.launch_description` as ``launch_ros`` actions; imported by ``launch/*.launch.py`` alone.

``launch`` comes with a ROS 2 installation, not with the wheels: where it is missing, use ``vlajs up``.
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
# (launch is not installed where this is checked, and the repository's folder of that name is none)

import threading

from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnShutdown
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from vlajs.launch_description import Argument, Description, NodeSpec, Value, given_to, parameters_of


def launch_description(description: Description) -> LaunchDescription:
    """What ``ros2 launch`` runs: values are checked as by ``vlajs up``, a node that ends shuts the launch down."""
    ending = threading.Event()
    typed: dict[str, str] = {}

    def note_typed(context: LaunchContext) -> None:
        # comes before the arguments are declared, which fills in defaults that nobody gave
        typed.update(context.launch_configurations)

    def nodes(context: LaunchContext) -> list[Node]:
        values = description.resolve(given_to(description, typed, context.launch_configurations))
        return [_action(node, values, ending) for node in description.selected(values)]

    def end(_event: object, _context: LaunchContext) -> None:
        ending.set()

    return LaunchDescription(
        [
            OpaqueFunction(function=note_typed),
            *map(_declared, description.arguments),
            RegisterEventHandler(OnShutdown(on_shutdown=end)),
            OpaqueFunction(function=nodes),
        ]
    )


def _declared(argument: Argument) -> DeclareLaunchArgument:
    return DeclareLaunchArgument(argument.name, default_value=argument.default_text(), description=argument.description)


def _action(node: NodeSpec, values: dict[str, Value], ending: threading.Event) -> Node:
    def shut_down(_event: object, _context: LaunchContext) -> list[Shutdown]:
        # once is enough: again would interrupt the nodes that are still winding down
        return [] if ending.is_set() else [Shutdown(reason=f"node {node.name} ended")]

    site = [values["params_file"]] if values["params_file"] else []
    return Node(
        package="vlajs",
        executable=node.module,
        name=node.name,
        output="screen",
        parameters=[*site, parameters_of(node, values)],
        on_exit=shut_down,
    )
