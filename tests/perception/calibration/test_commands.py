"""The whole way, from printed board and pictures to a calibration that is checked, by the commands a user types."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.perception.calibration.synthetic import BOARD, LENS, SIZE, render, still, tools, truth
from vlajs.cli import dispatch
from vlajs_perception.calibration.board import sheet_png
from vlajs_perception.calibration.calibration_file import Calibration
from vlajs_perception.calibration.errors import BadSetError, CalibrationError
from vlajs_perception.calibration.folder import SetInfo, ViewFolder
from vlajs_perception.calibration.se3 import moved, step_between

SCENE = truth("eye_to_hand")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """15 rendered, blurred, noisy pictures; tool poses are off by 0.2 mm and 0.02 degrees along and about each axis."""
    random = np.random.default_rng(1)
    info = SetInfo(kind="eye_to_hand", board=BOARD, image_size=SIZE, lens=LENS)
    folder = ViewFolder.create(tmp_path_factory.mktemp("calibration") / "views", info)
    for number, tool in enumerate(tools(SCENE, 15)):
        reported = moved(tool, random.normal(size=6) * np.repeat([2e-4, 3.5e-4], 3))
        folder.add(render(SCENE, tool, seed=number), stamp_ns=number, tool=still(reported, number))
    return folder.path


def test_solve_finds_the_camera_and_check_agrees(pictures: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "camera.yaml"
    assert dispatch(["calibrate", "solve", str(pictures), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    result = said.splitlines()[-1]
    assert result.startswith("RESULT kind=eye_to_hand views=12 held_out=3 sigma_mm=")
    assert "camera_optical_frame in panda_link0" in said

    step = step_between(SCENE.camera, Calibration.read(out).camera_pose)
    assert 1e3 * np.linalg.norm(step[:3]) <= 2.0
    assert np.degrees(np.linalg.norm(step[3:])) <= 0.3

    overlay = cv2.imread(str(tmp_path / "camera.png"))
    assert overlay is not None
    assert overlay.shape == (960, 1280, 3)
    assert np.any(np.all(overlay == (60, 60, 255), axis=-1))  # the crosses

    assert dispatch(["calibrate", "check", str(out), str(pictures)]) == 0
    assert "RESULT holds=yes" in capsys.readouterr().out
    assert dispatch(["calibrate", "check", str(out), str(pictures), "--max-moved-mm", "0.00001"]) == 1
    assert "calibrate again" in capsys.readouterr().out


def test_solve_refuses_and_writes_nothing(pictures: Path, tmp_path: Path) -> None:
    words = ["calibrate", "solve", str(pictures), "--out", str(tmp_path / "camera.yaml")]
    with pytest.raises(BadSetError, match="10 views, at least 12 are needed: add 2"):
        dispatch([*words, "--without", "1", "2", "3", "4", "5"])
    with pytest.raises(CalibrationError, match=r"--without \[99\]"):
        dispatch([*words, "--without", "99"])
    with pytest.raises(BadSetError, match="at least 30"):
        dispatch([*words, "--min-views", "30"])
    assert list(tmp_path.iterdir()) == []


def test_board_writes_what_is_asked_for(tmp_path: Path, capsys) -> None:
    assert dispatch(["calibrate", "board", str(tmp_path / "board.png")]) == 0
    assert (tmp_path / "board.png").read_bytes() == sheet_png(BOARD)
    assert dispatch(["calibrate", "board", str(tmp_path / "tag.png"), "--type", "apriltag", "--tag-id", "3"]) == 0
    assert "AprilTag 3 of DICT_APRILTAG_36h11, black square 80 mm" in capsys.readouterr().out
    with pytest.raises(CalibrationError, match="white margin"):
        dispatch(["calibrate", "board", str(tmp_path / "no.png"), "--marker-mm", "30"])
