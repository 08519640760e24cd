"""The real commands at tiny size: train, kill, resume, evaluate."""

import dataclasses
import errno
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import tyro

from tests.support.fake_training import Teachers, make_vector_env
from tests.support.reach_zero import ReachZero
from tests.support.teachers import DESCRIPTION, CountingTeacher, raises
from vlajs.policy.bundle import load_bundle
from vlajs_training import evaluate, train, trainer
from vlajs_training.evaluate import EvaluateConfig, Evaluation, run_episodes, wilson95
from vlajs_training.export import to_bundle
from vlajs_training.ppo import ActorCritic, ObservationNormaliser, PPOConfig
from vlajs_training.responses import TWIN_RESPONSE
from vlajs_training.tasks import get_definition
from vlajs_training.teachers import factory
from vlajs_training.train_config import TrainConfig

TINY = ["--num-envs", "4", "--workers", "1", "--validation-episodes", "4", "--report-episodes", "0", "--no-video"]


def vlajs(command: str, *args: str) -> list[str]:
    return [sys.executable, "-m", f"vlajs_training.{command}", *args]


def test_train_survives_kill_9_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    arguments = ["push_cube", "--total-steps", "512", "--folder", str(folder), *TINY]
    arguments += ["--checkpoint-every-s", "0"]
    process = subprocess.Popen(vlajs("train", *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 200
    checkpoint = folder / "checkpoint.pt"
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    output = process.communicate()[0].decode()
    assert checkpoint.exists(), output
    reached = torch.load(checkpoint, weights_only=True)["progress"]["steps"]
    assert 0 < reached < 512

    assert train.main(arguments) == 2
    assert "already holds a run: add --resume" in capsys.readouterr().err

    assert train.main([*arguments, "--resume"]) == 0
    steps = [json.loads(line)["steps"] for line in (folder / "progress.jsonl").read_text().splitlines()]
    # 4 environments x 16 steps an iteration; nothing lost, nothing twice
    assert steps == list(range(64, 513, 64))
    assert list((folder / "tensorboard").glob("events*"))
    bundle = load_bundle(folder / "push_cube-ppo-seed1.safetensors")
    assert bundle.contract.provenance["seed"] == 1
    assert bundle.contract.provenance["validation_success"]["episodes"] == 4

    other = [*arguments, "--resume", "--ppo.learning-rate", "1e-5"]
    assert train.main(other) == 2
    assert "other settings (ppo)" in capsys.readouterr().err

    assert evaluate.main([str(folder / "push_cube-ppo-seed1.safetensors"), "--episodes", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("RESULT task=push_cube episodes=2 success=")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fold_laundry"], "unknown task 'fold_laundry': known tasks are "),
        (["push_cube", "--randomise", "wild"], "unknown randomisation 'wild': known presets are none, deploy"),
    ],
)
def test_train_refuses_what_it_does_not_know(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main([*arguments, "--folder", str(tmp_path / "run"), *TINY]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_bundle_acts_as_the_torch_actor(tmp_path: Path) -> None:
    definition = get_definition("pick_cube")
    torch.manual_seed(0)
    network = ActorCritic(definition.observation_size, 7, PPOConfig())
    torch.nn.init.normal_(network.actor[-1].weight)
    normaliser = ObservationNormaliser(definition.observation_size)
    observations = torch.randn(100, definition.observation_size) * 3 + 1
    normaliser.update(observations)
    bundle = to_bundle(definition, network, normaliser, {})
    with torch.no_grad():
        expected = network.actor(normaliser(observations)).numpy()
    actual = np.stack([bundle.act(row) for row in observations.numpy()])
    # outputs are of the order of 10: 1e-6 relative
    np.testing.assert_allclose(actual, expected, atol=1e-6 * np.abs(expected).max(), rtol=1e-6)


def test_evaluation_runs_the_same_number_of_episodes_in_each_environment() -> None:
    env = ReachZero(num_envs=3)

    def toward_zero(observation: np.ndarray) -> np.ndarray:
        actions = np.zeros((3, 7))
        actions[:, 0] = -observation[:, 0] / 0.2
        return actions

    result = run_episodes(env, toward_zero, episodes=10, seed=0)
    # ceil(10 / 3) = 4 a environment; the controller always succeeds
    assert (result.episodes, result.once, result.held) == (12, 12, 12)
    assert 1.0 <= result.mean_steps <= 5.0
    lost = run_episodes(env, lambda observation: np.ones((3, 7)), episodes=3, seed=1)
    assert lost.once < 3


def test_wilson_interval() -> None:
    # 19 of 20: centre (0.95 + 1.96^2/40) / (1 + 1.96^2/20) = 0.8776, half width 0.1136
    low, high = wilson95(19, 20)
    assert low == pytest.approx(0.764, abs=1e-3)
    assert high == pytest.approx(0.991, abs=1e-3)


# -------------------------------------------------------------------------------------------------- guided runs


@pytest.fixture
def teachers(monkeypatch: pytest.MonkeyPatch) -> Teachers:
    """``vlajs train`` in this process, in a cheap environment, with a teacher that points the right way."""
    made = Teachers()
    monkeypatch.setattr(trainer, "make_vector_env", make_vector_env)
    monkeypatch.setattr(trainer, "make_teacher", made)
    return made


CHEAP = ["push_cube", "--num-envs", "8", "--workers", "1", "--validation-episodes", "8", "--report-episodes", "0"]
CHEAP += ["--ppo.hidden-sizes", "8", "--ppo.epochs", "1", "--no-video"]


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]


def test_a_guided_run_logs_and_records_its_guidance(tmp_path: Path, teachers: Teachers) -> None:
    folder = tmp_path / "run"
    arguments = [*CHEAP, "--method", "vlajs", "--reward", "sub_optimal", "--folder", str(folder)]
    arguments += ["--total-steps", "1024", "--validate-every", "256", "--validate-from-success", "0"]
    arguments += ["--guidance.deactivation-reward", "100", "--guidance.kappa", "0"]
    assert train.main(arguments) == 0
    rows = rows_of(folder)
    assert [row["steps"] for row in rows] == [128 * (index + 1) for index in range(8)]
    # 8 environments x 16 steps, 3 calls each in every rollout; D = 2
    assert [row["guidance/calls"] for row in rows] == [24 * (index + 1) for index in range(8)]
    assert sum(teacher.calls for teacher in teachers.made) == 24 * 8
    for row in rows:
        assert row["guidance/call_share"] == pytest.approx(24 / 128)
        assert 0.1 < row["guidance/guided_share"] <= 6 / 16 + 2 / 16
        assert row["guidance/lambda"] == pytest.approx(0.3)
        assert {"rollout/success", "guidance/gain", "guidance/cosine_translation", "policy/entropy"} <= set(row)
        assert {"policy/kl", "policy/clipped_share", "speed/steps_per_s", "rollout/reward", "seconds"} <= set(row)
    assert any("rollout/return" in row for row in rows)
    # at whole multiples of 256, from the start although nothing succeeds yet
    assert [row["steps"] for row in rows if "validation/success" in row] == [256, 512, 768, 1024]
    assert all("validation/seconds" in row for row in rows if "validation/success" in row)
    settings = json.loads((folder / "config.json").read_text())
    assert (settings["format"], settings["method"], settings["budget"]) == (3, "vlajs", 1024)
    provenance = load_bundle(folder / "push_cube-sub_optimal-vlajs-seed1.safetensors").contract.provenance
    assert (provenance["method"], provenance["reward"], provenance["protocol"]) == ("vlajs", "sub_optimal", "standard")
    assert provenance["guidance"]["teacher"]["name"] == "fake"
    assert provenance["guidance"]["calls"] == 24 * provenance["steps"] / 128
    assert provenance["guidance"]["deactivated_at"] is None


def test_a_resumed_run_goes_on_with_its_guidance(tmp_path: Path, teachers: Teachers) -> None:
    arguments = [*CHEAP, "--method", "vlajs", "--folder", str(tmp_path / "run"), "--total-steps", "512"]
    config = tyro.cli(TrainConfig, args=arguments)
    first = trainer.Trainer(config)
    first.prepare_folder()
    for _ in range(3):
        first._iterate()
    first.save()
    first.folder.close()  # as the end of its process would
    second = trainer.Trainer(dataclasses.replace(config, resume=True))
    second.prepare_folder()
    assert second.progress.steps == second.ppo.steps == 384
    assert second.guide.state_dict()["history"] == first.guide.state_dict()["history"]
    assert (second.guide.calls, second.guide.gain, second.guide.weight) == (
        first.guide.calls,
        first.guide.gain,
        first.guide.weight,
    )
    assert teachers.made[1].began == [list(range(8))]  # the new teacher met every new episode
    second.run()
    assert rows_of(tmp_path / "run")[-1]["guidance/calls"] > first.guide.calls
    first.guide.deactivated_at = 384
    first.save()
    second.folder.close()
    third = trainer.Trainer(dataclasses.replace(config, resume=True))
    third.prepare_folder()
    third.run()
    assert teachers.made[2].calls == 0
    for run in (first, second, third):
        run.close()


def test_a_failing_teacher_is_said_once_and_the_run_ends_well(
    tmp_path: Path, teachers: Teachers, capsys: pytest.CaptureFixture[str]
) -> None:
    teachers.answer = raises
    folder = tmp_path / "run"
    arguments = [*CHEAP, "--method", "vlajs-rpd", "--folder", str(folder), "--total-steps", "512"]
    assert train.main([*arguments, "--guidance.max-failures", "3"]) == 0
    output = capsys.readouterr()
    said = "teacher 'fake' given up after 3 failures in a row (last: TeacherError: the server is gone)"
    assert (output.out + output.err).count(said) == 1
    assert rows_of(folder)[-1]["guidance/failures"] == 3
    provenance = load_bundle(folder / "push_cube-vlajs-rpd-seed1.safetensors").contract.provenance
    assert provenance["guidance"]["teacher_given_up"] is True


def test_ppo_asks_nobody(tmp_path: Path, teachers: Teachers) -> None:
    assert train.main([*CHEAP, "--folder", str(tmp_path / "run"), "--total-steps", "256"]) == 0
    assert teachers.made == []
    assert not [name for row in rows_of(tmp_path / "run") for name in row if name.startswith("guidance/")]


def test_a_full_disk_ends_the_run_clearly_and_keeps_the_last_checkpoint(
    tmp_path: Path, teachers: Teachers, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*CHEAP, "--folder", str(tmp_path / "run"), "--total-steps", "1024", "--checkpoint-every-s", "0"]
    files: list[int] = []
    real = os.fsync

    def fills_up(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):  # folders are synchronised too
            files.append(descriptor)
        if len(files) > 3:  # config.json and two checkpoints fit
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fills_up)
        assert train.main(arguments) == 2
    assert "checkpoint.pt (No space left on device): free space" in capsys.readouterr().err
    checkpoint = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert checkpoint["progress"]["steps"] == 256
    assert train.main([*arguments, "--resume"]) == 0
    assert [row["steps"] for row in rows_of(tmp_path / "run")] == [128 * (index + 1) for index in range(8)]


def test_refusals_before_anything_runs(
    tmp_path: Path, teachers: Teachers, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: str) -> str:
        assert train.main([*CHEAP, "--folder", str(tmp_path / "run"), *arguments]) == 2
        assert not (tmp_path / "run").exists()
        return capsys.readouterr().err

    assert "unknown reward 'lucky'" in refused("--reward", "lucky")
    assert "unknown protocol 'endless'" in refused("--protocol", "endless")
    assert "--num-envs 9 cannot be shared evenly by 1 process(es) of 2 worker(s): use a multiple of 2" in refused(
        "--num-envs", "9", "--workers", "2"
    )
    assert "guidance.max_call_share = 2.0" in refused("--method", "vlajs", "--guidance.max-call-share", "2")
    foreign = CountingTeacher(dataclasses.replace(DESCRIPTION, convention="tool_euler"))
    monkeypatch.setattr(trainer, "make_teacher", lambda *args, **kwargs: foreign)
    assert "teacher 'fake' speaks 'tool_euler', training reads 'base_delta'" in refused("--method", "vlajs")
    monkeypatch.setattr(trainer, "make_teacher", factory.make_teacher)
    assert "unknown teacher 'oracle': known teachers are" in refused("--method", "vlajs", "--teacher", "oracle")
    with pytest.raises(SystemExit):
        train.main([*CHEAP, "--method", "magic"])
    assert "magic" in capsys.readouterr().err


def test_runs_are_named_by_task_reward_protocol_method_and_seed() -> None:
    config = TrainConfig(task="pick_cube", method="vlajs-rpd", reward="sub_optimal", protocol="long", seed=3)
    assert config.run_name == "pick_cube-sub_optimal-long-vlajs-rpd-seed3"
    assert TrainConfig(task="pick_cube").run_name == "pick_cube-ppo-seed1"


def test_processes_under_torchrun_train_one_policy(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    arguments = [*CHEAP, "--method", "vlajs", "--folder", str(folder), "--total-steps", "512"]
    arguments += ["--guidance.kappa", "0", "--guidance.deactivation-reward", "100"]
    command = [*launcher, "tests.support.fake_training", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    rows = rows_of(folder)
    # 8 environments in all, 4 each: the same steps and calls as in one process, logged once
    assert [row["steps"] for row in rows] == [128, 256, 384, 512]
    assert [row["guidance/calls"] for row in rows] == [24, 48, 72, 96]
    assert done.stdout.count("best validation") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "0"], "workers = 0 is outside [1, inf]"),
        (["--total-steps", "0"], "total_steps = 0 is outside [1, inf]"),
        (["--total-steps", "-5"], "total_steps = -5"),
        (["--validate-every", "0"], "validate_every = 0"),
        (["--validation-episodes", "0"], "validation_episodes = 0"),
        (["--teacher-scale", "nan"], "teacher_scale = nan"),
        (["--ppo.minibatches", "0"], "ppo.minibatches = 0"),
        (["--ppo.minibatches", "100"], "leaves fewer than 2 of a rollout's 128 rows each"),
        (["--ppo.rollout-steps", "0"], "ppo.rollout_steps = 0"),
        (["--ppo.gamma", "1"], "ppo.gamma = 1.0 is outside [0, 1]"),
        (["--ppo.learning-rate", "nan"], "ppo.learning_rate = nan"),
        (["--ppo.hidden-sizes", "0"], "ppo.hidden_sizes = (0,)"),
        (["--method", "vlajs", "--guidance.weight", "nan"], "guidance.weight = nan"),
        (["--response", "/nowhere/arm.yaml"], "/nowhere/arm.yaml"),
    ],
)
def test_numbers_no_run_can_be_made_with_are_refused(
    tmp_path: Path, teachers: Teachers, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert train.main([*CHEAP, "--folder", str(tmp_path / "run"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main([*CHEAP, "--device", "cuda", "--folder", str(tmp_path / "run")]) == 2
    assert "--device cuda wants GPU 0, torch sees 0: check the driver" in capsys.readouterr().err


def test_a_run_ends_with_a_report_on_stock_maniskill_and_a_film(
    tmp_path: Path, teachers: Teachers, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    filmed: list[Path] = []
    monkeypatch.setattr("vlajs_training.video.record_policy", lambda bundle, path, **_: filmed.append(path))
    evaluated: list[int] = []

    def evaluate(bundle: object, settings: EvaluateConfig) -> Evaluation:
        evaluated.append(settings.episodes)
        return Evaluation(episodes=settings.episodes, once=7, held=5, mean_steps=3.0)

    monkeypatch.setattr(train, "evaluate_bundle", evaluate)
    folder = tmp_path / "run"
    arguments = [*CHEAP, "--folder", str(folder), "--total-steps", "256", "--report-episodes", "8", "--video"]
    assert train.main(arguments) == 0
    bundle = folder / "push_cube-ppo-seed1.safetensors"
    assert (evaluated, filmed) == ([8], [bundle.with_suffix(".mp4")])
    low, high = wilson95(7, 8)
    said = f"RESULT task=push_cube episodes=8 success=7 wilson95=[{low:.3f},{high:.3f}]"
    assert said in capsys.readouterr().out
    success = load_bundle(bundle).contract.provenance["simulation_success"]
    assert (success["successes"], success["held"], success["simulator"]) == (7, 5, "ManiSkill 3.0.1 stock_cpu")


def test_whether_a_run_is_filmed_is_no_setting_of_it() -> None:
    assert TrainConfig(task="pick_cube", video=False).settings() == TrainConfig(task="pick_cube").settings()


def test_a_run_that_was_moved_goes_on(tmp_path: Path, teachers: Teachers) -> None:
    assert train.main([*CHEAP, "--folder", str(tmp_path / "here"), "--total-steps", "256"]) == 0
    (tmp_path / "here").rename(tmp_path / "there")
    response = tmp_path / "copy.yaml"
    response.write_text(TWIN_RESPONSE.read_text())
    arguments = [*CHEAP, "--folder", str(tmp_path / "there"), "--response", str(response), "--total-steps", "256"]
    assert train.main([*arguments, "--resume"]) == 0


def test_a_run_begins_with_what_an_earlier_one_learned(tmp_path: Path, teachers: Teachers) -> None:
    earlier = tmp_path / "earlier"
    assert train.main([*CHEAP, "--folder", str(earlier), "--total-steps", "256"]) == 0
    learned = torch.load(earlier / "checkpoint.pt", weights_only=True)["ppo"]
    arguments = [*CHEAP, "--folder", str(tmp_path / "run"), "--begin-with", str(earlier), "--total-steps", "128"]
    run = trainer.Trainer(tyro.cli(TrainConfig, args=arguments))
    run.prepare_folder()
    for name, value in run.ppo.network.state_dict().items():
        assert torch.equal(value, learned["network"][name])
    assert torch.equal(run.ppo.normaliser.mean, learned["normaliser"]["mean"])
    assert run.ppo.steps == run.progress.steps == 0
    run.run()
    run.close()
    digest = hashlib.sha256((earlier / "checkpoint.pt").read_bytes()).hexdigest()
    assert json.loads((tmp_path / "run/config.json").read_text())["begun_with_sha256"] == digest
    bundle = load_bundle(tmp_path / "run/push_cube-ppo-seed1.safetensors")
    assert bundle.contract.provenance["begun_with_sha256"] == digest


@pytest.mark.parametrize(
    ("task", "words", "message"),
    [
        ("push_cube", ["--begin-with", "nowhere"], "nowhere is no run folder"),
        ("pick_cube", ["--begin-with", "earlier"], "its task is push_cube, this run's pick_cube"),
        ("push_cube", ["--begin-with", "earlier", "--ppo.hidden-sizes", "16"], "the network to begin with is another"),
    ],
)
def test_what_a_run_cannot_begin_with_is_refused(
    tmp_path: Path,
    teachers: Teachers,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    task: str,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train.main([*CHEAP, "--folder", "earlier", "--total-steps", "128"]) == 0
    assert train.main([task, *CHEAP[1:], "--folder", "run", "--total-steps", "128", *words]) == 2
    assert message in capsys.readouterr().err
    assert not Path("run").exists()
