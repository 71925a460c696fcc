"""The few collective operations that stages use. Every one is the identity in a single process."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def is_distributed() -> bool:
    """True inside a run of several processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """This process's number among all processes of the run, 0 for the first."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if is_distributed() else 1


def all_sum(tensor: Tensor) -> Tensor:
    """Returns the sum of `tensor` over all ranks (same shape, no gradient); the argument is left alone."""
    total = tensor.detach().clone()
    if is_distributed():
        dist.all_reduce(total)
    return total


def gather_equal(tensor: Tensor) -> Tensor:
    """Concatenates `[B, ...]` of every rank, in rank order, to `[world * B, ...]`; no gradient.

    Every rank must pass the same shape (training batches are equal shards). One collective.
    """
    if not is_distributed():
        return tensor.detach()
    tensor = tensor.detach().contiguous()
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor)
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """`gather_equal` whose backward sums, over ranks, their gradients with respect to this rank's part."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.shard = slice(rank() * len(tensor), (rank() + 1) * len(tensor))
        return gather_equal(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return all_sum(gradients[0].contiguous())[ctx.shard]


def gather_with_gradient(tensor: Tensor) -> Tensor:
    """Concatenates `[B, ...]` of every rank, in rank order, to `[world * B, ...]`, for losses over the whole batch.

    The backward sums over ranks. With DDP's average over ranks afterwards, a rank may return the loss of the whole
    batch, or the mean over its own anchors: both give the gradient that one process with the whole batch has.
    """
    return _Gather.apply(tensor) if is_distributed() else tensor  # pyright: ignore[reportReturnType]


def gather_uneven(tensor: Tensor) -> Tensor:
    """Concatenates `[n_r, ...]` of every rank, in rank order, where the lengths n_r may differ or be 0.

    For evaluation shards, which are unpadded. Two collectives; no gradient.
    """
    if not is_distributed():
        return tensor.detach()
    tensor = tensor.detach()
    lengths = gather_equal(torch.tensor([len(tensor)], device=tensor.device))
    longest = int(lengths.max())
    padded = tensor.new_zeros((longest, *tensor.shape[1:]))
    padded[: len(tensor)] = tensor
    parts = gather_equal(padded).split(longest)
    return torch.cat([part[:length] for part, length in zip(parts, lengths.tolist(), strict=True)])


def broadcast(module: nn.Module) -> None:
    """Gives all parameters and buffers of `module` the values that they have on the first rank."""
    if is_distributed():
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.detach(), src=0)


def average_batchnorm(module: nn.Module) -> None:
    """Replaces the running statistics of every BatchNorm by their mean over ranks, in one collective.

    Buffers are not broadcast at each step (that would re-send queues and covariances too), so each rank
    follows the statistics of its own shard; before an evaluation or a checkpoint they are averaged.
    """
    if not is_distributed():
        return
    buffers = [
        buffer
        for part in module.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm)
        for buffer in (part.running_mean, part.running_var)
        if buffer is not None
    ]
    if not buffers:
        return
    flat = torch.cat([buffer.flatten() for buffer in buffers])
    dist.all_reduce(flat)
    flat /= world_size()
    for buffer, mean in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
        buffer.copy_(mean.view_as(buffer))
