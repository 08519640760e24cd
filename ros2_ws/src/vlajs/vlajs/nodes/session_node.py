"""Node ``session_server``: offers ``/session/run_trial``, one trial at a time, for experiments designed elsewhere.

Parameters: ``checkpoint`` (policy bundle), ``arm`` ("twin" or "real"), ``record_folder`` (paths and MCAP of each
trial; empty records nothing). The trial itself is :func:`vlajs.session.trial.run_trial`.
"""

# pyright: reportPrivateImportUsage=false
# (rclpy does not mark its public names as exported)

import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import rclpy
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node

from vlajs.nodes.lifecycle import initialise
from vlajs.nodes.parameters import declare, refuse_unknown
from vlajs.nodes.session_graph import RosGraph, spinning
from vlajs.policy.bundle import load_bundle
from vlajs.session.operator import Operator
from vlajs.session.paths import TrialPaths
from vlajs.session.plan import TrialPlan
from vlajs.session.preparation import TrialSettings, load_policy
from vlajs.session.records import Arm, Checkpoint, PoseSource, SessionError, with_notes
from vlajs.session.trial import TrialReport, run_trial
from vlajs.tasks import get_task, sample_scene
from vlajs_msgs.action import RunTrial

READY_TIMEOUT_S = 60.0
POLL_S = 0.1
FEEDBACK_PERIOD_S = 0.1
"""Robot time between two pieces of feedback of the same phase."""


class TrialCancelledError(RuntimeError):
    """The action's client, or a signal, asked for an end."""


class TrialServer(Node):
    """The action server. Trials run in its executor's pool; the graph is spun elsewhere."""

    def __init__(self) -> None:
        """Check the parameters and load the bundle; :meth:`serve` offers the action.

        Raises:
            ValueError: a parameter or the bundle is no good.
        """
        super().__init__("session_server")
        checkpoint = Path(self._text("checkpoint", "")).expanduser()
        arm = self._text("arm", "twin")
        pose_source = self._text("pose_source", "truth")
        folder = self._text("record_folder", "")
        refuse_unknown(self)
        if arm not in ("twin", "real"):
            raise ValueError(f"parameter arm is {arm!r}: give twin or real")
        if pose_source not in ("truth", "camera") or (arm == "real" and pose_source != "truth"):
            raise ValueError(f"parameter pose_source is {pose_source!r}: give truth or, on the twin, camera")
        source: PoseSource = "camera" if pose_source == "camera" else "truth"
        self._arm: Arm = "twin" if arm == "twin" else "real"
        self._folder = Path(folder).expanduser() if folder else None
        contract = load_bundle(checkpoint).contract
        self._task = get_task(contract.task)
        self._settings = TrialSettings(
            task=self._task,
            checkpoint=Checkpoint.of(checkpoint, contract.contract_id, contract.provenance),
            control_rate_hz=contract.control_rate_hz,
            pose_source=source,
            operator=None if self._arm == "twin" else Operator(),
        )
        self._trial = threading.Lock()
        self._handle: ServerGoalHandle | None = None
        self._ending = threading.Event()
        self._told_to_end = False
        self.graph = RosGraph(
            self._task,
            self._arm,
            pose_source=source,
            record=bool(folder),
            check_nodes=self._raise_when_asked_to_end,
        )

    def _text(self, name: str, default: str) -> str:
        return declare(self, name, default)

    def serve(self) -> None:
        """Wait for the robot's nodes, load the checkpoint there, offer the action.

        Raises:
            SessionError: a node is missing or refuses the checkpoint.
        """
        self.graph.wait_for_nodes(READY_TIMEOUT_S)
        load_policy(self.graph, self._settings)
        self._server = ActionServer(
            self,
            RunTrial,
            "/session/run_trial",
            execute_callback=self._execute,
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
        )
        self.get_logger().info(f"/session/run_trial is ready for {self._settings.checkpoint.contract_id}")

    def end_trial(self) -> None:
        """Ask a running trial to end and wait until the policy has been stopped."""
        self._ending.set()
        with self._trial:
            pass

    def _raise_when_asked_to_end(self) -> None:
        handle = self._handle
        # asked of the goal itself: a request that came before the trial began counts too
        asked = handle is not None and (self._ending.is_set() or handle.is_cancel_requested)
        if asked and not self._told_to_end:
            self._told_to_end = True  # once: stopping the policy afterwards waits through here too
            raise TrialCancelledError("the trial was cancelled")

    def _on_goal(self, goal: RunTrial.Goal) -> GoalResponse:
        if goal.task != self._task.name:
            self.get_logger().warning(f"refused: task {goal.task!r}, the checkpoint is for {self._task.name!r}")
            return GoalResponse.REJECT
        if self._trial.locked():
            self.get_logger().warning("refused: a trial is running; one at a time")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_cancel(self, _handle: ServerGoalHandle) -> CancelResponse:
        return CancelResponse.ACCEPT

    def _execute(self, handle: ServerGoalHandle) -> RunTrial.Result:
        with self._trial:
            self._handle, self._told_to_end = handle, False
            try:
                self._raise_when_asked_to_end()
                result = self._run(handle)
            except TrialCancelledError as error:
                if handle.is_cancel_requested:
                    handle.canceled()
                else:
                    handle.abort()
                return RunTrial.Result(outcome="cancelled", message=with_notes(error), time_to_success_s=-1.0)
            except SessionError as error:
                handle.abort()
                return RunTrial.Result(outcome="not_run", message=with_notes(error), time_to_success_s=-1.0)
            finally:
                self._handle = None
            handle.succeed()
            return result

    def _run(self, handle: ServerGoalHandle) -> RunTrial.Result:
        goal: RunTrial.Goal = handle.request
        scene = sample_scene(self._task, goal.seed)
        plan = TrialPlan(trial=goal.trial, scene_seed=goal.seed, scene=scene)

        last: tuple[str, float] = ("", 0.0)

        def on_phase(phase: str, elapsed_s: float, distance_m: float | None) -> None:
            nonlocal last
            if phase == last[0] and elapsed_s - last[1] < FEEDBACK_PERIOD_S:
                return
            last = (phase, elapsed_s)
            distance = float("nan") if distance_m is None else distance_m
            handle.publish_feedback(
                RunTrial.Feedback(phase=phase, elapsed_s=float(elapsed_s), object_to_goal_m=distance)
            )

        settings = replace(self._settings, on_phase=on_phase)
        recording = self._folder / f"{goal.trial:04d}.mcap" if self._folder else None
        report = run_trial(self.graph, plan, settings, recording)
        if self._folder is not None:
            self._save_paths(report.paths, self._folder / f"{goal.trial:04d}.json")
        return _message_of(report)

    def _save_paths(self, paths: TrialPaths, file: Path) -> None:
        try:
            paths.save(file)
        except OSError as error:  # the verdict counts without them
            self.get_logger().warning(f"{file} was not written ({error}): free the disk")


def _message_of(report: TrialReport) -> RunTrial.Result:
    result = report.result
    return RunTrial.Result(
        success=result.success,
        outcome=result.outcome,
        message=report.halt or result.reason,
        duration_s=result.duration_s,
        time_to_success_s=-1.0 if result.time_to_success_s is None else result.time_to_success_s,
    )


def main() -> int:
    """Serve until SIGINT or SIGTERM; 1 when the parameters, the bundle or the graph are no good."""
    stop = threading.Event()
    if not initialise():
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        server = TrialServer()
        executor = MultiThreadedExecutor(2)
        executor.add_node(server)
        try:
            with spinning(server.graph):
                server.serve()
                while not stop.is_set():
                    executor.spin_once(timeout_sec=POLL_S)
                server.end_trial()
        finally:
            executor.shutdown()
            server.destroy_node()
    except (ValueError, SessionError) as error:
        print(f"session: {error}", file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
