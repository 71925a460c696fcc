"""B6: every choice of `loss=` beside cross-entropy, 128 images and 198 classes. Forward and backward, CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from ltmed.losses.traits import is_multilabel
from tests.bench.timing import Work, compare, loss_and_gradients
from tests.losses.test_every_loss import NAMES, load


def time_only(work: Work) -> Work:
    """The same work, without results to compare: these are different losses."""

    def silent() -> list[Tensor]:
        work()
        return []

    return silent


def main(rounds: int = 5) -> None:
    """Prints for each loss how fast cross-entropy is beside it (goal: at least half as fast), on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    logits = torch.randn(128, 198).requires_grad_()
    inputs = (logits, torch.randint(198, (128,)), torch.randint(1, 500, (198,)))
    reference = time_only(loss_and_gradients(load("ce"), inputs))
    for name in NAMES:
        actual = time_only(loss_and_gradients(load(name), inputs))
        compare(f"loss={name} beside cross-entropy", actual, reference, rounds, 0.5, (100, 100))
    for labels in (40, 198):
        z = torch.randn(128, labels).requires_grad_()
        expected = (torch.rand(128, labels) < 0.05).float()
        counts = torch.stack([torch.randint(1, 500, (labels,)), torch.full((labels,), 9000)])
        plain = time_only(loss_and_gradients(torch.nn.functional.binary_cross_entropy_with_logits, (z, expected)))
        for name in (name for name in NAMES if is_multilabel(load(name))):
            actual = time_only(loss_and_gradients(load(name), (z, expected, counts)))
            compare(f"loss={name}, several labels, 128 x {labels}, beside BCE", actual, plain, rounds, 0.5, (100, 100))
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
