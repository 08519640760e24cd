"""A mini-VLA acts alone: who is told what, what is counted, what is written."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support.mini_vla import FACTS, phrase_rows, tiny_config, write_demos
from vlajs.cli import dispatch
from vlajs.vla.convention import Convention
from vlajs_training.mini_vla import evaluate as module
from vlajs_training.mini_vla.dataset import load_demonstrations
from vlajs_training.mini_vla.evaluate import EvaluateMiniVlaConfig, Score, csv_text, other_instructions, score
from vlajs_training.mini_vla.phrasings import PHRASINGS
from vlajs_training.mini_vla.train import Cloner
from vlajs_training.mini_vla.weights import save_weights
from vlajs_training.rendered_view import CameraView
from vlajs_training.simulation.vector import StepResult
from vlajs_training.tasks import get_definition

HELD_OUT = set(PHRASINGS["push_cube"].held_out)


class Track:
    """Four tools on a line, solved beyond ``goal``; what is to be seen of one is where it is."""

    num_envs, action_size = 4, 7
    observation_size = get_definition("push_cube").observation_size

    def reset(self, seed: int) -> np.ndarray:
        self.x, self.age = np.zeros(4), 0
        return self._observation()

    def _observation(self) -> np.ndarray:
        return np.zeros((4, self.observation_size), dtype=np.float32)

    def step(self, actions: np.ndarray) -> StepResult:
        self.x, self.age = self.x + actions[:, 0], self.age + 1
        success = self.x > np.array([0.5, 1.5, 2.5, 99.0])
        late = np.full(4, self.age >= 6) & ~success
        return StepResult(self._observation(), np.zeros(4, np.float32), success, late, self._observation(), success)

    def visible_state(self, env_idx: np.ndarray) -> np.ndarray:
        return self.x[env_idx, None].astype(np.float32)

    def close(self) -> None: ...


class Positions:
    """Pictures as bright as the tool is far."""

    def images(self, states: np.ndarray) -> np.ndarray:
        return np.stack([np.full((120, 160, 3), 100 + 10 * x, dtype=np.uint8) for (x,) in states])


class Obedient:
    """Goes ahead when it is told to push, in any words of push_cube, and sees a picture that is not blank."""

    name = "mini-vla obedient"

    def __init__(self) -> None:
        self.contract = SimpleNamespace(
            convention=Convention(rate_hz=5.0),
            camera=CameraView(),
            phrasings={
                task: {"training": list(k.training), "held_out": list(k.held_out)} for task, k in PHRASINGS.items()
            },
            tasks=("push_cube",),
        )
        self.heard: list[str] = []

    def answer(self, images: np.ndarray, said: Sequence[str]) -> np.ndarray:
        self.heard += said
        goes = np.array([text in HELD_OUT for text in said]) & (images[:, 0, 0, 0] != 127)
        return np.array([[0.06 * go, 0, 0, 0, 0, 0, -1.0] for go in goes])


def test_the_three_numbers_are_counted_on_their_own_conditions(capsys: pytest.CaptureFixture[str]) -> None:
    model: Any = Obedient()
    config = EvaluateMiniVlaConfig(weights=Path("none"), episodes=8, check_episodes=4)
    track = Track()
    result = score(model, get_definition("push_cube"), track, track, Positions(), config)
    # an answer of 60 mm is 1 a decision: goals at 0.5, 1.5 and 2.5 are reached, 99 is not: 3 of 4, twice
    assert result == Score(
        task="push_cube", episodes=8, successes=6, check_episodes=4, wrong_instruction=0, blank_image=0
    )
    others = set(model.heard) - HELD_OUT
    assert others <= set(other_instructions(model.contract.phrasings, "push_cube", "held_out"))
    assert others
    assert not others & set(PHRASINGS["push_cube"].training)
    assert set(model.heard) & HELD_OUT


def test_shares_and_interval_are_written_as_numbers_between_0_and_1(tmp_path: Path) -> None:
    result = Score(task="push_cube", episodes=8, successes=6, check_episodes=4, wrong_instruction=1, blank_image=0)
    # Wilson of 6 of 8: centre (6 + 1.92) / (8 + 3.84) = 0.669, half width 1.96 sqrt(1.5 + .96) / 11.84 = 0.260
    assert csv_text([result]).splitlines() == [
        "task,success,episodes,wrong_instruction,blank_image,wilson_low,wilson_high,check_episodes",
        "push_cube,0.7500,8,0.2500,0.0000,0.4093,0.9285,4",
    ]


def test_the_command_goes_through_tasks_and_writes_after_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_demos(tmp_path / "demos")
    learner = Cloner(tiny_config(tmp_path / "demos", tmp_path), load_demonstrations(tmp_path / "demos"), phrase_rows())
    weights, output = tmp_path / "tiny.safetensors", tmp_path / "results.csv"
    save_weights(weights, learner.contract(FACTS, {}), learner.averaged.state_dict(), learner.embeddings)
    lines: list[int] = []

    def made_up(model: object, task: str, config: EvaluateMiniVlaConfig) -> Score:
        lines.append(len(output.read_text().splitlines()) if output.exists() else 0)
        return Score(task=task, episodes=100, successes=30, check_episodes=50, wrong_instruction=5, blank_image=0)

    monkeypatch.setattr(module, "_score", made_up)
    words = ["evaluate", "--weights", str(weights), "--output", str(output)]
    assert dispatch(["teacher", *words]) == 0
    assert lines == [0, 2]
    assert [line.split(",")[:5] for line in output.read_text().splitlines()[1:]] == [
        ["pick_cube", "0.3000", "100", "0.1000", "0.0000"],
        ["push_cube", "0.3000", "100", "0.1000", "0.0000"],
    ]
    assert "RESULT teacher=mini-vla task=push_cube episodes=100 success=30" in capsys.readouterr().out
    for more, message in (
        (["fold_towel"], "unknown task 'fold_towel'"),
        (["--check-episodes", "200"], r"check_episodes = 200 is outside \[1, 100\]"),
    ):
        with pytest.raises(ValueError, match=message):
            dispatch(["teacher", *words, *more])
