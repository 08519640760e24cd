"""Videos: what is said where nothing renders, what is written, and the real thing where a renderer exists."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from vlajs.policy.response import ControllerResponse
from vlajs_training import video
from vlajs_training.export import to_bundle
from vlajs_training.ppo import ActorCritic, ObservationNormaliser, PPOConfig
from vlajs_training.responses import TWIN_RESPONSE
from vlajs_training.simulation import headless
from vlajs_training.simulation.vector import StepResult
from vlajs_training.tasks import get_definition

RESPONSE = ControllerResponse.from_yaml(TWIN_RESPONSE)


@pytest.fixture
def bundle():
    definition = get_definition("push_cube")
    torch.manual_seed(0)
    network = ActorCritic(definition.observation_size, 7, PPOConfig(hidden_sizes=(8,)))
    return to_bundle(definition, network, ObservationNormaliser(definition.observation_size), {})


class Scene:
    """Ten decisions an episode, success at the third; a frame's brightness says which decision it shows."""

    def __init__(self, succeeds: bool) -> None:
        self.succeeds = succeeds
        self.age = 0

    def reset(self, seed: int) -> np.ndarray:
        self.age = 0
        return np.zeros((1, 1))

    def frame(self) -> np.ndarray:
        return np.full((32, 48, 3), 20 * self.age, dtype=np.uint8)

    def step(self, actions: np.ndarray) -> StepResult:
        self.age += 1
        over = self.age == 10
        success = np.array([self.succeeds and self.age == 3])
        if over:
            self.age = 0  # as TaskEnvironment does: the next scene is there already
        nothing = np.zeros((1, 1))
        return StepResult(
            observation=nothing,
            reward=np.zeros(1, np.float32),
            terminated=np.array([False]),
            truncated=np.array([over]),
            final_observation=nothing,
            success=success,
        )


class Still:
    def act(self, observation: np.ndarray) -> np.ndarray:
        return np.zeros(7)


def shown(scene: Scene, episodes: int) -> list[int]:
    frames = video._frames(scene, Still(), episodes, seed=0, pause=2)  # type: ignore[arg-type]
    return [int(frame[0, 0, 0]) // 20 for frame in frames]


def test_an_episode_ends_a_moment_after_success_or_at_the_horizon() -> None:
    # success is seen after decision 3; two decisions more; the last frame stands for two more
    assert shown(Scene(succeeds=True), 2) == [0, 1, 2, 3, 4, 5, 5] * 2
    # no success: ten decisions from frames 0 to 9, and never a frame of the next scene at the end
    assert shown(Scene(succeeds=False), 1) == [*range(10), 9, 9]


def test_frames_become_a_video_at_the_speed_of_life(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    video._write(path, video._frames(Scene(succeeds=True), Still(), 2, seed=0, pause=2), 10.0)  # type: ignore[arg-type]
    reader = imageio_ffmpeg.read_frames(str(path))
    facts = next(reader)
    frames = [np.frombuffer(data, np.uint8).reshape(32, 48, 3) for data in reader]  # type: ignore[arg-type]
    assert facts["fps"] == 10.0  # type: ignore[index]
    assert len(frames) == 14
    assert abs(int(frames[3].mean()) - 60) < 12  # decision 3, through the codec


def test_without_a_renderer_it_says_so(bundle, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "renderer_available", lambda: False)
    assert video.record_policy(bundle, tmp_path / "a.mp4", response=RESPONSE) is None
    assert "no video: SAPIEN finds no Vulkan device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_renderer_that_breaks_costs_the_video_only(bundle, tmp_path: Path, capsys, monkeypatch) -> None:
    def breaks(bundle: object, path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("device lost\nand more")

    monkeypatch.setattr(video, "renderer_available", lambda: True)
    monkeypatch.setattr(video, "_record", breaks)
    assert video.record_policy(bundle, tmp_path / "a.mp4", response=RESPONSE) is None
    assert capsys.readouterr().err == "no video: device lost\n"
    assert list(tmp_path.iterdir()) == []


def test_inert_materials_are_no_renderer(monkeypatch: pytest.MonkeyPatch) -> None:
    import sapien.render

    monkeypatch.setattr(sapien.render, "RenderMaterial", headless.InertMaterial)
    assert not headless.renderer_available()


@pytest.mark.skipif(not headless.renderer_available(), reason="SAPIEN finds no Vulkan device here")
def test_real_policy_is_filmed(bundle, tmp_path: Path) -> None:
    path = tmp_path / "push.mp4"
    assert video.record_policy(bundle, path, response=RESPONSE, episodes=1) == path
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    done = subprocess.run([ffmpeg, "-i", str(path)], capture_output=True, text=True, check=False)
    assert "512x512" in done.stderr
    frames = list(imageio_ffmpeg.read_frames(str(path)))[1:]
    assert np.frombuffer(frames[0], np.uint8).std() > 10  # type: ignore[arg-type]  # a scene, not a blank
