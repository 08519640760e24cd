"""The folder of demonstrations: pictures and what the undegraded script said to them.

``demos.json`` says what they are (format, camera, rate, seed, how they were made). Beside it lies a folder for each
task with files ``batch-00000.npz``, each written whole: arrays of numbers alone, never objects.

| array | |
| --- | --- |
| ``jpeg`` (bytes,) uint8 | the pictures as JPEG, one behind the other |
| ``ends`` (T,) int64 | where each ends |
| ``actions`` (T, 7) float32 | what the script said: m (3), rad (3) in base axes, gripper 1 open, -1 closed |
| ``episode`` (T,) int32 | which scene of the batch it was; pictures of an episode follow one another in time |
"""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, UnidentifiedImageError

from vlajs.files import write_atomically
from vlajs_training.camera_view import CameraView, Picture

FORMAT = 1
FACTS_FILE = "demos.json"
SHEET_FILE = "contact_sheet.png"
JPEG_QUALITY = 95
ARRAYS = {"jpeg": (np.uint8, 1), "ends": (np.int64, 1), "actions": (np.float32, 2), "episode": (np.int32, 1)}
FACTS = {
    "format": int,
    "camera": dict,
    "rate_hz": float,
    "reach_m": float,
    "reach_rad": float,
    "seed": int,
    "envs": int,
    "randomise_look": bool,
    "repaint": bool,
    "disturb": float,
    "jpeg_quality": int,
    "made_with": dict,
}
"""What ``demos.json`` states, and of which kind."""


class DemoError(ValueError):
    """A folder of demonstrations is missing, damaged, or another one than was meant."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Pictures of some episodes of one task.

    Attributes:
        pictures: T pictures as JPEG.
        actions: (T, 7) what the script said to each.
        episode: (T,) which scene of the batch it was.
    """

    pictures: tuple[bytes, ...]
    actions: NDArray[np.float32]
    episode: NDArray[np.int32]

    @property
    def episodes(self) -> int:
        """How many."""
        return len(np.unique(self.episode))


class DemoFolder:
    """Reads and writes a folder of demonstrations."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, facts: dict[str, Any]) -> None:
        """State what the folder holds, or go on with one that holds the same.

        Raises:
            DemoError: it holds demonstrations made in another way.
        """
        if not (self.path / FACTS_FILE).exists():
            write_atomically(self.path / FACTS_FILE, (json.dumps(facts, indent=1) + "\n").encode())
            return
        before = self.facts()
        differing = [key for key in facts if key != "made_with" and before[key] != facts[key]]
        if differing:
            shown = "; ".join(f"{key}: {before[key]} there, {facts[key]} now" for key in differing)
            raise DemoError(f"{self.path} holds demonstrations made otherwise ({shown}): give another folder")

    def facts(self) -> dict[str, Any]:
        """What ``demos.json`` states.

        Raises:
            DemoError: it is missing, no JSON, of another format, or lacks something.
        """
        file = self.path / FACTS_FILE
        try:
            facts = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise DemoError(
                f"{file} cannot be read as JSON ({error}): is it a folder of `vlajs teacher demos`?"
            ) from error
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            found = facts.get("format") if isinstance(facts, dict) else facts
            raise DemoError(f"{file} is of format {found!r}, this vlajs reads {FORMAT}: make the demonstrations anew")
        facts.setdefault("repaint", False)  # there was a time before
        for name, kind in FACTS.items():
            value = facts.get(name)
            if not isinstance(value, (int, float) if kind is float else kind) or (
                isinstance(value, bool) != (kind is bool)
            ):
                raise DemoError(
                    f"{file}: {name} is {value!r}, expected a {kind.__name__}: make the demonstrations anew"
                )
        return facts

    @property
    def camera(self) -> CameraView:
        """Where the pictures were taken from.

        Raises:
            DemoError: as :meth:`facts`, or no camera.
        """
        try:
            return CameraView.from_dict(self.facts()["camera"])
        except DemoError:
            raise
        except ValueError as error:
            raise DemoError(f"{self.path / FACTS_FILE}: {error}") from error

    def tasks(self) -> tuple[str, ...]:
        """Tasks there are batches of, in alphabetical order."""
        return tuple(sorted({file.parent.name for file in self.path.glob("*/batch-*.npz")}))

    def file(self, task: str, number: int) -> Path:
        """Where a batch is, or would be."""
        return self.path / task / f"batch-{number:05d}.npz"

    def batches(self, task: str) -> list[Path]:
        """The batches of a task, in order."""
        return sorted((self.path / task).glob("batch-*.npz"))

    def write(self, task: str, number: int, batch: Batch) -> None:
        """Write a batch, whole or not at all."""
        lengths = [len(picture) for picture in batch.pictures]
        arrays = {
            "jpeg": np.frombuffer(b"".join(batch.pictures), np.uint8),
            "ends": np.cumsum(lengths, dtype=np.int64),
            "actions": batch.actions.astype(np.float32),
            "episode": batch.episode.astype(np.int32),
        }
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        write_atomically(self.file(task, number), buffer.getvalue())


def read_batch(file: Path) -> Batch:
    """A batch, checked.

    Raises:
        DemoError: the file is damaged; the message says how.
    """
    try:
        with np.load(file, allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise DemoError(f"{file} cannot be read ({error}): delete it and run `vlajs teacher demos` again") from error
    problem = _problem_of(arrays)
    if problem is not None:
        raise DemoError(f"{file}: {problem}: delete it and run `vlajs teacher demos` again")
    data, ends = arrays["jpeg"].tobytes(), arrays["ends"].tolist()
    pictures = tuple(data[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)) if ends else ()
    return Batch(pictures=pictures, actions=arrays["actions"], episode=arrays["episode"])


def _problem_of(arrays: dict[str, NDArray[Any]]) -> str | None:
    if set(arrays) != set(ARRAYS):
        return f"it holds {sorted(arrays)}, expected {sorted(ARRAYS)}"
    for name, (kind, dimensions) in ARRAYS.items():
        if arrays[name].dtype != kind or arrays[name].ndim != dimensions:
            found = f"{arrays[name].dtype} of {arrays[name].ndim} dimensions"
            return f"{name} is {found}, expected {np.dtype(kind)} of {dimensions}"
    ends, actions = arrays["ends"], arrays["actions"]
    if actions.shape != (len(ends), 7) or arrays["episode"].shape != (len(ends),):
        return f"{len(ends)} pictures, actions {actions.shape}, episodes {arrays['episode'].shape}"
    if not np.isfinite(actions).all() or np.abs(actions).max(initial=0.0) > 10.0:
        return "an action is not finite, or absurdly large"
    steps = np.diff(ends, prepend=0)
    if (steps <= 0).any() or (ends[-1] if len(ends) else 0) != len(arrays["jpeg"]):
        return "the pictures' ends do not rise to the end of the data"
    return None


def encode_picture(picture: Picture) -> bytes:
    """JPEG of a picture (H, W, 3), colours at full resolution: small objects are told apart by them."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def decode_picture(data: bytes, height_px: int, width_px: int) -> Picture:
    """Inverse of :func:`encode_picture`.

    Raises:
        DemoError: no JPEG, or another size.
    """
    try:
        picture = np.asarray(Image.open(io.BytesIO(data), formats=["JPEG"]).convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise DemoError(f"a picture is no JPEG ({error}): make the demonstrations anew") from error
    if picture.shape != (height_px, width_px, 3):
        raise DemoError(f"a picture has shape {picture.shape}, the camera makes {(height_px, width_px, 3)}")
    return picture


def contact_sheet(batch: Batch, camera: CameraView, title: str, *, episodes: int = 6, columns: int = 8) -> bytes:
    """PNG of the first episodes, a line each: pictures evenly spread over it."""
    chosen: Sequence[int] = np.unique(batch.episode)[:episodes].tolist()
    width, height, margin = camera.width_px, camera.height_px, 16
    sheet = Image.new("RGB", (columns * width, max(1, len(chosen)) * height + margin), "white")
    ImageDraw.Draw(sheet).text((4, 2), title, fill="black")
    for line, episode in enumerate(chosen):
        rows = np.flatnonzero(batch.episode == episode)
        for column, row in enumerate(rows[np.linspace(0, len(rows) - 1, columns).round().astype(int)].tolist()):
            picture = decode_picture(batch.pictures[row], height, width)
            sheet.paste(Image.fromarray(picture), (column * width, margin + line * height))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
