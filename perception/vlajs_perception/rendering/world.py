"""The scene as MuJoCo knows it: built once, changed for every picture, rendered without a screen.

Compiling the arm takes seconds, so that nothing is compiled anew: sizes, poses, colours, lights and textures of one
model are overwritten. Needs an OpenGL without a screen: OSMesa (Debian: libosmesa6), else EGL; ``MUJOCO_GL`` chooses.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vlajs_perception.rendering.gl import choose_gl
from vlajs_perception.rendering.scene import (
    BOX,
    CLASS_NAMES,
    CLUTTER_COUNT,
    CLUTTER_KINDS,
    CLUTTER_PER_KIND,
    CUBE,
    GOAL,
    LIGHT_COUNT,
    PEG,
    SEEN_THROUGH_ALPHA,
    FloatArray,
    Placed,
    SceneSample,
)

choose_gl()
mujoco: Any = importlib.import_module("mujoco")

Image = NDArray[np.uint8]

PARTS = {CUBE: 1, PEG: 2, BOX: 4, GOAL: 3}
"""Geometries of each class: a peg's two ends, the four walls around a hole, a goal's rings."""
_TEXTURES = ("table", "floor", "wall")
_TEXTURE_PX = 256
_TOOL_IN_HAND_M = 0.1034
_HIDDEN_Z_M = -5.0
_VISUAL_GROUP = 2
_MIN_HEIGHT_M = 0.005


class RenderError(RuntimeError):
    """Nothing can be rendered here; the message says what is missing."""


def open_renderer(model: Any, width_px: int, height_px: int) -> Any:
    """MuJoCo's renderer of a model.

    Raises:
        RenderError: nothing can be rendered here; the message says what is missing.
    """
    try:
        return mujoco.Renderer(model, height_px, width_px)
    except Exception as error:
        # GLFW, EGL and OSMesa fail each in their own way, and PyOpenGL's errors cannot be imported before the platform
        # is chosen: whatever it was, the caller is told
        raise RenderError(
            f"MuJoCo cannot render here ({error}): install a software OpenGL (Debian: libosmesa6), or set MUJOCO_GL "
            "before MuJoCo is first imported"
        ) from error


def upload_texture(model: Any, renderer: Any, texture: int) -> None:
    """Have a renderer show a texture as the model has it now, whichever renderer is OpenGL's current one."""
    renderer._gl_context.make_current()
    mujoco.mjr_uploadTexture(model, renderer._mjr_context, texture)


class World:
    """One model with everything a picture may hold.

    Attributes:
        width: of the pictures, pixels.
        height: of the pictures, pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        """Compile the model.

        Raises:
            RenderError: no OpenGL to render with, or the arm's meshes are not installed.
        """
        self.width, self.height = width, height
        self._model: Any = _build_spec(width, height).compile()
        self._model.geom_sameframe[:] = 0  # a geometry in its body's or inertia's own frame would never move
        self._data: Any = mujoco.MjData(self._model)
        self._renderer: Any = open_renderer(self._model, width, height)
        model = self._model
        self._parts = {
            kind: [model.geom(f"{CLASS_NAMES[kind]}_{part}").id for part in range(count)]
            for kind, count in PARTS.items()
        }
        self._bodies = {kind: model.body(CLASS_NAMES[kind]).mocapid[0] for kind in PARTS}
        self._clutter = [model.geom(f"clutter_{index}").id for index in range(CLUTTER_COUNT)]
        self._options = mujoco.MjvOption()

    def render(self, sample: SceneSample) -> tuple[Image, NDArray[np.int8]]:
        """The picture (H, W, 3) RGB, and which class each pixel shows (H, W), -1 for none."""
        self._apply(sample)
        options = self._options
        options.geomgroup[:] = 0
        options.geomgroup[0] = 1
        options.geomgroup[_VISUAL_GROUP] = sample.arm
        self._renderer.update_scene(self._data, "camera", options)
        image = np.array(self._renderer.render())
        rgba = self._model.geom_rgba
        rgba[self._clutter, 3] *= rgba[self._clutter, 3] >= SEEN_THROUGH_ALPHA  # the next sample sets them again
        with self._segmenting():
            self._renderer.update_scene(self._data, "camera", options)
            geoms = self._renderer.render()[..., 0]
        shown = np.full(geoms.shape, -1, np.int8)
        for placed in sample.objects:
            shown[np.isin(geoms, self._parts[placed.kind])] = placed.kind
        return image, shown

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()

    @contextmanager
    def _segmenting(self) -> Iterator[None]:
        self._renderer.enable_segmentation_rendering()
        try:
            yield
        finally:
            self._renderer.disable_segmentation_rendering()

    # -- putting a sample into the model ------------------------------------------------------------------------

    def _apply(self, sample: SceneSample) -> None:
        model, data = self._model, self._data
        data.qpos[:9] = sample.joints_rad
        data.mocap_pos[:] = [0.0, 0.0, _HIDDEN_Z_M]
        for placed in sample.objects:
            self._place(placed)
        for geom, row in zip(self._clutter, sample.clutter, strict=True):
            model.geom_rgba[geom] = row[10:] if row[0] > 0 else 0.0
            self._resize(geom, np.maximum(row[:3], 1e-4))
            model.geom_pos[geom] = row[3:6] if row[0] > 0 else [0.0, 0.0, _HIDDEN_Z_M]
            model.geom_quat[geom] = row[6:10]
        self._light(sample)
        self._paint(sample.texture_seed)
        camera = model.camera("camera").id
        model.cam_pos[camera] = sample.camera_position_m
        # MuJoCo's camera looks along its -z, y up in the image
        rotation = np.ascontiguousarray(sample.camera_axes * [1.0, -1.0, -1.0])
        mujoco.mju_mat2Quat(model.cam_quat[camera], rotation.flatten())
        model.cam_fovy[camera] = np.degrees(sample.fovy_rad)
        mujoco.mj_forward(model, data)
        if sample.reach_m is not None:
            _reach(model, data, sample.reach_m)

    def _resize(self, geom: int, size_m: FloatArray) -> None:
        self._model.geom_size[geom] = size_m
        self._model.geom_rbound[geom] = 2.0 * np.linalg.norm(size_m)  # what is drawn at all depends on it

    def _place(self, placed: Placed) -> None:
        body = self._bodies[placed.kind]
        self._data.mocap_pos[body], self._data.mocap_quat[body] = placed.position_m, placed.quat_wxyz
        for geom, (size, offset, colour) in zip(self._parts[placed.kind], parts_of(placed), strict=True):
            self._resize(geom, size)
            self._model.geom_pos[geom], self._model.geom_quat[geom] = offset, [1.0, 0.0, 0.0, 0.0]
            self._model.geom_rgba[geom] = placed.colours[colour]

    def _light(self, sample: SceneSample) -> None:
        model = self._model
        for index, row in enumerate(sample.lights):
            model.light_pos[index], model.light_diffuse[index] = row[:3], row[3:6]
            aim = np.array([0.6, 0.0, 0.0]) - row[:3]
            model.light_dir[index] = aim / np.linalg.norm(aim)
            model.light_specular[index] = 0.3 * row[3:6]
            model.light_castshadow[index] = row[6] > 0
        model.vis.headlight.ambient[:] = sample.ambient
        model.vis.headlight.diffuse[:] = 0.3 * sample.ambient

    def _paint(self, seed: int) -> None:
        """New textures for table, floor and walls."""
        rng = np.random.default_rng(seed)
        for name in _TEXTURES:
            texture = self._model.texture(name).id
            start = self._model.tex_adr[texture]
            pixels = draw_texture(rng).ravel()
            self._model.tex_data[start : start + pixels.size] = pixels
            upload_texture(self._model, self._renderer, texture)


class ArmPoser:
    """Where a sample has the arm; renders nothing."""

    def __init__(self) -> None:
        """Compile the arm alone.

        Raises:
            RenderError: its model is not installed.
        """
        self._model: Any = _arm_spec().compile()
        self._data: Any = mujoco.MjData(self._model)

    def joints_rad(self, sample: SceneSample) -> FloatArray:
        """Shape (9,): arm and fingers."""
        self._pose(sample)
        return np.array(self._data.qpos[:9])

    def tool_m(self, sample: SceneSample) -> FloatArray:
        """Shape (3,): the middle between the fingertips, in ``panda_link0``."""
        self._pose(sample)
        return _tool_m(self._data, self._model.body("hand").id)

    def _pose(self, sample: SceneSample) -> None:
        self._data.qpos[:9] = sample.joints_rad
        mujoco.mj_forward(self._model, self._data)
        if sample.reach_m is not None:
            _reach(self._model, self._data, sample.reach_m)


def _tool_m(data: Any, hand: int) -> FloatArray:
    return np.asarray(data.xpos[hand] + _TOOL_IN_HAND_M * data.xmat[hand].reshape(3, 3)[:, 2], dtype=np.float64)


def _reach(model: Any, data: Any, target_m: FloatArray) -> None:
    """Bring the tool's middle to a point by damped least squares; how well does not matter."""
    hand = model.body("hand").id
    jacobian = np.zeros((3, model.nv))
    target = np.maximum(target_m, [-1.0, -1.0, _MIN_HEIGHT_M])
    for _ in range(40):
        tool = _tool_m(data, hand)
        error = target - tool
        if np.linalg.norm(error) < 2e-3:
            return
        mujoco.mj_jac(model, data, jacobian, None, tool, hand)
        arm = jacobian[:, :7]
        step = arm.T @ np.linalg.solve(arm @ arm.T + 0.05**2 * np.eye(3), np.clip(error, -0.1, 0.1))
        data.qpos[:7] = np.clip(data.qpos[:7] + step, model.jnt_range[:7, 0], model.jnt_range[:7, 1])
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_camlight(model, data)


def parts_of(placed: Placed) -> list[tuple[FloatArray, FloatArray, int]]:
    """Size, offset in the object's frame and number of the colour, of each geometry of an object."""
    x, y, z = placed.half_size_m
    if placed.kind == CUBE:
        return [(placed.half_size_m, np.zeros(3), 0)]
    if placed.kind == PEG:
        half = np.array([x / 2, y, z])
        return [(half, np.array([-x / 2, 0, 0]), 0), (half, np.array([x / 2, 0, 0]), 1)]
    if placed.kind == GOAL:
        rings = [(1.0, z, 0), (2 / 3, 1.2 * z, 1), (1 / 3, 1.4 * z, 0)]
        return [(np.array([share * x, height, 0.0]), np.zeros(3), colour) for share, height, colour in rings]
    hole = placed.hole_half_m
    side, top = (y - hole) / 2, (z - hole) / 2
    return [
        (np.array([x, side, z]), np.array([0, hole + side, 0]), 0),
        (np.array([x, side, z]), np.array([0, -hole - side, 0]), 0),
        (np.array([x, hole, top]), np.array([0, 0, hole + top]), 0),
        (np.array([x, hole, top]), np.array([0, 0, -hole - top]), 0),
    ]


def _build_spec(width: int, height: int) -> Any:
    spec = _arm_spec()
    spec.visual.quality.offsamples, spec.visual.quality.shadowsize = 0, 1024
    spec.visual.global_.offwidth, spec.visual.global_.offheight = width, height
    for name in _TEXTURES:
        spec.add_texture(
            name=name,
            type=mujoco.mjtTexture.mjTEXTURE_2D,
            builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
            rgb1=[0.5, 0.5, 0.5],
            width=_TEXTURE_PX,
            height=_TEXTURE_PX,
            nchannel=3,
        )
        material = spec.add_material(name=name)
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    world = spec.worldbody
    box, plain = mujoco.mjtGeom.mjGEOM_BOX, {"contype": 0, "conaffinity": 0}
    world.add_geom(name="table", type=box, size=[0.9, 1.1, 0.02], pos=[0.5, 0, -0.02], material="table", **plain)
    world.add_geom(name="floor", type=box, size=[6, 6, 0.01], pos=[0, 0, -0.8], material="floor", **plain)
    for index, (x, y) in enumerate(((-3.0, 0.0), (0.0, 3.0), (0.0, -3.0))):
        size = [0.01, 3.0, 2.5] if x else [3.0, 0.01, 2.5]
        world.add_geom(name=f"wall_{index}", type=box, size=size, pos=[x, y, 1.0], material="wall", **plain)
    for kind, count in PARTS.items():
        body = world.add_body(name=CLASS_NAMES[kind], mocap=True, pos=[0, 0, _HIDDEN_Z_M])
        shape = mujoco.mjtGeom.mjGEOM_CYLINDER if kind == GOAL else box
        for part in range(count):
            body.add_geom(name=f"{CLASS_NAMES[kind]}_{part}", type=shape, size=[0.01, 0.01, 0.01], **plain)
    for index in range(CLUTTER_COUNT):
        shape = getattr(mujoco.mjtGeom, f"mjGEOM_{CLUTTER_KINDS[index // CLUTTER_PER_KIND].upper()}")
        world.add_geom(name=f"clutter_{index}", type=shape, size=[0.01, 0.01, 0.01], **plain)
    for index in range(LIGHT_COUNT):
        world.add_light(name=f"light_{index}", pos=[0, 0, 2], dir=[0, 0, -1], castshadow=index == 0)
    world.add_camera(name="camera", pos=[1.5, 0, 0.7])
    return spec


def _arm_spec() -> Any:
    assets = _arm_assets()
    spec: Any = mujoco.MjSpec.from_file(str(assets / "fr3.xml"))
    spec.meshdir = str(assets / "meshes")
    return spec


def _arm_assets() -> Path:
    """Folder with the arm's model and meshes, which franky-sim brings.

    Raises:
        RenderError: it is not installed.
    """
    try:
        import franky_sim
    except ImportError as error:
        raise RenderError("the arm's meshes come with franky-sim: pip install 'vlajs-perception[render]'") from error
    return Path(str(franky_sim.__file__)).parent / "assets"


def draw_texture(rng: np.random.Generator) -> Image:
    """A surface (256, 256, 3): plain, smooth patches, tiles or stripes, more or less strong."""
    size = _TEXTURE_PX
    base = rng.uniform(0.15, 0.95) * rng.uniform(0.75, 1.0, 3)
    cells = rng.integers(2, 40, 2)
    if rng.random() < 0.3:
        cells[int(rng.integers(2))] = 1  # stripes
    pattern = rng.uniform(-1, 1, (*cells, 3)) * rng.uniform(0.0, 0.4)
    smooth = cv2.INTER_CUBIC if rng.random() < 0.6 else cv2.INTER_NEAREST
    surface = base + cv2.resize(pattern, (size, size), interpolation=smooth).reshape(size, size, 3)
    surface += rng.normal(0, rng.uniform(0.0, 0.05), (size, size, 1))
    return (np.clip(surface, 0, 1) * 255).astype(np.uint8)
