"""What the edges of the picture add to what a detector says of it; see test_estimator.py for what comes of detections
alone."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from tests.support.drawn_objects import drawn
from tests.support.seen_episode import CAMERA, IMAGE_SIZE_PX, TOOL_DOWN, detection_of, pose, turned
from tests.support.seen_objects import error_of
from vlajs_perception.detection.detection import Detection
from vlajs_perception.estimate import Keypoints, PoseError
from vlajs_perception.estimator_settings import EstimatorSettings, View
from vlajs_perception.objects import ObjectModel, box, cube, peg
from vlajs_perception.sight import ImplausibleError, see
from vlajs_perception.tool_history import Gripper

CUBE, PEG, BOX = cube("cube", 0.02), peg("peg", 0.12, 0.025), box("box", (0.09, 0.06, 0.05))
SETTINGS = EstimatorSettings()
AWAY = pose([0.4, -0.3, 0.4], TOOL_DOWN)


def lying(model: ObjectModel, yaw: float = 0.3) -> np.ndarray:
    return pose([0.55, 0.05, model.half_size_m[2]], turned(yaw))


def view_of(model: ObjectModel, truth: np.ndarray, detection: Detection, tool: np.ndarray = AWAY) -> View:
    return View(
        stamp_ns=0,
        detections=[detection],
        camera=CAMERA,
        image_size_px=IMAGE_SIZE_PX,
        tool_in_base=tool,
        image_rgb=drawn(model, CAMERA, truth[:3, 3], truth[:3, :3]),
    )


def confused(detection: Detection, rng: np.random.Generator) -> Detection:
    """Its box is right, its corners are anywhere in it."""
    low, high = detection.box_px[:2], detection.box_px[2:]
    keypoints = Keypoints(pixels=rng.uniform(low, high, (8, 2)), confidence=np.full(8, 0.9))
    return replace(detection, numberings=(keypoints,))


@pytest.mark.parametrize("model", [CUBE, PEG, BOX])
def test_corners_that_are_off_by_pixels_are_mended_by_edges(model: ObjectModel) -> None:
    truth = lying(model)
    rng = np.random.default_rng(1)
    off: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(10):
        detection = detection_of(model, truth, rng, noise_px=1.5)
        view = view_of(model, truth, detection)
        for by_edges in (False, True):
            seen = see(detection, model, view if by_edges else replace(view, image_rgb=None), SETTINGS)
            off[by_edges].append(float(np.linalg.norm(seen.position_m - truth[:3, 3])))
    assert np.median(off[True]) < 3e-4 < np.median(off[False])


@pytest.mark.parametrize("model", [CUBE, PEG, BOX])
def test_where_corners_say_nothing_the_box_and_edges_do(model: ObjectModel) -> None:
    truth = lying(model)
    rng = np.random.default_rng(2)
    detection = confused(detection_of(model, truth, rng), rng)
    view = view_of(model, truth, detection)
    seen = see(detection, model, view, SETTINGS)
    assert seen.source == "plane"
    error = error_of(seen, model, truth[:3, 3], truth[:3, :3])
    assert np.linalg.norm(error[:3]) < 1e-3
    assert abs(error[5]) < 0.05
    with suppress(PoseError):  # without edges: where it is, but not how it lies, or nothing
        assert see(detection, model, replace(view, image_rgb=None), SETTINGS).source == "box"


def test_what_has_no_edges_where_it_would_end_is_refused_unless_the_hand_may_hide_them() -> None:
    truth = lying(CUBE)
    detection = detection_of(CUBE, truth, np.random.default_rng(5), noise_px=0.5)
    view = view_of(CUBE, truth, detection)
    assert see(detection, CUBE, view, SETTINGS).source == "plane"
    assert view.image_rgb is not None
    bare = replace(view, image_rgb=np.full_like(view.image_rgb, 130))  # the corners of a cube, and no cube
    with pytest.raises(ImplausibleError, match=r"0\.00 of the outline that cube would have is on edges"):
        see(detection, CUBE, bare, SETTINGS)
    at_hand = pose(truth[:3, 3] + [0.0, 0.0, 0.02], TOOL_DOWN)
    for hand in (at_hand, None):
        seen = see(detection, CUBE, replace(bare, tool_in_base=hand), SETTINGS)
        assert np.linalg.norm(seen.position_m - truth[:3, 3]) < 0.01


@pytest.mark.parametrize(("along_m", "at_it"), [(0.0, True), (0.09, True), (0.2, False)])
def test_the_hand_is_at_a_peg_wherever_along_it_the_tool_is(along_m: float, at_it: bool) -> None:
    truth = lying(PEG)
    detection = detection_of(PEG, truth, np.random.default_rng(5), noise_px=0.5)
    tool = pose(truth[:3, 3] + along_m * truth[:3, 0] + [0.0, 0.0, 0.05], TOOL_DOWN)
    view = view_of(PEG, truth, detection, tool)
    assert view.image_rgb is not None
    bare = replace(view, image_rgb=np.full_like(view.image_rgb, 130))
    if at_it:
        assert np.linalg.norm(see(detection, PEG, bare, SETTINGS).position_m - truth[:3, 3]) < 0.01
    else:
        with pytest.raises(ImplausibleError, match="outline that peg would have is on edges"):
            see(detection, PEG, bare, SETTINGS)


def test_what_a_hand_that_is_known_to_be_open_cannot_hold_is_not_in_the_air() -> None:
    truth = pose([0.55, 0.05, 0.2], turned(0.3))
    detection = detection_of(PEG, truth, np.random.default_rng(3), noise_px=0.3)
    view = view_of(PEG, truth, detection, pose([0.55, 0.05, 0.23], TOOL_DOWN))
    for gripper in (Gripper(), Gripper(closing=True, width_m=0.06), Gripper(grasped=True, width_m=0.05)):
        seen = see(detection, PEG, replace(view, gripper=gripper), SETTINGS)
        assert np.linalg.norm(seen.position_m - truth[:3, 3]) < 8e-3
    with pytest.raises(ImplausibleError, match=r"the hand, 0\.080 m open, has closed on nothing"):
        see(detection, PEG, replace(view, gripper=Gripper(width_m=0.08)), SETTINGS)


def test_keypoints_of_what_is_large_in_the_picture_may_be_further_off() -> None:
    sight = SETTINGS.sight
    assert sight.plane_px(np.array([10.0, 10.0, 45.0, 40.0])) == 4.0  # 0.06 * 35 = 2.1, and 4 at least
    assert sight.plane_px(np.array([10.0, 10.0, 60.0, 160.0])) == pytest.approx(9.0)  # 0.06 * 150


@pytest.mark.parametrize(
    ("lifted_m", "reason"), [(0.08, r"0\.\d+ of the outline that peg would have"), (0.2, "peg would be off the table")]
)
def test_what_floats_is_not_taken_to_lie(lifted_m: float, reason: str) -> None:
    """It looks like a larger one on the table, nearer to the camera: at 8 cm its corners fit, its edges do not."""
    truth = pose([0.55, 0.05, lifted_m], turned(0.3))
    detection = detection_of(PEG, truth, np.random.default_rng(3), noise_px=0.3)
    view = view_of(PEG, truth, detection)
    # nothing holds it in the air, and on the table it would end where there are no edges
    with pytest.raises(ImplausibleError, match=reason):
        see(detection, PEG, view, SETTINGS)
    near = replace(view, tool_in_base=pose([0.55, 0.05, lifted_m + 0.03], TOOL_DOWN))
    seen = see(detection, PEG, near, SETTINGS)  # just let go of, or about to be taken
    assert np.linalg.norm(seen.position_m - truth[:3, 3]) < 8e-3
    if lifted_m < 0.1:
        without_edges = see(detection, PEG, replace(near, image_rgb=None), SETTINGS)
        assert np.linalg.norm(without_edges.position_m - truth[:3, 3]) > 0.05


def held_view(noise_px: float) -> tuple[np.ndarray, Detection, View]:
    """A cube in the hand 13 cm over the table: its pose, what a detector says of it, and the moment."""
    truth = pose([0.55, 0.05, 0.15], turned(0.3))
    detection = detection_of(CUBE, truth, np.random.default_rng(4), noise_px=noise_px)
    held = Gripper(grasped=True, width_m=0.04)
    view = view_of(CUBE, truth, detection, pose(truth[:3, 3], TOOL_DOWN))
    return truth, detection, replace(view, gripper=held)


def test_in_the_hand_nothing_is_looked_for_on_the_table() -> None:
    truth, detection, view = held_view(noise_px=0.5)
    seen = see(detection, CUBE, view, SETTINGS)
    assert seen.source == "free"
    along = truth[:3, 3] - CAMERA.position_in_base_m
    along /= np.linalg.norm(along)
    off_m = seen.position_m - truth[:3, 3]
    assert np.linalg.norm(off_m - (off_m @ along) * along) < 1e-3


def test_a_measured_distance_counts_more_than_that_of_edges() -> None:
    """The depth image knows to millimetres what edges, seen once, know to centimetres."""
    truth, detection, view = held_view(noise_px=1.0)
    by_edges = see(detection, CUBE, view, SETTINGS)
    ahead_m = float((CAMERA.camera_in_base[:3, 2] @ (truth[:3, 3] - CAMERA.position_in_base_m)) - 0.02)
    deep = np.full(IMAGE_SIZE_PX[::-1], ahead_m, np.float32)  # its front is about half an edge before its middle
    with_depth = see(detection, CUBE, replace(view, depth_m=deep), SETTINGS)
    assert np.linalg.norm(with_depth.position_m - truth[:3, 3]) < 8e-3
    assert with_depth.position_std_m < 0.5 * by_edges.position_std_m
