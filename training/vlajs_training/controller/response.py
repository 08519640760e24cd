"""How the commanded tool pose becomes motion: latency, then a damped second order.

``vlajs identify`` fits these numbers to the bridge and arm (twin or real); here they are what the simulated arm does
with a new target, one set for each environment.
"""

import torch

from vlajs_training.rotations import quat_from_rotvec, quaternion_multiply, rotvec_between


class ResponseFilter:
    """Reference pose that trails, and overshoots, the target pose.

    Attributes:
        position_m: (N, 3), reference after the last :meth:`step`.
        quat_wxyz: (N, 4).
        latency_steps: (N,) physics steps before a new target is seen; at most one control step, a target is replaced
            before it could wait longer.
        transition: (N, 2, 2) carries (distance from the target, velocity) over one physics step.
    """

    def __init__(self, num_envs: int, device: torch.device) -> None:
        self.position_m = torch.zeros(num_envs, 3, device=device)
        self.quat_wxyz = torch.zeros(num_envs, 4, device=device)
        self.quat_wxyz[:, 0] = 1.0
        self._velocity_m_s = torch.zeros(num_envs, 3, device=device)
        self._turn_rate_rad_s = torch.zeros(num_envs, 3, device=device)
        self._target = (self.position_m.clone(), self.quat_wxyz.clone())
        self._previous_target = (self.position_m.clone(), self.quat_wxyz.clone())
        self._steps_since_target = 0
        self.latency_steps = torch.zeros(num_envs, dtype=torch.long, device=device)
        self.transition = torch.zeros(num_envs, 2, 2, device=device)

    def set_response(
        self,
        env_idx: torch.Tensor,
        latency_s: torch.Tensor,
        natural_frequency_rad_s: torch.Tensor,
        damping_ratio: torch.Tensor,
        step_s: float,
    ) -> None:
        """Set the response (M,) of the environments ``env_idx`` (M,); latency is rounded to physics steps."""
        self.latency_steps[env_idx] = (latency_s / step_s).round().long()
        rates = torch.zeros(len(env_idx), 2, 2, device=self.transition.device)
        rates[:, 0, 1] = 1.0
        rates[:, 1, 0] = -natural_frequency_rad_s.square()
        rates[:, 1, 1] = -2 * damping_ratio * natural_frequency_rad_s
        self.transition[env_idx] = torch.linalg.matrix_exp(rates * step_s)

    def reset(self, mask: torch.Tensor, position_m: torch.Tensor, quat_wxyz: torch.Tensor) -> None:
        """Put reference and targets of the masked environments (N,) at rest at the given poses (N, ...)."""
        for position, quat in ((self.position_m, self.quat_wxyz), self._target, self._previous_target):
            position[mask] = position_m[mask]
            quat[mask] = quat_wxyz[mask]
        self._velocity_m_s[mask] = 0.0
        self._turn_rate_rad_s[mask] = 0.0

    def set_target(self, position_m: torch.Tensor, quat_wxyz: torch.Tensor) -> None:
        """A new target (N, ...) for every environment, seen after its latency."""
        self._previous_target = self._target
        self._target = (position_m, quat_wxyz)
        self._steps_since_target = 0

    def step(self) -> None:
        """Advance one physics step."""
        seen = (self._steps_since_target >= self.latency_steps)[:, None]
        self._steps_since_target += 1
        position = torch.where(seen, self._target[0], self._previous_target[0])
        quat = torch.where(seen, self._target[1], self._previous_target[1])
        away_m, self._velocity_m_s = self._advance(self.position_m - position, self._velocity_m_s)
        away_rad, self._turn_rate_rad_s = self._advance(rotvec_between(quat, self.quat_wxyz), self._turn_rate_rad_s)
        self.position_m = position + away_m
        self.quat_wxyz = quaternion_multiply(quat_from_rotvec(away_rad), quat)

    def _advance(self, away: torch.Tensor, rate: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Distance from the target and velocity, (N, 3) each, one physics step later."""
        step = self.transition[:, :, :, None]
        return step[:, 0, 0] * away + step[:, 0, 1] * rate, step[:, 1, 0] * away + step[:, 1, 1] * rate
