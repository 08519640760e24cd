"""What training varies so that a policy survives another physics engine, other objects and a slower arm."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Randomisation:
    """Ranges are (low, high), drawn uniformly for each environment at each reset; noise is a standard deviation.

    Response and drives are multiples of what was identified or configured. A decision of the policy is one step of
    the environment, a tick one command (``ActionContract.ticks_per_action``).
    """

    response_latency_factor: tuple[float, float] = (1.0, 1.0)
    """Times the identified latency from command to motion."""
    response_frequency_factor: tuple[float, float] = (1.0, 1.0)
    """Times the identified natural frequency."""
    response_damping_factor: tuple[float, float] = (1.0, 1.0)
    """Times the identified damping ratio."""
    action_delay_ticks: tuple[int, int] = (0, 0)
    """Ticks by which arm and hand receive a command late, both ends included."""
    drive_stiffness_factor: tuple[float, float] = (1.0, 1.0)
    """Times the stiffness of the arm's joint drives (simulation on the CPU only)."""
    drive_damping_factor: tuple[float, float] = (1.0, 1.0)
    """Times the damping of the arm's joint drives (simulation on the CPU only)."""
    hand_speed_m_s: tuple[float, float] = (0.1, 0.1)
    """Speed of each finger."""
    hand_delay_s: tuple[float, float] = (0.05, 0.05)
    """From gripper command to motion."""
    initial_joint_noise_rad: float = 0.02
    """Deviation of each joint from where an episode begins (ManiSkill's: 0.02)."""
    object_friction: tuple[float, float] = (0.3, 0.3)
    """Static and dynamic friction coefficient of the objects (ManiSkill's: 0.3; simulation on the CPU only)."""
    object_density_kg_m3: tuple[float, float] = (1000.0, 1000.0)
    """ManiSkill's is 1000: 64 g for a cube of 4 cm (simulation on the CPU only)."""
    object_bias_m: float = 0.0
    """Error of an estimated object position that lasts an episode, each axis of the table plane."""
    object_noise_m: float = 0.0
    """Error of an estimated object position drawn anew each decision."""
    object_noise_rad: float = 0.0
    """Error of an estimated object orientation, about each axis, drawn anew each decision."""
    object_delay_steps: tuple[int, int] = (0, 0)
    """Decisions by which the objects' poses are old, both ends included."""
    tcp_noise_m: float = 0.0
    """Error of the measured tool position drawn anew each decision."""
    tcp_noise_rad: float = 0.0
    """Error of the measured tool orientation, about each axis, drawn anew each decision."""
    robot_delay_steps: tuple[int, int] = (0, 0)
    """Decisions by which tool, target and opening are old, both ends included."""
    goal_bias_m: float = 0.0
    """Error of the goal position that lasts an episode, each axis. A goal stands still, so that it is never late."""
    goal_noise_m: float = 0.0
    """Error of the goal position drawn anew each decision."""

    def applied_on(self, device_type: str) -> "Randomisation":
        """What of this a simulation on ``cpu`` or ``cuda`` varies: PhysX on a GPU keeps friction, mass and gains."""
        if device_type == "cpu":
            return self
        return replace(self, **{name: getattr(STOCK, name) for name in _ON_CPU_ONLY})


_ON_CPU_ONLY = ("object_friction", "object_density_kg_m3", "drive_stiffness_factor", "drive_damping_factor")
STOCK = Randomisation()
"""ManiSkill's own physics, and the identified response as it is."""

PRESETS: dict[str, Randomisation] = {
    "none": STOCK,
    "deploy": Randomisation(
        response_latency_factor=(0.0, 4.0),
        response_frequency_factor=(0.7, 1.6),
        response_damping_factor=(0.8, 2.0),
        hand_speed_m_s=(0.06, 0.12),
        hand_delay_s=(0.0, 0.15),
        object_friction=(0.2, 1.0),
        object_density_kg_m3=(500.0, 2000.0),
        object_bias_m=0.002,
        object_noise_m=0.001,
        object_delay_steps=(0, 1),
        tcp_noise_m=0.0005,
    ),
}
"""``none``: stock physics and the identified response as it is; ``deploy``: what shipped policies are trained with."""


def get_randomisation(name: str) -> Randomisation:
    """A preset by name.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown randomisation {name!r}: known presets are {', '.join(PRESETS)}")
    return PRESETS[name]
