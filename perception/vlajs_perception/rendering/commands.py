"""``vlajs perception render``: a folder of labelled pictures to train a detector with."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from tqdm import tqdm

from vlajs_perception.rendering.dataset import DatasetError, DatasetSettings, render_dataset
from vlajs_perception.rendering.world import RenderError


@dataclass(frozen=True, kw_only=True)
class RenderConfig:
    """Render labelled pictures of cubes, pegs, boxes and goals under domain randomisation; goes on where it stopped."""

    folder: tyro.conf.Positional[Path]
    """Where they go; a folder that holds some already is brought to the number asked for."""
    images: int = 1000
    """How many pictures the folder shall hold."""
    settings: tyro.conf.OmitArgPrefixes[DatasetSettings] = field(default_factory=DatasetSettings)
    """What they follow from."""


def render(words: list[str]) -> int:
    """Carry out ``vlajs perception render``."""
    try:
        config = tyro.cli(RenderConfig, args=words, prog="vlajs perception render")
        if config.images < 1:
            raise DatasetError(f"--images {config.images}: at least 1")
        with tqdm(total=config.images, desc=config.folder.name, unit="image") as bar:
            made = render_dataset(config.folder, config.settings, config.images, bar.update)
    except (ValueError, RenderError) as error:
        print(f"vlajs perception render: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"vlajs perception render: {error}: free space or check permissions; the same command goes on from here",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("vlajs perception render: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    print(
        f"RESULT folder={config.folder} images={config.images} rendered={made} "
        f"look_at={config.folder / 'contact_sheet.png'}"
    )
    return 0
