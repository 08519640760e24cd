"""Nodes started and stopped together without ``launch``, as real processes."""

import io
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundles import make_bundle
from tests.support.processes import PATIENCE_S, ROOT, environment, own_domain, wait_for
from vlajs.bringup import REAL_ROBOT
from vlajs.launch_description import Argument, Description, NodeSpec, Use
from vlajs.policy.bundle import save_bundle
from vlajs.processes import BringupError, child_environment, running

pytestmark = [pytest.mark.graph, pytest.mark.beside]

DOMAIN_ID = own_domain()
VLAJS = str(Path(sys.executable).parent / "vlajs")

# the policy node needs no arm: a pair of them stands for any launch; neither is activated, for one commands at a time
PAIR = Description(
    name="pair",
    summary="two policy nodes",
    arguments=(
        Argument(name="first", kind=Path, default="", description="bundle of the first"),
        Argument(name="second", kind=Path, default="", description="bundle of the second"),
        Argument(name="params_file", kind=Path, default="", description="parameters"),
    ),
    nodes=(
        NodeSpec(module="policy_node", name="first", parameters={"checkpoint": Use("first"), "start_active": False}),
        NodeSpec(module="policy_node", name="second", parameters={"checkpoint": Use("second"), "start_active": False}),
    ),
)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "push.safetensors"
    save_bundle(make_bundle(), path)
    return path


@pytest.fixture(autouse=True)
def domain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE"):
        monkeypatch.setenv(name, environment(DOMAIN_ID)[name])


def test_nodes_run_for_the_length_of_the_block_and_name_their_output(bundle: Path) -> None:
    output = io.StringIO()
    with running(PAIR, output=output, first=bundle, second=bundle) as stack:
        wait_for(lambda: output.getvalue().count("loaded push_cube-") == 2, "both nodes")
        stack.check()
        assert not stack.wait_for_end(0.0)
        processes = [node.process for node in stack._nodes]
    assert [process.returncode for process in processes] == [0, 0]
    assert stack.failure == ""
    lines = output.getvalue().splitlines()
    assert all(line.startswith(("[first] ", "[second] ")) for line in lines)


def test_nodes_stop_in_the_reverse_of_their_order_one_after_another(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What commands the arm has ended before what moves it is told to."""
    alive: list[list[bool]] = []
    terminate = subprocess.Popen.terminate

    def noted(process: subprocess.Popen[str]) -> None:
        alive.append([node.process.poll() is None for node in stack._nodes])
        terminate(process)

    with running(PAIR, output=io.StringIO(), first=bundle, second=bundle) as stack:
        monkeypatch.setattr(subprocess.Popen, "terminate", noted)
    assert alive == [[True, True], [True, False]]


def test_a_node_that_ends_takes_the_others_with_it_and_is_named(bundle: Path) -> None:
    output = io.StringIO()
    with running(PAIR, output=output, first=bundle) as stack:
        assert stack.wait_for_end(PATIENCE_S), "the first is stopped although it was well"
        with pytest.raises(BringupError, match="node second ended with exit code 1") as failure:
            stack.check()
    assert "parameter checkpoint is empty" in str(failure.value)
    assert all(node.process.poll() is not None for node in stack._nodes)


def test_an_error_in_the_block_stops_the_nodes(bundle: Path) -> None:
    with pytest.raises(ZeroDivisionError), running(PAIR, output=io.StringIO(), first=bundle, second=bundle) as stack:
        raise ZeroDivisionError
    assert all(node.process.poll() is not None for node in stack._nodes)


def test_bad_arguments_start_nothing() -> None:
    with pytest.raises(ValueError, match="no argument 'third'"), running(PAIR, third="x"):
        pytest.fail("started")


def test_a_sites_parameter_file_reaches_the_nodes(bundle: Path, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("/**:\n  ros__parameters:\n    state_age_limit_s: -2.0\n    checkpoint: /not/this/one\n")
    output = io.StringIO()
    with running(PAIR, output=output, first=bundle, second=bundle, params_file=site) as stack:
        assert stack.wait_for_end(PATIENCE_S)
    assert "state_s = -2.0 s" in output.getvalue()
    assert "/not/this/one" not in output.getvalue(), "what the launch was given counts more"


def test_a_sites_stricter_limit_holds_under_a_launch(bundle: Path, tmp_path: Path) -> None:
    """Above 1 s a limit is refused, which tells that it reached the node: the launch's default did not replace it."""
    site = tmp_path / "site.yaml"
    site.write_text("policy:\n  ros__parameters:\n    objects_age_limit_s: 1.5\n")
    output = io.StringIO()
    with running(REAL_ROBOT, output=output, robot_ip="127.0.0.98", checkpoint=bundle, params_file=site) as stack:
        assert stack.wait_for_end(PATIENCE_S)
    assert "objects_s = 1.5 s" in output.getvalue()


UP_PAIR = """
import sys
from tests.graph.test_processes import PAIR
from vlajs.processes import run_until_signal
sys.exit(run_until_signal(PAIR, {"first": sys.argv[1], "second": sys.argv[1]}))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_with_exit_code_0(bundle: Path, tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", UP_PAIR, str(bundle)],
            env=environment(DOMAIN_ID),
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: log.read_text().count("loaded push_cube-") == 2, "both nodes")
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()


def test_nodes_do_not_outlive_a_killed_parent(bundle: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", UP_PAIR, str(bundle)], env=environment(DOMAIN_ID), cwd=ROOT, stdout=output
        )
    wait_for(lambda: log.read_text().count("loaded push_cube-") == 2, "both nodes")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 2
    process.kill()
    process.wait()
    wait_for(lambda: not any(_runs(pid) for pid in children), "the nodes to end")


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_up_tells_which_node_ended(bundle: Path, tmp_path: Path) -> None:
    """No arm listens there: the bridge gives up, and takes the policy with it."""
    site = tmp_path / "site.yaml"
    site.write_text("franka_bridge:\n  ros__parameters:\n    connect_timeout_s: 0.5\n")
    done = subprocess.run(
        [VLAJS, "up", "real_robot", "robot_ip:=127.0.0.99", f"checkpoint:={bundle}", f"params_file:={site}"],
        env=environment(DOMAIN_ID),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 1
    assert "[franka_bridge] " in done.stdout
    assert "cannot connect to the arm at 127.0.0.99" in done.stdout
    assert done.stderr.startswith("error: node franka_bridge ended with exit code 1")
    assert "Traceback" not in done.stderr


def test_the_mark_of_the_ros_wheels_goes_with_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "1")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/somewhere")
    assert child_environment()["_ROS_WHEELS_BOOTSTRAP_COMPLETE"] == "1"
    monkeypatch.delenv("LD_LIBRARY_PATH")
    assert "_ROS_WHEELS_BOOTSTRAP_COMPLETE" not in child_environment()
