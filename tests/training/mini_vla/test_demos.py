"""Demonstrations of the undegraded scripts, rendered; what needs no renderer is tested everywhere."""

from pathlib import Path

import numpy as np
import pytest

from vlajs.cli import dispatch
from vlajs_training import rendered_view
from vlajs_training.mini_vla import demos as module
from vlajs_training.mini_vla.dataset import load_demonstrations
from vlajs_training.mini_vla.demo_folder import DemoFolder, read_batch
from vlajs_training.mini_vla.demos import DemosConfig, Disturbance
from vlajs_training.rendered_view import CameraView, RenderError
from vlajs_training.simulation.headless import renderer_available

needs_vulkan = pytest.mark.skipif(not renderer_available(), reason=rendered_view.NO_RENDERER)


def test_a_disturbance_pushes_for_a_while_and_leaves_the_hand_alone() -> None:
    disturbance = Disturbance(400, np.random.default_rng(0), 0.1)
    action = np.tile([0.9, 0, 0, 0, 0, 0, -1.0], (400, 1)).astype(np.float32)
    changed = np.stack([disturbance.applied_to(action) for _ in range(200)])
    disturbed = (changed[:, :, :6] != action[:, :6]).any(axis=2)
    # begins at 10 % of undisturbed answers and lasts 2 on average: 0.1 * 2 / (1 + 0.1 * 2 - 0.1) = 0.18
    assert 0.15 < disturbed.mean() < 0.21
    assert (changed[:, :, 6] == -1.0).all()
    length = np.linalg.norm(changed[disturbed][:, :3], axis=1)
    assert length.min() >= 0.3 - 1e-6
    assert length.max() <= 1.0 + 1e-6
    assert np.linalg.norm(changed[disturbed][:, 3:6], axis=1).max() <= 0.5 + 1e-6
    assert (action[:, 0] == np.float32(0.9)).all(), "what the script said is kept"
    calm = Disturbance(4, np.random.default_rng(0), 0.0)
    np.testing.assert_array_equal(calm.applied_to(action[:4]), action[:4])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["push_cube"], "tasks and a folder are needed"),
        (["FOLDER"], "tasks and a folder are needed"),
        (["push_cube", "pick_cube"], r"tasks and a folder are needed, got \('push_cube', 'pick_cube'\)"),
        (["fold_towel", "FOLDER"], "unknown task 'fold_towel'"),
        (["push_cube", "FOLDER", "--episodes", "0"], r"episodes = 0 is outside \[1"),
        (["push_cube", "FOLDER", "--disturb", "0.9"], r"disturb = 0.9 is outside \[0, 0.5\]"),
        (["push_cube", "FOLDER", "--camera.width-px", "64"], r"width_px = 64 is outside \[128, 256\]"),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        dispatch(["teacher", "demos", *(str(tmp_path / "out") if word == "FOLDER" else word for word in words)])
    assert not (tmp_path / "out").exists()


def test_without_a_renderer_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "renderer_available", lambda: False)
    with pytest.raises(RenderError, match=r"lavapipe .*mesa-vulkan-drivers libvulkan1"):
        dispatch(["teacher", "demos", "push_cube", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_all_means_every_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "renderer_available", lambda: True)
    config = DemosConfig(words=("all", "out"))
    assert len(config.check()) == 7
    assert config.output == Path("out")
    # 15 mm and 0.05 rad a tick, 4 ticks an answer
    assert (config.facts()["reach_m"], config.facts()["reach_rad"]) == (pytest.approx(0.06), pytest.approx(0.2))


@needs_vulkan
def test_two_episodes_are_the_same_again_and_more_are_added(tmp_path: Path) -> None:
    words = ["push_cube", "FOLDER", "--episodes", "2", "--envs", "2", "--seed", "4"]

    def record(folder: str, *more: str) -> DemoFolder:
        path = tmp_path / folder
        assert dispatch(["teacher", "demos", *(str(path) if word == "FOLDER" else word for word in words), *more]) == 0
        return DemoFolder(path)

    first, again = record("first"), record("again")
    batch, same = (read_batch(folder.file("push_cube", 0)) for folder in (first, again))
    assert batch.episodes == 2
    assert batch.pictures == same.pictures
    np.testing.assert_array_equal(batch.actions, same.actions)
    # an answer is at most what the arm can do in 0.2 s, and push_cube pushes forward in the end
    assert np.linalg.norm(batch.actions[:, :3], axis=1).max() <= 0.06 + 1e-6
    assert all(batch.actions[batch.episode == episode][-1, 0] > 0.02 for episode in (0, 1))
    written = first.file("push_cube", 0).stat().st_mtime_ns
    more = record("first", "--episodes", "3")
    assert [file.name for file in more.batches("push_cube")] == ["batch-00000.npz", "batch-00001.npz"]
    assert more.file("push_cube", 0).stat().st_mtime_ns == written, "what is there is kept"
    assert read_batch(more.file("push_cube", 1)).pictures != batch.pictures
    assert (tmp_path / "first" / "push_cube" / "contact_sheet.png").is_file()
    demos = load_demonstrations(tmp_path / "first")
    rows = np.arange(len(demos.pictures))
    assert demos.images(rows[:2]).shape == (2, 120, 160, 3)
    assert demos.camera == CameraView()
    with pytest.raises(ValueError, match=r"made otherwise \(seed: 4 there, 5 now\)"):
        record("first", "--seed", "5")
