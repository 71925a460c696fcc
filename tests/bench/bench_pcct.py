"""B6, PCCT: the random-hard triplet loss of N embeddings of width 512 in 8 classes, forward and backward.

Against a Python loop over the same triplets, and against pytorch-metric-learning (`pip install` it by that name), whose
miner keeps all triplets that violate the margin where ours draws one for each pair: the loss that has no random choice,
pairwise ranking, is compared with its ContrastiveLoss too. Equal results are checked beside each ratio. CPU time of one
thread, so that other programs on the machine say little.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from ltmed.losses.triplet import sample_pairwise, sample_triplet
from tests.bench.triplet_reference import loop_triplet

WIDTH, CLASSES, MARGIN, REPEATS = 512, 8, 0.5, 5
LOOP_GOAL, LIBRARY_GOAL = 50, 1


def main(rounds: int = 5) -> None:
    """Prints the ratios at 128 embeddings, and those against the library at 512 too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _against_loop(*_inputs(128), rounds)
        for size in (128, 512):
            _against_library(*_inputs(size), rounds)
    finally:
        torch.set_num_threads(threads)


def _inputs(size: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(size, WIDTH, generator=generator).requires_grad_()
    return embeddings, torch.arange(size) % CLASSES, torch.rand(2, size, size, generator=generator)


def _against_loop(embeddings: Tensor, labels: Tensor, draws: Tensor, rounds: int) -> None:
    _compare(
        "triplet", "Python loop", LOOP_GOAL, rounds, embeddings,
        lambda: sample_triplet(embeddings, labels, draws, MARGIN, 0.0),
        lambda: loop_triplet(embeddings, labels, draws[0], MARGIN),
    )  # fmt: skip


def _against_library(embeddings: Tensor, labels: Tensor, draws: Tensor, rounds: int) -> None:
    try:
        from pytorch_metric_learning import losses, miners  # pyright: ignore[reportMissingImports]
        from pytorch_metric_learning.distances import LpDistance  # pyright: ignore[reportMissingImports]
    except ImportError:
        print("pytorch-metric-learning is not installed: left out")
        return
    euclidean = LpDistance(normalize_embeddings=False)
    miner = miners.TripletMarginMiner(MARGIN, type_of_triplets="all", distance=euclidean)
    reference = losses.TripletMarginLoss(MARGIN, distance=euclidean)
    _compare(
        "triplet", "pytorch-metric-learning, all triplets", LIBRARY_GOAL, rounds, embeddings,
        lambda: sample_triplet(embeddings, labels, draws, MARGIN, 0.0),
        lambda: reference(embeddings, labels, miner(embeddings, labels)), same=False,
    )  # fmt: skip
    contrastive = losses.ContrastiveLoss(pos_margin=0, neg_margin=30, distance=euclidean)
    _compare(
        "pairwise", "pytorch-metric-learning", LIBRARY_GOAL, rounds, embeddings,
        lambda: sample_pairwise(embeddings, labels, draws, 30, 0.0), lambda: contrastive(embeddings, labels),
    )  # fmt: skip


def _compare(
    name: str, other: str, goal: float, rounds: int, embeddings: Tensor,
    ours: Callable[[], Tensor], theirs: Callable[[], Tensor], same: bool = True,
) -> None:  # fmt: skip
    pairs = []
    for turn in range(rounds + 1):
        pair = _seconds(ours, embeddings, REPEATS), _seconds(theirs, embeddings, REPEATS if same else 1)
        if turn:  # The first round warms up.
            pairs.append(pair)
    values, gradients = [], []
    for loss in (ours, theirs):
        embeddings.grad = None
        values.append(loss())
        values[-1].backward()
        assert embeddings.grad is not None
        gradients.append(embeddings.grad)
    mine, ratio = (statistics.median(column) for column in zip(*((o, t / o) for o, t in pairs), strict=True))
    equal = torch.allclose(*values, rtol=1e-4) and torch.allclose(*gradients, atol=1e-5)
    messages = f"equal loss and gradient: {equal}" if same else f"loss {values[0]:.3f}, mean over all {values[1]:.3f}"
    met = "met" if ratio >= goal and (equal or not same) else "MISSED"
    print(
        f"B6 {name} N {len(embeddings)}: {1e3 * mine:.2f} ms, {ratio:.1f}x against {other} "
        f"(goal >= {goal}x {met}); {messages}",
        flush=True,
    )


def _seconds(loss: Callable[[], Tensor], embeddings: Tensor, repeats: int) -> float:
    started = time.process_time()
    for _ in range(repeats):
        embeddings.grad = None
        loss().backward()
    return (time.process_time() - started) / repeats


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of each variant")
    main(parser.parse_args().rounds)
