"""The AduC loss against loops, its edge cases, and the schedules of alpha."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.losses.aduni import aduc_loss, alpha_at

PRIOR = torch.tensor([0.7, 0.2, 0.1, 0.0001], dtype=torch.float64).log()


def make(samples: int = 8, classes: int = 4, width: int = 5, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, features and labels, float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, classes, dtype=torch.float64, generator=generator)
    features = F.normalize(torch.randn(samples, width, dtype=torch.float64, generator=generator), dim=1)
    return logits, features, torch.randint(classes, (samples,), generator=generator)


def expected(
    logits: Tensor, features: Tensor, labels: Tensor, alpha: float, tau: float, prior: Tensor | None, normalize: bool
) -> list[float]:
    """Eq. 1 and 2 with loops, one number per sample."""
    losses, f, y = [], features.tolist(), labels.tolist()
    for i, row in enumerate(logits.tolist()):
        classes = [g + (0.0 if prior is None else float(prior[c])) for c, g in enumerate(row)]
        samples = {j: sum(a * b for a, b in zip(f[i], f[j], strict=True)) / tau for j in range(len(f)) if j != i}
        total = math.log(sum(math.exp(s) for s in [*classes, *samples.values()]))
        positives = [s - total for j, s in samples.items() if y[j] == y[i]]
        loss = -(classes[y[i]] - total + alpha * sum(positives))
        losses.append(loss / (1 + alpha * len(positives)) if normalize else loss)
    return losses


@pytest.mark.parametrize("alpha", [0.0, 0.01, 1.0, 3.0])
@pytest.mark.parametrize("prior", [None, PRIOR])
@pytest.mark.parametrize("normalize", [True, False])
def test_is_the_papers(alpha: float, prior: Tensor | None, normalize: bool) -> None:
    logits, features, labels = make(12)
    loss = aduc_loss(
        logits, features, labels, features, labels, alpha=alpha, temperature=0.3, log_prior=prior, normalize=normalize
    )
    losses = expected(logits, features, labels, alpha, 0.3, prior, normalize)
    assert loss.item() == pytest.approx(sum(losses) / 12, rel=1e-9)


def printed(logits: Tensor, features: Tensor, labels: Tensor, alpha: float, tau: float) -> list[float]:
    """L_AduC as it is printed, with loops: both terms inside the sum over P(i), tau under logits and similarities."""
    g, f, y = logits.tolist(), features.tolist(), labels.tolist()
    losses = []
    for i, row in enumerate(g):
        others = [j for j in range(len(f)) if j != i]
        similar = {j: math.exp(sum(a * b for a, b in zip(f[i], f[j], strict=True)) / tau) for j in others}
        # g_i.l_j with l_j the one-hot vector of class j is the logit of class j.
        classes = [math.exp(z / tau) for z in row]
        below = sum(classes) + sum(similar.values())
        positives = [p for p in others if y[p] == y[i]]
        first = sum(math.log(similar[p] / below) for p in positives)
        second = sum(math.log(classes[y[p]] / below) for p in positives)
        losses.append(-alpha * first - second)
    return losses


@pytest.mark.parametrize("alpha", [0.0, 0.01, 1.0])
def test_as_printed(alpha: float) -> None:
    logits, features, labels = make(12)
    loss = aduc_loss(
        logits, features, labels, features, labels, alpha=alpha, temperature=0.3, normalize=False,
        label_per_positive=True, temper_logits=True,
    )  # fmt: skip
    losses = printed(logits, features, labels, alpha, 0.3)
    assert loss.item() == pytest.approx(sum(losses) / 12, rel=1e-9)


def test_the_printed_sum_repeats_the_label_and_ours_does_not() -> None:
    """At alpha = 1 and |P| = 3 the label weighs half of the loss, instead of a quarter."""
    logits, features, _ = make(4)
    y = torch.zeros(4, dtype=torch.int64)
    options: dict[str, Any] = {"alpha": 1.0, "normalize": False}
    once = aduc_loss(logits, features, y, features, y, **options)
    repeated = aduc_loss(logits, features, y, features, y, label_per_positive=True, **options)
    label = aduc_loss(logits, features, y, features, y, alpha=0.0, normalize=False)
    torch.testing.assert_close(repeated, once + 2 * label)


def test_an_anchor_without_positives_has_no_printed_loss() -> None:
    logits, features, _ = make(4)
    y = torch.arange(4)
    for normalize in (True, False):
        loss = aduc_loss(logits, features, y, features, y, alpha=1.0, normalize=normalize, label_per_positive=True)
        assert loss.item() == 0.0


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3], [3, 3, 3, 1]], ids=["one class", "singles", "absent"])
def test_classes_of_one_sample_and_absent_classes(labels: list[int]) -> None:
    logits, features, _ = make(4)
    y = torch.tensor(labels)
    loss = aduc_loss(logits, features, y, features, y, alpha=0.5)
    losses = expected(logits, features, y, 0.5, 0.1, None, True)
    assert loss.item() == pytest.approx(sum(losses) / 4, rel=1e-9)


def test_without_other_samples_and_weight_it_is_logit_adjusted_cross_entropy() -> None:
    logits, features, labels = make(1)
    loss = aduc_loss(logits, features, labels, features, labels, alpha=1.0, log_prior=PRIOR)
    torch.testing.assert_close(loss, F.cross_entropy(logits + PRIOR, labels))


@pytest.mark.parametrize("first", [0, 2, 6])
def test_a_block_of_anchors_gives_its_part_of_the_mean(first: int) -> None:
    logits, features, labels = make(10)
    block = slice(first, first + 4)
    loss = aduc_loss(logits[block], features[block], labels[block], features, labels, alpha=0.7, first=first)
    losses = expected(logits, features, labels, 0.7, 0.1, None, True)
    assert loss.item() == pytest.approx(sum(losses[block]) / 4, rel=1e-9)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("as_printed", [True, False])
def test_gradients(normalize: bool, as_printed: bool) -> None:
    logits, features, labels = make(6)

    def function(logits: Tensor, anchors: Tensor, others: Tensor) -> Tensor:
        everyone = torch.cat([others, anchors])
        return aduc_loss(
            logits, anchors, labels[3:], everyone, labels, alpha=0.4, first=3, log_prior=PRIOR, normalize=normalize,
            label_per_positive=as_printed, temper_logits=as_printed,
        )  # fmt: skip

    inputs = [t.clone().requires_grad_() for t in (logits[3:], features[3:], features[:3])]
    assert torch.autograd.gradcheck(function, inputs)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("as_printed", [True, False])
@pytest.mark.parametrize("kind", ["random", "equal", "opposite", "zero", "one class", "one sample"])
def test_finite_value_and_gradient_for_finite_input(scale: float, normalize: bool, as_printed: bool, kind: str) -> None:
    logits, features, labels = make(1 if kind == "one sample" else 6)
    changed: dict[str, Any] = {
        "equal": features[:1].expand(6, -1), "opposite": features[:1] * torch.tensor([[1.0], [-1.0]] * 3),
        "zero": features * 0,
    }  # fmt: skip
    labels = labels * 0 if kind == "one class" else labels
    logits, features = (scale * logits).float().requires_grad_(), changed.get(kind, features).float().requires_grad_()
    loss = aduc_loss(
        logits, features, labels, features, labels, alpha=1.0, temperature=0.01, log_prior=PRIOR.float(),
        normalize=normalize, label_per_positive=as_printed, temper_logits=as_printed,
    )  # fmt: skip
    loss.backward()
    for tensor in (loss, logits.grad, features.grad):
        assert tensor is not None
        assert torch.isfinite(tensor).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_are_computed_in_float32(dtype: torch.dtype) -> None:
    logits, features, labels = make(6)
    logits, features = logits.to(dtype), features.to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        loss = aduc_loss(logits, features, labels, features, labels, alpha=1.0)
    assert loss.dtype == torch.float32
    full = aduc_loss(logits.float(), features.float(), labels, features.float(), labels, alpha=1.0)
    torch.testing.assert_close(loss, full)


def test_recursive_cosine_is_the_recursion_and_reaches_the_lowest_by_epoch_400() -> None:
    alpha = 1.0
    for epoch in range(1200):
        assert alpha_at(epoch) == pytest.approx(alpha, rel=1e-12)
        alpha = 0.01 + (alpha - 0.01) * (1 + math.cos(math.pi * min(epoch, 1000) / 1000)) / 2
    assert alpha_at(0) == 1.0
    assert alpha_at(400) == pytest.approx(0.01, abs=1e-6)


def test_released_cosine_is_the_released_loop() -> None:
    """Its loop updates alpha at the start of each epoch, from epoch 0, and trains with what it finds."""
    alpha = 1.0
    for epoch in range(500):
        alpha = 0.01 + (alpha - 0.01) * (1 + math.cos(math.pi * epoch / 1000)) / 2
        assert alpha_at(epoch, "released_cosine") == pytest.approx(alpha, rel=1e-12)
        assert alpha_at(epoch + 1) == pytest.approx(alpha, rel=1e-12), "ours is the same one epoch later"


def test_cosine_is_half_a_cosine_that_does_not_rise_again() -> None:
    assert alpha_at(0, "cosine") == 1.0
    assert alpha_at(400, "cosine") == pytest.approx(0.658, abs=1e-3)
    assert alpha_at(500, "cosine", 2.0, 1.0) == pytest.approx(1.5)
    assert alpha_at(1000, "cosine") == alpha_at(1500, "cosine") == pytest.approx(0.01)


def test_constant_is_the_lowest() -> None:
    assert {alpha_at(epoch, "constant", 1.0, 0.02) for epoch in (0, 7, 400)} == {0.02}


@pytest.mark.parametrize("schedule", ["recursive_cosine", "cosine"])
def test_alpha_never_rises(schedule: Any) -> None:
    values = [alpha_at(epoch, schedule, 0.9, 0.1, 50) for epoch in range(120)]
    assert values == sorted(values, reverse=True)
    assert values[-1] == pytest.approx(0.1)
