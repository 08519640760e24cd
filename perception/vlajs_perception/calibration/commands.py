"""``vlajs calibrate board | solve | check | tags``: print a board, calibrate from a folder of views, see whether it
holds, find the tags on the table.
"""

import math
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vlajs_perception.calibration import check as checking
from vlajs_perception.calibration.board import AprilTag, Board, CharucoBoard, sheet_png
from vlajs_perception.calibration.calibrate import Calibrated, calibrate
from vlajs_perception.calibration.calibration_file import Calibration
from vlajs_perception.calibration.errors import CalibrationError
from vlajs_perception.calibration.folder import ViewFolder
from vlajs_perception.calibration.quality import Limits
from vlajs_perception.calibration.report import overlay_png, result_line, summary
from vlajs_perception.calibration.tag_survey import survey, table_tags
from vlajs_perception.camera_watch import WatchSettings
from vlajs_perception.files import write_whole

DOES_NOT_HOLD = 1
"""Exit code of a check that finds the camera elsewhere."""
MM = 1e-3
ENOUGH_TAGS = WatchSettings.min_tags + 1
"""With fewer on the table, too few remain when the arm hides one."""


@dataclass(frozen=True, kw_only=True)
class BoardChoice:
    """Which board."""

    type: Literal["charuco", "apriltag"] = "charuco"
    """A ChArUco board is seen better; a tag is smaller."""
    columns: int = 5
    """Squares from left to right."""
    rows: int = 7
    """Squares from top to bottom."""
    square_mm: float = 30.0
    """Side of a square."""
    marker_mm: float = 22.0
    """Side of a marker."""
    dictionary: str = "DICT_5X5_100"
    """Markers of the ChArUco board, by OpenCV's name."""
    tag_mm: float = 80.0
    """Side of the tag's black square."""
    tag_id: int = 0
    """Which tag."""
    family: str = "DICT_APRILTAG_36h11"
    """Family of the tag, by OpenCV's name."""

    def board(self) -> Board:
        """The board chosen.

        Raises:
            CalibrationError: a board that cannot be.
        """
        if self.type == "apriltag":
            return AprilTag(size_m=self.tag_mm * MM, tag_id=self.tag_id, family=self.family)
        return CharucoBoard(
            columns=self.columns,
            rows=self.rows,
            square_m=self.square_mm * MM,
            marker_m=self.marker_mm * MM,
            dictionary=self.dictionary,
        )


@dataclass(frozen=True, kw_only=True)
class BoardConfig(BoardChoice):
    """Write a board as a PNG to print at 100 % (no "fit to page"). Measure it afterwards."""

    out: tyro.conf.Positional[Path]
    """The PNG."""
    dots_per_inch: float = 300.0
    """Resolution, rounded so that squares are whole pixels."""


@dataclass(frozen=True, kw_only=True)
class SolveConfig:
    """Calibrate a camera from a folder of views; refuses a set that is not good enough and says what to add."""

    views: tyro.conf.Positional[Path]
    """Folder of views."""
    out: Path
    """Calibration to write (YAML)."""
    refine_lens: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Refine the intrinsics of the set, too; where it has none they are estimated anyway."""
    without: tuple[int, ...] = ()
    """Numbers of views to leave out."""
    overlay: Path | None = None
    """Picture of a view held out, found against expected; beside the calibration by default."""
    limits: Annotated[Limits, tyro.conf.OmitArgPrefixes] = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """Measure a camera anew from a few views and see whether its calibration still holds. Exit code 1: it does not."""

    calibration: tyro.conf.Positional[Path]
    """Calibration (YAML)."""
    views: tyro.conf.Positional[Path]
    """Folder of new views."""
    remounted: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """The board is not where it was at the calibration (in the gripper, or on the table): needs more views."""
    limits: Annotated[checking.CheckLimits, tyro.conf.OmitArgPrefixes] = field(default_factory=checking.CheckLimits)


@dataclass(frozen=True, kw_only=True)
class TagsConfig:
    """Find the tags that lie on the table in the views a calibration was made from; the pose estimator then follows
    the camera by them (parameter table_tags).
    """

    views: tyro.conf.Positional[Path]
    """Folder of views, of this calibration or taken since without the camera being moved."""
    calibration: Path
    """Calibration of the camera (YAML)."""
    out: Path
    """Tags to write (YAML)."""
    tag_mm: float = 80.0
    """Side of each tag's black square as printed: measure it."""
    table_height_m: float = 0.0
    """Height of the table's surface over the robot's base."""


def board(words: list[str]) -> int:
    """Carry out ``vlajs calibrate board``."""
    config = tyro.cli(BoardConfig, args=words, prog="vlajs calibrate board")
    what = config.board()
    write_whole(config.out, sheet_png(what, dots_per_inch=config.dots_per_inch))
    print(f"{config.out}: {what.describe()}; print at 100 %, glue it flat, measure it")
    return 0


def solve(words: list[str]) -> int:
    """Carry out ``vlajs calibrate solve``."""
    config = tyro.cli(SolveConfig, args=words, prog="vlajs calibrate solve")
    folder = ViewFolder.open(config.views)
    unknown = sorted(set(config.without) - set(folder.numbers()))
    if unknown:
        raise CalibrationError(f"--without {unknown}: {config.views} has no such views, it has {folder.numbers()}")
    views = [folder.view(number) for number in folder.numbers() if number not in config.without]
    calibrated = calibrate(folder.info, views, limits=config.limits, refine=config.refine_lens)
    calibration = Calibration.of(folder.info, calibrated, date.today())
    overlay = config.overlay or config.out.with_suffix(".png")
    write_whole(overlay, _overlay(folder, calibrated))
    calibration.write(config.out)
    print(summary(calibration, calibrated))
    print(f"written: {config.out}, {overlay}")
    print(result_line(calibration))
    return 0


def check(words: list[str]) -> int:
    """Carry out ``vlajs calibrate check``."""
    config = tyro.cli(CheckConfig, args=words, prog="vlajs calibrate check")
    calibration, folder = Calibration.read(config.calibration), ViewFolder.open(config.views)
    result = checking.check(calibration, folder.info, folder.views(), limits=config.limits, remounted=config.remounted)
    print(
        f"the camera is {result.moved_mm:.2f} +- {result.sigma_mm:.2f} mm and {result.turned_deg:.3f} +- "
        f"{result.sigma_deg:.3f} degrees from its calibration of {calibration.measured_on} (limits "
        f"{config.limits.max_moved_mm:g} and {config.limits.max_turned_deg:g})"
    )
    if not result.holds:
        print("it does not hold: the camera or the board was moved; calibrate again, or put it back and check again")
    print(result.line)
    return 0 if result.holds else DOES_NOT_HOLD


def tags(words: list[str]) -> int:
    """Carry out ``vlajs calibrate tags``."""
    config = tyro.cli(TagsConfig, args=words, prog="vlajs calibrate tags")
    calibration, folder = Calibration.read(config.calibration), ViewFolder.open(config.views)
    images = (folder.image(number) for number in folder.numbers())
    surveyed = survey(calibration, images, size_m=config.tag_mm * MM, table_height_m=config.table_height_m)
    table_tags(surveyed).write(config.out)
    for one in surveyed:
        x, y, _ = one.tag.position_m
        print(
            f"tag {one.tag.tag_id} at ({x:.4f}, {y:.4f}) m, yaw {math.degrees(one.tag.yaw_rad):.1f} degrees: "
            f"{one.views} views, to {one.spread_m / MM:.2f} mm, {one.side_m / MM:.1f} mm wide"
        )
    if len(surveyed) < ENOUGH_TAGS:
        print(
            f"only {len(surveyed)} tags: lay {ENOUGH_TAGS} or more, of which {WatchSettings.min_tags} must be in view"
        )
    print(f"written: {config.out}")
    print(f"RESULT tags={len(surveyed)} spread_mm={max(one.spread_m for one in surveyed) / MM:.3f}")
    return 0


def _overlay(folder: ViewFolder, calibrated: Calibrated) -> bytes:
    """The view held out that is off most."""
    number = max(calibrated.held_out, key=lambda n: calibrated.held_out[n].rms_px)
    solution = calibrated.solution
    return overlay_png(folder.image(number), solution.kind, solution.unknowns, folder.view(number))
