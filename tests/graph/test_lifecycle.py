"""The runner of lifecycle nodes: exit codes, reasons and winding down, in a process of its own."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE_S, environment, own_domain

pytestmark = [pytest.mark.graph, pytest.mark.beside]

DOMAIN_ID = own_domain()

PROGRAM = """
import sys
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from vlajs.nodes.lifecycle import refuse_on, run_lifecycle_node


class Example(LifecycleNode):
    def __init__(self):
        super().__init__("example")
        self.mode = self.declare_parameter("mode", "well").value

    @refuse_on(ValueError)
    def on_configure(self, state):
        if self.mode == "refuse":
            raise ValueError("mode is refuse")
        if self.mode == "break":
            raise ZeroDivisionError("not foreseen")
        return super().on_configure(state)

    def on_activate(self, state):
        self.timer = self.create_timer(0.05, self.tick)
        print("active", flush=True)
        return super().on_activate(state)

    def tick(self):
        if self.mode == "raise":
            raise RuntimeError("tick went wrong")

    def on_deactivate(self, state):
        print("deactivated", flush=True)
        return super().on_deactivate(state)

    def on_cleanup(self, state):
        print("cleaned up", flush=True)
        return super().on_cleanup(state)


sys.exit(run_lifecycle_node(Example, executor_threads=int(sys.argv[1])))
"""


def start(tmp_path: Path, mode: str, threads: int = 1, *more: str) -> subprocess.Popen[str]:
    program = tmp_path / "example.py"
    program.write_text(PROGRAM)
    command = [sys.executable, str(program), str(threads), "--ros-args", "-p", f"mode:={mode}", *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(DOMAIN_ID)
    )


@pytest.mark.parametrize(("number", "threads"), [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_a_signal_winds_the_node_down(tmp_path: Path, number: int, threads: int) -> None:
    process = start(tmp_path, "well", threads)
    assert process.stdout is not None
    assert process.stdout.readline() == "active\n"
    process.send_signal(number)
    process.send_signal(number)  # Ctrl-C reaches the process group, and a launcher passes it on as well
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert output.splitlines() == ["deactivated", "cleaned up"]
    assert process.returncode == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_a_callback_winds_down_and_fails(tmp_path: Path, threads: int) -> None:
    output, _ = (process := start(tmp_path, "raise", threads)).communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert output.splitlines()[:3] == ["active", "deactivated", "cleaned up"]
    assert "RuntimeError: tick went wrong" in output


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("refuse", "on_configure refused: mode is refuse"), ("break", "ZeroDivisionError: not foreseen")],
)
def test_a_refused_start_says_why(tmp_path: Path, mode: str, reason: str) -> None:
    output, _ = (process := start(tmp_path, mode)).communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert reason in output
    assert "active" not in output.split()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["-p", "moed:=well"], "example has no parameter moed"),
        (["-p", "moed:=well"], "did you mean mode?"),
        (["-p", "autostart:=perhaps"], "parameter autostart = 'perhaps' is of type string, expected bool"),
        (["--params-file", "mixed.yaml"], "the ROS arguments or parameter files cannot be read"),
        (["--params-file", "absent.yaml"], "absent.yaml"),
    ],
)
def test_parameters_that_cannot_be_meant_refuse_the_start(tmp_path: Path, words: list[str], reason: str) -> None:
    (tmp_path / "mixed.yaml").write_text("example:\n  ros__parameters:\n    box: [0.3, 0]\n")
    words = [str(tmp_path / word) if word.endswith(".yaml") else word for word in words]
    output, _ = (process := start(tmp_path, "well", 1, *words)).communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert reason in output
    assert "Traceback" not in output
    assert "active" not in output.split()


def test_quality_of_service_and_simulated_time_are_no_unknown_parameters(tmp_path: Path) -> None:
    words = ["-p", "use_sim_time:=true", "-p", "qos_overrides./clock.subscription.depth:=2"]
    process = start(tmp_path, "well", 1, *words)
    assert process.stdout is not None
    assert process.stdout.readline() == "active\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
