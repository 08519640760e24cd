from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.perception.calibration.synthetic import BOARD, LENS, SIZE, render, still, tools, truth
from vlajs_perception.calibration.board import CharucoBoard
from vlajs_perception.calibration.errors import CalibrationError, NotSeenError
from vlajs_perception.calibration.folder import SetInfo, ViewFolder

INFO = SetInfo(kind="eye_to_hand", board=BOARD, image_size=SIZE, lens=LENS)
SCENE = truth("eye_to_hand")
TOOL = tools(SCENE, 1)[0]
PICTURE = render(SCENE, TOOL)


@pytest.fixture
def folder(tmp_path: Path) -> ViewFolder:
    folder = ViewFolder.create(tmp_path / "views", INFO)
    folder.add(PICTURE, stamp_ns=5, tool=still(TOOL, 7))
    return folder


def test_a_view_comes_back_as_it_was_stored(folder: ViewFolder) -> None:
    added = folder.add(np.dstack([PICTURE] * 3), stamp_ns=9, tool=still(TOOL, 11))
    (_, view) = ViewFolder.open(folder.path).views()
    assert (view.number, view.stamp_ns, view.tool.stamp_ns) == (2, 9, 11)
    np.testing.assert_array_equal(view.detection.pixels, added.detection.pixels)
    np.testing.assert_array_equal(view.detection.points_in_board_m, added.detection.points_in_board_m)
    np.testing.assert_array_equal(view.tool.tool_in_base, TOOL)
    np.testing.assert_array_equal(folder.image(2)[..., 1], PICTURE)


def test_a_set_is_taken_up_and_an_interrupted_view_is_not_there(folder: ViewFolder) -> None:
    (folder.path / "view_0002.png").write_bytes(b"half")  # the crash came before the numbers were written
    again = ViewFolder.create(folder.path, INFO)
    assert again.numbers() == [1]
    assert again.add(PICTURE, stamp_ns=9, tool=still(TOOL)).number == 2
    again.image(2)


def test_another_set_is_not_mixed_in(folder: ViewFolder) -> None:
    with pytest.raises(CalibrationError, match="differs"):
        ViewFolder.create(folder.path, replace(INFO, kind="eye_in_hand"))


def test_the_info_survives(folder: ViewFolder, tmp_path: Path) -> None:
    assert ViewFolder.open(folder.path).info.to_yaml() == INFO.to_yaml()
    without = ViewFolder.create(tmp_path / "other", replace(INFO, lens=None))
    assert ViewFolder.open(without.path).info.lens is None


def test_nothing_is_stored_when_the_board_is_not_seen(folder: ViewFolder) -> None:
    before = sorted(folder.path.iterdir())
    with pytest.raises(NotSeenError):
        folder.add(np.full((480, 640), 90, dtype=np.uint8), stamp_ns=1, tool=still(TOOL))
    with pytest.raises(CalibrationError, match="the image is"):
        folder.add(PICTURE[::2], stamp_ns=1, tool=still(TOOL))
    assert sorted(folder.path.iterdir()) == before


def test_a_removed_view_is_gone_and_its_number_is_not(folder: ViewFolder) -> None:
    folder.add(PICTURE, stamp_ns=9, tool=still(TOOL))
    folder.remove(1)
    assert folder.numbers() == [2]
    with pytest.raises(CalibrationError, match="no view 1"):
        folder.view(1)
    with pytest.raises(CalibrationError, match="no view 1"):
        folder.remove(1)


def test_a_corrected_board_moves_the_points(folder: ViewFolder) -> None:
    file = folder.path / "set.yaml"
    file.write_text(file.read_text().replace("square_m: 0.03", "square_m: 0.0303"))
    old, new = folder.view(1), ViewFolder.open(folder.path).view(1)
    np.testing.assert_allclose(new.detection.points_in_board_m, 1.01 * old.detection.points_in_board_m)


def _with(file: Path, **changes: object) -> None:
    with np.load(file) as archive:
        values = dict(archive)
    np.savez(file, **{key: value for key, value in (values | changes).items() if value is not None})


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"pixels": np.zeros((3, 3))}, r"pixels of .*view_0001.npz has shape \(3, 3\)"),
        ({"tool_in_base": np.full((4, 4), np.nan)}, "not finite"),
        ({"tool_in_base": np.diag([1.0, 1.0, -1.0, 1.0])}, "determinant"),
        ({"ids": np.array([0, 1])}, "2 ids and"),
        ({"ids": None}, "damaged"),
        ({"pixels": np.array([["a", None]], dtype=object)}, "damaged"),
        ({"tool_speed_m_s": np.float64(-1.0)}, "not negative"),
    ],
)
def test_refuses_a_damaged_view(folder: ViewFolder, changes: dict, message: str) -> None:
    _with(folder.path / "view_0001.npz", **changes)
    with pytest.raises(CalibrationError, match=message):
        folder.views()


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_refuses_a_truncated_view(folder: ViewFolder, keep: int) -> None:
    file = folder.path / "view_0001.npz"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CalibrationError, match=r"damaged.*take the view again"):
        folder.views()


def test_refuses_another_image(folder: ViewFolder) -> None:
    file = folder.path / "view_0001.png"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(CalibrationError, match="not the image that was stored"):
        folder.image(1)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("version: 1", "version: 2", "version 2, this program reads 1"),
        ("kind: eye_to_hand", "kind: hand", "kind is 'hand'"),
        ("kind: eye_to_hand", "kindness: 1", "kindness"),
        ("base_frame: panda_link0", "base_frame: 5", "names"),
        ("- 640", "- big", "width, height"),
        ("square_m: 0.03", "square_m: true", "square_m"),
        ("distortion:", "bend:", "matrix and distortion"),
        ("version: 1", "{", "not YAML"),
    ],
)
def test_refuses_a_set_that_cannot_be(folder: ViewFolder, old: str, new: str, message: str) -> None:
    file = folder.path / "set.yaml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(CalibrationError, match=message):
        ViewFolder.open(folder.path)


def test_refuses_a_lens_for_other_images() -> None:
    with pytest.raises(CalibrationError, match="of this resolution"):
        replace(INFO, image_size=(1280, 960))


def test_refuses_a_folder_without_a_set(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="not a folder of views"):
        ViewFolder.open(tmp_path)


def test_a_view_of_a_larger_board_is_refused(folder: ViewFolder) -> None:
    small = ViewFolder(path=folder.path, info=replace(INFO, board=CharucoBoard(columns=3, rows=3)))
    with pytest.raises(CalibrationError, match="another board"):
        small.views()
