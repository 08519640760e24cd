"""The baseline node's diagnostics."""

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from vlajs.nodes.episode_thread import EpisodeReport
from vlajs.states import PolicyPhase
from vlajs.vla.asker import Asker
from vlajs.vla.backend import VlaConfig
from vlajs.vla.baseline import BaselineEpisode


def server_status(config: VlaConfig, asker: Asker) -> DiagnosticStatus:
    """Whether the server answers, which it is, and how fast."""
    contact, problem, stats = asker.contact, asker.problem, asker.stats()
    values = {"backend": config.backend}
    if contact is not None:
        values |= {
            "model": contact.description.name,
            "rate, Hz": f"{contact.pacing.rate_hz:g}",
            "increments, Hz": f"{contact.pacing.tick_rate_hz:g}",
        }
    measured = {**stats.get("counts", {}), **stats.get("latency", {})}
    values |= {name: f"{value:g}" for name, value in measured.items() if isinstance(value, int | float)}
    return DiagnosticStatus(
        name="vla_baseline: server",
        hardware_id=config.url,
        level=DiagnosticStatus.WARN if problem else DiagnosticStatus.OK,
        message=problem or "answers",
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )


def episode_status(
    report: EpisodeReport, episode: BaselineEpisode | None, picture_age_s: float | None
) -> DiagnosticStatus:
    """What the episode does, and why the arm is held if it is."""
    phase, reason = report.phase, report.reason
    trouble = phase in (PolicyPhase.STOPPED, PolicyPhase.REFUSED) or (phase is PolicyPhase.RUNNING and bool(reason))
    values = {"picture's age, s": "none seen" if picture_age_s is None else f"{picture_age_s:.3f}"}
    if episode is not None:
        values |= {
            "step": str(episode.step),
            "answers dropped": str(episode.dropped),
            "increments shortened": str(episode.shortened),
            "overruns": str(report.overruns),
        }
    return DiagnosticStatus(
        name="vla_baseline: episode",
        hardware_id="" if episode is None else episode.config.instruction,
        level=DiagnosticStatus.WARN if trouble else DiagnosticStatus.OK,
        message=f"{phase.name.lower()}: {reason}" if reason else phase.name.lower(),
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
