"""Steps per second of the batched CPU simulation against stock ManiSkill, measured side by side in one process.

    .venv/bin/python tests/benchmarks/bench_simulation.py --task PickCube-v1 --num-envs 64

A step is one control step of one environment, with observation, reward and automatic partial resets. Figures are per
second of CPU time of this process, so that other work on the machine disturbs them less; the ratio is the result.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

from vlajs_training.simulation import Backend, make_simulation, partial_reset, reset_all

HORIZON = 50


def run(env: Any, steps: int, generator: torch.Generator) -> float:
    """Take `steps` control steps; returns environment steps per CPU second."""
    size = env.single_action_space.shape[0]
    start = time.process_time()
    for _ in range(steps):
        action = torch.rand(env.num_envs, size, generator=generator) * 0.6 - 0.3
        terminated = env.step(action)[2]
        finished = torch.nonzero(terminated | (env.elapsed_steps >= HORIZON)).flatten()
        if len(finished):
            partial_reset(env, finished)
    return steps * env.num_envs / (time.process_time() - start)


def prepare(backend: Backend, num_envs: int, arguments: argparse.Namespace) -> Any:
    """An environment whose episodes end at different times."""
    env = make_simulation(arguments.task, num_envs=num_envs, backend=backend, control_mode=arguments.control_mode)
    reset_all(env, seed=1)
    env.elapsed_steps[:] = torch.arange(num_envs) % HORIZON
    return env


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="PickCube-v1")
    parser.add_argument("--control-mode", default="pd_ee_delta_pose")
    parser.add_argument("--num-envs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(1)
    with torch.inference_mode():
        stock = prepare("stock_cpu", 1, arguments)
        batched = prepare("batched_cpu", arguments.num_envs, arguments)
        run(stock, 10, generator)
        run(batched, 10, generator)
        print(f"{arguments.task}, {arguments.control_mode}, steps per CPU second")
        for _ in range(arguments.rounds):
            stock_rate, batched_rate = run(stock, 150, generator), run(batched, 40, generator)
            print(
                f"stock (1): {stock_rate:6.0f}   batched ({arguments.num_envs}): {batched_rate:6.0f}   "
                f"ratio {batched_rate / stock_rate:5.1f}"
            )


if __name__ == "__main__":
    main()
