from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.perception.calibration.synthetic import LENS, SIZE, tools, truth, views_of
from vlajs_perception.calibration.calibrate import Calibrated, calibrate
from vlajs_perception.calibration.calibration_file import Calibration, _hash
from vlajs_perception.calibration.errors import CalibrationError, CalibrationFileError
from vlajs_perception.calibration.folder import SetInfo
from vlajs_perception.calibration.views import Kind

DAY = date(2026, 11, 26)


def made(kind: Kind) -> Calibration:
    scene = truth(kind)
    info = SetInfo(kind=kind, board=scene.board, image_size=SIZE, lens=LENS)
    calibrated = calibrate(info, views_of(scene, tools(scene), pixel_px=0.2))
    assert isinstance(calibrated, Calibrated)
    return Calibration.of(info, calibrated, DAY)


TO_HAND, IN_HAND = made("eye_to_hand"), made("eye_in_hand")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    TO_HAND.write(tmp_path / "camera.yaml")
    return tmp_path / "camera.yaml"


@pytest.mark.parametrize("calibration", [TO_HAND, IN_HAND])
def test_comes_back_as_it_was_written(calibration: Calibration, tmp_path: Path) -> None:
    calibration.write(tmp_path / "camera.yaml")
    again = Calibration.read(tmp_path / "camera.yaml")
    for name in ("kind", "measured_on", "camera_frame", "base_frame", "tool_frame", "board", "errors"):
        assert getattr(again, name) == getattr(calibration, name)
    for name in ("camera_pose", "covariance", "board_pose"):
        np.testing.assert_array_equal(getattr(again, name), getattr(calibration, name))
    np.testing.assert_array_equal(again.lens.vector, calibration.lens.vector)
    assert again.lens.image_size == SIZE
    again.write(tmp_path / "again.yaml")
    assert (tmp_path / "again.yaml").read_bytes() == (tmp_path / "camera.yaml").read_bytes()


def test_poses_are_called_by_their_frames(tmp_path: Path) -> None:
    for calibration, names in (
        (TO_HAND, {"camera_in_base", "board_in_tool"}),
        (IN_HAND, {"camera_in_tool", "board_in_base"}),
    ):
        calibration.write(tmp_path / "camera.yaml")
        assert names <= set(yaml.safe_load((tmp_path / "camera.yaml").read_text()))


def test_gives_the_rectified_camera() -> None:
    camera = TO_HAND.camera()
    np.testing.assert_array_equal(camera.camera_in_base, TO_HAND.camera_pose)
    # A point seen through the lens, rectified, is where the camera projects it.
    point_in_base = (TO_HAND.camera_pose @ [0.1, -0.05, 0.6, 1.0])[:3]
    taken = TO_HAND.lens.project(np.array([[0.1, -0.05, 0.6]]))
    np.testing.assert_allclose(TO_HAND.lens.rectify(taken)[0], camera.project(point_in_base), atol=1e-6)
    tool = tools(truth("eye_in_hand"), 1)[0]
    np.testing.assert_allclose(IN_HAND.camera(tool).camera_in_base, tool @ IN_HAND.camera_pose)
    with pytest.raises(CalibrationError, match="rides on the tool"):
        IN_HAND.camera()
    with pytest.raises(CalibrationError, match="stands"):
        TO_HAND.camera(tool)


@pytest.mark.parametrize("key", ["camera_in_base", "matrix", "measured_on", "base_frame", "board", "errors"])
def test_refuses_an_edited_value(file: Path, key: str) -> None:
    content = yaml.safe_load(file.read_text())
    value = content[key]
    if isinstance(value, list):
        value[0][2] += 1e-9
    elif isinstance(value, dict):
        value[next(name for name, number in value.items() if isinstance(number, float))] *= 1.0000001
    else:
        content[key] = value + "x"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(CalibrationFileError, match=r"does not match its hash.*calibrate again"):
        Calibration.read(file)


def test_refuses_every_truncation(file: Path) -> None:
    data = file.read_bytes()
    for keep in [0, *range(1, len(data) - 2, 97)]:
        file.write_bytes(data[:keep])
        with pytest.raises(CalibrationFileError):
            Calibration.read(file)


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
def test_refuses_another_version(file: Path, version: object) -> None:
    _rewrite(file, lambda content: content.update(version=version))
    with pytest.raises(CalibrationFileError, match="this program reads 1"):
        Calibration.read(file)


def _rewrite(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content and give it the hash that fits: what another program would write."""
    content = yaml.safe_load(file.read_text())
    content.pop("hash")
    change(content)
    file.write_text(yaml.safe_dump(content | {"hash": _hash(content)}))


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda c: c["camera_in_base"][0].__setitem__(3, float("nan")),
            "camera_in_base holds a number that is not finite",
        ),
        (lambda c: c["camera_in_base"][0].__setitem__(0, 2.0), "off orthonormal"),
        (lambda c: c["camera_in_base"].pop(), r"camera_in_base must be \(4, 4\)"),
        (lambda c: c["matrix"][1].pop(), r"matrix must be \(3, 3\)"),
        (lambda c: c["matrix"][0].__setitem__(0, float("inf")), "matrix holds"),
        (lambda c: c["matrix"][0].__setitem__(0, -600.0), "fx, fy > 0"),
        (lambda c: c["distortion"].append(0.0), r"distortion must be \(5,\)"),
        (lambda c: c["distortion"].__setitem__(0, "0.1"), r"distortion must be \(5,\)"),
        (lambda c: c["covariance"][0].__setitem__(0, -1.0), "variances"),
        (lambda c: c.update(image_size=[640]), "width, height"),
        (lambda c: c.update(measured_on="soon"), "a day like"),
        (lambda c: c.update(base_frame=""), "names"),
        (lambda c: c["errors"].update(sigma_mm=float("nan")), "sigma_mm of errors"),
        (lambda c: c["errors"].pop("views"), "errors must have"),
        (lambda c: c["board"].update(square_m=30.0), "millimetres"),
        (lambda c: c.update(kind="eye_in_hand"), "lacks"),
        (lambda c: c.update(kind="hand"), "eye_to_hand, eye_in_hand"),
        (lambda c: c.update(comment="x"), "unknown"),
    ],
)
def test_refuses_values_that_cannot_be_although_the_hash_fits(file: Path, change, message: str) -> None:
    _rewrite(file, change)
    with pytest.raises(CalibrationFileError, match=message):
        Calibration.read(file)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"[1, 2]", b"a: b: c", b"kind: 1", b"!!python/object:os.system {}"])
def test_refuses_what_is_no_calibration(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "camera.yaml").write_bytes(data)
    with pytest.raises(CalibrationFileError):
        Calibration.read(tmp_path / "camera.yaml")


def test_an_earlier_file_stays_when_the_new_one_cannot_be_written(file: Path, monkeypatch) -> None:
    before = file.read_bytes()
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        IN_HAND.write(file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["camera.yaml"]
