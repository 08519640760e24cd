"""What a check leaves behind: a table of every object, and a picture of the worst."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vlajs_perception.annotate import POSE_RGB, TRUTH_RGB, draw_pose, draw_text
from vlajs_perception.checking.accuracy import Row
from vlajs_perception.checking.pictures import Picture, pictures
from vlajs_perception.files import write_whole

COLUMNS, ROWS = 4, 4
TILE_PX = (400, 300)
FIELDS = ("picture", "name", "outcome", "score", "source", "error_mm", "error_deg")


def write_report(folder: Path, data: Path, rows: Sequence[Row]) -> None:
    """Write ``errors.csv`` and ``failures.png`` (the worst first; truth pink, estimate green), whole or not at all.

    Args:
        folder: made if it is not there.
        data: the pictures' folder.
        rows: of ``accuracy.check``.

    Raises:
        OSError: it cannot be written.
    """
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(FIELDS)
    for row in rows:
        numbers = (f"{value:.4g}" if isinstance(value, float) else value for value in _values(row))
        writer.writerow(numbers)
    write_whole(folder / "errors.csv", table.getvalue().encode())
    _, encoded = cv2.imencode(".png", gallery(data, worst(rows))[..., ::-1])
    write_whole(folder / "failures.png", encoded.tobytes())


def worst(rows: Sequence[Row]) -> list[Row]:
    """At most a page of rows: measured although absent, then missed or without a fit, then by distance."""
    order = {"false positive": 0, "missed": 1, "no fit": 1, "measured": 2, "false detection": 3}
    by_badness = sorted(rows, key=lambda row: (order[row.outcome], -np.nan_to_num(row.error_mm)))
    return by_badness[: COLUMNS * ROWS]


def gallery(data: Path, rows: Sequence[Row]) -> NDArray[np.uint8]:
    """The pictures of some rows side by side, RGB; black where there are fewer than fill a line."""
    tiles = [_tile(next(pictures(data, [row.picture])), row) for row in rows]
    blank = np.zeros((TILE_PX[1], TILE_PX[0], 3), np.uint8)
    tiles += [blank] * ((-len(tiles)) % COLUMNS or (COLUMNS if not tiles else 0))
    lines = [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]
    return np.vstack(lines)


def _tile(picture: Picture, row: Row) -> NDArray[np.uint8]:
    image = picture.image_rgb.copy()
    for truth in picture.objects:
        if truth.name == row.name:
            draw_pose(image, picture.camera, truth.model, truth.object_in_base, TRUTH_RGB)
            if row.estimate is not None:
                draw_pose(image, picture.camera, truth.model, row.estimate, POSE_RGB)
    tile = np.asarray(cv2.resize(image, TILE_PX), dtype=np.uint8)
    said = f"{row.error_mm:.1f} mm {row.error_deg:.1f} deg" if row.outcome == "measured" else row.outcome
    draw_text(tile, [f"{row.picture} {row.name} {row.source}", said])
    return tile


def _values(row: Row) -> tuple[str | float, ...]:
    return tuple(getattr(row, name) for name in FIELDS)
