"""``report.html`` (one file, nothing fetched) and ``summary.json`` of a session folder."""

import json
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from vlajs.files import write_atomically
from vlajs.session.conditions import condition_named
from vlajs.session.figures import paths_figure, success_figure, times_figure
from vlajs.session.journal import SessionRecord, read_session
from vlajs.session.paths import load_paths
from vlajs.session.records import COMMANDERS
from vlajs.session.statistics import Summary, of, paired, summarise, wilson95
from vlajs.session.table import TITLES

REPORT_FILE = "report.html"
SUMMARY_FILE = "summary.json"
SIMULATION_KEY = "simulation_success"


@dataclass(frozen=True, kw_only=True)
class SimulatedSuccess:
    """What the checkpoint says of its success in simulation."""

    successes: int
    episodes: int
    wilson95: tuple[float, float]


def simulated_success(provenance: dict[str, Any]) -> SimulatedSuccess | None:
    """From a contract's provenance; None when it says nothing usable (provenance is free-form)."""
    data = provenance.get(SIMULATION_KEY)
    if not isinstance(data, dict):
        return None
    successes, episodes = data.get("successes"), data.get("episodes")
    if not isinstance(successes, int) or not isinstance(episodes, int) or not 0 <= successes <= episodes != 0:
        return None
    return SimulatedSuccess(successes=successes, episodes=episodes, wilson95=wilson95(successes, episodes))


def write_report(folder: Path) -> Path:
    """Write both files from what the folder holds, finished or not.

    Returns:
        Path of ``report.html``.

    Raises:
        SessionError: no session there, or a damaged file.
    """
    record = read_session(folder)
    summary = summarise(of(record.results, "policy"))
    simulated = simulated_success(record.header.checkpoint.provenance)
    write_atomically(folder / SUMMARY_FILE, _summary_json(record, summary, simulated).encode())
    path = folder / REPORT_FILE
    write_atomically(path, _html(folder, record, summary, simulated).encode())
    return path


def _summary_json(record: SessionRecord, summary: Summary, simulated: SimulatedSuccess | None) -> str:
    header = record.header
    content = {
        "task": header.task,
        "arm": header.arm,
        "seed": header.seed,
        "pose_source": header.pose_source,
        "condition": header.condition,
        "planned_trials": _planned(record),
        "contract_id": header.checkpoint.contract_id,
        "checkpoint_sha256": header.checkpoint.sha256,
        **asdict(summary),
        "interrupted_attempts": sum(record.abandoned.values()),
        "simulation": asdict(simulated) if simulated else None,
    }
    if header.compares:
        content["baseline"] = {
            **(asdict(record.baseline) if record.baseline else {}),
            **asdict(summarise(of(record.results, "baseline"))),
        }
        content["paired"] = asdict(paired(record.results))
    return json.dumps(content, indent=1) + "\n"


def _planned(record: SessionRecord) -> int:
    """Trials that the policy was to run."""
    return record.header.trials // (2 if record.header.compares else 1)


def _compared(record: SessionRecord) -> list[tuple[str, Summary]]:
    """Rows of the table of commanders; none where there is but one."""
    if not record.header.compares:
        return []
    return [(TITLES[commander], summarise(of(record.results, commander))) for commander in COMMANDERS]


def _html(folder: Path, record: SessionRecord, summary: Summary, simulated: SimulatedSuccess | None) -> str:
    header = record.header
    results = sorted(record.results, key=lambda result: result.trial)
    panels = [(result, load_paths(folder / "trials" / f"{result.trial:04d}.json")) for result in results]
    arm = "twin" if header.arm == "twin" else "real arm"
    compared = _compared(record)
    bars = [
        (f"{who}{one.successes}/{one.trials}", one.successes, one.trials, one.wilson95)
        for who, one in ([(f"{title}, ", one) for title, one in compared] or [(f"{arm}, ", summary)])
    ]
    if simulated:
        label = f"simulation, {simulated.successes}/{simulated.episodes}"
        bars.insert(0, (label, simulated.successes, simulated.episodes, simulated.wilson95))
    horizon_s = max((result.duration_s for result in results), default=0.0)
    source = files("vlajs.session").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(source).render(
        header=header,
        summary=summary,
        planned=_planned(record),
        compared=compared,
        paired=paired(results),
        titles=TITLES,
        baseline=record.baseline,
        simulated=simulated,
        results=results,
        notes=_notes(record),
        provenance=_provenance(header.checkpoint.provenance),
        success_svg=success_figure(bars),
        times_svg=times_figure(results, horizon_s) if results else "",
        paths_svg=paths_figure(header.task, panels) if results else "",
        condition=condition_named(header.condition).summary,
    )


def _notes(record: SessionRecord) -> list[str]:
    """What a reader must know before believing the figures."""
    notes = list(record.warnings)
    missing = record.header.trials - len(record.results)
    if missing:
        notes.append(f"{missing} of {record.header.trials} trials have not been run: the session was not finished.")
    if record.abandoned:
        trials = ", ".join(
            f"trial {trial}" + (f" ({count} times)" if count > 1 else "")
            for trial, count in sorted(record.abandoned.items())
        )
        notes.append(f"Begun without a result (interrupted, not counted, run again on resume): {trials}.")
    return notes


def _provenance(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and value for the table, nested values as JSON."""
    return [
        (name.replace("_", " "), value if isinstance(value, str) else json.dumps(value))
        for name, value in provenance.items()
        if name != SIMULATION_KEY
    ]
