"""Directional and MSE losses, computed by hand."""

import pytest
import torch

from vlajs_training.guidance.losses import EPSILON, directional_loss, mse_loss


def rows(*values: list[float]) -> torch.Tensor:
    return torch.tensor(values)


def test_directional_loss_sums_the_misalignment_of_translation_and_rotation() -> None:
    mean = rows([1.0, 0, 0, 0, 1.0, 0, 0.9], [2.0, 0, 0, 0, 0, 3.0, -0.9])
    target = rows([0, 1.0, 0, 0, 1.0, 0, -1.0], [-4.0, 0, 0, 0, 0, 0.5, 1.0])
    guided = torch.ones(2)
    # row 1: translation orthogonal 1 - 0, rotation parallel 1 - 1 -> 1; row 2: opposite 1 + 1, parallel 0 -> 2
    # mean over the rows 1.5; the gripper's disagreement costs nothing; epsilon shifts a unit vector by 1e-3
    assert directional_loss(mean, target, guided, near_zero=0.05).item() == pytest.approx(1.5, abs=2 * EPSILON)


def test_losses_are_means_over_all_steps_and_unguided_ones_count_nothing() -> None:
    mean = rows([1.0, 0, 0, 0, 1.0, 0, 0.5]).repeat(4, 1)
    target = rows([0, 1.0, 0, 0, 1.0, 0, -0.5]).repeat(4, 1)
    guided = torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert directional_loss(mean, target, guided, near_zero=0.05).item() == pytest.approx(0.25, abs=EPSILON)
    # squared distance 1 + 1 + 1 (gripper) = 3, a quarter of the steps
    assert mse_loss(mean, target, guided).item() == pytest.approx(0.75)
    assert mse_loss(mean, target, torch.zeros(4)).item() == 0.0


def test_components_without_direction_are_skipped() -> None:
    mean = rows([1.0, 0, 0, 0, 1.0, 0, 0.0])
    target = rows([0.0, 0.01, 0, 0, -1.0, 0, 0.0])
    # translation of 0.01 is below 0.05: skipped; rotation is opposite: 2
    assert directional_loss(mean, target, torch.ones(1), 0.05).item() == pytest.approx(2.0, abs=2 * EPSILON)
    assert directional_loss(mean, torch.zeros(1, 7), torch.ones(1), 0.0).item() == 0.0


def test_directional_loss_does_not_know_the_teachers_magnitude_and_mse_does() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, target = torch.randn(50, 7, generator=generator), torch.randn(50, 7, generator=generator)
    guided = torch.ones(50)
    for scale in (0.25, 4.0):
        scaled = target.clone()
        scaled[:, :6] *= scale
        torch.testing.assert_close(
            directional_loss(mean, scaled, guided, 0.05 * scale), directional_loss(mean, target, guided, 0.05)
        )
        assert not torch.isclose(mse_loss(mean, scaled, guided), mse_loss(mean, target, guided), rtol=0.05)


def test_gradient_turns_the_mean_toward_the_hint_and_is_finite_at_zero() -> None:
    mean = rows([1.0, 1.0, 0, 0, 0, 0, 0]).requires_grad_()
    target = rows([0, 1.0, 0, 0, 0, 0, 1.0])
    directional_loss(mean, target, torch.ones(1), 0.05).backward()
    gradient = mean.grad[0]
    assert gradient[0] > 0 > gradient[1]  # descending: less x, more y
    torch.testing.assert_close(gradient[2:], torch.zeros(5))
    still = torch.zeros(1, 7, requires_grad=True)
    directional_loss(still, rows([0, 1.0, 0, 0, 0, 1.0, 1.0]), torch.ones(1), 0.05).backward()
    assert torch.isfinite(still.grad).all()
    assert still.grad[0, 1] < 0
