"""``vlajs evaluate``: run a policy bundle in simulation, deterministically, on seeds it has not seen.

The default is the *stock* ManiSkill environment (one environment a process, ordinary CPU simulation); nothing is
randomised, the arm responds as identified. Success is reported twice: *once*, true at any step, and *held*, still
true when the horizon ends.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tyro
from tqdm import tqdm

from vlajs.policy.bundle import PolicyBundle, load_bundle
from vlajs.policy.contract import ContractError
from vlajs.policy.response import ControllerResponse
from vlajs_training.randomisation import Randomisation, get_randomisation
from vlajs_training.responses import TWIN_RESPONSE
from vlajs_training.simulation import Backend
from vlajs_training.simulation.parallel import ParallelVectorEnv, WorkerError
from vlajs_training.simulation.vector import VectorEnv
from vlajs_training.tasks import get_definition

if TYPE_CHECKING:
    from vlajs_training.environment import TaskEnvironment

SIMULATOR = "vlajs_training.environment"
"""What worker processes need of :func:`make_environment`; their parent, which does not, starts sooner."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Run a policy bundle in simulation and print its success with a 95 % Wilson interval."""

    bundle: tyro.conf.Positional[Path]
    """Policy bundle, a .safetensors file."""
    episodes: int = 200
    """How many episodes."""
    seed: int = 900_000
    """Seed of the scenes; training uses its own small seeds."""
    backend: Backend = "stock_cpu"
    """stock_cpu is ManiSkill as it comes; batched_cpu is what training runs on."""
    workers: int = 2
    """Processes."""
    envs_per_worker: int = 1
    """Environments in each process; more than 1 with batched_cpu only."""
    randomise: str = "none"
    """What to vary: none or deploy."""
    response: Path = TWIN_RESPONSE
    """Identified response of bridge and arm."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Counts over episodes.

    Attributes:
        episodes: how many were run.
        once: successes at any step.
        held: successes still true at the last step; equals ``once`` where episodes end at success.
        mean_steps: control steps to the first success, over successful episodes; NaN without any.
    """

    episodes: int
    once: int
    held: int
    mean_steps: float


def wilson95(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a proportion."""
    from scipy.stats import binomtest  # a second of imports, which no process of a training should wait for

    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def run_episodes(
    env: VectorEnv,
    act: Callable[[np.ndarray], np.ndarray],
    episodes: int,
    seed: int,
    progress: Callable[[int], object] = lambda _: None,
) -> Evaluation:
    """Run whole episodes, the same number in each environment, so that short ones are not favoured.

    Args:
        env: environments; reset here.
        act: observations (N, D) to actions (N, 7).
        episodes: at least this many are run, rounded up to a multiple of the number of environments.
        seed: of the scenes.
        progress: called with the number of episodes that just ended.
    """
    quota = -(-episodes // env.num_envs)
    finished = np.zeros(env.num_envs, dtype=int)
    succeeded = np.zeros(env.num_envs, dtype=bool)
    age = np.zeros(env.num_envs, dtype=int)
    once = held = 0
    steps: list[int] = []
    observation = env.reset(seed)
    while (finished < quota).any():
        result = env.step(act(observation))
        observation = result.observation
        age += 1
        counted = finished < quota
        steps += age[counted & result.success & ~succeeded].tolist()
        succeeded |= result.success
        done = result.terminated | result.truncated
        once += int((done & counted & succeeded).sum())
        held += int((done & counted & result.success).sum())
        progress(int((done & counted).sum()))
        finished += done
        succeeded[done] = False
        age[done] = 0
    return Evaluation(
        episodes=quota * env.num_envs, once=once, held=held, mean_steps=float(np.mean(steps)) if steps else float("nan")
    )


def make_environment(
    worker: int,
    *,
    task: str,
    reward: str = "dense",
    protocol: str = "standard",
    num_envs: int,
    response: ControllerResponse,
    randomisation: Randomisation,
    backend: Backend,
    end_at_success: bool,
    random_ages: bool = False,
    reflexes_from_success: float | None = None,
) -> "TaskEnvironment":
    """Factory for worker processes."""
    from vlajs_training.environment import TaskEnvironment

    return TaskEnvironment(
        task,
        reward=reward,
        protocol=protocol,
        num_envs=num_envs,
        response=response,
        randomisation=randomisation,
        backend=backend,
        end_at_success=end_at_success,
        random_ages=random_ages,
        reflexes_from_success=reflexes_from_success,
        seed=worker,
    )


def evaluate_bundle(bundle: PolicyBundle, config: EvaluateConfig) -> Evaluation:
    """Run ``config.episodes`` episodes to the horizon.

    Raises:
        ValueError: the bundle's task or protocol is unknown here, or its contract is not this version's.
    """
    protocol = str(bundle.contract.provenance.get("protocol", "standard"))
    definition = get_definition(bundle.contract.task, protocol=protocol)
    expected = definition.contract(bundle.contract.network, {}).contract_id
    if bundle.contract.contract_id != expected:
        raise ValueError(
            f"the bundle's contract is {bundle.contract.contract_id}, this version's {definition.task.name} is "
            f"{expected}: compare with `vlajs bundle show`, or evaluate with the release that trained it"
        )
    factory = partial(
        make_environment,
        task=bundle.contract.task,
        protocol=protocol,
        num_envs=config.envs_per_worker,
        response=ControllerResponse.from_yaml(config.response),
        randomisation=get_randomisation(config.randomise),
        backend=config.backend,
        end_at_success=False,
        reflexes_from_success=0.0,
    )
    env = ParallelVectorEnv(factory, config.workers, preload=SIMULATOR)
    try:
        with tqdm(total=config.episodes, desc=f"evaluate {bundle.contract.task}", unit="ep", file=sys.stderr) as bar:
            return run_episodes(
                env,
                lambda batch: np.stack([bundle.act(row) for row in batch]),
                config.episodes,
                config.seed,
                bar.update,
            )
    finally:
        env.close()


def main(args: list[str] | None = None) -> int:
    """Command line."""
    config = tyro.cli(EvaluateConfig, args=args, prog="vlajs evaluate", description=EvaluateConfig.__doc__)
    try:
        bundle = load_bundle(config.bundle)
        started = time.perf_counter()
        result = evaluate_bundle(bundle, config)
    except (ContractError, ValueError, WorkerError) as error:
        print(f"vlajs evaluate: {error}", file=sys.stderr)
        return 2
    seconds = time.perf_counter() - started
    held_low, held_high = wilson95(result.held, result.episodes)
    print(
        f"held at the horizon: {result.held}/{result.episodes} wilson95=[{held_low:.3f},{held_high:.3f}]; "
        f"mean steps to success {result.mean_steps:.1f}; {seconds:.0f} s on {config.backend}, seed {config.seed}"
    )
    low, high = wilson95(result.once, result.episodes)
    print(
        f"RESULT task={bundle.contract.task} episodes={result.episodes} success={result.once} "
        f"wilson95=[{low:.3f},{high:.3f}]"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
