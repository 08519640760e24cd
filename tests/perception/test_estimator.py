"""Objects tracked through simulated episodes: reach, grasp, lift, carry, release; slips, decoys, nonsense."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.support.seen_episode import (
    CAMERA,
    IMAGE_PERIOD_S,
    TOOL_DOWN,
    Moment,
    detection_of,
    hand_of,
    pick_and_place,
    pose,
    turned,
    view_of,
)
from vlajs_perception.detection.detection import Detection
from vlajs_perception.estimate import Keypoints, PoseError
from vlajs_perception.estimator import PoseEstimator, Report
from vlajs_perception.estimator_settings import EstimatorSettings, Target
from vlajs_perception.objects import ObjectModel, cube, peg
from vlajs_perception.rigid import quat_of
from vlajs_perception.sight import ImplausibleError, best_numbering, see
from vlajs_perception.symmetry import rotation_error_rad
from vlajs_perception.tool_history import Gripper
from vlajs_perception.tracker import Status

CUBE, PEG = cube("cube", 0.02), peg("peg", 0.12, 0.025)
SETTINGS = EstimatorSettings()
AWAY = pose([0.4, -0.3, 0.4], TOOL_DOWN)
CUBE_HERE = pose([0.6, 0.05, 0.02], turned(0.3))


def estimator(*models: ObjectModel) -> PoseEstimator:
    return PoseEstimator([Target(name=model.name, detected_as=model.name, model=model) for model in models])


def moment(index: float, object_in_base: np.ndarray = CUBE_HERE, tool: np.ndarray = AWAY, **gripper: float) -> Moment:
    return Moment(
        time_s=index * IMAGE_PERIOD_S,
        object_in_base=object_in_base,
        tool_in_base=tool,
        gripper=Gripper(**gripper),  # type: ignore[arg-type]  (bools, and a width)
        hidden=False,
    )


def off_mm(report: Report, truth: np.ndarray) -> float:
    assert report.pose is not None, report
    return 1e3 * float(np.linalg.norm(report.pose.position_m - truth[:3, 3]))


def off_deg(report: Report, truth: np.ndarray, model: ObjectModel) -> float:
    assert report.pose is not None, report
    turned_rad = rotation_error_rad(report.pose.quat_wxyz, quat_of(truth[:3, :3]), model.symmetries_wxyz)
    return float(np.degrees(turned_rad))


def tracking(model: ObjectModel = CUBE, truth: np.ndarray = CUBE_HERE, images: int = 5) -> PoseEstimator:
    """One that has seen the object at rest, last in image ``images - 1``."""
    found, rng = estimator(model), np.random.default_rng(1)
    for index in range(images):
        found.observe(view_of(moment(index, truth), [detection_of(model, truth, rng)]))
    assert found.at(moment(images - 1).stamp_ns)[0].status is Status.TRACKING
    return found


@pytest.mark.parametrize("model", [CUBE, PEG], ids=["cube", "peg"])
def test_an_episode_is_followed_through_hiding_fingers(model: ObjectModel) -> None:
    """With corners off by 1 px, poses are predicted one image ahead: never further off than 7 mm, mostly 1.5 mm."""
    found, rng = estimator(model), np.random.default_rng(0)
    moments = list(pick_and_place(half_height_m=float(model.half_size_m[2])))
    errors_mm, errors_deg, held = [], [], 0
    for now, then in pairwise(moments):
        detections = [] if now.hidden else [detection_of(model, now.object_in_base, rng)]
        hand = hand_of(*moments[: moments.index(then) + 1][-5:])
        found.observe(view_of(now, detections), hand)
        (report,) = found.at(then.stamp_ns, hand)
        if now.time_s < 0.1:
            continue  # not confirmed yet
        held += report.held
        errors_mm.append(off_mm(report, then.object_in_base))
        errors_deg.append(off_deg(report, then.object_in_base, model))
    # held from 1.6 s to 6.2 s: 4.6 s of 15 images each, and there is a pose at every tick
    assert held == pytest.approx(69, abs=2)
    assert max(errors_mm) < 7.0
    assert np.median(errors_mm) < 1.5
    assert max(errors_deg) < 8.0
    assert found.refusals[f"{model.name}: slipped"] == 0


def test_the_numbering_that_fits_is_taken_and_the_other_ignored() -> None:
    truth = CAMERA.project(CUBE.keypoints_m @ turned(0.3).T + [0.6, 0.0, 0.02])
    good = Keypoints(pixels=truth + 0.5, confidence=np.ones(8))
    heap = Keypoints(pixels=np.full((8, 2), 300.0), confidence=np.ones(8))
    off = Keypoints(pixels=truth + np.array([[3.0, 0.0], [-3.0, 0.0]] * 4), confidence=np.ones(8))
    box_px = [*truth.min(axis=0), *truth.max(axis=0)]
    view = view_of(moment(0), [])
    for numberings in ((heap, good), (good, off), (off, good)):
        detection = Detection(name="cube", score=0.9, box_px=np.array(box_px), numberings=numberings)
        estimate = see(detection, CUBE, view, SETTINGS)
        # half a pixel of 2 mm in each direction
        assert estimate.position_m == pytest.approx([0.6, 0.0, 0.02], abs=2e-3)
        assert estimate.residual_px is not None
        assert estimate.residual_px < 1.0

    def fails(_: Keypoints) -> None:
        raise PoseError("none fits")

    with pytest.raises(PoseError, match="none fits"):
        best_numbering(detection, fails, SETTINGS.sight.fit)  # type: ignore[arg-type]


UPRIGHT = Rotation.from_euler("y", -90, degrees=True).as_matrix()
LEANING = Rotation.from_euler("y", 40, degrees=True).as_matrix()


@pytest.mark.parametrize(
    ("truth", "gripper", "tool", "source"),
    [
        (pose([0.6, 0.0, 0.025], turned(0.4)), {}, AWAY, "plane"),
        # on its end: its middle is half its length up
        (pose([0.6, 0.0, 0.12], turned(0.4) @ UPRIGHT), {}, AWAY, "plane"),
        # leaning in the air, open fingers at its end
        (pose([0.6, 0.0, 0.2], turned(0.4) @ LEANING), {}, pose([0.6, 0.0, 0.2], TOOL_DOWN), "free"),
        # level in the air: a hand has closed on it up there
        (pose([0.6, 0.0, 0.2], turned(0.4)), {"grasped": True}, pose([0.6, 0.0, 0.2], TOOL_DOWN), "free"),
        # a hand has closed on something else
        (pose([0.6, 0.0, 0.025], turned(0.4)), {"grasped": True}, AWAY, "plane"),
        # held, and still on the table
        (pose([0.6, 0.0, 0.025], turned(0.4)), {"grasped": True}, pose([0.6, 0.0, 0.025], TOOL_DOWN), "plane"),
    ],
    ids=["lying", "upright", "leaning", "lifted", "something else held", "held on the table"],
)
def test_where_an_object_is_decides_the_fit(
    truth: np.ndarray, gripper: dict[str, bool], tool: np.ndarray, source: str
) -> None:
    rng = np.random.default_rng(3)
    for _ in range(3):
        detection = detection_of(PEG, truth, rng, noise_px=0.5)
        estimate = see(detection, PEG, view_of(moment(0, truth, tool, **gripper), []), SETTINGS)
        assert estimate.source == source
        limit_m = 5e-3 if source == "plane" else 0.04  # a camera tells distance badly
        assert np.linalg.norm(estimate.position_m - truth[:3, 3]) < limit_m
        assert rotation_error_rad(estimate.quat_wxyz, quat_of(truth[:3, :3]), PEG.symmetries_wxyz) < 0.1


@pytest.mark.parametrize(
    ("truth", "tool", "message"),
    [
        (pose([0.6, 0.0, 0.2], turned(0.4) @ LEANING), AWAY, r"off the table, 0\.\d+ m from the tool \(limit 0\.1 m\)"),
        # its lower end 0.12 sin 40 + 0.025 cos 40 = 0.096 m beneath its middle, 0.076 m in the table
        (
            pose([0.6, 0.0, 0.02], turned(0.4) @ LEANING),
            pose([0.6, 0.0, 0.02], TOOL_DOWN),
            r"would reach 0\.0\d+ m into",
        ),
    ],
    ids=["in mid-air", "in the table"],
)
def test_what_nothing_holds_up_is_refused(truth: np.ndarray, tool: np.ndarray, message: str) -> None:
    detection = detection_of(PEG, truth, np.random.default_rng(3), noise_px=0.1)
    with pytest.raises(ImplausibleError, match=message):
        see(detection, PEG, view_of(moment(0, truth, tool), []), SETTINGS)


def test_where_the_tool_is_not_known_what_is_in_the_air_is_believed() -> None:
    truth = pose([0.6, 0.0, 0.2], turned(0.4) @ LEANING)
    detection = detection_of(PEG, truth, np.random.default_rng(3), noise_px=0.1)
    view = replace(view_of(moment(0, truth), []), tool_in_base=None)
    assert see(detection, PEG, view, SETTINGS).source == "free"


def test_a_slip_is_noticed_and_the_object_found_where_it_lies() -> None:
    found, rng = tracking(), np.random.default_rng(2)
    tool = pose([0.6, 0.05, 0.02], TOOL_DOWN)
    lifted = pose([0.6, 0.05, 0.17], TOOL_DOWN)
    for index in (5, 6, 7):
        found.observe(view_of(moment(index, CUBE_HERE, tool, grasped=True), []))
    assert found.at(moment(7).stamp_ns)[0].held
    statuses = []
    for index in range(8, 20):  # the hand rises, the cube stays where it was
        risen = moment(index, CUBE_HERE, lifted, grasped=True)
        found.observe(view_of(risen, [detection_of(CUBE, CUBE_HERE, rng)]), hand_of(risen))
        statuses.append(found.at(risen.stamp_ns, hand_of(risen))[0])
    held = [report.held for report in statuses]
    assert held[:3] == [True] * 3  # four images in a row must say so
    assert not any(held[3:])  # and it is not taken up again, though the hand still claims to hold something
    assert statuses[3].status is Status.LOST
    assert statuses[3].pose is None
    assert "slipped" in statuses[3].reason or "times in a row" in statuses[3].reason
    assert off_mm(statuses[-1], CUBE_HERE) < 3.0
    assert found.refusals["cube: slipped"] == 1


@pytest.mark.parametrize("side", [0, 1, 2, 3])
def test_what_fingers_hide_is_no_slip(side: int) -> None:
    """Of the cube in the hand three quarters are hidden: the box that is left ends far inside the cube's."""
    found, rng = tracking(), np.random.default_rng(4)
    tool, in_hand = pose([0.6, 0.05, 0.02], TOOL_DOWN), CUBE_HERE.copy()
    for index in (5, 6, 7):
        found.observe(view_of(moment(index, CUBE_HERE, tool, grasped=True), []))
    tool[2, 3] += 0.15
    in_hand[2, 3] += 0.15
    for index in range(8, 20):
        whole = detection_of(CUBE, in_hand, rng)
        box_px = whole.box_px.copy()
        opposite = (side + 2) % 4
        box_px[side] += 0.75 * (box_px[opposite] - box_px[side])
        risen = moment(index, in_hand, tool, grasped=True)
        found.observe(view_of(risen, [replace(whole, box_px=box_px)]), hand_of(risen))
        (report,) = found.at(risen.stamp_ns, hand_of(risen))
        assert report.held, report.reason
        assert off_mm(report, in_hand) < 5.0


def test_an_open_hand_ends_the_grasp() -> None:
    found = tracking()
    tool = pose([0.6, 0.05, 0.02], TOOL_DOWN)
    found.observe(view_of(moment(5, CUBE_HERE, tool, closing=True), []))
    assert found.at(moment(5).stamp_ns)[0].held
    risen = moment(6, CUBE_HERE, pose([0.6, 0.05, 0.2], TOOL_DOWN))
    found.observe(view_of(moment(6, CUBE_HERE, tool), []))
    (report,) = found.at(risen.stamp_ns, hand_of(risen))
    assert not report.held
    assert off_mm(report, CUBE_HERE) < 3.0  # it does not go up with the tool


def test_a_hand_told_to_close_while_it_comes_down_takes_the_cube_from_where_it_stands() -> None:
    """Told 26 mm over the cube, as a policy does; its fingers begin 0.1 s later, when it is there."""
    found = tracking()
    told = moment(5, tool=pose([0.6, 0.05, 0.046], TOOL_DOWN), closing=True, width_m=0.08)
    found.observe(view_of(told, []), hand_of(told))
    down = moment(6.5, tool=pose([0.6, 0.05, 0.02], TOOL_DOWN), closing=True, width_m=0.08)
    (report,) = found.at(down.stamp_ns, hand_of(told, down))
    assert off_mm(report, CUBE_HERE) < 3.0
    shut = moment(8, tool=pose([0.6, 0.05, 0.02], TOOL_DOWN), closing=True, width_m=0.04)
    lifted = pose([0.6, 0.05, 0.07], TOOL_DOWN)
    up = moment(9, tool=lifted, grasped=True, width_m=0.04)
    (report,) = found.at(up.stamp_ns, hand_of(told, down, shut, up))  # no image since: all of it is followed
    assert report.held
    assert off_mm(report, pose([0.6, 0.05, 0.07])) < 3.0
    found.observe(view_of(up, []), hand_of(told, down, shut, up))
    assert off_mm(found.at(up.stamp_ns)[0], pose([0.6, 0.05, 0.07])) < 3.0


def test_what_is_taken_between_two_images_goes_along() -> None:
    """The last image shows an open hand 80 mm over the cube; 0.2 s later, in the next, it has it 50 mm up."""
    found = tracking()
    above = moment(5, tool=pose([0.6, 0.05, 0.1], TOOL_DOWN), width_m=0.08)
    found.observe(view_of(above, [detection_of(CUBE, CUBE_HERE, np.random.default_rng(9))]), hand_of(above))
    down = moment(6, tool=pose([0.6, 0.05, 0.02], TOOL_DOWN), closing=True, width_m=0.08)
    shut = moment(7, tool=pose([0.6, 0.05, 0.02], TOOL_DOWN), closing=True, width_m=0.04)
    up = moment(8, tool=pose([0.6, 0.05, 0.07], TOOL_DOWN), closing=True, width_m=0.04)
    hand = hand_of(above, down, shut, up)
    assert off_mm(found.at(up.stamp_ns, hand)[0], pose([0.6, 0.05, 0.07])) < 3.0
    found.observe(view_of(up, []), hand)
    (report,) = found.at(up.stamp_ns, hand)
    assert report.held
    assert off_mm(report, pose([0.6, 0.05, 0.07])) < 3.0


def test_what_is_held_has_no_pose_where_the_tool_is_not_known() -> None:
    found = tracking()
    taken = moment(5, tool=pose([0.6, 0.05, 0.02], TOOL_DOWN), grasped=True, width_m=0.04)
    found.observe(view_of(taken, []), hand_of(taken))
    assert off_mm(found.at(taken.stamp_ns, hand_of(taken))[0], CUBE_HERE) < 3.0
    (report,) = found.at(moment(8).stamp_ns, hand_of(taken))  # 0.2 s without a word of the tool, 0.1 s allowed
    assert report.pose is None
    assert "where the tool is is not known" in report.reason


def test_fingers_closer_together_than_the_object_is_wide_do_not_hold_it() -> None:
    found = tracking()
    tool = pose([0.6, 0.05, 0.02], TOOL_DOWN)
    for index, width_m in ((5, 0.04), (6, 0.035), (7, 0.033), (8, 0.01)):
        grasped = moment(index, tool=tool, grasped=True, width_m=width_m)
        tool = tool @ pose([0.0, 0.0, -0.02])  # up
        found.observe(view_of(grasped, []), hand_of(grasped))
        # 40 mm wide, 6 mm may give
        assert found.at(grasped.stamp_ns)[0].held == (width_m > 0.034)


def test_what_falls_out_of_the_hand_is_on_the_table_at_once_and_where_the_next_image_shows_it() -> None:
    """Let go 100 mm up, it comes to lie 12 mm beside."""
    found, rng = tracking(), np.random.default_rng(10)
    low = moment(5, tool=pose([0.6, 0.05, 0.02], TOOL_DOWN), grasped=True, width_m=0.04)
    high = moment(6, tool=pose([0.6, 0.05, 0.12], TOOL_DOWN), grasped=True, width_m=0.04)
    opened = moment(7, tool=pose([0.6, 0.05, 0.12], TOOL_DOWN), width_m=0.06)
    for now in (low, high):
        found.observe(view_of(now, []), hand_of(now))
    assert off_mm(found.at(high.stamp_ns)[0], pose([0.6, 0.05, 0.12])) < 3.0
    hand = hand_of(high, opened)
    assert off_mm(found.at(opened.stamp_ns, hand)[0], CUBE_HERE) < 3.0  # before any image shows that it fell
    found.observe(view_of(opened, []), hand)
    aside = pose([0.612, 0.05, 0.02], turned(0.3))
    after = moment(8, aside, opened.tool_in_base, width_m=0.08)
    found.observe(view_of(after, [detection_of(CUBE, aside, rng)]), hand_of(opened, after))
    (report,) = found.at(after.stamp_ns)
    assert not report.held
    assert off_mm(report, aside) < 4.0


def test_of_two_the_one_that_is_tracked_is_taken_and_a_better_score_begins() -> None:
    rng, decoy = np.random.default_rng(5), pose([0.6, -0.15, 0.02], turned(0.1))
    both: Callable[[], list[Detection]] = lambda: [  # noqa: E731
        detection_of(CUBE, decoy, rng, score=0.95),
        detection_of(CUBE, CUBE_HERE, rng, score=0.8),
    ]
    found = tracking()
    for index in range(5, 9):
        found.observe(view_of(moment(index), both()))
    assert off_mm(found.at(moment(8).stamp_ns)[0], CUBE_HERE) < 5.0
    fresh = estimator(CUBE)
    for index in range(4):
        fresh.observe(view_of(moment(index), both()))
    assert off_mm(fresh.at(moment(3).stamp_ns)[0], decoy) < 5.0


def test_a_push_is_followed_and_an_object_taken_away_is_lost() -> None:
    found, rng = tracking(), np.random.default_rng(6)
    moved = pose([0.5, 0.1, 0.02], turned(0.8))
    for index in range(5, 9):
        found.observe(view_of(moment(index, moved), [detection_of(CUBE, moved, rng)]))
    assert off_mm(found.at(moment(8).stamp_ns)[0], moved) < 5.0
    for index in range(9, 30):
        found.observe(view_of(moment(index), []))
    (at_last,) = found.at(moment(29).stamp_ns)
    assert at_last.status is Status.LOST
    assert at_last.pose is None
    assert at_last.last_seen_ns in (moment(7).stamp_ns, moment(8).stamp_ns)  # confirmed by the third image
    assert at_last.reason == "the detector does not see it"


def test_what_cannot_be_is_refused_and_counted() -> None:
    found, rng = estimator(CUBE), np.random.default_rng(7)
    beyond = pose([-0.3, 0.0, 0.02], turned(0.3))  # behind the robot
    small = cube("cube", 0.012)
    for index in range(4):
        found.observe(view_of(moment(index), [detection_of(CUBE, beyond, rng)]))
    assert found.refusals["cube: implausible"] == 4
    (report,) = found.at(moment(3).stamp_ns)
    assert report.status is Status.ABSENT
    assert "outside the work area" in report.reason
    # a smaller cube is one that is further away, under the table
    for index in range(4, 8):
        found.observe(view_of(moment(index), [detection_of(small, pose([0.6, 0, 0.012]), rng, noise_px=0.2)]))
    assert found.at(moment(7).stamp_ns)[0].pose is None


def test_a_box_alone_keeps_a_track_and_begins_none() -> None:
    rng = np.random.default_rng(8)

    def only_box() -> Detection:
        nothing = Keypoints(pixels=np.full((8, 2), np.nan), confidence=np.zeros(8))
        return replace(detection_of(CUBE, CUBE_HERE, rng, noise_px=0.5), numberings=(nothing,))

    fresh, found = estimator(CUBE), tracking()
    for index in range(5, 10):
        fresh.observe(view_of(moment(index), [only_box()]))
        found.observe(view_of(moment(index), [only_box()]))
    (report,) = fresh.at(moment(9).stamp_ns)
    assert report.pose is None
    assert "its turn is known to" in report.reason
    assert off_mm(found.at(moment(9).stamp_ns)[0], CUBE_HERE) < 6.0


def test_objects_that_cannot_be_told_apart_are_refused() -> None:
    target = Target(name="cube", detected_as="cube", model=CUBE)
    with pytest.raises(ValueError, match="no two alike"):
        PoseEstimator([target, replace(target, name="other")])
    with pytest.raises(ValueError, match="at least one"):
        PoseEstimator([])
