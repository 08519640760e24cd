"""Where tags lie on the table, measured with a camera that has just been calibrated, from the views it took for that.

From then on the tags tell where the camera is (:mod:`vlajs_perception.camera_watch`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from vlajs_perception.calibration.board import AprilTag, FloatArray, Image
from vlajs_perception.calibration.calibration_file import Calibration
from vlajs_perception.calibration.errors import BadSetError, CalibrationError
from vlajs_perception.table_tags import FAMILY, TableTag, TableTags, TagFinder

MIN_VIEWS = 3
"""A tag in fewer views may have been half hidden in them."""
MAX_SPREAD_M = 0.002
"""A corner further from the median of its views than this, in most of them: the tag was moved, or hardly seen."""
MAX_SIZE_ERROR = 0.04
"""Share by which a tag's side may look longer or shorter than it is said to be."""


@dataclass(frozen=True, kw_only=True)
class Surveyed:
    """One tag as it was found.

    Attributes:
        tag: where it lies.
        views: in how many it was seen.
        spread_m: median distance of its corners from where they are in most views.
        side_m: its side as seen.
    """

    tag: TableTag
    views: int
    spread_m: float
    side_m: float


def survey(
    calibration: Calibration, images: Iterable[Image], *, size_m: float, table_height_m: float = 0.0
) -> list[Surveyed]:
    """The tags on the table, by id.

    Args:
        calibration: of the camera, which stands.
        images: (H, W, 3) in BGR, as taken, not rectified; the arm may hide some tags in some.
        size_m: side of each tag's black square as printed.
        table_height_m: of the table's surface in ``panda_link0``.

    Raises:
        CalibrationError: the camera rides on the tool.
        BadSetError: no tag is seen often enough, or one is not where, or as large as, it should be.
    """
    if calibration.kind != "eye_to_hand":
        raise CalibrationError("a camera on the tool is not watched by tags: its pose is the tool's")
    camera, finder = calibration.camera(), TagFinder()
    corners: dict[int, list[FloatArray]] = {}
    for image in images:
        rectified = cv2.undistort(image, calibration.lens.matrix, calibration.lens.distortion)
        grey = np.asarray(cv2.cvtColor(rectified, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
        for tag_id, pixels in finder.find(grey).items():
            if tag_id != _on_the_hand(calibration):
                corners.setdefault(tag_id, []).append(camera.on_plane(pixels, table_height_m))
    often = {tag_id: np.array(found) for tag_id, found in sorted(corners.items()) if len(found) >= MIN_VIEWS}
    if not often:
        seen = {tag_id: len(found) for tag_id, found in sorted(corners.items())}
        raise BadSetError(
            (
                f"no tag of {FAMILY} is seen in at least {MIN_VIEWS} views (seen, by id: {seen or 'none'}): lay tags "
                "where the camera sees them beside the arm, and take the views again",
            )
        )
    surveyed = [_surveyed(tag_id, found, size_m, table_height_m) for tag_id, found in often.items()]
    if problems := tuple(problem for one in surveyed for problem in _problems(one)):
        raise BadSetError(problems)
    return surveyed


def table_tags(surveyed: Iterable[Surveyed]) -> TableTags:
    """What is written to the file."""
    return TableTags(tags=tuple(one.tag for one in surveyed))


def _on_the_hand(calibration: Calibration) -> int | None:
    """Id of the tag that the arm held, of the same family as those on the table."""
    board = calibration.board
    return board.tag_id if isinstance(board, AprilTag) and board.family == FAMILY else None


def _surveyed(tag_id: int, corners: FloatArray, size_m: float, table_height_m: float) -> Surveyed:
    """From its corners (V, 4, 3) on the table in each view."""
    middle = np.median(corners, axis=0)
    centre = middle.mean(axis=0)
    # as printed: x runs from top left to top right and from bottom left to bottom right, y down; seen from above y is
    # a quarter turn clockwise of x
    along = (middle[1] - middle[0]) + (middle[2] - middle[3])
    across = (middle[3] - middle[0]) + (middle[2] - middle[1])
    x, y = along[:2] + np.array([-across[1], across[0]])
    tag = TableTag(
        tag_id=tag_id,
        size_m=size_m,
        position_m=(float(centre[0]), float(centre[1]), table_height_m),
        yaw_rad=float(np.arctan2(y, x)),
    )
    sides = np.linalg.norm(middle - np.roll(middle, 1, axis=0), axis=1)
    spread_m = float(np.median(np.linalg.norm(corners - middle, axis=2)))
    return Surveyed(tag=tag, views=len(corners), spread_m=spread_m, side_m=float(np.mean(sides)))


def _problems(one: Surveyed) -> list[str]:
    problems = []
    tag_id, size_m = one.tag.tag_id, one.tag.size_m
    if one.spread_m > MAX_SPREAD_M:
        problems.append(
            f"tag {tag_id} lies elsewhere from view to view, by {1e3 * one.spread_m:.1f} mm (limit "
            f"{1e3 * MAX_SPREAD_M:g} mm): it was moved meanwhile, or it is too far away; stick it down, or take it away"
        )
    if abs(one.side_m / size_m - 1.0) > MAX_SIZE_ERROR:
        problems.append(
            f"tag {tag_id} looks {1e3 * one.side_m:.1f} mm wide and is said to be {1e3 * size_m:.1f} mm (limit "
            f"{100 * MAX_SIZE_ERROR:g} %): measure its black square (--tag-mm) and the table's height "
            "(--table-height-m), and see that it lies flat"
        )
    return problems
