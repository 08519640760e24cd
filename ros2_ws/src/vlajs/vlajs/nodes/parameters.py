"""Parameters of nodes, fail closed: what was misspelt or is of another type ends the start instead of being ignored.

ROS keeps a parameter that a node never declares to itself, so that a misspelt limit would leave the default in force.
"""

# pyright: reportPrivateImportUsage=false
# (rclpy does not mark its public names as exported)

import difflib
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter

_QOS_PREFIX = "qos_overrides."
"""Names with it set the quality of service of a topic; rclpy declares them with that topic."""

_WHOLE = {Parameter.Type.INTEGER: Parameter.Type.DOUBLE, Parameter.Type.INTEGER_ARRAY: Parameter.Type.DOUBLE_ARRAY}
"""What whole numbers are taken for where numbers are expected."""


class ParameterError(ValueError):
    """A parameter that a node was given cannot be used; the message says which and what to do."""


def declare(node: Node, name: str, default: Any) -> Any:
    """Declare a parameter; its value is the default or what the node was given, whole numbers for numbers included.

    Raises:
        ParameterError: the node was given a value of another type.
    """
    given = node._parameter_overrides.get(name)  # rclpy has no public way to see a value before it is declared
    expected = Parameter(name, value=default).type_
    if given is not None and given.type_ != expected:
        if _WHOLE.get(given.type_) != expected:
            raise ParameterError(
                f"parameter {name} = {given.value!r} is of type {given.type_.name.lower()}, expected "
                f"{expected.name.lower()} as in its default {default!r}: check the parameter file"
            )
        value = float(given.value) if expected == Parameter.Type.DOUBLE else [float(item) for item in given.value]
        node._parameter_overrides[name] = Parameter(name, value=value)
    return node.declare_parameter(name, default).value


def refuse_unknown(node: Node) -> None:
    """Refuse parameters that the node was given and does not have; call it when all are declared.

    Raises:
        ParameterError: it has no such parameter; the message names the one that was probably meant.
    """
    for name in node._parameter_overrides:
        if node.has_parameter(name) or name.startswith(_QOS_PREFIX):
            continue
        # rclpy has no public list of a node's parameters
        near = difflib.get_close_matches(name, node._parameters, n=1)
        meant = f"did you mean {near[0]}?" if near else "check the parameter file"
        raise ParameterError(
            f"{node.get_name()} has no parameter {name}, and what was meant by it would not be in force: {meant} "
            "(values for several nodes go under the name of each, not under /**)"
        )
