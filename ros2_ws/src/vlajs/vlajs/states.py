"""What robot and policy are doing, as numbers that travel in messages."""

from enum import IntEnum


class RobotMode(IntEnum):
    """Numbers of ``vlajs_msgs/RobotStatus.mode``."""

    DISCONNECTED = 0
    READY = 1
    TRACKING = 2
    HOLDING = 3
    STOPPED = 4
    FAULT = 5
    HOMING = 6


class PolicyPhase(IntEnum):
    """Numbers of ``vlajs_msgs/PolicyState.phase``."""

    IDLE = 0
    PREPARING = 1
    RUNNING = 2
    FINISHED = 3
    STOPPED = 4
    REFUSED = 5
