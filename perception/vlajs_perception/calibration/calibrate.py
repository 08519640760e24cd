"""From a set of views to a calibration that was tried on views it has not seen, or a refusal that says what to add."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlajs_perception.calibration import quality
from vlajs_perception.calibration.errors import BadSetError
from vlajs_perception.calibration.folder import SetInfo
from vlajs_perception.calibration.lens import Lens
from vlajs_perception.calibration.problem import Free, Problem, Unknowns
from vlajs_perception.calibration.quality import Limits
from vlajs_perception.calibration.solve import Disagreement, Solution, disagreement, robust_fit, solve
from vlajs_perception.calibration.start import estimate_lens, first_guess
from vlajs_perception.calibration.views import View


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """A calibration with what speaks for it.

    Attributes:
        solution: fitted to the views that were used.
        used: their numbers.
        held_out: by number, how far views are off that the fit has not seen.
    """

    solution: Solution
    used: tuple[int, ...]
    held_out: dict[int, Disagreement]


def split(views: Sequence[View], held_out: int) -> tuple[list[View], list[View]]:
    """Views to fit and views to hold out, these evenly spread over the set."""
    chosen = {round(index) for index in np.linspace(0, len(views) - 1, held_out + 2)[1:-1]}
    return [v for i, v in enumerate(views) if i not in chosen], [v for i, v in enumerate(views) if i in chosen]


def calibrate(
    info: SetInfo, views: Sequence[View], *, limits: Limits | None = None, refine: bool = False
) -> Calibrated:
    """Calibrate, or refuse.

    Args:
        info: what the views share. Where it has no lens, that is estimated and refined.
        views: all views, those to hold out included.
        limits: what the set must reach.
        refine: refine a lens that is given, too.

    Raises:
        BadSetError: the set is not good enough; says what is wrong and what to add.
        CalibrationError: the lens is neither known nor can it be estimated, or the views leave the pose open.
    """
    limits = limits or Limits()
    problems = quality.problems_of_count(views, limits)
    if len(views) >= 2:
        problems += quality.problems_of_tools(views, limits)
        problems += quality.problems_of_motion(views, limits)
        problems += quality.problems_of_coverage(views, info.image_size, limits)
    _refuse(problems)

    fitted, held_out = split(views, limits.held_out)
    _refuse(quality.problems_of_motion(fitted, limits))
    lens = info.lens or estimate_lens(info.board, fitted, info.image_size)
    free_lens = refine or info.lens is None
    start = _check_fit(info, fitted, held_out, lens, free_lens, limits)

    solution = solve(info.kind, fitted, lens, free_lens=free_lens, start=start)
    unseen = _disagreements(info, solution.unknowns, held_out)
    problems = quality.problems_of_fit(solution, len(fitted), limits)
    _refuse(problems or quality.problems_of_held_out(unseen, limits))
    return Calibrated(solution=solution, used=tuple(view.number for view in fitted), held_out=unseen)


def _check_fit(
    info: SetInfo, fitted: list[View], held_out: list[View], lens: Lens, free_lens: bool, limits: Limits
) -> Unknowns:
    """The robust fit, after the board's size and the views' agreement have been looked at."""
    problem = Problem(info.kind, fitted)
    start = robust_fit(problem, first_guess(problem, lens), Free(lens=free_lens))
    scaled = solve(info.kind, fitted, lens, free_lens=free_lens, free_scale=True, start=start)
    fixed_px, free_px = (
        float(np.median([d.rms_px for d in _disagreements(info, unknowns, fitted).values()]))
        for unknowns in (start, scaled.unknowns)
    )
    _refuse(quality.problems_of_scale(info.board, fixed_px, free_px, scaled, limits))
    _refuse(quality.problems_of_agreement(_disagreements(info, start, [*fitted, *held_out]), limits))
    return start


def _disagreements(info: SetInfo, unknowns: Unknowns, views: Sequence[View]) -> dict[int, Disagreement]:
    by_number = sorted(views, key=lambda view: view.number)
    return {view.number: disagreement(info.kind, unknowns, view, info.board.centre_m) for view in by_number}


def _refuse(problems: list[str]) -> None:
    if problems:
        raise BadSetError(tuple(problems))
