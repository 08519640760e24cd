"""A camera that was moved is found by the table's tags, or refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.drawn_tags import TABLE_GREY, TAGS, table_with
from tests.support.seen_episode import CAMERA, IMAGE_SIZE_PX
from vlajs_perception.camera import Camera
from vlajs_perception.camera_watch import CameraMovedError, CameraWatch, WatchSettings, located
from vlajs_perception.rigid import exp
from vlajs_perception.table_tags import TableTag, TableTags

S = 1_000_000_000
WORK_AREA = np.array([[x, y, 0.02] for x in (0.45, 0.6, 0.75) for y in (-0.2, 0.0, 0.2)])
NOTHING = np.full((IMAGE_SIZE_PX[1], IMAGE_SIZE_PX[0], 3), TABLE_GREY, np.uint8)


def elsewhere(by_m: object, by_rad: object = (0.0, 0.0, 0.0)) -> Camera:
    """The calibrated camera moved along the base's axes and turned about its own."""
    pose = CAMERA.camera_in_base.copy()
    pose[:3, 3] += by_m
    pose[:3, :3] = pose[:3, :3] @ exp(by_rad)
    return Camera(matrix=CAMERA.matrix, camera_in_base=pose)


MOVED = elsewhere([0.012, 0.012, -0.01], [0.02, -0.02, 0.02])  # 2 cm, 2 degrees


def seen_by(camera: Camera, *ids: int) -> np.ndarray:
    """What a camera sees of the tags with these ids, of all without any."""
    return table_with([tag for tag in TAGS.tags if tag.tag_id in (ids or range(4))], camera, IMAGE_SIZE_PX)


def off_mm(found: Camera, really: Camera) -> float:
    """How far a point of the work area is from where its pixel is taken to be, the worst of them."""
    taken = found.on_plane(really.project(WORK_AREA), 0.02)
    return 1e3 * float(np.linalg.norm(taken - WORK_AREA, axis=1).max())


@settings(max_examples=30)
@given(
    by_m=st.tuples(*[st.floats(-0.05, 0.05)] * 3),
    by_rad=st.tuples(*[st.floats(-0.08, 0.08)] * 3),
)
def test_exact_pixels_give_the_camera_back(by_m: tuple, by_rad: tuple) -> None:
    really = elsewhere(by_m, by_rad)
    points = np.concatenate(list(TAGS.corners_in_base_m.values()))
    found = located(CAMERA, points, really.project(points))
    np.testing.assert_allclose(found.camera_in_base, really.camera_in_base, atol=1e-6)


@pytest.mark.parametrize("camera", [CAMERA, MOVED, elsewhere([-0.03, 0.05, 0.04], [0.0, 0.05, 0.05])])
def test_the_camera_is_found_where_it_is(camera: Camera) -> None:
    watch = CameraWatch(TAGS)
    found = watch.camera(seen_by(camera), CAMERA, 0)
    assert off_mm(found, camera) < 0.4
    # moved further than tags are looked for nearby at first: the next picture has them all
    found = watch.camera(seen_by(camera), CAMERA, S)
    assert off_mm(found, camera) < 0.2
    fix = watch.fix
    assert fix is not None
    assert (fix.stamp_ns, fix.tags, fix.strayed) == (S, (0, 1, 2, 3), ())
    moved_m = np.linalg.norm(camera.position_in_base_m - CAMERA.position_in_base_m)
    assert fix.moved_m == pytest.approx(moved_m, abs=2e-3)


def test_what_it_makes_up_for_is_large() -> None:
    # the condition of the robustness tables: without tags all poses are off by this
    assert off_mm(CAMERA, MOVED) > 20


def test_three_tags_are_enough_two_are_not() -> None:
    assert off_mm(CameraWatch(TAGS).camera(seen_by(MOVED, 0, 1, 3), CAMERA, 0), MOVED) < 0.5
    with pytest.raises(CameraMovedError, match="the picture shows 0, 3: these do not fix"):
        CameraWatch(TAGS).camera(seen_by(MOVED, 0, 3), CAMERA, 0)


def test_one_tag_confirms_where_the_camera_was_and_sees_it_go() -> None:
    watch = CameraWatch(TAGS, WatchSettings(max_unseen_s=2.0))
    before = watch.camera(seen_by(MOVED), CAMERA, 0)
    for second in (2, 4, 6):  # each longer ago than a pose is believed unseen
        assert watch.camera(seen_by(MOVED, 1), CAMERA, second * S) is before
    again = elsewhere([0.03, 0.0, 0.0])
    with pytest.raises(CameraMovedError, match="the camera was moved while the others were hidden"):
        watch.camera(seen_by(again, 1), CAMERA, 7 * S)


def test_at_first_one_tag_says_that_the_camera_stands_where_it_was_calibrated() -> None:
    watch = CameraWatch(TAGS)
    assert watch.camera(seen_by(CAMERA, 2), CAMERA, 0) is CAMERA
    assert watch.fix is not None
    assert watch.fix.tags == (2,)


def test_without_a_tag_the_last_pose_holds_for_a_while() -> None:
    watch = CameraWatch(TAGS, WatchSettings(max_unseen_s=1.0))
    with pytest.raises(CameraMovedError, match=r"none of the table's tags \(0, 1, 2, 3\) is seen yet"):
        watch.camera(NOTHING, CAMERA, 0)
    before = watch.camera(seen_by(MOVED), CAMERA, S)
    assert watch.camera(NOTHING, CAMERA, 2 * S) is before
    with pytest.raises(CameraMovedError, match=r"is seen for 1.1 s \(limit 1 s\)"):
        watch.camera(NOTHING, CAMERA, 2 * S + S // 10)


def test_a_clock_that_was_set_back_begins_anew() -> None:
    watch = CameraWatch(TAGS)
    watch.camera(seen_by(MOVED), CAMERA, 100 * S)
    with pytest.raises(CameraMovedError, match="is seen yet"):
        watch.camera(NOTHING, CAMERA, S)


def test_a_tag_that_strayed_is_told_from_a_camera_that_moved() -> None:
    strayed = TableTag(tag_id=1, size_m=0.08, position_m=(0.43, -0.3, 0.0), yaw_rad=0.2)  # 3 cm from where it should be
    others = [tag for tag in TAGS.tags if tag.tag_id != 1]
    watch = CameraWatch(TAGS)
    found = watch.camera(table_with([*others, strayed], MOVED, IMAGE_SIZE_PX), CAMERA, 0)
    assert off_mm(found, MOVED) < 0.4
    assert watch.fix is not None
    assert (watch.fix.tags, watch.fix.strayed) == ((0, 2, 3), (1,))
    # of three, nothing tells which of them strayed
    three = table_with([*TAGS.tags[2:], strayed], MOVED, IMAGE_SIZE_PX)
    with pytest.raises(CameraMovedError, match="they contradict each other"):
        watch.camera(three, CAMERA, S)


def test_tags_of_others_are_passed_over() -> None:
    known = TableTags(tags=TAGS.tags[:3])
    watch = CameraWatch(known)
    watch.camera(seen_by(MOVED), CAMERA, 0)
    assert watch.fix is not None
    assert watch.fix.tags == (0, 1, 2)


@pytest.mark.parametrize(
    ("camera", "reason"),
    [
        (elsewhere([0.0, 0.12, 0.0]), r"12\.\d cm and 0\.\d degrees from where it was calibrated \(limits 10 cm"),
        (elsewhere([0.0, 0.0, 0.0], [0.0, 0.0, 0.2]), r"11\.\d degrees .* 10 degrees\): put it back"),
    ],
)
def test_a_camera_far_from_its_calibrated_place_is_refused(camera: Camera, reason: str) -> None:
    watch = CameraWatch(TAGS)
    with pytest.raises(CameraMovedError, match=reason):
        watch.camera(seen_by(camera), CAMERA, 0)
    assert off_mm(watch.camera(seen_by(CAMERA), CAMERA, S), CAMERA) < 0.2  # put back


def test_corners_that_no_camera_sees_so_are_refused_and_do_not_end_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = CameraWatch(TAGS)
    nonsense = {tag: np.full((4, 2), np.nan) for tag in range(4)}
    monkeypatch.setattr(watch._finder, "find_near", lambda grey, expected: nonsense)
    monkeypatch.setattr(watch._finder, "find", lambda grey: nonsense)
    with pytest.raises(CameraMovedError, match="these do not fix"):
        watch.camera(NOTHING, CAMERA, 0)
