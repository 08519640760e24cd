"""Hooks that let ManiSkill 3.0.1 choose the batched CPU simulation with `sim_backend="batched_cpu"`.

Each hook asks whether the environment at hand is a batched one and otherwise runs ManiSkill's own code unchanged, so
stock environments keep working in the same process, before and after `install()`. What is replaced, and why:

| ManiSkill 3.0.1 | why |
| --- | --- |
| `sapien_env.parse_sim_and_render_backend` | knows no backend name of ours |
| `BaseEnv._setup_scene` | builds N scenes with one CPU system each, behind `BatchedCpuPhysx` |
| `PhysxRigidBodyComponentStruct._body_data_index`, `Articulation._data_index`, `ArticulationJoint._data_index` | a \
CPU body has no GPU index: ask the stand-in for its row |
| `PhysxRigidBodyComponentStruct._body_data` | its table's name is chosen by `isinstance(px, PhysxGpuSystem)` |
| `Link.pose` (get), `Link.linear_velocity`, `Link.angular_velocity` | links are read from PhysX only when asked for |
| `Kinematics._setup_cpu` | Pinocchio solves one robot at a time: use the batched solver of the GPU path |
| `PDEEPosController._initialize_joints` | that solver serves root frames only: make ManiSkill's own check for it |
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from importlib import metadata
from typing import Any

import torch

from vlajs_training.simulation import headless, panda_kinematics
from vlajs_training.simulation.batched_physx import BatchedCpuPhysx

BATCHED_BACKEND = "batched_cpu"
SUPPORTED_MANISKILL = "3.0.1"

_installed = False


def require_supported_maniskill() -> None:
    """Raise RuntimeError unless the installed ManiSkill is the one these hooks were written for."""
    try:
        version = metadata.version("mani_skill")
    except metadata.PackageNotFoundError:
        raise RuntimeError(
            f"mani_skill is not installed. Install mani_skill=={SUPPORTED_MANISKILL} (the training extras do it)."
        ) from None
    if version != SUPPORTED_MANISKILL:
        raise RuntimeError(
            f"mani_skill {version} is installed, but the batched CPU simulation replaces internals of "
            f"{SUPPORTED_MANISKILL} and was tested with that version only. Install mani_skill=={SUPPORTED_MANISKILL}."
        )


def install() -> None:
    """Hook the batched CPU simulation into ManiSkill. Safe to call any number of times.

    Raises:
        RuntimeError: another version of ManiSkill is installed.
    """
    global _installed
    if _installed:
        return
    require_supported_maniskill()
    headless.install()
    import mani_skill.envs  # noqa: F401  (registers ManiSkill's tasks)

    _hook_backend_name()
    _hook_scene_setup()
    _hook_data_indices()
    _hook_link_reads()
    _hook_kinematics()
    _installed = True


def _replace(owner: Any, name: str, value: Any) -> None:
    """Put `value` in ManiSkill's place; a name that is gone is an error, not a new attribute."""
    if not hasattr(owner, name):
        raise RuntimeError(f"ManiSkill's {owner} has no {name!r} any more: these hooks need {SUPPORTED_MANISKILL}.")
    setattr(owner, name, value)


def _hook_backend_name() -> None:
    from mani_skill.envs import sapien_env

    stock_parse = sapien_env.parse_sim_and_render_backend

    def parse_sim_and_render_backend(sim_backend: str, render_backend: str) -> Any:
        if sim_backend != BATCHED_BACKEND:
            return stock_parse(sim_backend, render_backend)
        if render_backend != "none":
            raise ValueError(
                f"render_backend={render_backend!r}: the batched CPU simulation does not render. "
                "Pass render_backend='none', or use backend 'stock_cpu' or 'cuda' for images."
            )
        return dataclasses.replace(stock_parse("physx_cpu", "none"), sim_backend=BATCHED_BACKEND)

    _replace(sapien_env, "parse_sim_and_render_backend", parse_sim_and_render_backend)


def _hook_scene_setup() -> None:
    import sapien
    from mani_skill.envs.sapien_env import BaseEnv
    from mani_skill.envs.scene import ManiSkillScene

    stock_setup = BaseEnv._setup_scene

    def _setup_scene(self: Any) -> None:
        if self.backend.sim_backend != BATCHED_BACKEND:
            stock_setup(self)
            return
        self._set_scene_config()
        systems = [sapien.physx.PhysxCpuSystem() for _ in range(self.num_envs)]
        self.scene = ManiSkillScene(
            [sapien.Scene([system]) for system in systems],
            sim_config=self.sim_config,
            device=self.device,
            parallel_in_single_scene=False,
            backend=self.backend,
        )
        stand_in: Any = BatchedCpuPhysx(systems)
        self.scene.px = stand_in
        self.scene.gpu_sim_enabled = True  # from here on ManiSkill runs its batched code
        self.scene.px.timestep = 1.0 / self._sim_freq

    _replace(BaseEnv, "_setup_scene", _setup_scene)


def _hook_data_indices() -> None:
    from mani_skill.utils.structs.articulation import Articulation
    from mani_skill.utils.structs.articulation_joint import ArticulationJoint
    from mani_skill.utils.structs.base import PhysxRigidBodyComponentStruct

    def body_rows(self: Any) -> torch.Tensor:
        return torch.tensor(self.px.body_rows(self._bodies))

    def articulation_rows(self: Any) -> torch.Tensor:
        return torch.tensor(self.px.articulation_rows(self._objs), dtype=torch.int32)

    def joint_rows(self: Any) -> torch.Tensor:
        return torch.tensor(self.px.articulation_rows(self._physx_articulations), dtype=torch.int32)

    _hook_cached_property(PhysxRigidBodyComponentStruct, "_body_data_index", body_rows)
    _hook_cached_property(Articulation, "_data_index", articulation_rows)
    _hook_cached_property(ArticulationJoint, "_data_index", joint_rows)

    stock_body_data: Any = PhysxRigidBodyComponentStruct.__dict__["_body_data"].fget

    def _body_data(self: Any) -> torch.Tensor:
        if isinstance(self.px, BatchedCpuPhysx):
            return self.px.cuda_rigid_body_data.torch()
        return stock_body_data(self)

    _replace(PhysxRigidBodyComponentStruct, "_body_data", property(_body_data))


def _hook_cached_property(owner: type, name: str, batched: Any) -> None:
    """Let a cached property of ManiSkill's compute `batched(self)` for objects of a batched environment."""
    stock = owner.__dict__[name].func

    def compute(self: Any) -> Any:
        if not isinstance(self.px, BatchedCpuPhysx):
            return stock(self)
        with torch.inference_mode(False):
            return batched(self)

    hooked = cached_property(compute)
    hooked.__set_name__(owner, name)
    _replace(owner, name, hooked)


def _hook_link_reads() -> None:
    from mani_skill.utils.structs.link import Link

    def group_of(link: Any) -> Any:
        group = link.__dict__.get("_vlajs_group")
        if group is None:
            group = link.__dict__["_vlajs_group"] = link.px.link_group(link._bodies)
        return group

    def hooked(stock: property, read: str) -> property:
        def getter(self: Any) -> Any:
            px = self.px
            if isinstance(px, BatchedCpuPhysx):
                getattr(px, read)(group_of(self))
            return stock.fget(self)  # type: ignore[misc]  (it is read, so it has one)

        return property(getter, stock.fset)

    for name, read in (
        ("pose", "read_link_poses"),
        ("linear_velocity", "read_link_velocities"),
        ("angular_velocity", "read_link_velocities"),
    ):
        _replace(Link, name, hooked(getattr(Link, name), read))


def _hook_kinematics() -> None:
    from mani_skill.agents.controllers.pd_ee_pose import PDEEPosController
    from mani_skill.agents.controllers.utils.kinematics import Kinematics

    stock_setup = Kinematics._setup_cpu
    stock_initialize = PDEEPosController._initialize_joints

    def _setup_cpu(self: Any) -> None:
        if not isinstance(self.articulation.px, BatchedCpuPhysx):
            stock_setup(self)
            return
        self._setup_gpu()
        if _is_panda_chain(self.pk_chain):
            # 14 times faster than pytorch_kinematics' general one.
            self.pk_chain.jacobian = lambda q, **_: panda_kinematics.jacobian(q)

    def _initialize_joints(self: Any) -> None:
        stock_initialize(self)
        if isinstance(self.articulation.px, BatchedCpuPhysx):
            self._check_gpu_sim_works()

    _replace(Kinematics, "_setup_cpu", _setup_cpu)
    _replace(PDEEPosController, "_initialize_joints", _initialize_joints)


def _is_panda_chain(chain: Any) -> bool:
    """Whether the closed-form Jacobian is this chain's (compared at a posture with no symmetry)."""
    if len(chain.get_joint_parameter_names()) != panda_kinematics.JOINT_COUNT:
        return False
    q = torch.tensor([[0.3, -0.4, 0.5, -1.9, 0.6, 1.7, -0.8]])
    return torch.allclose(chain.jacobian(q), panda_kinematics.jacobian(q), atol=1e-4)
