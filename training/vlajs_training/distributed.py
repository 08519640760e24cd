"""Several processes that train one policy together, started by ``torchrun``; one process is the ordinary case."""

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist


class Processes:
    """What processes that train together tell one another.

    Every method is a collective: all processes call it, in the same order. With one process nothing is sent.

    Attributes:
        rank: which one this is; 0 logs, saves and validates.
        count: how many there are.
    """

    def __init__(self, rank: int = 0, count: int = 1) -> None:
        self.rank = rank
        self.count = count

    def sum_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        """Element-wise sum over the processes."""
        if self.count == 1:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def sum(self, value: float) -> float:
        """Sum over the processes."""
        if self.count == 1:
            return value
        return self.sum_tensor(torch.tensor(value, dtype=torch.float64)).item()

    def mean(self, value: float) -> float:
        """Mean over the processes."""
        return self.sum(value) / self.count

    def moments(self, values: torch.Tensor) -> tuple[int, torch.Tensor, torch.Tensor]:
        """Number of rows, mean and sum of squared deviations (D,) of the rows (M, D) of all processes."""
        rows = round(self.sum(len(values)))
        mean = self.sum_tensor(values.sum(dim=0)) / rows
        return rows, mean, self.sum_tensor((values - mean).square().sum(dim=0))

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes, in one message."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.count
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()

    def share(self, tensors: Iterable[torch.Tensor]) -> None:
        """Overwrite the tensors with those of process 0."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor.data, src=0)

    def wait(self) -> None:
        """Return when all have come here."""
        if self.count > 1:
            dist.barrier()


SINGLE = Processes()
"""One process, the ordinary case."""


def join_processes(device: str) -> tuple[Processes, torch.device]:
    """Meet the others ``torchrun`` started, if it did; and the device of this process.

    Args:
        device: ``cpu``, or ``cuda``: then each process takes the GPU of its local rank.

    Raises:
        ValueError: that GPU is not there.
    """
    launched = dist.is_torchelastic_launched()
    here = torch.device("cpu")
    if device == "cuda":
        index, count = int(os.environ["LOCAL_RANK"]) if launched else 0, torch.cuda.device_count()
        if index >= count:
            raise ValueError(
                f"--device cuda wants GPU {index}, torch sees {count}: check the driver and CUDA_VISIBLE_DEVICES, "
                "start as many processes as there are GPUs, or train with --device cpu"
            )
        here = torch.device("cuda", index)
        torch.cuda.set_device(here)
    if not launched:
        return SINGLE, here
    dist.init_process_group("gloo" if device == "cpu" else "cpu:gloo,cuda:nccl")
    return Processes(dist.get_rank(), dist.get_world_size()), here


def leave_processes() -> None:
    """Let the others go; nothing where there are none."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
