"""What of a scene a camera can see, as one row of numbers: taken from one simulation, shown in another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mani_skill.envs.sapien_env import BaseEnv

TABLE = "table-workspace"
"""ManiSkill's table: it stands where it stands."""

FloatRows = NDArray[np.float32]


def visible_state(simulation: BaseEnv, env_idx: NDArray[np.int64]) -> FloatRows:
    """Of the environments ``env_idx`` (M,): joints, poses of everything that may move, shapes that differ, (M, V).

    Poses are in ManiSkill's world, metres and quaternions wxyz. Rows of one task may be compared and shown, on
    whatever backend it is simulated, with :func:`show`.
    """
    parts: list[Any] = [simulation.agent.robot.get_qpos()]
    parts += [actor.pose.raw_pose for actor in _movable(simulation)]
    if (shapes := getattr(simulation, "visible_shapes", None)) is not None:
        parts.append(shapes())
    return np.concatenate([part.cpu().numpy()[env_idx] for part in parts], axis=1).astype(np.float32)


def show(simulation: BaseEnv, row: FloatRows) -> None:
    """Bring the one scene of a stock CPU simulation into the state of a row (V,); nothing is simulated.

    Raises:
        ValueError: the row is another task's, or not finite.
    """
    import sapien

    robot: Any = simulation.agent.robot._objs[0]
    bodies: list[Any] = [actor._objs[0] for actor in _movable(simulation)]
    show_shapes = getattr(simulation, "show_shapes", None)
    visible_shapes = getattr(simulation, "visible_shapes", None)
    size = robot.dof + 7 * len(bodies) + (0 if visible_shapes is None else visible_shapes().shape[1])
    if row.shape != (size,) or not np.isfinite(row).all():
        raise ValueError(f"a visible state of shape {row.shape}, expected {size} finite numbers: is it another task's?")
    robot.set_qpos(row[: robot.dof])
    for number, body in enumerate(bodies):
        start = robot.dof + 7 * number
        body.set_pose(sapien.Pose(row[start : start + 3], row[start + 3 : start + 7]))  # type: ignore[arg-type]  (arrays do)
    if show_shapes is not None:
        show_shapes(row[robot.dof + 7 * len(bodies) :])


def _movable(simulation: BaseEnv) -> list[Any]:
    """Actors that may move, marks included, in an order that depends on the task alone."""
    registered = simulation.scene.state_dict_registry.actors
    return [registered[name] for name in sorted(registered) if _moves(name, registered[name])]


def _moves(name: str, actor: Any) -> bool:
    return name != TABLE and actor.px_body_type != "static"
