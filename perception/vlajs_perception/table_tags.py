"""Printed tags that lie on the table: where each lies in the base, as a file, and where a picture shows them.

A tag lies face up. Its frame is that of :mod:`~vlajs_perception.calibration.board`: the centre, x to the right and y
down as printed, z into the table.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from vlajs_perception.calibration.board import AprilTag
from vlajs_perception.calibration.errors import CalibrationError
from vlajs_perception.edge_image import EdgeImage
from vlajs_perception.files import write_whole
from vlajs_perception.rigid import FloatArray, exp

VERSION = 1
FAMILY = AprilTag.family
FRAME = "panda_link0"
REACH_M = 3.0
"""A tag further from the robot's base than this is no tag of its table: most likely millimetres."""
MOST_TAGS = 50
NEAR_PX = 30
"""So far around where a tag is expected it is looked for first; what moves by less than half of it is found."""
_SIDE_POINTS = 16
_SIDE_SHARE = 0.1
"""A side is looked at in so many points, its ends left out by this share."""
_SIDE_REACH_PX = 2
_BLUR_PX = 0.7
_FACE_UP = np.diag([1.0, -1.0, -1.0])
_REMEDY = "correct the file, or measure the tags again (vlajs calibrate tags)"


class TableTagsError(ValueError):
    """Tags that cannot be as they are given; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class TableTag:
    """One tag on the table.

    Attributes:
        tag_id: which of the family.
        size_m: side of the black square as printed.
        position_m: its centre in ``panda_link0``.
        yaw_rad: turn of its x axis about the base's z.

    Raises:
        TableTagsError: a size or a place that no tag has.
        CalibrationError: an id that the family does not have.
    """

    tag_id: int
    size_m: float
    position_m: tuple[float, float, float]
    yaw_rad: float

    def __post_init__(self) -> None:
        AprilTag(size_m=self.size_m, tag_id=self.tag_id, family=FAMILY)
        place = np.array([*self.position_m, self.yaw_rad])
        if place.shape != (4,) or not np.all(np.isfinite(place)) or np.linalg.norm(place[:3]) > REACH_M:
            raise TableTagsError(
                f"tag {self.tag_id} lies at {list(self.position_m)} m with yaw {self.yaw_rad} rad: finite numbers are "
                f"needed, at most {REACH_M:g} m from the base; are they millimetres?"
            )

    @cached_property
    def axes_in_base(self) -> FloatArray:
        """Shape (3, 3): its x, y and z as columns."""
        return exp([0.0, 0.0, self.yaw_rad]) @ _FACE_UP

    @cached_property
    def corners_in_base_m(self) -> FloatArray:
        """Shape (4, 3): top left, top right, bottom right, bottom left as printed."""
        in_tag = AprilTag(size_m=self.size_m, tag_id=self.tag_id, family=FAMILY).points_of(np.arange(4))
        return in_tag @ self.axes_in_base.T + np.asarray(self.position_m)


@dataclass(frozen=True, kw_only=True)
class TableTags:
    """The tags of a table, each with an id of its own.

    Raises:
        TableTagsError: none, two of one id, or too many.
    """

    tags: tuple[TableTag, ...]

    def __post_init__(self) -> None:
        ids = [tag.tag_id for tag in self.tags]
        if not 1 <= len(ids) <= MOST_TAGS or len(set(ids)) != len(ids):
            raise TableTagsError(
                f"the ids of the table's tags are {ids}: 1 to {MOST_TAGS} are needed, each once; print others "
                "(vlajs calibrate board --type apriltag --tag-id N)"
            )

    @cached_property
    def corners_in_base_m(self) -> dict[int, FloatArray]:
        """Shape (4, 3) by id."""
        return {tag.tag_id: tag.corners_in_base_m for tag in self.tags}

    def write(self, path: Path) -> None:
        """Write the file whole or not at all.

        Raises:
            OSError: it cannot be written; an earlier file stays.
        """
        tags = [
            {
                "tag_id": tag.tag_id,
                "size_m": float(tag.size_m),
                "position_m": [float(value) for value in tag.position_m],
                "yaw_rad": float(tag.yaw_rad),
            }
            for tag in self.tags
        ]
        content = {"version": VERSION, "family": FAMILY, "frame": FRAME, "tags": tags}
        write_whole(path, yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120).encode())

    @staticmethod
    def read(path: Path) -> "TableTags":
        """Read a file.

        Raises:
            TableTagsError: not YAML, of another version or family, or with values that cannot be.
            OSError: it cannot be read.
        """
        try:
            content = yaml.safe_load(path.read_bytes().decode())
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise TableTagsError(f"{path} is not YAML ({str(error).splitlines()[0]}): {_REMEDY}") from error
        try:
            return _tags(content)
        except (TableTagsError, CalibrationError) as error:
            raise TableTagsError(f"{path}: {error}; {_REMEDY}") from error


def _tags(content: object) -> TableTags:
    known = {"version", "family", "frame", "tags"}
    if not isinstance(content, dict) or set(content) != known:
        raise TableTagsError(f"it must have {sorted(known)} and nothing else")
    for key, value in (("version", VERSION), ("family", FAMILY), ("frame", FRAME)):
        if content[key] != value:
            raise TableTagsError(f"{key} is {content[key]!r}, this program reads {value!r}")
    if not isinstance(content["tags"], list):
        raise TableTagsError(f"tags is {content['tags']!r}, must be a list")
    return TableTags(tags=tuple(_tag(values) for values in content["tags"]))


def _tag(values: Any) -> TableTag:
    kinds = {"tag_id": (int,), "size_m": (int, float), "position_m": (list,), "yaw_rad": (int, float)}
    if not isinstance(values, dict) or set(values) != set(kinds):
        raise TableTagsError(f"a tag must have {', '.join(kinds)}, not {values!r}")
    wrong = [key for key, kind in kinds.items() if type(values[key]) not in kind]
    place = values["position_m"]
    if wrong or len(place) != 3 or not all(type(value) in (int, float) for value in place):
        raise TableTagsError(f"{', '.join(wrong) or 'position_m'} of a tag is no number, or not three: {values!r}")
    return TableTag(**{**values, "position_m": tuple(place)})


class TagFinder:
    """Finds tags of the family in pictures. One thread at a time."""

    def __init__(self, ids: Iterable[int] | None = None) -> None:
        """Prepare OpenCV's detector.

        Args:
            ids: which tags to look for; all of the family's 587 if None, which takes several times as long.
        """
        family = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, FAMILY))
        self._ids = sorted(ids) if ids is not None else list(range(len(family.bytesList)))
        wanted = cv2.aruco.Dictionary(family.bytesList[self._ids].copy(), family.markerSize, family.maxCorrectionBits)
        self._detector = cv2.aruco.ArucoDetector(wanted)

    def find(self, grey: NDArray[np.uint8]) -> dict[int, FloatArray]:
        """Pixels (4, 2) of the corners by id, of a grey picture (H, W); ids that are seen twice are left out."""
        corners, places, _ = self._detector.detectMarkers(grey)
        found = [] if places is None else [self._ids[int(place)] for place in np.asarray(places).ravel()]
        return {
            tag_id: _refined(np.asarray(pixels, dtype=np.float64).reshape(4, 2), grey)
            for tag_id, pixels in zip(found, corners, strict=True)
            if found.count(tag_id) == 1
        }

    def find_near(self, grey: NDArray[np.uint8], expected: dict[int, FloatArray]) -> dict[int, FloatArray]:
        """The same for tags whose corners (4, 2) are expected about there; takes a fraction of the time."""
        found: dict[int, FloatArray] = {}
        size_px = np.array(grey.shape[::-1])
        for tag_id, corners in expected.items():
            low = np.clip(np.floor(corners.min(axis=0)) - NEAR_PX, 0, size_px).astype(int)
            high = np.clip(np.ceil(corners.max(axis=0)) + NEAR_PX, 0, size_px).astype(int)
            if np.all(high - low > 2 * NEAR_PX):  # less than that is of a tag outside the picture
                seen = self.find(np.ascontiguousarray(grey[low[1] : high[1], low[0] : high[0]]))
                found |= {tag_id: seen[tag_id] + low} if tag_id in seen else {}
        return found


def _refined(corners: FloatArray, grey: NDArray[np.uint8]) -> FloatArray:
    """Corners (4, 2) where straight lines along the black square's sides meet.

    OpenCV's own refinement looks at the surroundings of a corner, in which a small tag has its modules, too: its
    corners are a third of a pixel within the square (tests/benchmarks/bench_tags.py).
    """
    box_px = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
    edges = EdgeImage(np.repeat(grey[..., None], 3, axis=2), box_px, around_px=2 * _SIDE_REACH_PX + 4, blur_px=_BLUR_PX)
    following = np.roll(corners, -1, axis=0)
    along = (following - corners) / np.linalg.norm(following - corners, axis=1, keepdims=True)
    normals = np.stack([-along[:, 1], along[:, 0]], axis=1)
    share = np.linspace(_SIDE_SHARE, 1 - _SIDE_SHARE, _SIDE_POINTS)
    points = corners[:, None] + share[:, None] * (following - corners)[:, None]
    across = np.repeat(normals, _SIDE_POINTS, axis=0)
    offsets, steepness = edges.edges_near(points.reshape(-1, 2), across, _SIDE_REACH_PX)
    on_edge = (points.reshape(-1, 2) + offsets[:, None] * across).reshape(4, _SIDE_POINTS, 2).astype(np.float32)
    seen = steepness.reshape(4, _SIDE_POINTS) > 0
    if np.any(np.count_nonzero(seen, axis=1) < _SIDE_POINTS // 2):
        return corners
    # Huber's distance: a few wrong points hardly count
    lines = [cv2.fitLine(on_edge[side][seen[side]], cv2.DIST_HUBER, 0, 0.01, 0.01).ravel() for side in range(4)]
    try:
        return np.array([_crossing(lines[side - 1], lines[side]) for side in range(4)])
    except np.linalg.LinAlgError:  # two sides alike: what was found is hardly a square
        return corners


def _crossing(one: FloatArray, other: FloatArray) -> FloatArray:
    """Where two lines (direction x and y, point x and y) meet, shape (2,)."""
    directions = np.array([one[:2], -other[:2]], dtype=np.float64).T
    along, _ = np.linalg.solve(directions, np.asarray(other[2:] - one[2:], dtype=np.float64))
    return one[2:] + along * one[:2]
