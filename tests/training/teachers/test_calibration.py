"""The search for a level, the file of levels, and the commands around them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml

from vlajs.cli import dispatch
from vlajs_training.teachers import commands
from vlajs_training.teachers.alone import Solved
from vlajs_training.teachers.calibration import (
    Calibration,
    CalibrationError,
    levels_text,
    read_levels,
    search_level,
)
from vlajs_training.teachers.scripts import SCRIPTS

MEASURED = Calibration(
    level=0.3125,
    target=0.4,
    success=0.395,
    wilson95=(0.33, 0.4641),
    episodes=200,
    rate_hz=5.0,
    seed=800_000,
    measured_on="2026-11-23",
)


def test_the_search_halves_its_way_to_the_target() -> None:
    tried: list[float] = []

    def rate_at(level: float) -> float:
        tried.append(level)
        return 1.0 - level**2

    # 1 - x^2 = 0.4 at x = 0.775
    level = search_level(rate_at, target=0.4, tolerance=0.0, halvings=10)
    assert level == pytest.approx(np.sqrt(0.6), abs=2**-10)
    assert tried[:4] == [0.5, 0.75, 0.875, 0.8125]


def test_the_search_stops_as_soon_as_it_is_near_enough() -> None:
    tried: list[float] = []
    level = search_level(lambda x: tried.append(x) or 1.0 - x, target=0.4, tolerance=0.03)  # type: ignore[func-returns-value]
    assert (level, tried) == (0.625, [0.5, 0.75, 0.625])


@pytest.mark.parametrize(("rate", "message"), [(0.2, "even at level .*ask for less"), (0.9, "even at .*ask for more")])
def test_a_target_out_of_reach_is_said_so(rate: float, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        search_level(lambda level: rate, target=0.4)


def test_levels_survive_the_file(tmp_path: Path) -> None:
    levels = {"push_cube": MEASURED, "pick_cube": dataclasses.replace(MEASURED, level=0.25)}
    (tmp_path / "levels.yaml").write_text(levels_text(levels))
    assert read_levels(tmp_path / "levels.yaml") == levels


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": 1.5}, r"push_cube: level 1.5 is outside \[0, 1\]: calibrate again"),
        ({"level": "high"}, "push_cube: .*not numbers"),
        ({"wilson95": 0.4}, "push_cube: wilson95 is 0.4, not two numbers"),
        ({"colour": "red"}, "push_cube: holds .*'colour'.*expected"),
    ],
)
def test_a_spoilt_file_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    file = tmp_path / "levels.yaml"
    data = yaml.safe_load(levels_text({"push_cube": MEASURED}))
    data["push_cube"].update(change)
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(ValueError, match=message):
        read_levels(file)
    file.write_text("[]")
    with pytest.raises(ValueError, match="holds a list, not tasks with their levels"):
        read_levels(file)


def test_the_packages_levels_cover_every_script_and_hit_the_target() -> None:
    levels = read_levels()
    assert sorted(levels) == sorted(SCRIPTS)
    for task, calibration in levels.items():
        assert calibration.target == 0.4, task
        assert abs(calibration.success - 0.4) <= commands.TOLERANCE, task
        assert calibration.wilson95[0] < calibration.success < calibration.wilson95[1], task
        assert calibration.episodes >= 200, task


class NoEnvironments:
    """Stands for the simulation where outcomes are made up."""

    num_envs = 32

    def close(self) -> None: ...


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> dict[str, list]:
    """Calibration of a teacher whose share of solved episodes is 1 - level, exactly; what was measured."""
    log: dict[str, list] = {"measured": []}

    def measure(env: object, definition: object, level: float, episodes: int, seed: int) -> Solved:
        log["measured"].append((level, episodes, seed))
        share = 1.0 - level + log.get("fresh_error", [0.0])[0] * (episodes == 200)
        success = np.arange(episodes) < round(share * episodes)
        return Solved(success=success, decisions=np.ones(episodes, dtype=np.int64))

    monkeypatch.setattr(commands.Simulation, "environments", lambda *_: NoEnvironments())
    monkeypatch.setattr(commands, "_measure", measure)
    return log


def test_calibrate_measures_on_fresh_episodes_and_stores(
    tmp_path: Path, made_up: dict[str, list], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "levels.yaml"
    file.write_text(levels_text({"pick_cube": MEASURED}))
    assert dispatch(["teacher", "calibrate", "push_cube", "--target", "0.4", "--levels", str(file)]) == 0
    levels = read_levels(file)
    assert levels["pick_cube"] == MEASURED
    found = levels["push_cube"]
    # 0.5, 0.75, 0.625 and 0.5625 solve 50, 25, 37.5 and 43.75 %; 0.59375 solves 78 of 192, 40.6 %, and is good enough
    assert (found.level, found.target, found.episodes, found.rate_hz) == (0.59375, 0.4, 200, 5.0)
    assert found.success == 0.405  # 1 - 0.59375 of 200: 81
    # 200 fresh episodes take 7 batches of 32, seeds 800000 to 800006; the search takes those after them
    *search, fresh = made_up["measured"]
    assert fresh == (0.59375, 200, 800_000)
    assert {seed for _, _, seed in search} == set(range(800_007, 800_013))
    # 0.75 is 4.8 standard errors from the target after 128 episodes at the latest: not all 192 are run
    assert sum(level == 0.75 for level, _, _ in search) < 6
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        "RESULT teacher=scripted task=push_cube level=0.5938 episodes=200 success=81 wilson95=[0.339,0.474]"
    )


def test_a_level_that_misses_on_fresh_episodes_is_not_stored(
    tmp_path: Path, made_up: dict[str, list], capsys: pytest.CaptureFixture[str]
) -> None:
    made_up["fresh_error"] = [0.1]
    file = tmp_path / "levels.yaml"
    with pytest.raises(CalibrationError, match=r"further than 5% from the target of 40.0%: nothing was stored"):
        dispatch(["teacher", "calibrate", "push_cube", "--levels", str(file)])
    assert not file.exists()
    assert "RESULT teacher=scripted task=push_cube" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "fold_towel"], "unknown task 'fold_towel'"),
        (
            ["evaluate", "push_cube", "--undegraded", "--level", "0.3"],
            "--undegraded is level 0, --level 0.3 is another",
        ),
        (["evaluate", "push_cube", "--level", "7"], r"level 7.0 is outside \[0, 1\]"),
        (["evaluate", "push_cube", "--episodes", "0"], "0 episodes: at least 1"),
        (["calibrate", "push_cube", "--target", "1.5"], r"--target 1.5 is outside \(0, 1\)"),
        (["calibrate", "push_cube", "--search-episodes", "0"], "0 episodes: at least 1"),
        (["fold", "push_cube"], "unknown command 'teacher fold': known are calibrate, evaluate"),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dispatch(["teacher", *words])


def test_evaluate_runs_the_real_simulation(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "push_cube", "--undegraded", "--episodes", "4", "--envs-per-worker", "4"]
    assert dispatch(["teacher", *words]) == 0
    out = capsys.readouterr().out
    assert "4/4 = 100.0% solved alone; protocol standard, seed 850000" in out
    # Wilson of 4 of 4: 4 / (4 + 1.96^2) = 0.510
    assert "RESULT teacher=scripted task=push_cube level=0.0000 episodes=4 success=4 wilson95=[0.510,1.000]" in out
