"""The detector that is shipped, on what the twin's camera sees: no network, no file of figures, the pictures decide."""

from collections.abc import Iterator

import numpy as np
import pytest

from vlajs.geometry import Pose
from vlajs.tasks import HOME_JOINTS_RAD, get_task, sample_scene
from vlajs.twin.camera import TwinCamera, TwinCameraConfig
from vlajs.twin.disturbance import Disturbance
from vlajs.twin.seen import SeenState
from vlajs_perception.detection.yolo import YoloDetector
from vlajs_perception.estimator_settings import EstimatorSettings, View
from vlajs_perception.objects import cube
from vlajs_perception.shipped import DETECTOR
from vlajs_perception.sight import see
from vlajs_perception.symmetry import rotation_error_rad
from vlajs_perception.tool_history import Gripper

CUBE = cube("cube", 0.02)
AWAY = Pose(position_m=np.array([0.6, 0.0, -3.0]), quat_wxyz=np.array([1.0, 0.0, 0.0, 0.0]))


@pytest.fixture(scope="module")
def camera() -> Iterator[TwinCamera]:
    camera = TwinCamera(TwinCameraConfig())
    yield camera
    camera.close()


@pytest.fixture(scope="module")
def detector() -> YoloDetector:
    return YoloDetector(DETECTOR, threads=1)


def picture(camera: TwinCamera, cube_in_base: Pose, disturbance: Disturbance) -> np.ndarray:
    state = SeenState(
        stamp_ns=0,
        joints_rad=np.array(HOME_JOINTS_RAD),
        fingers_m=np.array([0.04, 0.04]),
        bodies={"cube": cube_in_base},
    )
    return camera.render(state, disturbance)


@pytest.mark.parametrize(
    "disturbance",
    [Disturbance(), Disturbance(light=0.35), Disturbance(colours=3), Disturbance(textures=5)],
    ids=["usual", "dim", "colours", "textures"],
)
def test_a_cube_is_found_within_millimetres(
    camera: TwinCamera, detector: YoloDetector, disturbance: Disturbance
) -> None:
    errors_m, errors_rad = [], []
    for seed in range(8):
        truth = sample_scene(get_task("push_cube"), seed).objects["cube"]
        found = [one for one in detector.detect(picture(camera, truth, disturbance)) if one.name == "cube"]
        assert found, f"seed {seed}"
        view = View(
            stamp_ns=0,
            detections=found,
            camera=camera.camera,
            image_size_px=(640, 480),
            tool_in_base=None,
            gripper=Gripper(closing=False, grasped=False),
        )
        pose = see(found[0], CUBE, view, EstimatorSettings())
        errors_m.append(np.linalg.norm(pose.position_m - truth.position_m))
        errors_rad.append(rotation_error_rad(pose.quat_wxyz, truth.quat_wxyz, CUBE.symmetries_wxyz))
    assert np.median(errors_m) < 0.003
    assert max(errors_m) < 0.008
    assert np.degrees(np.median(errors_rad)) < 8.0


def test_where_there_is_no_cube_none_is_found(camera: TwinCamera, detector: YoloDetector) -> None:
    found = detector.detect(picture(camera, AWAY, Disturbance()))
    assert [one.name for one in found if one.name == "cube"] == []
