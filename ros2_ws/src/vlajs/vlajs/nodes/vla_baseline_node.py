"""The baseline node: a VLA alone runs the robot, through the same bridge and limits as a policy.

Lifecycle node ``vla_baseline``. The decisions are :mod:`vlajs.vla.baseline`'s, and the server is asked on a thread of
:mod:`vlajs.vla.asker`; this module joins them to topics, services and a clock. Ticks run on a thread of their own; the
executor's thread receives, and waits for nobody.
"""

# pyright: reportPrivateImportUsage=false
# (rclpy does not mark its public names as exported)

import sys

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from vlajs.nodes.commander import Commander, CommanderError
from vlajs.nodes.episode_server import EpisodeServer, Served
from vlajs.nodes.episode_thread import WARNING_PERIOD_S, EpisodeReport, EpisodeThread
from vlajs.nodes.lifecycle import refuse_on, run_lifecycle_node
from vlajs.nodes.policy_inputs import PolicyInputs
from vlajs.nodes.tick_clock import RobotClock, tick_clock
from vlajs.nodes.vla_baseline_config import config_of, declare_parameters
from vlajs.nodes.vla_baseline_inputs import CameraInputs
from vlajs.nodes.vla_baseline_messages import episode_status, server_status
from vlajs.policy.deadline import NS_PER_S
from vlajs.policy.runner import Readings, missing_robot_state, robot_not_following, stale_topic
from vlajs.vla.asker import Asker, Contact, Question
from vlajs.vla.baseline import Answer, BaselineEpisode, RobotInput, identity_of

SOURCE = "vla"
"""What this commander calls itself to the bridge."""


class VlaBaselineNode(LifecycleNode):
    """Pictures and an instruction in, increments out; see README.md of this folder for the interface."""

    def __init__(self) -> None:
        """Declare the parameters; nothing is read before configuration."""
        super().__init__("vla_baseline")
        declare_parameters(self)
        self._commander = Commander(self, SOURCE)
        self._thread = EpisodeThread[BaselineEpisode](
            "baseline", self._commander, self.get_logger(), tick=self._tick, publish=self._publish
        )
        self._asker: Asker | None = None
        self._contact: Contact | None = None  # of the newest episode; guarded by the thread's lock
        self._told_problem = ""

    # -- lifecycle ---------------------------------------------------------------------------------------------

    @refuse_on(ValueError)
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check the parameters, begin to look for the server, open the topics; refuse with the reason."""
        self._config = config_of(self)
        self._asker = Asker(self._config.server, self._on_answer)
        self._tick_clock = tick_clock(self)
        self._inputs = PolicyInputs(self, self._tick_clock, ())
        self._camera = CameraInputs(self, self._tick_clock, self._on_picture)
        self._server = EpisodeServer(
            self,
            "baseline",
            self._thread,
            self._tick_clock,
            begin=self._begin,
            served=self._served,
            health=self._health,
        )
        self.get_logger().info(
            f"asks {self._config.server.backend} at {self._config.server.url}: {self._config.episode.instruction!r}"
        )
        return TransitionCallbackReturn.SUCCESS

    @refuse_on(CommanderError)
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From now on episodes may be started; refused while another commander is active."""
        self._thread.open()
        assert self._asker is not None, "configured"
        self._asker.look_again()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the episode; its thread has gone when this returns."""
        self._thread.close("the baseline node was deactivated")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close what configuration opened."""
        self._thread.close("the baseline node was cleaned up")
        self._server.close()
        self._inputs.close()
        self._camera.close()
        if isinstance(self._tick_clock, RobotClock):
            self._tick_clock.close()
        self._close_asker()
        self._thread.forget()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the episode."""
        self._thread.close("the baseline node shut down")
        self._close_asker()
        return TransitionCallbackReturn.SUCCESS

    def _close_asker(self) -> None:
        if self._asker is not None:
            self._asker.close()
            self._asker = None

    # -- episode -----------------------------------------------------------------------------------------------

    def _begin(self, task: str) -> BaselineEpisode:
        """A new episode with the server that answers now.

        Raises:
            ValueError: it may not start; the message is the reason.
        """
        if task != self._config.task:
            raise ValueError(
                f"the baseline's task is {self._config.task!r}, {task!r} was asked for: set parameter task"
            )
        assert self._asker is not None, "configured"
        contact = self._asker.contact
        if contact is None:
            raise ValueError(f"the VLA has no source: {self._config.server.url}: {self._asker.problem}")
        robot, _ = self._robot(contact)
        number, now_s = self._thread.number + 1, self._tick_clock.now_ns() / NS_PER_S
        episode = BaselineEpisode(number, self._config.episode, contact.pacing, robot, now_s)
        self._contact = contact
        self.get_logger().info(
            f"episode {number} of {contact.description.name} started: {contact.pacing.rate_hz:g} actions a second, "
            f"{contact.pacing.tick_rate_hz:g} increments"
        )
        return episode

    def _tick(self, episode: BaselineEpisode) -> None:
        assert self._contact is not None, "episodes have one"
        assert self._asker is not None, "the thread is joined before cleanup"
        if not self._asker.alive:
            episode.stop("the asking thread ended unexpectedly; see the log")
        robot, readings = self._robot(self._contact)
        now_s = self._tick_clock.now_ns() / NS_PER_S
        increment = episode.tick(robot, now_s)
        if increment is not None:
            self._commander.send(increment, stamp_ns=readings.stamp_ns, contract_id="")
        self._ask_if_due(episode, now_s)

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
        with self._thread.lock:
            episode = self._thread.episode
            if episode is not None and episode.active:
                self._ask_if_due(episode, self._tick_clock.now_ns() / NS_PER_S)

    def _on_answer(self, answer: Answer) -> None:
        """In the asking thread."""
        with self._thread.lock:
            episode = self._thread.episode
            if episode is None:
                return
            problem = episode.take(answer, self._tick_clock.now_ns() / NS_PER_S)
        if problem:
            self.get_logger().warning(problem, throttle_duration_sec=WARNING_PERIOD_S)

    # -- reports -----------------------------------------------------------------------------------------------

    def _publish(self, report: EpisodeReport) -> None:
        self._server.publish(report)

    def _served(self) -> Served:
        config, contact = self._config, self._contact
        if not self._thread.running and self._asker is not None:
            contact = self._asker.contact
        return Served(
            task=config.task,
            contract_id="" if contact is None else identity_of(contact.description, config.episode),
            horizon_steps=config.episode.horizon_steps,
        )

    def _tell_of_server(self, asker: Asker) -> None:
        """A line in the log when the server begins to fail or to answer."""
        contact, problem = asker.contact, asker.problem
        if problem != self._told_problem:
            self._told_problem = problem
            if problem:
                self.get_logger().warning(f"the VLA server at {self._config.server.url}: {problem}")
            elif contact is not None:
                self.get_logger().info(f"the VLA server is {contact.description.name}, it answers")

    def _health(self) -> list[DiagnosticStatus]:
        assert self._asker is not None, "configured"
        self._tell_of_server(self._asker)
        seen = self._camera.newest()
        age_s = None if seen is None else self._tick_clock.now_ns() / NS_PER_S - seen.taken_s
        return [
            server_status(self._config.server, self._asker),
            episode_status(self._thread.report(), self._thread.episode, age_s),
        ]


def main() -> int:
    """Run the node until a signal; returns the process's exit code."""
    return run_lifecycle_node(VlaBaselineNode, executor_threads=1)


if __name__ == "__main__":
    sys.exit(main())
