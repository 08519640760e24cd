"""A trial as on a real arm: system time, the pose estimator's messages, an operator; the arm is stood in for."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy

from tests.support.bundles import make_bundle
from tests.support.processes import PATIENCE_S, node_words, own_domain, python
from vlajs.geometry import Pose
from vlajs.nodes.session_graph import RosGraph, spinning
from vlajs.policy.bundle import save_bundle
from vlajs.session.operator import Operator
from vlajs.session.plan import TrialPlan
from vlajs.session.preparation import TrialSettings
from vlajs.session.records import Checkpoint, SessionError
from vlajs.session.trial import run_trial
from vlajs.tasks import Scene, get_task

pytestmark = [pytest.mark.graph, pytest.mark.beside]

DOMAIN_ID = own_domain()
CUBE_M = np.array([0.6, 0.0, 0.02])
SLIDE_M_S = 0.2


@pytest.fixture
def ros_domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """rclpy in this process, in the test's domain."""
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init(domain_id=DOMAIN_ID)
    yield
    rclpy.try_shutdown()


@pytest.mark.usefixtures("ros_domain")
def test_trial_on_a_real_arm_survives_flawed_poses(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    checkpoint, task = tmp_path / "policy.safetensors", get_task("push_cube")
    bundle = make_bundle(scale=0.01, horizon_steps=60)
    save_bundle(bundle, checkpoint)
    graph = RosGraph(task, "real", record=True)

    def arrived() -> bool:
        return bool(graph.object_poses()["cube"].position_m[0] > CUBE_M[0] + 0.1)

    replies = iter(["", "", "y"])  # stand clear, twice; it succeeded
    settings = TrialSettings(
        task=task,
        checkpoint=Checkpoint.of(checkpoint, bundle.contract.contract_id, {}),
        control_rate_hz=bundle.contract.control_rate_hz,
        operator=Operator(ask=lambda _: next(replies), pressed=arrived, show=lambda _: None),
    )
    # where the stand-in's cube lies: nobody places it
    cube = Pose(position_m=CUBE_M, quat_wxyz=np.array([1.0, 0.0, 0.0, 0.0]))
    plan = TrialPlan(trial=1, scene_seed=0, scene=Scene(objects={"cube": cube}, goal_m=np.array([0.8, 0.0, 0.0])))
    robot = ["-m", "tests.support.robot_stand_in", str(SLIDE_M_S), "real", "flawed"]
    policy = node_words("policy_node", name="policy", checkpoint=checkpoint)
    with (
        spinning(graph),
        python(DOMAIN_ID, *robot, log=tmp_path / "robot"),
        python(DOMAIN_ID, *policy, log=tmp_path / "policy"),
    ):
        graph.wait_for_nodes(PATIENCE_S)
        report = run_trial(graph, plan, settings, tmp_path / "0001.mcap")
    result = report.result
    assert (result.success, result.outcome, result.judged_by, report.halt) == (True, "success", "operator", "")
    # 0.1 m at 0.2 m/s = 0.5 s; the first command takes its time on a busy machine
    assert result.time_to_success_s == pytest.approx(0.5, abs=0.25)
    assert result.closest_m == pytest.approx(0.1, abs=0.03)
    assert np.all(np.isfinite(report.paths.objects_m["cube"]))  # type: ignore[arg-type]
    assert np.all(np.isfinite(report.paths.tool_m))  # type: ignore[arg-type]
    assert (tmp_path / "0001.mcap").is_file()
    said = capfd.readouterr().err
    assert "/objects/cube/pose: not a pose" in said or "/objects/cube/pose: frame 'camera'" in said


@pytest.mark.usefixtures("ros_domain")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_session_that_no_longer_receives_says_so():
    graph = RosGraph(get_task("push_cube"), "real", record=False)

    def slip() -> None:
        raise ZeroDivisionError

    graph.create_timer(0.01, slip)
    with spinning(graph):
        with pytest.raises(SessionError, match="the session hears nothing any more"):
            graph.wait_for_nodes(PATIENCE_S)
        with pytest.raises(SessionError, match="the session hears nothing any more"):
            graph.watch(0.1)
