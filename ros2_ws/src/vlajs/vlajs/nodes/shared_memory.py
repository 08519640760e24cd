"""Shared memory large enough for images, between nodes on one machine."""

import os
from pathlib import Path

PROFILE = Path(__file__).with_name("fastdds_images.xml")
_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""The first is Jazzy's (Fast DDS 2), the second that of Fast DDS 3; each passes over the other's in silence."""


def use_large_shared_memory() -> None:
    """Have Fast DDS of this process send through 16 MiB of shared memory; call it before rclpy is initialised.

    A profile file of the site's own, named in the environment, stays in force.
    """
    if not any(os.environ.get(name) for name in _VARIABLES):
        os.environ.update(dict.fromkeys(_VARIABLES, str(PROFILE)))
