"""Which OpenGL MuJoCo renders with; it decides when it is first imported in a process."""

import ctypes.util
import os


def choose_gl() -> None:
    """Prefer OSMesa, which needs neither screen nor GPU, then EGL; ``MUJOCO_GL`` in the environment overrules."""
    os.environ.setdefault("MUJOCO_GL", "osmesa" if ctypes.util.find_library("OSMesa") else "egl")
