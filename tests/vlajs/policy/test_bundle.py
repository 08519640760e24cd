"""The bundle file: round trip, atomic writing, inference equal to torch, and every refusal on loading."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from tests.support.bundles import make_bundle, make_contract
from vlajs.policy.bundle import PolicyBundle, load_bundle, save_bundle
from vlajs.policy.contract import ContractError, Network


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "push.safetensors"
    save_bundle(make_bundle(), file)
    return file


def metadata_of(path: Path) -> dict[str, str]:
    """safetensors: 8 bytes of little-endian length, then a JSON header."""
    raw = path.read_bytes()
    return json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]


def rewrite(path: Path, tensors: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None) -> None:
    """Put other tensors or metadata into a bundle; None drops an entry. Checksums are left as they were."""
    all_tensors = {**load(path.read_bytes()), **(tensors or {})}
    all_metadata = {**metadata_of(path), **(metadata or {})}
    path.write_bytes(
        save(
            {name: tensor for name, tensor in all_tensors.items() if tensor is not None},
            {name: text for name, text in all_metadata.items() if text is not None},
        )
    )


def test_a_bundle_survives_its_file(path: Path) -> None:
    before, after = make_bundle(), load_bundle(path)
    assert after.contract == before.contract
    assert np.array_equal(after.obs_mean, before.obs_mean)
    assert np.array_equal(after.obs_std, before.obs_std)
    for (weight, bias), (weight_before, bias_before) in zip(after.layers, before.layers, strict=True):
        assert np.array_equal(weight, weight_before)
        assert np.array_equal(bias, bias_before)


# -- inference ---------------------------------------------------------------------------------------------------


def test_inference_by_hand() -> None:
    """One hidden unit, all weights zero but those of the first observation number."""
    contract = make_contract(network=Network(hidden_sizes=(1,), activation="relu"))
    size = contract.observation_size
    first = np.zeros((1, size), dtype=np.float32)
    first[0, 0] = 2.0
    bundle = PolicyBundle(
        contract=contract,
        layers=(
            (first, np.array([0.5], dtype=np.float32)),
            (np.arange(7, dtype=np.float32).reshape(7, 1), np.full(7, -1.0, dtype=np.float32)),
        ),
        obs_mean=np.full(size, 1.0, dtype=np.float32),
        obs_std=np.full(size, 4.0, dtype=np.float32),
    )
    observation = np.zeros(size)
    observation[0] = 3.0
    # (3 - 1) / 4 = 0.5; relu(2 * 0.5 + 0.5) = 1.5; output k: 1.5 k - 1
    assert bundle.act(observation) == pytest.approx([1.5 * k - 1 for k in range(7)])
    observation[0] = -3.0
    # (-3 - 1) / 4 = -1; relu(-2 + 0.5) = 0; output -1
    assert bundle.act(observation) == pytest.approx([-1.0] * 7)
    observation[0] = 1e6
    # normalised 249999.75, clipped to 10; 2 * 10 + 0.5 = 20.5; output k: 20.5 k - 1
    assert bundle.act(observation) == pytest.approx([20.5 * k - 1 for k in range(7)])


@pytest.mark.parametrize(
    ("activation", "module"), [("tanh", torch.nn.Tanh), ("relu", torch.nn.ReLU), ("elu", torch.nn.ELU)]
)
@pytest.mark.parametrize("task", ["push_cube", "pick_cube"])
def test_inference_equals_a_torch_actor(task: str, activation: str, module: type[torch.nn.Module]) -> None:
    bundle = make_bundle(task, network=Network(hidden_sizes=(64, 32), activation=activation), seed=3)
    modules: list[torch.nn.Module] = []
    for weight, bias in bundle.layers:
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
        linear.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        modules += [linear, module()]
    actor = torch.nn.Sequential(*modules[:-1])
    mean, std = torch.from_numpy(bundle.obs_mean), torch.from_numpy(bundle.obs_std)
    rng = np.random.default_rng(0)
    for observation in rng.normal(scale=3.0, size=(50, bundle.contract.observation_size)):
        raw = torch.tensor(observation, dtype=torch.float32)
        with torch.no_grad():
            expected = actor(((raw - mean) / std).clamp(-10, 10)).numpy()
        np.testing.assert_allclose(bundle.act(observation), expected, rtol=1e-6, atol=1e-6)


# -- refusals on loading -----------------------------------------------------------------------------------------


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"absent.safetensors does not exist: give the path of a"):
        load_bundle(tmp_path / "absent.safetensors")
    with pytest.raises(ContractError, match="does not exist"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("keep", [0, 7, 100, -100, -1])
def test_a_truncated_file_is_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ContractError, match="truncated or not safetensors"):
        load_bundle(path)


def test_any_flipped_byte_of_the_weights_is_refused(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ContractError, match="do not match their checksum"):
        load_bundle(path)


def test_a_file_without_checksum_is_refused(path: Path) -> None:
    rewrite(path, metadata={"weights_sha256": None})
    with pytest.raises(ContractError, match="checksum"):
        load_bundle(path)


def test_safetensors_of_something_else_are_refused(path: Path) -> None:
    path.write_bytes(save({"embedding": np.zeros(3, dtype=np.float16)}))
    with pytest.raises(ContractError, match="carries no contract: it is not a vlajs policy"):
        load_bundle(path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"layer0.bias": np.zeros(15, dtype=np.float32)},
            r"layer0.bias has shape \(15,\), the contract asks for \(16,\)",
        ),
        ({"layer2.weight": np.zeros((8, 7), dtype=np.float32)}, r"layer2.weight has shape \(8, 7\).*\(7, 8\)"),
        ({"obs_mean": np.zeros(20, dtype=np.float32)}, r"obs_mean has shape \(20,\), the contract asks for \(21,\)"),
        (
            {"layer1.bias": np.full(8, np.nan, dtype=np.float32)},
            r"layer1.bias holds NaN or infinite.*training diverged",
        ),
        ({"obs_mean": np.full(21, np.inf, dtype=np.float32)}, r"obs_mean holds NaN or infinite"),
        ({"obs_std": np.zeros(21, dtype=np.float32)}, r"obs_std has a value of 0.0, it must be positive"),
        ({"layer0.bias": np.zeros(16, dtype=np.float64)}, r"must be 32-bit floats \(F32\), got {'layer0.bias': 'F64'}"),
        ({"layer2.weight": None}, r"tensors .* do not match the contract's network"),
        ({"layer3.weight": np.zeros((7, 7), dtype=np.float32)}, r"do not match the contract's network"),
    ],
)
def test_tensors_that_do_not_fit_the_contract_are_refused(path: Path, tensors: dict[str, Any], message: str) -> None:
    rewrite(path, tensors=tensors)
    with pytest.raises(ContractError, match=message):
        load_bundle(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "schema version 2, this vlajs reads 1"),
        ({"control_rate_hz": 1000.0}, "control rate 1000.0 Hz is outside"),
        ({"colour": "red"}, "unknown keys"),
        ({"horizon_steps": 0}, "horizon of 0 steps"),
    ],
)
def test_a_contract_that_must_not_run_is_refused_with_the_files_name(
    path: Path, changes: dict[str, Any], message: str
) -> None:
    contract = json.loads(metadata_of(path)["contract"])
    rewrite(path, metadata={"contract": json.dumps({**contract, **changes})})
    with pytest.raises(ContractError, match=message) as refusal:
        load_bundle(path)
    assert str(refusal.value).startswith(str(path))


# -- saving ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        save_bundle(make_bundle(seed=1), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_saving_replaces_the_old_file(path: Path) -> None:
    save_bundle(make_bundle(seed=1), path)
    assert np.array_equal(load_bundle(path).obs_mean, make_bundle(seed=1).obs_mean)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "broken",
    [
        replace(make_bundle(), layers=make_bundle().layers[:-1]),
        replace(make_bundle(), layers=(*make_bundle().layers, make_bundle().layers[-1])),
        replace(make_bundle(), obs_std=-make_bundle().obs_std),
        replace(make_bundle(), contract=make_contract(control_rate_hz=0.0)),
    ],
)
def test_what_would_be_refused_on_loading_is_not_written(tmp_path: Path, broken: PolicyBundle) -> None:
    with pytest.raises(ContractError):
        save_bundle(broken, tmp_path / "new" / "broken.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_the_file_holds_no_code(path: Path) -> None:
    """A JSON header and raw numbers: as long as header and float32 tensors together."""
    raw = path.read_bytes()
    header = int.from_bytes(raw[:8], "little")
    # push: 21 observation numbers, layers 16, 8, 7; weights 21*16 + 16*8 + 8*7 = 520, biases 31, normaliser 42
    assert len(raw) == 8 + header + 4 * (520 + 31 + 42)
