"""``vlajs perception check``: how well a detector and the fits find objects in pictures whose truth is known."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from vlajs_perception.checking.accuracy import check as check_pictures
from vlajs_perception.checking.pictures import names_in, pictures
from vlajs_perception.checking.report import write_report
from vlajs_perception.detection.detection import Detector
from vlajs_perception.estimator_settings import EstimatorSettings, WorkArea

ANYWHERE = WorkArea(min_m=(-3.0, -3.0, -1.0), max_m=(3.0, 3.0, 3.0))
"""Pictures are of any place: none is refused for it."""


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """Measure objects in the pictures of a folder of vlajs perception render and compare them with the truth."""

    data: tyro.conf.Positional[Path]
    """The folder; its pictures must not have been trained on."""
    detector: Path
    """Trained detector."""
    report: Path | None = None
    """Folder for errors.csv and failures.png; DATA/check by default."""
    images: int = 0
    """How many pictures, from the first; 0 takes all."""
    min_score: float = 0.5
    """Least score of a detection."""
    threads: int = 2
    """Of the detector."""
    table_only: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Leave out objects that are lifted or stand: their distance is known many times worse."""


def check(words: list[str]) -> int:
    """Carry out ``vlajs perception check``."""
    config = tyro.cli(CheckConfig, args=words, prog="vlajs perception check")
    try:
        run(config, _load(config))
    except ValueError as error:
        print(f"vlajs perception check: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"vlajs perception check: {error}: free space or check permissions", file=sys.stderr)
        return 1
    return 0


def run(config: CheckConfig, detector: Detector) -> None:
    """Check a detector, write the report, print a RESULT line for each class.

    Raises:
        PicturesError: pictures that cannot be used.
        OSError: the report cannot be written.
    """
    names = names_in(config.data)
    names = names[: config.images] if config.images > 0 else names
    with tqdm(total=len(names), desc=config.data.name, unit="image") as bar:
        rows, summaries = check_pictures(
            pictures(config.data, names),
            detector,
            EstimatorSettings(work_area=ANYWHERE),
            table_only=config.table_only,
            progress=lambda: bar.update(1),
        )
    folder = config.report or config.data / "check"
    write_report(folder, config.data, rows)
    print(f"written: {folder / 'errors.csv'}, {folder / 'failures.png'}")
    for summary in summaries:
        print(summary.line)


def _load(config: CheckConfig) -> Detector:
    """The detector.

    Raises:
        ValueError: no such file, or not a detector.
    """
    if not config.detector.is_file():
        raise ValueError(f"--detector {config.detector}: no such file; train one (vlajs perception train)")
    if not 0.0 < config.min_score <= 1.0 or config.threads < 1 or config.images < 0:
        raise ValueError(
            f"--min-score {config.min_score} must lie in (0, 1], --threads {config.threads} be at least 1, --images "
            f"{config.images} not negative"
        )
    from vlajs_perception.detection.yolo import YoloDetector  # pyright: ignore[reportMissingImports]

    return YoloDetector(config.detector, threads=config.threads, min_score=config.min_score)
