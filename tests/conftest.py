"""For every test: MuJoCo can render without a screen; tests of the arm in real time get a second chance."""

from pathlib import Path

import pytest

from vlajs_perception.rendering.gl import choose_gl

choose_gl()

REAL_TIME_FOLDERS = ("graph", "vlajs/robot", "vlajs/twin")
"""Tests in which an arm's 1 kHz loop, its client and several nodes share a machine without real-time scheduling."""
RERUNS = 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Repeat a failed test of the arm: what is broken fails every time, a machine that was busy does not.

    Repeated tests are listed as RERUN at the end of the run.
    """
    folders = tuple(Path(__file__).parent / folder for folder in REAL_TIME_FOLDERS)
    for item in items:
        if any(folder in item.path.parents for folder in folders):
            item.add_marker(pytest.mark.flaky(reruns=RERUNS))
