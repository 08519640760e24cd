"""Identify how a stream of target poses becomes tool motion: excitation, and the fit of a three-number model.

The model is latency, then a damped second order; training simulates the same (``vlajs_training.controller``). What it
stands for is the planner's brake, which replans at every new target and overshoots a stream that stops, and the arm's
own lag behind the planner.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import expm
from scipy.optimize import minimize
from scipy.signal import lfilter, ss2tf

from vlajs.geometry import FloatArray

CONTROL_PERIOD_S = 0.05
STEP_M = 0.015
_SIMULATION_STEP_S = 0.002
_START = (20.0, 0.7)
_LOWEST = np.array([2.0, 0.1])


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What was asked and what the tool did, on the arm's own clock.

    Attributes:
        command_s: (C,) when each target was given, rising.
        target_m: (C, 3) targets.
        sample_s: (S,) when each measurement was made, rising.
        measured_m: (S, 3) tool positions.
    """

    command_s: FloatArray
    target_m: FloatArray
    sample_s: FloatArray
    measured_m: FloatArray


def excitation(seed: int = 0) -> FloatArray:
    """Increments (T, 3), metres a control period: full-speed ramps and stops along each axis, then a random walk.

    Their sum is zero, and on the way the tool stays within 0.12 m of where it began; it first moves up.
    """
    up, forward, left = np.eye(3)[[2, 0, 1]]
    ramps = [np.zeros((4, 3))]
    for axis, steps in ((up, 8), (forward, 6), (-forward, 6), (left, 8), (-left, 8)):
        ramps += [np.tile(axis * STEP_M, (steps, 1)), np.zeros((8, 3))]
    walk = np.random.default_rng(seed).normal(size=(20, 3)) * STEP_M / 2
    walk -= walk.mean(axis=0)
    return np.concatenate([*ramps, walk, np.zeros((8, 3)), np.tile(-up * STEP_M, (8, 1)), np.zeros((8, 3))])


def transition(natural_frequency_rad_s: float, damping_ratio: float, step_s: float) -> FloatArray:
    """Matrix (2, 2) that carries (distance from a resting target, velocity) over one step, exactly."""
    frequency = natural_frequency_rad_s
    rates = np.array([[0.0, 1.0], [-(frequency**2), -2 * damping_ratio * frequency]])
    return np.asarray(expm(rates * step_s), dtype=np.float64)


def predict(recording: Recording, latency_s: float, natural_frequency_rad_s: float, damping_ratio: float) -> FloatArray:
    """Tool positions (S, 3) the model gives at the recording's sample times, from rest at the first measurement."""
    start_s, end_s = recording.sample_s[0], recording.sample_s[-1]
    grid = np.arange(start_s, end_s + _SIMULATION_STEP_S, _SIMULATION_STEP_S)
    newest = np.searchsorted(recording.command_s, grid - latency_s, side="right") - 1
    seen = np.where((newest >= 0)[:, None], recording.target_m[np.maximum(newest, 0)], recording.measured_m[0])
    # a resting target u moves the state (position, velocity) from x to A x + (1 - A) (u, 0)
    step = transition(natural_frequency_rad_s, damping_ratio, _SIMULATION_STEP_S)
    numerator, denominator = ss2tf(step, (np.eye(2) - step)[:, :1], np.array([[1.0, 0.0]]), np.zeros((1, 1)))
    # without its leading zero the filter's output is the position after each step, not before it
    path = recording.measured_m[0] + lfilter(numerator[0, 1:], denominator, seen - recording.measured_m[0], axis=0)
    return np.stack([np.interp(recording.sample_s, grid, path[:, axis]) for axis in range(3)], axis=1)


def fit(recording: Recording, max_latency_s: float = 0.05) -> tuple[float, float, float, float]:
    """The best model: latency_s, natural_frequency_rad_s, damping_ratio, and its root mean square residual in metres.

    Raises:
        ValueError: the tool moved less than a centimetre: the stream did not reach the arm.
    """
    travelled_m = np.ptp(recording.measured_m, axis=0).max()
    if travelled_m < 0.01:
        raise ValueError(
            f"the tool moved {1e3 * travelled_m:.1f} mm while targets moved "
            f"{1e3 * np.ptp(recording.target_m, axis=0).max():.0f} mm: is the arm in a fault or held?"
        )

    def residual_m(parameters: FloatArray, latency_s: float) -> float:
        error = predict(recording, latency_s, *np.maximum(parameters, _LOWEST)) - recording.measured_m
        # outside its range a parameter costs, so that the search turns back
        outside = np.maximum(_LOWEST - parameters, 0.0).sum()
        return float(np.sqrt(np.mean(np.sum(error**2, axis=1))) + outside)

    # every latency on the simulation's grid: between two of them nothing changes, where a search would be stuck
    options = {"xatol": 1e-3, "fatol": 1e-7}
    found = []
    for latency_s in np.arange(0.0, max_latency_s + _SIMULATION_STEP_S / 2, _SIMULATION_STEP_S):
        best = minimize(residual_m, _START, args=(latency_s,), method="Nelder-Mead", options=options)
        found.append((float(best.fun), float(latency_s), *np.maximum(best.x, _LOWEST).tolist()))
    residual, latency_s, natural_frequency_rad_s, damping_ratio = min(found)
    return latency_s, natural_frequency_rad_s, damping_ratio, residual
