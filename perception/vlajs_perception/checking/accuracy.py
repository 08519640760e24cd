"""Detector and fits against the truth, picture by picture. No tracking: each picture stands for itself.

What counts is the pose that the estimator would act on: of the best detection whose pose can be, if place and turn are
known well enough (``EstimatorSettings.max_position_std_m`` and ``max_rotation_std_rad``).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vlajs_perception.checking.pictures import OBJECT_CLASSES, Picture, TrueObject
from vlajs_perception.detection.detection import Detection, Detector
from vlajs_perception.estimate import Estimate, PoseError
from vlajs_perception.estimator_settings import EstimatorSettings, View
from vlajs_perception.objects import ObjectModel, box, cube, peg
from vlajs_perception.rigid import quat_of
from vlajs_perception.sight import see
from vlajs_perception.symmetry import rotation_error_rad

Outcome = Literal["measured", "missed", "no fit", "false positive", "false detection"]

LOOKED_FOR: dict[str, ObjectModel] = {
    "cube": cube("cube", 0.02),
    "peg": peg("peg", 0.12, 0.025),
    "box": box("box", (0.09, 0.09, 0.09)),
}
"""What is looked for in pictures without it: cube and peg of ManiSkill's tasks, a box of middling size."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What came of one object in one picture.

    Attributes:
        picture: its name.
        name: the object's class.
        outcome: measured; missed by the detector; detected where no fit holds or the pose is too uncertain; measured
            although it is not there; detected although it is not there, without a pose.
        score: of the detection, NaN without one.
        source: of the estimate, empty without one.
        error_mm: distance from the truth, NaN without an estimate.
        error_deg: angle from it up to symmetry, NaN without an estimate.
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
        median_deg: of the measured ones' turns.
        false_positives: pictures without it in which it gets a pose.
        false_detections: pictures without it in which the detector reports it, with or without a pose.
        empty: pictures without it.
    """

    name: str
    images: int
    measured: int
    median_mm: float
    p95_mm: float
    median_deg: float
    false_positives: int
    false_detections: int
    empty: int

    @property
    def line(self) -> str:
        """For logs and scripts."""
        return (
            f"RESULT object={self.name} images={self.images} median_mm={self.median_mm:.2f} p95_mm={self.p95_mm:.2f} "
            f"median_deg={self.median_deg:.2f} false_positives={self.false_positives} measured={self.measured} "
            f"without_it={self.empty} false_detections={self.false_detections}"
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
        detector: answers with what is above its least score.
        settings: of the fits.
        table_only: leave out objects that do not lie on the table as their model does. Then where the hand is counts,
            as on the robot, if the folder says so: what would float away from it is refused. Lifted ones are drawn
            where no hand is.
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
            own = [item for item in found if item.name == name][: settings.sight.max_detections]
            view = _view_of(picture, own, with_hand=table_only)
            if name in present:
                rows += _rows_of(picture, present[name], view, settings, table_only)
                continue
            empty[name] += 1
            if own:
                rows.append(_row_of_nothing(picture, name, view, settings))
        progress()
    return rows, [_summary(name, rows, empty[name]) for name in OBJECT_CLASSES if any(row.name == name for row in rows)]


def _view_of(picture: Picture, detections: list[Detection], *, with_hand: bool) -> View:
    height, width = picture.image_rgb.shape[:2]
    return View(
        stamp_ns=0,
        detections=detections,
        camera=picture.camera,
        image_size_px=(width, height),
        tool_in_base=picture.tool_in_base if with_hand else None,
        image_rgb=picture.image_rgb,
    )


def _measured(model: ObjectModel, view: View, settings: EstimatorSettings) -> tuple[Detection, Estimate] | None:
    """The best detection that gives a pose which is known well enough, and that pose."""
    for detection in view.detections:
        try:
            estimate = see(detection, model, view, settings)
        except PoseError:
            continue
        placed = estimate.position_std_m <= settings.max_position_std_m
        if placed and estimate.rotation_std_rad <= settings.max_rotation_std_rad:
            return detection, estimate
    return None


def _row_of_nothing(picture: Picture, name: str, view: View, settings: EstimatorSettings) -> Row:
    """Of an object that is detected and is not there."""
    measured = _measured(LOOKED_FOR[name], view, settings)
    outcome: Outcome = "false detection" if measured is None else "false positive"
    detection = view.detections[0] if measured is None else measured[0]
    return Row(picture=picture.name, name=name, outcome=outcome, score=detection.score)


def _rows_of(
    picture: Picture, truth: TrueObject, view: View, settings: EstimatorSettings, table_only: bool
) -> list[Row]:
    """Nothing where the object can hardly be seen: whatever a detector says of it is neither right nor wrong."""
    if not truth.labelled or (table_only and not truth.lies):
        return []
    if not view.detections:
        return [Row(picture=picture.name, name=truth.name, outcome="missed")]
    measured = _measured(truth.model, view, settings)
    if measured is None:
        return [Row(picture=picture.name, name=truth.name, outcome="no fit", score=view.detections[0].score)]
    detection, estimate = measured
    true_wxyz = quat_of(truth.object_in_base[:3, :3])
    turned_rad = rotation_error_rad(estimate.quat_wxyz, true_wxyz, truth.model.symmetries_wxyz)
    return [
        Row(
            picture=picture.name,
            name=truth.name,
            outcome="measured",
            score=detection.score,
            source=estimate.source,
            error_mm=1e3 * float(np.linalg.norm(estimate.position_m - truth.object_in_base[:3, 3])),
            error_deg=float(np.degrees(turned_rad)),
            estimate=estimate,
        )
    ]


def _summary(name: str, rows: list[Row], empty: int) -> Summary:
    own = [row for row in rows if row.name == name]
    false = [row.outcome for row in own if row.outcome.startswith("false")]
    off_mm = [row.error_mm for row in own if row.outcome == "measured"]
    off_deg = [row.error_deg for row in own if row.outcome == "measured"]
    return Summary(
        name=name,
        images=len(own) - len(false),
        measured=len(off_mm),
        median_mm=float(np.median(off_mm)) if off_mm else float("nan"),
        p95_mm=float(np.percentile(off_mm, 95)) if off_mm else float("nan"),
        median_deg=float(np.median(off_deg)) if off_deg else float("nan"),
        false_positives=false.count("false positive"),
        false_detections=len(false),
        empty=empty,
    )
