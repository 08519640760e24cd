"""mini-VLA's file: what goes in comes out, what is damaged is refused, what is served is what was saved."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.support.mini_vla import CAMERA, FACTS, TINY, phrase_rows, picture, tiny_config, write_demos
from tests.support.vla_models import serving
from vlajs.vla.backend import VlaConfig
from vlajs.vla.client import VlaClient
from vlajs.vla.errors import ServerFailureError
from vlajs.vla.serving.model import ModelError
from vlajs_training.mini_vla import sentence
from vlajs_training.mini_vla.dataset import load_demonstrations
from vlajs_training.mini_vla.model import load_mini_vla, load_model
from vlajs_training.mini_vla.train import Cloner
from vlajs_training.mini_vla.weights import WeightsError, load_weights, save_weights
from vlajs_training.vla_server.commands import loader_of
from vlajs_training.vla_server.options import ModelOptions


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Cloner:
    path = tmp_path_factory.mktemp("demos")
    write_demos(path)
    return Cloner(tiny_config(path, path / "run"), load_demonstrations(path), phrase_rows())


@pytest.fixture(scope="module")
def weights(learner: Cloner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, learner.contract(FACTS, {}), learner.averaged.state_dict(), learner.embeddings)
    return path


def test_a_file_comes_back(learner: Cloner, weights: Path) -> None:
    contract, network, phrases = load_weights(weights)
    assert contract.camera == CAMERA
    assert contract.convention.to_dict() == {
        "rate_hz": 5.0,
        "frame": "base",
        "frame_quat_in_base_wxyz": None,
        "rotation": "rotation_vector",
        "composition": "left",
        "translation_scale_m": 1.0,
        "rotation_scale_rad": 1.0,
        "gripper_open": 1.0,
        "gripper_closed": -1.0,
        "image_size": [96, 128],
        "unnorm_key": None,
    }
    assert (contract.reach_m, contract.reach_rad, contract.tasks) == (0.06, 0.2, ("pick_cube", "push_cube"))
    assert contract.network == TINY
    np.testing.assert_array_equal(phrases, phrase_rows())
    images, said = torch.from_numpy(picture(0.3, 0.4)[None]), torch.from_numpy(phrase_rows()[:1])
    torch.testing.assert_close(network(images, said), learner.averaged(images, said), rtol=0, atol=0)


def test_answers_stay_within_reach(weights: Path) -> None:
    model = load_model(weights)
    with torch.no_grad():
        last = model._network.head[-1]
        last.bias[:] = torch.tensor([30.0, 40.0, 0.0, 0.0, 0.0, -9.0, -3.0])  # type: ignore[index]
        last.weight.zero_()  # type: ignore[operator]
    (answer,) = model.answer(picture(0.5, 0.5)[None], ["pick up the cube"])
    # (30, 40) has length 50: 0.06 m along (0.6, 0.8); 0.2 rad; the hand closes
    np.testing.assert_allclose(answer, [0.036, 0.048, 0, 0, 0, -0.2, -1.0], atol=1e-7)


def rewritten(path: Path, to: Path, **changes: Any) -> Path:
    """A copy with another contract, or other tensors."""
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    tensors.update(changes.pop("tensors", {}))
    for name in changes.pop("without", ()):
        del tensors[name]
    contract = json.loads(metadata["mini_vla"]) | changes
    save_file(tensors, to, {**metadata, "mini_vla": json.dumps(contract)})
    return to


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "weights of format 2, this vlajs reads 1"),
        ({"reach_m": 5.0}, r"reach_m = 5.0 is outside \[0.0001, 1\]"),
        ({"reach_m": "far"}, "the contract is refused"),
        ({"convention": {"rate_hz": 5.0}}, r"convention of None pixels, camera of \(96, 128\)"),
        (
            {"convention": {"rate_hz": 5.0, "image_size": [96, 128], "rotation_scale_rad": -1.0}},
            "the convention is not mini-VLA's own",
        ),
        ({"camera": {}}, "the camera is {}"),
        ({"tasks": []}, r"tasks is \[\], expected names"),
        ({"tasks": ["fold_towel"]}, "no phrasings of fold_towel"),
        ({"phrases": ["pick up the cube"]}, "no embedding of"),
        ({"network": {"stem_channels": 8}}, "network is .* expected whole numbers"),
        ({"encoder_sha256": "other"}, "trained with another sentence encoder"),
        ({"more": 1}, r"the contract has .*'more'"),
        ({"tensors": {"network.head.0.weight": torch.zeros(3)}}, r"head.0.weight is torch.float32 \(3,\), expected"),
        ({"tensors": {"network.stem.0.bias": torch.full((8,), float("nan"))}}, "stem.0.bias holds NaN"),
        ({"tensors": {"network.stem.0.bias": torch.zeros(8)}}, "do not match their checksum"),
        ({"recipe": {"images_seen": 10**9}}, "do not match their checksum"),
        ({"without": ["network.stem.0.bias"]}, r"tensors and network do not fit \(network.stem.0.bias\)"),
    ],
)
def test_what_is_damaged_or_anothers_is_refused(weights: Path, tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        load_weights(rewritten(weights, tmp_path / "bad.safetensors", **changes))


def test_what_is_no_such_file_is_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"does not exist: give the .safetensors file"):
        load_weights(tmp_path / "none.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="is truncated or not safetensors"):
        load_weights(cut)
    save_file({"x": torch.zeros(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(WeightsError, match="carries no contract of mini-VLA"):
        load_weights(tmp_path / "plain.safetensors")


def test_weights_that_would_be_refused_are_not_written(learner: Cloner, tmp_path: Path) -> None:
    contract = replace(learner.contract(FACTS, {}), reach_m=float("nan"))
    with pytest.raises(WeightsError):
        save_weights(tmp_path / "a.safetensors", contract, learner.averaged.state_dict(), learner.embeddings)
    assert list(tmp_path.iterdir()) == []


def test_a_client_gets_what_the_model_answers_here_and_needs_no_convention(weights: Path) -> None:
    model = load_model(weights)
    images = np.stack([picture(x, 0.5) for x in (0.1, 0.5, 0.9)])
    said = ["pick up the cube", "push the cube away from the robot base", "lift the cube up"]
    with (
        serving(lambda: loader_of("mini-vla")(ModelOptions(weights=str(weights)))) as server,
        VlaClient(VlaConfig(backend="vlajs", url=server.url)) as client,
    ):
        description = client.describe()
        assert (description.name, description.rate_hz) == ("mini-vla tiny", 5.0)
        assert (description.image_size, description.action_horizon) == ((96, 128), 1)
        np.testing.assert_allclose(client.query(images, said), model.answer(images, said), atol=1e-6)
        with pytest.raises(ValueError, match="128"):
            client.query(np.zeros((1, 64, 64, 3), np.uint8), said[:1])


def test_an_instruction_it_cannot_read_is_an_answer_with_a_reason(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentence, "MODULE", "no_such_package")
    with (
        serving(lambda: load_mini_vla(ModelOptions(weights=str(weights)))) as server,
        VlaClient(VlaConfig(backend="vlajs", url=server.url)) as client,
        pytest.raises(ServerFailureError, match=r"fold the towel.* is none of the 63 phrases"),
    ):
        client.query(picture(0.5, 0.5)[None], ["fold the towel"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int4"}, "--dtype: not for mini-vla"),
        ({"unnorm_key": "bridge_orig", "trust_remote_code": True}, "--unnorm-key, --trust-remote-code: not for"),
        ({"device": "cuda"}, "torch finds no CUDA GPU"),
    ],
)
def test_options_of_other_models_are_refused(weights: Path, options: dict, message: str) -> None:
    if torch.cuda.is_available() and "device" in options:
        pytest.skip("there is a GPU")
    with pytest.raises(ModelError, match=message):
        load_mini_vla(ModelOptions(weights=str(weights), **options))
