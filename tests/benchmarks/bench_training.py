"""End-to-end training throughput, rollout and update: batched simulation against stock ManiSkill, in one run.

    .venv/bin/python tests/benchmarks/bench_training.py --tasks pick_cube push_cube --rounds 3

Both sides run the same PPO on the same task with the same controller in two worker processes; only the simulation
differs: N environments a process in ManiSkill's batched code, or one ordinary environment a process. A step is a
decision of the policy, two control ticks of 50 ms. The ratio is the result: absolute figures are the machine's.

A second table says where the time of one process goes that does everything itself.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from vlajs.policy.response import ControllerResponse
from vlajs_training.environment import Backend, TaskEnvironment
from vlajs_training.evaluate import make_environment
from vlajs_training.ppo import PPO, PPOConfig
from vlajs_training.randomisation import get_randomisation
from vlajs_training.responses import TWIN_RESPONSE
from vlajs_training.simulation.parallel import ParallelVectorEnv
from vlajs_training.simulation.vector import VectorEnv
from vlajs_training.tasks import DEFINITIONS

WORKERS = 2
ENVS_PER_WORKER = 64
SAMPLES = 2048
"""Steps in an update, on both sides: 128 environments of 16 steps."""


def factory(task: str, backend: Backend, num_envs: int) -> Callable[[int], VectorEnv]:
    """Makes a worker's environments."""
    return partial(
        make_environment,
        task=task,
        num_envs=num_envs,
        response=ControllerResponse.from_yaml(TWIN_RESPONSE),
        randomisation=get_randomisation("none"),
        backend=backend,
        end_at_success=True,
        random_ages=True,
    )


def learner(env: VectorEnv) -> PPO:
    """PPO, warmed up by one iteration."""
    steps = min(SAMPLES // env.num_envs, 64)
    ppo = PPO(env, PPOConfig(rollout_steps=steps), torch.device("cpu"))
    ppo.start(0)
    ppo.update(ppo.collect())
    return ppo


def measure(ppo: PPO, iterations: int) -> tuple[float, float]:
    """Steps a second of rollout and update together, and of rollouts alone."""
    rollout_s = update_s = 0.0
    for _ in range(iterations):
        started = time.perf_counter()
        rollout = ppo.collect()
        collected = time.perf_counter()
        torch.set_num_threads(WORKERS)  # as training does: the workers wait
        ppo.update(rollout)
        torch.set_num_threads(1)
        rollout_s += collected - started
        update_s += time.perf_counter() - collected
    steps = iterations * ppo.env.num_envs * ppo.config.rollout_steps
    return steps / (rollout_s + update_s), steps / rollout_s


def compare(task: str, rounds: int) -> str:
    """One line: a task's throughput on both simulations, in turns."""
    batched = learner(ParallelVectorEnv(factory(task, "batched_cpu", ENVS_PER_WORKER), WORKERS))
    stock = learner(ParallelVectorEnv(factory(task, "stock_cpu", 1), WORKERS))
    try:
        pairs = [(measure(batched, 2), measure(stock, 2)) for _ in range(rounds)]
    finally:
        batched.env.close()
        stock.env.close()
    pairs.sort(key=lambda pair: pair[0][0] / pair[1][0])
    ratios = [ours[0] / theirs[0] for ours, theirs in pairs]
    (ours, rollout), (theirs, _) = pairs[rounds // 2]
    return (
        f"{task:<19} {ours:7.0f} {rollout:9.0f} {theirs:7.0f}   {ratios[rounds // 2]:5.1f} "
        f"({ratios[0]:.1f} to {ratios[-1]:.1f})"
    )


class Stopwatch:
    """Adds up the time spent in wrapped calls, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, owner: Any, method: str, name: str) -> None:
        """Time every call of ``owner.method``."""
        call = getattr(owner, method)
        self.seconds.setdefault(name, 0.0)

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - started

        setattr(owner, method, timed)


def shares(task: str, iterations: int = 2) -> str:
    """One line: what one process spends its time on."""
    env = factory(task, "batched_cpu", ENVS_PER_WORKER)(0)
    assert isinstance(env, TaskEnvironment)
    ppo = learner(env)
    watch = Stopwatch()
    px: Any = env.simulation.scene.px
    watch.wrap(px, "_run_pending_steps", "physics")
    for method in ("distribution", "value"):
        watch.wrap(ppo.network, method, "network")
    rollout_s = update_s = network_s = 0.0
    for _ in range(iterations):
        watch.seconds["network"] = 0.0
        started = time.perf_counter()
        rollout = ppo.collect()
        collected = time.perf_counter()
        network_s += watch.seconds["network"]  # in the rollout alone: the update's is the update's
        ppo.update(rollout)
        rollout_s += collected - started
        update_s += time.perf_counter() - collected
    env.close()
    total_s, physics_s = rollout_s + update_s, watch.seconds["physics"]
    parts = [physics_s, rollout_s - physics_s - network_s, network_s, update_s]
    return f"{task:<19} " + " ".join(f"{100 * part / total_s:8.0f} %" for part in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(DEFINITIONS), choices=list(DEFINITIONS))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"training, steps a second ({WORKERS} processes, {arguments.rounds} interleaved rounds; median round)")
    print(f"{'task':<19} batched (rollout)   stock   ratio (least to most)")
    for task in arguments.tasks:
        print(compare(task, arguments.rounds), flush=True)
    print("\nshare of the time of one process")
    print(f"{'task':<19}    physics     Python    network     update")
    for task in arguments.tasks:
        print(shares(task), flush=True)


if __name__ == "__main__":
    main()
