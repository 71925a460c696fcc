"""Two ranks as two threads: half a batch on each must have the effect of the whole in one process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from ltmed.data.batch import Batch
from ltmed.utils import distributed

T = TypeVar("T")


class TwoRanks:
    """Stands in for the collectives below `ltmed.utils.distributed`, which has tests with processes of its own.

    Outside of `run` there is one process.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.local, self.barrier = threading.local(), threading.Barrier(2, timeout=60)
        self.given: list[Tensor] = [torch.empty(0)] * 2
        monkeypatch.setattr(distributed, "is_distributed", lambda: hasattr(self.local, "rank"))
        monkeypatch.setattr(distributed, "rank", lambda: getattr(self.local, "rank", 0))
        monkeypatch.setattr(distributed, "gather_equal", self._gather)
        monkeypatch.setattr(distributed, "all_sum", lambda tensor: self._gather(tensor[None]).sum(0))

    def _gather(self, tensor: Tensor) -> Tensor:
        if not hasattr(self.local, "rank"):
            return tensor.detach()
        self.given[self.local.rank] = tensor.detach()
        self.barrier.wait()
        both = torch.cat(self.given)
        self.barrier.wait()
        return both

    def run(self, function: Callable[[int], T]) -> list[T]:
        """What `function(rank)` returns on each rank."""

        def of_rank(rank: int) -> T:
            self.local.rank = rank
            return function(rank)

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(of_rank, range(2)))


def half(data: Batch, rank: int) -> Batch:
    """The rank's part of a batch; uneven where the number is odd, as the shards of evaluation are."""
    cut = len(data.labels) // 2
    return Batch(*(part[:cut] if rank == 0 else part[cut:] for part in data if part is not None))


def assert_mean_gradient(one: nn.Module, two: Sequence[nn.Module]) -> None:
    """The mean over ranks, which DDP takes, is the gradient of the one process."""
    for name, parameter in one.named_parameters():
        if parameter.requires_grad:
            gradients = [stage.get_parameter(name).grad for stage in two]
            mean = torch.stack([gradient for gradient in gradients if gradient is not None]).mean(0)
            torch.testing.assert_close(mean, parameter.grad, rtol=1e-4, atol=1e-6)
