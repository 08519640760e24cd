"""``vlajs train``: train a policy with one of four methods and export the best one by validation as a bundle.

The run's folder (``run_folder.py``) holds settings, checkpoint, log and bundle; ``--resume`` goes on from the
checkpoint after any kind of end. Started by ``torchrun`` the processes train one policy together (``trainer.py``).
"""

import sys

import tyro

from vlajs.policy.bundle import load_bundle, save_bundle
from vlajs.policy.response import ControllerResponse
from vlajs_training.distributed import leave_processes
from vlajs_training.evaluate import EvaluateConfig, Evaluation, evaluate_bundle, wilson95
from vlajs_training.ppo import TrainingError
from vlajs_training.run_folder import StorageError
from vlajs_training.simulation.parallel import WorkerError
from vlajs_training.train_config import TrainConfig
from vlajs_training.trainer import Trainer


def report(config: TrainConfig) -> Evaluation:
    """Evaluate the chosen bundle on stock ManiSkill, on seeds used for nothing else, and write the result into it."""
    bundle = load_bundle(config.bundle_path)
    settings = EvaluateConfig(bundle=config.bundle_path, episodes=config.report_episodes, response=config.response)
    result = evaluate_bundle(bundle, settings)
    bundle.contract.provenance["simulation_success"] = {
        "simulator": f"ManiSkill {bundle.contract.provenance['mani_skill']} {settings.backend}",
        "episodes": result.episodes,
        "successes": result.once,
        "held": result.held,
        "wilson95": list(wilson95(result.once, result.episodes)),
        "seed": settings.seed,
    }
    save_bundle(bundle, config.bundle_path)
    return result


def _train(config: TrainConfig) -> None:
    """Train, and on process 0 report."""
    trainer = Trainer(config)
    try:
        trainer.prepare_folder()
        trainer.run()
    finally:
        trainer.close()
        leave_processes()
    if trainer.processes.rank > 0:
        return
    best, at = trainer.progress.best_success, trainer.progress.best_at
    print(f"best validation {best:.3f} at {at:,} steps; bundle {config.bundle_path}")
    if config.report_episodes:
        result = report(config)
        low, high = wilson95(result.once, result.episodes)
        print(
            f"RESULT task={config.task} episodes={result.episodes} success={result.once} "
            f"wilson95=[{low:.3f},{high:.3f}]"
        )
    if config.video:
        film(config)


def film(config: TrainConfig) -> None:
    """Write a video of the chosen bundle beside it, where something renders; what hinders it is said, never raised."""
    from vlajs_training.video import record_policy  # with the simulator, which training's own process does not load

    video = record_policy(
        load_bundle(config.bundle_path),
        config.bundle_path.with_suffix(".mp4"),
        response=ControllerResponse.from_yaml(config.response),
        protocol=config.protocol,
    )
    if video is not None:
        print(f"video {video}", file=sys.stderr)


def main(args: list[str] | None = None) -> int:
    """Command line."""
    config = tyro.cli(TrainConfig, args=args, prog="vlajs train", description=TrainConfig.__doc__)
    try:
        _train(config)
    except (ValueError, TrainingError, StorageError, WorkerError) as error:
        print(f"vlajs train: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"vlajs train: {error}: check paths, permissions and free space, then add --resume", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"vlajs train: stopped; go on with --resume (folder {config.run_folder})", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
