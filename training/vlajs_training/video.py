"""A short video of a policy, where SAPIEN finds a device to render with (a GPU, or Mesa's lavapipe on the CPU)."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import torch

from vlajs.policy.bundle import PolicyBundle
from vlajs.policy.response import ControllerResponse
from vlajs_training.environment import TaskEnvironment
from vlajs_training.randomisation import get_randomisation
from vlajs_training.simulation.headless import renderer_available

SEED = 950_000
"""Of the scenes shown: seen neither in training nor in validation or report."""
NO_RENDERER = (
    "no video: SAPIEN finds no Vulkan device to render with; a GPU driver provides one, or on the CPU Mesa 25's "
    "lavapipe (Debian: mesa-vulkan-drivers of bookworm-backports)"
)


def record_policy(
    bundle: PolicyBundle,
    path: Path,
    *,
    response: ControllerResponse,
    protocol: str = "standard",
    episodes: int = 4,
    seed: int = SEED,
) -> Path | None:
    """Write a video (H.264, at the speed of life) of a policy on the stock environment, nothing randomised.

    A run must not fail for want of a video: whatever keeps it from being made is said on standard error.

    Args:
        bundle: the policy.
        path: of the video, ending in .mp4; written whole or not at all.
        response: identified response of bridge and arm.
        protocol: ``standard`` or ``long``, as trained.
        episodes: how many follow each other; each ends a moment after success, or at the horizon.
        seed: of the scenes.

    Returns:
        ``path``, or None where nothing was written.

    Raises:
        ValueError: the bundle's task or protocol is unknown here.
    """
    if not renderer_available():
        print(NO_RENDERER, file=sys.stderr)
        return None
    temporary = path.with_suffix(".partial.mp4")
    try:
        _record(bundle, temporary, response, protocol, episodes, seed)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        print(f"no video: {(str(error) or type(error).__name__).splitlines()[0]}", file=sys.stderr)
        return None
    return path


def _record(
    bundle: PolicyBundle, path: Path, response: ControllerResponse, protocol: str, episodes: int, seed: int
) -> None:
    env = TaskEnvironment(
        bundle.contract.task,
        num_envs=1,
        response=response,
        randomisation=get_randomisation("none"),
        backend="stock_cpu",
        end_at_success=False,
        protocol=protocol,
        render_backend="gpu" if torch.cuda.is_available() else "cpu",
    )
    try:
        rate_hz = env.definition.control_rate_hz / env.definition.action.ticks_per_action
        _write(path, _frames(env, bundle, episodes, seed, pause=round(0.5 * rate_hz)), rate_hz)
    finally:
        env.close()


def _frames(env: TaskEnvironment, bundle: PolicyBundle, episodes: int, seed: int, pause: int) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) uint8, one a decision.

    An episode goes on for ``pause`` decisions after success, and its last frame stands for as many.
    """
    for episode in range(episodes):
        observation, succeeded_for, over = env.reset(seed + episode), 0, False
        frame = env.frame()
        while not over and succeeded_for <= pause:
            yield frame
            result = env.step(bundle.act(observation[0])[None])
            observation, over = result.observation, bool(result.truncated[0])
            succeeded_for += succeeded_for > 0 or bool(result.success[0])
            if not over:  # else the scene is the next episode's already
                frame = env.frame()
        yield from [frame] * pause


def _write(path: Path, frames: Iterator[np.ndarray], rate_hz: float) -> None:
    """Encode.

    Raises:
        OSError: ffmpeg ended, its message included.
    """
    first = next(frames)
    height, width = first.shape[:2]
    fps: Any = rate_hz  # its annotation says int, ffmpeg takes fractions
    writer = imageio_ffmpeg.write_frames(str(path), (width, height), fps=fps, codec="libx264", macro_block_size=2)
    writer.send(None)
    try:
        writer.send(np.ascontiguousarray(first))
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
    finally:
        writer.close()
