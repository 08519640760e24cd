"""Environments in worker processes: order, seeds, and every way a worker can fail."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vlajs_training.simulation import ParallelVectorEnv, WorkerError, parallel, worker_seed

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def fakes() -> Iterator[Any]:
    """The module of fake environments, importable by workers too (they inherit sys.path)."""
    sys.path.insert(0, str(HERE))
    yield importlib.import_module("fake_vector_env")
    sys.path.remove(str(HERE))


@pytest.fixture(scope="module")
def pair(fakes: Any) -> Iterator[ParallelVectorEnv]:
    env = ParallelVectorEnv(fakes.make, 2)
    yield env
    env.close()


def test_environments_come_in_the_order_of_the_workers(pair: ParallelVectorEnv) -> None:
    assert (pair.num_envs, pair.observation_size, pair.action_size) == (3, 3, 2)
    observation = pair.reset(seed=5)
    assert observation[:, :2].tolist() == [[0, 0], [1, 0], [1, 1]]
    actions = np.array([[0.1, 0.2], [0.3, 0.6], [0.5, 0.5]], np.float32)
    first, second, third = (pair.step(actions) for _ in range(3))
    np.testing.assert_allclose(first.reward, [0.3, 0.9, 1.0], rtol=1e-6)
    assert first.success.tolist() == [False, True, False]
    assert first.observation[:, 2].tolist() == [1, 1, 1], "an earlier result must keep its values"
    assert not second.terminated.any()
    assert not second.truncated.any()
    assert third.terminated.tolist() == [True, False, False]
    assert third.truncated.tolist() == [False, True, True]
    assert third.observation[:, 2].tolist() == [0, 0, 0]
    assert third.final_observation[:, 2].tolist() == [3, 3, 3]
    assert third.observation.dtype == third.reward.dtype == np.float32


def test_what_is_to_be_seen_comes_from_whichever_worker_has_it(pair: ParallelVectorEnv) -> None:
    # environment 0 is worker 0's only one, 1 and 2 are slots 0 and 1 of worker 1
    seen = pair.visible_state(np.array([2, 0, 1, 2]))
    assert seen.tolist() == [[1, 1], [0, 0], [1, 0], [1, 1]]
    assert pair.visible_state(np.array([], dtype=np.int64)).shape == (0, 2)
    with pytest.raises(ValueError, match=r"expected indices in 0 .. 2"):
        pair.visible_state(np.array([3]))


def test_a_teacher_may_look_while_the_environments_step(pair: ParallelVectorEnv) -> None:
    pair.reset(seed=1)
    seen: list[np.ndarray] = []
    looking = threading.Thread(target=lambda: seen.extend(pair.visible_state(np.arange(3)) for _ in range(50)))
    looking.start()
    actions = np.full((3, 2), 0.25, np.float32)
    for _ in range(50):
        np.testing.assert_allclose(pair.step(actions).reward, 0.5)
    looking.join(30)
    assert len(seen) == 50
    assert all(rows.tolist() == [[0, 0], [1, 0], [1, 1]] for rows in seen)


def test_each_worker_gets_its_own_seed(pair: ParallelVectorEnv) -> None:
    first = pair.reset(seed=5)
    expected = [worker_seed(5, 0) % 1000, worker_seed(5, 1) % 1000, worker_seed(5, 1) % 1000]
    assert first[:, 2].tolist() == expected
    assert np.array_equal(first, pair.reset(seed=5))
    assert not np.array_equal(first, pair.reset(seed=6))


def test_worker_seeds_differ_between_workers_and_runs() -> None:
    seeds = {worker_seed(run, worker) for run in range(20) for worker in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_wrong_shape_is_refused_before_any_worker_moves(pair: ParallelVectorEnv) -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 2\), expected \(3, 2\)"):
        pair.step(np.zeros((2, 2), np.float32))
    assert pair.step(np.zeros((3, 2), np.float32)).reward.tolist() == [0, 0, 0]


def with_this_path() -> dict[str, str]:
    """Environment variables for another interpreter that imports what this one does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def command(env: ParallelVectorEnv, row: int, value: float) -> np.ndarray:
    actions = np.zeros((env.num_envs, env.action_size), np.float32)
    actions[row, 0] = value
    return actions


def assert_closed(env: ParallelVectorEnv) -> None:
    assert env._processes == []
    with pytest.raises(RuntimeError, match="closed"):
        env.step(np.zeros((env.num_envs, env.action_size), np.float32))
    env.close()  # again: allowed


def test_a_raising_worker_raises_here_with_its_traceback(fakes: Any) -> None:
    env = ParallelVectorEnv(fakes.make, 2)
    env.reset(seed=1)
    with pytest.raises(WorkerError, match=r"(?s)Worker 1 raised:.*_misbehave.*ZeroDivisionError: the cube is nowhere"):
        env.step(command(env, 1, fakes.RAISE))
    assert_closed(env)


def test_a_dead_worker_is_reported(fakes: Any) -> None:
    env = ParallelVectorEnv(fakes.make, 2)
    env.reset(seed=1)
    with pytest.raises(WorkerError, match="Worker 0 died with exit code -9"):
        env.step(command(env, 0, fakes.DIE))
    assert_closed(env)


def test_a_silent_worker_is_reported(fakes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlajs_training.simulation.parallel._CLOSE_GRACE_S", 0.2)
    env = ParallelVectorEnv(fakes.make, 1)
    env._timeout_s = 0.5
    with pytest.raises(WorkerError, match=r"Workers \[0\] gave no answer within 0.5 s"):
        env.step(command(env, 0, fakes.SLEEP))
    assert_closed(env)


@pytest.mark.parametrize(
    "factory, error, message",
    [
        ("make_broken", WorkerError, "(?s)Worker 1 raised:.*no such task"),
        ("make_killed", WorkerError, "Worker 1 died with exit code -9"),
        ("make_uneven", ValueError, "must agree"),
    ],
)
def test_workers_that_cannot_start_are_reported(fakes: Any, factory: str, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        ParallelVectorEnv(getattr(fakes, factory), 2)


def test_an_interrupted_start_leaves_no_worker(fakes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(env: ParallelVectorEnv) -> None:
        assert len(multiprocessing.active_children()) == 1 + len(before)
        raise KeyboardInterrupt

    before = multiprocessing.active_children()
    monkeypatch.setattr(ParallelVectorEnv, "_collect", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ParallelVectorEnv(fakes.make, 1)
    assert multiprocessing.active_children() == before


def test_the_package_needs_no_torch_until_a_simulation_is_made() -> None:
    """Each worker would pay seconds for it."""
    code = "import sys, vlajs_training.simulation; sys.exit('torch' in sys.modules or 'mani_skill' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=with_this_path(), timeout=120).returncode == 0


def test_a_worker_uses_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        parallel._use_one_thread()
        assert torch.get_num_threads() == 1
        assert os.environ["OMP_NUM_THREADS"] == "1"  # for a torch that is imported later
    finally:
        torch.set_num_threads(before)


def test_no_workers_is_refused(fakes: Any) -> None:
    with pytest.raises(ValueError, match="num_workers=0"):
        ParallelVectorEnv(fakes.make, 0)


IMPORTS_ONCE = """
import functools, os
import numpy as np
import fake_vector_env
from vlajs_training.simulation import ParallelVectorEnv
if __name__ == "__main__":
    env = ParallelVectorEnv(functools.partial(fake_vector_env.make_showing_processes), 2, preload="needed_late")
    print(os.getpid(), *env.visible_state(np.array([0, 1])).astype(int).ravel())
    env.close()
"""


def test_what_the_factory_needs_is_imported_once_for_all_workers(tmp_path: Path) -> None:
    script = tmp_path / "imports_once.py"
    script.write_text(IMPORTS_ONCE)
    variables = {**with_this_path(), "PYTHONPATH": os.pathsep.join((str(HERE), with_this_path()["PYTHONPATH"]))}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=variables, timeout=120)
    parent, *rows = (int(pid) for pid in done.stdout.split())
    first, second = rows[:3], rows[3:]
    assert first[:2] == second[:2] == [first[0]] * 2, done.stderr
    assert len({parent, first[0], first[2], second[2]}) == 4


PARENT = """
import os, signal, sys
sys.path.insert(0, {here!r})
import fake_vector_env
from vlajs_training.simulation import ParallelVectorEnv
if __name__ == "__main__":
    env = ParallelVectorEnv(fake_vector_env.make, 1)
    print(*[process.pid for process in env._processes], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_workers_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(here=str(HERE)))
    parent = subprocess.run([sys.executable, script], capture_output=True, text=True, env=with_this_path(), timeout=120)
    assert parent.returncode == -9, parent.stderr
    (worker,) = [int(pid) for pid in parent.stdout.split()]
    deadline = time.monotonic() + 30.0
    while is_running(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(worker), "the worker outlived its parent"
