import struct

import cv2
import numpy as np
import pytest

from tests.perception.calibration.synthetic import BOARD, exact_view, render, tools, truth
from vlajs_perception.calibration.board import (
    AprilTag,
    Board,
    CharucoBoard,
    board_from_dict,
    board_to_dict,
    sheet_png,
)
from vlajs_perception.calibration.errors import CalibrationError, NotSeenError

TAG = AprilTag(size_m=0.1)


@pytest.mark.parametrize("board, share, limit_px", [(BOARD, 0.7, 0.15), (TAG, 1.0, 0.3)])
def test_finds_the_board_in_noisy_pictures_without_bias(board: Board, share: float, limit_px: float) -> None:
    scene, errors, seen = truth("eye_to_hand", board), [], 0
    poses = tools(scene, 6)
    for number, tool_in_base in enumerate(poses):
        exact = exact_view(scene, 1, tool_in_base).detection
        found = board.detect(render(scene, tool_in_base, seed=number))
        errors.append(found.pixels - exact.pixels[found.ids])
        np.testing.assert_array_equal(found.points_in_board_m, board.points_of(found.ids))
        seen += len(found.ids)
    off = np.concatenate(errors)
    assert seen >= share * 4 * len(poses)
    assert np.sqrt(np.mean(off**2)) < limit_px
    # Half a pixel would be a confusion of corners and centres of pixels.
    assert np.max(np.abs(np.mean(off, axis=0))) < 0.1


def test_corners_by_hand() -> None:
    # 5 columns have 4 inner corners a row: id 5 is the second of the second row, two squares right, two down.
    np.testing.assert_allclose(BOARD.points_of(np.array([0, 5])), [[0.03, 0.03, 0.0], [0.06, 0.06, 0.0]])
    # OpenCV keeps them as float32.
    opencv = cv2.aruco.CharucoBoard((5, 7), 0.03, 0.022, cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_100))
    np.testing.assert_allclose(BOARD.points_of(np.arange(24)), opencv.getChessboardCorners(), atol=1e-7)
    np.testing.assert_allclose(TAG.points_of(np.array([1])), [[0.05, -0.05, 0.0]])


@pytest.mark.parametrize("board", [BOARD, TAG])
def test_says_that_nothing_is_seen(board: Board) -> None:
    with pytest.raises(NotSeenError, match="bring it into view"):
        board.detect(np.full((480, 640), 128, dtype=np.uint8))


def test_another_board_is_not_seen() -> None:
    scene = truth("eye_to_hand", TAG)
    picture = render(scene, tools(scene, 1)[0])
    for other in (BOARD, AprilTag(size_m=0.1, tag_id=7), AprilTag(size_m=0.1, family="DICT_APRILTAG_25h9")):
        with pytest.raises(NotSeenError):
            other.detect(picture)


@pytest.mark.parametrize("image", [np.zeros((480, 640), dtype=np.float32), np.zeros((480, 640, 4), dtype=np.uint8)])
def test_refuses_what_is_no_image(image: np.ndarray) -> None:
    with pytest.raises(CalibrationError, match="uint8"):
        BOARD.detect(image)


@pytest.mark.parametrize("board, unit_m", [(BOARD, 0.03), (TAG, 0.1 / 8), (CharucoBoard(square_m=0.0254), 0.0254)])
def test_the_sheet_has_its_size_in_the_file_and_is_found(board: Board, unit_m: float) -> None:
    png = sheet_png(board)
    # Signature (8), IHDR (25), then length, name and numbers of the resolution.
    name, per_m_x, per_m_y, unit = struct.unpack(">4sIIB", png[8 + 25 + 4 : 8 + 25 + 4 + 13])
    assert (name, per_m_x, unit) == (b"pHYs", per_m_y, 1)
    assert per_m_x == pytest.approx(300 / 0.0254, rel=0.02)
    assert (unit_m * per_m_x) == pytest.approx(round(unit_m * per_m_x), abs=0.02)  # squares are whole pixels
    found = board.detect(np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE), dtype=np.uint8))
    across_m = np.linalg.norm(found.points_in_board_m[-1] - found.points_in_board_m[0])
    across_px = np.linalg.norm(found.pixels[-1] - found.pixels[0])
    assert across_px / per_m_x == pytest.approx(across_m, rel=0.005)
    assert len(found.ids) == (4 if board is TAG else 24)


def test_the_sheets_resolution_is_seen_by_other_programs(tmp_path) -> None:
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "board.png").write_bytes(sheet_png(BOARD))
    with image.open(tmp_path / "board.png") as opened:
        opened.verify()
        # A square of 30 mm is 354 px: 354 / 30 * 25.4 = 299.72 dots per inch.
        assert opened.info["dpi"] == pytest.approx((299.72, 299.72), abs=0.01)


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: CharucoBoard(square_m=30.0, marker_m=22.0), "millimetres"),
        (lambda: CharucoBoard(marker_m=0.03), "white margin"),
        (lambda: CharucoBoard(columns=2), "3 to 30"),
        (lambda: CharucoBoard(dictionary="DICT_5X5_50", columns=12, rows=12), "too few markers"),
        (lambda: CharucoBoard(dictionary="5X5"), "no dictionary"),
        (lambda: AprilTag(size_m=80.0), "millimetres"),
        (lambda: AprilTag(tag_id=587), "0 to 586"),
        (lambda: BOARD.points_of(np.array([24])), "another board"),
        (lambda: sheet_png(BOARD, dots_per_inch=10.0), "50 to 2400"),
        (lambda: sheet_png(CharucoBoard(square_m=0.002, marker_m=0.001), dots_per_inch=60.0), "raise dots_per_inch"),
        (lambda: board_from_dict({"type": "chess"}), "charuco, apriltag"),
        (lambda: board_from_dict(board_to_dict(BOARD) | {"square_m": "0.03"}), r"\['square_m'\]"),
        (lambda: board_from_dict({"type": "apriltag", "size_m": 0.08}), "family"),
    ],
)
def test_refuses_what_is_no_board(build, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        build()


@pytest.mark.parametrize("board", [BOARD, TAG])
def test_survives_being_written_down(board: Board) -> None:
    assert board_from_dict(board_to_dict(board)) == board
