"""Runs a launch description without ``launch``: one process a node, named output, an end that holds the arm.

Nodes stop in the reverse of the order they started in, one after another: the policy first, then the bridge, which
holds the arm to the last, then the twin. A node that ends by itself takes the others with it.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from vlajs.bringup import description_named
from vlajs.launch_description import Description, NodeSpec, Value, as_texts, parameters_of

STOP_TIMEOUT_S = 15.0
"""How long a node may take to wind down before it is killed."""

POLL_S = 0.1
LAST_LINES = 5
_PR_SET_PDEATHSIG = 1


class BringupError(RuntimeError):
    """A node ended that should be running; the message says which and its last words."""


class _Node:
    """The process of one node."""

    def __init__(self, spec: NodeSpec, values: Mapping[str, Value], folder: Path, output: TextIO) -> None:
        self.name = spec.name
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._output = output
        file = folder / f"{spec.name}.yaml"
        # JSON is YAML, and keeps "true" a string and 1.0 a float
        file.write_text(json.dumps({spec.name: {"ros__parameters": parameters_of(spec, values)}}))
        ros_args = ["--ros-args", "-r", f"__node:={spec.name}"]
        if values["params_file"]:
            ros_args += ["--params-file", str(values["params_file"])]
        ros_args += ["--params-file", str(file)]  # of two values of one parameter the last counts
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", f"vlajs.nodes.{spec.module}", *ros_args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=child_environment(),
            start_new_session=True,  # Ctrl-C reaches the one who knows the order to stop in, nobody else
            preexec_fn=die_with_parent,
        )
        self._reader = threading.Thread(target=self._copy_output, name=f"output of {spec.name}", daemon=True)
        self._reader.start()

    def _copy_output(self) -> None:
        assert self.process.stdout is not None, "piped"
        for line in self.process.stdout:
            self.last_lines.append(line.rstrip())
            self._output.write(f"[{self.name}] {line.rstrip()}\n")
            self._output.flush()

    def stop(self) -> None:
        """Ask, wait, then insist."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._output.write(f"[{self.name}] did not end within {STOP_TIMEOUT_S:g} s: killed\n")
            self.process.kill()
            self.process.wait()
        self._reader.join(STOP_TIMEOUT_S)


def child_environment() -> dict[str, str]:
    """This process's environment for another Python of the same virtual environment.

    The ROS 2 wheels restart Python once with LD_LIBRARY_PATH set and leave a mark that it was done; a child needs
    both or neither, so without the path the mark goes too.
    """
    environment = dict(os.environ)
    if "LD_LIBRARY_PATH" not in environment:
        environment.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    return environment


def die_with_parent() -> None:
    """In the child: ask Linux for SIGTERM when the parent goes, so that no node outlives a killed ``vlajs up``."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Stack:
    """The running nodes of a description; made by :func:`running`."""

    def __init__(self, description: Description, values: Mapping[str, Value], output: TextIO) -> None:
        """Nothing runs before :meth:`start`."""
        self.description = description
        self.values = dict(values)
        self._output = output
        self._nodes: list[_Node] = []
        self._stopping = threading.Lock()
        self._failure = ""
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def start(self, folder: Path) -> None:
        """Start the nodes; ``folder`` keeps their parameter files."""
        for spec in self.description.selected(self.values):
            self._nodes.append(_Node(spec, self.values, folder, self._output))
        self._watcher.start()

    @property
    def failure(self) -> str:
        """Which node ended by itself and its last words; empty while all run."""
        return self._failure

    def check(self) -> None:
        """Return while all nodes run.

        Raises:
            BringupError: one ended by itself.
        """
        if self._failure:
            raise BringupError(self._failure)

    def wait_for_end(self, timeout_s: float | None = None) -> bool:
        """Block until the nodes have stopped; False after the timeout."""
        return self._ended.wait(timeout_s)

    def stop(self) -> None:
        """Stop the nodes in the reverse of their order, one after another."""
        with self._stopping:
            for node in reversed(self._nodes):
                node.stop()
            self._ended.set()
        if self._watcher.ident is not None and threading.current_thread() is not self._watcher:
            self._watcher.join()

    def _watch(self) -> None:
        while not self._ended.is_set():
            with self._stopping:
                dead = [] if self._ended.is_set() else [n for n in self._nodes if n.process.poll() is not None]
            if dead:
                self._failure = _last_words(dead[0])
                self._output.write(f"{self._failure}\nstopping the others\n")
                self.stop()
            time.sleep(POLL_S)


def _last_words(node: _Node) -> str:
    code = node.process.poll()
    node._reader.join(POLL_S)
    last = "\n".join(f"  {line}" for line in node.last_lines)
    return f"node {node.name} ended with exit code {code}; it said last:\n{last or '  nothing'}"


@contextlib.contextmanager
def running(description: Description | str, *, output: TextIO | None = None, **arguments: Any) -> Iterator[Stack]:
    """Run a launch for the length of a ``with`` block.

    Args:
        description: or its name.
        output: where the nodes' named lines go; standard error if None.
        arguments: of the launch, as Python values or texts.

    Yields:
        The running nodes; ask :meth:`Stack.check` now and then whether all still run.

    Raises:
        ValueError: an unknown argument or a bad value.

    >>> with running("twin", checkpoint="policies/push_cube-ppo-seed1.safetensors") as stack:
    ...     stack.check()
    """
    if isinstance(description, str):
        description = description_named(description)
    values = description.resolve(as_texts(arguments))
    with tempfile.TemporaryDirectory(prefix="vlajs-") as folder:
        stack = Stack(description, values, output or sys.stderr)
        try:
            stack.start(Path(folder))
            yield stack
        finally:
            stack.stop()


def run_until_signal(description: Description, given: Mapping[str, str]) -> int:
    """Run a launch until Ctrl-C or SIGTERM: ``vlajs up``.

    Returns:
        0 after a signal, 1 when a node ended by itself.

    Raises:
        ValueError: an unknown argument or a bad value.
    """
    asked = threading.Event()
    previous = {n: signal.signal(n, lambda *_: asked.set()) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        with running(description, output=sys.stdout, **given) as stack:
            while not asked.wait(POLL_S) and not stack.wait_for_end(0.0):
                pass
        if stack.failure:
            print(f"error: {stack.failure.splitlines()[0].rstrip(';')}", file=sys.stderr)
            return 1
        return 0
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
