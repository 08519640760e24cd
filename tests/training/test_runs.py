"""Reading run folders: what counts, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.run_folders import write_run
from vlajs_training import run_folder
from vlajs_training.runs import Algorithm, Cell, RunError, RunFolder, last_steps
from vlajs_training.train_config import TrainConfig


def change_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_a_run_is_named_by_what_was_learnt_and_how(tmp_path: Path) -> None:
    ppo = RunFolder.load(write_run(tmp_path / "a", [0.1, 0.2], teacher_scale=4.0))
    assert ppo.cell == Cell("pick_cube", "sub_optimal", "standard")
    assert ppo.algorithm == Algorithm("ppo")  # it asks no teacher, whatever the configuration says of one
    guided = RunFolder.load(write_run(tmp_path / "b", [0.1], method="vlajs", teacher_scale=0.25, protocol="long"))
    assert guided.algorithm == Algorithm("vlajs", "scripted", 0.25)
    assert guided.algorithm.label == "vlajs, scripted x0.25"
    assert guided.cell.task_name == "pick_cube-long"
    order = [
        Algorithm("vlajs", "scripted", 2.0),
        guided.algorithm,
        Algorithm("sparse-rpd", "scripted", 1.0),
        ppo.algorithm,
    ]
    assert sorted(order) == order[::-1]


def test_curves_hold_every_rollout_and_every_validation(tmp_path: Path) -> None:
    run = RunFolder.load(write_run(tmp_path / "run", [0.0, 0.5], budget=20_000))
    np.testing.assert_array_equal(run.training.steps, np.arange(1, 21) * 1_000)
    np.testing.assert_array_equal(run.validation.steps, [10_000, 20_000])
    np.testing.assert_array_equal(run.validation.success, [0.0, 0.5])
    np.testing.assert_allclose(run.validation.seconds, [100.0, 200.0])
    assert run.finished
    assert run.notes == ()


def test_rows_trained_again_after_a_resume_count_once(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", training=[0.1, 0.2, 0.3])
    with open(folder / "progress.jsonl", "a") as file:
        file.write(json.dumps({"steps": 2_000, "seconds": 25.0, "rollout/success": 0.7}) + "\n")
    run = RunFolder.load(folder)
    np.testing.assert_array_equal(run.training.steps, [1_000, 2_000])
    np.testing.assert_array_equal(run.training.success, [0.1, 0.7])


def test_an_unfinished_run_and_a_torn_row_are_said(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [0.1, 0.2], budget=100_000)
    with open(folder / "progress.jsonl", "a") as file:
        file.write('{"steps": 21000, "sec')
    run = RunFolder.load(folder)
    assert run.observed_steps == 20_000
    assert "line 21 is damaged and was left out" in run.notes[0]
    assert "trained for 20,000 of 100,000 env steps" in run.notes[1]
    assert last_steps(folder) == 20_000
    assert last_steps(tmp_path / "nothing") == 0


def test_a_fixed_cadence_covers_the_whole_run(tmp_path: Path) -> None:
    assert RunFolder.load(write_run(tmp_path / "a", [0.1] * 10)).validates_regularly
    # validated at every 25,000 steps only, although its configuration says 10,000: gaps of 25,000 > 15,000 + 1,000
    folder = write_run(tmp_path / "b", [0.1] * 4, validate_every=25_000)
    change_config(folder, validate_every=10_000)
    assert not RunFolder.load(folder).validates_regularly
    assert not RunFolder.load(write_run(tmp_path / "c", training=[0.1] * 100)).validates_regularly


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 1}, "written by another version (format 1, this version reads 3)"),
        ({"budget": None}, "budget is None, which this version cannot read"),
        ({"method": "vlajs", "teacher": None}, "teacher is None"),
        ({"seed": True}, "seed is True"),
    ],
)
def test_a_configuration_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    folder = write_run(tmp_path / "run", [0.1])
    change_config(folder, **changes)
    with pytest.raises(RunError) as refused:
        RunFolder.load(folder)
    assert message in str(refused.value)
    assert str(folder) in str(refused.value)


def test_a_folder_without_a_run_is_refused_with_a_hint(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "one", [0.1])
    with pytest.raises(RunError, match=r"it holds the runs one: give .*/runs/\*/"):
        RunFolder.load(tmp_path / "runs")
    with pytest.raises(RunError, match="check the path"):
        RunFolder.load(tmp_path / "nowhere")
    (tmp_path / "runs" / "one" / "progress.jsonl").unlink()
    with pytest.raises(RunError, match="holds no progress yet"):
        RunFolder.load(tmp_path / "runs" / "one")
    (tmp_path / "runs" / "one" / "config.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        RunFolder.load(tmp_path / "runs" / "one")


@pytest.mark.parametrize("value", [1.2, "0.5", None])
def test_a_success_that_is_no_share_is_refused(tmp_path: Path, value: object) -> None:
    folder = write_run(tmp_path / "run", [0.1])
    with open(folder / "progress.jsonl", "a") as file:
        file.write(json.dumps({"steps": 11_000, "seconds": 110.0, "rollout/success": value}) + "\n")
    with pytest.raises(RunError, match=r"rollout/success is .* at 11,000 steps"):
        RunFolder.load(folder)


def test_reader_and_trainer_agree_on_the_format(tmp_path: Path) -> None:
    config = TrainConfig(task="push_cube", method="vlajs", seed=3, folder=tmp_path / "run")
    folder = run_folder.RunFolder(tmp_path / "run")
    folder.begin(config.settings())
    folder.append({"steps": 2_048, "seconds": 1.5, "rollout/success": 0.25})
    run = RunFolder.load(tmp_path / "run")
    assert (run.seed, run.budget, run.rollout_steps) == (3, 150_000, 128 * 16)
    assert run.algorithm == Algorithm("vlajs", "scripted", 2.0)
