"""B6: the losses of AdUni and ALPA beside the forms in which they are usually written. Forward and backward, CPU.

`masked_softmax`: a softmax over classes and samples with masks of all pairs, as in supervised contrastive learning and
its descendants (Khosla et al. 2020, PaCo). `one_hot`: the loss over all B x K entries with one-hot targets, as
released.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.losses.aduni import aduc_loss
from ltmed.losses.alpa import alpa
from tests.bench.timing import compare, loss_and_gradients

TAU, ALPHA, BETA, GAMMA = 0.1, 0.875, 1.625, 4


def masked_softmax(logits: Tensor, features: Tensor, labels: Tensor, log_prior: Tensor) -> Tensor:
    """The AduC loss with alpha = 1."""
    others = 1 - torch.eye(len(labels))
    scores = torch.cat([logits + log_prior, features @ features.T / TAU], 1)
    scores = scores - scores.max(1, keepdim=True).values.detach()
    counted = torch.cat([torch.ones_like(logits), others], 1)
    log_probabilities = scores - (counted * scores.exp()).sum(1, keepdim=True).log()
    positives = torch.cat([F.one_hot(labels, logits.shape[1]), (labels[:, None] == labels) * others], 1)
    return -((positives * log_probabilities).sum(1) / positives.sum(1)).mean()


def aduc(logits: Tensor, features: Tensor, labels: Tensor, log_prior: Tensor) -> Tensor:
    """The same by `ltmed.losses`."""
    return aduc_loss(logits, features, labels, features, labels, alpha=1.0, temperature=TAU, log_prior=log_prior)


def one_hot(logits: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """ALPA v2."""
    targets = F.one_hot(labels, logits.shape[1]).float()
    right = logits.sigmoid()
    wrong = 1 - right
    positive = ALPHA * targets * wrong.pow(0) * (-1.5 + 1.5 * right)
    negative = BETA * (1 - targets) * right.pow(GAMMA) * (-1 + wrong)
    pt = right * targets + wrong * (1 - targets)
    return -((positive + negative) * (1 - pt).pow(GAMMA * (1 - targets))).sum() / len(logits)


def main(rounds: int = 5) -> None:
    """Prints the ratio of each loss to its usual form, on one thread: at this size more measure the scheduler."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for classes, samples in ((7, 256), (198, 256)):
        logits = torch.randn(samples, classes).requires_grad_()
        features = F.normalize(torch.randn(samples, 128), dim=1).requires_grad_()
        labels, prior = torch.randint(classes, (samples,)), torch.rand(classes).log_softmax(0)
        actual, reference = (
            loss_and_gradients(loss, (logits, features, labels, prior)) for loss in (aduc, masked_softmax)
        )
        compare(f"AduC, {samples} samples, {classes} classes", actual, reference, rounds, 1.0)
    for batch, classes in ((128, 198), (256, 5)):
        logits = torch.randn(batch, classes).requires_grad_()
        inputs = (logits, torch.randint(classes, (batch,)), torch.ones(classes))
        actual, reference = (loss_and_gradients(loss, inputs) for loss in (alpa, one_hot))
        compare(f"ALPA, {batch} images, {classes} classes", actual, reference, rounds, 1.5)
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
