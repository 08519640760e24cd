"""Sweeps: what the YAML file means, and the real command on Ray with a stand-in for training, and once without."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.bundles import make_bundle
from tests.support.run_folders import ROLLOUT_STEPS
from vlajs.policy.bundle import save_bundle
from vlajs_training import compare, sweep
from vlajs_training.runs import RUN_FORMAT, RunFolder
from vlajs_training.sweep_cluster import run_logged
from vlajs_training.sweep_plan import SweepError, SweepRun, read_sweep
from vlajs_training.train_config import TrainConfig

# Stands in for `vlajs train`: the same folder, the same words, without what takes seconds to import. A seed of 13
# fails; a seed of 99 waits half way, until it is resumed. It says its process id, so that tests can see it end.
STAND_IN = """
import json, os, shutil, sys, time
from pathlib import Path

words = sys.argv[1:]
seed, folder = int(words[words.index("--seed") + 1]), Path(words[words.index("--folder") + 1])
resume = "--resume" in words
print("pid", os.getpid(), "resume", resume, flush=True)
folder.mkdir(parents=True, exist_ok=True)
shutil.copy(f"settings-{folder.name}.json", folder / "config.json")
if seed == 13:
    print("the simulator has had enough")
    raise SystemExit(3)
with open(folder / "progress.jsonl", "a") as file:
    for steps in (1000, 2000, 3000):
        print(json.dumps({"steps": steps, "seconds": steps / 100, "rollout/success": 0.5}), file=file, flush=True)
        if seed == 99 and not resume:
            time.sleep(600)
"""
DRIVER = """
import sys
from vlajs_training import sweep
sweep.TRAIN = (sys.argv[1],)  # with the words of vlajs train after it
sweep.LOOK_EVERY_S = 0.3
raise SystemExit(sweep.main(sys.argv[2:]))
"""


def write_yaml(path: Path, text: str) -> Path:
    path.write_text(dedent(text))
    return path


def sweep_command(tmp_path: Path, file: Path) -> list[str]:
    """The command with the stand-in for training; run it in ``tmp_path``."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    (tmp_path / "driver.py").write_text(DRIVER)
    for run in read_sweep(file).runs:
        settings = {"format": RUN_FORMAT, **run.config.settings()}
        (tmp_path / f"settings-{run.name}.json").write_text(json.dumps(settings, default=str))
    return [sys.executable, str(tmp_path / "driver.py"), str(tmp_path / "stand_in.py"), str(file)]


def run_command(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, cwd=cwd)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def rays_below(tmp_path_of_ray: str) -> list[int]:
    """Processes whose command line or environment names Ray's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if tmp_path_of_ray.encode() in words and is_running(int(entry.name)):
            found.append(int(entry.name))
    return found


def test_a_run_works_in_the_sweeps_folder_wherever_its_worker_was_started(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    assert run_logged(["-c", "import os; print('in', os.getcwd())"], str(log), str(tmp_path)) == 0
    assert f"in {tmp_path}" in log.read_text()


def test_sweeps_comparisons_and_trainings_own_process_load_no_simulator() -> None:
    imports = "import sys, vlajs_training.sweep, vlajs_training.compare, vlajs_training.train"
    code = f"{imports}; print('mani_skill' in sys.modules or 'sapien' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "False\n"


# -- the file ----------------------------------------------------------------------------------------------------


def test_lists_are_crossed_and_low_seeds_come_first(tmp_path: Path) -> None:
    file = write_yaml(
        tmp_path / "s.yaml",
        """
        folder: out
        common: {task: push_cube, seed: [2, 1], reward: sub_optimal, ppo: {learning_rate: [1e-3, 3e-4]}}
        runs:
          - {method: ppo, validate_held: true}
          - {method: [vlajs], teacher_scale: [0.25, 4], num_envs: 64}
        """,
    )
    plan = read_sweep(file)
    # 2 seeds x 2 rates x (1 + 2 scales)
    assert len(plan.runs) == 12
    assert [run.config.seed for run in plan.runs] == [1] * 6 + [2] * 6
    names = [run.name for run in plan.runs]
    assert names[0] == "push_cube-sub_optimal-ppo-seed1-learning_rate=1e-3-validate_held=True"
    assert "push_cube-sub_optimal-vlajs-seed2-learning_rate=3e-4-teacher_scale=4-num_envs=64" in names
    first = plan.runs[0].config
    assert (first.ppo.learning_rate, first.validate_held, first.num_envs) == (1e-3, True, 128)
    assert first.run_folder == Path("out") / names[0]
    assert plan.runs[0].log == Path("out") / f"{names[0]}.log"
    assert (plan.cpus_per_run, plan.gpus_per_run) == (2, 0)
    scales = {run.config.teacher_scale for run in plan.runs if run.config.method == "vlajs"}
    assert scales == {0.25, 4.0}


def test_sequences_are_lists_of_lists_and_entries_go_before_common(tmp_path: Path) -> None:
    file = write_yaml(
        tmp_path / "wide.yaml",
        """
        common: {task: push_cube, seed: 1, ppo: {hidden_sizes: [[64, 64]]}}
        runs: [{ppo: {hidden_sizes: [[32], [16, 16]]}}, {seed: 7}]
        """,
    )
    plan = read_sweep(file)
    sizes = {run.config.ppo.hidden_sizes: run.name for run in plan.runs}
    assert set(sizes) == {(32,), (16, 16), (64, 64)}
    assert sizes[16, 16] == "push_cube-ppo-seed1-hidden_sizes=16,16"
    assert plan.folder == Path("runs/wide")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "is no mapping"),
        ("runs: []", "runs must be a list with at least one entry"),
        ("runs: [{method: ppo}]\nfoldr: x", "unknown key foldr; known are common, cpus_per_run"),
        ("runs: [{task: push_cube, methood: ppo}]", "runs, entry 1: unknown key methood"),
        ("runs: [{task: push_cube, ppo: {lr: 1}}]", "runs, entry 1, ppo: unknown key lr"),
        ("runs: [{task: push_cube, resume: true}]", "unknown key resume"),
        ("runs: [{method: ppo}]", "no task; add task"),
        ("runs: [{task: push_cube, method: pppo}]", "Expected one of ('ppo', 'sparse-rpd', 'vlajs-rpd', 'vlajs')"),
        ("runs: [{task: push_cube, seed: []}]", "seed is [], expected a value or a list of values"),
        ("runs: [{task: push_cube, seed: 1, seed: 2}]", "seed twice in the mapping at line 1"),
        ("runs: [{task: push_cube}, {task: push_cube}]", "push_cube-ppo-seed1 is described twice"),
        ("runs: [{task: push_cube, device: cuda}]", "set gpus_per_run: 1"),
        ("runs: [{task: push_cube}]\ncpus_per_run: 0", "cpus_per_run is 0"),
        ("runs: [", "cannot be read"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = write_yaml(tmp_path / "s.yaml", text)
    with pytest.raises(SweepError) as refused:
        read_sweep(file)
    assert message in str(refused.value)
    assert str(file) in str(refused.value)


def test_status_is_what_the_folder_says(tmp_path: Path) -> None:
    config = TrainConfig(task="push_cube", total_steps=2_000, folder=tmp_path / "run")
    run = SweepRun(name="run", config=config, arguments=(), log=tmp_path / "run.log")
    assert run.status() == ("new", "")
    config.run_folder.mkdir()
    settings = {"format": RUN_FORMAT, **config.settings()}
    (config.run_folder / "config.json").write_text(json.dumps(settings, default=str))
    assert run.status() == ("interrupted", "")
    row = {"steps": 2 * ROLLOUT_STEPS, "seconds": 1.0, "rollout/success": 0.0}
    (config.run_folder / "progress.jsonl").write_text(json.dumps(row) + "\n")
    assert run.status() == ("interrupted", "")  # trained, but its report is missing
    bundle = make_bundle()
    bundle.contract.provenance["simulation_success"] = {"episodes": 200}
    save_bundle(bundle, config.bundle_path)
    assert run.status() == ("finished", "")
    (config.run_folder / "config.json").write_text(json.dumps({**settings, "num_envs": 5}, default=str))
    status, reason = run.status()
    assert status == "refused"
    assert "started with other settings (num_envs)" in reason


def test_dry_run_lists_and_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_yaml(tmp_path / "s.yaml", f"folder: {tmp_path}/out\nruns: [{{task: push_cube, seed: [1, 2]}}]")
    assert sweep.main([str(file), "--dry-run"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"run     vlajs train push_cube --seed 1 --folder {tmp_path}/out/push_cube-ppo-seed1"
    assert out[-1] == "RESULT runs=2 done=0 failed=0 skipped=0"
    assert not (tmp_path / "out").exists()


# -- the command -------------------------------------------------------------------------------------------------

COMMON = "common: {task: push_cube, total_steps: 3000, report_episodes: 0}"


def test_a_failed_run_does_not_stop_the_rest(tmp_path: Path) -> None:
    file = write_yaml(tmp_path / "s.yaml", f"folder: out\n{COMMON}\nruns: [{{seed: [1, 13, 14]}}]")
    done = run_command(sweep_command(tmp_path, file), tmp_path)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1] == "RESULT runs=3 done=2 failed=1 skipped=0"
    assert "FAILED push_cube-ppo-seed13: exit code 3; log out/push_cube-ppo-seed13.log" in done.stderr
    assert "the simulator has had enough" in (tmp_path / "out/push_cube-ppo-seed13.log").read_text()
    assert RunFolder.load(tmp_path / "out/push_cube-ppo-seed14").finished
    # again: what is finished is left alone, what failed is tried again, from its checkpoint
    again = run_command(sweep_command(tmp_path, file), tmp_path)
    assert again.stdout.splitlines()[-1] == "RESULT runs=3 done=0 failed=1 skipped=2"
    assert "resume True" in (tmp_path / "out/push_cube-ppo-seed13.log").read_text()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_sweep_leaves_nothing_running_and_goes_on(
    tmp_path: Path, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_yaml(tmp_path / "s.yaml", f"folder: out\n{COMMON}\nruns: [{{seed: 99}}]")
    log = tmp_path / "out/push_cube-ppo-seed99.log"
    process = subprocess.Popen(
        sweep_command(tmp_path, file), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    progress = tmp_path / "out/push_cube-ppo-seed99/progress.jsonl"
    deadline = time.monotonic() + 200
    while not progress.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    (line,) = [line for line in log.read_text().splitlines() if line.startswith("pid")]
    training = int(line.split()[1])
    (folder,) = {
        word.partition("/session_")[0]
        for word in Path(f"/proc/{process.pid}/environ").read_text().split("\0") + ray_words(process.pid)
        if "/vlajs-sweep-" in word and "/session_" in word
    }
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SweepError, match="another sweep works in out"):
        sweep.execute(read_sweep(file), None)

    os.kill(process.pid, how)
    output = process.communicate(timeout=100)[0]
    if how is signal.SIGINT:
        assert process.returncode == 130, output
        assert "the same command goes on from here" in output
        assert not Path(folder).parent.exists()
    deadline = time.monotonic() + 100
    while (is_running(training) or rays_below(folder)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not is_running(training)
    assert rays_below(folder) == []
    if how is signal.SIGINT:
        return  # how it goes on is the same for both
    shutil.rmtree(Path(folder).parent)  # SIGKILL left no time for it

    done = run_command(sweep_command(tmp_path, file), tmp_path)
    assert done.stdout.splitlines()[-1] == "RESULT runs=1 done=1 failed=0 skipped=0", done.stderr
    assert "resume True" in log.read_text()
    assert RunFolder.load(tmp_path / "out/push_cube-ppo-seed99").finished


def ray_words(pid: int) -> list[str]:
    """Words of the command lines of a process's children."""
    words = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            words += (entry / "cmdline").read_text().split("\0") if int(parent) == pid else []
        except OSError:
            continue
    return [word.rpartition("=")[2] for word in words]


@pytest.mark.timeout(600)
def test_the_real_command_trains_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_yaml(
        tmp_path / "s.yaml",
        """
        folder: out
        common: {task: push_cube, total_steps: 64, num_envs: 4, workers: 1, validation_episodes: 4, report_episodes: 0,
                 video: false}
        runs: [{method: ppo, seed: 1}]
        """,
    )
    vlajs = str(Path(sys.executable).parent / "vlajs")
    done = run_command([vlajs, "sweep", str(file)], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "RESULT runs=1 done=1 failed=0 skipped=0"
    monkeypatch.chdir(tmp_path)
    assert [run.status()[0] for run in read_sweep(file).runs] == ["finished"]
    assert compare.main(["out/push_cube-ppo-seed1"]) == 0
    assert "RESULT runs=1 groups=1" in capsys.readouterr().out
