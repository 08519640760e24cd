"""For every test: MuJoCo can render without a screen; tests of the arm in real time are marked and get more chances."""

import os
from pathlib import Path

import hypothesis
import pytest

# Several workers share the machine (see `make test`): a torch or OpenCV in each that takes every core would slow all.
# Before anything imports one of them.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from vlajs_perception.rendering.gl import choose_gl

choose_gl()

# How long an example takes says how busy the machine is, not what is wrong.
hypothesis.settings.register_profile(
    "untimed", hypothesis.settings(), deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

_TWIN = tuple(f"vlajs/twin/{name}.py" for name in ("conftest", "test_placement", "test_server"))
REAL_TIME = ("graph", "vlajs/robot", *_TWIN)
"""Tests in which an arm's 1 kHz loop, its client and several nodes share a machine without real-time scheduling."""
TIMED = ("vlajs/vla",)
"""Tests of servers and clients that give up after a time, on a machine that others share."""
RERUNS = 2


def lies_in(path: Path, places: tuple[str, ...]) -> bool:
    """Whether a test file is, or lies in, one of these files and folders of the tests."""
    return not {Path(__file__).parent / place for place in places}.isdisjoint((path, *path.parents))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import, for ``-m realtime`` alone, what cannot hold such tests: it takes longer than many of them run."""
    alone = config.option.markexpr == "realtime"
    return (alone and collection_path.is_file() and not lies_in(collection_path, REAL_TIME)) or None


@pytest.hookimpl(tryfirst=True)  # before -m selects by the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests of the arm ``realtime``, but for those marked ``beside``; repeat what depends on time when it fails.

    What is broken fails every time, a machine that was busy does not. Repeated tests are listed as RERUN at the end of
    the run.
    """
    for item in items:
        real_time = lies_in(item.path, REAL_TIME)
        if real_time or lies_in(item.path, TIMED):
            item.add_marker(pytest.mark.flaky(reruns=RERUNS))
        if real_time and item.get_closest_marker("beside") is None:
            item.add_marker(pytest.mark.realtime)
        elif not real_time and item.get_closest_marker("realtime") is not None:
            raise pytest.UsageError(f"{item.nodeid} is marked realtime: add its file to REAL_TIME in {__file__}")
