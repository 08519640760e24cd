"""What a session writes down: its header, and one result for each finished trial."""

import hashlib
import json
import math
import platform
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

SCHEMA_VERSION = 1

Outcome = Literal[
    "success", "time_limit", "robot_fault", "stale_input", "object_lost", "policy_fault", "operator_stop", "operator"
]
"""How a trial ended. ``policy_fault``: the policy node died or stopped by itself; ``operator_stop``: somebody stopped
the arm or the policy; ``operator``: judged a failure by the operator of a real arm."""

Arm = Literal["twin", "real"]
Launch = Literal["none", "twin"]
"""Which nodes the session starts itself."""

PoseSource = Literal["truth", "camera"]
"""Where the policy's object poses come from: the twin's truth, or a camera and the pose estimator."""
Commander = Literal["policy", "baseline"]
"""Who runs the arm in a trial: the policy that is evaluated, or the VLA that it is compared with."""

COMMANDERS: tuple[Commander, ...] = ("policy", "baseline")

_PACKAGES = ("vlajs", "numpy", "scipy", "franky-control", "franky-sim", "mujoco", "ros-jazzy-rclpy")


class SessionError(RuntimeError):
    """The session cannot go on; the message says why and what to do. What was journalled stays."""


def with_notes(error: BaseException) -> str:
    """The message of an error followed by the notes it was given on its way: what became of policy and arm."""
    return "; ".join(filter(None, (str(error), *getattr(error, "__notes__", ()))))


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Which policy was evaluated.

    Attributes:
        path: of the bundle, absolute.
        sha256: of the file.
        contract_id: of the contract inside it.
        provenance: what the contract says it was trained with; for the report only.
    """

    path: str
    sha256: str
    contract_id: str
    provenance: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(path: Path, contract_id: str, provenance: dict[str, Any]) -> "Checkpoint":
        """The bundle in this file, whose contract the caller has read.

        Raises:
            SessionError: the file cannot be read.
        """
        path = path.absolute()
        return Checkpoint(path=str(path), sha256=_sha256(path), contract_id=contract_id, provenance=provenance)

    def require_unchanged(self) -> None:
        """Check that the file still holds what was named when the session began or was resumed.

        Raises:
            SessionError: it is gone, or holds something else, for instance because training went on.
        """
        if (found := _sha256(Path(self.path))) != self.sha256:
            raise SessionError(
                f"{self.path} has changed: its sha256 was {self.sha256[:12]}..., is now {found[:12]}...; one journal "
                "holds one policy: put the file back, or name a copy of it with `vlajs session resume --checkpoint`"
            )


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """``baseline.json``: which VLA the policy is compared with, as its node said before the first trial.

    Attributes:
        contract_id: another model, convention, instruction or limit has another.
        settings: parameters of the node that bear on the result, as text.
    """

    contract_id: str
    settings: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """JSON text, indented for people."""
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> "Baseline":
        """Parse.

        Raises:
            SessionError: not what :meth:`to_json` wrote.
        """
        return _build(Baseline, _object(text, "baseline.json"), "baseline.json")


@dataclass(frozen=True, kw_only=True)
class SessionHeader:
    """``session.json``: everything that was fixed before the first trial.

    Attributes:
        plan: :func:`vlajs.session.plan.plan_record`.
        pose_source: of the policy's object poses; the session itself judges by the truth on the twin.
        condition: by which every trial is disturbed, of :data:`vlajs.session.conditions.CONDITIONS`.
        launch_args: ``key:=value`` words for what the session starts, such as the twin's pace.
        versions: of the packages that matter, as installed.
        started_utc: ISO 8601.
    """

    task: str
    instruction: str
    arm: Arm
    seed: int
    trials: int
    checkpoint: Checkpoint
    plan: list[dict[str, Any]]
    launch: Launch = "none"
    record: bool = True
    pose_source: PoseSource = "truth"
    condition: str = "undisturbed"
    launch_args: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    machine: str = ""
    started_utc: str = ""
    schema_version: int = SCHEMA_VERSION

    @property
    def compares(self) -> bool:
        """Whether trials of the policy and of a baseline alternate."""
        return any(commander_of(entry) == "baseline" for entry in self.plan)

    def to_json(self) -> str:
        """JSON text, indented for people."""
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> "SessionHeader":
        """Parse.

        Raises:
            SessionError: not a header this vlajs reads.
        """
        data = _object(text, "session.json")
        version = data.get("schema_version")
        if version != SCHEMA_VERSION:
            raise SessionError(
                f"session.json has schema version {version!r}, this vlajs reads {SCHEMA_VERSION}: "
                "use the vlajs release that wrote it"
            )
        checkpoint = data.get("checkpoint")
        if not isinstance(checkpoint, dict):
            raise SessionError("session.json names no checkpoint: the file was edited; start a new session")
        header: SessionHeader = _build(
            SessionHeader, data | {"checkpoint": _build(Checkpoint, checkpoint, "checkpoint")}, "session.json"
        )
        for entry in header.plan:
            if not _is_planned(entry):
                raise SessionError(
                    f"session.json plans {str(entry)[:80]}, which is no trial: it was edited; restore a copy"
                )
        return header


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One finished trial: one line of ``journal.jsonl``.

    Attributes:
        reason: why it ended so, in plain words.
        duration_s: robot time from the policy's first action to the end.
        time_to_success_s: robot time from the first action to the first success; None without one.
        final_distance_m: object to goal at the end, as the task measures it; None where nothing measured it.
        closest_m: smallest such distance of the trial.
        faults: what the bridge reported, in its words.
        ended_utc: ISO 8601.
        commander: whose trial it was.
    """

    trial: int
    scene_seed: int
    success: bool
    outcome: Outcome
    reason: str
    duration_s: float
    time_to_success_s: float | None
    final_distance_m: float | None
    closest_m: float | None
    judged_by: Literal["ground truth", "operator"]
    faults: tuple[str, ...] = ()
    ended_utc: str = ""
    commander: Commander = "policy"

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "TrialResult":
        """Parse.

        Raises:
            SessionError: not a trial's result.
        """
        data = _object(text, "a line of journal.jsonl")
        if isinstance(data.get("faults"), list):
            data["faults"] = tuple(data["faults"])
        return _build(TrialResult, data, "a line of journal.jsonl")


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise SessionError(
            f"{path} cannot be read ({error.strerror}): put the policy bundle back, or name where it is with "
            "`vlajs session resume --checkpoint`"
        ) from error


def utc_now() -> str:
    """Now, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def installed_versions() -> dict[str, str]:
    """Versions of the packages that bear on a result; those that are absent are left out."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def machine_description() -> str:
    """Host name, operating system and processor architecture."""
    return f"{platform.node()}, {platform.system()} {platform.release()}, {platform.machine()}"


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise SessionError(f"{where} is not JSON ({error}): the file is damaged") from error
    if not isinstance(data, dict):
        raise SessionError(f"{where} is a {type(data).__name__}, not an object: the file is damaged")
    return data


def _build(cls: type, data: dict[str, Any], where: str) -> Any:
    known = {f.name for f in fields(cls)}
    if unknown := set(data) - known:
        raise SessionError(f"{where} has unknown keys {sorted(unknown)}: it was written by another vlajs or edited")
    for name, kind in get_type_hints(cls).items():
        if name in data and not _fits(data[name], kind):
            raise SessionError(
                f"{where} has {name} = {str(data[name])[:60]!r}, which cannot be: it is damaged or edited"
            )
    try:
        return cls(**data)
    except TypeError as error:  # a key is missing
        raise SessionError(f"{where}: {error}: it was written by another vlajs or edited") from error


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value read from JSON is of the type that a field above is annotated with; numbers must be finite."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin is Literal:
        return value in arguments
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin in (list, tuple):
        return isinstance(value, origin) and all(_fits(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, arguments[1]) for item in value.values())
    if kind in (int, float):
        if isinstance(value, float):
            return kind is float and math.isfinite(value)
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def commander_of(entry: dict[str, Any]) -> str:
    """Whose trial an entry of a plan is."""
    return entry.get("commander", "policy")


def _is_planned(entry: dict[str, Any]) -> bool:
    """Whether this may be an entry of :func:`vlajs.session.plan.plan_record`."""
    poses = entry.get("objects")
    return (
        _fits(entry.get("trial"), int)
        and _fits(entry.get("scene_seed"), int)
        and _fits(entry.get("goal_m"), list[float])
        and commander_of(entry) in COMMANDERS
        and isinstance(poses, dict)
        and _fits(poses, dict[str, dict[str, list[float]]])
        and all("position_m" in pose for pose in poses.values())
    )
