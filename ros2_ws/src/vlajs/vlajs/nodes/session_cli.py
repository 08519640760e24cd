"""``vlajs session run | resume | report | robustness``."""

# pyright: reportPrivateImportUsage=false
# (rclpy does not mark its public names as exported)

import dataclasses
import functools
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from vlajs.nodes.session_launch import launch_arguments, started_nodes
from vlajs.policy.bundle import load_bundle
from vlajs.policy.contract import Contract
from vlajs.session.conditions import CONDITIONS, UNDISTURBED, condition_named
from vlajs.session.journal import SessionFolder, read_session
from vlajs.session.operator import Operator
from vlajs.session.plan import TrialPlan, plan_record, plan_trials
from vlajs.session.preparation import TrialSettings, load_policy
from vlajs.session.records import (
    COMMANDERS,
    Arm,
    Checkpoint,
    Launch,
    PoseSource,
    SessionError,
    SessionHeader,
    TrialResult,
    installed_versions,
    machine_description,
    utc_now,
    with_notes,
)
from vlajs.session.report import write_report
from vlajs.session.robustness import read_conditions, result_lines, write_table
from vlajs.session.run import run_session
from vlajs.session.statistics import of, result_line, summarise
from vlajs.session.table import success_table
from vlajs.tasks import get_task

if TYPE_CHECKING:
    pass

READY_TIMEOUT_S = 30.0
LAUNCH_TIMEOUT_S = 120.0
"""Wall time for a launch of our own to come up, on a slow machine."""

INTERRUPTED = 130


def run(
    task: str,
    checkpoint: Path,
    trials: int = 20,
    seed: int = 1,
    launch: Launch = "none",
    arm: Arm = "twin",
    folder: Path | None = None,
    record: bool = True,
    pose_source: PoseSource = "truth",
    condition: str = UNDISTURBED,
    baseline: bool = False,
    launch_args: tuple[str, ...] = (),
) -> int:
    """Run trials of a policy, judge them, and write a journal and a report.

    Args:
        task: one that the twin has the objects for; the checkpoint must be for it.
        checkpoint: policy bundle (.safetensors).
        trials: how many.
        seed: decides every trial's scene; the same seed gives the same scenes anywhere.
        launch: "twin" starts twin (its cube of the task's size), bridge and policy node for the session; "none" uses
            the nodes that run already.
        arm: "real" asks an operator to set scenes and to judge, and never recovers from a fault without asking.
        folder: where the session is kept; a new folder under sessions/ if not given.
        record: whether to record each trial's raw messages to MCAP.
        pose_source: on the twin, where the policy's object poses come from: "truth", or "camera" for its camera, the
            detector and the pose estimator. The session judges by the truth either way.
        condition: what every trial is disturbed by: see `vlajs session robustness --help`.
        baseline: compare with a VLA alone (node vla_baseline): both run every scene, one after the other, so there
            are twice as many trials.
        launch_args: key:=value words for what --launch starts, such as backend:=vlajs url:=http://127.0.0.1:8000.
    """
    if launch == "twin" and arm == "real":
        raise ValueError("--launch twin and --arm real contradict each other: start the real arm's nodes beforehand")
    if arm == "real" and (condition != UNDISTURBED or pose_source != "truth"):
        raise ValueError("--pose-source and --condition are the twin's: on a real arm both are as you set them up")
    if condition_named(condition).needs_camera and pose_source != "camera":
        raise ValueError(f"--condition {condition} changes what the camera sees: give --pose-source camera")
    arguments = launch_arguments(launch, launch_args, baseline)
    header, contract = _plan_session(task, checkpoint, trials, seed, arm, baseline)
    header = dataclasses.replace(
        header,
        launch=launch,
        record=record,
        pose_source=pose_source,
        condition=condition,
        launch_args=list(launch_args),
    )
    folder = folder or _new_folder(header)
    with SessionFolder.create(folder, header) as session:
        return _run(session, header.checkpoint, contract, launch, arguments)


def resume(
    folder: tyro.conf.Positional[Path],
    checkpoint: Path | None = None,
    launch: Launch | None = None,
    launch_args: tuple[str, ...] = (),
) -> int:
    """Go on with a session that was interrupted, from its first trial without a result.

    Args:
        folder: of the session.
        checkpoint: where the policy bundle is now, if it moved; it must be the same file.
        launch: as for `run`; by default as the session began.
        launch_args: as for `run`; by default those the session began with.
    """
    begun = read_session(folder).header
    launch = launch or begun.launch
    if launch == begun.launch:
        launch_args = launch_args or tuple(begun.launch_args)
    arguments = launch_arguments(launch, launch_args, begun.compares)
    scenes = begun.trials // (2 if begun.compares else 1)
    header, contract = _plan_session(
        begun.task, checkpoint or Path(begun.checkpoint.path), scenes, begun.seed, begun.arm, begun.compares
    )
    header = dataclasses.replace(header, pose_source=begun.pose_source, condition=begun.condition)
    with SessionFolder.resume(folder, header) as session:
        for warning in session.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        return _run(session, header.checkpoint, contract, launch, arguments)


def robustness(
    task: str,
    checkpoint: Path,
    trials: int = 20,
    seed: int = 1,
    conditions: tuple[str, ...] = tuple(CONDITIONS),
    folder: Path | None = None,
    pose_source: PoseSource = "camera",
    record: bool = False,
    launch_args: tuple[str, ...] = (),
) -> int:
    """Run a session on the twin under each condition, on the same scenes, and compare their success.

    A condition whose session is in the folder already is gone on with, or left as it is when it is complete.

    Args:
        task: as for `run`.
        checkpoint: policy bundle (.safetensors).
        trials: of each condition.
        seed: decides every trial's scene.
        conditions: some of undisturbed, dim, bright, colours, textures, clutter, moved_camera, occlusion, object_push,
            arm_push.
        folder: where the sessions are kept, each in a folder named after its condition; a new one under sessions/.
        pose_source: as for `run`; with "truth" only pushes make a difference.
        record: whether to record each trial's raw messages to MCAP.
        launch_args: key:=value words for what is launched, such as speed:=0.4 where two cores cannot see in real time.
    """
    for name in conditions:
        if condition_named(name).needs_camera and pose_source != "camera":
            raise ValueError(f"condition {name} changes what the camera sees: give --pose-source camera")
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = folder or Path("sessions") / f"{now}-{task}-robustness-seed{seed}"
    for name in conditions:
        print(f"== {name}: {CONDITIONS[name].summary}", flush=True)
        at = folder / name
        if (at / "session.json").is_file():
            code = resume(at, checkpoint, launch_args=launch_args)
        else:
            code = run(
                task,
                checkpoint,
                trials,
                seed,
                "twin",
                folder=at,
                record=record,
                pose_source=pose_source,
                condition=name,
                launch_args=launch_args,
            )
        if code != 0:
            return code
    results = read_conditions(folder)
    print(f"table: {write_table(folder, results)}")
    print("\n".join(result_lines(results)), flush=True)
    return 0


def report(folder: tyro.conf.Positional[Path]) -> int:
    """Write report.html and summary.json of a session, finished or not.

    Args:
        folder: of the session.
    """
    path = write_report(folder)
    record = read_session(folder)
    for warning in record.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(path)
    _print_results(record.header, record.results)
    return 0


def table(folders: tyro.conf.Positional[tuple[Path, ...]]) -> int:
    """Print a table of several sessions: who succeeded how often at which task.

    Args:
        folders: of the sessions; each is a column.
    """
    if not folders:
        raise ValueError("no folder given: vlajs session table FOLDER [FOLDER ...]")
    print(success_table([read_session(folder) for folder in folders], [folder.name for folder in folders]))
    return 0


def _print_results(header: SessionHeader, results: Sequence[TrialResult]) -> None:
    """The lines for scripts: one for each commander."""
    for commander in COMMANDERS if header.compares else (None,):
        print(result_line(header.task, results, commander), flush=True)


def _plan_session(
    task_name: str, checkpoint: Path, trials: int, seed: int, arm: Arm, compare: bool
) -> tuple[SessionHeader, Contract]:
    """Everything that is fixed before the first trial.

    Raises:
        ValueError: an unknown task, a bundle of another task or one that must not run, a bad number.
    """
    task = get_task(task_name)
    checkpoint = checkpoint.expanduser()
    contract = load_bundle(checkpoint).contract
    if contract.task != task.name:
        raise ValueError(f"{checkpoint} is a policy for {contract.task}, not {task.name}: give --task {contract.task}")
    plans = plan_trials(task, trials, seed, compare=compare)
    header = SessionHeader(
        task=task.name,
        instruction=task.instruction,
        arm=arm,
        seed=seed,
        trials=len(plans),
        checkpoint=Checkpoint.of(checkpoint, contract.contract_id, contract.provenance),
        plan=plan_record(plans),
        versions=installed_versions(),
        machine=machine_description(),
        started_utc=utc_now(),
    )
    return header, contract


def _new_folder(header: SessionHeader) -> Path:
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return Path("sessions") / f"{now}-{header.task}-{header.arm}-seed{header.seed}"


def _show_progress(session: SessionFolder, result: TrialResult) -> None:
    """A line for a finished trial."""
    summary = summarise(of(session.record.results, result.commander))
    low, high = summary.wilson95
    who = f"{result.commander:8}  " if session.header.compares else ""
    print(
        f"trial {result.trial:3d}/{session.header.trials}  {who}{'success' if result.success else 'FAILURE'} "
        f"{result.duration_s:6.2f} s   so far {summary.successes}/{summary.trials} "
        f"({100 * low:.0f}-{100 * high:.0f} %)   {'' if result.success else result.reason}".rstrip(),
        flush=True,
    )


def _run(
    session: SessionFolder, checkpoint: Checkpoint, contract: Contract, launch: Launch, arguments: dict[str, str]
) -> int:
    """The remaining trials, then the report.

    Args:
        session: says which trials remain.
        checkpoint: the file that was verified just now; the header's may have moved, and its path may hold another.
        contract: of the bundle in that file.
        launch: which nodes to start.
        arguments: of that launch, as the user gave them.

    Raises:
        SessionError: the session cannot go on; the journal is kept.
    """
    print(f"session {session.folder}: {len(session.remaining())} of {session.header.trials} trials to run", flush=True)
    # SIGINT too: a shell starts background jobs with it ignored, and Python leaves that as it is
    previous = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if session.remaining():
            _run_trials(session, checkpoint, contract, launch, arguments)
    except KeyboardInterrupt as interruption:
        _report_anyway(session.folder)
        kept = f"{len(session.record.results)} trials are kept"
        print(
            f"\ninterrupted: {'; '.join(filter(None, (with_notes(interruption), kept)))}. "
            f"Go on with: vlajs session resume {session.folder}",
            file=sys.stderr,
        )
        return INTERRUPTED
    except (SessionError, OSError) as error:  # a full disk too
        _report_anyway(session.folder)
        raise SessionError(f"{with_notes(error)}. Go on with: vlajs session resume {session.folder}") from error
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    print(f"report: {write_report(session.folder)}")
    _print_results(session.header, session.record.results)
    return 0


def _report_anyway(folder: Path) -> None:
    """The report of a session that ended early; what keeps it from being written must not hide why that was."""
    try:
        write_report(folder)
    except (SessionError, OSError) as error:
        print(f"warning: no report was written: {error}", file=sys.stderr)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _run_trials(
    session: SessionFolder, checkpoint: Checkpoint, contract: Contract, launch: Launch, arguments: dict[str, str]
) -> None:
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from vlajs.nodes.session_graph import RosGraph, spinning

    header = session.header
    task = get_task(header.task)
    scenes = header.trials // (2 if header.compares else 1)
    plans: list[TrialPlan] = plan_trials(task, scenes, header.seed, compare=header.compares)
    operator = None if header.arm == "twin" else Operator()
    settings = TrialSettings(
        task=task,
        checkpoint=checkpoint,
        control_rate_hz=contract.control_rate_hz,
        pose_source=header.pose_source,
        condition=condition_named(header.condition),
        operator=operator,
    )
    # rclpy's own handlers would end the context before the policy can be stopped
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        graph = RosGraph(
            task,
            header.arm,
            compare=header.compares,
            pose_source=header.pose_source,
            pushes=settings.condition.push_in(task.objects) is not None,
            record=header.record,
        )
        with spinning(graph), started_nodes(launch, session, checkpoint, graph, arguments):
            graph.wait_for_nodes(LAUNCH_TIMEOUT_S if launch == "twin" else READY_TIMEOUT_S)
            graph.stop_policy()
            if header.compares:
                baseline = graph.baseline()
                session.settle_baseline(baseline)
                settings = dataclasses.replace(settings, baseline=baseline)
                graph.choose("policy")
            load_policy(graph, settings)  # a refusal comes before the first motion
            run_session(graph, session, plans, settings, functools.partial(_show_progress, session))
    finally:
        rclpy.try_shutdown()
