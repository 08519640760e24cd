"""Processes of a graph test: a ROS domain of its own, waiting by polling, nothing left behind."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from vlajs.processes import die_with_parent

PATIENCE_S = 90.0
"""Wall time after which what has not happened will not: far longer than it takes, for the sake of busy machines."""

ROOT = Path(__file__).parents[2]
FIRST_DOMAIN, DOMAINS = 20, 81  # ROS 2 has ports for domains up to 100 everywhere; people use the low ones
_locks: list[IO[str]] = []


def own_domain() -> int:
    """A ROS domain that no other run of these tests has, for as long as this process lives."""
    for number in range(DOMAINS):
        # not always the same ones: nodes that were killed stay in discovery for a while
        domain_id = FIRST_DOMAIN + (os.getpid() + number) % DOMAINS
        lock = (Path(tempfile.gettempdir()) / f"vlajs-tests-{os.getuid()}-domain-{domain_id}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _locks.append(lock)
        return domain_id
    raise RuntimeError(f"all of {DOMAINS} ROS domains are taken by tests: end some")


def wait_for(
    met: Callable[[], bool], what: str, patience_s: float = PATIENCE_S, told: Callable[[], str] = lambda: ""
) -> None:
    """Poll until ``met``; fails with ``what`` was waited for and what was ``told`` last."""
    deadline_s = time.monotonic() + patience_s
    while not met():
        assert time.monotonic() < deadline_s, f"waited {patience_s:g} s for {what} {told()}"
        time.sleep(0.02)


def environment(domain_id: int) -> dict[str, str]:
    """For a Python of this environment in a domain of its own."""
    values = dict(os.environ)
    if "LD_LIBRARY_PATH" not in values:  # the ROS wheels' mark and path go together
        values.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
    paths = [str(ROOT), str(ROOT / "ros2_ws/src/vlajs"), values.get("PYTHONPATH", "")]
    return values | {
        "ROS_DOMAIN_ID": str(domain_id),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }


@contextlib.contextmanager
def python(domain_id: int, *words: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process with its output in ``log``; ended with SIGTERM, then SIGKILL."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", *words],
            env=environment(domain_id),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,  # a test run that is killed leaves no node behind
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()


def node_words(module: str, *, name: str = "", **parameters: object) -> list[str]:
    """Words for :func:`python` that run a node of ``vlajs.nodes`` with these parameters."""
    words = ["-m", f"vlajs.nodes.{module}", "--ros-args"]
    words += ["-r", f"__node:={name}"] if name else []
    return words + [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]


def output_of_refused_start(domain_id: int, module: str, **parameters: object) -> str:
    """What a node says that cannot be configured with these parameters and ends with exit code 1."""
    done = subprocess.run(
        [sys.executable, *node_words(module, **parameters)],
        env=environment(domain_id),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    return done.stdout
