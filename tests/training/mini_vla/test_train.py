"""Cloning on pictures drawn by hand: the loss falls, the sentence matters, a killed run goes on as if nothing was."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.mini_vla import FACTS, TINY, phrase_rows, picture, tiny_config, write_demos
from vlajs.cli import dispatch
from vlajs_training.mini_vla.dataset import load_demonstrations
from vlajs_training.mini_vla.model import load_model
from vlajs_training.mini_vla.network import MiniVlaNetwork, NetworkConfig, parameter_count
from vlajs_training.mini_vla.train import WEIGHTS_FILE, Cloner, run
from vlajs_training.ppo import TrainingError


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demos")
    write_demos(path)
    return path


def cloner(demos: Path, folder: Path, **changes) -> Cloner:
    return Cloner(tiny_config(demos, folder, **changes), load_demonstrations(demos), phrase_rows())


def test_the_network_is_small_and_takes_any_size_of_picture() -> None:
    network = MiniVlaNetwork(NetworkConfig())
    assert 500_000 < parameter_count(network) < 5_000_000
    tiny = MiniVlaNetwork(TINY)
    for height, width in ((96, 128), (120, 160), (224, 224)):
        images = torch.zeros((2, height, width, 3), dtype=torch.uint8)
        assert tiny(images, torch.zeros(2, 384)).shape == (2, 7)
    with pytest.raises(ValueError, match=r"network.fine_channels = 20: it must be a multiple of 8"):
        NetworkConfig(fine_channels=20).check()


def test_training_lowers_the_loss_and_the_sentence_decides(demos: Path, tmp_path: Path) -> None:
    learner = cloner(demos, tmp_path / "run", epochs=7, epoch_images=128)
    before = learner.validate()
    figures = run(learner, FACTS)
    assert figures["validation/move"] < 0.3 * before["validation/move"]
    assert figures["validation/gripper"] < 0.7 * before["validation/gripper"]
    model = load_model(tmp_path / "run" / WEIGHTS_FILE)
    # the same picture, two instructions of the training and two it has never heard
    images = np.stack([picture(0.5, 0.5)] * 4)
    said = [
        "push the cube away from the robot base",
        "pick up the cube",
        "nudge the cube ahead",
        "lift the cube up",
    ]
    push, pick, push_too, pick_too = model.answer(images, said)
    for answer, sign in ((push, 1.0), (pick, -1.0), (push_too, 1.0), (pick_too, -1.0)):
        np.testing.assert_allclose(answer[0], 0.05 * sign, atol=0.02)
        np.testing.assert_allclose(answer[5], 0.1 * sign, atol=0.05)
        assert answer[6] == -sign
    recipe = model.contract.recipe
    assert recipe["images_seen"] == 7 * 128
    assert recipe["demos"] == json.loads(json.dumps(FACTS))
    assert recipe["figures"]["validation/move"] == pytest.approx(figures["validation/move"], abs=1e-5)
    rows = [json.loads(line) for line in (tmp_path / "run" / "progress.jsonl").read_text().splitlines()]
    assert [row["steps"] for row in rows] == [128 * epoch for epoch in range(1, 8)]
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_a_picture_that_does_not_fit_the_sentence_is_answered_by_staying(demos: Path, tmp_path: Path) -> None:
    learner = cloner(demos, tmp_path / "run", epochs=4, epoch_images=128, mismatch=0.5)
    for _ in range(4):
        learner.train_epoch()
    contract = learner.contract(FACTS, {})
    images = torch.from_numpy(np.stack([picture(0.5, 0.5)] * 2))
    rows = [contract.phrases.index(text) for text in ("stand the peg on its end", "pick up the cube")]
    with torch.no_grad():
        stays, picks = learner.averaged(images, torch.from_numpy(phrase_rows()[rows]))
    # of 0.83, what pick_cube moves
    assert abs(stays[0]) < 0.3
    assert picks[0] < -0.5


def test_a_resumed_training_is_the_one_that_was_never_ended(demos: Path, tmp_path: Path) -> None:
    whole = cloner(demos, tmp_path / "whole", epochs=2)
    run(whole, FACTS)
    first = cloner(demos, tmp_path / "parts", epochs=2)
    first.train_epoch()
    from vlajs_training.run_folder import RunFolder

    folder = RunFolder(tmp_path / "parts")
    folder.begin(first.config.settings(first.demos))
    folder.save(first.state_dict())
    folder.close()
    second = cloner(demos, tmp_path / "parts", epochs=2, resume=True)
    run(second, FACTS)
    assert second.images_seen == whole.images_seen == 128
    for name, tensor in whole.averaged.state_dict().items():
        torch.testing.assert_close(second.averaged.state_dict()[name], tensor, rtol=0, atol=0)
    with pytest.raises(ValueError, match="already holds a run: add --resume"):
        run(cloner(demos, tmp_path / "parts", epochs=2), FACTS)
    with pytest.raises(ValueError, match=r"started with other settings \(learning_rate\)"):
        run(cloner(demos, tmp_path / "parts", epochs=2, resume=True, learning_rate=1e-4), FACTS)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.support.mini_vla import FACTS, phrase_rows, tiny_config
from vlajs_training.mini_vla import train
from vlajs_training.mini_vla.dataset import load_demonstrations
demos, folder = map(Path, sys.argv[1:])
learner = train.Cloner(tiny_config(demos, folder, epochs=50), load_demonstrations(demos), phrase_rows())
epochs = learner.train_epoch
def train_epoch(progress):
    if learner.epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return epochs(progress)
learner.train_epoch = train_epoch
train.run(learner, FACTS)
"""


def test_a_killed_training_loses_no_more_than_its_epoch(demos: Path, tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", KILLED, str(demos), str(tmp_path / "run")], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    assert load_model(tmp_path / "run" / WEIGHTS_FILE).contract.recipe["epochs_trained"] == 2
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert state["progress"]["epoch"] == 2


def test_what_diverges_is_said(demos: Path, tmp_path: Path) -> None:
    learner = cloner(demos, tmp_path / "run")
    with torch.no_grad():
        next(iter(learner.network.parameters())).fill_(float("nan"))
    with pytest.raises(TrainingError, match="the loss is nan in epoch 1: lower --learning-rate"):
        learner.train_epoch()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--learning-rate", "0"], r"learning_rate = 0.0 is outside"),
        (["--epoch-images", "10"], r"epoch_images = 10 is outside \[64"),
        (["--mismatch", "1.5"], r"mismatch = 1.5 is outside"),
        (["--device", "tpu"], "--device tpu: it is cpu, or cuda"),
        (["--network.hidden", "0"], r"network.hidden = 0 is outside"),
        ([], r"demos.json cannot be read as JSON"),
    ],
)
def test_what_cannot_be_trained_is_refused(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        dispatch(["teacher", "train", str(tmp_path / "nothing"), "--folder", str(tmp_path / "run"), *words])
    assert not (tmp_path / "run").exists()
