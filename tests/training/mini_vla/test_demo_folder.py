"""The folder of demonstrations: what goes in comes out, what is damaged is refused."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.mini_vla import CAMERA, FACTS, picture, write_demos
from vlajs_training.mini_vla.dataset import BatchSource, load_demonstrations, shaken
from vlajs_training.mini_vla.demo_folder import (
    FACTS_FILE,
    Batch,
    DemoError,
    DemoFolder,
    contact_sheet,
    decode_picture,
    encode_picture,
    read_batch,
)
from vlajs_training.mini_vla.phrasings import PHRASINGS, all_phrasings


def test_a_batch_comes_back(tmp_path: Path) -> None:
    folder = DemoFolder(tmp_path)
    actions = np.random.default_rng(0).uniform(-0.05, 0.05, (3, 7)).astype(np.float32)
    batch = Batch(
        pictures=tuple(encode_picture(picture(x, 0.5)) for x in (0.0, 0.5, 1.0)),
        actions=actions,
        episode=np.array([2, 2, 5], dtype=np.int32),
    )
    folder.write("push_cube", 7, batch)
    (file,) = folder.batches("push_cube")
    assert file.name == "batch-00007.npz"
    again = read_batch(file)
    assert again.pictures == batch.pictures
    np.testing.assert_array_equal(again.actions, actions)
    assert again.episodes == 2
    np.testing.assert_allclose(decode_picture(again.pictures[1], 96, 128), picture(0.5, 0.5), atol=20)
    empty = Batch(pictures=(), actions=np.zeros((0, 7), np.float32), episode=np.zeros(0, np.int32))
    folder.write("push_cube", 8, empty)
    assert read_batch(folder.file("push_cube", 8)).episodes == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": np.full((2, 7), np.nan, np.float32)}, "an action is not finite"),
        ({"actions": np.zeros((3, 7), np.float32)}, r"2 pictures, actions \(3, 7\)"),
        ({"actions": np.zeros((2, 7))}, "actions is float64 of 2 dimensions, expected float32 of 2"),
        ({"ends": np.array([4, 3])}, "ends do not rise"),
        ({"ends": np.array([2, 9])}, "ends do not rise to the end of the data"),
        ({"more": np.zeros(1)}, "it holds .*'more'"),
        ({"episode": np.array([{}, {}], dtype=object)}, "cannot be read"),
    ],
)
def test_damaged_batches_are_refused(tmp_path: Path, change: dict, message: str) -> None:
    arrays = {
        "jpeg": np.zeros(4, np.uint8),
        "ends": np.array([2, 4]),
        "actions": np.zeros((2, 7), np.float32),
        "episode": np.zeros(2, np.int32),
    }
    file = tmp_path / "batch-00000.npz"
    np.savez(file, **{**arrays, **change})
    with pytest.raises(DemoError, match=rf"{message}.*delete it and run `vlajs teacher demos` again"):
        read_batch(file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DemoError, match="cannot be read"):
        read_batch(file)


def test_a_folder_is_gone_on_with_only_in_the_same_way(tmp_path: Path) -> None:
    DemoFolder(tmp_path).begin(FACTS)
    DemoFolder(tmp_path).begin({**FACTS, "made_with": {"git_revision": "later"}})
    with pytest.raises(DemoError, match=r"made otherwise \(seed: 1 there, 2 now\): give another folder"):
        DemoFolder(tmp_path).begin({**FACTS, "seed": 2})
    for change, message in (
        ({"format": 2}, "is of format 2, this vlajs reads 1"),
        ({"reach_m": "6 cm"}, "reach_m is '6 cm', expected a float"),
        ({"seed": True}, "seed is True, expected a int"),
        ({"camera": {"fovy_deg": 45}}, "the camera is .* expected the keys"),
    ):
        (tmp_path / FACTS_FILE).write_text(json.dumps({**FACTS, **change}))
        with pytest.raises(DemoError, match=message):
            _ = DemoFolder(tmp_path).camera
    (tmp_path / FACTS_FILE).write_text("{")
    with pytest.raises(DemoError, match=r"cannot be read as JSON.*is it a folder of `vlajs teacher demos`\?"):
        DemoFolder(tmp_path).facts()


def test_answers_become_shares_of_the_reach_and_one_episode_in_twenty_is_kept(tmp_path: Path) -> None:
    write_demos(tmp_path, episodes=6, length=5)
    demos = load_demonstrations(tmp_path)
    assert demos.tasks == ("pick_cube", "push_cube")
    assert (demos.camera, demos.rate_hz, demos.reach_m, demos.reach_rad) == (CAMERA, 5.0, 0.06, 0.2)
    # 6 episodes of 5 pictures a task; of each task the first episode validates
    assert demos.validation.tolist() == ([True] * 5 + [False] * 25) * 2
    # 0.05 m of 0.06, 0.1 rad of 0.2; push_cube closes the hand
    np.testing.assert_allclose(demos.targets[-1], [0.05 / 0.06, 0, 0, 0, 0, 0.5, 0.0], atol=1e-6)
    np.testing.assert_allclose(demos.targets[0], [-0.05 / 0.06, 0, 0, 0, 0, -0.5, 1.0], atol=1e-6)
    assert load_demonstrations(tmp_path, ["push_cube"]).tasks == ("push_cube",)
    with pytest.raises(DemoError, match="holds no demonstrations of poke_cube: it holds pick_cube, push_cube"):
        load_demonstrations(tmp_path, ["poke_cube"])


def test_a_picture_is_told_its_own_task_or_to_stay(tmp_path: Path) -> None:
    write_demos(tmp_path)
    demos = load_demonstrations(tmp_path)
    rows = np.flatnonzero(demos.task == demos.tasks.index("push_cube"))
    phrases = all_phrasings()
    batch = BatchSource(demos, mismatch=0.5).draw(np.tile(rows, 20), np.random.default_rng(0))
    said = [phrases[index] for index in batch.phrases]
    fits = batch.fits.numpy()
    assert 0.45 < fits.mean() < 0.55
    own, everyones_held_out = PHRASINGS["push_cube"].training, {p for k in PHRASINGS.values() for p in k.held_out}
    assert all((phrase in own) == bool(fit) for phrase, fit in zip(said, fits, strict=True))
    assert not everyones_held_out & set(said)
    assert {phrase for phrase in said if phrase in own} == set(own)
    assert (batch.targets.numpy()[~fits] == 0.0).all()
    np.testing.assert_allclose(batch.targets.numpy()[fits][:, 0], 0.05 / 0.06, atol=1e-6)


def test_shaken_colours_are_still_the_same_picture() -> None:
    import torch

    images = torch.from_numpy(np.stack([picture(0.2, 0.2)] * 4))
    changed = shaken(images, np.random.default_rng(0))
    assert changed.shape == images.shape
    assert changed.dtype == torch.uint8
    assert (changed != images).float().mean() > 0.5
    # contrast within a fifth, each channel a tenth more, brightness 20, noise 4 (standard deviation): 110 stays near
    assert (changed.float() - images.float()).abs().mean() < 45


def test_the_contact_sheet_shows_a_line_for_each_episode() -> None:
    pictures = tuple(encode_picture(picture(x / 9, 0.5)) for x in range(10))
    batch = Batch(
        pictures=pictures, actions=np.zeros((10, 7), np.float32), episode=np.repeat([0, 3], 5).astype(np.int32)
    )
    sheet = np.asarray(Image.open(io.BytesIO(contact_sheet(batch, CAMERA, "push", columns=3))))
    assert sheet.shape == (16 + 2 * 96, 3 * 128, 3)
    # the last of line two is the last picture: the square is at the right
    last = sheet[16 + 96 :, 2 * 128 :]
    np.testing.assert_allclose(last.astype(int), picture(1.0, 0.5), atol=20)
