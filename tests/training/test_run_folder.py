"""Run folders: whole files, clear refusals, nothing lost."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from vlajs_training.run_folder import LOCK_FILE, RunFolder, StorageError
from vlajs_training.runs import RUN_FORMAT

SETTINGS = {"task": "push_cube", "seed": 1, "ppo": {"clip": 0.2}}


def state(steps: int) -> dict:
    return {"progress": {"steps": steps}, "weights": torch.full((4,), float(steps))}


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_checkpoint_survives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin(SETTINGS)
    folder.save(state(10))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(StorageError, match=r"cannot write .*checkpoint.pt \(No space left on device\): free space"):
            folder.save(state(20))
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.mkstemp", full_disk)
        with pytest.raises(StorageError):
            folder.save(state(30))
    assert folder.resume(SETTINGS)["progress"]["steps"] == 10
    assert sorted(path.name for path in folder.path.iterdir()) == [LOCK_FILE, "checkpoint.pt", "config.json"]


def test_a_row_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.append({"steps": 1})

    class FillsUp:
        def __init__(self, path: Path, mode: str) -> None:
            self.file = path.open(mode)

        def __enter__(self) -> "FillsUp":
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, text: str) -> None:
            self.file.write(text[:5])
            self.file.flush()
            full_disk()

    with monkeypatch.context() as patch:
        patch.setattr("vlajs_training.run_folder.open", FillsUp, raising=False)
        with pytest.raises(StorageError, match=r"progress.jsonl \(No space left on device\)"):
            folder.append({"steps": 2})
    folder.append({"steps": 3})
    assert [json.loads(line)["steps"] for line in folder.progress_file.read_text().splitlines()] == [1, 3]


def test_resuming_drops_rows_beyond_the_checkpoint_and_torn_ones(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin(SETTINGS)
    for steps in (64, 128, 192):
        folder.append({"steps": steps})
    folder.save(state(128))
    with open(folder.progress_file, "a") as file:
        file.write('{"steps": 2')  # a crash within the write
    folder.resume(SETTINGS)
    assert [json.loads(line)["steps"] for line in folder.progress_file.read_text().splitlines()] == [64, 128]


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    first, second = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run", "--output")
    first.begin(SETTINGS)
    first.append({"steps": 64})
    with pytest.raises(ValueError, match=r"another process trains in .*run: wait for it .* another --output"):
        second.resume(SETTINGS)
    assert first.progress_file.read_text() == '{"steps": 64}\n'  # no checkpoint yet: it would have dropped this
    assert second.checkpoint() is None  # to read is allowed
    first.close()
    second.resume(SETTINGS)
    with pytest.raises(ValueError, match="another process trains"):
        first.resume(SETTINGS)


def test_other_formats_settings_and_damage_are_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(ValueError, match="holds no run to resume"):
        folder.resume(SETTINGS)
    folder.begin(SETTINGS)
    assert json.loads(folder.settings_file.read_text())["format"] == RUN_FORMAT
    with pytest.raises(ValueError, match="already holds a run: add --resume"):
        folder.begin(SETTINGS)
    assert folder.resume(SETTINGS) is None
    with pytest.raises(ValueError, match=r"other settings \(ppo, seed\)"):
        folder.resume({**SETTINGS, "seed": 2, "ppo": {}})
    folder.checkpoint_file.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"checkpoint.pt is no checkpoint .*restore it"):
        folder.resume(SETTINGS)
    for text, found in ((json.dumps(SETTINGS), 1), (json.dumps({**SETTINGS, "format": 99}), 99)):
        folder.settings_file.write_text(text)
        with pytest.raises(ValueError, match=f"is a run of format {found}, this vlajs reads format {RUN_FORMAT}"):
            folder.resume(SETTINGS)
    folder.settings_file.write_text("{")
    with pytest.raises(ValueError, match=r"config.json is not JSON"):
        folder.resume(SETTINGS)
