"""The AduC loss with candidates that are no anchors: keys and a queue with empty slots, as PaCo has them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.losses.aduni import aduc_loss
from tests.no_reading import NoReading

PRIOR = torch.tensor([0.7, 0.2, 0.0999, 0.0001], dtype=torch.float64).log()
QUERIES, CANDIDATES = 5, 14
LABELS = [0, 2, 1, 0, 3, 0, 2, 1, 0, 3, 0, 1, 1, 2]
"""Of five queries, their keys, and four items of a queue."""
EMPTY = [0, 2, 1, 0, 3, 0, 2, 1, 0, 3, 1, -1, -1, -1]
"""The same with a queue that holds one item."""


def make() -> tuple[Tensor, Tensor]:
    """Logits of the queries and features of all candidates, the queries first; float64."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(QUERIES, 4, dtype=torch.float64, generator=generator)
    return logits, F.normalize(torch.randn(CANDIDATES, 6, dtype=torch.float64, generator=generator), dim=1)


def expected(logits: Tensor, features: Tensor, labels: list[int], first: int, alpha: float, tau: float) -> list[float]:
    """The loss of each query with loops; only what has a label is a candidate."""
    losses, f = [], features.tolist()
    for i, row in enumerate((logits + PRIOR).tolist()):
        own = first + i
        scores = {
            j: sum(a * b for a, b in zip(f[own], f[j], strict=True)) / tau
            for j, label in enumerate(labels) if j != own and label >= 0
        }  # fmt: skip
        total = math.log(sum(math.exp(s) for s in [*row, *scores.values()]))
        positives = [s - total for j, s in scores.items() if labels[j] == labels[own]]
        losses.append(-(row[labels[own]] - total + alpha * sum(positives)) / (1 + alpha * len(positives)))
    return losses


@pytest.mark.parametrize("alpha", [0.0, 0.05, 1.0])
@pytest.mark.parametrize(
    "labels", [LABELS, EMPTY, [0, 0, 0, 0, 1] + [-1] * 9, [2] * 14], ids=["full", "part", "none", "one class"]
)
@pytest.mark.parametrize("first", [0, 2])
def test_is_the_loops(labels: list[int], first: int, alpha: float) -> None:
    (logits, features), y = make(), torch.tensor(labels)
    size = min(QUERIES, 5 - first)
    block = slice(first, first + size)
    loss = aduc_loss(
        logits[:size],
        features[block],
        y[block],
        features,
        y,
        alpha=alpha,
        first=first,
        temperature=0.3,
        log_prior=PRIOR,
    )
    losses = expected(logits[:size], features, labels, first, alpha, 0.3)
    assert loss.item() == pytest.approx(sum(losses) / size, rel=1e-9)


def test_what_an_empty_slot_holds_makes_no_difference() -> None:
    (logits, features), y = make(), torch.tensor(EMPTY)

    def loss(features: Tensor, count: int) -> Tensor:
        return aduc_loss(
            logits, features[:QUERIES], y[:QUERIES], features[:count], y[:count], alpha=0.05, log_prior=PRIOR
        )

    other = features.clone()
    other[11:] = 1e4
    torch.testing.assert_close(loss(other, CANDIDATES), loss(features, CANDIDATES))
    torch.testing.assert_close(loss(features, 11), loss(features, CANDIDATES))
    assert not torch.allclose(loss(features, 10), loss(features, 11))


def test_gradients() -> None:
    (logits, features), y = make(), torch.tensor(EMPTY)

    def function(logits: Tensor, queries: Tensor) -> Tensor:
        candidates = torch.cat([queries, features[QUERIES:]])
        return aduc_loss(logits, queries, y[:QUERIES], candidates, y, alpha=0.05, log_prior=PRIOR)

    assert torch.autograd.gradcheck(function, [t.clone().requires_grad_() for t in (logits, features[:QUERIES])])


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("labels", [LABELS, EMPTY, [0, 1, 2, 3, 3] + [-1] * 9])
@pytest.mark.parametrize("equal", [False, True])
def test_finite_value_and_gradient_for_finite_input(scale: float, labels: list[int], equal: bool) -> None:
    (logits, features), y = make(), torch.tensor(labels)
    features = features[:1].expand_as(features) if equal else features
    logits = (scale * logits).float().requires_grad_()
    queries = features[:QUERIES].float().clone().requires_grad_()
    candidates = torch.cat([queries, features[QUERIES:].float()])
    loss = aduc_loss(logits, queries, y[:QUERIES], candidates, y, alpha=1.0, temperature=0.01, log_prior=PRIOR.float())
    loss.backward()
    for tensor in (loss, logits.grad, queries.grad):
        assert tensor is not None
        assert torch.isfinite(tensor).all()


def test_autocast_is_computed_in_float32() -> None:
    (logits, features), y = make(), torch.tensor(EMPTY)
    logits, features = logits.bfloat16(), features.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = aduc_loss(logits, features[:QUERIES], y[:QUERIES], features, y, alpha=0.05)
    full = aduc_loss(logits.float(), features[:QUERIES].float(), y[:QUERIES], features.float(), y, alpha=0.05)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, full)


def test_nothing_is_read_back_from_the_device() -> None:
    (logits, features), y = make(), torch.tensor(EMPTY)
    with NoReading():
        aduc_loss(logits.requires_grad_(), features[:QUERIES], y[:QUERIES], features, y, alpha=0.05).backward()
