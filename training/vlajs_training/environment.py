"""A task as a vector environment: observations by contract, reward, randomisation, automatic resets.

The simulator is ManiSkill's own task class; what is added here is what the robot side would see of it and what
training varies. Observations are exactly the contract's terms, so a policy needs nothing on the robot that it did not
have in training.
"""

from typing import Any, Literal

import numpy as np
import torch

from vlajs.policy.response import ControllerResponse
from vlajs_training import bodies
from vlajs_training.controller import DeployArmController, DeployHandController
from vlajs_training.randomisation import STOCK, Randomisation
from vlajs_training.sensing import DelayLine, Sensing, draw_steps
from vlajs_training.simulation import Backend, partial_reset, reset_all
from vlajs_training.simulation.vector import StepResult
from vlajs_training.simulation.visible import visible_state
from vlajs_training.task_simulation import make_task_simulation
from vlajs_training.tasks import get_definition
from vlajs_training.tasks.terms import BatchPose, BatchState, assemble

REFLEX_N = 20.0
"""A fingertip pressed on from below by more than this has landed on an object: mostly 40 to 160 N where one does, at
most 6 N where it grasps. So has the palm, which a leaning hand brings down on a peg. The bridge has the arm stop at
40 N (``collision_force_n``)."""

PRESS_N = 25.0
"""What is held stands on the table with its weight, 12 N at most; the table answers more where the arm presses it down
or sets it down fast (a peg at 0.15 m/s: 70 N, the mean of 10 ms). Asked of the table: PhysX does not report friction,
by which fingers hold. Asked at the end of each tick of 50 ms: a blow that is over by then is missed."""

REFLEX_REWARD = -1.0
"""For ever after, since the episode ends: as much worse than nothing as success is better."""

SKILL_EPISODES = 200
"""Over about so many episodes the share of successes is taken, see ``reflexes_from_success``."""

MANISKILL_SUCCESS_REWARD = 1.0
"""Normalised dense reward of success in every task: ManiSkill divides by what it pays for it."""


class TaskEnvironment:
    """N environments of one task (``VectorEnv``).

    An episode ends when the task succeeds or an arm's reflex stops it (``terminated``), or at the horizon
    (``truncated``); either resets that environment at once, and ``StepResult.final_observation`` keeps the last one
    before the reset.
    """

    def __init__(
        self,
        task: str,
        *,
        num_envs: int,
        response: ControllerResponse,
        randomisation: Randomisation,
        backend: Backend = "batched_cpu",
        end_at_success: bool = True,
        random_ages: bool = False,
        reflexes_from_success: float | None = None,
        seed: int = 0,
        reward: str = "dense",
        protocol: str = "standard",
        render_backend: Literal["none", "cpu", "gpu"] = "none",
    ) -> None:
        """Build the simulation.

        Args:
            task: name of a task definition.
            num_envs: how many environments; 1 with ``stock_cpu``.
            response: identified response of bridge and arm.
            randomisation: what to vary.
            backend: which simulation.
            end_at_success: terminate at success; otherwise episodes run to the horizon.
            random_ages: after a reset of all, give every environment a random age, so that episodes do not all end in
                the same step and every rollout sees every phase of the task.
            reflexes_from_success: an episode in which a fingertip lands on an object fails, as the arm's reflex stops
                it, once this share of recent episodes succeeds: earlier that would teach not to come near. 0 from the
                first one; None never. Not stored: a resumed run finds out anew.
            seed: of everything drawn here; simulation and randomisation draw from separate streams.
            reward: ``dense`` or ``sub_optimal``.
            protocol: ``standard`` or ``long``.
            render_backend: the device that draws what :meth:`frame` returns; not with ``batched_cpu``.

        Raises:
            ValueError: unknown task, reward or protocol; the message lists the known ones.
        """
        self.definition = get_definition(task, reward=reward, protocol=protocol)
        self.num_envs = num_envs
        self.observation_size = self.definition.observation_size
        self.action_size = 7
        self.end_at_success = end_at_success
        self.random_ages = random_ages
        self._reflexes_from_success = reflexes_from_success
        self._skill = self._best_skill = 0.0
        self.response = response
        self.simulation = make_task_simulation(
            self.definition,
            num_envs=num_envs,
            backend=backend,
            reward_mode=self.definition.maniskill_reward,
            robot_init_qpos_noise=randomisation.initial_joint_noise_rad,
            render_backend=render_backend,
            render_mode=None if render_backend == "none" else "rgb_array",
        )
        self.device = self.simulation.device
        self.randomisation = randomisation = randomisation.applied_on(self.device.type)
        self._sensing = Sensing(num_envs, randomisation, self.device)
        self._actions = DelayLine(num_envs, randomisation.action_delay_ticks[1], self.device)
        self.reset(seed)

    @property
    def arm(self) -> DeployArmController:
        """The arm's controller; ManiSkill makes a new one where it builds the scene anew in a reset."""
        return self._controllers["arm"]

    @property
    def hand(self) -> DeployHandController:
        """The hand's controller, see :attr:`arm`."""
        return self._controllers["gripper"]

    @property
    def _controllers(self) -> dict[str, Any]:
        return vars(self.simulation.agent.controller)["controllers"]

    def reset(self, seed: int) -> np.ndarray:
        """Reset every environment; observations (N, observation_size)."""
        self._generator = torch.Generator(device=self.device).manual_seed(seed)
        reset_all(self.simulation, seed, rebuild=self.definition.rebuild)
        self._begin(torch.arange(self.num_envs, device=self.device))
        if self.random_ages:
            horizon, count = self.definition.horizon_steps, self.num_envs
            ages = torch.randint(0, horizon, (count,), generator=self._generator, device=self.device)
            self.simulation._elapsed_steps[:] = ages.to(self.simulation._elapsed_steps)
        return self._observe(self.state())

    def step(self, actions: np.ndarray) -> StepResult:
        """Apply normalised actions (N, 7), clipped to [-1, 1], for as many control ticks as the contract says.

        The reward is the last tick's; success counts at any, and is paid: it ends the episode, and an arm that came to
        rest at the goal in one tick may move on in the next. Shaping sees the actions unclipped.
        """
        action = torch.from_numpy(actions.astype(np.float32)).to(self.device)
        succeeded = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        stopped = torch.zeros_like(succeeded)
        for _ in range(self.definition.action.ticks_per_action):
            self._actions.push(action.clamp(-1.0, 1.0))
            _, simulated, _, _, info = self.simulation.step(self._actions.read())
            stopped |= self._in_reflex() & ~succeeded
            succeeded |= info["success"] & ~stopped
        state = self.state()
        simulated = torch.where(succeeded, MANISKILL_SUCCESS_REWARD, simulated)
        reward = self._reward(simulated, state, action, {**info, "success": succeeded})
        reward = torch.where(stopped, REFLEX_REWARD, reward)
        self._sensing.advance(state)
        success = succeeded.cpu().numpy()
        observation = self._observe(state)
        truncated = (self.simulation.elapsed_steps >= self.definition.horizon_steps).cpu().numpy()
        terminated = (success & self.end_at_success) | stopped.cpu().numpy()
        final = observation
        done = np.nonzero(terminated | truncated)[0]
        if len(done):
            self._learn_skill(success[done])
            final = observation.copy()
            index = torch.as_tensor(done, device=self.device)
            partial_reset(self.simulation, index)
            self._begin(index)
            observation = self._observe(self.state())
        return StepResult(
            observation=observation,
            reward=reward.cpu().numpy().astype(np.float32),
            terminated=terminated,
            truncated=truncated & ~terminated,
            final_observation=final,
            success=success,
        )

    def state(self) -> BatchState:
        """The true state, in the base frame."""
        definition, simulation = self.definition, self.simulation
        base_m = simulation.agent.robot.pose.p
        poses = {name: actor(simulation).pose for name, actor in definition.objects.items()}
        poses |= {name: landmark(simulation) for name, landmark in definition.landmarks.items()}
        goal_m = torch.full_like(base_m, torch.nan)
        if definition.goal is not None:
            goal_m = definition.goal(simulation).pose.p - base_m
        tcp_position, tcp_wxyz = self.arm.measured_pose()
        return BatchState(
            tcp_position_m=tcp_position,
            tcp_wxyz=tcp_wxyz,
            target_position_m=self.arm.target_position_m,
            target_wxyz=self.arm.target_wxyz,
            gripper_width_m=self.hand.qpos.sum(dim=1),
            gripper_command_m=self.hand.command_m,
            objects={name: BatchPose(position_m=pose.p - base_m, wxyz=pose.q) for name, pose in poses.items()},
            half_sizes_m={name: half_size(simulation) for name, half_size in definition.half_sizes_m.items()},
            goal_m=goal_m,
            joint_speed_share=self.arm.joint_speed_share,
        )

    def visible_state(self, env_idx: np.ndarray) -> np.ndarray:
        """What a camera sees of the environments ``env_idx`` (M,), to be shown in another simulation: (M, V)."""
        return visible_state(self.simulation, env_idx)

    def frame(self) -> np.ndarray:
        """The first environment as ManiSkill's camera for people sees it: (height, width, 3) uint8.

        Raises:
            RuntimeError: built without a render backend.
        """
        if self.simulation.render_mode is None:
            raise RuntimeError("this environment does not render: build it with render_backend='cpu' or 'gpu'")
        images: Any = self.simulation.render_rgb_array()
        return images[0].cpu().numpy()

    def close(self) -> None:
        """Free the simulation."""
        self.simulation.close()

    def _in_reflex(self) -> torch.Tensor:
        """Whether (N,) fingertip or palm has come down on an object, or the hand presses one on the table."""
        stopped = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        if self._reflexes_from_success is None or self._best_skill < self._reflexes_from_success:
            return stopped
        simulation: Any = self.simulation
        agent, force_n = simulation.agent, simulation.scene.get_pairwise_contact_forces
        for name in self.definition.reflex_on:
            item = self.definition.objects[name](simulation)
            for part in (agent.finger1_link, agent.finger2_link, agent.robot.links_map["panda_hand"]):
                stopped |= force_n(part, item)[:, 2] > REFLEX_N
            pressed = force_n(item, simulation.table_scene.table)[:, 2] > PRESS_N
            stopped |= pressed & agent.is_grasping(item)
        return stopped

    def _learn_skill(self, success: np.ndarray) -> None:
        """Episodes have ended, successfully or not (M,): reflexes begin, for good, once enough of them succeed."""
        weight = min(1.0, len(success) / SKILL_EPISODES)
        self._skill += weight * (float(success.mean()) - self._skill)
        self._best_skill = max(self._best_skill, self._skill)

    def _reward(
        self, simulated: torch.Tensor, state: BatchState, action: torch.Tensor, info: dict[str, torch.Tensor]
    ) -> torch.Tensor:
        """The definition's reward (N,); ``simulated`` is ManiSkill's own."""
        definition = self.definition
        if definition.held is not None:
            held: Any = definition.objects[definition.held](self.simulation)
            info = {**info, "is_grasped": self.simulation.agent.is_grasping(held)}
        if definition.reward == "sub_optimal":
            return definition.sub_optimal(state, action, info)
        return simulated + definition.shaping(state, action, info)

    def _observe(self, state: BatchState) -> np.ndarray:
        """Observations (N, observation_size) as the robot would make them."""
        seen = self._sensing.see(state, self._generator)
        return assemble(list(self.definition.terms), seen).cpu().numpy().astype(np.float32)

    def _uniform(self, count: int, bounds: tuple[float, float]) -> torch.Tensor:
        low, high = bounds
        return low + (high - low) * torch.rand(count, generator=self._generator, device=self.device)

    def _begin(self, env_idx: torch.Tensor) -> None:
        """Draw everything that stays fixed for an episode, for the environments ``env_idx`` (M,) just reset."""
        count, ranges = len(env_idx), self.randomisation
        self.arm.set_response(
            env_idx,
            self.response.latency_s * self._uniform(count, ranges.response_latency_factor),
            self.response.natural_frequency_rad_s * self._uniform(count, ranges.response_frequency_factor),
            self.response.damping_ratio * self._uniform(count, ranges.response_damping_factor),
        )
        self.hand.speed_m_s[env_idx] = self._uniform(count, ranges.hand_speed_m_s)
        self.hand.delay_s[env_idx] = self._uniform(count, ranges.hand_delay_s)
        self._sensing.begin(env_idx, self.state(), self._generator)
        self._delay_actions(env_idx)
        self._vary_objects(env_idx)
        self._vary_drives(env_idx)

    def _delay_actions(self, env_idx: torch.Tensor) -> None:
        """Until the first command arrives, the arm is told to stay and the hand to keep its width."""
        gripper = self.definition.action.gripper
        rest = torch.zeros(self.num_envs, self.action_size, device=self.device)
        rest[:, 6] = 2 * gripper.initial_width_m / gripper.width_max_m - 1
        delay = torch.zeros(len(env_idx), dtype=torch.long, device=self.device)
        if self.randomisation.action_delay_ticks[1] > 0:
            delay = draw_steps(len(env_idx), self.randomisation.action_delay_ticks, self._generator)
        self._actions.fill(env_idx, rest, delay)

    def _vary_objects(self, env_idx: torch.Tensor) -> None:
        """Friction and mass of every free body."""
        ranges = self.randomisation
        if (ranges.object_friction, ranges.object_density_kg_m3) == (STOCK.object_friction, STOCK.object_density_kg_m3):
            return
        sizes = {name: half_size(self.simulation) for name, half_size in self.definition.half_sizes_m.items()}
        for name, actor in self.definition.objects.items():
            friction = self._uniform(len(env_idx), ranges.object_friction).tolist()
            density = self._uniform(len(env_idx), ranges.object_density_kg_m3).tolist()
            for index, mu, rho in zip(env_idx.tolist(), friction, density, strict=True):
                body: Any = actor(self.simulation)._bodies[index]
                half_size_m = sizes[name][index].tolist() if name in sizes else body.collision_shapes[0].half_size
                bodies.set_friction(body, mu)
                bodies.set_box_density(body, half_size_m, rho)

    def _vary_drives(self, env_idx: torch.Tensor) -> None:
        """Gains of the arm's joint drives."""
        ranges = self.randomisation
        if ranges.drive_stiffness_factor == ranges.drive_damping_factor == (1.0, 1.0):
            return
        stiffness = self._uniform(len(env_idx), ranges.drive_stiffness_factor).tolist()
        damping = self._uniform(len(env_idx), ranges.drive_damping_factor).tolist()
        for index, k, d in zip(env_idx.tolist(), stiffness, damping, strict=True):
            bodies.set_drive_gains(self.arm, index, k, d)
