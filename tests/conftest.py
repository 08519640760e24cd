"""For every test: MuJoCo can render without a screen; tests that keep time run alone and get a second chance."""

import os
from pathlib import Path

import pytest

# Several workers share the machine (see `make test`): a torch or OpenCV in each that takes every core would slow all.
# Before anything imports one of them.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from vlajs_perception.rendering.gl import choose_gl

choose_gl()

REAL_TIME = ("graph", "vlajs/robot", "vlajs/twin/test_server.py")
"""Tests in which an arm's 1 kHz loop, its client and several nodes share a machine without real-time scheduling."""
RERUNS = 2


@pytest.hookimpl(tryfirst=True)  # before -m selects by the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is real-time ``realtime``, but for what is marked ``untimed``, and repeat both when they fail.

    What is broken fails every time, a machine that was busy does not. Repeated tests are listed as RERUN at the end of
    the run.
    """
    places = {Path(__file__).parent / place for place in REAL_TIME}
    for item in items:
        if places & {item.path, *item.path.parents}:
            item.add_marker(pytest.mark.flaky(reruns=RERUNS))
            if item.get_closest_marker("untimed") is None:
                item.add_marker(pytest.mark.realtime)
