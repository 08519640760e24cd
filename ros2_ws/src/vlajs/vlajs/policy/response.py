"""The identified response of bridge and arm: a small YAML file that ``vlajs identify`` writes and training reads."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import yaml

from vlajs.files import write_atomically

MAX_LATENCY_S = 0.05
NATURAL_FREQUENCY_RAD_S = (2.0, 500.0)
DAMPING_RATIO = (0.1, 3.0)
MAX_RESIDUAL_M = 0.05
MAX_HAND_DELAY_S = 1.0
HAND_SPEED_M_S = (0.001, 0.2)
"""Of each finger; the Franka Hand's does 0.1 m/s."""

DYNAMICS_FACTOR = (0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class ControllerResponse:
    """Latency, then a damped second order, from a new target to tool motion.

    Attributes:
        latency_s: from the bridge accepting a target to the tool reacting.
        natural_frequency_rad_s: of the second order.
        damping_ratio: below 1 the tool overshoots a target that stops, by exp(-pi d / sqrt(1 - d^2)) of a jump.
        residual_m: root mean square distance between the measured tool path and this model's.
        hand_delay_s: from a gripper command to finger motion.
        hand_speed_m_s: speed of each finger.
        source: what was measured, for example "twin" or the robot's address.
        dynamics_factors: franky's relative velocity, acceleration and jerk the bridge ran with.
        measured_on: ISO date.
    """

    latency_s: float
    natural_frequency_rad_s: float
    damping_ratio: float
    residual_m: float
    hand_delay_s: float
    hand_speed_m_s: float
    source: str
    dynamics_factors: tuple[float, float, float]
    measured_on: str

    def __post_init__(self) -> None:
        """Refuse values no arm has.

        Raises:
            ValueError: a field of another type, or a number outside its range; usually a failed fit.
        """
        ranges = {
            "latency_s": (0.0, MAX_LATENCY_S),
            "natural_frequency_rad_s": NATURAL_FREQUENCY_RAD_S,
            "damping_ratio": DAMPING_RATIO,
            "residual_m": (0.0, MAX_RESIDUAL_M),
            "hand_delay_s": (0.0, MAX_HAND_DELAY_S),
            "hand_speed_m_s": HAND_SPEED_M_S,
        }
        for name, limits in ranges.items():
            _require_within(name, getattr(self, name), limits)
        if not isinstance(self.dynamics_factors, tuple) or len(self.dynamics_factors) != 3:
            raise ValueError(f"dynamics_factors = {self.dynamics_factors!r}, expected three numbers: identify again")
        for factor in self.dynamics_factors:
            _require_within("dynamics_factors", factor, DYNAMICS_FACTOR)
        for name in ("source", "measured_on"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} = {getattr(self, name)!r} is no text: put it in quotes, or identify again")

    @staticmethod
    def from_yaml(path: Path) -> "ControllerResponse":
        """Read a response file.

        Raises:
            ValueError: no such file, no YAML, missing or unknown keys, or values out of range.
        """
        try:
            data = yaml.safe_load(Path(path).read_text())
        except OSError as error:
            raise ValueError(
                f"{path} cannot be read ({error.strerror}): `vlajs identify` writes such a file"
            ) from error
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise ValueError(
                f"{path} is damaged ({' '.join(str(error).split())}): run `vlajs identify` again"
            ) from error
        known = {f.name for f in fields(ControllerResponse)}
        if not isinstance(data, dict) or set(data) != known:
            have = sorted(data) if isinstance(data, dict) else data
            raise ValueError(f"{path} holds {have}, a response file holds {sorted(known)}: run `vlajs identify` again")
        factors = data["dynamics_factors"]
        try:
            return ControllerResponse(
                **{**data, "dynamics_factors": tuple(factors) if isinstance(factors, list) else factors}
            )
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def to_yaml(self, path: Path) -> None:
        """Write whole or not at all."""
        data = {**asdict(self), "dynamics_factors": list(self.dynamics_factors)}
        write_atomically(path, yaml.safe_dump(data, sort_keys=False).encode())


def _require_within(name: str, value: object, limits: tuple[float, float]) -> None:
    low, high = limits
    # a comparison with NaN is false
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(
            f"{name} = {value!r} is no number within [{low:g}, {high:g}], usually a failed fit: identify again"
        )
