"""One simulated arm for the tests of this folder: the real franky client talks to it."""

import sys
from collections.abc import Iterator

import pytest

from vlajs.robot.arm import ArmConfig, RobotArm
from vlajs.tasks import HOME_JOINTS_RAD
from vlajs.twin.server import TwinConfig, TwinServer


@pytest.fixture(scope="module")
def twin() -> Iterator[TwinServer]:
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(5e-4)  # the simulation shares Python's lock with the test
    # a busy machine slows the arm instead of losing its packets: what is tested here is not the machine
    with TwinServer(TwinConfig(command_patience_s=0.2)) as twin:
        yield twin
    sys.setswitchinterval(usual_s)


@pytest.fixture(scope="module")
def only_arm(twin: TwinServer) -> Iterator[RobotArm]:
    arm = RobotArm(ArmConfig(robot_ip=twin.address))
    yield arm
    arm.close()


@pytest.fixture
def arm(only_arm: RobotArm) -> RobotArm:
    """At home and at rest, whatever the test before left behind."""
    only_arm.recover()
    only_arm.home(HOME_JOINTS_RAD, timeout_s=60.0)
    return only_arm
