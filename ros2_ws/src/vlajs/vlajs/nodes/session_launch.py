"""The nodes that a session starts for itself."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from vlajs.bringup import description_named
from vlajs.launch_description import Description, given_from
from vlajs.session.journal import SessionFolder
from vlajs.session.records import Checkpoint, Launch, SessionError
from vlajs.tasks import get_task

if TYPE_CHECKING:
    from vlajs.nodes.session_graph import RosGraph

ALONE_TIMEOUT_S = 40.0
"""Nodes that were killed stay in discovery for up to 20 s."""

LOG_FILE = "nodes.log"


def launch_arguments(launch: Launch, words: tuple[str, ...], compares: bool) -> dict[str, str]:
    """What the user gave for the launch, checked before a folder is made.

    Raises:
        ValueError: a word of another form, or arguments for a launch that there is not.
    """
    arguments = given_from(list(words))
    if launch == "none":
        if arguments:
            raise ValueError("--launch-args are for --launch twin: nodes that run already have theirs")
        return {}
    if taken := sorted({"checkpoint", "policy", "pose_source", "cube_half_size_m"} & set(arguments)):
        raise ValueError(f"--launch-args {', '.join(taken)}: the session itself says so")
    _description(compares).resolve(arguments)
    return arguments


def _description(compares: bool) -> Description:
    return description_named("openvla_baseline_twin" if compares else "twin")


@contextlib.contextmanager
def started_nodes(
    launch: Launch, session: SessionFolder, checkpoint: Checkpoint, graph: "RosGraph", given: dict[str, str]
) -> Iterator[None]:
    """The nodes of a launch of our own, if any; the graph is told when one dies."""
    if launch == "none":
        yield
        return
    from vlajs.processes import BringupError, running

    header = session.header
    cube = get_task(header.task).half_sizes_m.get("cube")
    arguments: dict[str, Any] = {} if cube is None else {"cube_half_size_m": cube[0]}
    arguments["pose_source"] = header.pose_source
    if header.compares:
        arguments |= {"policy": True, "task": header.task}
    graph.wait_until_alone(ALONE_TIMEOUT_S)
    log: TextIO
    with (
        (session.folder / LOG_FILE).open("a") as log,
        running(_description(header.compares), output=log, checkpoint=checkpoint.path, **(arguments | given)) as stack,
    ):

        def check() -> None:
            try:
                stack.check()
            except BringupError as error:
                raise SessionError(f"{error}\nthe nodes' output is in {session.folder / LOG_FILE}") from error

        graph.check_nodes = check
        yield
