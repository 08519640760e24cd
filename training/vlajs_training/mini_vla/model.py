"""A mini-VLA that answers: in this process, or behind ``vlajs teacher serve`` (``vlajs.vla.serving.model.Model``)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vlajs.geometry import clamp_norm
from vlajs.vla.serving.model import Model, ModelError
from vlajs_training.mini_vla.network import MiniVlaNetwork
from vlajs_training.mini_vla.sentence import PhraseBook, SentenceError
from vlajs_training.mini_vla.weights import ModelContract, load_weights
from vlajs_training.vla_server.options import ModelOptions

BATCH = 64
"""Pictures that pass through the network together."""


class MiniVla:
    """A loaded model."""

    action_horizon = 1

    def __init__(
        self,
        contract: ModelContract,
        network: MiniVlaNetwork,
        embeddings: NDArray[np.float32],
        *,
        name: str,
        device: str = "cpu",
    ) -> None:
        """``embeddings`` (P, 384) of ``contract.phrases``."""
        self.name, self.contract, self.convention = name, contract, contract.convention
        self._book = PhraseBook(contract.phrases, embeddings)
        self._device = torch.device(device)
        self._network = network.eval().to(self._device)

    def answer(self, images: NDArray[np.uint8], instructions: Sequence[str]) -> NDArray[np.float64]:
        """Answers (B, 7) to pictures (B, H, W, 3): m (3) and rad (3) in base axes, gripper 1 open, -1 closed.

        Raises:
            SentenceError: an instruction the weights do not hold, and no encoder is installed.
            ValueError: pictures of another size.
        """
        expected = (len(instructions), *self.convention.image_size, 3)  # type: ignore[misc]  (a trained model's is stated)
        if images.shape != expected or images.dtype != np.uint8:
            raise ValueError(f"pictures are {images.dtype} {images.shape}, expected uint8 {expected}")
        sentences = torch.from_numpy(self._book.embed(instructions)) if len(images) else torch.zeros(0, 384)
        with torch.inference_mode():
            parts = [
                self._network(pictures.to(self._device), said.to(self._device)).cpu()
                for pictures, said in zip(torch.from_numpy(images).split(BATCH), sentences.split(BATCH), strict=True)
            ]
        raw = torch.cat(parts).double().numpy()
        move_m = self.contract.reach_m * clamp_norm(raw[:, :3], 1.0)
        turn_rad = self.contract.reach_rad * clamp_norm(raw[:, 3:6], 1.0)
        gripper = np.where(raw[:, 6:] > 0, 1.0, -1.0)
        return np.concatenate([move_m, turn_rad, gripper], axis=1)

    def act(self, images: NDArray[np.uint8], instructions: Sequence[str]) -> NDArray[np.float64]:
        """Answers (B, 1, 7), for the server.

        Raises:
            ModelError: an unknown instruction, and no encoder is installed.
        """
        try:
            return self.answer(images, instructions)[:, None]
        except SentenceError as error:
            raise ModelError(str(error)) from error


def load_model(path: Path, device: str = "cpu") -> MiniVla:
    """The model of a file.

    Raises:
        WeightsError: the file is refused.
    """
    contract, network, embeddings = load_weights(path)
    return MiniVla(contract, network, embeddings, name=f"mini-vla {path.stem}", device=device)


def load_mini_vla(options: ModelOptions) -> Model:
    """For ``vlajs teacher serve --model mini-vla``.

    Raises:
        ModelError: an option that is not for this kind of model, or no such GPU.
        WeightsError: the file is refused.
    """
    foreign = {
        "--revision": options.revision is not None,
        "--dtype": options.dtype != "bf16",
        "--unnorm-key": options.unnorm_key is not None,
        "--convention": options.convention is not None,
        "--trust-remote-code": options.trust_remote_code,
    }
    if given := [name for name, is_given in foreign.items() if is_given]:
        raise ModelError(f"{', '.join(given)}: not for mini-vla, whose file says everything itself; leave it away")
    device = options.device or "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("torch finds no CUDA GPU: leave --device away, mini-vla takes 10 ms a picture on the CPU")
    return load_model(Path(options.weights), device)
