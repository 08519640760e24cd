"""Teachers that see: only what they are asked about is rendered, and what fails costs guidance alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.support.mini_vla import FACTS, phrase_rows, tiny_config, write_demos
from tests.support.teachers import DESCRIPTION
from tests.support.vla_models import MeanModel, serving
from vlajs.cli import dispatch
from vlajs_training.camera_view import CameraView, maniskill_camera
from vlajs_training.guidance import METHODS, GuidanceConfig, Guide
from vlajs_training.mini_vla.dataset import load_demonstrations
from vlajs_training.mini_vla.train import Cloner
from vlajs_training.mini_vla.weights import save_weights
from vlajs_training.tasks import get_definition
from vlajs_training.teachers.factory import make_teacher
from vlajs_training.teachers.seeing import BlankView, SeeingTeacher
from vlajs_training.teachers.teacher import TeacherError
from vlajs_training.teachers.vla_config import VlaTeacherConfig
from vlajs_training.train_config import TrainConfig

PUSH = get_definition("push_cube")


class Scenes:
    def __init__(self) -> None:
        self.looked_at: list[list[int]] = []

    def visible_state(self, env_idx: np.ndarray) -> np.ndarray:
        self.looked_at.append(env_idx.tolist())
        return env_idx[:, None].astype(np.float32)


class Numbers:
    """A picture's every channel is its environment's number; 120 x 160."""

    def __init__(self, *_: object) -> None: ...

    def images(self, states: np.ndarray) -> np.ndarray:
        return np.stack([np.full((120, 160, 3), number, dtype=np.uint8) for (number,) in states])


class Asked:
    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self, images: np.ndarray, instructions: Sequence[str], tool: np.ndarray) -> np.ndarray:
        self.said += instructions
        self.tool = tool
        return np.concatenate([images[:, 0, 0, :1] / 1000, np.zeros((len(images), 6))], axis=1)


def teacher(scenes: Scenes, ask: Asked, seed: int = 0) -> SeeingTeacher:
    return SeeingTeacher(
        DESCRIPTION,
        PUSH,
        num_envs=8,
        scenes=lambda: scenes,
        view=Numbers(),
        ask=ask,
        instructions=["push", "shove", "slide"],
        seed=seed,
    )


def observation() -> np.ndarray:
    """Tools that point down, that of environment 5 turned by 90 degrees about the base's z."""
    rows = np.zeros((8, PUSH.observation_size), dtype=np.float32)
    rows[5, 5] = np.pi / 2
    return rows


def test_only_what_is_asked_about_is_looked_at() -> None:
    scenes, ask = Scenes(), Asked()
    seeing = teacher(scenes, ask)
    with pytest.raises(TeacherError, match="asked before anything was observed"):
        seeing.query(np.array([0]))
    seeing.begin(np.arange(8))
    seeing.observe(observation())
    answers = seeing.query(np.array([5, 2]))
    np.testing.assert_allclose(answers[:, 0], [0.005, 0.002])
    assert scenes.looked_at == [[5, 2]]
    # tool-down is (0, 1, 0, 0); a quarter turn about z after it: (0, cos 45, sin 45, 0)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(np.abs(ask.tool), [[0, half, half, 0], [0, 1, 0, 0]], atol=1e-6)
    assert seeing.query(np.array([], dtype=np.int64)).shape == (0, 7)
    assert scenes.looked_at == [[5, 2]]


def test_an_episode_is_told_one_thing_and_the_next_perhaps_another() -> None:
    everyone = np.arange(8)
    told = []
    for seed in (0, 0, 1):
        ask = Asked()
        seeing = teacher(Scenes(), ask, seed)
        for _ in range(2):
            seeing.begin(everyone)
            seeing.observe(observation())
            seeing.query(everyone)
            seeing.query(everyone)
        told.append(ask.said)
    assert told[0] == told[1] != told[2]
    assert told[0][:8] == told[0][8:16]
    assert told[0][:8] != told[0][16:24]
    assert set(told[0]) == {"push", "shove", "slide"}


def test_a_blank_view_shows_nothing() -> None:
    assert (BlankView(96, 128).images(np.zeros((2, 5), np.float32)) == 127).all()
    assert BlankView(96, 128).images(np.zeros((2, 5), np.float32)).shape == (2, 96, 128, 3)


# ---------------------------------------------------------------------------------------------- made by name


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mini_vla")
    write_demos(path / "demos")
    learner = Cloner(tiny_config(path / "demos", path), load_demonstrations(path / "demos"), phrase_rows())
    save_weights(path / "tiny.safetensors", learner.contract(FACTS, {}), learner.averaged.state_dict(), phrase_rows())
    return path / "tiny.safetensors"


class Small(Numbers):
    """As :class:`Numbers`, in the size of the tiny model."""

    def images(self, states: np.ndarray) -> np.ndarray:
        return super().images(states)[:, :96, :128]


def test_a_mini_vla_guides_with_what_it_answers_here(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlajs_training.rendered_view.RenderedView", Small)
    scenes = Scenes()
    made = make_teacher(
        "mini-vla", PUSH, num_envs=8, seed=1, vla=VlaTeacherConfig(weights=weights), scenes=lambda: scenes
    )
    assert (made.description.name, made.description.rate_hz, made.description.magnitude) == ("mini-vla tiny", 5.0, 1.0)
    guide = Guide(
        made,
        METHODS["vlajs"],  # type: ignore[arg-type]
        GuidanceConfig(),
        action=PUSH.action,
        decision_rate_hz=10.0,
        deactivation_reward=1e9,
        num_envs=8,
        rollout_steps=16,
        seed=0,
    )
    guide.start()
    guide.begin_rollout()
    guided = [guide.targets(t, observation())[1].sum().item() for t in range(16)]
    guide.end_rollout(0.0, 128)
    # at most a fifth of 16 steps, 3 calls an environment, each of which covers 2 decisions
    assert guide.calls == sum(map(len, scenes.looked_at)) == 8 * 3
    assert 8 * 3 <= sum(guided) <= 8 * 6
    assert guide.teacher.failures == 0
    import torch

    figures = guide.figures(torch.zeros(4, 7), torch.zeros(4, 7), torch.ones(4))
    assert 0.0 < figures["guidance/ms_per_call"] < 60_000
    guide.close()


def test_a_server_guides_and_its_failures_cost_guidance_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlajs_training.rendered_view.RenderedView", Numbers)
    model = MeanModel()
    with serving(lambda: model) as server:
        made = make_teacher("vlajs", PUSH, num_envs=8, seed=1, vla=VlaTeacherConfig(url=server.url), scenes=Scenes)
        made.begin(np.arange(8))
        made.observe(observation())
        answers = made.query(np.array([3, 6]))
        # x is the picture's mean in mm, y the length of the instruction
        np.testing.assert_allclose(answers[:, :2], [[0.003, 0.038], [0.006, 0.038]], atol=1e-6)
        assert len(PUSH.task.instruction) == 38
    guide = Guide(
        made,
        METHODS["vlajs"],  # type: ignore[arg-type]
        GuidanceConfig(max_failures=1),
        action=PUSH.action,
        decision_rate_hz=10.0,
        deactivation_reward=1e9,
        num_envs=8,
        rollout_steps=16,
        seed=0,
    )
    guide.start()
    guide.begin_rollout()
    assert sum(guide.targets(t, observation())[1].sum().item() for t in range(16)) == 0.0
    guide.end_rollout(0.0, 128)
    assert guide.given_up
    assert "UnreachableError" in guide.teacher.last_failure
    guide.close()


def test_cameras_are_those_the_weights_know() -> None:
    config = VlaTeacherConfig()
    assert config.camera_for("openvla-rest", "poke_cube", (224, 224)) == CameraView(
        position_m=(1.215, 0.7, 0.6), at_m=(0.815, 0.2, 0.35), fovy_deg=57.3, width_px=224, height_px=224
    )
    assert config.camera_for("openpi", "push_cube", None) == maniskill_camera("push_cube")
    assert config.camera_for("vlajs", "push_cube", (120, 160)) == CameraView()
    assert VlaTeacherConfig(camera="front").camera_for("openpi", "push_cube", None).fovy_deg == 45.0


@pytest.mark.parametrize(
    ("teacher", "vla", "message"),
    [
        ("mini-vla", {}, "--teacher mini-vla needs --vla.weights FILE"),
        ("mini-vla", {"weights": Path("a"), "url": "http://x"}, "--vla.url is not for mini-vla"),
        ("mini-vla", {"weights": Path("none.safetensors")}, "none.safetensors does not exist"),
        ("openvla-rest", {"weights": Path("a")}, "--vla.weights is mini-vla's, --teacher is openvla-rest"),
        ("openvla-rest", {"convention": "mine"}, "unknown convention 'mine'"),
        ("openvla-rest", {}, "does not say what its actions mean"),
        ("openpi", {"token_file": Path("none")}, "--vla.token-file none cannot be read"),
    ],
)
def test_what_does_not_belong_together_is_refused(teacher: str, vla: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_teacher(teacher, PUSH, num_envs=1, seed=0, vla=VlaTeacherConfig(**vla), scenes=Scenes)


def test_a_teacher_that_sees_needs_something_to_look_at(weights: Path) -> None:
    with pytest.raises(ValueError, match="the teacher 'mini-vla' looks at environments"):
        make_teacher("mini-vla", PUSH, num_envs=1, seed=0, vla=VlaTeacherConfig(weights=weights))
    other = get_definition("poke_cube")
    with pytest.raises(ValueError, match="was trained on pick_cube, push_cube, not on poke_cube"):
        make_teacher("mini-vla", other, num_envs=1, seed=0, vla=VlaTeacherConfig(weights=weights), scenes=Scenes)


def test_train_refuses_before_anything_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"--vla.url is for a teacher that sees, --teacher is scripted"):
        TrainConfig(task="push_cube", method="vlajs", vla=VlaTeacherConfig(url="http://x")).check()
    words = ["train", "push_cube", "--method", "vlajs", "--teacher", "mini-vla", "--folder", str(tmp_path / "run")]
    assert dispatch(words) == 2
    assert "--teacher mini-vla needs --vla.weights FILE" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_is_resumed_with_the_same_weights_wherever_they_lie(weights: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights.read_bytes())
    first, second = (
        TrainConfig(task="push_cube", method="vlajs", teacher="mini-vla", vla=VlaTeacherConfig(weights=path)).settings()
        for path in (weights, moved)
    )
    assert first == second
    assert first["teacher_scale"] == 1.0
    moved.write_bytes(b"other")
    assert (
        first
        != TrainConfig(
            task="push_cube", method="vlajs", teacher="mini-vla", vla=VlaTeacherConfig(weights=moved)
        ).settings()
    )
    scripted = TrainConfig(task="push_cube", method="vlajs").settings()
    assert scripted["teacher_scale"] == 2.0
    assert "vla" not in scripted, "runs begun before there were such teachers can be resumed"
