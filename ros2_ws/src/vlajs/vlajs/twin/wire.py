"""franky-sim's servers, made to behave like an arm: faults on the wire, loopback only, a truthful measured pose.

franky-sim keeps much of what is needed here private, so this module is written against one version of it.
"""

# pyright: reportAttributeAccessIssue=false
# (MuJoCo is an extension module without type stubs)

import importlib.metadata
import select
import socket
from typing import Any, cast

import mujoco
import numpy as np
from franky_sim import franka_robot_protocol as protocol
from franky_sim.franka_gripper_server import FrankaGripperServer
from franky_sim.franka_robot_server import FrankaRobotServer
from franky_sim.franka_robot_state import FrankaRobotState
from franky_sim.franka_server import NonBlockingReceiver

from vlajs.geometry import FloatArray
from vlajs.twin.arm import TICK_S, TwinArm
from vlajs.twin.reflex import CollisionThresholds, ExternalForceEstimator, FaultMonitor, TickMeasurements, error_flags

SUPPORTED_FRANKY_SIM = "1.0.4"
BRAKE_RELAXATION = 0.02
"""Part of the way to the measured joints that the held joints go each tick in reflex: contact force decays."""


def check_franky_sim_version() -> None:
    """Refuse another franky-sim than the one whose private names are used here.

    Raises:
        RuntimeError: another version is installed.
    """
    installed = importlib.metadata.version("franky-sim")
    if installed != SUPPORTED_FRANKY_SIM:
        raise RuntimeError(
            f"franky-sim {installed} is installed, the twin is written against the inner workings of "
            f"{SUPPORTED_FRANKY_SIM}: pip install franky-sim=={SUPPORTED_FRANKY_SIM}"
        )


class _LoopbackUdp:
    """Sends state from the server's own loopback address; franky-sim would listen on every interface."""

    def _setup_udp_connection(self, network_udp_port: int) -> None:
        server = cast(Any, self)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((server.hostname, 0))
        udp.setblocking(False)
        server._FrankaServer__client_udp_port = network_udp_port
        server._FrankaServer__udp_socket = udp
        server._FrankaServer__udp_receiver = NonBlockingReceiver(udp)
        server._FrankaServer__message_id = 0

    def cleanup(self) -> None:
        server = cast(Any, self)
        server.reset_state()
        super().cleanup()  # type: ignore[misc]  (of the server that this is mixed into)


class TwinGripperServer(_LoopbackUdp, FrankaGripperServer):
    """The hand's server."""


# Commands that the twin's own server alone is given: their ``handle`` may ask for it.


class _SetCollisionBehavior(protocol.SetCollisionBehaviorCommand):
    def handle(self, server: "TwinRobotServer") -> None:  # type: ignore[override]
        server.monitor.thresholds = CollisionThresholds(
            torque_nm=np.array(self.upper_torque_thresholds_nominal),
            wrench=np.array(self.upper_force_thresholds_nominal),
        )
        self.reply(0)


class _AutomaticErrorRecovery(protocol.AutomaticErrorRecoveryCommand):
    def handle(self, server: "TwinRobotServer") -> None:  # type: ignore[override]
        server.begin_recovery(self)


class _Move(protocol.MoveCommand):
    def handle(self, server: "TwinRobotServer") -> None:  # type: ignore[override]
        if server.monitor.active:
            self.reply(protocol.MoveStatus.kCommandNotPossibleRejected)
        else:
            super().handle(cast(Any, server))


class TwinRobotServer(_LoopbackUdp, FrankaRobotServer):
    """The arm's server: franky-sim's, with faults.

    Args:
        robot: the simulated arm.
        hostname: loopback address to listen on (ports 1337 and 1338).
        monitor: judges each tick; shared with whoever injects faults.
    """

    def __init__(self, robot: TwinArm, hostname: str, monitor: FaultMonitor) -> None:
        super().__init__(robot, [hostname])
        self.monitor = monitor
        self.estimator: ExternalForceEstimator | None = None
        self._twin_robot = robot
        self._previous_tcp_m: FloatArray | None = None
        self._silent_ticks = 0
        self._recovery: protocol.AutomaticErrorRecoveryCommand | None = None
        self._recovery_ticks_left = 0
        handlers = cast(Any, self)._FrankaServer__command_class_map
        handlers[protocol.RobotCommand.kSetCollisionBehavior] = _SetCollisionBehavior
        handlers[protocol.RobotCommand.kAutomaticErrorRecovery] = _AutomaticErrorRecovery
        handlers[protocol.RobotCommand.kMove] = _Move

    def start_motion(
        self,
        controller_mode: protocol.MoveCommandControllerMode,
        motion_generator_mode: protocol.MoveCommandMotionGeneratorMode,
        motion_id: int,
    ) -> None:
        """Begin a motion from the desired state, as an arm does; franky-sim would jump to the measured one."""
        super().start_motion(controller_mode, motion_generator_mode, motion_id)
        state = self._twin_robot.state
        cast(Any, self)._FrankaRobotServer__current_control_command = protocol.UDPCommand(
            q_c=state.q_d, O_T_EE_c=state.O_T_EE_d
        )
        self._twin_robot.begin_motion()
        self._silent_ticks = 0

    def await_command(self, patience_s: float) -> None:
        """In a motion, return when a command is there to be read, or after ``patience_s`` of wall time."""
        if self.current_motion_id:
            select.select([cast(Any, self)._FrankaServer__udp_socket], [], [], patience_s)

    def _handle_udp_command(self, command_data: bytes) -> None:
        self._silent_ticks = 0
        super()._handle_udp_command(command_data)

    def _bind_children(self, hostname: str) -> None:
        gripper = TwinGripperServer(self._twin_robot, hostname)
        gripper.init()
        cast(Any, self)._FrankaRobotServer__gripper_server = gripper

    def after_step(self, data: mujoco.MjData, tcp_site: int) -> None:
        """Estimate external forces, judge the tick, brake while in reflex. Call after every simulation step."""
        if self.estimator is None:
            return
        self.estimator.update(data)
        self._silent_ticks += 1
        tcp_m = data.site_xpos[tcp_site].copy()
        previous_m, self._previous_tcp_m = self._previous_tcp_m, tcp_m
        if self.monitor.active:
            self._relax_brake()
            self._go_on_recovering()
        elif self.current_motion_id and previous_m is not None:
            error = self.monitor.judge(
                TickMeasurements(
                    command_age_s=self._silent_ticks * TICK_S,
                    joint_velocities_rad_s=self._twin_robot.measured_velocities_rad_s(),
                    tcp_speed_m_s=float(np.linalg.norm(tcp_m - previous_m)) / TICK_S,
                    joint_torque_nm=self.estimator.joint_torque_nm,
                    tcp_wrench=self.estimator.tcp_wrench,
                )
            )
            if error is not None:
                self.fault(error)

    def fault(self, name: str) -> None:
        """Stop the arm where it is, report the error, abort the running motion.

        Raises:
            ValueError: unknown error name.
        """
        self.monitor.fault(name)
        if self._recovery is not None:
            self._recovery.reply(protocol.AutomaticErrorRecoveryStatus.kReflexAborted)
            self._recovery = None
        motion_id = self.current_motion_id
        self.stop_motion(send_preemption_signal=False)
        self.reset_current_motion_id()
        cast(Any, self)._FrankaRobotServer__holding_q = tuple(self._twin_robot.inner_state.q)
        # The client must see the mode before the abort: libfranka reads the errors of the state it has.
        self.send_state()
        if motion_id:
            protocol.BaseCommand.send_response(
                cast(Any, self._tcp_socket),
                protocol.RobotCommand.kMove,
                motion_id,
                protocol.MoveStatus.kReflexAborted,
            )

    def begin_recovery(self, command: protocol.AutomaticErrorRecoveryCommand) -> None:
        """Recover from the fault, which takes a while; the client waits for the answer."""
        if not self.monitor.active:
            command.reply(protocol.AutomaticErrorRecoveryStatus.kSuccess)
            return
        self._recovery = command
        self._recovery_ticks_left = round(self.monitor.config.recovery_time_s / TICK_S)

    def _go_on_recovering(self) -> None:
        if self._recovery is None:
            return
        self._recovery_ticks_left -= 1
        if self._recovery_ticks_left <= 0:
            self.monitor.recover()
            self._recovery.reply(protocol.AutomaticErrorRecoveryStatus.kSuccess)
            self._recovery = None

    def _reset_state(self) -> None:
        """A new client, or none: nobody waits for a recovery; faults and thresholds stay, as on an arm."""
        super()._reset_state()
        self._recovery = None

    def _relax_brake(self) -> None:
        server = cast(Any, self)
        held = np.array(server._FrankaRobotServer__holding_q)
        measured = np.array(self._twin_robot.inner_state.q)
        server._FrankaRobotServer__holding_q = tuple(held + BRAKE_RELAXATION * (measured - held))

    @property
    def robot_state(self) -> FrankaRobotState:
        """State as it goes over the wire."""
        state = super().robot_state
        if self.estimator is None:
            return state
        errors = error_flags(self.monitor.active)
        return state.replace(
            tau_ext_hat_filtered=tuple(self.estimator.joint_torque_nm),
            O_F_ext_hat_K=tuple(self.estimator.tcp_wrench),
            errors=errors,
            current_errors=errors,
            reflex_reason=error_flags(self.monitor.last),
            robot_mode=protocol.RobotMode.kReflex if self.monitor.active else state.robot_mode,
        )
