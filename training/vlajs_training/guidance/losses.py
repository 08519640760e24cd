"""Losses that pull the policy's mean action toward a teacher's hints (paper, III.C and III.E).

Both are means over *all* steps, guided or not, as the paper's expectations are: fewer calls weigh less. That also makes
them additive over minibatches and processes.
"""

import torch

TRANSLATION = slice(0, 3)
ROTATION = slice(3, 6)
COMPONENTS = (TRANSLATION, ROTATION)

EPSILON = 1e-3
"""Keeps the gradient finite where the policy's own vector vanishes; in action units, 1 is a full step."""


def alignment(
    mean: torch.Tensor, target: torch.Tensor, guided: torch.Tensor, component: slice, near_zero: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine (M,) between one component of policy mean and target (M, 7), and where it counts, (M,) bool.

    The target is brought to length 1 first: with the epsilon on the policy's length alone, a teacher's magnitude
    changes nothing at all. Shorter than ``near_zero`` it has no direction and does not count.
    """
    ours, theirs = mean[:, component], target[:, component]
    length = theirs.norm(dim=1)
    counts = (guided > 0) & (length > near_zero)
    direction = theirs / torch.where(counts, length, torch.ones_like(length))[:, None]
    # the norm's gradient at zero is not a number: keep away from it
    size = (ours.square().sum(dim=1) + 1e-12).sqrt()
    return (ours * direction).sum(dim=1) / (size + EPSILON), counts


def directional_loss(mean: torch.Tensor, target: torch.Tensor, guided: torch.Tensor, near_zero: float) -> torch.Tensor:
    """L_dir: 1 - cosine, summed over translation and rotation; the gripper is free.

    Args:
        mean: policy means (M, 7).
        target: hints in action units (M, 7).
        guided: 1.0 where there is a hint, (M,).
        near_zero: components shorter than this are skipped, action units.
    """
    loss = mean.new_zeros(())
    for component in COMPONENTS:
        cosine, counts = alignment(mean, target, guided, component, near_zero)
        loss = loss + torch.where(counts, 1.0 - cosine, torch.zeros_like(cosine)).mean()
    return loss


def mse_loss(mean: torch.Tensor, target: torch.Tensor, guided: torch.Tensor) -> torch.Tensor:
    """L_MSE: squared distance of the whole actions, gripper included; arguments as :func:`directional_loss`."""
    return (guided * (mean - target).square().sum(dim=1)).mean()
