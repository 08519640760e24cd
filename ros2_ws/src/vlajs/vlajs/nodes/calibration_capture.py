"""``vlajs calibrate capture``: collect views of a board from the running camera and bridge, to calibrate from.

Views are taken by themselves whenever the arm rests at a new pose with the board in sight. By default the operator
moves the arm (hand-guiding); with ``--auto`` this command does, by increments to the bridge like any other source of
commands, within the bridge's limits. It stops at the count, on Ctrl-C, and goes on in the same folder another time.
"""

# pyright: reportPrivateImportUsage=false
# (rclpy does not mark its public names as exported)

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import rclpy
import tyro
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from scipy.spatial.transform import Rotation

from vlajs.control.calibration_moves import MoveConfig, poses_about
from vlajs.geometry import FloatArray, Pose, quat_of
from vlajs.nodes.capture_node import CaptureNode, Mover, matrix_of
from vlajs.nodes.image_messages import lens_from
from vlajs.nodes.messages import CAMERA_FRAME
from vlajs.states import RobotMode
from vlajs_perception.calibration.capture import CaptureLimits, Collector
from vlajs_perception.calibration.commands import BoardChoice
from vlajs_perception.calibration.folder import SetInfo, ViewFolder
from vlajs_perception.calibration.views import Kind

REST_S = 6.0
"""How long ``--auto`` waits at a pose for its view, on the robot's clock."""
INCOMPLETE = 1
"""Exit code when the set has fewer views than asked for."""


class CaptureError(RuntimeError):
    """No more views can be taken; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class CaptureConfig:
    """Collect views of a board for ``vlajs calibrate solve``; goes on where it stopped."""

    views: tyro.conf.Positional[Path]
    """Folder of views; made if it is not there."""
    count: int = 20
    """How many views the folder shall hold, 12 or more (30 without intrinsics)."""
    kind: Kind = "eye_to_hand"
    """eye_to_hand: the camera stands, the gripper holds the board. eye_in_hand: the other way round."""
    board: tyro.conf.OmitArgPrefixes[BoardChoice] = field(default_factory=BoardChoice)
    """As printed and measured."""
    estimate_lens: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Do not use the intrinsics of camera_info; solve will estimate them."""
    auto: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Move the arm: about its present pose, where the board must be seen, through the bridge. Hold the stop button."""
    moves: MoveConfig = field(default_factory=MoveConfig)
    """How far and how fast --auto moves."""
    twin: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """The arm is the twin: stamps are robot time (/clock), nobody is asked to stand clear."""
    yes: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Move a real arm without asking, for scripts: everyone stands clear."""
    patience_s: float = 15.0
    """How long to wait for the first word of camera and bridge."""
    limits: CaptureLimits = field(default_factory=CaptureLimits)

    def __post_init__(self) -> None:
        if not 4 <= self.count <= 500:
            raise ValueError(f"count is {self.count}, must lie in [4, 500]")
        if not 0 < self.patience_s <= 600:
            raise ValueError(f"patience_s is {self.patience_s}, must lie in (0, 600]")


def capture(words: list[str]) -> int:
    """Carry out ``vlajs calibrate capture``."""
    config = tyro.cli(CaptureConfig, args=words, prog="vlajs calibrate capture")
    if config.auto and not (config.twin or config.yes):
        _ask_to_stand_clear(config.moves)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # Ctrl-C ends the views, not the report
    node = CaptureNode([Parameter("use_sim_time", value=config.twin)])
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        collector = _collector(config, node, executor)
        try:
            _collect(config, node, executor, collector)
        except KeyboardInterrupt:
            print("stopped; the same command goes on from here")
        return _report(config, collector)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()


def _ask_to_stand_clear(moves: MoveConfig) -> None:
    """Say what is going to move and wait for the operator's word; raises CaptureError without it."""
    print(
        f"The arm is going to move up to {moves.reach_m:g} m to each side of where it is and tilt by up to "
        f"{moves.tilt_rad:g} rad, at {20 * moves.step_m:.2f} m/s. Hold the stop button."
    )
    try:
        answer = input("Does everyone stand clear, is the board fastened and that space free? [y/n] ")
    except EOFError as error:
        raise CaptureError("nobody can answer: run it in a terminal beside the arm, or pass --yes") from error
    if answer.strip().lower() not in ("y", "yes"):
        raise CaptureError("declined: nothing has moved")


def _collector(config: CaptureConfig, node: CaptureNode, executor: SingleThreadedExecutor) -> Collector:
    """Wait for camera and bridge, then open the folder."""
    deadline_s = time.monotonic() + config.patience_s
    while (missing := node.silent_topics()) and time.monotonic() < deadline_s:
        executor.spin_once(timeout_sec=0.1)
    if missing:
        status = node.status
        bridge = "" if status is None else f"; the bridge is in mode {RobotMode(status.mode).name}: {status.faults}"
        raise CaptureError(
            f"nothing on {', '.join(missing)} within {config.patience_s:g} s: start the camera's driver and the bridge "
            f"(the twin: vlajs up twin policy:=false camera:=true camera_board:=true, and --twin here){bridge}"
        )
    info = node.info
    assert info is not None, "it is not silent"
    set_info = SetInfo(
        kind=config.kind,
        board=config.board.board(),
        image_size=(info.width, info.height),
        lens=None if config.estimate_lens else lens_from(info),
        camera_frame=info.header.frame_id or CAMERA_FRAME,
    )
    collector = Collector(ViewFolder.create(config.views, set_info), config.limits)
    print(f"{config.views}: {len(collector.views)} views, {config.count} wanted of {set_info.board.describe()}")
    return collector


def _collect(config: CaptureConfig, node: CaptureNode, executor: SingleThreadedExecutor, collector: Collector) -> None:
    """Take views until there are enough, moving the arm if asked to."""
    if not config.auto:
        while len(collector.views) < config.count:
            executor.spin_once(timeout_sec=0.1)
            node.offer_latest(collector)
        return
    mover = Mover(node, config.moves)
    low, high = mover.workspace_m()
    # a set that is taken up goes on about the pose at which it began
    centre = _pose_of(collector.views[0].tool.tool_in_base) if collector.views else node.tool()
    # twice as many as wanted: the board is not seen everywhere, and not every pose can be reached
    for goal in poses_about(centre, 2 * config.count, config.moves, low, high):
        if len(collector.views) >= config.count:
            return
        if collector.alike(matrix_of(goal)) is not None:
            continue
        reason = mover.go(goal, executor)
        if reason is not None:
            print(f"pose left out: {reason}")
            continue
        taken, since_ns = len(collector.views), node.now_ns()
        while len(collector.views) == taken and node.now_ns() < since_ns + REST_S * 1e9:
            executor.spin_once(timeout_sec=0.1)
            mover.check()
            node.offer_latest(collector, after_ns=since_ns)


def _pose_of(matrix: FloatArray) -> Pose:
    return Pose(position_m=matrix[:3, 3].copy(), quat_wxyz=quat_of(Rotation.from_matrix(matrix[:3, :3])))


def _report(config: CaptureConfig, collector: Collector) -> int:
    views = len(collector.views)
    for problem in collector.missing():
        print(f"- {problem}")
    print(f"RESULT views={views} wanted={config.count} folder={config.views}")
    if views < config.count:
        return INCOMPLETE
    print(f"next: vlajs calibrate solve {config.views} --out camera.yaml")
    return 0
