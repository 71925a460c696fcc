"""B6: losses that compare features, beside a linear classifier with cross-entropy. Forward and backward, CPU.

128 images, 198 classes, features of width 512, also those that are compared with each other.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.losses.aduni import aduc_loss
from ltmed.losses.cc_sam import sharpness_shift, softmax_residuals
from ltmed.losses.supcon import supcon_loss
from tests.bench.bench_losses import time_only
from tests.bench.timing import compare, loss_and_gradients

IMAGES, CLASSES, WIDTH, SLOTS = 128, 198, 512, 1024


def main(rounds: int = 5) -> None:
    """Prints how fast classifier and cross-entropy are beside each (goal: a quarter of their speed), on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    weight, bias = torch.randn(CLASSES, WIDTH).div_(WIDTH**0.5).requires_grad_(), torch.zeros(CLASSES).requires_grad_()
    features, both = torch.randn(IMAGES, WIDTH).requires_grad_(), torch.randn(2 * IMAGES, WIDTH).requires_grad_()
    others = F.normalize(torch.randn(IMAGES + SLOTS, WIDTH), dim=1)  # Keys of the second views, and the queue.
    labels, other_labels = torch.randint(CLASSES, (IMAGES,)), torch.randint(CLASSES, (IMAGES + SLOTS,))
    counts, prior = torch.randint(1, 500, (CLASSES,)), torch.rand(CLASSES).log_softmax(0)

    def plain(h: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return F.cross_entropy(F.linear(h, w, b), labels)

    def supcon(h: Tensor) -> Tensor:
        samples = F.normalize(h, dim=1)
        return supcon_loss(samples, labels.repeat(2), samples, labels.repeat(2))

    def paco(h: Tensor, w: Tensor, b: Tensor) -> Tensor:
        queries, all_labels = F.normalize(h, dim=1), torch.cat([labels, other_labels])
        candidates = torch.cat([queries, others])
        return aduc_loss(F.linear(h, w, b), queries, labels, candidates, all_labels, alpha=0.05, log_prior=prior)

    def cc_sam(h: Tensor, w: Tensor, b: Tensor) -> Tensor:
        z = F.linear(h, w, b)
        shift = sharpness_shift(h, labels, h, softmax_residuals(z, labels), labels, w, b, counts, rho=1e-6)
        return (F.cross_entropy(z, labels) + F.cross_entropy(z + shift, labels)) / 2

    ones: list[tuple[str, Callable[..., Tensor], list[Tensor]]] = [
        ("SupCon, two views", supcon, [both]),
        (f"PaCo, {SLOTS} slots", paco, [features, weight, bias]),
        ("CC-SAM, stage 1", cc_sam, [features, weight, bias]),
    ]
    reference = time_only(loss_and_gradients(plain, [features, weight, bias]))
    for name, loss, inputs in ones:
        actual = time_only(loss_and_gradients(loss, inputs))
        compare(f"{name} beside a linear classifier with cross-entropy", actual, reference, rounds, 0.25, (50, 100))
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
