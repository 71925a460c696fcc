"""Collectives against numpy, on two gloo processes."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from multiprocessing.queues import Queue

import torch

from ltmed.utils import distributed


def test_single_process_is_the_identity() -> None:
    tensor = torch.arange(6.0).view(3, 2)
    gathers = (distributed.gather_equal, distributed.gather_uneven, distributed.gather_with_gradient)
    for operation in (distributed.all_sum, *gathers):
        assert torch.equal(operation(tensor), tensor)
    assert (distributed.rank(), distributed.world_size(), distributed.is_distributed()) == (0, 1, False)


def _two(rank: int, port: int, answers: Queue) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    try:
        torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
        uneven = torch.full((3 * rank, 2), float(rank))  # The first rank has nothing.
        norm = torch.nn.BatchNorm1d(2)
        norm.running_mean.fill_(rank)  # pyright: ignore[reportOptionalMemberAccess]
        distributed.average_batchnorm(norm)
        own = torch.full((2, 1), 1.0 + rank, requires_grad=True)
        gathered = distributed.gather_with_gradient(own)
        # Rank r wants (r + 1) x index of every element: this rank's elements get the sum over ranks.
        (gathered[:, 0] * torch.arange(4) * (rank + 1)).sum().backward()
        layer = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(layer.weight, 5.0 + rank)
        distributed.broadcast(layer)
        assert own.grad is not None
        answers.put(
            (
                rank,
                gathered[:, 0].tolist(),
                own.grad[:, 0].tolist(),
                layer.weight.item(),
                distributed.all_sum(torch.tensor([1.0 + rank])).tolist(),
                distributed.gather_equal(torch.tensor([rank])).tolist(),
                distributed.gather_uneven(uneven).tolist(),
                norm.state_dict()["running_mean"].tolist(),
            )
        )
        torch.distributed.destroy_process_group()
    except Exception:
        answers.put((rank, traceback.format_exc()))
        raise


def test_two_processes() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    answers = context.Queue()
    ranks = [context.Process(target=_two, args=(rank, port, answers)) for rank in range(2)]
    for process in ranks:
        process.start()
    found = sorted(answers.get(timeout=60) for _ in ranks)
    for process in ranks:
        process.join()
    for rank, answer in enumerate(found):
        gradient = [3.0 * (2 * rank), 3.0 * (2 * rank + 1)]
        gathered = ([1.0, 1.0, 2.0, 2.0], gradient, 5.0)
        assert answer == (rank, *gathered, [3.0], [0, 1], [[1.0, 1.0]] * 3, [0.5, 0.5])
