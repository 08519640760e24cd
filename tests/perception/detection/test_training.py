"""Training by the real command: what it refuses, and that it goes on where it was killed."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.perception.detection.conftest import Trained
from vlajs_perception.detection import commands, engine
from vlajs_perception.detection.model_file import read_model
from vlajs_perception.detection.network import TrainedPoseModel
from vlajs_perception.detection.training import TrainSettings, figures_of, load_weights, weights_of
from vlajs_perception.detection.training_data import check_folder
from vlajs_perception.rendering.dataset import DatasetError


@pytest.fixture
def folder(pictures: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(pictures[0], tmp_path / "copy"))


def test_a_folder_is_known_by_its_labels(pictures: tuple[Path, Path], folder: Path) -> None:
    assert check_folder(folder).labels_sha256 == check_folder(pictures[0]).labels_sha256
    assert len(check_folder(folder).names) == 8
    (folder / "labels/000003.txt").write_text("")
    assert check_folder(folder).labels_sha256 != check_folder(pictures[0]).labels_sha256


def test_folders_that_would_spoil_a_run_are_refused(folder: Path, tmp_path: Path) -> None:
    def refused(complaint: str) -> None:
        with pytest.raises(DatasetError, match=complaint):
            check_folder(folder)

    settings, label, image = folder / "settings.json", folder / "labels/000002.txt", folder / "images/000002.jpg"
    before = settings.read_text(), label.read_text(), image.read_bytes()
    image.write_bytes(before[2][:-100])
    refused(r"000002.jpg is no whole JPEG \(\d+ bytes\): cut off")
    image.write_bytes(before[2])
    for text in (
        "0 0.5 0.5 0.1 0.1\n",
        "7" + " 0.5" * 52 + "\n",
        "0 nan" + " 0.5" * 51 + "\n",
        "0 2" + " 0.5" * 51 + "\n",
    ):
        label.write_text(text)
        refused(r"000002.txt:1 is no label: expected 53 numbers")
    label.unlink()
    refused("picture 000002 has no label.*goes on")
    label.write_text(before[1])
    for wrong, complaint in [
        (before[0].replace('"format": 2', '"format": 1'), "format 1, this version reads 2.*render it again"),
        (before[0].replace('"goal"', '"ball"'), "classes .*ball.*render it again"),
        (before[0][:-5], "is no JSON"),
        ("[]", "format None"),
    ]:
        settings.write_text(wrong)
        refused(complaint)
    settings.unlink()
    refused("no folder of labelled pictures.*vlajs perception render")
    settings.write_text(before[0])
    assert len(check_folder(folder).names) == 8


def test_commands_that_cannot_be_are_refused(
    pictures: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, validation = map(str, pictures)

    def refused(words: list[str], complaint: str) -> None:
        assert commands.train(words) == 2
        assert complaint in capsys.readouterr().err

    refused([data, "--validation", data], "hold the same pictures (seed 1)")
    refused([data, "--validation", validation, "--output", "d.pt"], "d.pt: a detector's file ends in .onnx")
    begin = [data, "--validation", validation, "--output", str(tmp_path / "d.onnx"), "--begin-with", str(tmp_path)]
    refused(begin, f"--begin-with {tmp_path}: it holds no weights.safetensors; give the folder (.run)")
    (tmp_path / "weights.safetensors").write_bytes(b"no weights")
    refused(begin, f"--begin-with: {tmp_path}/weights.safetensors is damaged")
    (tmp_path / "weights.safetensors").unlink()
    refused([str(tmp_path), "--validation", validation], "no folder of labelled pictures")
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    output = str(tmp_path / "d.onnx")
    refused(
        [data, "--validation", validation, "--output", output],
        "pip install 'vlajs-perception[train]'. Its licence is AGPL",
    )
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_neither_overwritten_nor_mixed(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    before = trained.file.read_bytes()
    assert commands.train(trained.words) == 2
    assert "--resume goes on with it" in capsys.readouterr().err
    assert commands.train([*trained.words, "--resume", "--seed", "7"]) == 2
    assert "a run with other settings" in capsys.readouterr().err
    assert trained.file.read_bytes() == before


def test_data_folders_are_left_as_they_were(trained: Trained) -> None:
    for folder in (trained.data, trained.validation):
        assert sorted(path.name for path in folder.iterdir()) == [
            "contact_sheet.png",
            "images",
            "labels",
            "settings.json",
            "truth",
        ]


def test_a_killed_run_goes_on(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "killed.onnx"
    earlier = trained.file.with_suffix(".run")
    words = [*trained.words, "--output", str(output), "--epochs", "3", "--begin-with", str(earlier)]
    code = "import sys; from vlajs_perception.detection.commands import train; sys.exit(train(sys.argv[1:]))"
    child = subprocess.Popen([sys.executable, "-c", code, *words], env=dict(os.environ), start_new_session=True)
    progress, until = tmp_path / "killed.run/progress.json", time.monotonic() + 200
    while not progress.exists():
        assert child.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    done = json.loads(progress.read_text())["epochs"]
    assert 1 <= done < 3
    assert not output.exists()
    # what Ultralytics was writing when it died is not read again
    (tmp_path / "killed.run/weights/last.pt").write_bytes(b"half")
    capsys.readouterr()
    assert commands.train([*words, "--resume"]) == 0
    shown = capsys.readouterr()
    assert f"epoch {done}/3 " not in shown.out + shown.err
    assert "epoch 3/3 " in shown.out + shown.err
    recipe = read_model(output)[0].recipe
    assert recipe["settings"]["epochs"] == 3
    assert recipe["begun_with_sha256"] == hashlib.sha256((earlier / "weights.safetensors").read_bytes()).hexdigest()
    assert read_model(trained.file)[0].recipe["begun_with_sha256"] is None


def test_a_run_begins_with_the_weights_that_another_ended_with(trained: Trained) -> None:
    weights = weights_of(trained.file.with_suffix(".run"))
    model = TrainedPoseModel("yolo11n-pose.yaml", nc=4, ch=3, data_kpt_shape=[16, 3], verbose=False)
    load_weights(model, weights)
    for name, value in safetensors.torch.load(weights).items():
        torch.testing.assert_close(model.state_dict()[name].float(), value)
    other = TrainedPoseModel("yolo11n-pose.yaml", nc=2, ch=3, data_kpt_shape=[16, 3], verbose=False)
    with pytest.raises(DatasetError, match="of another network, of other classes or keypoints"):
        load_weights(other, weights)


def test_settings_and_figures() -> None:
    with pytest.raises(ValueError, match=r"batch = 0 is outside \[1, 1024\]"):
        TrainSettings(batch=0)
    with pytest.raises(ValueError, match="image_size = 100 must be a multiple of 32"):
        TrainSettings(image_size=100)
    for rate in (0.0, 0.2, float("nan")):
        with pytest.raises(ValueError, match=rf"learning_rate = {rate} is outside \(0, 0\.1\]"):
            TrainSettings(learning_rate=rate)
    with pytest.raises(SystemExit, match="2"):  # the command's own way of saying so
        commands.train(["data", "--validation", "data", "--epochs", "0"])
    assert figures_of({"metrics/mAP50-95(P)": 0.25, "metrics/recall(B)": 0.5, "val/box_loss": 3.0}) == {
        "pose_map50_95": 0.25,
        "box_recall": 0.5,
    }
