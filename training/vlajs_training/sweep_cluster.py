"""Ray for ``vlajs sweep``: a private cluster on this machine or a given one, and what runs on it.

This module imports neither torch nor ManiSkill, so Ray's worker processes stay small; each training is a process of
its own.
"""

import contextlib
import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_GRACE_S = 10.0
_OBJECT_STORE_BYTES = 80 * 2**20  # nothing but exit codes passes through it; Ray accepts no less


@contextlib.contextmanager
def cluster(address: str | None, cpus: int, gpus: int) -> Iterator[Any]:
    """Ray, connected; gone again afterwards, with all it started here.

    A cluster of one's own has no dashboard, reports nothing to anyone, listens on the loopback address only and wants
    a token that nobody else has.

    Args:
        address: of an existing cluster; None starts one here.
        cpus: that the cluster started here offers.
        gpus: the same.

    Yields:
        The module ``ray``.

    Raises:
        ConnectionError: no cluster answers at ``address``.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address is None:
        # Read when Ray is imported: at 0, and whatever its name says, Ray stays on the loopback address.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", secrets.token_hex(32)
    import ray

    quiet: dict[str, Any] = {"configure_logging": False, "log_to_driver": False}
    # Ray's sockets live below: their paths must be short
    folder = tempfile.mkdtemp(prefix="vlajs-sweep-", dir="/tmp") if address is None else None
    try:
        if folder is not None:
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=gpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(Path(folder) / "r"),
                **quiet,
            )
        else:
            ray.init(address=address, **quiet)
        # Ray's own handler of SIGTERM would leave at once; a shell starts background jobs with SIGINT ignored
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
        yield ray
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def run_logged(arguments: list[str], log: str, folder: str) -> int:
    """Run Python with ``arguments`` in ``folder``, output appended to ``log``; the exit code (negative: a signal's).

    The folder is the sweep's, not that of Ray's worker: run folders and response files may be given relative to it.

    The process ends with this one, and when the task is cancelled.
    """
    command = [sys.executable, *arguments]
    with open(log, "ab") as file:
        file.write(f"== {datetime.now().astimezone().isoformat(timespec='seconds')} {' '.join(command)}\n".encode())
        file.flush()
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_parent,
        )
        try:
            return process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE_S)
                process.kill()


def _end_with_parent() -> None:
    """Linux ends this process when its parent dies, also by SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
