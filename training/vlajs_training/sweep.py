"""``vlajs sweep``: many training runs from one YAML file, on Ray.

Each run is a process of its own (``vlajs train``), so that a crash costs that run alone. Called again, finished runs
are skipped and interrupted ones go on. The file's form is described in ``sweep_plan.py``.
"""

import contextlib
import fcntl
import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from vlajs_training.sweep_cluster import cluster, run_logged
from vlajs_training.sweep_plan import Sweep, SweepError, SweepRun, read_sweep

TRAIN = ("-m", "vlajs_training.train")
"""Arguments of Python that start a training run."""
LOOK_EVERY_S = 5.0
"""Seconds between looks at the runs' progress."""
CANCEL_GRACE_S = 20.0
"""Longest wait for runs to end after Ctrl-C."""


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """Train every run that a YAML file describes; finished runs are skipped, interrupted ones resumed."""

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CONFIG.yaml")]
    """What to train; see docs of vlajs_training/sweep_plan.py and training/README.md."""
    address: str | None = None
    """Ray cluster to run on, such as ray://head:10001 or auto; without it one is started on this machine. Its nodes
    need this project installed and the runs' folder on a shared file system."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """List what would be run and do nothing."""


@dataclass(kw_only=True)
class Outcome:
    """What became of the runs."""

    done: list[SweepRun] = field(default_factory=list)
    skipped: list[SweepRun] = field(default_factory=list)
    failed: list[tuple[SweepRun, str]] = field(default_factory=list)
    """With the reason."""


@dataclass(kw_only=True)
class _Started:
    """A task given to Ray."""

    run: SweepRun
    log_size: int
    """Bytes in the log before: it grows when Ray starts the run."""
    seen: bool = False


def sort_out(sweep: Sweep) -> tuple[Outcome, list[tuple[SweepRun, bool]]]:
    """What is skipped or refused already, and what there is to run, with whether to resume it."""
    outcome, waiting = Outcome(), []
    for run in sweep.runs:
        status, reason = run.status()
        if status == "finished":
            outcome.skipped.append(run)
        elif status == "refused":
            outcome.failed.append((run, reason))
        else:
            waiting.append((run, status == "interrupted"))
    return outcome, waiting


def describe(sweep: Sweep) -> str:
    """For --dry-run: one line a run, with its command."""
    verbs = {"new": "run", "interrupted": "resume", "finished": "skip", "refused": "refuse"}
    lines = []
    for run in sweep.runs:
        status, reason = run.status()
        extra = " --resume" if status == "interrupted" else ""
        lines.append(f"{verbs[status]:7} {reason or 'vlajs train ' + shlex.join(run.arguments) + extra}")
    return "\n".join(lines)


def execute(sweep: Sweep, address: str | None) -> Outcome:
    """Run what is to be run; returns when all has ended.

    Raises:
        SweepError: another sweep works in the folder.
        KeyboardInterrupt: after the runs under way were ended.
    """
    sweep.folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(sweep.folder):
        outcome, waiting = sort_out(sweep)
        for run, reason in outcome.failed:
            print(f"refused {run.name}: {reason}", file=sys.stderr)
        if not waiting:
            return outcome
        # what one run asks for must exist, or it would wait for ever
        cpus = max(len(os.sched_getaffinity(0)), sweep.cpus_per_run)
        with cluster(address, cpus, _gpus() if sweep.gpus_per_run else 0) as ray:
            _work_off(ray, sweep, waiting, outcome)
        return outcome


def _work_off(ray: Any, sweep: Sweep, waiting: list[tuple[SweepRun, bool]], outcome: Outcome) -> None:
    task = ray.remote(num_cpus=sweep.cpus_per_run, num_gpus=sweep.gpus_per_run, max_retries=0)(run_logged)
    started: dict[Any, _Started] = {}
    for run, resume in waiting:
        size = run.log.stat().st_size if run.log.exists() else 0
        words = [*TRAIN, *run.arguments, *(["--resume"] if resume else [])]
        started[task.remote(words, str(run.log.absolute()), os.getcwd())] = _Started(run=run, log_size=size)
    bar = tqdm(total=sum(run.config.budget for run in sweep.runs), desc=sweep.folder.name, unit="step", unit_scale=True)
    try:
        while started:
            ready, _ = ray.wait(list(started), timeout=LOOK_EVERY_S)
            _announce_started(started, bar)
            for reference in ready:
                _conclude(ray, reference, started.pop(reference), outcome, bar)
            _show(sweep, started, outcome, bar)
    except BaseException:  # Ctrl-C above all: end what runs before leaving
        for reference in started:
            ray.cancel(reference)
        ray.wait(list(started), num_returns=len(started), timeout=CANCEL_GRACE_S)
        raise
    finally:
        bar.close()


def _announce_started(started: dict[Any, _Started], bar: tqdm) -> None:
    for item in started.values():
        if not item.seen and item.run.log.exists() and item.run.log.stat().st_size > item.log_size:
            item.seen = True
            bar.write(f"started {item.run.name}")


def _conclude(ray: Any, reference: Any, item: _Started, outcome: Outcome, bar: tqdm) -> None:
    """Note how a run ended."""
    try:
        code = ray.get(reference)
    except (ray.exceptions.RayError, OSError) as error:  # its worker died, or its node, or the log has no place
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    else:
        reason = "" if code == 0 else f"exit code {code}"
    if reason:
        outcome.failed.append((item.run, reason))
        bar.write(f"failed  {item.run.name}: {reason}, log {item.run.log}")
    else:
        outcome.done.append(item.run)
        bar.write(f"done    {item.run.name}")


def _show(sweep: Sweep, started: dict[Any, _Started], outcome: Outcome, bar: tqdm) -> None:
    running = sum(item.seen for item in started.values())
    bar.n = sum(run.steps() for run in sweep.runs)
    bar.set_postfix(
        running=running,
        waiting=len(started) - running,
        done=len(outcome.done),
        failed=len(outcome.failed),
        refresh=False,
    )
    bar.refresh()


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; two sweeps would train the same runs."""
    with open(folder / ".sweep.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SweepError(f"another sweep works in {folder}: wait for it, or give another folder") from error
        yield


def _gpus() -> int:
    """GPUs of this machine."""
    import torch

    return torch.cuda.device_count()


def main(args: list[str] | None = None) -> int:
    """Command line."""
    config = tyro.cli(SweepConfig, args=args, prog="vlajs sweep", description=SweepConfig.__doc__)
    try:
        sweep = read_sweep(config.file)
        if config.dry_run:
            print(describe(sweep))
            outcome, _ = sort_out(sweep)
        else:
            outcome = execute(sweep, config.address)
    except SweepError as error:
        print(f"vlajs sweep: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        print("vlajs sweep: ray is not installed: pip install 'vlajs-training[sweep]'", file=sys.stderr)
        return 2
    except (ConnectionError, OSError) as error:
        print(f"vlajs sweep: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vlajs sweep: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    for run, reason in outcome.failed:
        print(f"FAILED {run.name}: {reason}; log {run.log if run.log.exists() else 'none'}", file=sys.stderr)
    print(
        f"RESULT runs={len(sweep.runs)} done={len(outcome.done)} failed={len(outcome.failed)} "
        f"skipped={len(outcome.skipped)}"
    )
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
