"""``vlajs perception train``: from folders of labelled pictures to a detector's file."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from vlajs_perception.detection.engine import EngineMissingError
from vlajs_perception.detection.training import TrainSettings, train_detector


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a detector on labelled pictures and write it as ONNX, with a card beside it."""

    data: tyro.conf.Positional[tuple[Path, ...]]
    """Folders that vlajs perception render made."""
    validation: tuple[Path, ...]
    """Folders of other pictures, for the figures alone."""
    output: Path = Path("detector.onnx")
    """The file to write; the run's state is beside it, with suffix .run."""
    begin_with: Path | None = None
    """Begin with the weights of an earlier run, its folder (.run), instead of from nothing; the schedule is new."""
    resume: bool = False
    """Go on with a run that stopped."""
    settings: tyro.conf.OmitArgPrefixes[TrainSettings] = field(default_factory=TrainSettings)
    """How to train."""


def train(words: list[str]) -> int:
    """Carry out ``vlajs perception train``."""
    try:
        config = tyro.cli(TrainConfig, args=words, prog="vlajs perception train")
        card = train_detector(
            config.data,
            config.validation,
            config.output,
            config.settings,
            begin_with=config.begin_with,
            resume=config.resume,
        )
    except (ValueError, EngineMissingError) as error:
        print(f"vlajs perception train: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"vlajs perception train: {error}: free space or check permissions; the same command with --resume goes on",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("vlajs perception train: stopped; the same command with --resume goes on", file=sys.stderr)
        return 130
    figures = " ".join(f"{name}={value:.3f}" for name, value in card.figures.items())
    print(f"RESULT output={config.output} card={config.output.with_suffix('.md')} {figures}")
    return 0
