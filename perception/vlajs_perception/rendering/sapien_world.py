"""The scene as SAPIEN renders it (ManiSkill's renderer): another arm, other light, shading by material.

For pictures to judge a detector with that was trained on MuJoCo's. Needs the package ``sapien`` and a Vulkan device;
a software one (Debian: mesa-vulkan-drivers of bookworm-backports or later) will do.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlajs_perception.rendering.scene import (
    CLUTTER_KINDS,
    CLUTTER_PER_KIND,
    GOAL,
    SEEN_THROUGH_ALPHA,
    FloatArray,
    Placed,
    SceneSample,
)
from vlajs_perception.rendering.world import ArmPoser, Image, RenderError, draw_texture, parts_of

_SUN = 2.5
"""A diffuse surface of MuJoCo's sends back the light it gets, one of a physical material a pi-th of it."""
_LYING = [np.sqrt(0.5), 0.0, np.sqrt(0.5), 0.0]
"""From SAPIEN's cylinders along x to MuJoCo's along z."""
_FAR_M = 20.0


class SapienWorld:
    """Renders samples as :class:`~vlajs_perception.rendering.world.World` does.

    The first picture takes ten seconds without a graphics card: what a camera draws with is compiled for it. So the
    camera stays, and the things before it are taken away and put there anew.

    Attributes:
        width: of the pictures, pixels.
        height: of the pictures, pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        """Load what scenes share.

        Raises:
            RenderError: SAPIEN, the arm's description or a Vulkan device is missing.
        """
        self.width, self.height = width, height
        self._urdf = _panda_urdf()
        self._poser = ArmPoser()
        try:
            self._sapien: Any = importlib.import_module("sapien")
            self._sapien.render.set_log_level("error")
            # asked first: a scene without a device ends the process when it is taken down
            self._sapien.render.get_device_summary()
            self._scene: Any = self._sapien.Scene()
            self._camera: Any = self._scene.add_camera("camera", width, height, 1.0, 0.01, _FAR_M)
        except (ImportError, RuntimeError) as error:
            raise RenderError(
                f"SAPIEN cannot render here ({' '.join(str(error).split())}): it needs a Vulkan device (Debian: "
                "mesa-vulkan-drivers 23 or later, in bookworm-backports), or render with --renderer mujoco"
            ) from error

    def render(self, sample: SceneSample) -> tuple[Image, NDArray[np.int8]]:
        """The picture (H, W, 3) RGB, and which class each pixel shows (H, W), -1 for none."""
        scene, camera = self._scene, self._camera
        rng = np.random.default_rng(sample.texture_seed)
        self._add_room(scene, rng)
        self._add_lights(scene, sample)
        kinds = {self._add_object(scene, placed, rng): placed.kind for placed in sample.objects}
        seen_through = self._add_clutter(scene, sample.clutter, rng)
        if sample.arm:
            self._add_arm(scene, sample)
        camera.set_fovy(sample.fovy_rad, compute_x=True)
        # SAPIEN's camera looks along x, y to its left, z up
        axes = np.stack([sample.camera_axes[:, 2], -sample.camera_axes[:, 0], -sample.camera_axes[:, 1]], axis=1)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = axes, sample.camera_position_m
        camera.entity.set_pose(self._sapien.Pose(pose))
        scene.update_render()
        camera.take_picture()
        colour = np.array(camera.get_picture("Color")[..., :3])
        if seen_through:
            for entity in seen_through:
                scene.remove_entity(entity)
            scene.update_render()
            camera.take_picture()
        entities = camera.get_picture("Segmentation")[..., 1]
        shown = np.full(entities.shape, -1, np.int8)
        for entity, kind in kinds.items():
            shown[entities == entity] = kind
        self._clear()
        return (np.clip(colour, 0.0, 1.0) * 255).astype(np.uint8), shown

    def close(self) -> None:
        """Free the scene."""
        self._scene = self._camera = None

    def _clear(self) -> None:
        for entity in self._scene.entities:
            if entity is not self._camera.entity:
                self._scene.remove_entity(entity)

    def _material(self, rgba: FloatArray, rng: np.random.Generator) -> Any:
        material = self._sapien.render.RenderMaterial()
        material.base_color = [float(value) for value in rgba]
        material.roughness, material.specular = rng.uniform(0.3, 1.0), rng.uniform(0.0, 0.5)
        return material

    def _pose(self, position_m: Any, quat_wxyz: Any = (1.0, 0.0, 0.0, 0.0)) -> Any:
        return self._sapien.Pose(np.asarray(position_m, np.float32), np.asarray(quat_wxyz, np.float32))

    def _add_room(self, scene: Any, rng: np.random.Generator) -> None:
        """Table, floor and walls as in MuJoCo's world, painted from the same seed."""
        walls = [
            (([0.01, 3.0, 2.5] if x else [3.0, 0.01, 2.5]), [x, y, 1.0])
            for x, y in ((-3.0, 0.0), (0.0, 3.0), (0.0, -3.0))
        ]
        surfaces = [
            [([0.9, 1.1, 0.02], [0.5, 0.0, -0.02])],
            [([6.0, 6.0, 0.01], [0.0, 0.0, -0.8])],
            walls,
        ]
        for boxes in surfaces:
            pixels = draw_texture(rng)
            opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
            material = self._material(np.ones(4), rng)
            material.base_color_texture = self._sapien.render.RenderTexture2D(opaque, "R8G8B8A8Unorm", srgb=True)
            for half_size, position in boxes:
                builder = scene.create_actor_builder()
                builder.add_box_visual(half_size=half_size, material=material)
                builder.set_initial_pose(self._pose(position))
                builder.build_static()

    def _add_lights(self, scene: Any, sample: SceneSample) -> None:
        scene.set_ambient_light([float(value) for value in sample.ambient])
        for row in sample.lights:
            if row[3:6].any():
                aim = np.array([0.6, 0.0, 0.0]) - row[:3]
                scene.add_directional_light(aim.tolist(), (_SUN * row[3:6]).tolist(), shadow=bool(row[6] > 0))

    def _add_object(self, scene: Any, placed: Placed, rng: np.random.Generator) -> int:
        """An object; returns the number its pixels have in the segmentation."""
        builder = scene.create_actor_builder()
        for size, offset, colour in parts_of(placed):
            material = self._material(placed.colours[colour], rng)
            if placed.kind == GOAL:
                pose = self._pose(offset, _LYING)
                builder.add_cylinder_visual(pose, radius=size[0], half_length=size[1], material=material)
            else:
                builder.add_box_visual(self._pose(offset), half_size=size.tolist(), material=material)
        builder.set_initial_pose(self._pose(placed.position_m, placed.quat_wxyz))
        return int(builder.build_static().per_scene_id)

    def _add_clutter(self, scene: Any, clutter: FloatArray, rng: np.random.Generator) -> list[Any]:
        """All clutter; returns what of it hides nothing."""
        seen_through = []
        for index, row in enumerate(clutter):
            if not row[0] > 0:
                continue
            kind, size = CLUTTER_KINDS[index // CLUTTER_PER_KIND], row[:3]
            builder, material = scene.create_actor_builder(), self._material(row[10:], rng)
            if kind == "box":
                builder.add_box_visual(half_size=size.tolist(), material=material)
            elif kind == "cylinder":
                builder.add_cylinder_visual(self._pose([0, 0, 0], _LYING), size[0], size[1], material=material)
            elif kind == "capsule":
                builder.add_capsule_visual(self._pose([0, 0, 0], _LYING), size[0], size[1], material=material)
            else:  # SAPIEN has no ellipsoids
                builder.add_sphere_visual(radius=float(size[0]), material=material)
            builder.set_initial_pose(self._pose(row[3:6], row[6:10]))
            entity = builder.build_static()
            if row[13] < SEEN_THROUGH_ALPHA:
                seen_through.append(entity)
        return seen_through

    def _add_arm(self, scene: Any, sample: SceneSample) -> None:
        loader = scene.create_urdf_loader()
        loader.fix_root_link = True
        robot = loader.load(str(self._urdf))
        robot.set_qpos(self._poser.joints_rad(sample).astype(np.float32))


def _panda_urdf() -> Path:
    """The arm's description, which ManiSkill brings; not imported, for that takes seconds.

    Raises:
        RenderError: it is not installed.
    """
    found = importlib.util.find_spec("mani_skill")
    if found is None or found.origin is None:
        raise RenderError("the arm's description comes with ManiSkill: install it, or render with --renderer mujoco")
    return Path(found.origin).parent / "assets/robots/panda/panda_v2.urdf"
