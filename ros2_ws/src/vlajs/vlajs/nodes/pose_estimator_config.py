"""The pose estimator's parameters: declared with their defaults, read and checked at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node

from vlajs.nodes.parameters import declare
from vlajs.policy.bundle import load_bundle
from vlajs.policy.contract import BASE_FRAME
from vlajs.tasks import Task, get_task
from vlajs_perception.calibration.calibration_file import Calibration
from vlajs_perception.estimator_settings import EstimatorSettings, Target, WorkArea
from vlajs_perception.fit_settings import Table
from vlajs_perception.image_guard import GuardSettings
from vlajs_perception.objects import box
from vlajs_perception.rigid import checked_transform, matrix_of, transform
from vlajs_perception.shipped import DETECTOR
from vlajs_perception.table_tags import TableTags
from vlajs_perception.tracker import TrackerSettings

DETECTED_AS = {"cube": "cube", "peg": "peg"}
"""Class of the detector for each object of a task that a camera can tell."""

NO_POSE = [0.0] * 7
"""``camera_pose`` that was not given."""

MAX_RATE_HZ = 200.0
_LIMITS = WorkArea()


@dataclass(frozen=True, kw_only=True)
class EstimatorConfig:
    """What the node runs with.

    Attributes:
        detector: file of the detector.
        threads: of the detector.
        min_score: least score of a detection.
        calibration: of the camera; None with ``camera_in_base``.
        camera_in_base: shape (4, 4), known pose of the optical frame; None with ``calibration``.
        table_tags: by which the camera is followed; None: it is taken to be where it was calibrated.
        targets: what is reported.
        settings: of the estimator.
        guard: what images are refused.
        publish_rate_hz: of the poses.
        annotated: whether annotated images are published.
    """

    detector: Path
    threads: int
    min_score: float
    calibration: Calibration | None
    camera_in_base: NDArray[np.float64] | None
    table_tags: TableTags | None
    targets: tuple[Target, ...]
    settings: EstimatorSettings
    guard: GuardSettings
    publish_rate_hz: float
    annotated: bool


def declare_parameters(node: Node) -> None:
    """Declare every parameter of the node.

    Raises:
        ParameterError: the node was given a value of another type.
    """
    declare(node, "detector", "")
    declare(node, "threads", 2)
    declare(node, "min_score", 0.5)
    declare(node, "calibration", "")
    declare(node, "camera_pose", NO_POSE)
    declare(node, "table_tags", "")
    declare(node, "task", "")
    declare(node, "checkpoint", "")
    declare(node, "table_height_m", 0.0)
    declare(node, "work_area_min_m", list(_LIMITS.min_m))
    declare(node, "work_area_max_m", list(_LIMITS.max_m))
    declare(node, "image_age_limit_s", GuardSettings.max_age_s)
    declare(node, "refuse_repeats", GuardSettings.refuse_repeats)
    declare(node, "max_dropout_s", TrackerSettings.max_dropout_s)
    declare(node, "publish_rate_hz", 60.0)
    declare(node, "annotated", False)


def config_of(node: Node) -> EstimatorConfig:
    """The parameters, checked.

    Raises:
        ValueError: a value that cannot be; the message names it and the remedy.
        OSError: a file that cannot be read.
    """
    # rclpy has no public list of a node's parameters
    given: dict[str, Any] = {name: node.get_parameter(name).value for name in node._parameters}
    detector = Path(str(given["detector"])) if given["detector"] else DETECTOR
    if not detector.is_file():
        raise ValueError(f"parameter detector is {str(detector)!r}, no such file: give a trained detector")
    min_score, rate_hz, threads = float(given["min_score"]), float(given["publish_rate_hz"]), int(given["threads"])
    for name, value, limit in (("min_score", min_score, 1.0), ("publish_rate_hz", rate_hz, MAX_RATE_HZ)):
        if not 0.0 < value <= limit:
            raise ValueError(f"parameter {name} = {value} is outside (0, {limit:g}]")
    if threads < 1:
        raise ValueError(f"parameter threads = {threads}, at least 1")
    calibration, camera_in_base = _camera(str(given["calibration"]), list(given["camera_pose"]))
    return EstimatorConfig(
        detector=detector,
        threads=threads,
        min_score=min_score,
        calibration=calibration,
        camera_in_base=camera_in_base,
        table_tags=_table_tags(str(given["table_tags"]), calibration),
        targets=targets_of(_task(str(given["task"]), str(given["checkpoint"]))),
        settings=EstimatorSettings(
            table=Table(height_m=float(given["table_height_m"])),
            work_area=WorkArea(min_m=_vector(given["work_area_min_m"]), max_m=_vector(given["work_area_max_m"])),
            tracker=TrackerSettings(max_dropout_s=float(given["max_dropout_s"])),
        ),
        guard=GuardSettings(max_age_s=float(given["image_age_limit_s"]), refuse_repeats=bool(given["refuse_repeats"])),
        publish_rate_hz=rate_hz,
        annotated=bool(given["annotated"]),
    )


def targets_of(task: Task) -> tuple[Target, ...]:
    """The objects of a task as the estimator wants them.

    Raises:
        ValueError: an object that the detector has no class for, or whose size differs from trial to trial.
    """
    targets = []
    for name in task.objects:
        if name not in DETECTED_AS or name not in task.half_sizes_m:
            raise ValueError(
                f"the camera cannot tell {name!r} of task {task.name}: its size must be known beforehand and its class "
                f"one of {', '.join(DETECTED_AS)}; give its pose from elsewhere (/objects/{name}/pose)"
            )
        model = box(name, task.half_sizes_m[name])
        targets.append(Target(name=name, detected_as=DETECTED_AS[name], model=model))
    return tuple(targets)


def _vector(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) != 3:
        raise ValueError(f"an end of the work area is {list(values)}, expected x, y, z in m")
    return (float(values[0]), float(values[1]), float(values[2]))


def _task(name: str, checkpoint: str) -> Task:
    if name:
        return get_task(name)
    if not checkpoint:
        raise ValueError("parameters task and checkpoint are empty: which objects to look for follows from either")
    return get_task(load_bundle(Path(checkpoint)).contract.task)


def _camera(file: str, pose: list[float]) -> tuple[Calibration | None, NDArray[np.float64] | None]:
    """The calibration or the known pose.

    Raises:
        ValueError: both, neither, or one that cannot be.
    """
    if bool(file) == (pose != NO_POSE):
        raise ValueError(
            "missing calibration: give parameter calibration (a file of vlajs calibrate) or, for a camera whose pose "
            "is known such as the twin's, camera_pose (x, y, z in m, then the quaternion w, x, y, z); one of them"
        )
    if file:
        path = Path(file)
        if not path.is_file():
            raise ValueError(f"missing calibration: {path} does not exist; make it with vlajs calibrate solve")
        calibration = Calibration.read(path)
        if calibration.base_frame != BASE_FRAME:
            raise ValueError(
                f"{path} was measured in {calibration.base_frame!r}, poses are given in {BASE_FRAME!r}: calibrate with "
                "the bridge's tool poses"
            )
        return calibration, None
    if len(pose) != 7 or not np.all(np.isfinite(pose)) or abs(np.linalg.norm(pose[3:]) - 1.0) > 1e-3:
        raise ValueError(
            f"parameter camera_pose is {pose}: expected x, y, z in m and a unit quaternion w, x, y, z of the optical "
            "frame in panda_link0"
        )
    quat_wxyz = np.array(pose[3:]) / np.linalg.norm(pose[3:])
    return None, checked_transform(transform(pose[:3], matrix_of(quat_wxyz)), "camera_pose")


def _table_tags(file: str, calibration: Calibration | None) -> TableTags | None:
    """The table's tags, if there are any.

    Raises:
        ValueError: no such file, one that cannot be, or a camera that is not watched.
    """
    if not file:
        return None
    if calibration is not None and calibration.kind == "eye_in_hand":
        raise ValueError("parameter table_tags is for a camera that stands, this one rides on the tool: leave it empty")
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"parameter table_tags is {file!r}, no such file: make it with vlajs calibrate tags")
    return TableTags.read(path)
