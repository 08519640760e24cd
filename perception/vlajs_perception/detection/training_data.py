"""Folders of labelled pictures, checked before hours are spent on them, and laid out for a training run."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vlajs_perception.files import write_whole
from vlajs_perception.rendering.dataset import FORMAT, DatasetError
from vlajs_perception.rendering.labels import KEYPOINT_COUNT
from vlajs_perception.rendering.scene import CLASS_NAMES

_NUMBERS = 5 + 3 * KEYPOINT_COUNT
_JPEG_BEGIN, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


@dataclass(frozen=True, kw_only=True)
class DataFolder:
    """A folder that has been checked.

    Attributes:
        path: where it is.
        settings: what its pictures follow from.
        names: of its pictures, without suffix.
        labels_sha256: of all labels.
    """

    path: Path
    settings: dict[str, Any]
    names: tuple[str, ...]
    labels_sha256: str

    def recipe(self) -> dict[str, Any]:
        """What to remember of it: enough to make it again and to tell whether it changed."""
        return {
            "folder": self.path.name,
            "images": len(self.names),
            "labels_sha256": self.labels_sha256,
            "settings": self.settings,
        }


def check_folder(folder: Path) -> DataFolder:
    """Check everything about a folder that would spoil a training run.

    Raises:
        DatasetError: no folder that ``vlajs perception render`` made, one of another version, pictures without label,
            pictures cut off, labels that are none.
    """
    settings = _settings_of(folder)
    names = tuple(sorted(path.stem for path in (folder / "images").glob("*.jpg")))
    if not names:
        raise DatasetError(f"{folder} holds no pictures: vlajs perception render {folder} --images 2000")
    digest = hashlib.sha256()
    for name in names:
        digest.update(_checked_label(folder / "labels" / f"{name}.txt"))
        _check_picture(folder / "images" / f"{name}.jpg")
    return DataFolder(path=folder, settings=settings, names=names, labels_sha256=digest.hexdigest())


def check_apart(training: list[DataFolder], validation: list[DataFolder]) -> None:
    """Check that no picture is both trained on and validated with.

    Raises:
        DatasetError: folders of the same settings, seed included.
    """
    for one in training:
        for other in validation:
            if one.settings == other.settings:
                raise DatasetError(
                    f"{one.path} and {other.path} hold the same pictures (seed {one.settings.get('seed')}): figures "
                    "from pictures that were trained on mean nothing; render the validation with another --seed"
                )


def lay_out(run: Path, training: list[DataFolder], validation: list[DataFolder]) -> Path:
    """Copies of the labels and links to the pictures in ``run``, and the file that describes them to Ultralytics.

    The data folders themselves stay as they are: what Ultralytics puts beside labels, and would load again without
    looking, stays in the run.
    """
    for split, folders in (("train", training), ("val", validation)):
        for number, folder in enumerate(folders):
            for name in folder.names:
                label = run / "data" / split / "labels" / f"{number}_{name}.txt"
                picture = run / "data" / split / "images" / f"{number}_{name}.jpg"
                label.parent.mkdir(parents=True, exist_ok=True)
                picture.parent.mkdir(parents=True, exist_ok=True)
                label.write_bytes((folder.path / "labels" / f"{name}.txt").read_bytes())
                picture.unlink(missing_ok=True)
                picture.symlink_to((folder.path / "images" / f"{name}.jpg").resolve())
    description = {
        "path": str((run / "data").resolve()),
        "train": "train/images",
        "val": "val/images",
        "names": dict(enumerate(CLASS_NAMES)),
        "kpt_shape": [KEYPOINT_COUNT, 3],
        "flip_idx": list(range(KEYPOINT_COUNT)),
    }
    file = run / "data.yaml"
    write_whole(file, yaml.safe_dump(description, sort_keys=False).encode())
    return file


def _settings_of(folder: Path) -> dict[str, Any]:
    file = folder / "settings.json"
    if not folder.is_dir() or not file.is_file():
        raise DatasetError(
            f"{folder} is no folder of labelled pictures (it has no settings.json): vlajs perception render {folder}"
        )
    try:
        settings = json.loads(file.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DatasetError(f"{file} is no JSON ({error}): damaged; render the folder again") from error
    found = settings.get("format") if isinstance(settings, dict) else None
    if found != FORMAT:
        raise DatasetError(
            f"{folder} has format {found!r}, this version reads {FORMAT}: its keypoints are counted otherwise; render "
            "it again"
        )
    if settings.get("classes") != list(CLASS_NAMES):
        raise DatasetError(
            f"{folder} has classes {settings.get('classes')}, this version has {list(CLASS_NAMES)}: render it again"
        )
    return settings


def _checked_label(file: Path) -> bytes:
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise DatasetError(
            f"{file.parent.parent}: picture {file.stem} has no label: the same vlajs perception render goes on and "
            "completes the folder"
        ) from error
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        words = line.split()
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        good = len(values) == _NUMBERS and all(map(math.isfinite, values)) and values[0] in range(len(CLASS_NAMES))
        if not good or not all(0.0 <= value <= 1.0 for value in values[1:5]):
            raise DatasetError(
                f"{file}:{number} is no label: expected {_NUMBERS} numbers (class in [0, {len(CLASS_NAMES) - 1}], box "
                f"in [0, 1], {KEYPOINT_COUNT} keypoints), found {len(words)} words: damaged; render the folder again"
            )
    return data


def _check_picture(file: Path) -> None:
    with file.open("rb") as opened:
        begin = opened.read(2)
        opened.seek(-min(2, file.stat().st_size), 2)
        end = opened.read(2)
    if begin != _JPEG_BEGIN or end != _JPEG_END:
        raise DatasetError(
            f"{file} is no whole JPEG ({file.stat().st_size} bytes): cut off; remove {file.stem} from images/ and "
            "truth/ and render again"
        )
