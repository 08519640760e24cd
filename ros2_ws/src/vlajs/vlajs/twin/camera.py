"""What a fixed camera sees of the twin, rendered by MuJoCo without a screen.

It knows the twin by :class:`~vlajs.twin.seen.SeenState` only, so that it can run in another process and never slow the
arm's 1 kHz loop.
"""

# first, before anything that imports MuJoCo: it chooses the OpenGL that MuJoCo is imported with
import vlajs_perception.rendering.world as rendering  # isort: skip

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from vlajs.geometry import FloatArray, quat_from_rotvec, quat_of, rotation
from vlajs.twin.camera_world import COVER, HIDDEN_M, SURFACES, USUAL_RGB, compile_world
from vlajs.twin.disturbance import ClutterItem, Disturbance, draw_clutter, draw_colours
from vlajs.twin.scene import OBJECT_NAMES, ROBOT_PREFIX, CameraConfig, SceneConfig
from vlajs.twin.seen import SeenState
from vlajs_perception.calibration.board import CharucoBoard
from vlajs_perception.camera import Camera
from vlajs_perception.rendering.scene import CLUTTER_COUNT
from vlajs_perception.rendering.world import Image, draw_texture
from vlajs_perception.table_tags import TableTags

mujoco: Any = rendering.mujoco

_CAMERA = "front"
_COVER_DISTANCE_M = 0.1
_FLIP = np.diag([1.0, -1.0, -1.0])
"""MuJoCo's camera looks along its -z with y up; the optical frame is x right, y down, z ahead."""


@dataclass(frozen=True, kw_only=True)
class TwinCameraConfig:
    """The camera and the world before it.

    Attributes:
        scene: of the twin that is looked at; its ``front_camera`` is the camera.
        width_px: of the pictures, 64 to 1920.
        height_px: of the pictures, 64 to 1920.
        board: calibration board to show on the hand; None for none.
        tags: that lie on the table; None for none.

    Raises:
        ValueError: a size out of its range.
    """

    scene: SceneConfig = field(default_factory=SceneConfig)
    width_px: int = 640
    height_px: int = 480
    board: CharucoBoard | None = None
    tags: TableTags | None = None

    def __post_init__(self) -> None:
        for name in ("width_px", "height_px"):
            if not 64 <= getattr(self, name) <= 1920:
                raise ValueError(f"{name} is {getattr(self, name)}, must lie in [64, 1920]")

    @property
    def camera(self) -> Camera:
        """The camera as it was mounted: square pixels, the optical axis through the picture's middle."""
        mounted = self.scene.front_camera
        focal_px = self.height_px / 2 / np.tan(np.radians(mounted.fovy_deg) / 2)
        middle = (self.width_px - 1) / 2, (self.height_px - 1) / 2
        matrix = np.array([[focal_px, 0.0, middle[0]], [0.0, focal_px, middle[1]], [0.0, 0.0, 1.0]])
        return Camera(matrix=matrix, camera_in_base=optical_in_base(mounted))


def optical_in_base(camera: CameraConfig) -> FloatArray:
    """Pose (4, 4) of a camera's optical frame in the frame of what it is mounted on."""
    pose = np.eye(4)
    pose[:3, :3] = rotation(camera.quat_wxyz).as_matrix() @ _FLIP
    pose[:3, 3] = camera.position_m
    return pose


def disturbed(camera: Camera, disturbance: Disturbance) -> Camera:
    """Where the camera really is after somebody moved it."""
    pose = np.array(camera.camera_in_base)
    pose[:3, 3] += disturbance.camera_offset_m
    pose[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec(np.radians(disturbance.camera_offset_deg)).as_matrix()
    return Camera(matrix=camera.matrix, camera_in_base=pose)


class TwinCamera:
    """Renders states of the twin. One thread at a time; :meth:`close` it."""

    def __init__(self, config: TwinCameraConfig) -> None:
        """Compile the world.

        Raises:
            RenderError: nothing can be rendered here; the message says what is missing.
        """
        self.config = config
        self.camera = config.camera
        model = compile_world(config.scene, config.width_px, config.height_px, board=config.board, tags=config.tags)
        self._model, self._data = model, mujoco.MjData(model)
        self._joints = [_qpos(model, f"{ROBOT_PREFIX}fr3_joint{number}") for number in range(1, 8)]
        self._fingers = [_qpos(model, f"{ROBOT_PREFIX}finger_joint{number}") for number in (1, 2)]
        self._mocap = {
            model.body(body).name: int(model.body_mocapid[body])
            for body in range(model.nbody)
            if model.body_mocapid[body] >= 0
        }
        self._usual_light = [np.array(value) for value in _lights(model)]
        self._renderer: Any = rendering.open_renderer(model, config.width_px, config.height_px)
        self._clutter: list[ClutterItem] = []
        self._disturbance: Disturbance | None = None

    def render(self, seen: SeenState, disturbance: Disturbance | None = None) -> Image:
        """The picture, shape (H, W, 3), RGB.

        Raises:
            ValueError: the state has a body that this world does not, so that the picture would lie.
        """
        disturbance = disturbance or Disturbance()
        if disturbance != self._disturbance:
            self._apply(disturbance)
        self._pose(seen)
        self._show_clutter(seen, disturbed(self.camera, disturbance))
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        self._renderer.update_scene(self._data, _CAMERA)
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        return np.array(self._renderer.render())

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()

    # -- the state ----------------------------------------------------------------------------------------------

    def _pose(self, seen: SeenState) -> None:
        data = self._data
        data.qpos[self._joints], data.qpos[self._fingers] = seen.joints_rad, seen.fingers_m
        for name in OBJECT_NAMES:
            start = _qpos(self._model, f"{name}_joint")
            pose = seen.bodies.get(name)
            data.qpos[start : start + 3] = HIDDEN_M if pose is None else pose.position_m
            data.qpos[start + 3 : start + 7] = (1.0, 0.0, 0.0, 0.0) if pose is None else pose.quat_wxyz
        for name, pose in seen.bodies.items():
            if name in self._mocap:
                self._put(name, pose.position_m, pose.quat_wxyz)
            elif name not in OBJECT_NAMES:
                raise ValueError(
                    f"the twin has a {name!r}, which its camera cannot show: twin and camera are of different versions"
                )

    def _put(self, name: str, position_m: Any, quat_wxyz: Any) -> None:
        mocap = self._mocap[name]
        self._data.mocap_pos[mocap], self._data.mocap_quat[mocap] = position_m, quat_wxyz

    # -- disturbances -------------------------------------------------------------------------------------------

    def _apply(self, disturbance: Disturbance) -> None:
        """Change what stays the same from picture to picture."""
        model = self._model
        for array, usual in zip(_lights(model), self._usual_light, strict=True):
            array[:] = usual * disturbance.light
        self._colour(disturbance)
        self._paint(disturbance.textures)
        self._clutter = draw_clutter(disturbance.clutter, disturbance.clutter_seed)
        for item in self._clutter:
            geom = model.geom(f"clutter_{item.index}").id
            model.geom_size[geom], model.geom_rgba[geom] = item.size_m, item.rgba
            model.geom_rbound[geom] = item.radius_m
        real = disturbed(self.camera, disturbance).camera_in_base
        camera = model.camera(_CAMERA).id
        quat = quat_of(Rotation.from_matrix(real[:3, :3] @ _FLIP))
        model.cam_pos[camera], model.cam_quat[camera] = real[:3, 3], quat
        ahead = real[:3, 3] + _COVER_DISTANCE_M * real[:3, 2]
        self._put(COVER, ahead if disturbance.occluded else HIDDEN_M, quat)
        self._disturbance = disturbance

    def _colour(self, disturbance: Disturbance) -> None:
        model = self._model
        drawn = draw_colours(disturbance.colours) if disturbance.colours else {}
        # a drawn surface has its own colour
        plain = dict.fromkeys(SURFACES, (1.0, 1.0, 1.0)) if disturbance.textures else {}
        for name, rgb in {**USUAL_RGB, **plain, **drawn}.items():
            model.mat_rgba[model.material(name).id, :3] = rgb
        for name in OBJECT_NAMES:
            model.geom(f"{name}_geom").rgba[:3] = drawn.get(name, USUAL_RGB[name])

    def _paint(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for name in (*SURFACES, *OBJECT_NAMES):
            texture = self._model.texture(name)
            is_object = name in OBJECT_NAMES
            side = int(texture.width[0])
            faces = [_surface(rng, side, usual=not seed, keep_colour=is_object) for _ in range(6 if is_object else 1)]
            pixels = np.concatenate(faces).ravel()
            start = int(texture.adr[0])
            self._model.tex_data[start : start + pixels.size] = pixels
            rendering.upload_texture(self._model, self._renderer, texture.id)

    def _show_clutter(self, seen: SeenState, camera: Camera) -> None:
        """Put every thing in its place, save one that would be before an object."""
        shown = {item.index: item for item in self._clutter if not self._covers(item, seen, camera)}
        for index in range(CLUTTER_COUNT):
            item = shown.get(index)
            place = HIDDEN_M if item is None else item.position_m
            yaw = 0.0 if item is None else item.yaw_rad
            self._put(f"clutter_{index}", place, quat_from_rotvec([0.0, 0.0, yaw]))

    def _covers(self, item: ClutterItem, seen: SeenState, camera: Camera) -> bool:
        """Whether a thing may hide part of an object from the camera, or stand in it; taken as balls."""
        focal_px, turn = camera.matrix[0, 0], camera.camera_in_base[:3, :3]
        item_depth_m, item_px, item_radius_px = _ball(item.position_m, item.radius_m, camera, focal_px, turn)
        for name in OBJECT_NAMES:
            if name not in seen.bodies:
                continue
            radius_m = float(self._model.geom(f"{name}_geom").rbound[0])
            depth_m, px, radius_px = _ball(seen.bodies[name].position_m, radius_m, camera, focal_px, turn)
            nearer = item_depth_m - item.radius_m < depth_m + radius_m
            if nearer and np.linalg.norm(item_px - px) < item_radius_px + radius_px:
                return True
        return False


def _ball(
    position_m: FloatArray, radius_m: float, camera: Camera, focal_px: float, turn: FloatArray
) -> tuple[float, FloatArray, float]:
    """Depth, middle and radius in the picture of a ball; one that the camera is in or before fills the picture."""
    x, y, depth_m = (position_m - camera.position_in_base_m) @ turn
    if depth_m <= radius_m:
        return float(depth_m), np.zeros(2), np.inf
    return float(depth_m), focal_px * np.array([x, y]) / depth_m, focal_px * radius_m / (depth_m - radius_m)


def _surface(rng: np.random.Generator, side_px: int, *, usual: bool, keep_colour: bool) -> Image:
    """A surface (side, side, 3): faintly speckled, or drawn."""
    if usual:
        speckle = rng.normal(0.0, 4.0, (side_px, side_px, 1))
        return np.repeat(np.clip(245 + speckle, 0, 255).astype(np.uint8), 3, axis=2)
    drawn = draw_texture(rng)[:side_px, :side_px]
    if not keep_colour:
        return drawn
    grey = drawn.mean(axis=2, keepdims=True)
    return np.repeat((255 * grey / max(float(grey.max()), 1.0)).astype(np.uint8), 3, axis=2)


def _qpos(model: Any, joint: str) -> int:
    return int(model.joint(joint).qposadr[0])


def _lights(model: Any) -> list[Any]:
    """The arrays that brightness is in; writing to them changes the model."""
    headlight = model.vis.headlight
    return [
        model.light_diffuse,
        model.light_ambient,
        model.light_specular,
        headlight.diffuse,
        headlight.ambient,
        headlight.specular,
    ]
