"""Images fit into the shared memory of the process that sends them."""

import pytest

from tests.support.processes import own_domain, python

pytestmark = pytest.mark.graph

CODE = """
import os
from pathlib import Path
from vlajs.nodes.shared_memory import use_large_shared_memory
use_large_shared_memory()
import rclpy
before = set(os.listdir("/dev/shm"))
rclpy.init()
node = rclpy.create_node("sender")
made = set(os.listdir("/dev/shm")) - before
print("largest", max((Path("/dev/shm") / name).stat().st_size for name in made))
rclpy.shutdown()
"""


def test_the_profile_is_in_force(tmp_path) -> None:
    with python(own_domain(), "-c", CODE, log=tmp_path / "log") as process:
        assert process.wait(60) == 0, (tmp_path / "log").read_text()
    largest = int((tmp_path / "log").read_text().split("largest")[1].split()[0])
    assert largest >= 16 * 1024**2  # a picture of 640 x 480 has 0.9 MB; the default is half of that
