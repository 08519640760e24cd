import numpy as np
import pytest
from scipy.stats import chi2

from tests.perception.calibration.synthetic import (
    BOARD,
    LENS,
    SIZE,
    Truth,
    exact_view,
    still,
    tools,
    truth,
    views_of,
    with_tool,
)
from vlajs_perception.calibration.board import AprilTag, CharucoBoard, Detection
from vlajs_perception.calibration.errors import CalibrationError
from vlajs_perception.calibration.problem import Free, Problem, Unknowns
from vlajs_perception.calibration.se3 import moved, step_between
from vlajs_perception.calibration.solve import disagreement, robust_fit, solve
from vlajs_perception.calibration.start import estimate_lens, first_guess
from vlajs_perception.calibration.views import Kind, View

KINDS: list[Kind] = ["eye_to_hand", "eye_in_hand"]


def unknowns_of(scene: Truth) -> Unknowns:
    return Unknowns(camera=scene.camera, board=scene.board_pose, lens=scene.lens)


def off_mm_deg(scene: Truth, camera: np.ndarray) -> tuple[float, float]:
    step = step_between(scene.camera, camera)
    return 1e3 * float(np.linalg.norm(step[:3])), float(np.degrees(np.linalg.norm(step[3:])))


@pytest.mark.parametrize("kind", KINDS)
def test_exact_without_noise(kind: Kind) -> None:
    scene = truth(kind)
    solution = solve(kind, views_of(scene, tools(scene)), LENS)
    np.testing.assert_allclose(solution.unknowns.camera, scene.camera, atol=1e-6)
    np.testing.assert_allclose(solution.unknowns.board, scene.board_pose, atol=1e-6)
    assert max(np.max(np.abs(r)) for r in solution.residuals_px) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_15_noisy_views_give_2_mm_and_0_3_degrees(kind: Kind, seed: int) -> None:
    # Points off by 0.3 px, and an arm that is off by 0.5 mm and 0.05 degrees along and about each axis.
    scene = truth(kind)
    views = views_of(scene, tools(scene, 15, seed), pixel_px=0.3, tool_m=5e-4, tool_rad=9e-4, seed=seed)
    distance_mm, angle_deg = off_mm_deg(scene, solve(kind, views, LENS).unknowns.camera)
    assert distance_mm <= 2.0
    assert angle_deg <= 0.3


def test_an_april_tag_does_too() -> None:
    scene = truth("eye_to_hand", AprilTag(size_m=0.1))
    views = views_of(scene, tools(scene, 15), pixel_px=0.15, tool_m=2e-4, tool_rad=4e-4)
    distance_mm, angle_deg = off_mm_deg(scene, solve("eye_to_hand", views, LENS).unknowns.camera)
    assert distance_mm <= 2.0
    assert angle_deg <= 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_lens_is_found_with_the_poses(kind: Kind) -> None:
    scene = truth(kind)
    views = views_of(scene, tools(scene, 20), pixel_px=0.1, tool_m=1e-4, tool_rad=2e-4)
    start = estimate_lens(BOARD, views, SIZE)
    solution = solve(kind, views, start, free_lens=True)
    np.testing.assert_allclose(solution.unknowns.lens.vector[:4], LENS.vector[:4], atol=1.5)
    # Distortion is judged by what it does to the pixels in the part of the image that was seen.
    points = np.array([[x, y, 1.0] for x in (-0.3, 0.0, 0.3) for y in (-0.2, 0.0, 0.2)])
    np.testing.assert_allclose(solution.unknowns.lens.project(points), LENS.project(points), atol=1.5)
    distance_mm, angle_deg = off_mm_deg(scene, solution.unknowns.camera)
    assert distance_mm <= 2.0
    assert angle_deg <= 0.3


def test_a_tag_cannot_give_the_lens() -> None:
    scene = truth("eye_to_hand", AprilTag())
    with pytest.raises(CalibrationError, match="camera_info"):
        estimate_lens(scene.board, views_of(scene, tools(scene)), SIZE)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_those_of_small_differences(kind: Kind) -> None:
    scene, free = truth(kind), Free(lens=True, scale=True)
    problem, about = Problem(kind, views_of(scene, tools(scene, 3))), unknowns_of(scene)
    linearised = problem.linearise(about, free)
    for index in range(free.count):
        step = 1e-6 * np.eye(free.count)[index]
        more, less = (problem.residual_px(free.moved(about, s)) for s in (step, -step))
        np.testing.assert_allclose(linearised.by_unknowns[..., index], (more - less) / 2e-6, rtol=1e-5, atol=2e-3)
    # A step of the tool in its own frame: shifted along its axes, turned about its origin.
    for index in range(6):
        by_hand = []
        for sign in (1e-6, -1e-6):
            step = moved(np.eye(4), sign * np.eye(6)[index])
            views = [
                View(number=v.number, stamp_ns=0, detection=v.detection, tool=still(v.tool.tool_in_base @ step))
                for v in problem.views
            ]
            by_hand.append(Problem(kind, views).residual_px(about))
        expected = (by_hand[0] - by_hand[1]) / 2e-6
        np.testing.assert_allclose(linearised.by_tool[..., index], expected, rtol=1e-5, atol=2e-3)


def test_the_linear_start_is_near_although_three_of_fifteen_views_are_wrong() -> None:
    scene = truth("eye_to_hand")
    views = views_of(scene, tools(scene), pixel_px=0.2)
    for index in (2, 7, 11):
        views[index] = with_tool(views[index], [0.05, -0.03, 0.02, 0.2, 0.1, -0.3])
    problem = Problem("eye_to_hand", views)
    start = first_guess(problem, LENS)
    distance_mm, angle_deg = off_mm_deg(scene, start.camera)
    assert distance_mm < 15.0
    assert angle_deg < 2.0
    distance_mm, angle_deg = off_mm_deg(scene, robust_fit(problem, start, Free()).camera)
    assert distance_mm < 2.0
    assert angle_deg < 0.3


def test_wrong_points_hardly_pull() -> None:
    scene, random = truth("eye_to_hand"), np.random.default_rng(0)
    views = []
    for view in views_of(scene, tools(scene), pixel_px=0.2):
        pixels = view.detection.pixels.copy()
        pixels[random.integers(len(pixels))] += random.uniform(5, 20, size=2)
        detection = Detection(ids=view.detection.ids, pixels=pixels, points_in_board_m=view.detection.points_in_board_m)
        views.append(View(number=view.number, stamp_ns=0, detection=detection, tool=view.tool))
    distance_mm, angle_deg = off_mm_deg(scene, solve("eye_to_hand", views, LENS).unknowns.camera)
    assert distance_mm < 2.0
    assert angle_deg < 0.3


def test_the_size_of_the_errors_is_found() -> None:
    scene = truth("eye_to_hand")
    views = views_of(scene, tools(scene, 60), pixel_px=0.25, tool_m=1e-3, tool_rad=2e-3)
    noise = solve("eye_to_hand", views, LENS).noise
    # 60 views of 24 points: 60 * 42 numbers give the pixels to 1.4 %; 180 the tool's position and rotation to 5 %.
    assert noise.pixel_px == pytest.approx(0.25, rel=0.06)
    assert noise.tool_m == pytest.approx(1e-3, rel=0.25)
    assert noise.tool_rad == pytest.approx(2e-3, rel=0.25)


def test_the_covariance_is_that_of_the_errors() -> None:
    """The squared error in units of the covariance is 6 on average: chi-squared with 6 degrees of freedom."""
    draws = 50
    cases: list[tuple[Kind, dict[str, float]]] = [
        ("eye_to_hand", {"pixel_px": 0.3}),
        ("eye_in_hand", {"pixel_px": 0.2, "tool_m": 5e-4, "tool_rad": 1e-3}),
    ]
    squares = []
    for kind, errors in cases:
        scene = truth(kind, CharucoBoard(columns=4, rows=5))
        poses = tools(scene, 14)
        for seed in range(draws):
            solution = solve(kind, views_of(scene, poses, **errors, seed=seed), LENS, start=unknowns_of(scene))
            step = step_between(solution.unknowns.camera, scene.camera)
            squares.append(step @ np.linalg.solve(solution.covariance, step))
    # The sum of 100 is chi-squared with 600 degrees of freedom, 99.9 % of it within 492 to 721: 4.9 to 7.2 each. The
    # sizes of the errors come from the same 14 views (84 numbers less 12, half of them to each), which adds a tenth.
    low, high = chi2.ppf([0.0005, 0.9995], 6 * len(squares)) / len(squares)
    assert low <= np.mean(squares) <= 1.1 * high
    # And not only on average: 95 % of the draws lie in the 95 % region, give or take 3 standard deviations (0.065).
    assert 0.885 <= np.mean(np.array(squares) < chi2.ppf(0.95, 6)) <= 1.0


def test_the_boards_true_size_shows_in_the_arms_motion() -> None:
    scene = truth("eye_to_hand", CharucoBoard(square_m=0.031, marker_m=0.022))
    views = views_of(scene, tools(scene), pixel_px=0.2)
    stated = [
        View(
            number=v.number,
            stamp_ns=0,
            tool=v.tool,
            detection=Detection(
                ids=v.detection.ids, pixels=v.detection.pixels, points_in_board_m=BOARD.points_of(v.detection.ids)
            ),
        )
        for v in views
    ]
    solution = solve("eye_to_hand", stated, LENS, free_scale=True)
    assert solution.unknowns.board_scale == pytest.approx(31 / 30, abs=4 * solution.scale_sigma)
    assert solution.scale_sigma < 0.002


def test_a_known_board_pose_stays_and_few_views_do() -> None:
    scene = truth("eye_to_hand")
    views = views_of(scene, tools(scene, 3), pixel_px=0.1)
    solution = solve("eye_to_hand", views, LENS, board=scene.board_pose)
    np.testing.assert_array_equal(solution.unknowns.board, scene.board_pose)
    distance_mm, angle_deg = off_mm_deg(scene, solution.unknowns.camera)
    assert distance_mm < 2.0
    assert angle_deg < 0.3


def test_refuses_views_that_leave_the_pose_open() -> None:
    scene = truth("eye_to_hand")
    same = [exact_view(scene, number, tools(scene, 1)[0]) for number in range(1, 6)]
    with pytest.raises(CalibrationError, match="leave the camera's pose open"):
        solve("eye_to_hand", same, LENS)
    tag = truth("eye_to_hand", AprilTag())
    with pytest.raises(CalibrationError, match="cannot fix 12 numbers"):
        solve("eye_to_hand", views_of(tag, tools(tag, 1)), LENS)


@pytest.mark.parametrize("kind", KINDS)
def test_disagreement_by_hand(kind: Kind) -> None:
    # The board's middle is 3 mm from where the tool pose says, whatever the camera's arrangement.
    scene = truth(kind)
    view = with_tool(exact_view(scene, 1, tools(scene, 1)[0]), [0.003, 0.0, 0.0, 0.0, 0.0, 0.0])
    off = disagreement(kind, unknowns_of(scene), view, BOARD.centre_m)
    assert off.distance_m == pytest.approx(0.003, abs=1e-6)
    assert off.angle_rad == pytest.approx(0.0, abs=1e-6)
    assert off.rms_px > 1.0
