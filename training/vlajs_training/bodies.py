"""Friction, mass and drive gains of single environments: PhysX on the CPU, where each owns its bodies."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sapien import physx

from vlajs_training.controller import DeployArmController


def set_friction(body: physx.PhysxRigidDynamicComponent, friction: float) -> None:
    """Static and dynamic friction of every shape of a body; it bounces off nothing."""
    material = physx.PhysxMaterial(friction, friction, 0.0)
    for shape in body.collision_shapes:
        shape.set_physical_material(material)


def set_box_density(body: physx.PhysxRigidDynamicComponent, half_size_m: Sequence[float], density_kg_m3: float) -> None:
    """Mass and inertia of a solid box of that size (half edges along the body's axes)."""
    squared = np.square(np.asarray(half_size_m, dtype=np.float64))
    body.mass = float(density_kg_m3 * 8 * np.prod(half_size_m))
    # about each axis: mass / 3 times the sum of the other two half edges, squared
    body.inertia = (body.mass / 3 * (squared.sum() - squared)).astype(np.float32)


def set_drive_gains(arm: DeployArmController, env: int, stiffness_factor: float, damping_factor: float) -> None:
    """Joint drives of one environment's arm, as multiples of the controller's own."""
    config = arm.config
    for joint in arm.joints:
        drive: Any = joint._objs[env]
        drive.set_drive_properties(
            stiffness_factor * config.stiffness, damping_factor * config.damping, config.force_limit, config.drive_mode
        )
