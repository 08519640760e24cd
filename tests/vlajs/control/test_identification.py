"""The fit finds the numbers a recording was made with."""

import numpy as np
import pytest

from vlajs.control.identification import CONTROL_PERIOD_S, Recording, excitation, fit, predict, transition


def synthetic(
    latency_s: float, natural_frequency_rad_s: float, damping_ratio: float, noise_m: float = 0.0
) -> Recording:
    """A recording of the model itself, sampled at 100 Hz."""
    increments = excitation()
    command_s = 5.0 + CONTROL_PERIOD_S * np.arange(len(increments))
    sample_s = np.arange(command_s[0], command_s[-1] + 0.3, 0.01)
    blank = Recording(
        command_s=command_s,
        target_m=np.array([0.5, 0.0, 0.3]) + np.cumsum(increments, axis=0),
        sample_s=sample_s,
        measured_m=np.tile([0.5, 0.0, 0.3], (len(sample_s), 1)),
    )
    path = predict(blank, latency_s, natural_frequency_rad_s, damping_ratio)
    noise = np.random.default_rng(0).normal(size=path.shape) * noise_m
    return Recording(command_s=command_s, target_m=blank.target_m, sample_s=sample_s, measured_m=path + noise)


@pytest.mark.parametrize(("latency_s", "frequency", "damping"), [(0.006, 21.0, 0.47), (0.03, 40.0, 1.0)])
def test_recovers_what_made_the_recording(latency_s: float, frequency: float, damping: float) -> None:
    found = fit(synthetic(latency_s, frequency, damping, noise_m=2e-4))
    assert found[0] == pytest.approx(latency_s, abs=0.002)
    assert found[1] == pytest.approx(frequency, rel=0.05)
    assert found[2] == pytest.approx(damping, abs=0.05)
    assert found[3] < 1e-3


def test_transition_is_the_step_response_of_a_damped_oscillator() -> None:
    # undamped, 10 rad/s, a quarter period pi/20 s: all distance has become velocity, -10 m/s for each metre
    np.testing.assert_allclose(transition(10.0, 0.0, np.pi / 20), [[0.0, 0.1], [-10.0, 0.0]], atol=1e-12)
    # critically damped, 10 rad/s, 0.1 s: distance e^-1 (1 + 1) = 0.7358, velocity -100 * 0.1 e^-1 = -3.679
    np.testing.assert_allclose(transition(10.0, 1.0, 0.1)[:, 0], [2 / np.e, -10 / np.e], rtol=1e-9)


def test_excitation_returns_to_its_start_and_never_goes_below_it_by_much() -> None:
    path = np.cumsum(excitation(), axis=0)
    np.testing.assert_allclose(path[-1], 0.0, atol=1e-12)
    assert np.abs(path).max() < 0.16
    assert path[:, 2].min() > -0.03  # starts 0.17 m above the table


def test_refuses_a_recording_without_motion() -> None:
    still = synthetic(0.01, 20.0, 0.5)
    frozen = Recording(
        command_s=still.command_s,
        target_m=still.target_m,
        sample_s=still.sample_s,
        measured_m=np.zeros_like(still.measured_m),
    )
    with pytest.raises(ValueError, match=r"moved 0\.0 mm"):
        fit(frozen)
