"""The twin and its camera as two processes, seen over DDS: what the pictures show is where things truly are."""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from tests.support.processes import node_words, output_of_refused_start, own_domain, python
from tests.support.tester import Tester
from vlajs.nodes.image_messages import bgr_from, lens_from
from vlajs.nodes.messages import stamp_ns_of
from vlajs.twin.camera import optical_in_base
from vlajs.twin.scene import SceneConfig
from vlajs_msgs.srv import ResetScene
from vlajs_perception.camera import Camera

pytestmark = pytest.mark.graph

DOMAIN_ID = own_domain()
MANY = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)
LATENCY_S = 0.2
PICTURES_AWAITED = 300


class Viewer(Tester):
    """Hears images and true poses, sets scenes and disturbances."""

    def __init__(self) -> None:
        super().__init__("viewer", DOMAIN_ID)
        self.images: list[Image] = []
        self.infos: list[CameraInfo] = []
        self.cubes: dict[int, PoseStamped] = {}
        self.latest_ns = 0
        self.node.create_subscription(Image, "/camera/image_raw", self.images.append, MANY)
        self.node.create_subscription(CameraInfo, "/camera/camera_info", self.infos.append, MANY)
        self.node.create_subscription(PoseStamped, "/twin/objects/cube/pose", self._on_cube, MANY)
        self.reset_scene = self.node.create_client(ResetScene, "/twin/reset_scene")
        self.set_parameters = self.node.create_client(SetParameters, "/twin_camera/set_parameters")

    def _on_cube(self, message: PoseStamped) -> None:
        self.latest_ns = stamp_ns_of(message.header)
        self.cubes[self.latest_ns] = message

    def next_image(self) -> Image:
        """An image of a tick after this call whose truth and whose camera_info were heard."""
        since_ns = self.latest_ns

        def whole() -> list[Image]:
            told = {stamp_ns_of(info.header) for info in self.infos} & self.cubes.keys()
            return [image for image in self.images if since_ns < stamp_ns_of(image.header) in told]

        self.until(lambda: bool(whole()), "an image")
        return whole()[0]

    def picture_that(self, shows: Callable[[np.ndarray], bool], what: str) -> Image:
        """The first new picture that shows what is awaited: a picture may be under way when the camera is changed."""
        while True:
            image = self.next_image()
            if shows(bgr_from(image).astype(float)):
                return image
            assert len(self.images) < PICTURES_AWAITED, f"{what} is not seen in {PICTURES_AWAITED} pictures"

    def disturb(self, **values: object) -> str:
        """Set parameters of the camera; the reason if it refuses."""
        parameters = [Parameter(name=name, value=parameter_value(value)) for name, value in values.items()]
        answer = self.call(self.set_parameters, SetParameters.Request(parameters=parameters))
        return "; ".join(result.reason for result in answer.results if not result.successful)


def parameter_value(value: object) -> ParameterValue:
    match value:
        case bool():
            return ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=value)
        case int():
            return ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=value)
        case float():
            return ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
        case list():
            return ParameterValue(type=ParameterType.PARAMETER_DOUBLE_ARRAY, double_array_value=value)
    raise AssertionError(value)


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[contextlib.ExitStack]:
    """Twin and camera; closing the stack that is yielded ends the twin."""
    folder = tmp_path_factory.mktemp("camera")
    camera = node_words("twin_camera_node", latency_s=LATENCY_S)
    with (
        contextlib.ExitStack() as twin,
        python(DOMAIN_ID, *camera, log=folder / "camera.log"),
    ):
        twin.enter_context(python(DOMAIN_ID, *node_words("twin_node", address="auto"), log=folder / "twin.log"))
        yield twin


@pytest.fixture
def viewer(processes: contextlib.ExitStack) -> Iterator[Viewer]:
    viewer = Viewer()
    try:
        yield viewer
    finally:
        viewer.close()


def camera_of(info: CameraInfo) -> Camera:
    """The camera by its own info, where the scene has it."""
    lens = lens_from(info)
    assert not lens.distortion.any()
    return Camera(matrix=lens.matrix, camera_in_base=optical_in_base(SceneConfig().front_camera))


def cube_pixel(viewer: Viewer, image: Image) -> np.ndarray:
    """Where the true middle of the cube is in the picture, (column, row)."""
    pose = viewer.cubes[stamp_ns_of(image.header)].pose.position
    info = next(info for info in viewer.infos if info.header.stamp == image.header.stamp)
    return np.round(camera_of(info).project([pose.x, pose.y, pose.z])).astype(int)


def is_red(bgr: np.ndarray) -> bool:
    blue, green, red = (int(value) for value in bgr)
    return red > 60 and red > 2 * green and red > 2 * blue


@pytest.mark.parametrize(("task", "seed"), [("push_cube", 3), ("pick_cube", 5), ("pick_place_cube", 8)])
def test_the_cube_is_seen_where_it_truly_is_at_that_tick(viewer: Viewer, task: str, seed: int) -> None:
    response = viewer.call(viewer.reset_scene, ResetScene.Request(task=task, seed=seed))
    assert response.success, response.message
    told_ns = stamp_ns_of(response.object_poses[0].header)
    viewer.until(lambda: viewer.latest_ns > told_ns, "the scene")
    image = viewer.next_image()
    assert (image.width, image.height, image.encoding) == (640, 480, "rgb8")
    assert image.header.frame_id == "camera_optical_frame"
    picture = bgr_from(image)
    column, row = cube_pixel(viewer, image)
    # 4 cm are at least 15 px at 640 px: 5 px around its middle are its own
    for offset in ((0, 0), (5, 0), (-5, 0), (0, 5), (0, -5)):
        assert is_red(picture[row + offset[1], column + offset[0]]), (offset, picture[row, column])
    share = np.mean((picture[..., 2] > 60) & (picture[..., 2] > 2.0 * picture[..., 1]))
    assert share < 0.01, "red is the cube's alone"


def test_pictures_come_late_by_the_latency_and_each_tick_once(viewer: Viewer) -> None:
    ages_s = []
    viewer.node.create_subscription(
        Image,
        "/camera/image_raw",
        lambda m: ages_s.append((viewer.latest_ns - stamp_ns_of(m.header)) * 1e-9),
        MANY,
    )
    viewer.until(lambda: len(ages_s) > 3 and len(viewer.images) > 3, "pictures")
    stamps = [stamp_ns_of(image.header) for image in viewer.images]
    assert np.min(np.diff(stamps)) > 0
    # the truth that was heard last is at most a tick (1/60 s) older than the one that let the picture out
    assert min(ages_s[1:]) > LATENCY_S - 2 / 60


@pytest.mark.parametrize(
    "disturbance",
    [
        {"light": 0.5},
        {"colours": 4},
        {"textures": 4},
        {"clutter": 8},
        {"camera_offset_m": [0.02, 0.0, 0.0], "camera_offset_deg": [0.0, 2.0, 0.0]},
        {"occluded": True},
    ],
    ids=lambda values: next(iter(values)),
)
def test_a_disturbance_changes_the_picture_and_not_what_is_said_of_the_camera(
    viewer: Viewer, disturbance: dict[str, object]
) -> None:
    undisturbed = {"light": 1.0, "colours": 0, "textures": 0, "clutter": 0, "occluded": False}
    undisturbed |= {"camera_offset_m": [0.0] * 3, "camera_offset_deg": [0.0] * 3}
    before = bgr_from(viewer.next_image()).astype(float)
    info = list(viewer.infos[-1].k)
    assert viewer.disturb(**disturbance) == ""
    try:
        # grey values of 255; clutter covers a part of the picture only
        image = viewer.picture_that(lambda picture: bool(np.mean(np.abs(picture - before)) > 1.0), "the disturbance")
        during = bgr_from(image).astype(float)
        column, row = cube_pixel(viewer, image)
    finally:
        assert viewer.disturb(**{name: undisturbed[name] for name in disturbance}) == ""
    assert list(viewer.infos[-1].k) == info
    if "occluded" in disturbance:
        assert not is_red(during[row, column])
        assert np.max(np.std(during, axis=(0, 1))) < 5.0
    viewer.picture_that(lambda picture: bool(np.mean(np.abs(picture - before)) < 0.5), "the picture before")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"light": 9.0}, "light is 9.0, must lie in [0.05, 5.0]"),
        ({"clutter": 99}, "clutter is 99"),
        ({"camera_offset_m": [1.0, 0.0, 0.0]}, "camera_offset_m is [1.0, 0.0, 0.0]"),
        ({"latency_s": 1.0}, "latency_s cannot change now"),
    ],
)
def test_what_cannot_be_is_refused_while_running(viewer: Viewer, values: dict[str, object], reason: str) -> None:
    assert reason in viewer.disturb(**values)


def test_a_dead_twin_stops_the_pictures(viewer: Viewer, processes: contextlib.ExitStack) -> None:
    viewer.next_image()
    processes.close()
    last_ns = viewer.latest_ns
    viewer.images.clear()
    # what was on the way arrives within the patience of a second; then there is nothing more
    spin(viewer, 1.0)
    viewer.images.clear()
    spin(viewer, 1.5)
    assert viewer.images == []
    assert viewer.latest_ns >= last_ns
    assert "/twin_camera" in [f"/{name}" for name in viewer.node.get_node_names()], "the camera itself lives"


def spin(viewer: Viewer, seconds: float) -> None:
    until_ns = viewer.node.get_clock().now().nanoseconds + int(seconds * 1e9)
    viewer.until(lambda: viewer.node.get_clock().now().nanoseconds > until_ns, f"{seconds} s")


@pytest.mark.beside
@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"rate_hz": 1000.0}, "rate_hz is 1000.0"),
        ({"width": 10}, "width_px is 10"),
        ({"position_m": "[0.6, 0.0, 1.0]", "look_at_m": "[0.6, 0.0, 0.0]"}, "has no upright image"),
    ],
)
def test_bad_parameter_ends_the_process_with_the_reason(parameters: dict[str, object], reason: str) -> None:
    assert reason in output_of_refused_start(DOMAIN_ID, "twin_camera_node", **parameters)
