"""Made-up calibrations whose truth is known: exact points with noise of stated size, or rendered pictures."""

from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from vlajs_perception.calibration.board import AprilTag, Board, CharucoBoard, Detection
from vlajs_perception.calibration.lens import Lens
from vlajs_perception.calibration.se3 import moved, pose_of
from vlajs_perception.calibration.views import Kind, ToolReading, View
from vlajs_perception.rigid import inverse

SIZE = (640, 480)
LENS = Lens(
    matrix=np.array([[610.0, 0.0, 322.0], [0.0, 608.0, 238.0], [0.0, 0.0, 1.0]]),
    distortion=np.array([-0.12, 0.05, 0.0008, -0.0005, 0.0]),
    image_size=SIZE,
)
BOARD = CharucoBoard()


def looking(from_m: list[float], at_m: list[float]) -> np.ndarray:
    """Pose of a camera at one point that looks at another, its image upright."""
    forward = np.subtract(at_m, from_m) / np.linalg.norm(np.subtract(at_m, from_m))
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=-1)
    pose[:3, 3] = from_m
    return pose


@dataclass(frozen=True, kw_only=True)
class Truth:
    """A camera, a board, and noise."""

    kind: Kind
    camera: np.ndarray
    board_pose: np.ndarray
    board: Board = BOARD
    lens: Lens = field(default_factory=lambda: LENS)

    def board_in_camera(self, tool_in_base: np.ndarray) -> np.ndarray:
        link = tool_in_base if self.kind == "eye_to_hand" else inverse(tool_in_base)
        return inverse(self.camera) @ link @ self.board_pose

    def tool_showing(self, board_in_camera: np.ndarray) -> np.ndarray:
        """The tool pose at which the board is seen there."""
        link = self.camera @ board_in_camera @ inverse(self.board_pose)
        return link if self.kind == "eye_to_hand" else inverse(link)


def truth(kind: Kind, board: Board = BOARD) -> Truth:
    if kind == "eye_to_hand":
        camera = looking([1.3, 0.35, 0.75], [0.45, 0.0, 0.35])
        return Truth(kind=kind, camera=camera, board_pose=pose_of([0.3, -2.0, 0.4], [-0.07, -0.06, 0.05]), board=board)
    camera = pose_of([0.02, -0.1, 1.5], [0.06, 0.01, -0.08])
    return Truth(kind=kind, camera=camera, board_pose=pose_of([3.1, 0.05, 0.1], [0.5, 0.12, 0.01]), board=board)


def sights(count: int, seed: int, *, tilt_deg: float = 35.0) -> list[np.ndarray]:
    """Poses (4, 4) of a board's middle before the camera, spread over image, depth and tilt."""
    random = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        depth = random.uniform(0.45, 0.75)
        place = depth * np.array([random.uniform(-0.28, 0.28), random.uniform(-0.2, 0.2), 1.0])
        tilt = np.radians(tilt_deg) * random.uniform(-1, 1, size=3)
        result.append(pose_of(tilt, place))
    return result


def tools(scene: Truth, count: int = 15, seed: int = 0, **options: float) -> list[np.ndarray]:
    to_middle = pose_of([0, 0, 0], -scene.board.centre_m)
    return [scene.tool_showing(sight @ to_middle) for sight in sights(count, seed, **options)]


def still(tool_in_base: np.ndarray, stamp_ns: int = 0) -> ToolReading:
    return ToolReading(tool_in_base=tool_in_base, stamp_ns=stamp_ns, speed_m_s=0.0, turning_rad_s=0.0)


def exact_view(scene: Truth, number: int, tool_in_base: np.ndarray) -> View:
    count = 4 if isinstance(scene.board, AprilTag) else (scene.board.columns - 1) * (scene.board.rows - 1)
    ids = np.arange(count)
    points = scene.board.points_of(ids)
    pose = scene.board_in_camera(tool_in_base)
    pixels = scene.lens.project(points @ pose[:3, :3].T + pose[:3, 3])
    detection = Detection(ids=ids, pixels=pixels, points_in_board_m=points)
    return View(number=number, stamp_ns=number, detection=detection, tool=still(tool_in_base, number))


def views_of(
    scene: Truth,
    poses: list[np.ndarray],
    *,
    pixel_px: float = 0.0,
    tool_m: float = 0.0,
    tool_rad: float = 0.0,
    seed: int = 0,
) -> list[View]:
    """Views with normal errors of the pixels, and of the tool poses the robot reports."""
    random = np.random.default_rng(seed)
    result = []
    for number, pose in enumerate(poses, start=1):
        view = exact_view(scene, number, pose)
        old = view.detection
        pixels = old.pixels + random.normal(scale=pixel_px or 1e-300, size=old.pixels.shape)
        error = random.normal(size=6) * np.repeat([tool_m, tool_rad], 3)
        reported = np.array(pose)
        reported[:3, 3] += error[:3]
        reported[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec(error[3:]).as_matrix()
        detection = Detection(ids=old.ids, pixels=pixels, points_in_board_m=old.points_in_board_m)
        result.append(View(number=number, stamp_ns=number, detection=detection, tool=still(reported, number)))
    return result


def with_tool(view: View, step: list[float]) -> View:
    """The view with a tool pose that is off by a step."""
    tool = still(moved(view.tool.tool_in_base, step), view.tool.stamp_ns)
    return View(number=view.number, stamp_ns=view.stamp_ns, detection=view.detection, tool=tool)


@lru_cache(maxsize=4)
def fine_pixels(matrix: bytes, distortion: bytes, size: tuple[int, int], fine: int) -> np.ndarray:
    """Where every pixel of a picture that is finer by a factor lies in the rectified picture."""
    lens = Lens(matrix=np.frombuffer(matrix).reshape(3, 3), distortion=np.frombuffer(distortion), image_size=size)
    columns, rows = ((np.arange(length * fine) + 0.5) / fine - 0.5 for length in size)
    return lens.rectify(np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2))


def render(
    scene: Truth, tool_in_base: np.ndarray, *, seed: int = 0, noise: float = 3.0, blur_px: float = 0.6, fine: int = 2
) -> np.ndarray:
    """A grey picture of the board on a grey ground through the lens, blurred and noisy."""
    pixels_per_unit = 40
    face = scene.board.face(pixels_per_unit)
    if isinstance(scene.board, AprilTag):
        per_m = face.shape[1] / scene.board.size_m
        corner = -scene.board.size_m / 2
    else:
        per_m, corner = pixels_per_unit / scene.board.square_m, 0.0
    margin = pixels_per_unit
    sheet = cv2.copyMakeBorder(face, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=255)
    # A pixel (i, j) of the sheet has its centre at ((i + 0.5 - margin) / per_m + corner, ...) on the board.
    to_board = np.array(
        [[1 / per_m, 0, (0.5 - margin) / per_m + corner], [0, 1 / per_m, (0.5 - margin) / per_m + corner], [0, 0, 1]]
    )
    pose = scene.board_in_camera(tool_in_base)
    plane = pose[:3, [0, 1, 3]]
    flat = fine_pixels(scene.lens.matrix.tobytes(), scene.lens.distortion.tobytes(), scene.lens.image_size, fine)
    width, height = scene.lens.image_size
    back = np.linalg.inv(scene.lens.matrix @ plane @ to_board)
    on_sheet = flat @ back[:, :2].T + back[:, 2]
    on_sheet = (on_sheet[:, :2] / on_sheet[:, 2:]).reshape(height * fine, width * fine, 2).astype(np.float32)
    picture = cv2.remap(sheet, on_sheet, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=110)
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.float64)
    picture = cv2.GaussianBlur(20 + 0.8 * picture, (0, 0), blur_px)
    picture += np.random.default_rng(seed).normal(scale=noise, size=picture.shape)
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)
