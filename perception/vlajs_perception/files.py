"""Files that are whole or absent."""

# vlajs.files has the same function: perception is installed without the robot's side, of which only nodes and twin may
# import perception (tests/test_layers.py), so neither can lend it to the other.

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Replace ``path`` in one step: a reader, or a crash, sees the old file or the new one.

    Raises:
        OSError: the disk is full or the folder is not writable; ``path`` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".partial")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
