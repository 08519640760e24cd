"""Whether a part of a network is used at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn


@dataclass
class Calls:
    """How often a module ran."""

    count: int = 0


@contextmanager
def counted_calls(module: nn.Module) -> Iterator[Calls]:
    """Count the calls of ``module`` within the block."""
    calls = Calls()

    def count(*_: object) -> None:
        calls.count += 1

    hook = module.register_forward_hook(count)
    try:
        yield calls
    finally:
        hook.remove()
