from dataclasses import replace

import numpy as np
import pytest

from tests.perception.calibration.synthetic import (
    BOARD,
    LENS,
    SIZE,
    Truth,
    looking,
    still,
    tools,
    truth,
    views_of,
    with_tool,
)
from vlajs_perception.calibration.board import AprilTag, CharucoBoard
from vlajs_perception.calibration.calibrate import calibrate, split
from vlajs_perception.calibration.errors import BadSetError
from vlajs_perception.calibration.folder import SetInfo
from vlajs_perception.calibration.quality import Limits
from vlajs_perception.calibration.se3 import pose_of, step_between
from vlajs_perception.calibration.views import Kind, View

ARM = {"pixel_px": 0.2, "tool_m": 3e-4, "tool_rad": 6e-4}
"""An ordinary arm and an ordinary camera."""


def info_of(scene: Truth, **changes: object) -> SetInfo:
    return replace(SetInfo(kind=scene.kind, board=scene.board, image_size=SIZE, lens=LENS), **changes)


def refusal(scene: Truth, views: list[View], **changes: object) -> str:
    with pytest.raises(BadSetError) as caught:
        calibrate(info_of(scene, **changes), views)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["eye_to_hand", "eye_in_hand"])
@pytest.mark.parametrize("lens, count", [(LENS, 15), (None, 35)])  # an unknown lens needs more
def test_a_good_set_is_taken_and_tried_on_views_it_has_not_seen(kind: Kind, lens, count: int) -> None:
    scene = truth(kind)
    views = views_of(scene, tools(scene, count), **ARM)
    calibrated = calibrate(info_of(scene, lens=lens), views)
    assert len(calibrated.used) == count - 3
    assert not set(calibrated.used) & set(calibrated.held_out)
    assert {off.distance_m < 0.004 for off in calibrated.held_out.values()} == {True}
    step = step_between(scene.camera, calibrated.solution.unknowns.camera)
    assert np.linalg.norm(step[:3]) <= 2e-3
    assert np.degrees(np.linalg.norm(step[3:])) <= 0.3


def test_a_tag_is_enough() -> None:
    scene = truth("eye_to_hand", AprilTag(size_m=0.1))
    calibrate(info_of(scene), views_of(scene, tools(scene, 15), pixel_px=0.15, tool_m=2e-4, tool_rad=4e-4))


def test_views_held_out_are_spread_and_never_fitted() -> None:
    scene = truth("eye_to_hand")
    views = views_of(scene, tools(scene, 15))
    fitted, held_out = split(views, 3)
    # Fractions 1/4, 2/4, 3/4 of 14 steps: indices 3.5 -> 4 (to even), 7, 10.5 -> 10, one less than the numbers.
    assert [view.number for view in held_out] == [5, 8, 11]
    assert len(fitted) == 12


def test_too_few_views() -> None:
    scene = truth("eye_to_hand")
    assert "9 views, at least 12 are needed: add 3" in refusal(scene, views_of(scene, tools(scene, 9), **ARM))


def test_all_views_from_one_pose() -> None:
    scene = truth("eye_to_hand")
    said = refusal(scene, views_of(scene, tools(scene, 1) * 15, **ARM))
    assert "the tool hardly turns between views" in said
    assert "the tool travels 0 mm (RMS), at least 50 are needed" in said
    assert "the board is seen in one part of the image only" in said


@pytest.mark.parametrize("kind", ["eye_to_hand", "eye_in_hand"])
def test_rotation_about_one_axis_only(kind: Kind) -> None:
    """The classic degeneracy: all turns about the vertical, wherever the tool goes."""
    scene, random = truth(kind), np.random.default_rng(0)
    first = tools(scene, 1)[0]
    poses = []
    for _ in range(15):
        turn = pose_of([0, 0, random.uniform(-0.6, 0.6)], [0, 0, 0])
        pose = turn @ first
        pose[:3, 3] = first[:3, 3] + random.uniform(-0.1, 0.1, size=3)
        poses.append(pose)
    said = refusal(scene, views_of(scene, poses, **ARM))
    assert "turns about one axis only" in said
    assert "[0.0, 0.0, 1.0]" in said.replace("-", "")
    assert "add views tilted by 20 to 40 degrees about" in said


def test_a_board_in_the_corner_of_the_image() -> None:
    scene = truth("eye_to_hand")
    to_middle = pose_of([0, 0, 0], -scene.board.centre_m)
    random = np.random.default_rng(0)
    poses = []
    for _ in range(15):
        place = random.uniform(1.4, 2.0) * np.array([-0.35, -0.25, 1.0])
        poses.append(scene.tool_showing(pose_of(random.uniform(-0.5, 0.5, size=3), place) @ to_middle))
    said = refusal(scene, views_of(scene, poses, **ARM))
    assert "board farther to the right" in said
    assert "board farther to the bottom" in said
    assert "columns" in said


def test_views_that_disagree_are_named() -> None:
    scene = truth("eye_to_hand")
    views = views_of(scene, tools(scene, 15), **ARM)
    views[3] = with_tool(views[3], [0.012, 0.0, -0.008, 0.0, 0.0, 0.0])
    views[7] = with_tool(views[7], [0.0, 0.0, 0.0, 0.03, 0.0, 0.02])  # number 8 is held out
    said = refusal(scene, views)
    assert "views that disagree with the others: 4 (" in said
    assert ", 8 (" in said
    assert said.count(" mm, ") == 2
    calibrate(info_of(scene), [view for view in views if view.number not in (4, 8)])


def test_a_board_that_slipped_half_way() -> None:
    scene = truth("eye_to_hand")
    slipped = replace(scene, board_pose=scene.board_pose @ pose_of([0.0, 0.0, 0.1], [0.02, 0.0, 0.0]))
    poses = tools(scene, 15)
    views = views_of(scene, poses, **ARM)[:8] + views_of(slipped, poses, **ARM)[8:]
    said = refusal(scene, views)
    assert "disagree" in said or "do not fit together" in said
    assert "the board slipped" in said or "is the board fastened" in said


@pytest.mark.parametrize("kind", ["eye_to_hand", "eye_in_hand"])
def test_a_board_of_another_size_than_stated(kind: Kind) -> None:
    # Printed at 103 %: squares of 30.9 mm instead of 30.
    scene = truth(kind, CharucoBoard(square_m=0.0309))
    views = []
    for view in views_of(scene, tools(scene, 15), **ARM):
        stated = replace(view.detection, points_in_board_m=BOARD.points_of(view.detection.ids))
        views.append(replace(view, detection=stated))
    said = refusal(scene, views, board=BOARD)
    assert "times as large as stated" in said
    assert "square_m = 0.0309" in said or "square_m = 0.0308" in said or "square_m = 0.0310" in said


def test_the_wrong_arrangement() -> None:
    scene = truth("eye_to_hand")
    said = refusal(scene, views_of(scene, tools(scene, 15), **ARM), kind="eye_in_hand")
    assert "eye to hand or eye in hand" in said or "disagree" in said


def test_a_lens_of_another_camera() -> None:
    scene = truth("eye_to_hand")
    wide = LENS.with_vector(LENS.vector * [1, 1, 1, 1, -4, 8, 1, 1, 1])
    assert "the lens is not this camera's" in refusal(scene, views_of(scene, tools(scene, 15), **ARM), lens=wide)


def test_blurred_images() -> None:
    scene = truth("eye_to_hand")
    assert "blurred" in refusal(scene, views_of(scene, tools(scene, 15), pixel_px=2.0))


def test_a_sloppy_arm() -> None:
    scene = truth("eye_to_hand")
    said = refusal(scene, views_of(scene, tools(scene, 40), pixel_px=0.2, tool_m=0.006, tool_rad=0.012))
    assert "the views do not fit together" in said


def test_too_uncertain() -> None:
    scene = truth("eye_to_hand")
    views = views_of(scene, tools(scene, 15), pixel_px=0.2, tool_m=1.5e-3, tool_rad=5e-3)
    assert "the camera is known to +-" in refusal(scene, views)


def test_a_tool_that_was_moving_and_poses_of_another_time() -> None:
    scene = truth("eye_to_hand")
    views = views_of(scene, tools(scene, 15), **ARM)
    views[1] = replace(views[1], tool=replace(views[1].tool, speed_m_s=0.01))
    views[5] = replace(views[5], tool=replace(views[5].tool, turning_rad_s=0.1))
    views[6] = replace(views[6], stamp_ns=200_000_000)
    said = refusal(scene, views)
    assert "moving in views 2 (10.0 mm/s, 0.00 deg/s), 6 (0.0 mm/s, 5.73 deg/s)" in said
    assert "different times in views 7 (200 ms)" in said


def test_views_held_out_decide() -> None:
    scene = truth("eye_to_hand")
    views = views_of(scene, tools(scene, 15), **ARM)
    with pytest.raises(BadSetError, match=r"held out are off by .* add views like 5 \("):
        calibrate(info_of(scene), views, limits=Limits(max_held_out_mm=0.01))


def test_the_made_up_cameras_see_what_they_look_at() -> None:
    camera = looking([1.0, 0.0, 1.0], [0.0, 0.0, 0.0])
    np.testing.assert_allclose(camera[:3, :3] @ camera[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera[:3, :3]) == pytest.approx(1.0)
    assert still(np.eye(4)).speed_m_s == 0.0
