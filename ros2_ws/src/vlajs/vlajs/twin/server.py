"""The twin: a simulated Franka arm on a loopback address that libfranka clients connect to as to a robot."""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo is an extension module without type stubs)

import random
import threading
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from vlajs.geometry import FloatArray, Pose, quat_of
from vlajs.tasks import Scene
from vlajs.twin.arm import TICK_S
from vlajs.twin.config import TwinConfig
from vlajs.twin.placement import Tabletop
from vlajs.twin.reflex import ExternalForceEstimator, FaultMonitor
from vlajs.twin.scene import OBJECT_NAMES, TCP_SITE, body_name, build_world
from vlajs.twin.seen import SeenState
from vlajs.twin.wire import TwinRobotServer, check_franky_sim_version

_MAX_DEBT_S = 0.02
_ADDRESS_ATTEMPTS = 50
_RATE_WINDOW_S = 1.0


@dataclass
class _Push:
    body: int
    force_n: FloatArray
    ticks_left: int


class TwinServer:
    """A simulated arm, hand and table behind the libfranka protocol.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. Reading methods may be called from any
    thread at any time after start; they answer from the last finished tick and never wait for the simulation.

    Example:
        >>> with TwinServer(TwinConfig()) as twin:
        ...     robot = franky.Robot(twin.address, realtime_config=franky.RealtimeConfig.Ignore)
    """

    def __init__(self, config: TwinConfig | None = None) -> None:
        """Build the world; nothing listens yet.

        Raises:
            RuntimeError: unsupported franky-sim version.
        """
        check_franky_sim_version()
        self.config = config or TwinConfig()
        self.lock = threading.RLock()
        """Held during each tick; take it to read or change the simulation consistently, and briefly."""
        self._sim, self._arm = build_world(
            self.config.scene, self.config.arm, self.config.initial_joints_rad, self.config.initial_hand_width_m
        )
        self._monitor = FaultMonitor(self.config.reflex)
        self._robot_server: TwinRobotServer | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._ticks = 0
        self._dropped_s = 0.0
        self._pushes: list[_Push] = []
        self._rate_marks: deque[tuple[float, int]] = deque()
        self._snapshot: tuple[int, FloatArray, FloatArray, FloatArray, frozenset[str]] = (
            0,
            np.zeros(0),
            np.zeros(0),
            np.zeros(0),
            frozenset(),
        )

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> "TwinServer":
        """Listen and run. Returns self.

        Raises:
            OSError: the wanted address is taken, or none of those tried was free.
            RuntimeError: started before.
        """
        if self._robot_server is not None:
            raise RuntimeError("this twin was started before: make a new TwinServer")
        self._robot_server = self._listen()
        self._sim.start()
        model = self.model
        self._tcp_site = model.site(TCP_SITE).id
        self._scratch = mujoco.MjData(model)
        self._scratch_lock = threading.Lock()
        self._table = Tabletop(model, self.data)
        self._robot_server.estimator = ExternalForceEstimator(
            model, self._arm._dof_addrs, self._tcp_site, self.config.reflex.estimate_time_constant_s
        )
        self._take_snapshot()
        self._thread = threading.Thread(target=self._run, name="twin", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop the simulation, join its thread, close every socket. Harmless when not running."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        if self._robot_server is not None:
            self._robot_server.cleanup()

    def __enter__(self) -> "TwinServer":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        """Whether the simulation's thread is alive; false after stop, and after an error (printed to stderr)."""
        return self._thread is not None and self._thread.is_alive()

    # -- reading ------------------------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Loopback address to give to franky.

        Raises:
            RuntimeError: not started.
        """
        if self._robot_server is None:
            raise RuntimeError("the twin has no address before start()")
        return str(self._robot_server.hostname)

    @property
    def model(self) -> mujoco.MjModel:
        """MuJoCo's model; read under :attr:`lock`."""
        model = self._arm.model
        if model is None:
            raise RuntimeError("the twin has no model before start()")
        return model

    @property
    def data(self) -> mujoco.MjData:
        """MuJoCo's state; read or change under :attr:`lock`."""
        data = self._arm.data
        if data is None:
            raise RuntimeError("the twin has no state before start()")
        return data

    @property
    def robot_time_s(self) -> float:
        """The arm's own clock: 1 ms a tick, from 0 at start."""
        return self._snapshot[0] * TICK_S

    @property
    def real_time_factor(self) -> float:
        """Robot time per wall time over about the last second; 0 until the first marks."""
        marks = list(self._rate_marks)
        if len(marks) < 2:
            return 0.0
        (first_s, first_ticks), (last_s, last_ticks) = marks[0], marks[-1]
        return (last_ticks - first_ticks) * TICK_S / (last_s - first_s)

    @property
    def dropped_s(self) -> float:
        """Wall time given up because the machine was too slow; robot time simply ran late by this much."""
        return self._dropped_s

    def joint_positions(self) -> FloatArray:
        """Arm joints, radians, shape (7,)."""
        return self._snapshot[1][self._arm._qpos_addrs]

    def joint_velocities(self) -> FloatArray:
        """Arm joints, rad/s, shape (7,)."""
        return self._snapshot[2][self._arm._dof_addrs]

    def hand_width(self) -> float:
        """Opening between the fingers, metres."""
        return float(np.sum(self._snapshot[1][self._arm._finger_qpos_addrs]))

    def object_poses(self) -> tuple[float, dict[str, Pose]]:
        """Robot time in seconds and, from the same tick, the pose in ``panda_link0`` of every object that is there."""
        ticks, qpos, _, _, present = self._snapshot
        return ticks * TICK_S, self._table.object_poses(qpos, present)

    def seen(self) -> SeenState:
        """Arm, fingers, the objects that are there and goal markers, all of the last finished tick."""
        ticks, qpos, _, markers_m, present = self._snapshot
        return SeenState(
            stamp_ns=ticks * round(TICK_S * 1e9),
            joints_rad=qpos[self._arm._qpos_addrs],
            fingers_m=qpos[self._arm._finger_qpos_addrs],
            bodies=self._table.object_poses(qpos, present) | self._table.marker_poses(markers_m),
        )

    def object_pose(self, name: str) -> Pose:
        """Pose of one object in ``panda_link0``.

        Raises:
            ValueError: unknown name, or an object that the scene has not.
        """
        _, poses = self.object_poses()
        if name not in poses:
            raise ValueError(
                f"no object {name!r} is there: the scene has {', '.join(poses)}; place_objects sets another"
            )
        return poses[name]

    def tcp_pose(self) -> Pose:
        """True pose of the tool in ``panda_link0``."""
        with self._scratch_lock:
            self._scratch.qpos[:] = self._snapshot[1]
            mujoco.mj_kinematics(self.model, self._scratch)
            position_m = self._scratch.site_xpos[self._tcp_site].copy()
            matrix = self._scratch.site_xmat[self._tcp_site].reshape(3, 3).copy()
        return Pose(position_m=position_m, quat_wxyz=quat_of(Rotation.from_matrix(matrix)))

    def faults(self) -> tuple[str, ...]:
        """Names of the current errors; empty when the arm may move."""
        return self._monitor.active

    def wait(self, robot_s: float, timeout_s: float = 60.0) -> None:
        """Sleep until the arm's clock has advanced by ``robot_s``.

        Raises:
            TimeoutError: it did not within ``timeout_s`` of wall time, for instance because the twin has stopped.
        """
        until, deadline = self.robot_time_s + robot_s, time.monotonic() + timeout_s
        while self.robot_time_s < until:
            if time.monotonic() > deadline or not self.is_running:
                raise TimeoutError(
                    f"robot time {self.robot_time_s:.3f} s did not reach {until:.3f} s: the twin is too slow or stopped"
                )
            time.sleep(TICK_S)

    # -- changing -----------------------------------------------------------------------------------------------

    def place_objects(self, scene: Scene, *, marker: str | None = None) -> None:
        """Put the objects, at rest, and a goal marker where the scene says, and the other objects away.

        Args:
            scene: poses in ``panda_link0``.
            marker: ``disc``, ``small_disc``, ``sphere`` or ``spot`` to show at the goal; None hides them all.

        Raises:
            PlacementRefusedError: the hand touches an object, or something is in a new place.
            ValueError: unknown object or marker, or a pose that is not finite.
        """
        with self.lock, self._scratch_lock:
            self._table.place(self.data, self._scratch, scene, marker)
            self._take_snapshot()

    def clear_objects(self) -> None:
        """Put every object away, whatever holds it, and every goal marker."""
        with self.lock:
            self._table.clear(self.data)
            self._take_snapshot()

    def apply_force(self, name: str, newton: FloatArray, seconds: float) -> None:
        """Push an object or a link at its centre of mass for a while; returns at once.

        Args:
            name: object (``cube``) or link (``hand``, ``fr3_link4``).
            newton: force in base axes, shape (3,).
            seconds: robot time.

        Raises:
            ValueError: unknown name, an object that the scene has not, or a force or time that is not finite.
        """
        force_n = np.asarray(newton, dtype=np.float64)
        if force_n.shape != (3,) or not np.all(np.isfinite(force_n)) or not 0.0 < seconds < np.inf:
            raise ValueError(f"force {newton} N for {seconds} s: three finite numbers and a time above 0 are needed")
        body = self.model.body(body_name(name)).id
        present = self._table.present
        if name in OBJECT_NAMES and name not in present:
            raise ValueError(f"no {name} is there to push: the scene has {', '.join(present) or 'no object'}")
        with self.lock:
            self._pushes.append(_Push(body, force_n, max(1, round(seconds / TICK_S))))

    def inject_fault(self, name: str) -> None:
        """Fault as if the arm had detected the named libfranka error; recovery is the client's business.

        Raises:
            ValueError: unknown name.
            RuntimeError: not started.
        """
        if self._robot_server is None:
            raise RuntimeError("no fault can be injected before start()")
        with self.lock:
            self._robot_server.fault(name)

    # -- the loop -----------------------------------------------------------------------------------------------

    def _listen(self) -> TwinRobotServer:
        """A bound server: on the configured address, or on a random free one."""
        if self.config.address is not None:
            candidates = [self.config.address]
        else:
            # Random so that twins started at the same moment do not race; 127.0.x.x is left for fixed addresses.
            drawn = random.SystemRandom()
            candidates = [
                f"127.{drawn.randrange(1, 255)}.{drawn.randrange(256)}.{drawn.randrange(1, 255)}"
                for _ in range(_ADDRESS_ATTEMPTS)
            ]
        for hostname in candidates:
            server = TwinRobotServer(self._arm, hostname, self._monitor)
            try:
                server.init()
            except OSError as error:
                last_error = error
                continue
            return server
        raise OSError(
            f"ports 1337 and 1338 of {candidates[0]} cannot be had ({last_error}): another twin is probably running "
            "there; stop it, or choose another address in 127.0.0.0/8"
        )

    def _run(self) -> None:
        """Tick at absolute deadlines; when more than 20 ms late, forget the debt instead of racing to catch up."""
        server = self._robot_server
        assert server is not None
        period_s = TICK_S / self.config.speed
        deadline_s = time.perf_counter()
        while not self._stopping.is_set():
            if self.config.command_patience_s > 0:
                server.await_command(self.config.command_patience_s)
            with self.lock:
                self._tick()
            deadline_s += period_s
            ahead_s = deadline_s - time.perf_counter()
            if ahead_s > 0:
                time.sleep(ahead_s)
            elif ahead_s < -_MAX_DEBT_S:
                self._dropped_s -= ahead_s
                deadline_s -= ahead_s
            elif self._ticks % 10 == 0:
                time.sleep(1e-4)  # lets others have the lock although the loop is late

    def _tick(self) -> None:
        server, data = self._robot_server, self.data
        assert server is not None
        server.process_commands()
        self._push(data)
        self._sim.step()
        server.after_step(data, self._tcp_site)
        server.send_state()
        self._ticks += 1
        self._take_snapshot()
        if self._ticks % 50 == 0:
            now_s = time.perf_counter()
            self._rate_marks.append((now_s, self._ticks))
            while now_s - self._rate_marks[0][0] > _RATE_WINDOW_S and len(self._rate_marks) > 2:
                self._rate_marks.popleft()

    def _take_snapshot(self) -> None:
        data = self.data
        self._snapshot = (self._ticks, data.qpos.copy(), data.qvel.copy(), data.mocap_pos.copy(), self._table.present)

    def _push(self, data: mujoco.MjData) -> None:
        if not self._pushes and not np.any(data.xfrc_applied):
            return
        data.xfrc_applied[:] = 0.0
        for push in self._pushes:
            data.xfrc_applied[push.body, :3] += push.force_n
            push.ticks_left -= 1
        self._pushes = [push for push in self._pushes if push.ticks_left > 0]
