"""The weights that are shipped: small, of all tasks, and neither blind nor deaf."""

import csv
from pathlib import Path

import numpy as np
import pytest

from vlajs_training.mini_vla.model import MiniVla, load_model
from vlajs_training.tasks import DEFINITIONS

ROOT = Path(__file__).parents[3]
WEIGHTS = ROOT / "policies/mini_vla.safetensors"


@pytest.fixture(scope="module")
def model() -> MiniVla:
    return load_model(WEIGHTS)


def test_it_is_small_and_of_all_tasks(model: MiniVla) -> None:
    assert WEIGHTS.stat().st_size < 10_000_000
    assert set(model.contract.tasks) == set(DEFINITIONS)
    assert WEIGHTS.with_suffix(".md").exists()


def test_its_answers_depend_on_picture_and_words(model: MiniVla) -> None:
    camera = model.contract.camera
    one, other = np.random.default_rng(0).integers(0, 255, (2, camera.height_px, camera.width_px, 3), dtype=np.uint8)
    push, lift = (model.contract.phrasings[task]["held_out"][0] for task in ("push_cube", "lift_peg_upright"))
    answers = model.answer(np.stack([one, other, one]), [push, push, lift])
    assert np.isfinite(answers).all()
    assert np.linalg.norm(answers[0, :6] - answers[1, :6]) > 1e-3
    assert np.linalg.norm(answers[0, :6] - answers[2, :6]) > 1e-3


def test_what_is_said_of_it_is_of_all_tasks_and_in_shares() -> None:
    with (ROOT / "docs/results/mini_vla.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["task"] for row in rows} == set(DEFINITIONS)
    for row in rows:
        shares = [float(row[name]) for name in ("success", "wrong_instruction", "blank_image")]
        assert all(0.0 <= share <= 1.0 for share in shares)
        assert float(row["wilson_low"]) <= shares[0] <= float(row["wilson_high"])
