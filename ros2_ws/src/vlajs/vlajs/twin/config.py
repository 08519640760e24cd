"""How a twin is run."""

import ipaddress
from dataclasses import dataclass, field

import numpy as np

from vlajs.tasks import HOME_JOINTS_RAD
from vlajs.twin.arm import ArmConfig
from vlajs.twin.reflex import ReflexConfig
from vlajs.twin.scene import SceneConfig


@dataclass(frozen=True, kw_only=True)
class TwinConfig:
    """How to run a twin.

    Attributes:
        address: loopback address to listen on; None takes a free one, so several twins can run on one machine.
        speed: robot seconds per second of wall clock; the arm's clients must keep up.
        command_patience_s: in a motion, robot time waits up to this long of wall time for the command that answers
            its last state. 0 is the real arm's way: it goes on without. Above 0 a busy machine slows the arm down
            where it would have lost packets; a client that hangs is noticed that much later.
        initial_joints_rad: joint positions at start.
        initial_hand_width_m: opening of the hand at start, 0 to 0.08.
        scene: the world around the arm.
        arm: the arm's joint controller.
        reflex: when the arm faults.
    """

    address: str | None = None
    speed: float = 1.0
    command_patience_s: float = 0.0
    initial_joints_rad: tuple[float, ...] = tuple(float(q) for q in HOME_JOINTS_RAD)
    initial_hand_width_m: float = 0.08
    scene: SceneConfig = field(default_factory=SceneConfig)
    arm: ArmConfig = field(default_factory=ArmConfig)
    reflex: ReflexConfig = field(default_factory=ReflexConfig)

    def __post_init__(self) -> None:
        if self.address is not None and not ipaddress.ip_address(self.address).is_loopback:
            raise ValueError(f"address is {self.address}: the twin listens on loopback only, for instance 127.0.0.2")
        if not 0.01 <= self.speed <= 10.0:
            raise ValueError(f"speed is {self.speed}: robot seconds per second, from 0.01 to 10")
        if not 0.0 <= self.command_patience_s <= 1.0:
            raise ValueError(f"command_patience_s is {self.command_patience_s}: seconds of wall time, from 0 to 1")
        if len(self.initial_joints_rad) != 7 or not np.all(np.isfinite(self.initial_joints_rad)):
            raise ValueError(f"initial_joints_rad is {self.initial_joints_rad}: seven finite numbers are needed")
        if not 0.0 <= self.initial_hand_width_m <= 0.08:
            raise ValueError(f"initial_hand_width_m is {self.initial_hand_width_m}: the hand opens 0 to 0.08 m")
