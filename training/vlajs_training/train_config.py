"""Configuration of ``vlajs train``."""

import hashlib
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import tyro

from vlajs.policy.response import ControllerResponse
from vlajs_training.guidance import METHODS, GuidanceConfig, MethodName, deactivation_reward
from vlajs_training.ppo import PPOConfig
from vlajs_training.ranges import INFINITY, require_range
from vlajs_training.responses import TWIN_RESPONSE
from vlajs_training.run_folder import RunFolder
from vlajs_training.teachers.defaults import calibrated, default_magnitude
from vlajs_training.teachers.vla_config import VlaTeacherConfig

DEFAULT_STEPS = {"push_cube": 150_000, "push_cube_v2": 150_000}
DEFAULT_STEPS_OTHERWISE = 800_000
LONG_STEPS_FACTOR = 4

RANGES: dict[str, tuple[float, float]] = {
    "teacher_scale": (1e-6, 1e6),
    "seed": (0, 2**31 - 1),
    "total_steps": (1, INFINITY),
    "num_envs": (1, INFINITY),
    "workers": (1, INFINITY),
    "validate_every": (1, INFINITY),
    "validate_from_success": (-INFINITY, 1.0),
    "reflexes_from_success": (0.0, 1.0),
    "validation_episodes": (1, INFINITY),
    "report_episodes": (0, INFINITY),
    "checkpoint_every_s": (0.0, INFINITY),
}
"""Least and greatest value of each number."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a policy and write it as a policy bundle."""

    task: tyro.conf.Positional[str]
    """Which task: push_cube, pick_cube, ..."""
    method: MethodName = "ppo"
    """ppo: nobody guides; sparse-rpd: match a teacher's actions throughout; vlajs-rpd: match them until learning has
    begun; vlajs: follow their direction until learning has begun."""
    reward: str = "dense"
    """dense, or sub_optimal: a simplified reward that does not lead the arm to the object."""
    protocol: str = "standard"
    """standard, or long: ten times the horizon, steps a tenth as large."""
    teacher: str = "scripted"
    """Who guides: scripted, mini-vla, or a server reached by openvla-rest, openpi or vlajs; ignored with --method
    ppo."""
    teacher_scale: float | None = None
    """Magnitude the teacher speaks in, as a multiple of what the student would have to do: 1 is the student's own
    scale. By default 2 for scripted, which speaks as it is told; of the others it is only stated, by default 1."""
    seed: int = 1
    """Seed of network, exploration and scenes."""
    total_steps: int | None = None
    """Environment steps, one for each decision of a policy; by default 150,000 for push_cube and push_cube_v2, 800,000
    for the others, four times that with --protocol long."""
    num_envs: int = 128
    """Environments in all."""
    workers: int = 2
    """Simulation processes of each training process; ignored with --device cuda."""
    device: Literal["cpu", "cuda"] = "cpu"
    """cuda runs ManiSkill's GPU simulation and the network on the GPU."""
    randomise: str = "deploy"
    """What to vary: none or deploy."""
    response: Path = TWIN_RESPONSE
    """Identified response of bridge and arm (vlajs identify)."""
    validate_every: int = 25_000
    """Environment steps between validations, at whole multiples of this."""
    validate_from_success: float = 0.5
    """No validation before this share of exploring episodes succeeds: failures run to the horizon and cost time. 0
    validates from the start, as curves to be compared need it."""
    validate_held: bool = False
    """Let validation episodes go on after success, to measure whether it is held at the horizon; slower."""
    reflexes_from_success: float = 0.9
    """From this share of successes on, exploring episodes in which a fingertip lands on the object, or presses it on
    the table, end as failures, as an arm's reflex ends them; before, that would teach not to come near. For pick_cube
    and lift_peg_upright; validation and report always count them as failures."""
    validation_episodes: int = 256
    """Episodes in a validation, on seeds of their own; the best validation chooses the bundle."""
    report_episodes: int = 200
    """Episodes on stock ManiSkill, on other seeds again, once training is over; 0 skips the report."""
    video: bool = True
    """Film the chosen policy once training is over, where something renders; on a processor that is half a minute."""
    checkpoint_every_s: float = 60.0
    """Longest time between checkpoints, seconds."""
    folder: Path | None = None
    """Run folder; by default runs/<task>[-sub_optimal][-long]-<method>-seed<seed>."""
    resume: bool = False
    """Go on from the folder's checkpoint."""
    begin_with: Path | None = None
    """Run folder of an earlier training of the task, whose last network this one begins with; steps count from 0."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """Hyper-parameters of every method."""
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    """How the teacher guides."""
    vla: VlaTeacherConfig = field(default_factory=VlaTeacherConfig)
    """The teacher, where it is a vision-language-action model."""

    @property
    def run_name(self) -> str:
        """Names folder and bundle."""
        variant = ("-sub_optimal" if self.reward == "sub_optimal" else "") + (
            "-long" if self.protocol == "long" else ""
        )
        return f"{self.task}{variant}-{self.method}-seed{self.seed}"

    @property
    def run_folder(self) -> Path:
        """Where everything goes."""
        return self.folder or Path("runs") / self.run_name

    @property
    def bundle_path(self) -> Path:
        """The bundle of the best validation."""
        return self.run_folder / f"{self.run_name}.safetensors"

    @property
    def teacher_magnitude(self) -> float:
        """The scale the teacher speaks in."""
        return default_magnitude(self.teacher) if self.teacher_scale is None else self.teacher_scale

    @property
    def budget(self) -> int:
        """Environment steps to train for."""
        steps = DEFAULT_STEPS.get(self.task, DEFAULT_STEPS_OTHERWISE)
        if self.total_steps is not None:
            return self.total_steps
        return steps * (LONG_STEPS_FACTOR if self.protocol == "long" else 1)

    @cached_property
    def begun_with_sha256(self) -> str | None:
        """Of the checkpoint that the run begins with, read once: a run does not end because it is removed; or None.

        Raises:
            ValueError: it cannot be read.
        """
        if self.begin_with is None:
            return None
        checkpoint = RunFolder(self.begin_with).checkpoint_file
        try:
            return hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        except OSError as error:
            raise ValueError(
                f"--begin-with {self.begin_with}: {checkpoint.name} cannot be read ({error.strerror}): give the folder "
                "of a run that has made a checkpoint"
            ) from error

    def check(self) -> None:
        """Refuse numbers no run can be made with, before anything starts.

        Raises:
            ValueError: naming the parameter, its value and the limit.
        """
        values = {**vars(self), "total_steps": self.budget, "teacher_scale": self.teacher_magnitude}
        require_range("", values, RANGES)
        self.ppo.check(self.num_envs)
        if METHODS[self.method] is not None:
            self.vla.check(self.teacher)
        ControllerResponse.from_yaml(self.response)

    def settings(self) -> dict[str, Any]:
        """What config.json holds, and what a resumed run must have in common with the one it continues.

        Beside what was asked for, what it came to: the same words mean another teacher once it is calibrated anew. A
        run may be moved: where it lies does not matter, nor where the response was read from.
        """
        apart = ("resume", "folder", "video", "vla", "begin_with")
        settings = {key: value for key, value in asdict(self).items() if key not in apart}
        settings["teacher_scale"] = self.teacher_magnitude
        settings["begun_with_sha256"] = self.begun_with_sha256
        settings |= {"budget": self.budget, "response": asdict(ControllerResponse.from_yaml(self.response))}
        if METHODS[self.method] is None:
            return settings
        asked = self.guidance.deactivation_reward
        settings["deactivation_reward"] = deactivation_reward(self.task, self.reward) if asked is None else asked
        if self.teacher == "scripted":
            settings["teacher_level"], settings["teacher_success"] = calibrated(self.task, self.protocol)
        else:
            settings |= self.vla.settings()
        return settings
