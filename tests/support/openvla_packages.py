"""Python processes with the libraries that OpenVLA's code was written for, put before those of this environment.

``scripts/setup.sh`` installs them beside it (``.venv/openvla``): they are older than what everything else needs.
"""

import os
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT

FOLDER = Path(os.environ.get("VLAJS_OPENVLA_PACKAGES", Path(sys.prefix) / "openvla"))


def require_packages() -> None:
    """Skip the test where they are not installed; in CI fail, there they must be."""
    missing = [name for name in ("transformers", "peft") if not (FOLDER / name).is_dir()]
    if not missing:
        return
    message = f"{FOLDER} has no {' and no '.join(missing)}: run make setup"
    if "CI" in os.environ:
        pytest.fail(message)
    pytest.skip(message)


def environment(cache: Path) -> dict[str, str]:
    """For a Python that finds them; ``cache`` is where transformers keeps the code of weights."""
    values = {key: value for key, value in os.environ.items() if key != "_ROS_WHEELS_BOOTSTRAP_COMPLETE"}
    paths = [FOLDER, ROOT, ROOT / "ros2_ws/src/vlajs", ROOT / "training", os.environ.get("PYTHONPATH", "")]
    return values | {
        "PYTHONPATH": os.pathsep.join(str(path) for path in paths if str(path)),
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONUNBUFFERED": "1",
    }
