"""Tags on the table are found by a camera that was just calibrated, or refused."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.perception.calibration.synthetic import BOARD, LENS, SIZE, Truth, fine_pixels, looking, still, tools, truth
from tests.support.drawn_tags import table_with
from vlajs.cli import dispatch
from vlajs_perception.calibration.board import AprilTag
from vlajs_perception.calibration.calibration_file import Calibration, Errors
from vlajs_perception.calibration.errors import BadSetError, CalibrationError
from vlajs_perception.calibration.folder import SetInfo, ViewFolder
from vlajs_perception.calibration.tag_survey import survey, table_tags
from vlajs_perception.camera import Camera
from vlajs_perception.table_tags import TableTag, TableTags

SCENE = replace(truth("eye_to_hand"), camera=looking([1.3, 0.35, 0.9], [0.6, 0.05, 0.0]))
HEIGHT_M = -0.012
TAGS = TableTags(
    tags=(
        TableTag(tag_id=2, size_m=0.08, position_m=(0.5, 0.25, HEIGHT_M), yaw_rad=0.3),
        TableTag(tag_id=5, size_m=0.08, position_m=(0.55, -0.2, HEIGHT_M), yaw_rad=-2.5),
        TableTag(tag_id=9, size_m=0.08, position_m=(0.75, 0.1, HEIGHT_M), yaw_rad=3.1),
    )
)


def calibration(scene: Truth = SCENE) -> Calibration:
    errors = Errors(
        **dict.fromkeys(("sigma_mm", "sigma_deg", "held_out_mm", "held_out_deg"), 0.1),
        pixel_px=0.1,
        tool_mm=0.1,
        tool_deg=0.01,
        views=12,
        views_held_out=3,
    )
    return Calibration(
        kind=scene.kind,
        measured_on=date(2026, 11, 27),
        camera_frame="camera_optical_frame",
        base_frame="panda_link0",
        tool_frame="panda_hand_tcp",
        lens=LENS,
        camera_pose=scene.camera,
        covariance=np.eye(6) * 1e-8,
        board=scene.board,
        board_pose=scene.board_pose,
        errors=errors,
    )


def taken(tags: list[TableTag], seed: int = 0) -> np.ndarray:
    """A BGR picture through the lens, distorted as it is."""
    straight = table_with(tags, Camera(matrix=LENS.matrix, camera_in_base=SCENE.camera), SIZE, seed=seed)
    at = fine_pixels(LENS.matrix.tobytes(), LENS.distortion.tobytes(), SIZE, 1).reshape(SIZE[1], SIZE[0], 2)
    bent = cv2.remap(straight, at.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(bent[..., ::-1])


def views(*tags: TableTag, count: int = 4) -> list[np.ndarray]:
    return [taken(list(tags), seed) for seed in range(count)]


def test_tags_are_found_where_they_lie() -> None:
    found = survey(calibration(), views(*TAGS.tags), size_m=0.08, table_height_m=HEIGHT_M)
    assert [one.views for one in found] == [4, 4, 4]
    for one, true in zip(table_tags(found).tags, TAGS.tags, strict=True):
        assert one.tag_id == true.tag_id
        np.testing.assert_allclose(one.position_m, true.position_m, atol=5e-4)
        assert np.degrees(abs(np.angle(np.exp(1j * (one.yaw_rad - true.yaw_rad))))) < 0.3
        np.testing.assert_allclose(one.corners_in_base_m, true.corners_in_base_m, atol=7e-4)


def test_tags_that_are_wrong_are_refused_with_the_remedy() -> None:
    near, far = TAGS.tags[0], TAGS.tags[2]
    with pytest.raises(BadSetError, match=r"tag 2 looks 80\.\d mm wide and is said to be 100\.0 mm .*--tag-mm"):
        survey(calibration(), views(near), size_m=0.1, table_height_m=HEIGHT_M)
    shifts_m = (-0.02, 0.0, 0.02, 0.04)
    wandering = [taken([replace(near, position_m=(0.5 + by_m, 0.25, HEIGHT_M))]) for by_m in shifts_m]
    with pytest.raises(BadSetError, match=r"tag 2 lies elsewhere from view to view, by 20\.\d mm"):
        survey(calibration(), wandering, size_m=0.08, table_height_m=HEIGHT_M)
    with pytest.raises(BadSetError, match=r"no tag .* is seen in at least 3 views \(seen, by id: \{9: 2\}\)"):
        survey(calibration(), [*views(far, count=2), *views(count=2)], size_m=0.08)
    with pytest.raises(BadSetError, match="by id: none"):
        survey(calibration(), views(), size_m=0.08)


def test_the_tag_in_the_hand_lies_not_on_the_table() -> None:
    held = replace(calibration(), board=AprilTag(tag_id=5))
    found = survey(held, views(*TAGS.tags), size_m=0.08, table_height_m=HEIGHT_M)
    assert [one.tag.tag_id for one in found] == [2, 9]


def test_a_camera_on_the_tool_is_refused() -> None:
    with pytest.raises(CalibrationError, match="a camera on the tool is not watched by tags"):
        survey(calibration(truth("eye_in_hand")), views(*TAGS.tags), size_m=0.08)


def test_the_command_writes_what_it_found(tmp_path: Path, capsys, monkeypatch) -> None:
    folder = ViewFolder.create(tmp_path / "views", SetInfo(kind="eye_to_hand", board=BOARD, image_size=SIZE, lens=LENS))
    seen = BOARD.detect(BOARD.face(40))
    monkeypatch.setattr(type(BOARD), "detect", lambda board, image: seen)  # these pictures show no board
    for number, image in enumerate(views(*TAGS.tags, count=3)):
        folder.add(image, stamp_ns=number, tool=still(tools(SCENE, 1)[0], number))
    calibration().write(tmp_path / "camera.yaml")
    words = ["calibrate", "tags", str(folder.path), "--calibration", str(tmp_path / "camera.yaml")]
    words += ["--out", str(tmp_path / "tags.yaml")]
    assert dispatch([*words, "--table-height-m", str(HEIGHT_M)]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1].startswith("RESULT tags=3 spread_mm=0.")
    assert "tag 2 at (0.500" in said
    assert "only 3 tags: lay 4 or more, of which 3 must be in view" in said
    assert [tag.tag_id for tag in TableTags.read(tmp_path / "tags.yaml").tags] == [2, 5, 9]
    with pytest.raises(BadSetError, match="said to be 50"):
        dispatch([*words, "--tag-mm", "50"])
