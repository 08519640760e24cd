"""Ultralytics, which trains and exports: an optional extra, kept off the network and away from the user's settings."""

import importlib
import importlib.util
import logging
import os
import sys
from pathlib import Path
from typing import Any

LICENCE = "AGPL-3.0: claimed by Ultralytics for weights trained with it (https://ultralytics.com/license)"

_TORCHVISION_OPS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class EngineMissingError(RuntimeError):
    """Ultralytics is not installed; the message says how to install it, and its licence."""


def load_engine(settings_folder: Path) -> Any:
    """The ``ultralytics`` module, set to stay offline, to install nothing and to print warnings alone.

    Args:
        settings_folder: where it keeps settings of its own; made if it is not there.

    Raises:
        EngineMissingError: it is not installed.
    """
    if importlib.util.find_spec("ultralytics") is None:
        raise EngineMissingError(
            "training needs Ultralytics YOLO, which is not installed: pip install 'vlajs-perception[train]'. Its "
            "licence is AGPL-3.0, which Ultralytics claims for trained weights too; running a detector needs none of it"
        )
    settings_folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="False", YOLO_VERBOSE="False")
    os.environ["YOLO_CONFIG_DIR"] = str(settings_folder)
    pillow = importlib.import_module("PIL.Image")
    own_open = pillow.open
    ultralytics = importlib.import_module("ultralytics")
    # it replaces PIL's with one that asks for another package where a file is no picture, for the whole process
    vars(pillow)["open"] = own_open
    importlib.import_module("ultralytics.utils").LOGGER.setLevel(logging.WARNING)
    _mend_torchvision()
    return ultralytics


def _mend_torchvision() -> None:
    """Make torchvision importable beside a torch it was not built for, which has none of its operators.

    Ultralytics imports it for one of them, non-maximum suppression, and has its own of that.
    """
    try:
        importlib.import_module("torchvision")
        return
    except (RuntimeError, OSError) as error:
        if "torchvision" not in str(error):
            raise
    torch = importlib.import_module("torch")
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    for schema in _TORCHVISION_OPS:
        torch.library.define(f"torchvision::{schema.partition('(')[0]}", f"({schema.partition('(')[2]}")
    importlib.import_module("torchvision")
    own = importlib.import_module("ultralytics.utils.nms").TorchNMS.nms
    for name in ("torchvision.ops", "torchvision.ops.boxes"):
        vars(importlib.import_module(name))["nms"] = own
