"""External force estimates and fault rules, without any network."""

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlajs.tasks import HOME_JOINTS_RAD
from vlajs.twin.arm import ArmConfig, TwinArm
from vlajs.twin.reflex import (
    ERROR_NAMES,
    CollisionThresholds,
    ExternalForceEstimator,
    FaultMonitor,
    ReflexConfig,
    TickMeasurements,
    error_flags,
)
from vlajs.twin.scene import TCP_SITE, SceneConfig, build_world


def measurements(**changes: object) -> TickMeasurements:
    still = {
        "command_age_s": 0.0,
        "joint_velocities_rad_s": np.zeros(7),
        "tcp_speed_m_s": 0.0,
        "joint_torque_nm": np.zeros(7),
        "tcp_wrench": np.zeros(6),
    }
    return TickMeasurements(**{**still, **changes})  # type: ignore[arg-type]


def one(size: int, index: int, value: float) -> np.ndarray:
    vector = np.zeros(size)
    vector[index] = value
    return vector


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, None),
        ({"joint_velocities_rad_s": one(7, 0, 2.17)}, None),
        ({"joint_velocities_rad_s": one(7, 0, -2.18)}, "joint_velocity_violation"),
        ({"joint_velocities_rad_s": one(7, 6, 2.6)}, None),
        ({"joint_velocities_rad_s": one(7, 6, 2.62)}, "joint_velocity_violation"),
        ({"tcp_speed_m_s": 2.01}, "cartesian_velocity_violation"),
        ({"tcp_wrench": one(6, 2, -20.1)}, "cartesian_reflex"),
        ({"tcp_wrench": one(6, 2, -19.9)}, None),
        ({"joint_torque_nm": one(7, 3, 20.1)}, "joint_reflex"),
        ({"command_age_s": 0.26}, "communication_constraints_violation"),
    ],
)
def test_each_limit_has_its_error(changes: dict[str, object], error: str | None) -> None:
    assert FaultMonitor(ReflexConfig()).judge(measurements(**changes)) == error


@given(
    limit=st.floats(1.0, 100.0), excess=st.floats(1.001, 10.0), axis=st.integers(0, 5), sign=st.sampled_from([-1, 1])
)
def test_thresholds_of_a_client_replace_the_configured(limit: float, excess: float, axis: int, sign: int) -> None:
    monitor = FaultMonitor(ReflexConfig())
    monitor.thresholds = CollisionThresholds(torque_nm=np.full(7, limit), wrench=np.full(6, limit))
    assert monitor.judge(measurements(tcp_wrench=one(6, axis, sign * limit / excess))) is None
    assert monitor.judge(measurements(tcp_wrench=one(6, axis, sign * limit * excess))) == "cartesian_reflex"


def test_recovery_keeps_the_last_reason() -> None:
    monitor = FaultMonitor(ReflexConfig())
    monitor.fault("joint_reflex")
    assert monitor.active == ("joint_reflex",)
    monitor.recover()
    assert (monitor.active, monitor.last) == ((), ("joint_reflex",))


def test_unknown_fault_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown fault 'tired'.*cartesian_reflex"):
        FaultMonitor(ReflexConfig()).fault("tired")


def test_flags_follow_libfrankas_order() -> None:
    flags = error_flags(("joint_position_limits_violation", "cartesian_reflex"))
    assert len(flags) == len(ERROR_NAMES) == 41
    assert [i for i, flag in enumerate(flags) if flag] == [0, 7]


@pytest.mark.parametrize(
    "values",
    [
        {"joint_torque_thresholds_nm": (20.0,) * 6},
        {"cartesian_thresholds": (20.0,) * 5 + (-1.0,)},
        {"joint_velocity_limits_rad_s": (float("nan"),) * 7},
        {"tcp_velocity_limit_m_s": 0.0},
        {"communication_timeout_s": -1.0},
    ],
)
def test_configuration_is_checked(values: dict[str, object]) -> None:
    name = next(iter(values))
    with pytest.raises(ValueError, match=name):
        ReflexConfig(**values)  # type: ignore[arg-type]


class HeldArm:
    """The arm in its world, held at home by its own controller, stepped by hand."""

    def __init__(self) -> None:
        self.sim, self.arm = build_world(SceneConfig(), ArmConfig(), HOME_JOINTS_RAD, 0.08)
        self.sim.start()
        assert isinstance(self.arm, TwinArm)
        self.model: mujoco.MjModel = self.arm.model
        self.data: mujoco.MjData = self.arm.data
        self.hand = self.model.body("robot0_hand").id
        site = self.model.site(TCP_SITE).id
        self.tcp_m = self.data.site_xpos[site].copy()
        self.estimator = ExternalForceEstimator(self.model, self.arm._dof_addrs, site, 0.02)

    def run(self, ticks: int, force_n: np.ndarray | None = None) -> None:
        for _ in range(ticks):
            self.data.xfrc_applied[self.hand, :3] = 0.0 if force_n is None else force_n
            self.arm.joint_position_control(HOME_JOINTS_RAD)
            self.sim.step()
            self.estimator.update(self.data)


@pytest.fixture(scope="module")
def held_arm() -> HeldArm:
    return HeldArm()


def test_no_contact_means_no_external_force(held_arm: HeldArm) -> None:
    held_arm.run(200)
    assert np.array_equal(held_arm.estimator.tcp_wrench, np.zeros(6))


def test_a_push_on_the_hand_is_seen_at_the_tool(held_arm: HeldArm) -> None:
    force_n = np.array([2.0, -3.0, -8.0])
    # 200 ticks are ten time constants of 0.02 s: all but exp(-10) of the force is in the estimate
    held_arm.run(200, force_n)
    arm_m = held_arm.data.xipos[held_arm.hand] - held_arm.data.site_xpos[held_arm.model.site(TCP_SITE).id]
    assert held_arm.estimator.tcp_wrench[:3] == pytest.approx(force_n, abs=0.02)
    assert held_arm.estimator.tcp_wrench[3:] == pytest.approx(np.cross(arm_m, force_n), abs=0.01)
    held_arm.run(400)
    assert np.max(np.abs(held_arm.estimator.tcp_wrench)) < 0.01


def test_the_table_is_at_zero_and_carries_the_cube(held_arm: HeldArm) -> None:
    held_arm.run(100)
    cube = held_arm.data.body("cube")
    # half of 0.04 m above z = 0, less the give of the contact
    assert cube.xpos[2] == pytest.approx(0.02, abs=1e-4)


def test_the_held_arm_does_not_sag(held_arm: HeldArm) -> None:
    held_arm.run(300)
    site = held_arm.model.site(TCP_SITE).id
    assert held_arm.data.site_xpos[site] == pytest.approx(held_arm.tcp_m, abs=2e-4)
