"""The contract a policy carries: what it sees, what its actions do, in which frame, at which rate.

A policy is only as good as its agreement with the robot that runs it. Everything that agreement needs is here, as
data, in JSON inside the bundle (``vlajs.policy.bundle``), checked on load with messages that name value, limit and
remedy.
"""

import hashlib
import json
import types
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

from vlajs.policy.observations import TERMS

SCHEMA_VERSION = 1
MIN_CONTROL_RATE_HZ = 12.5
"""80 ms between commands: the bridge holds the arm when none came for ``stale_after_s``, 90 ms by default."""
MAX_CONTROL_RATE_HZ = 100.0
MAX_HORIZON_STEPS = 100_000
MAX_NUMBER = 1e9
"""No length, angle, rate or time of a robot is greater."""
MAX_NESTING = 20
"""Levels of lists and objects: what reads a contract goes down them one call after another."""
MAX_STEP_M = 0.1
MAX_STEP_RAD = 0.5
MAX_TICKS_PER_ACTION = 10
ACTION_SIZE = 7
ACTIVATIONS = ("tanh", "relu", "elu")
BASE_FRAME = "panda_link0"
HAND_TO_TCP_M = 0.1034


class ContractError(ValueError):
    """A bundle or contract that must not run; the message says which value, its limit and what to do."""


@dataclass(frozen=True, kw_only=True)
class ObservationTerm:
    """One slice ``[start, stop)`` of the observation vector; ``frame`` is where it is expressed."""

    name: str
    start: int
    stop: int
    unit: str
    frame: str
    source: str


@dataclass(frozen=True, kw_only=True)
class GripperContract:
    """How the seventh action number becomes an opening of the hand.

    The number a in [-1, 1] asks for the width ``width_max_m * (a + 1) / 2``. The hand opens when that rises above
    ``open_above_m``, closes when it falls below ``close_below_m``, and otherwise keeps its last command: the Franka
    Hand cannot be servoed continuously. With ``fixed_width_m`` set the number is ignored.
    """

    width_max_m: float = 0.08
    open_above_m: float = 0.048
    close_below_m: float = 0.032
    initial_width_m: float = 0.08
    fixed_width_m: float | None = None


@dataclass(frozen=True, kw_only=True)
class ActionContract:
    """What an action does to the target pose; the rule itself is ``vlajs.control.target``.

    Each step: translation = clamp(a[0:3], norm 1) * ``position_scale_m`` added to the target position; rotation
    vector = clamp(a[3:6], norm 1) * ``rotation_scale_rad`` composed on the left, in the base's axes; the target is
    kept in the box ``workspace_*_m``, then within the leash of the measured pose.

    Commands go out at the contract's ``control_rate_hz``, the bridge's watchdog depends on it; the policy decides anew
    every ``ticks_per_action`` of them and its increment is repeated in between.
    """

    position_scale_m: float
    rotation_scale_rad: float
    leash_m: float
    leash_rad: float
    workspace_min_m: tuple[float, float, float]
    workspace_max_m: tuple[float, float, float]
    ticks_per_action: int = 1
    reference: str = "target"
    rotation: str = "rotation_vector_left_base"
    gripper: GripperContract = field(default_factory=GripperContract)


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Frames the terms and actions live in: ``base`` in ManiSkill's world, and the tool beyond the hand's flange."""

    base: str = BASE_FRAME
    world_from_base_m: tuple[float, float, float] = (-0.615, 0.0, 0.0)
    hand_to_tcp_m: float = HAND_TO_TCP_M


@dataclass(frozen=True, kw_only=True)
class Network:
    """The actor: hidden layer sizes and activation; the output is the mean action, not squashed."""

    hidden_sizes: tuple[int, ...]
    activation: str


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Everything a robot needs to know to run a policy.

    ``provenance`` says what it was trained with (method, seed, steps, ManiSkill version, git revision, success in
    simulation with its interval, inverse kinematics, response file, randomisation); it does not change behaviour and
    is left out of :attr:`contract_id`.
    """

    task: str
    instruction: str
    observation: tuple[ObservationTerm, ...]
    action: ActionContract
    control_rate_hz: float
    horizon_steps: int
    network: Network
    frames: Frames = field(default_factory=Frames)
    provenance: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def observation_size(self) -> int:
        """How many numbers the actor takes."""
        return self.observation[-1].stop

    @property
    def term_names(self) -> list[str]:
        """Observation terms in order."""
        return [term.name for term in self.observation]

    @property
    def contract_id(self) -> str:
        """``<task>-<12 hex>``: equal for policies that may be swapped for one another."""
        behaviour = {key: value for key, value in asdict(self).items() if key not in ("provenance", "network")}
        digest = hashlib.sha256(json.dumps(behaviour, sort_keys=True).encode()).hexdigest()
        return f"{self.task}-{digest[:12]}"

    def to_json(self) -> str:
        """JSON text, keys in a fixed order."""
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> "Contract":
        """Parse and validate.

        Raises:
            ContractError: not JSON, a missing or unknown key, or any value :func:`validate` refuses.
        """
        data = _json(text)
        if not isinstance(data, dict):
            raise ContractError(f"the contract is a {type(data).__name__}, not an object: re-export the policy")
        version = data.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ContractError(
                f"contract schema version {version!r}, this vlajs reads {SCHEMA_VERSION}: "
                "re-export the policy, or install the vlajs release that wrote it"
            )
        contract = _contract_from(data)
        validate(contract)
        return contract


def _json(text: str) -> Any:
    """What JSON text holds, if everything in it can be worked with.

    Raises:
        ContractError: not JSON, nested too deeply, a number too long to be read, or text that is not Unicode.
    """
    try:
        data = json.loads(text)
        json.dumps(data, ensure_ascii=False).encode()  # escapes may stand for half a character
    except (ValueError, RecursionError) as error:
        raise ContractError(f"the contract is not JSON ({error}): re-export the policy") from error
    level, depth = [data], 0
    while level:
        depth += 1
        if depth > MAX_NESTING:
            raise ContractError(f"the contract is nested more than {MAX_NESTING} levels deep: re-export the policy")
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, dict | list)]
        level = [item for items in inner for item in items]
    return data


def terms(names: list[str], base_frame: str = BASE_FRAME) -> tuple[ObservationTerm, ...]:
    """Lay terms out one after another.

    Raises:
        ContractError: an unknown term.
    """
    laid_out: list[ObservationTerm] = []
    start = 0
    for name in names:
        spec = _spec(name)
        laid_out.append(
            ObservationTerm(
                name=name, start=start, stop=start + spec.size, unit=spec.unit, frame=base_frame, source=spec.source
            )
        )
        start += spec.size
    return tuple(laid_out)


def validate(contract: Contract) -> None:
    """Refuse a contract that a robot must not run.

    Raises:
        ContractError: the first problem found.
    """
    _validate_types(contract, "contract")
    if not contract.task:
        raise ContractError("the contract names no task: re-export the policy")
    _validate_frames(contract.frames)
    _validate_observation(contract)
    _validate_action(contract.action)
    rate = contract.control_rate_hz
    if not MIN_CONTROL_RATE_HZ <= rate <= MAX_CONTROL_RATE_HZ:
        raise ContractError(
            f"control rate {rate} Hz is outside [{MIN_CONTROL_RATE_HZ:g}, {MAX_CONTROL_RATE_HZ:g}] Hz: below it the "
            "bridge holds the arm between any two commands; train at a higher rate, with ticks_per_action for a policy "
            "that decides less often"
        )
    if not 1 <= contract.horizon_steps <= MAX_HORIZON_STEPS:
        raise ContractError(
            f"horizon of {contract.horizon_steps} steps is outside [1, {MAX_HORIZON_STEPS}]: check the task's "
            "configuration"
        )
    if contract.network.activation not in ACTIVATIONS:
        raise ContractError(f"unknown activation {contract.network.activation!r}: known are {', '.join(ACTIVATIONS)}")
    if any(size < 1 for size in contract.network.hidden_sizes):
        raise ContractError(f"hidden layers of {contract.network.hidden_sizes} units: each needs at least 1")


def _validate_types(value: Any, where: str) -> None:
    """Every field holds what it is declared to hold; JSON from elsewhere may hold anything."""
    hints = typing.get_type_hints(type(value))
    for entry in fields(value):
        item, name = getattr(value, entry.name), f"{where}.{entry.name}"
        if not _is_a(item, hints[entry.name]):
            raise ContractError(f"{name} is {item!r}, not a {_type_name(hints[entry.name])}: re-export the policy")
        _validate_numbers(item, name)
        for part in item if isinstance(item, tuple) else (item,):
            if is_dataclass(part):
                _validate_types(part, name)


def _validate_numbers(item: Any, where: str) -> None:
    for number in item if isinstance(item, tuple) else (item,):
        if isinstance(number, int | float) and not -MAX_NUMBER <= number <= MAX_NUMBER:  # also refuses NaN
            raise ContractError(
                f"{where} is {item!r}: expected finite numbers within +-{MAX_NUMBER:g}; re-export the policy"
            )


def _is_a(item: Any, hint: Any) -> bool:
    arguments = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return any(_is_a(item, argument) for argument in arguments)
    if typing.get_origin(hint) is tuple:
        if not isinstance(item, tuple):
            return False
        expected = arguments[:1] * len(item) if arguments[-1] is Ellipsis else arguments
        return len(item) == len(expected) and all(map(_is_a, item, expected))
    kind = typing.get_origin(hint) or hint
    if kind is float:
        kind = (int, float)
    return isinstance(item, kind) and not isinstance(item, bool)


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _validate_frames(frames: Frames) -> None:
    if frames.base != BASE_FRAME:
        raise ContractError(f"frames.base is {frames.base!r}: robots measure in {BASE_FRAME!r} only; retrain in it")
    if not abs(frames.hand_to_tcp_m - HAND_TO_TCP_M) < 1e-6:
        raise ContractError(
            f"frames.hand_to_tcp_m = {frames.hand_to_tcp_m}, the robot's tool is {HAND_TO_TCP_M} m beyond the hand: "
            "retrain with that tool"
        )


def _validate_observation(contract: Contract) -> None:
    if not contract.observation:
        raise ContractError("the contract has no observation terms: re-export the policy")
    expected = terms(contract.term_names, contract.frames.base)
    for have, want in zip(contract.observation, expected, strict=True):
        if have != want:
            raise ContractError(
                f"observation term {have.name!r} is {asdict(have)}, this vlajs computes {asdict(want)}: "
                "the policy was trained on another definition; retrain or install the vlajs release that wrote it"
            )


def _validate_action(action: ActionContract) -> None:
    ranges = {
        "position_scale_m": (action.position_scale_m, MAX_STEP_M),
        "rotation_scale_rad": (action.rotation_scale_rad, MAX_STEP_RAD),
        "leash_m": (action.leash_m, 2 * MAX_STEP_M),
        "leash_rad": (action.leash_rad, 2 * MAX_STEP_RAD),
    }
    for name, (value, limit) in ranges.items():
        if not 0 < value <= limit:
            raise ContractError(f"action.{name} = {value} is outside (0, {limit}]: no arm should be driven with it")
    for low, high in zip(action.workspace_min_m, action.workspace_max_m, strict=True):
        if not low < high:
            raise ContractError(f"workspace box is empty: {action.workspace_min_m} to {action.workspace_max_m}")
    if not 1 <= action.ticks_per_action <= MAX_TICKS_PER_ACTION:
        raise ContractError(
            f"action.ticks_per_action = {action.ticks_per_action} is outside [1, {MAX_TICKS_PER_ACTION}]: "
            "a policy that decides less often does not see what its arm does"
        )
    if action.reference != "target":
        raise ContractError(f"action.reference {action.reference!r}: the bridge integrates from 'target' only")
    if action.rotation != "rotation_vector_left_base":
        raise ContractError(
            f"action.rotation {action.rotation!r}: the bridge composes 'rotation_vector_left_base' only"
        )
    gripper = action.gripper
    if not 0 <= gripper.close_below_m < gripper.open_above_m <= gripper.width_max_m <= 0.08:
        raise ContractError(f"gripper thresholds must rise from 0 to at most 0.08 m, got {asdict(gripper)}")
    if gripper.initial_width_m not in (0.0, gripper.width_max_m):
        raise ContractError(
            f"gripper.initial_width_m = {gripper.initial_width_m}: the hand only opens and closes, "
            f"so that an episode can begin at 0 or {gripper.width_max_m} m"
        )
    if gripper.fixed_width_m not in (None, gripper.initial_width_m):
        raise ContractError(
            f"gripper.fixed_width_m = {gripper.fixed_width_m} differs from initial_width_m = "
            f"{gripper.initial_width_m}: a hand that is held keeps the width it begins with"
        )


def _spec(name: str):
    if name not in TERMS:
        raise ContractError(
            f"unknown observation term {name!r}: this vlajs computes {', '.join(TERMS)}; "
            "update vlajs or retrain without it"
        )
    return TERMS[name]


def _build(cls: type, data: Any, where: str) -> Any:
    """A flat dataclass from a JSON object, refusing missing and unknown keys; JSON lists become tuples."""
    if not isinstance(data, dict):
        raise ContractError(f"{where} is {data!r}, not an object: re-export the policy")
    known = {f.name for f in fields(cls)}
    if unknown := set(data) - known:
        raise ContractError(f"{where} has unknown keys {sorted(unknown)}: known are {sorted(known)}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise ContractError(f"{where}: {error}: re-export the policy") from error


def _contract_from(data: dict[str, Any]) -> Contract:
    values = dict(data)
    try:
        values["observation"] = [_build(ObservationTerm, term, "observation") for term in data["observation"]]
        gripper = _build(GripperContract, data["action"]["gripper"], "action.gripper")
        values["action"] = _build(ActionContract, {**data["action"], "gripper": gripper}, "action")
        values["frames"] = _build(Frames, data["frames"], "frames")
        values["network"] = _build(Network, data["network"], "network")
    except (KeyError, TypeError) as error:
        raise ContractError(f"the contract lacks or garbles {error}: re-export the policy") from error
    return _build(Contract, values, "contract")
