"""A folder of pictures: resumed, repeated, refused; the real command at tiny size."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from vlajs_perception.rendering import commands, dataset
from vlajs_perception.rendering.dataset import DatasetError, DatasetSettings, render_dataset
from vlajs_perception.rendering.scene import Ranges

SMALL = DatasetSettings(seed=5, width_px=160, height_px=120)
TINY = ["--images", "3", "--seed", "5", "--width-px", "160", "--height-px", "120"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_command_goes_on_where_it_stopped_and_makes_the_same_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set"
    assert commands.render([str(folder), *TINY]) == 0
    assert capsys.readouterr().out.strip().endswith(f"images=3 rendered=3 look_at={folder / 'contact_sheet.png'}")
    whole = contents(folder)
    assert len(whole) == 3 * 3 + 2
    # killed between picture and truth: the picture is made again, to the byte
    (folder / "truth/000001.json").unlink()
    (folder / "images/000001.jpg").write_bytes(b"half")
    assert commands.render([str(folder), *TINY]) == 0
    assert "rendered=1" in capsys.readouterr().out
    assert contents(folder) == whole
    # more of the same; what is there stays
    assert commands.render([str(folder), *TINY, "--images", "4"]) == 0
    assert "rendered=1" in capsys.readouterr().out
    assert {name: data for name, data in contents(folder).items() if "000003" not in name}.keys() == whole.keys()


def test_pictures_and_labels_say_what_the_truth_says(tmp_path: Path) -> None:
    render_dataset(tmp_path, SMALL, 4)
    labelled = 0
    for index in range(4):
        picture = cv2.imread(str(tmp_path / f"images/{index:06d}.jpg"))
        assert picture is not None
        assert picture.shape == (120, 160, 3)
        truth = json.loads((tmp_path / f"truth/{index:06d}.json").read_text())
        names = json.loads((tmp_path / "settings.json").read_text())["classes"]
        lines = [line.split() for line in (tmp_path / f"labels/{index:06d}.txt").read_text().splitlines()]
        assert [names[int(words[0])] for words in lines] == [o["class"] for o in truth["objects"] if o["labelled"]]
        for words in lines:
            labelled += 1
            numbers = np.array([float(word) for word in words[1:]])
            assert len(numbers) == 4 + 2 * 8 * 3
            assert ((numbers[:4] >= 0) & (numbers[:4] <= 1)).all()
        assert np.linalg.det(np.array(truth["camera_axes"])) == pytest.approx(1.0)
    assert labelled > 0


def test_a_folder_of_other_settings_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    render_dataset(tmp_path, SMALL, 1)
    with pytest.raises(DatasetError, match=r"pictures of other settings.*another folder"):
        render_dataset(tmp_path, DatasetSettings(seed=6, width_px=160, height_px=120), 1)
    file = tmp_path / "settings.json"
    text = file.read_text()
    file.write_text(text.replace('"format": 2', '"format": 1'))
    with pytest.raises(DatasetError, match="other settings"):  # labels that count otherwise are never mixed in
        render_dataset(tmp_path, SMALL, 2)
    file.write_text(text)
    assert commands.render([str(tmp_path), "--seed", "6", "--images", "1"]) == 2
    assert "other settings" in capsys.readouterr().err


def test_a_folder_from_before_balls_floated_goes_on_without_them(tmp_path: Path) -> None:
    without = DatasetSettings(seed=5, width_px=160, height_px=120, ranges=Ranges(floating=0.0))
    render_dataset(tmp_path, without, 1)
    file = tmp_path / "settings.json"
    settings = json.loads(file.read_text())
    settings["ranges"] = {name: value for name, value in settings["ranges"].items() if not name.startswith("floating")}
    file.write_text(json.dumps(settings))
    assert render_dataset(tmp_path, without, 2) == 1
    with pytest.raises(DatasetError, match="other settings"):
        render_dataset(tmp_path, SMALL, 3)


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert commands.render([str(tmp_path / "a"), "--images", "0"]) == 2
    assert "--images 0: at least 1" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"width_px = 10 is outside \[64, 4096\]"):
        DatasetSettings(width_px=10)

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(dataset, "write_whole", full)
    assert commands.render([str(tmp_path / "b"), *TINY]) == 1
    assert "No space left on device" in capsys.readouterr().err
