"""What the robot side would see of a simulated state: noisy, biased, late."""

from dataclasses import replace

import torch

from vlajs_training.randomisation import Randomisation
from vlajs_training.rotations import quat_from_rotvec, quaternion_multiply
from vlajs_training.tasks.terms import BatchPose, BatchState


class DelayLine:
    """Rows of the last steps for N environments; each environment reads its own number of steps back."""

    def __init__(self, num_envs: int, max_delay: int, device: torch.device) -> None:
        """Until :meth:`fill` nothing can be read.

        Args:
            num_envs: N.
            max_delay: largest number of steps back.
            device: of the rows.
        """
        self.delay = torch.zeros(num_envs, dtype=torch.long, device=device)
        self._everyone = torch.arange(num_envs, device=device)
        self._max_delay = max_delay
        self._rows: list[torch.Tensor] = []

    def fill(self, env_idx: torch.Tensor, row: torch.Tensor, delay: torch.Tensor) -> None:
        """A new episode in ``env_idx`` (M,): ``row`` (N, k) is all they ever saw, ``delay`` (M,) steps old from now."""
        if not self._rows:
            self._rows = [row.clone() for _ in range(self._max_delay + 1)]
        for kept in self._rows:
            kept[env_idx] = row[env_idx]
        self.delay[env_idx] = delay

    def push(self, row: torch.Tensor) -> None:
        """The next step's values (N, k)."""
        self._rows = [row.clone(), *self._rows[:-1]]

    def read(self) -> torch.Tensor:
        """What every environment sees now (N, k)."""
        if self._max_delay == 0:
            return self._rows[0]
        return torch.stack(self._rows)[self.delay, self._everyone]


class Sensing:
    """Turns true states into seen ones, by the noise, bias and delay of each source."""

    def __init__(self, num_envs: int, ranges: Randomisation, device: torch.device) -> None:
        self._ranges = ranges
        self._num_envs = num_envs
        self._device = device
        self._robot = DelayLine(num_envs, ranges.robot_delay_steps[1], device)
        self._objects: dict[str, DelayLine] = {}
        self._object_bias_m: dict[str, torch.Tensor] = {}
        self._goal_bias_m = torch.zeros(num_envs, 3, device=device)
        self._no_error = torch.zeros(num_envs, 3, device=device)

    def begin(self, env_idx: torch.Tensor, state: BatchState, generator: torch.Generator) -> None:
        """New episodes in ``env_idx`` (M,), which begin in ``state``: draw biases and delays."""
        count, ranges = len(env_idx), self._ranges
        for name, pose in state.objects.items():
            if name not in self._objects:
                self._objects[name] = DelayLine(self._num_envs, ranges.object_delay_steps[1], self._device)
                self._object_bias_m[name] = torch.zeros(self._num_envs, 3, device=self._device)
            bias_m = ranges.object_bias_m * torch.randn(count, 3, generator=generator, device=self._device)
            bias_m[:, 2] = 0.0
            self._object_bias_m[name][env_idx] = bias_m
            delay = draw_steps(count, ranges.object_delay_steps, generator)
            self._objects[name].fill(env_idx, _row(pose), delay)
        robot_delay = torch.zeros(count, dtype=torch.long, device=self._device)
        if ranges.robot_delay_steps[1] > 0:
            robot_delay = draw_steps(count, ranges.robot_delay_steps, generator)
        self._robot.fill(env_idx, _robot_row(state), robot_delay)
        if ranges.goal_bias_m > 0.0:
            drawn = torch.randn(count, 3, generator=generator, device=self._device)
            self._goal_bias_m[env_idx] = ranges.goal_bias_m * drawn

    def advance(self, state: BatchState) -> None:
        """One decision later."""
        self._robot.push(_robot_row(state))
        for name, pose in state.objects.items():
            self._objects[name].push(_row(pose))

    def see(self, state: BatchState, generator: torch.Generator) -> BatchState:
        """``state``, the one last begun or advanced to, as it is seen; noise is drawn anew at each call."""
        ranges = self._ranges
        robot = self._robot.read()
        tcp_noise_m = self._normal(ranges.tcp_noise_m, generator)
        objects = {}
        for name, line in self._objects.items():
            row = line.read()
            noise_m = self._normal(ranges.object_noise_m, generator)
            objects[name] = BatchPose(
                position_m=row[:, :3] + self._object_bias_m[name] + noise_m,
                wxyz=self._turned(row[:, 3:], ranges.object_noise_rad, generator),
            )
        return replace(
            state,
            tcp_position_m=robot[:, :3] + tcp_noise_m,
            tcp_wxyz=self._turned(robot[:, 3:7], ranges.tcp_noise_rad, generator),
            target_position_m=robot[:, 7:10],
            target_wxyz=robot[:, 10:14],
            gripper_width_m=robot[:, 14],
            objects=objects,
            goal_m=state.goal_m + self._goal_bias_m + self._normal(ranges.goal_noise_m, generator),
        )

    def _normal(self, deviation: float, generator: torch.Generator) -> torch.Tensor:
        if deviation == 0.0:
            return self._no_error
        return deviation * torch.randn(self._num_envs, 3, generator=generator, device=self._device)

    def _turned(self, wxyz: torch.Tensor, deviation_rad: float, generator: torch.Generator) -> torch.Tensor:
        if deviation_rad == 0.0:
            return wxyz
        return quaternion_multiply(quat_from_rotvec(self._normal(deviation_rad, generator)), wxyz)


def draw_steps(count: int, bounds: tuple[int, int], generator: torch.Generator) -> torch.Tensor:
    """Whole numbers (count,) between the bounds, both included."""
    low, high = bounds
    return torch.randint(low, high + 1, (count,), generator=generator, device=generator.device)


def _row(pose: BatchPose) -> torch.Tensor:
    return torch.cat([pose.position_m, pose.wxyz], dim=1)


def _robot_row(state: BatchState) -> torch.Tensor:
    tool = [state.tcp_position_m, state.tcp_wxyz, state.target_position_m, state.target_wxyz]
    return torch.cat([*tool, state.gripper_width_m[:, None]], dim=1)
