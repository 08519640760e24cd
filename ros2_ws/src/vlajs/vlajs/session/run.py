"""The trials of a session one after another, each journalled before the next begins."""

from collections.abc import Callable

from vlajs.session.graph import Graph
from vlajs.session.journal import SessionFolder
from vlajs.session.plan import TrialPlan
from vlajs.session.preparation import TrialSettings
from vlajs.session.records import SessionError, TrialResult, with_notes
from vlajs.session.trial import NotBegunError, TrialReport, run_trial

MAX_BEGINNINGS = 3


def run_session(
    graph: Graph,
    folder: SessionFolder,
    plans: list[TrialPlan],
    settings: TrialSettings,
    on_result: Callable[[TrialResult], None],
) -> None:
    """Run the trials that have no result yet.

    Args:
        graph: the robot's nodes.
        folder: where results go; says which trials remain.
        plans: every trial of the session.
        settings: of every trial.
        on_result: told each result once it is journalled.

    Raises:
        SessionError: the session cannot go on; results so far are in the folder and it can be resumed.
        OSError: the folder cannot be written any more; the same holds.
        KeyboardInterrupt: as raised by the operator; the trial it cut short is not journalled.
    """
    by_trial = {plan.trial: plan for plan in plans}
    for trial in folder.remaining():
        report = _run_until_begun(graph, folder, by_trial[trial], settings)
        try:
            report.paths.save(folder.trial_path(trial, ".json"))
        finally:  # a disk that is full for the paths may still hold a line
            folder.append(report.result)
        on_result(report.result)
        if report.halt:
            raise SessionError(f"trial {trial} is journalled, but the session ends here: {report.halt}")


def _run_until_begun(graph: Graph, folder: SessionFolder, plan: TrialPlan, settings: TrialSettings) -> TrialReport:
    """On the twin a trial whose policy never acted is begun anew a few times; each is noted as an attempt."""
    recording = folder.trial_path(plan.trial, ".mcap") if folder.header.record else None
    for _ in range(MAX_BEGINNINGS - 1 if settings.operator is None else 0):
        folder.begin(plan.trial)
        try:
            return run_trial(graph, plan, settings, recording)
        except NotBegunError as error:
            settings.on_phase(f"beginning again: {with_notes(error)}", 0.0, None)
    folder.begin(plan.trial)
    return run_trial(graph, plan, settings, recording)
