import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from tests.support.seen_objects import error_of
from vlajs_perception.estimate import Estimate, PoseError
from vlajs_perception.held import Grasp, HeldSettings, fit_held, grasp_of
from vlajs_perception.objects import peg
from vlajs_perception.rigid import TransformError, exp, transform

PEG = peg("peg", 0.12, 0.025, ends_alike=False)
HALF = 2**-0.5
TOOL_DOWN = np.diag([1.0, -1.0, -1.0])
motions = st.builds(
    lambda position, turn: transform(position, exp(turn)), *[st.tuples(*[st.floats(-1.5, 1.5)] * 3) for _ in range(2)]
)


def seen(position_m: list[float], covariance: np.ndarray | None = None) -> Estimate:
    covariance = 1e-6 * np.eye(6) if covariance is None else covariance
    return Estimate(position_m=np.array(position_m), quat_wxyz=np.eye(4)[0], covariance=covariance, source="plane")


def test_the_object_goes_where_the_tool_takes_it() -> None:
    # The tool points down at (0.6, 0, 0.02), the peg's middle is 0.05 m ahead of it along x. The tool then rises to
    # 0.3 m and turns by a quarter about the base's z: the peg is 0.05 m off along y, turned by a quarter.
    grasp = grasp_of(seen([0.65, 0.0, 0.02]), transform([0.6, 0.0, 0.02], TOOL_DOWN))
    estimate = fit_held(PEG, grasp, transform([0.6, 0.0, 0.3], exp([0.0, 0.0, np.pi / 2]) @ TOOL_DOWN))
    np.testing.assert_allclose(estimate.position_m, [0.6, 0.05, 0.3], atol=1e-9)
    np.testing.assert_allclose(estimate.quat_wxyz, [HALF, 0.0, 0.0, HALF], atol=1e-9)
    assert estimate.source == "held"
    assert estimate.residual_px is None


def test_the_covariance_is_of_sight_slip_and_tool() -> None:
    # Seen to 1, 2, 3 mm along x, y, z; slip 3 mm; tool 4 mm and 0.01 rad about z, 0.1 m from the peg along y: 1 mm
    # along x, 0 along y. After a quarter about z what was x is y:
    #   x: 2^2 + 3^2 + 4^2 + 1^2 = 30 mm^2, y: 1^2 + 3^2 + 4^2 = 26 mm^2, z: 3^2 + 3^2 + 4^2 + (0.1 * 0.01)^2 = 35 mm^2
    settings_ = HeldSettings(tool_std_m=4e-3, tool_std_rad=0.01, slip_std_m=3e-3, slip_std_rad=0.02)
    covariance = np.diag([1e-6, 4e-6, 9e-6, 1e-4, 1e-4, 1e-4])
    grasp = grasp_of(seen([0.7, 0.0, 0.02], covariance), transform([0.6, 0.0, 0.02], TOOL_DOWN), settings=settings_)
    tool = transform([0.6, 0.0, 0.02], exp([0.0, 0.0, np.pi / 2]) @ TOOL_DOWN)
    estimate = fit_held(PEG, grasp, tool, settings=settings_)
    np.testing.assert_allclose(np.diag(estimate.covariance)[:3] * 1e6, [30.0, 26.0, 35.0], rtol=1e-6)
    # rotation: 0.01^2 seen, 0.02^2 slip, 0.01^2 tool
    np.testing.assert_allclose(np.diag(estimate.covariance)[3:], 6e-4, rtol=1e-6)


@given(object_in_base=motions, at_grasp=motions)
@settings(max_examples=50, deadline=None)
def test_a_tool_at_rest_holds_the_object_where_it_was(object_in_base: np.ndarray, at_grasp: np.ndarray) -> None:
    quat_wxyz = Rotation.from_matrix(object_in_base[:3, :3]).as_quat(scalar_first=True)
    before = Estimate(position_m=object_in_base[:3, 3], quat_wxyz=quat_wxyz, covariance=1e-6 * np.eye(6), source="free")
    after = fit_held(PEG, grasp_of(before, at_grasp), at_grasp, near_wxyz=quat_wxyz)
    assert np.abs(error_of(after, PEG, object_in_base[:3, 3], object_in_base[:3, :3])).max() < 1e-7


def test_the_covariance_is_as_large_as_the_error() -> None:
    rng = np.random.default_rng(5)
    settings_ = HeldSettings(tool_std_m=1e-3, tool_std_rad=0.01, slip_std_m=1e-3, slip_std_rad=0.01)
    at_grasp, now = (transform([0.6, y, z], exp([0.0, 0.3, y]) @ TOOL_DOWN) for y, z in ((0.1, 0.05), (-0.2, 0.4)))
    truth = transform([0.65, 0.1, 0.02], exp([0.0, 0.0, 0.4]))
    sight = np.diag([1e-6, 4e-6, 1e-6, 1e-6, 1e-6, 1e-4])
    squares = []
    for _ in range(200):
        off = rng.multivariate_normal(np.zeros(6), sight)
        # the estimate is what its error takes to the truth
        pose = transform(truth[:3, 3] - off[:3], exp(-off[3:]) @ truth[:3, :3])
        quat_wxyz = Rotation.from_matrix(pose[:3, :3]).as_quat(scalar_first=True)
        before = Estimate(position_m=pose[:3, 3], quat_wxyz=quat_wxyz, covariance=sight, source="plane")
        slip, tool_off = rng.normal(0.0, 1.0, 6), rng.normal(0.0, 1.0, 6)
        slip, tool_off = slip * np.repeat([1e-3, 0.01], 3), tool_off * np.repeat([1e-3, 0.01], 3)
        grasp = grasp_of(before, at_grasp, settings=settings_)
        held = np.linalg.inv(at_grasp) @ truth
        held = transform(held[:3, 3] + slip[:3], exp(slip[3:]) @ held[:3, :3])
        tool = transform(now[:3, 3] + tool_off[:3], exp(tool_off[3:]) @ now[:3, :3])
        true_now = tool @ held
        estimate = fit_held(PEG, grasp, now, settings=settings_, near_wxyz=quat_wxyz)
        error = error_of(estimate, PEG, true_now[:3, 3], true_now[:3, :3])
        squares.append(error @ np.linalg.solve(estimate.covariance, error))
    low, high = chi2.interval(0.99, 6 * 200)
    assert low < np.sum(squares) < high


def test_refuses_what_is_no_pose() -> None:
    grasp = grasp_of(seen([0.65, 0.0, 0.02]), np.eye(4))
    with pytest.raises(TransformError, match="tool_in_base must be"):
        fit_held(PEG, grasp, np.full((4, 4), np.nan))
    with pytest.raises(TransformError, match="tool_in_base must be"):
        grasp_of(seen([0.65, 0.0, 0.02]), np.eye(3))
    with pytest.raises(TransformError, match="object_in_tool"):
        fit_held(PEG, Grasp(object_in_tool=2 * np.eye(4), covariance=np.eye(6)), np.eye(4))
    with pytest.raises(PoseError, match=r"must be \(6, 6\)"):
        fit_held(PEG, Grasp(object_in_tool=np.eye(4), covariance=np.eye(3)), np.eye(4))
    with pytest.raises(ValueError, match=r"slip_std_m is 0\.0"):
        HeldSettings(slip_std_m=0.0)
