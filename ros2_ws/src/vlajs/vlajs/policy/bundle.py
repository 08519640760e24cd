"""The policy bundle: one ``.safetensors`` file with the actor, its observation normaliser and its contract.

Nothing in it is executable: tensors are raw numbers and the contract is JSON. Inference is numpy, batch 1, about
15 us, so that the control PC needs no torch.
"""

import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vlajs.files import write_atomically
from vlajs.policy.contract import ACTION_SIZE, Contract, ContractError, validate

NORMALISED_CLIP = 10.0
"""Normalised observations are clipped to +-this, in training and here."""

_ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
    "elu": lambda x: np.where(x > 0.0, x, np.expm1(np.minimum(x, 0.0))),
}


@dataclass(frozen=True, kw_only=True)
class PolicyBundle:
    """A policy ready to run.

    Attributes:
        contract: what it needs and does.
        layers: (weight (out, in), bias (out,)) of each linear layer, input to output, float32.
        obs_mean: shape (observation_size,).
        obs_std: shape (observation_size,), positive.
    """

    contract: Contract
    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
    obs_mean: NDArray[np.float32]
    obs_std: NDArray[np.float32]

    def act(self, observation: ArrayLike) -> NDArray[np.float32]:
        """Mean action, shape (7,), for a raw observation of shape (observation_size,); not clamped."""
        x = (np.asarray(observation, dtype=np.float32) - self.obs_mean) / self.obs_std
        x = np.clip(x, -NORMALISED_CLIP, NORMALISED_CLIP)
        activation = _ACTIVATIONS[self.contract.network.activation]
        for weight, bias in self.layers[:-1]:
            x = activation(weight @ x + bias)
        weight, bias = self.layers[-1]
        return np.asarray(weight @ x + bias, dtype=np.float32)


def _tensors(bundle: PolicyBundle) -> dict[str, NDArray[np.float32]]:
    tensors = {"obs_mean": bundle.obs_mean, "obs_std": bundle.obs_std}
    for index, (weight, bias) in enumerate(bundle.layers):
        tensors[f"layer{index}.weight"] = weight
        tensors[f"layer{index}.bias"] = bias
    return {name: np.ascontiguousarray(tensor, dtype=np.float32) for name, tensor in tensors.items()}


def _digest(tensors: dict[str, NDArray[np.float32]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].tobytes())
    return digest.hexdigest()


def save_bundle(bundle: PolicyBundle, path: Path) -> None:
    """Write whole or not at all: a temporary file in the same folder is flushed, then renamed.

    Raises:
        ContractError: the bundle would be refused on load.
    """
    verify_bundle(bundle)
    tensors = _tensors(bundle)
    payload = save(tensors, metadata={"contract": bundle.contract.to_json(), "weights_sha256": _digest(tensors)})
    write_atomically(path, payload)


def load_bundle(path: Path) -> PolicyBundle:
    """Read and verify.

    Raises:
        ContractError: the file is not a bundle, is damaged, or must not run; the message says what and the remedy.
    """
    path = Path(path)
    if not path.is_file():
        raise ContractError(f"{path} does not exist: give the path of a .safetensors policy bundle")
    metadata, tensors = _read(path)
    try:
        contract = Contract.from_json(metadata["contract"])
        bundle = _bundle_from(contract, tensors)
        verify_bundle(bundle)
    except ContractError as error:
        raise ContractError(f"{path}: {error}") from error
    if _digest(tensors) != metadata.get("weights_sha256"):
        raise ContractError(f"{path}: the weights do not match their checksum: copy or export it again")
    return bundle


def _read(path: Path) -> tuple[dict[str, str], dict[str, NDArray[np.float32]]]:
    """Metadata and tensors of a file that carries a contract.

    Raises:
        ContractError: the file is damaged or no policy.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            if "contract" not in metadata:
                raise ContractError(
                    f"{path} carries no contract: it is not a vlajs policy; export one with `vlajs train`"
                )
            kinds = {name: file.get_slice(name).get_dtype() for name in names}
            if wrong := {name: kind for name, kind in kinds.items() if kind != "F32"}:
                raise ContractError(f"{path}: tensors must be 32-bit floats (F32), got {wrong}: export it again")
            return metadata, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise ContractError(f"{path} is truncated or not safetensors ({error}): copy or export it again") from error


def _bundle_from(contract: Contract, tensors: dict[str, NDArray]) -> PolicyBundle:
    depth = len(contract.network.hidden_sizes) + 1
    expected = {f"layer{i}.{kind}" for i in range(depth) for kind in ("weight", "bias")} | {"obs_mean", "obs_std"}
    if set(tensors) != expected:
        raise ContractError(
            f"tensors {sorted(tensors)} do not match the contract's network {sorted(expected)}: export it again"
        )
    layers = tuple((tensors[f"layer{i}.weight"], tensors[f"layer{i}.bias"]) for i in range(depth))
    return PolicyBundle(contract=contract, layers=layers, obs_mean=tensors["obs_mean"], obs_std=tensors["obs_std"])


def verify_bundle(bundle: PolicyBundle) -> None:
    """Check shapes, finiteness and contract.

    Raises:
        ContractError: the first problem found.
    """
    validate(bundle.contract)
    sizes = [bundle.contract.observation_size, *bundle.contract.network.hidden_sizes, ACTION_SIZE]
    expected: dict[str, tuple[int, ...]] = {"obs_mean": (sizes[0],), "obs_std": (sizes[0],)}
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        expected[f"layer{index}.weight"] = (outputs, inputs)
        expected[f"layer{index}.bias"] = (outputs,)
    tensors = _tensors(bundle)
    if set(tensors) != set(expected):
        raise ContractError(
            f"tensors {sorted(tensors)} do not match the contract's network {sorted(expected)}: export it again"
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name]:
            raise ContractError(
                f"{name} has shape {tensor.shape}, the contract asks for {expected[name]}: "
                "weights and contract come from different runs; export it again"
            )
        if not np.all(np.isfinite(tensor)):
            raise ContractError(f"{name} holds NaN or infinite numbers: training diverged; use an earlier checkpoint")
    if not np.all(bundle.obs_std > 0):
        raise ContractError(f"obs_std has a value of {bundle.obs_std.min()}, it must be positive: export it again")
