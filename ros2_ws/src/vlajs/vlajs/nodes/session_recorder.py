"""Records the raw messages of a trial to an MCAP file that ``ros2 bag``, Foxglove and ``rosbags`` read."""

import contextlib
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geometry_msgs.msg import PointStamped, PoseStamped, PoseWithCovarianceStamped
from mcap.writer import CompressionType, Writer
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState

from vlajs.nodes.messages import LATCHED_QOS, RELIABLE_QOS, STREAM_QOS, truth_topic
from vlajs.policy.runner import object_topic
from vlajs.session.records import SessionError
from vlajs.tasks import Task
from vlajs_msgs.msg import EndEffectorDelta, PolicyState, RobotStatus

LIBRARY = "vlajs"
_SEPARATOR = "=" * 80
_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_PRIMITIVES = frozenset(("bool", "byte", "char", "float32", "float64", "string", "wstring", *_INTEGERS))


@dataclass(frozen=True)
class Recorded:
    """A topic to record."""

    topic: str
    message: type
    qos: QoSProfile


def recorded_topics(task: Task, *, on_twin: bool, compare: bool = False) -> list[Recorded]:
    """What is worth keeping of a trial: robot, commands, goal, commanders, and where the objects are said to be."""
    topics = [
        Recorded("/franka/joint_states", JointState, STREAM_QOS),
        Recorded("/franka/tcp_pose", PoseStamped, STREAM_QOS),
        Recorded("/franka/target_pose", PoseStamped, STREAM_QOS),
        Recorded("/franka/status", RobotStatus, RELIABLE_QOS),
        Recorded("/command/ee_delta", EndEffectorDelta, RELIABLE_QOS),
        Recorded("/task/goal", PointStamped, LATCHED_QOS),
        Recorded("/policy/state", PolicyState, LATCHED_QOS),
    ]
    if compare:
        topics.append(Recorded("/baseline/state", PolicyState, LATCHED_QOS))
    for name in task.objects:
        topics.append(Recorded(object_topic(name), PoseWithCovarianceStamped, STREAM_QOS))
        if on_twin:
            topics.append(Recorded(truth_topic(name), PoseStamped, STREAM_QOS))
    return topics


def type_name(message: type) -> str:
    """``sensor_msgs/msg/JointState`` for the class of that message."""
    return f"{message.__module__.split('.')[0]}/msg/{message.__name__}"


def message_definition(name: str) -> str:
    """The text of ``package/msg/Type`` followed by every type it is made of, as MCAP's ``ros2msg`` schemas want it."""
    parts = [_definition_file(name)]
    waiting = _components(parts[0], name.split("/")[0])
    seen: set[str] = set()
    while waiting:
        component = waiting.pop(0)
        if component in seen:
            continue
        seen.add(component)
        text = _definition_file(component)
        package, _, kind = component.split("/")
        parts.append(f"{_SEPARATOR}\nMSG: {package}/{kind}\n{text}")
        waiting += _components(text, package)
    return "\n".join(parts)


def _definition_file(name: str) -> str:
    """The ``.msg`` file of ``package/msg/Type``.

    Raises:
        SessionError: it is not installed.
    """
    package, _, kind = name.split("/")
    # a ROS installation names its prefixes; ROS from wheels lives in Python's own
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    for prefix in prefixes:
        path = Path(prefix) / "share" / package / "msg" / f"{kind}.msg"
        if path.is_file():
            return path.read_text()
    raise SessionError(
        f"the definition of {name} is in none of {', '.join(prefixes)}: source the workspace that built {package}, "
        "or go without a recording (--no-record)"
    )


def _components(text: str, package: str) -> list[str]:
    """Names of the message types among the fields of a definition."""
    found: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if len(words) < 2 or "=" in words[1]:  # empty, or a constant
            continue
        kind = words[0].split("[")[0].split("<")[0]
        if kind in _PRIMITIVES:
            continue
        owner, _, short = kind.rpartition("/")
        found.append(f"{owner.split('/')[0] or package}/msg/{short}")
    return found


class TrialRecorder:
    """Subscribes once; writes while a file is open. Times are the node's clock: robot time on the twin.

    A disk that is full or gone costs the recording and a warning, never the trial: verdicts do not depend on it.
    """

    def __init__(self, node: Node, topics: list[Recorded]) -> None:
        """Subscribe; nothing is written before :meth:`start`."""
        self._clock, self._log = node.get_clock(), node.get_logger()
        self._topics = {recorded.topic: type_name(recorded.message) for recorded in topics}
        self._lock = threading.Lock()
        self._writer: Writer | None = None
        self._channels: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        for recorded in topics:
            node.create_subscription(
                recorded.message, recorded.topic, self._receiver(recorded.topic), recorded.qos, raw=True
            )

    def start(self, path: Path) -> None:
        """Open ``<path>.partial``; it gets its name when it is whole.

        Raises:
            SessionError: the definition of a message is not installed.
        """
        self.stop()
        definitions = {name: message_definition(name) for name in set(self._topics.values())}
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.with_name(path.name + ".partial").open("wb")
        except OSError as error:
            self._warn(error)
            return
        writer = Writer(self._file, compression=CompressionType.ZSTD)
        writer.start(profile="ros2", library=LIBRARY)
        with self._lock:
            self._channels = {
                topic: _add_channel(writer, topic, name, definitions[name]) for topic, name in self._topics.items()
            }
            self._counts = dict.fromkeys(self._topics, 0)
            self._writer = writer

    def stop(self) -> None:
        """Finish and name the file; does nothing when none is open."""
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.finish()
            self._file.close()
            os.replace(self._file.name, self._path)
        except OSError as error:
            self._abandon(error)

    def _abandon(self, error: OSError) -> None:
        """Leave the file as far as it got."""
        with contextlib.suppress(OSError):  # what is left in its buffer cannot be written either
            self._file.close()
        self._warn(error)

    def _warn(self, error: OSError) -> None:
        self._log.warning(f"{self._path} is not recorded ({error}): free the disk; the trial goes on without it")

    def _receiver(self, topic: str) -> Any:
        def receive(raw: bytes) -> None:
            with self._lock:
                if self._writer is None:
                    return
                now_ns = self._clock.now().nanoseconds
                self._counts[topic] += 1
                try:
                    self._writer.add_message(
                        self._channels[topic],
                        log_time=now_ns,
                        publish_time=now_ns,
                        data=bytes(raw),
                        sequence=self._counts[topic],
                    )
                except OSError as error:
                    self._writer = None
                    self._abandon(error)

        return receive


def _add_channel(writer: Writer, topic: str, name: str, definition: str) -> int:
    schema = writer.register_schema(name=name, encoding="ros2msg", data=definition.encode())
    return writer.register_channel(
        topic=topic, message_encoding="cdr", schema_id=schema, metadata={"offered_qos_profiles": ""}
    )
