"""ManiSkill simulated on CPU tensors in batches, on its stock CPU, or on a GPU, behind one interface."""

from vlajs_training.simulation.environments import Backend, make_simulation, partial_reset, reset_all
from vlajs_training.simulation.parallel import ParallelVectorEnv, WorkerError, worker_seed
from vlajs_training.simulation.vector import StepResult, VectorEnv

__all__ = [
    "Backend",
    "ParallelVectorEnv",
    "StepResult",
    "VectorEnv",
    "WorkerError",
    "make_simulation",
    "partial_reset",
    "reset_all",
    "worker_seed",
]
