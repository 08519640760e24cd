from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from tests.perception.calibration.synthetic import LENS, SIZE, Truth, tools, truth, views_of, with_tool
from vlajs_perception.calibration.calibrate import calibrate
from vlajs_perception.calibration.calibration_file import Calibration
from vlajs_perception.calibration.check import CheckLimits, check
from vlajs_perception.calibration.errors import BadSetError, CalibrationError
from vlajs_perception.calibration.folder import SetInfo
from vlajs_perception.calibration.se3 import moved, pose_of
from vlajs_perception.calibration.views import Kind

ARM = {"pixel_px": 0.2, "tool_m": 2e-4, "tool_rad": 4e-4}
KINDS: list[Kind] = ["eye_to_hand", "eye_in_hand"]


def info_of(scene: Truth) -> SetInfo:
    return SetInfo(kind=scene.kind, board=scene.board, image_size=SIZE, lens=LENS)


def made(kind: Kind) -> Calibration:
    scene = truth(kind)
    views = views_of(scene, tools(scene, 25), **ARM)
    return Calibration.of(info_of(scene), calibrate(info_of(scene), views), date(2026, 11, 26))


MADE: dict[Kind, Calibration] = {kind: made(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_holds_where_nothing_moved(kind: Kind) -> None:
    scene = truth(kind)
    result = check(MADE[kind], info_of(scene), views_of(scene, tools(scene, 5, seed=3), **ARM, seed=9))
    assert result.holds
    assert result.moved_mm < 3 * result.sigma_mm
    assert "RESULT holds=yes" in result.line


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("remounted, count", [(False, 5), (True, 15)])
def test_finds_a_camera_that_was_moved(kind: Kind, remounted: bool, count: int) -> None:
    # By 6 mm along x of its parent, and by 1.5 degrees about z.
    scene = truth(kind)
    scene = replace(scene, camera=moved(scene.camera, [0.006, 0, 0, 0, 0, np.radians(1.5)]))
    if remounted:
        scene = replace(scene, board_pose=scene.board_pose @ pose_of([0, 0, 0.4], [0.01, 0.02, 0.0]))
    views = views_of(scene, tools(scene, count, seed=3), **ARM, seed=9)
    result = check(MADE[kind], info_of(scene), views, remounted=remounted)
    assert not result.holds
    assert result.moved_mm == pytest.approx(6.0, abs=4 * result.sigma_mm)
    assert result.turned_deg == pytest.approx(1.5, abs=4 * result.sigma_deg)
    wide = CheckLimits(max_moved_mm=20.0, max_turned_deg=5.0)
    assert check(MADE[kind], info_of(scene), views, limits=wide, remounted=remounted).holds


def test_a_board_mounted_anew_is_said_and_holds() -> None:
    scene = truth("eye_to_hand")
    scene = replace(scene, board_pose=scene.board_pose @ pose_of([0, 0, 0.4], [0.01, 0.02, 0.0]))
    views = views_of(scene, tools(scene, 15, seed=3), **ARM, seed=9)
    assert check(MADE["eye_to_hand"], info_of(scene), views, remounted=True).holds
    with pytest.raises(BadSetError):  # and, unsaid, it is not taken for a camera that moved
        check(MADE["eye_to_hand"], info_of(scene), views)


def test_refuses_views_that_cannot_tell() -> None:
    scene = truth("eye_to_hand")
    info, views = info_of(scene), views_of(scene, tools(scene, 8, seed=3), **ARM, seed=9)
    with pytest.raises(BadSetError, match="3 views, at least 4 are needed: add 1"):
        check(MADE["eye_to_hand"], info, views[:3])
    with pytest.raises(BadSetError, match="at least 8"):
        check(MADE["eye_to_hand"], info, views[:7], remounted=True)
    moving = replace(views[0], tool=replace(views[0].tool, speed_m_s=1.0))
    with pytest.raises(BadSetError, match="moving in views 1"):
        check(MADE["eye_to_hand"], info, [moving, *views[1:]])
    wrong = with_tool(views[2], [0.02, 0, 0, 0, 0, 0])
    with pytest.raises(BadSetError, match=r"disagree with the others: 3 \(.*\n.*--remounted"):
        check(MADE["eye_to_hand"], info, [*views[:2], wrong, *views[3:]])


def test_refuses_views_of_another_arrangement() -> None:
    scene = truth("eye_to_hand")
    info = replace(info_of(scene), tool_frame="panda_hand")
    with pytest.raises(CalibrationError, match=r"tool frame \(panda_hand_tcp there, panda_hand here\)"):
        check(MADE["eye_to_hand"], info, views_of(scene, tools(scene, 5)))
