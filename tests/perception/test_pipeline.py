"""From images to poses without ROS: when nothing is said, and why."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.support.drawn_tags import TAGS, draw_tags
from tests.support.seen_by_colour import ColourDetector, picture_of
from tests.support.seen_episode import CAMERA, IMAGE_SIZE_PX, TOOL_DOWN, pose, turned
from vlajs_perception.camera import Camera
from vlajs_perception.camera_watch import CameraMovedError
from vlajs_perception.estimator import PoseEstimator, Report
from vlajs_perception.estimator_settings import Target
from vlajs_perception.image_guard import GuardSettings, ImageGuard, ImageRefusedError
from vlajs_perception.objects import cube
from vlajs_perception.optics import CameraFacts, Optics, OpticsError
from vlajs_perception.pipeline import Pipeline
from vlajs_perception.table_tags import TableTag, TableTags
from vlajs_perception.tracker import Status

MS = 1_000_000
CUBE = cube("cube", 0.02)
HERE = pose([0.55, 0.05, 0.02], turned(0.3))
FACTS = CameraFacts(size_px=IMAGE_SIZE_PX, matrix=CAMERA.matrix, distortion=np.zeros(5))


def camera_at(offset_m: list[float]) -> Camera:
    moved = CAMERA.camera_in_base.copy()
    moved[:3, 3] += offset_m
    return Camera(matrix=CAMERA.matrix, camera_in_base=moved)


MOVED = camera_at([0.012, 0.012, -0.007])


def pipeline(table_tags: TableTags | None = None) -> Pipeline:
    estimator = PoseEstimator([Target(name="cube", detected_as="cube", model=CUBE)])
    guard = ImageGuard(GuardSettings(max_age_s=0.3))
    return Pipeline(ColourDetector(), estimator, guard, camera_in_base=CAMERA.camera_in_base, table_tags=table_tags)


def running(images: int = 4, start_ms: int = 1000) -> Pipeline:
    """Images every 66 ms, each processed 50 ms after it was taken; the last is of ``start_ms + 66 (images - 1)``."""
    found = pipeline()
    found.set_camera(FACTS)
    for index in range(images):
        show(found, start_ms + 66 * index)
    return found


def show(found: Pipeline, stamp_ms: int, late_ms: int = 50) -> np.ndarray:
    image = picture_of(CUBE, CAMERA, HERE, IMAGE_SIZE_PX)
    found.add_tool(pose([0.4, -0.3, 0.4], TOOL_DOWN), stamp_ms * MS)
    found.process(image, stamp_ms * MS, (stamp_ms + late_ms) * MS)
    found.finished((stamp_ms + late_ms) * MS)
    return image


def test_poses_are_of_now_and_end_with_the_images() -> None:
    found = running()  # the last image is of 1198 ms
    stamp_ns, (report,) = found.report(1300 * MS)
    assert stamp_ns == 1300 * MS
    assert report.pose is not None
    assert report.pose.position_m == pytest.approx(HERE[:3, 3], abs=3e-3)
    assert found.report(1498 * MS)[1][0].pose is not None  # 0.3 s after it: just so
    (late,) = found.report(1499 * MS)[1]
    assert late.pose is None
    assert "the last image is 0.301 s old (limit 0.3 s)" in late.reason
    health = found.health(1300 * MS)
    assert health.rate_hz == pytest.approx(1 / 0.066)
    assert health.latency_s == pytest.approx(0.05)
    assert health.images == 4


def test_the_poses_come_from_the_rectified_picture_too() -> None:
    found = running()
    image = picture_of(CUBE, CAMERA, HERE, IMAGE_SIZE_PX)
    rectified, view = found.process(image, 1264 * MS, 1300 * MS)
    assert view.image_rgb is rectified  # its edges


def test_a_camera_that_was_moved_is_followed_by_the_tables_tags_or_refused() -> None:
    found = pipeline(TAGS)
    found.set_camera(FACTS)

    def show_from(camera: Camera, stamp_ms: int, tags: Sequence[TableTag] = TAGS.tags) -> Report:
        image = draw_tags(picture_of(CUBE, camera, HERE, IMAGE_SIZE_PX), tags, camera)
        found.process(image, stamp_ms * MS, (stamp_ms + 50) * MS)
        return found.report((stamp_ms + 50) * MS)[1][0]

    for stamp_ms in (1000, 1066, 1132, 1198):
        report = show_from(MOVED, stamp_ms)
    assert report.pose is not None
    assert report.pose.position_m == pytest.approx(HERE[:3, 3], abs=3e-3)  # without tags it is off by 3 cm
    camera = found.health(1250 * MS).camera
    assert camera is not None
    assert camera.moved_m == pytest.approx(0.0184, abs=1e-3)  # the root of 12^2 + 12^2 + 7^2 mm^2
    far = camera_at([0.2, 0.0, 0.0])
    with pytest.raises(CameraMovedError, match="put it back"):
        show_from(far, 1264)
    (report,) = found.report(1300 * MS)[1]
    assert report.pose is None
    assert "put it back" in report.reason
    assert found.health(1300 * MS).refusals["camera pose"] == 1
    with pytest.raises(CameraMovedError, match=r"none of the table's tags"):
        show_from(CAMERA, 9000, tags=[])


def test_a_refused_image_silences_all_until_a_good_one() -> None:
    found = running()
    image = show(found, 1264)
    with pytest.raises(ImageRefusedError, match="to the last bit"):
        found.process(image.copy(), 1330 * MS, 1340 * MS)
    (report,) = found.report(1345 * MS)[1]
    assert report.pose is None
    assert "to the last bit" in report.reason
    assert found.health(1345 * MS).refusals["same picture"] == 1
    show(found, 1396)
    assert found.report(1450 * MS)[1][0].pose is not None
    found.refuse("encoding", "the image's encoding is 'mono8'")
    assert found.report(1455 * MS)[1][0].pose is None


def test_a_clock_that_was_set_back_begins_anew() -> None:
    found = running(start_ms=60_000)
    (report,) = found.report(1000 * MS)[1]
    assert report.pose is None
    assert report.status is Status.ABSENT
    for stamp_ms in (1000, 1066, 1132, 1198):
        show(found, stamp_ms)
    assert found.report(1250 * MS)[1][0].pose is not None


def test_what_was_seen_before_the_scene_was_set_anew_is_forgotten() -> None:
    found = running()
    found.forget(1250 * MS)
    (report,) = found.report(1255 * MS)[1]
    assert (report.pose, report.status) == (None, Status.ABSENT)
    for stamp_ms in (1249, 1264, 1330):  # the first was under way
        show(found, stamp_ms)
    assert found.report(1390 * MS)[1][0].pose is None
    show(found, 1396)  # the third of the new scene
    assert found.report(1450 * MS)[1][0].pose is not None


def test_without_a_camera_that_fits_nothing_is_measured() -> None:
    found = pipeline()
    with pytest.raises(OpticsError, match="no camera_info yet"):
        found.process(picture_of(CUBE, CAMERA, HERE, IMAGE_SIZE_PX), 1000 * MS, 1010 * MS)
    for facts, reason in (
        (replace(FACTS, matrix=np.full((3, 3), np.nan)), "numbers that are not finite"),
        (replace(FACTS, matrix=np.zeros((3, 3))), "missing calibration: camera_info has no intrinsics"),
        (replace(FACTS, distortion=np.array([0.1, 0, 0, 0, 0])), "nothing rectifies them"),
    ):
        with pytest.raises(OpticsError, match=reason):
            found.set_camera(facts)
        assert found.size_px is None
        assert reason in found.health(1010 * MS).refusal
    found.set_camera(FACTS)
    assert found.size_px == IMAGE_SIZE_PX
    with pytest.raises(OpticsError, match="missing calibration: give a calibration file"):
        Optics(FACTS)
