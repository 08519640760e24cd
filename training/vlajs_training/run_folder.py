"""A run's folder: settings, checkpoint, rows of progress; nothing in it is ever half written.

``config.json`` holds the settings and the folder's format, ``checkpoint.pt`` everything needed to go on,
``progress.jsonl`` one row for each rollout; TensorBoard events and the bundle lie beside them.
"""

import fcntl
import io
import json
import os
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import torch

from vlajs.files import write_atomically
from vlajs_training.runs import RUN_FORMAT

LOCK_FILE = ".run.lock"


class StorageError(RuntimeError):
    """A file could not be written; the message names it, the cause and the remedy. What was there before still is."""

    def __init__(self, path: Path, cause: OSError) -> None:
        super().__init__(
            f"cannot write {path} ({cause.strerror or cause}): free space or check permissions, then go on with "
            "--resume; the last checkpoint is whole"
        )


def _write(path: Path, data: bytes) -> None:
    """Replace a file whole or not at all.

    Raises:
        StorageError: the disk is full, or the like; a file that was there before is untouched.
    """
    try:
        write_atomically(path, data)
    except OSError as error:
        raise StorageError(path, error) from error


class RunFolder:
    """Reads and writes one run's folder, which is this process's own from `begin` or `resume` until `close`."""

    def __init__(self, path: Path, option: str = "--folder") -> None:
        """``option``: what users name the folder with, for messages."""
        self.path, self._option = path, option
        self.settings_file = path / "config.json"
        self.checkpoint_file = path / "checkpoint.pt"
        self.progress_file = path / "progress.jsonl"
        self.tensorboard = path / "tensorboard"
        self._lock: IO[str] | None = None

    def begin(self, settings: dict[str, Any]) -> None:
        """Start a new run with these settings.

        Raises:
            ValueError: the folder holds a run already, or another process begins one.
            StorageError: it cannot be written.
        """
        self.require_new()
        self._take()
        self.require_new()  # another may have begun and ended meanwhile
        _write(self.settings_file, _text(settings).encode())

    def require_new(self) -> None:
        """Refuse to begin where a run is.

        Raises:
            ValueError: the folder holds a run already.
        """
        if self.settings_file.exists():
            raise ValueError(f"{self.path} already holds a run: add --resume, or give another {self._option}")

    def resume(self, settings: dict[str, Any]) -> dict[str, Any] | None:
        """The last checkpoint, or None if the run ended before its first; rows beyond it are dropped.

        Raises:
            ValueError: no run is here, or one of another format or with other settings, or its checkpoint is damaged,
                or another process trains here.
        """
        self._check_settings(settings)
        self._take()
        state = self.checkpoint()
        self._drop_rows_beyond(0 if state is None else state["progress"]["steps"])
        return state

    def checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint, or None if there is none yet; only read.

        Raises:
            ValueError: it is damaged.
        """
        if not self.checkpoint_file.exists():
            return None
        try:
            return torch.load(self.checkpoint_file, weights_only=True, map_location="cpu")
        except (RuntimeError, EOFError, UnpicklingError) as error:
            raise ValueError(
                f"{self.checkpoint_file} is no checkpoint ({str(error).splitlines()[0]}): restore it from a copy, or "
                f"train anew in another {self._option}"
            ) from error

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint.

        Raises:
            StorageError: it cannot be written; the one before stays.
        """
        # torch's own file writer reports a full disk as a RuntimeError like any other
        buffer = io.BytesIO()
        torch.save(state, buffer)
        _write(self.checkpoint_file, buffer.getvalue())

    def append(self, row: dict[str, Any]) -> None:
        """Add a row of progress.

        Raises:
            StorageError: it cannot be written; no part of it stays.
        """
        before = self.progress_file.stat().st_size if self.progress_file.exists() else 0
        try:
            with open(self.progress_file, "a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            if self.progress_file.exists():
                os.truncate(self.progress_file, before)
            raise StorageError(self.progress_file, error) from error

    def close(self) -> None:
        """Leave the folder to others; it also happens when the process ends, however that ends."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take(self) -> None:
        """Make the folder this process's own: two that train in it would mix their rows and checkpoints."""
        if self._lock is not None:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / LOCK_FILE, "w")  # noqa: SIM115 (open as long as the run)
        except OSError as error:
            raise StorageError(self.path / LOCK_FILE, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise ValueError(
                f"another process trains in {self.path}: wait for it or end it, or give another {self._option}"
            ) from error
        except OSError as error:  # a file system that has no locks
            lock.close()
            raise StorageError(self.path / LOCK_FILE, error) from error
        self._lock = lock

    def _check_settings(self, settings: dict[str, Any]) -> None:
        if not self.settings_file.exists():
            raise ValueError(f"{self.path} holds no run to resume: leave --resume away, or check {self._option}")
        try:
            before = json.loads(self.settings_file.read_text())
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{self.settings_file} is not JSON ({error}): train anew in another {self._option}"
            ) from error
        format_before = before.get("format", 1) if isinstance(before, dict) else None  # the first had no number
        if format_before != RUN_FORMAT:
            raise ValueError(
                f"{self.path} is a run of format {format_before}, this vlajs reads format {RUN_FORMAT}: resume it with "
                f"the release that started it, or train anew in another {self._option}"
            )
        now = json.loads(_text(settings))
        if before != now:
            changed = sorted(key for key in before | now if before.get(key) != now.get(key))
            raise ValueError(f"{self.path} was started with other settings ({', '.join(changed)}): use the same")

    def _drop_rows_beyond(self, steps: int) -> None:
        """Rows after the checkpoint are made again; a row cut short by a crash goes too."""
        if not self.progress_file.exists():
            return
        kept: list[str] = []
        for line in self.progress_file.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if row["steps"] <= steps:
                kept.append(line + "\n")
        _write(self.progress_file, "".join(kept).encode())


def _text(settings: dict[str, Any]) -> str:
    return json.dumps({"format": RUN_FORMAT, **settings}, indent=1, default=str)
