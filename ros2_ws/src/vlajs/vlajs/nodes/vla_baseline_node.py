"""The baseline node: a VLA alone runs the robot, through the same bridge and limits as a policy.

Lifecycle node ``vla_baseline``. The decisions are :mod:`vlajs.vla.baseline`'s, and the server is asked on a thread of
:mod:`vlajs.vla.asker`; this module joins them to topics, services and a clock. Ticks run on a thread of their own; the
executor's thread receives, and waits for nobody.
"""

# pyright: reportPrivateImportUsage=false
# (rclpy does not mark its public names as exported)

import sys
import threading

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import Trigger

from vlajs.nodes.commander import Commander, CommanderError
from vlajs.nodes.lifecycle import refuse_on, run_lifecycle_node
from vlajs.nodes.messages import LATCHED_QOS
from vlajs.nodes.policy_inputs import PolicyInputs
from vlajs.nodes.tick_clock import RobotClock, tick_clock
from vlajs.nodes.vla_baseline_config import config_of, declare_parameters
from vlajs.nodes.vla_baseline_inputs import CameraInputs
from vlajs.nodes.vla_baseline_messages import episode_status, server_status
from vlajs.policy.deadline import NS_PER_S, ClockStalledError, run_ticks
from vlajs.policy.runner import Readings, missing_robot_state, robot_not_following, stale_topic
from vlajs.states import PolicyPhase
from vlajs.vla.asker import Asker, Contact, Question
from vlajs.vla.baseline import Answer, BaselineEpisode, RobotInput, identity_of
from vlajs_msgs.msg import PolicyState
from vlajs_msgs.srv import StartPolicy

SOURCE = "vla"
"""What this commander calls itself to the bridge."""

STATE_RATE_HZ = 5.0
ALONE_PERIOD_S = 0.5
JOIN_TIMEOUT_S = 5.0
WARNING_PERIOD_S = 2.0


class VlaBaselineNode(LifecycleNode):
    """Pictures and an instruction in, increments out; see README.md of this folder for the interface."""

    def __init__(self) -> None:
        """Declare the parameters; nothing is read before configuration."""
        super().__init__("vla_baseline")
        declare_parameters(self)
        self._lock = threading.RLock()  # guards _episode, _contact, _refused, _commander and every publication
        self._commander = Commander(self, SOURCE)
        self._asker: Asker | None = None
        self._episode: BaselineEpisode | None = None
        self._contact: Contact | None = None
        self._episodes = self._overruns = 0
        self._refused = self._told_problem = ""
        self._published: tuple[object, ...] = ()
        self._cancel = threading.Event()
        self._thread: threading.Thread | None = None

    # -- lifecycle ---------------------------------------------------------------------------------------------

    @refuse_on(ValueError)
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check the parameters, begin to look for the server, open the topics; refuse with the reason."""
        self._config = config_of(self)
        self._asker = Asker(self._config.server, self._on_answer)
        self._tick_clock = tick_clock(self)
        self._inputs = PolicyInputs(self, self._tick_clock, ())
        self._camera = CameraInputs(self, self._tick_clock, self._on_picture)
        self._states = self.create_publisher(PolicyState, "/baseline/state", LATCHED_QOS)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._served = [
            self.create_service(StartPolicy, "/baseline/start", self._on_start),
            self.create_service(Trigger, "/baseline/stop", self._on_stop),
        ]
        # reports keep coming when robot time stands still
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timers_open = [
            self.create_timer(1.0 / STATE_RATE_HZ, self._publish_state, clock=steady),
            self.create_timer(1.0, self._publish_diagnostics, clock=steady),
            self.create_timer(ALONE_PERIOD_S, self._end_beside_another, clock=steady),
        ]
        self.get_logger().info(
            f"asks {self._config.server.backend} at {self._config.server.url}: {self._config.episode.instruction!r}"
        )
        return TransitionCallbackReturn.SUCCESS

    @refuse_on(CommanderError)
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From now on episodes may be started; refused while another commander is active."""
        self._commander.open()
        assert self._asker is not None, "configured"
        self._asker.look_again()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the episode; its thread has gone when this returns."""
        self._end_episode("the baseline node was deactivated")
        self._commander.close()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close what configuration opened."""
        self._end_episode("the baseline node was cleaned up")
        for timer in self._timers_open:
            self.destroy_timer(timer)
        for service in self._served:
            self.destroy_service(service)
        for publisher in (self._states, self._diagnostics):
            self.destroy_publisher(publisher)
        self._inputs.close()
        self._camera.close()
        if isinstance(self._tick_clock, RobotClock):
            self._tick_clock.close()
        self._close_asker()
        self._episode, self._published = None, ()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the episode."""
        self._end_episode("the baseline node shut down")
        self._commander.close()
        self._close_asker()
        return TransitionCallbackReturn.SUCCESS

    def _close_asker(self) -> None:
        if self._asker is not None:
            self._asker.close()
            self._asker = None

    # -- services ----------------------------------------------------------------------------------------------

    def _on_start(self, request: StartPolicy.Request, response: StartPolicy.Response) -> StartPolicy.Response:
        if not self._running():
            self._join()  # outside the lock, which the thread of the episode before may still need to end
        with self._lock:
            try:
                self._begin_episode(request.task)
                response.success, response.message = True, f"episode {self._episodes} started"
                response.contract_id = self._identity()
                response.horizon_steps = self._config.episode.horizon_steps
            except ValueError as error:
                response.success, response.message = False, str(error)
                self.get_logger().warning(f"start refused: {error}")
                if not self._running():
                    self._refused = str(error)
                    self._publish_state()
        return response

    def _begin_episode(self, task: str) -> None:
        """Start the thread of a new episode.

        Raises:
            ValueError: it may not start; the message is the reason.
        """
        if not self._commander.is_open:
            raise ValueError("the baseline node is not active: activate it first")
        if self._running():
            raise ValueError("an episode is running: call /baseline/stop first")
        if task != self._config.task:
            raise ValueError(
                f"the baseline's task is {self._config.task!r}, {task!r} was asked for: set parameter task"
            )
        self._commander.require_alone()
        assert self._asker is not None, "configured"
        contact = self._asker.contact
        if contact is None:
            raise ValueError(f"the VLA has no source: {self._config.server.url}: {self._asker.problem}")
        robot, _ = self._robot(contact)
        self._episode = BaselineEpisode(
            self._episodes + 1, self._config.episode, contact.pacing, robot, self._tick_clock.now_ns() / NS_PER_S
        )
        self._contact = contact
        self._episodes += 1
        self._overruns, self._refused = 0, ""
        self._commander.begin()
        self._cancel = threading.Event()
        self._thread = threading.Thread(target=self._run_episode, args=(self._episode, self._cancel), name="ticks")
        self._thread.start()
        self.get_logger().info(
            f"episode {self._episodes} of {contact.description.name} started: {contact.pacing.rate_hz:g} actions a "
            f"second, {contact.pacing.tick_rate_hz:g} increments"
        )
        self._publish_state()

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """No command follows the answer."""
        with self._lock:
            was_running = self._running()
        self._end_episode("stopped on request")
        response.success = True
        response.message = "stopped" if was_running else "no episode was running"
        return response

    # -- episode -----------------------------------------------------------------------------------------------

    def _running(self) -> bool:
        return self._episode is not None and self._episode.active

    def _run_episode(self, episode: BaselineEpisode, cancel: threading.Event) -> None:
        """The thread of one episode."""

        def tick(overruns: int) -> bool:
            return self._tick(episode, overruns)

        try:
            run_ticks(self._tick_clock, episode.pacing.tick_rate_hz, tick, cancel)
        except ClockStalledError as error:
            episode.stop(str(error))
        finally:  # whatever ended the ticks, nobody may believe that they go on
            with self._lock:
                episode.stop("the tick loop ended unexpectedly; see the log")
                self._publish_state()
            self.get_logger().info(f"episode ended after {episode.step} steps: {episode.reason}")

    def _tick(self, episode: BaselineEpisode, overruns: int) -> bool:
        with self._lock:
            self._overruns = overruns
            assert self._contact is not None, "episodes have one"
            assert self._asker is not None, "the thread is joined before cleanup"
            if not self._asker.alive:
                episode.stop("the asking thread ended unexpectedly; see the log")
            robot, readings = self._robot(self._contact)
            now_s = self._tick_clock.now_ns() / NS_PER_S
            motion = episode.tick(robot, now_s)
            if motion is not None:
                self._commander.send(
                    motion.delta_pos_m,
                    motion.delta_rotvec_rad,
                    motion.gripper_width_m,
                    stamp_ns=readings.stamp_ns,
                    contract_id="",
                )
            self._ask_if_due(episode, now_s)
            self._tell_change()
            return episode.active

    def _robot(self, contact: Contact) -> tuple[RobotInput, Readings]:
        """What is known of the robot, judged."""
        readings, ages, config = self._inputs.readings(), self._config.ages, self._config.episode
        missing = missing_robot_state(readings) or stale_topic(ages.of_robot(), readings)
        stale = missing or self._camera.objection(config.image_age_limit_s)
        robot = readings.robot
        limits = config.step_limits(
            0.0 if robot is None else robot.limits.max_step_m,
            0.0 if robot is None else robot.limits.max_step_rad,
            contact.pacing.tick_rate_hz,
        )
        judged = RobotInput(
            objection="" if robot is None else robot_not_following(robot, SOURCE) or "",
            stale=stale,
            gripper_width_m=readings.gripper_width_m or 0.0,
            gripper_busy=robot is None or robot.gripper_busy,
            limits=limits,
            refused_commands=0 if robot is None else robot.refused_commands,
        )
        return judged, readings

    def _ask_if_due(self, episode: BaselineEpisode, now_s: float) -> None:
        since_s = episode.picture_wanted_since_s(now_s)
        seen = self._camera.newest()
        if since_s is None or seen is None or seen.taken_s < since_s:
            return
        tool_quat = self._camera.tool_quat_wxyz(seen.stamp_ns)
        if tool_quat is None:
            return
        assert self._asker is not None, "the thread is joined before cleanup"
        assert self._contact is not None, "episodes have one"
        question = Question(
            episode=episode.number,
            taken_s=seen.taken_s,
            picture=seen.rgb,
            instruction=episode.config.instruction,
            tool_quat_in_base_wxyz=tool_quat,
            expected=self._contact.description,
        )
        if self._asker.ask(question):
            episode.asked()

    def _on_picture(self) -> None:
        """Ask at once: the next tick may be 50 ms away."""
        with self._lock:
            if self._episode is not None and self._episode.active:
                self._ask_if_due(self._episode, self._tick_clock.now_ns() / NS_PER_S)

    def _on_answer(self, answer: Answer) -> None:
        """In the asking thread."""
        with self._lock:
            if self._episode is None:
                return
            problem = self._episode.take(answer, self._tick_clock.now_ns() / NS_PER_S)
        if problem:
            self.get_logger().warning(problem, throttle_duration_sec=WARNING_PERIOD_S)

    def _end_beside_another(self) -> None:
        """End a running episode when another commander has come up."""
        with self._lock:
            if self._episode is not None and self._episode.active and (rival := self._commander.rival()):
                self.get_logger().error(f"the episode ends: {rival}")
                self._episode.stop(rival)

    def _end_episode(self, reason: str) -> None:
        """Stop the episode and wait for its thread; no command follows."""
        with self._lock:
            if self._episode is not None:
                self._episode.stop(reason)
            self._cancel.set()
        self._join()

    def _join(self) -> None:
        """Wait for the thread of an episode that is over; it ends without another command."""
        if self._thread is not None:
            self._cancel.set()
            self._thread.join(JOIN_TIMEOUT_S)
            if self._thread.is_alive():
                raise RuntimeError(f"the tick thread did not end within {JOIN_TIMEOUT_S:g} s of being told to")
            self._thread = None

    # -- reports -----------------------------------------------------------------------------------------------

    def _phase(self) -> tuple[PolicyPhase, str]:
        if self._refused:
            return PolicyPhase.REFUSED, self._refused
        if self._episode is None:
            return PolicyPhase.IDLE, ""
        return self._episode.phase, self._episode.reason

    def _identity(self) -> str:
        """Of what runs, else of what would."""
        contact = self._contact if self._running() or self._asker is None else self._asker.contact
        return "" if contact is None else identity_of(contact.description, self._config.episode)

    def _tell_change(self) -> None:
        """Publish at once what changed, and the first step, from which a session counts."""
        assert self._episode is not None, "an episode ticks"
        now = (*self._phase(), self._episodes, self._episode.step > 0)
        if now == self._published:
            return
        phase, reason = self._phase()
        if phase is PolicyPhase.RUNNING and reason:
            self.get_logger().warning(reason, throttle_duration_sec=WARNING_PERIOD_S)
        self._publish_state()

    def _publish_state(self) -> None:
        with self._lock:
            phase, reason = self._phase()
            step = 0 if self._episode is None else self._episode.step
            self._published = (phase, reason, self._episodes, step > 0)
            message = PolicyState(phase=int(phase), episode=self._episodes, reason=reason, overruns=self._overruns)
            message.header.stamp = self.get_clock().now().to_msg()
            message.step, message.horizon_steps = step, self._config.episode.horizon_steps
            message.task, message.contract_id = self._config.task, self._identity()
            self._states.publish(message)

    def _tell_of_server(self, asker: Asker) -> None:
        """A line in the log when the server begins to fail or to answer."""
        contact, problem = asker.contact, asker.problem
        if problem != self._told_problem:
            self._told_problem = problem
            if problem:
                self.get_logger().warning(f"the VLA server at {self._config.server.url}: {problem}")
            elif contact is not None:
                self.get_logger().info(f"the VLA server is {contact.description.name}, it answers")

    def _publish_diagnostics(self) -> None:
        with self._lock:
            phase, reason = self._phase()
            assert self._asker is not None, "configured"
            self._tell_of_server(self._asker)
            seen = self._camera.newest()
            age_s = None if seen is None else self._tick_clock.now_ns() / NS_PER_S - seen.taken_s
            array = DiagnosticArray(
                status=[
                    server_status(self._config.server, self._asker),
                    episode_status(phase, reason, self._episode, age_s, self._overruns),
                ]
            )
            array.header.stamp = self.get_clock().now().to_msg()
            self._diagnostics.publish(array)


def main() -> int:
    """Run the node until a signal; returns the process's exit code."""
    return run_lifecycle_node(VlaBaselineNode, executor_threads=1)


if __name__ == "__main__":
    sys.exit(main())
