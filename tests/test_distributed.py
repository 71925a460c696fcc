"""Collectives against numpy, on two gloo processes."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from multiprocessing.queues import Queue

import torch

from ltmed import distributed


def test_single_process_is_the_identity() -> None:
    tensor = torch.arange(6.0).view(3, 2)
    for operation in (distributed.all_sum, distributed.gather_equal, distributed.gather_uneven):
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
        answers.put(
            (
                rank,
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
        assert answer == (rank, [3.0], [0, 1], [[1.0, 1.0]] * 3, [0.5, 0.5])
