"""Makes the CMake files inside the ROS wheels point at this virtual environment.

The wheels were built in an image that keeps Python in ``/opt/python/cp311-cp311``, and their exported CMake targets
still name its headers. CMake then stops with "includes non-existent path". This rewrites those paths to the headers of
the Python that runs this script and of its numpy. Running it again changes nothing.

Usage: ``.venv/bin/python scripts/repair_wheel_paths.py [PREFIX]`` (default: this interpreter's own prefix).
"""

import re
import sys
import sysconfig
from pathlib import Path

BUILD_HOST_PYTHON = r"/opt/python/cp\d+-cp\d+[a-z]*"
NUMPY_HEADERS = re.compile(BUILD_HOST_PYTHON + r"/lib/python[\d.]+/site-packages/numpy/(?:_core|core)/include")
PYTHON_HEADERS = re.compile(BUILD_HOST_PYTHON + r"/include/python[\d.]+[a-z]*")
ANY_BUILD_HOST_PATH = re.compile(BUILD_HOST_PYTHON + r"[^\s;\"')]*")


def repair_text(text: str, python_headers: str, numpy_headers: str) -> str:
    """``text`` of a CMake file with the build host's header folders replaced.

    Raises:
        ValueError: a path of the build host is left that is neither Python's nor numpy's headers.
    """
    text = NUMPY_HEADERS.sub(lambda _: numpy_headers, text)
    text = PYTHON_HEADERS.sub(lambda _: python_headers, text)
    left = ANY_BUILD_HOST_PATH.search(text)
    if left:
        raise ValueError(
            f"{left.group()!r} belongs to the machine the ROS wheels were built on and has no counterpart here; "
            "likely cause: a newer ros-jazzy-* wheel in requirements/constraints.txt; teach this script the path"
        )
    return text


def repair_tree(share: Path, python_headers: str, numpy_headers: str) -> int:
    """Repairs every ``*.cmake`` below ``share``; returns how many files changed.

    Raises:
        ValueError: as :func:`repair_text`, with the file's name.
    """
    changed = 0
    for path in sorted(share.rglob("*.cmake")):
        before = path.read_text(encoding="utf-8", errors="surrogateescape")
        try:
            after = repair_text(before, python_headers, numpy_headers)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if after != before:
            path.write_text(after, encoding="utf-8", errors="surrogateescape")
            changed += 1
    return changed


def main() -> None:
    """Repairs the environment this interpreter belongs to."""
    import numpy

    prefix = Path(sys.argv[1] if len(sys.argv) > 1 else sys.prefix)
    changed = repair_tree(prefix / "share", sysconfig.get_path("include"), numpy.get_include())
    print(f"repaired {changed} CMake files under {prefix / 'share'}")


if __name__ == "__main__":
    main()
