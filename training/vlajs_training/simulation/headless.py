"""ManiSkill on a machine with no Vulkan device.

SAPIEN builds a `RenderMaterial` for every visual shape, even with `render_backend="none"`, and that constructor asks
for a Vulkan device. Where none exists, `install()` puts an inert material in its place; where one exists, nothing
is changed and rendering works as before.
"""

from __future__ import annotations

import sys
from typing import Any

_installed = False


class InertMaterial:
    """Stands in for `sapien.render.RenderMaterial`: keeps what it is given, draws nothing."""

    def __init__(self, *_args: Any, **properties: Any) -> None:
        self.__dict__.update(properties)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name.startswith("set_"):
            return lambda *_args, **_kwargs: None
        return None


def _inert_texture(*_args: Any, **_kwargs: Any) -> None:
    """Stands in for `RenderTexture2D`: no texture."""


def renderer_available() -> bool:
    """Whether SAPIEN finds a device to render with (asked by building one material)."""
    import sapien.render

    if sapien.render.RenderMaterial is InertMaterial:  # `install` found none
        return False
    try:
        sapien.render.RenderMaterial()
    except RuntimeError:
        return False
    return True


def install() -> None:
    """Let ManiSkill environments be built without a Vulkan device. Safe to call any number of times."""
    global _installed
    if _installed:
        return
    if not renderer_available():
        _replace_materials()
    _installed = True


def _replace_materials() -> None:
    """Replace the two names in every module that builds visual shapes (they are imported by name there)."""
    import sapien.render
    from sapien import pysapien
    from sapien.wrapper import urdf_loader

    modules: list[Any] = [sapien.render, pysapien.render, urdf_loader]
    if (mjcf_loader := sys.modules.get("mani_skill.utils.building._mjcf_loader")) is not None:
        modules.append(mjcf_loader)  # imported before us, with the names of old
    for module in modules:
        module.RenderMaterial = InertMaterial
        if hasattr(module, "RenderTexture2D"):
            module.RenderTexture2D = _inert_texture
