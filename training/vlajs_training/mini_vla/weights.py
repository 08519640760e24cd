"""mini-VLA's weights: one ``.safetensors`` file with a JSON contract that says what they see and what they answer."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from vlajs.files import write_atomically
from vlajs.vla.convention import Convention
from vlajs.vla.errors import ConventionError
from vlajs_training.camera_view import CameraView
from vlajs_training.mini_vla.network import MiniVlaNetwork, NetworkConfig
from vlajs_training.mini_vla.sentence import SIZE, WEIGHTS_SHA256
from vlajs_training.ranges import require_range

FORMAT = 1
METADATA_KEY = "mini_vla"
MAX_BYTES = 100 * 1024 * 1024


class WeightsError(ValueError):
    """A file of weights is none, damaged, or another version's; the message says what and the remedy."""


@dataclass(frozen=True, kw_only=True)
class ModelContract:
    """What the numbers of a model mean.

    Attributes:
        convention: what its answers mean, and the size of its pictures.
        camera: where its pictures were taken from.
        reach_m: translation of an answer of 1.
        reach_rad: rotation of an answer of 1.
        tasks: those it was trained on.
        phrasings: by task, ``training`` and ``held_out``.
        phrases: those whose embeddings the file holds, in order.
        network: its size.
        encoder_sha256: of the sentence encoder's weights.
        recipe: how it was trained: settings, demonstrations, images seen, losses, versions, git revision.
    """

    convention: Convention
    camera: CameraView
    reach_m: float
    reach_rad: float
    tasks: tuple[str, ...]
    phrasings: dict[str, dict[str, list[str]]]
    phrases: tuple[str, ...]
    network: NetworkConfig
    encoder_sha256: str
    recipe: dict[str, Any]

    def to_json(self) -> str:
        """As stored."""
        data = {field.name: getattr(self, field.name) for field in fields(self)}
        data |= {
            "format": FORMAT,
            "convention": self.convention.to_dict(),
            "camera": self.camera.to_dict(),
            "network": asdict(self.network),
        }
        return json.dumps(data, default=str)

    @staticmethod
    def from_json(text: str) -> "ModelContract":
        """Inverse of :meth:`to_json`, everything checked.

        Raises:
            WeightsError: the first problem found.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise WeightsError(f"the contract is no JSON ({error}): copy the file again") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise WeightsError(
                f"weights of format {found!r}, this vlajs reads {FORMAT}: use its release, or train anew"
            )
        names = {field.name for field in fields(ModelContract)}
        if set(data) != names | {"format"}:
            raise WeightsError(f"the contract has {sorted(data)}, expected {sorted(names | {'format'})}: train anew")
        try:
            contract = ModelContract(
                convention=Convention.from_dict(data["convention"]),
                camera=CameraView.from_dict(data["camera"]),
                reach_m=data["reach_m"],
                reach_rad=data["reach_rad"],
                tasks=_names("tasks", data["tasks"]),
                phrasings=_phrasings(data["phrasings"]),
                phrases=_names("phrases", data["phrases"]),
                network=_network(data["network"]),
                encoder_sha256=data["encoder_sha256"],
                recipe=data["recipe"],
            )
            contract.check()
        except (ConventionError, ValueError, TypeError) as error:
            raise WeightsError(f"the contract is refused ({error}): copy the file again, or train anew") from error
        return contract

    def check(self) -> None:
        """Refuse what cannot be served.

        Raises:
            ValueError: the first problem found.
        """
        self.network.check()
        require_range("", vars(self), {"reach_m": (1e-4, 1.0), "reach_rad": (1e-4, np.pi)})
        size = (self.camera.height_px, self.camera.width_px)
        if self.convention.image_size != size:
            raise ValueError(f"convention of {self.convention.image_size} pixels, camera of {size}")
        if self.convention != convention_of(self.convention.rate_hz, self.camera):
            raise ValueError("the convention is not mini-VLA's own: metres and radians in base axes, 1 open, -1 closed")
        if unknown := sorted(set(self.tasks) - set(self.phrasings)):
            raise ValueError(f"no phrasings of {', '.join(unknown)}")
        held = {phrase for known in self.phrasings.values() for group in known.values() for phrase in group}
        if missing := sorted(held - set(self.phrases)):
            raise ValueError(f"no embedding of {missing[0]!r}")
        if self.encoder_sha256 != WEIGHTS_SHA256:
            raise ValueError(f"trained with another sentence encoder ({self.encoder_sha256!r})")
        if not isinstance(self.recipe, dict):
            raise ValueError(f"the recipe is {self.recipe!r}, no map")


def convention_of(rate_hz: float, camera: CameraView) -> Convention:
    """The project's own: metres and rotation vector in base axes, composed on the left; gripper 1 open, -1 closed."""
    return Convention(rate_hz=rate_hz, image_size=(camera.height_px, camera.width_px))


def save_weights(
    path: Path, contract: ModelContract, network: dict[str, torch.Tensor], embeddings: NDArray[np.float32]
) -> None:
    """Write whole or not at all.

    Args:
        path: of the file.
        contract: what it says of itself.
        network: the network's parameters.
        embeddings: (P, 384) of ``contract.phrases``.

    Raises:
        WeightsError: the file would be refused on load.
        OSError: it cannot be written.
    """
    tensors = {f"network.{name}": tensor.detach().float().cpu().contiguous() for name, tensor in network.items()}
    tensors["phrases"] = torch.from_numpy(np.ascontiguousarray(embeddings, np.float32))
    text = contract.to_json()
    ModelContract.from_json(text)
    _check_tensors(contract, tensors)
    write_atomically(path, save(tensors, {METADATA_KEY: text, "sha256": _digest(text, tensors)}))


def load_weights(path: Path) -> tuple[ModelContract, MiniVlaNetwork, NDArray[np.float32]]:
    """Contract, network and embeddings (P, 384) of the phrases.

    Raises:
        WeightsError: no such file, not mini-VLA's weights, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path} does not exist: give the .safetensors file that `vlajs teacher train` wrote")
    text, digest, tensors = _read(path)
    try:
        contract = ModelContract.from_json(text)
        network = _check_tensors(contract, tensors)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    if digest != _digest(text, tensors):
        raise WeightsError(f"{path}: weights and contract do not match their checksum: copy the file again")
    return contract, network.eval(), tensors["phrases"].numpy()


def _read(path: Path) -> tuple[str, str, dict[str, torch.Tensor]]:
    if path.stat().st_size > MAX_BYTES:
        raise WeightsError(f"{path} has {path.stat().st_size:,} bytes, mini-VLA at most {MAX_BYTES:,}: another model's")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if METADATA_KEY not in metadata:
                raise WeightsError(f"{path} carries no contract of mini-VLA: give a file of `vlajs teacher train`")
            names = list(file.keys())
            return metadata[METADATA_KEY], metadata.get("sha256", ""), {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is truncated or not safetensors ({error}): copy the file again") from error


def _check_tensors(contract: ModelContract, tensors: Mapping[str, torch.Tensor]) -> MiniVlaNetwork:
    """A network that holds the tensors."""
    network = MiniVlaNetwork(contract.network)
    expected = {f"network.{name}": tensor.shape for name, tensor in network.state_dict().items()}
    expected["phrases"] = torch.Size((len(contract.phrases), SIZE))
    if set(tensors) != set(expected):
        differing = sorted(set(tensors) ^ set(expected))
        raise WeightsError(f"tensors and network do not fit ({', '.join(differing[:4])}): train anew")
    for name, shape in expected.items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != torch.float32:
            raise WeightsError(
                f"{name} is {tensor.dtype} {tuple(tensor.shape)}, expected float32 {tuple(shape)}: train anew"
            )
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{name} holds NaN or infinite numbers: training diverged; lower --learning-rate")
    network.load_state_dict({name.removeprefix("network."): tensors[name] for name in expected if name != "phrases"})
    return network


def _digest(text: str, tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def _names(what: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) and name for name in value):
        raise ValueError(f"{what} is {value!r}, expected names")
    return tuple(value)


def _phrasings(value: object) -> dict[str, dict[str, list[str]]]:
    if not isinstance(value, dict):
        raise ValueError(f"phrasings is a {type(value).__name__}, expected a map")
    for task, known in value.items():
        if not isinstance(known, dict) or set(known) != {"training", "held_out"}:
            raise ValueError(f"phrasings of {task} are {known!r}, expected training and held_out")
        for group in known.values():
            _names(f"phrasings of {task}", group)
    return value


def _network(value: object) -> NetworkConfig:
    names = {field.name for field in fields(NetworkConfig)}
    if not isinstance(value, dict) or set(value) != names or not all(type(number) is int for number in value.values()):
        raise ValueError(f"network is {value!r}, expected whole numbers for {', '.join(sorted(names))}")
    return NetworkConfig(**value)
