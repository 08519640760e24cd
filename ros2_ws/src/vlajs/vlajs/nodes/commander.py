"""The one who commands the arm: who publishes ``/command/ee_delta`` may, so at most one node does.

A commander is a publisher exactly while its node is active: it refuses to be activated beside another, and ends when
another comes up all the same (two that were activated within the time of discovery). The bridge, which takes commands
of one source at a time, is the last to tell them apart.
"""

# pyright: reportPrivateImportUsage=false
# (rclpy does not mark its public names as exported)

import time

from geometry_msgs.msg import Vector3
from rclpy.node import Node
from rclpy.publisher import Publisher

from vlajs.episode import Increment
from vlajs.geometry import FloatArray
from vlajs.nodes.messages import RELIABLE_QOS, stamp_of
from vlajs.policy.contract import BASE_FRAME
from vlajs_msgs.msg import EndEffectorDelta

COMMAND_TOPIC = "/command/ee_delta"
DISCOVERY_S = 3.0
"""A node that has just been started sees the publishers that are there within this time: up to 2.2 s among six nodes on
two quiet cores after others had been killed (no command repeats that). Whoever is seen later, on busy ones, ends
an episode."""

SESSION_NODE = "session"
"""It opens the hand between trials, when no commander has an episode, and waits until nobody commands."""


class CommanderError(ValueError):
    """Somebody else may command the arm; the message says who, and what to do."""


class Commander:
    """A node's right to command, and its commands. Not thread-safe: the caller holds a lock."""

    def __init__(self, node: Node, source: str) -> None:
        """``source``: what it calls itself to the bridge. Nothing is published before :meth:`open`."""
        self._node, self._source = node, source
        self._publisher: Publisher | None = None
        self._sequence = 0
        self._created_s = time.monotonic()

    @property
    def is_open(self) -> bool:
        """Whether it may command."""
        return self._publisher is not None

    def open(self) -> None:
        """Become the one commander. Waits, if the node has just been created, until it sees who else is there.

        Raises:
            CommanderError: there is another.
        """
        time.sleep(max(0.0, self._created_s + DISCOVERY_S - time.monotonic()))
        self.require_alone()
        self._publisher = self._node.create_publisher(EndEffectorDelta, COMMAND_TOPIC, RELIABLE_QOS)

    def close(self) -> None:
        """Command nothing any more; may be called twice."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
        self._publisher = None

    def require_alone(self) -> None:
        """Check that nobody else commands.

        Raises:
            CommanderError: somebody else may.
        """
        if reason := self.rival():
            raise CommanderError(reason)

    def rival(self) -> str:
        """Who else may command the arm, in words with the remedy; empty when nobody."""
        names = [info.node_name for info in self._node.get_publishers_info_by_topic(COMMAND_TOPIC)]
        if self._publisher is not None and self._node.get_name() in names:
            names.remove(self._node.get_name())
        others = sorted(set(names) - {SESSION_NODE})
        if not others:
            return ""
        return (
            f"{', '.join(others)} may command the arm, too: one commander at a time; deactivate it first (ros2 "
            f"lifecycle set /{others[0]} deactivate) or end it; a node that was killed is seen for up to 20 s"
        )

    def begin(self) -> None:
        """A new episode: the next command is its first."""
        self._sequence = 0

    def send(self, increment: Increment, *, stamp_ns: int, contract_id: str) -> None:
        """One increment, stamped with the robot state that it was computed from; nothing while not open."""
        if self._publisher is None:
            return
        command = EndEffectorDelta(sequence=self._sequence, source=self._source, contract_id=contract_id)
        command.header.frame_id, command.header.stamp = BASE_FRAME, stamp_of(stamp_ns)
        command.delta_pos_m = _vector(increment.delta_pos_m)
        command.delta_rotvec_rad = _vector(increment.delta_rotvec_rad)
        command.gripper_width_m = float(increment.gripper_width_m)
        self._publisher.publish(command)
        self._sequence += 1


def _vector(values: FloatArray) -> Vector3:
    x, y, z = (float(value) for value in values)
    return Vector3(x=x, y=y, z=z)
