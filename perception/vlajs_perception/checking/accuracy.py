"""Detector and fits against the truth, picture by picture. No tracking: each picture stands for itself."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vlajs_perception.checking.pictures import OBJECT_CLASSES, Picture, TrueObject
from vlajs_perception.detection.detection import Detection, Detector
from vlajs_perception.estimate import Estimate, PoseError
from vlajs_perception.estimator_settings import EstimatorSettings, View
from vlajs_perception.rigid import quat_of
from vlajs_perception.sight import see
from vlajs_perception.symmetry import rotation_error_rad

Outcome = Literal["measured", "missed", "no fit", "false positive"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of one object in one picture.

    Attributes:
        picture: its name.
        name: the object's class.
        outcome: measured; missed by the detector; detected where no fit holds; detected although it is not there.
        score: of the detection, NaN without one.
        source: of the estimate, empty without one.
        error_mm: distance from the truth, NaN without an estimate.
        error_deg: angle from it up to symmetry, NaN without an estimate or where only the box told.
        estimate: the pose, or None.
    """

    picture: str
    name: str
    outcome: Outcome
    score: float = float("nan")
    source: str = ""
    error_mm: float = float("nan")
    error_deg: float = float("nan")
    estimate: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All rows of one class.

    Attributes:
        name: the class.
        images: pictures in which it is to be seen.
        measured: how many gave a pose.
        median_mm: of the measured ones' errors; NaN without any.
        p95_mm: 95 of 100 are better.
        median_deg: of those whose orientation was told.
        false_positives: pictures without it in which the detector reports it.
        empty: pictures without it.
    """

    name: str
    images: int
    measured: int
    median_mm: float
    p95_mm: float
    median_deg: float
    false_positives: int
    empty: int

    @property
    def line(self) -> str:
        """For logs and scripts."""
        return (
            f"RESULT object={self.name} images={self.images} median_mm={self.median_mm:.2f} p95_mm={self.p95_mm:.2f} "
            f"median_deg={self.median_deg:.2f} false_positives={self.false_positives} measured={self.measured} "
            f"without_it={self.empty}"
        )


def check(
    pictures: Iterable[Picture],
    detector: Detector,
    settings: EstimatorSettings,
    *,
    table_only: bool,
    progress: Callable[[], object] = lambda: None,
) -> tuple[list[Row], list[Summary]]:
    """Run detector and fits on pictures.

    Args:
        pictures: with their truth.
        detector: answers with what is above its least score; a picture's best detection of a class counts.
        settings: of the fits.
        table_only: leave out objects that do not lie on the table as their model does.
        progress: called after each picture.

    Returns:
        A row for each object that is to be seen or is reported although it is not there, and a summary for each class
        of which there is one.
    """
    rows: list[Row] = []
    empty = dict.fromkeys(OBJECT_CLASSES, 0)
    for picture in pictures:
        found = detector.detect(picture.image_rgb)
        present = {item.name: item for item in picture.objects}
        for name in OBJECT_CLASSES:
            best = next((item for item in found if item.name == name), None)
            if name in present:
                rows += _rows_of(picture, present[name], best, settings, table_only)
                continue
            empty[name] += 1
            if best is not None:
                rows.append(Row(picture=picture.name, name=name, outcome="false positive", score=best.score))
        progress()
    return rows, [_summary(name, rows, empty[name]) for name in OBJECT_CLASSES if any(row.name == name for row in rows)]


def _rows_of(
    picture: Picture, truth: TrueObject, best: Detection | None, settings: EstimatorSettings, table_only: bool
) -> list[Row]:
    """Nothing where the object can hardly be seen: whatever a detector says of it is neither right nor wrong."""
    if not truth.labelled or (table_only and not truth.lies):
        return []
    if best is None:
        return [Row(picture=picture.name, name=truth.name, outcome="missed")]
    height, width = picture.image_rgb.shape[:2]
    view = View(stamp_ns=0, detections=[best], camera=picture.camera, image_size_px=(width, height))
    try:
        estimate = see(best, truth.model, view, settings)
    except PoseError:
        return [Row(picture=picture.name, name=truth.name, outcome="no fit", score=best.score)]
    true_wxyz = quat_of(truth.object_in_base[:3, :3])
    turned_rad = rotation_error_rad(estimate.quat_wxyz, true_wxyz, truth.model.symmetries_wxyz)
    return [
        Row(
            picture=picture.name,
            name=truth.name,
            outcome="measured",
            score=best.score,
            source=estimate.source,
            error_mm=1e3 * float(np.linalg.norm(estimate.position_m - truth.object_in_base[:3, 3])),
            error_deg=float("nan") if estimate.source == "box" else float(np.degrees(turned_rad)),
            estimate=estimate,
        )
    ]


def _summary(name: str, rows: list[Row], empty: int) -> Summary:
    own = [row for row in rows if row.name == name]
    seen = [row for row in own if row.outcome != "false positive"]
    off_mm = [row.error_mm for row in own if row.outcome == "measured"]
    off_deg = [row.error_deg for row in own if np.isfinite(row.error_deg)]
    return Summary(
        name=name,
        images=len(seen),
        measured=len(off_mm),
        median_mm=float(np.median(off_mm)) if off_mm else float("nan"),
        p95_mm=float(np.percentile(off_mm, 95)) if off_mm else float("nan"),
        median_deg=float(np.median(off_deg)) if off_deg else float("nan"),
        false_positives=len(own) - len(seen),
        empty=empty,
    )
