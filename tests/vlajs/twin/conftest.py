"""One twin for the tests of a file, and a client of it."""

import threading
from collections.abc import Iterator

import franky
import pytest

from tests.support.twin_client import cube_at
from vlajs.tasks import HOME_JOINTS_RAD
from vlajs.twin.config import TwinConfig
from vlajs.twin.server import TwinServer


@pytest.fixture(scope="module")
def twin() -> Iterator[TwinServer]:
    # a busy machine slows the arm instead of losing its packets: what is tested here is not the machine
    with TwinServer(TwinConfig(command_patience_s=0.2)) as server:
        yield server
    assert not server.is_running
    assert not [thread for thread in threading.enumerate() if thread.name == "twin"]


@pytest.fixture(scope="module")
def connected(twin: TwinServer) -> franky.Robot:
    return franky.Robot(twin.address, realtime_config=franky.RealtimeConfig.Ignore)


@pytest.fixture(scope="module")
def gripper(twin: TwinServer) -> franky.Gripper:
    return franky.Gripper(twin.address)


@pytest.fixture
def robot(twin: TwinServer, connected: franky.Robot, gripper: franky.Gripper) -> franky.Robot:
    """The arm at home without faults, holding nothing, the cube out of its way."""
    connected.recover_from_errors()
    if twin.hand_width() < 0.079:  # a test that failed may have left the cube in the hand
        gripper.open(0.1)
    connected.set_collision_behavior(60.0, 60.0)
    # 0.1 of the limits: an arm's sane speed, far from a Panda's joint velocity limits
    connected.relative_dynamics_factor = franky.RelativeDynamicsFactor(0.1, 0.1, 0.1)
    connected.move(franky.JointMotion(list(HOME_JOINTS_RAD)))
    twin.place_objects(cube_at(0.5, 0.25))
    return connected
