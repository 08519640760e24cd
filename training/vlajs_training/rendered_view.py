"""A camera that looks at simulations which render nothing: one scene of its own takes on the state of any other.

The batched simulation knows positions and shows no pictures, and rendering all of its environments would cost more than
simulating them. So one environment is built with a renderer, never stepped, and set to the state of whichever is asked
about (``simulation.visible``).
"""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from vlajs.tasks import BASE_IN_WORLD_M
from vlajs_training.camera_view import CameraView, Picture
from vlajs_training.simulation import reset_all
from vlajs_training.simulation.headless import renderer_available
from vlajs_training.simulation.visible import show
from vlajs_training.task_simulation import make_task_simulation
from vlajs_training.tasks import TaskDefinition

NO_RENDERER = (
    "SAPIEN finds no Vulkan device to render with. With a GPU install its driver; on the CPU install Mesa 25's "
    "lavapipe (Debian 12: add the suite bookworm-backports, then apt-get install -t bookworm-backports "
    "mesa-vulkan-drivers libvulkan1)"
)


class RenderError(RuntimeError):
    """Nothing can be rendered here; the message says what to install."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """How one episode looks: the camera a little off its place, other light, other colours.

    Attributes:
        position_off_m: (3,) camera from where it should stand.
        at_off_m: (3,) point it looks at, from the one it should.
        ambient: (3,) light from everywhere, RGB; ManiSkill's is 0.3.
        sun: (3,) light from one side; ManiSkill's is 1.
        zenith: (3,) light from above; ManiSkill's is 1.
        paint_seed: of the colours of table, floor, cube and goal; None: ManiSkill's.
    """

    position_off_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    at_off_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ambient: tuple[float, float, float] = (0.3, 0.3, 0.3)
    sun: tuple[float, float, float] = (1.0, 1.0, 1.0)
    zenith: tuple[float, float, float] = (1.0, 1.0, 1.0)
    paint_seed: int | None = None


PLAIN = Look()
"""ManiSkill's own light, the camera where it should be."""

CAMERA_NOISE_M = 0.006
"""Standard deviation of camera and aim, each axis: about what a calibration leaves, and a little."""

REPAINTED_SHARE = 0.8
"""Of the looks that are drawn with other colours; the rest keep ManiSkill's."""

PATTERNED = ("table-workspace", "ground")
COLOURED = ("cube", "goal_region", "goal_site")
"""What is painted, by how its name ends: with a pattern, and in vivid colours of no pattern. Pegs stay what they are:
which end is which, and what "the blue tool" is, their colours say."""

UNIFORM_SHARE = 0.5
"""Of the painted things of several colours, which become of one: a disc instead of a bullseye."""

PATTERN_PX = 64


def draw_look(rng: np.random.Generator, *, repaint: bool = False) -> Look:
    """A look near the plain one: light 0.6 to 1.4 of ManiSkill's, a tenth warmer or colder, the camera 6 mm off.

    Args:
        rng: it follows from.
        repaint: give most of them other colours; nothing else changes by that.
    """

    def light(level: float) -> tuple[float, float, float]:
        return _triple(level * rng.uniform(0.6, 1.4) * rng.uniform(0.9, 1.1, size=3))

    look = Look(
        position_off_m=_triple(rng.normal(0.0, CAMERA_NOISE_M, size=3)),
        at_off_m=_triple(rng.normal(0.0, CAMERA_NOISE_M, size=3)),
        ambient=light(0.3),
        sun=light(1.0),
        zenith=light(1.0),
    )
    if repaint and rng.random() < REPAINTED_SHARE:
        return replace(look, paint_seed=int(rng.integers(2**31)))
    return look


def draw_pattern(rng: np.random.Generator) -> Picture:
    """The surface of a table, square: plain, grained or spotted, of any colour, mostly a dull one."""
    hue, saturation, value = rng.random(), 0.7 * rng.random() ** 2, rng.uniform(0.25, 0.95)
    colour = np.array(colorsys.hsv_to_rgb(hue, saturation, value))
    grain = rng.normal(size=(PATTERN_PX, PATTERN_PX))
    # along one axis, both or none: stripes, spots, speckles
    sigma = rng.choice([0.0, 2.0, 6.0], size=2)
    grain = gaussian_filter(grain, sigma, mode="wrap")
    shade = 1.0 + rng.uniform(0.0, 0.25) * grain / max(float(np.abs(grain).max()), 1e-9)
    return np.asarray(255 * np.clip(shade[..., None] * colour, 0.0, 1.0), dtype=np.uint8)


def draw_vivid(rng: np.random.Generator) -> tuple[float, float, float]:
    """A saturated colour, RGB in [0, 1]."""
    return colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.75, 1.0), rng.uniform(0.5, 1.0))


@dataclass(frozen=True, kw_only=True)
class _Surface:
    """A material that is painted.

    Attributes:
        thing: name of what it belongs to.
        material: SAPIEN's.
        texture: its own.
        colour: its own, RGBA.
    """

    thing: str
    material: Any
    texture: Any
    colour: tuple[float, ...]


class RenderedView:
    """Pictures of one task's scenes, whatever simulates them."""

    def __init__(
        self, definition: TaskDefinition, camera: CameraView, device: Literal["cpu", "gpu"] | None = None
    ) -> None:
        """Build the scene and take a first picture, for which shaders are compiled: ten seconds on a CPU.

        Args:
            definition: the task.
            camera: where from.
            device: what renders; by default the GPU where torch finds one.

        Raises:
            RenderError: there is no Vulkan device.
            ValueError: no such camera.
        """
        from mani_skill.utils import sapien_utils

        camera.check()
        if not renderer_available():
            raise RenderError(NO_RENDERER)
        self.camera = camera
        self._look_at: Callable[..., Any] = sapien_utils.look_at
        self.simulation = make_task_simulation(
            definition,
            num_envs=1,
            backend="stock_cpu",
            reward_mode="none",
            render_backend=device or ("gpu" if torch.cuda.is_available() else "cpu"),
            render_mode="rgb_array",
            human_render_camera_configs={
                "width": camera.width_px,
                "height": camera.height_px,
                "fov": np.radians(camera.fovy_deg),
                "pose": self._pose(PLAIN),
                "shader_pack": "minimal",
                "near": 0.01,
                "far": 10.0,
            },
        )
        reset_all(self.simulation, 0)
        self._look = PLAIN
        self._surfaces = self._painted_surfaces()
        self.simulation.render_rgb_array()

    def image(self, state: NDArray[np.float32], look: Look = PLAIN) -> Picture:
        """A picture (height, width, 3) RGB of a visible state (V,).

        Raises:
            ValueError: the state is another task's.
        """
        show(self.simulation, state)
        if look != self._look:
            self._take_on(look)
        pictures: Any = self.simulation.render_rgb_array()
        return pictures[0].cpu().numpy()

    def images(self, states: NDArray[np.float32]) -> Picture:
        """Pictures (M, height, width, 3) of visible states (M, V)."""
        return np.stack([self.image(state) for state in states])

    def close(self) -> None:
        """Free scene and renderer."""
        self.simulation.close()

    def _pose(self, look: Look) -> Any:
        world = [np.add(point, off) + BASE_IN_WORLD_M for point, off in (
            (self.camera.position_m, look.position_off_m), (self.camera.at_m, look.at_off_m))]  # fmt: skip
        return self._look_at(*(point.tolist() for point in world))

    def _take_on(self, look: Look) -> None:
        import sapien.render

        (camera,) = self.simulation.scene.human_render_cameras.values()
        vars(camera)["camera"].set_local_pose(self._pose(look).sp)
        scene = self.simulation.scene.sub_scenes[0]
        scene.set_ambient_light(list(look.ambient))
        lights = [
            component
            for entity in scene.entities
            for component in entity.components
            if isinstance(component, sapien.render.RenderDirectionalLightComponent)
        ]
        for light, colour in zip(lights, (look.sun, look.zenith), strict=True):
            light.set_color(list(colour))
        if look.paint_seed != self._look.paint_seed:
            self._paint(look.paint_seed)
        self._look = look

    def _paint(self, seed: int | None) -> None:
        import sapien.render

        rng = np.random.default_rng(seed)
        vivid: dict[tuple[str, tuple[float, ...] | None], tuple[float, float, float]] = {}
        uniform: dict[str, bool] = {}
        for surface in self._surfaces:
            texture, colour = surface.texture, surface.colour
            if seed is not None and surface.thing.endswith(PATTERNED):
                opaque = np.full((PATTERN_PX, PATTERN_PX, 1), 255, dtype=np.uint8)
                pattern = np.concatenate([draw_pattern(rng), opaque], axis=2)
                texture, colour = sapien.render.RenderTexture2D(pattern, "R8G8B8A8Unorm"), (1.0,) * 4
            elif seed is not None:
                # what had the same colour has the same colour again
                if surface.thing not in uniform:
                    uniform[surface.thing] = rng.random() < UNIFORM_SHARE
                key = (surface.thing, None if uniform[surface.thing] else colour)
                if key not in vivid:
                    vivid[key] = draw_vivid(rng)
                colour = (*vivid[key], colour[3])
            surface.material.set_base_color_texture(texture)
            surface.material.set_base_color(list(colour))

    def _painted_surfaces(self) -> list[_Surface]:
        import sapien.render

        return [
            _Surface(
                thing=entity.name,
                material=part.material,
                texture=part.material.base_color_texture,
                colour=tuple(part.material.base_color),
            )
            for entity in self.simulation.scene.sub_scenes[0].entities
            for component in entity.components
            if isinstance(component, sapien.render.RenderBodyComponent) and entity.name.endswith(PATTERNED + COLOURED)
            for shape in component.render_shapes
            for part in getattr(shape, "parts", [shape])
        ]


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = values.tolist()
    return x, y, z
