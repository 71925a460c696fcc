"""ProCo's equations against loops, and its edge cases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ltmed.losses import proco
from tests.losses import proco_oracle as oracle

GAMMA = 4


class Case(NamedTuple):
    """Everything that one evaluation of the loss depends on."""

    queries: Tensor
    embeddings: Tensor
    labels: Tensor
    keys: Tensor
    key_labels: Tensor
    predicted: Tensor
    prototypes: Tensor
    negative_mix: Tensor
    positive_mix: Tensor
    omega: Tensor


def make(batch: int = 6, slots: int = 11, classes: int = 4, width: int = 5, filled: int | None = None) -> Case:
    """Random float64 tensors; slots beyond `filled` are empty."""
    generator = torch.Generator().manual_seed(batch + slots + classes)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    def classes_of(n: int) -> Tensor:
        return torch.randint(classes, (n,), generator=generator)

    keys, key_labels, predicted = F.normalize(normal(slots, width), dim=1), classes_of(slots), classes_of(slots)
    filled = slots if filled is None else filled
    keys[filled:], key_labels[filled:], predicted[filled:] = 0, -1, -1
    mixes = [0.4 * torch.rand(*s, dtype=torch.float64, generator=generator) for s in ((batch, GAMMA), (slots,))]
    omega = 0.05 + 0.9 * torch.rand(classes, dtype=torch.float64, generator=generator)
    return Case(
        F.normalize(normal(batch, width), dim=1), normal(batch, width).relu(), classes_of(batch),
        keys, key_labels, predicted, normal(classes, width), mixes[0], mixes[1], omega,
    )  # fmt: skip


def contrast(case: Case, proto_instances: bool = True) -> tuple[list[proco.Contrast], list[proco.Contrast]]:
    q, y, keys, prototypes = case.queries, case.labels, case.keys, case.prototypes
    negatives, positives = proco.contrast_queue(q, y, keys, case.key_labels)
    if not proto_instances:
        return [negatives], [positives]
    taken_for, wrong = prototypes[case.predicted.clamp_min(0)], case.predicted != case.key_labels
    return (
        [negatives, proco.adversarial_negatives(q, y, keys, negatives, prototypes, case.negative_mix)],
        [positives, proco.adversarial_positives(q, keys, wrong, positives, taken_for, case.positive_mix)],
    )


def total(case: Case, how: Any = "bias", proto_instances: bool = True, **options: Any) -> Tensor:
    logits = proco.recalibrate(case.embeddings, case.prototypes, case.omega, how)
    return proco.proto_loss(logits, case.labels, *contrast(case, proto_instances), **options)


def expected(case: Case, how: str, proto_instances: bool, tau: float, reduction: str) -> float:
    filled = (case.key_labels >= 0).nonzero()[:, 0].tolist()
    queue = [
        oracle.Item(case.keys[i].tolist(), int(case.key_labels[i]), int(case.predicted[i]), float(case.positive_mix[i]))
        for i in filled
    ]
    # Which e belongs to which item follows the order in which the implementation lists the nearest.
    slots, present = proco.nearest_negatives(contrast(case)[0][0], GAMMA)
    mixes = [
        {filled.index(int(i)): float(e) for i, e, there in zip(*row, strict=False) if there}
        for row in zip(slots, case.negative_mix, present, strict=True)
    ]
    prototypes, omega = case.prototypes.tolist(), case.omega.tolist()
    logits = [oracle.recalibrated(f, prototypes, omega, how) for f in case.embeddings.tolist()]
    return oracle.loss(
        case.queries.tolist(), logits, case.labels.tolist(), queue, prototypes, mixes, GAMMA, tau, reduction,
        proto_instances,
    )  # fmt: skip


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("how", ["bias", "broadcast", "none"])
@pytest.mark.parametrize("proto_instances", [True, False])
def test_the_whole_loss_is_the_papers(reduction: Any, how: Any, proto_instances: bool) -> None:
    case = make()
    actual = total(case, how, proto_instances, temperature=0.5, queue_reduction=reduction)
    assert actual.item() == pytest.approx(expected(case, how, proto_instances, 0.5, reduction), rel=1e-9)


@pytest.mark.parametrize(
    "shape",
    [
        {"filled": 7}, {"filled": 0}, {"filled": 1}, {"classes": 2}, {"slots": 3}, {"batch": 1, "slots": 1},
        {"batch": 3, "slots": 12, "classes": 9},
    ],
)  # fmt: skip
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_partly_filled_queues_absent_classes_and_short_queues(shape: dict[str, int], reduction: Any) -> None:
    case = make(**shape)
    actual = total(case, queue_reduction=reduction)
    assert actual.item() == pytest.approx(expected(case, "bias", True, 1.0, reduction), rel=1e-9)


def test_without_a_queue_the_loss_is_cross_entropy_of_the_recalibrated_logits() -> None:
    case = make(filled=0)
    logits = proco.recalibrate(case.embeddings, case.prototypes, case.omega)
    torch.testing.assert_close(total(case), F.cross_entropy(logits, case.labels))


def test_nearest_negatives_are_sorted_distances() -> None:
    case = make(batch=8, slots=20, filled=15)
    slots, present = proco.nearest_negatives(contrast(case)[0][0], GAMMA)
    for j in range(8):
        distances = {
            i: 1 - float(case.queries[j] @ case.keys[i]) for i in range(15) if case.key_labels[i] != case.labels[j]
        }
        assert set(slots[j][present[j]].tolist()) == set(sorted(distances, key=lambda i: distances[i])[:GAMMA])


def test_fewer_negatives_than_gamma_are_marked() -> None:
    case = make(batch=2, slots=6, filled=3)._replace(
        labels=torch.tensor([0, 1]), key_labels=torch.tensor([0, 0, 1, -1, -1, -1])
    )
    slots, present = proco.nearest_negatives(contrast(case)[0][0], GAMMA)
    assert slots[0][present[0]].tolist() == [2]
    assert sorted(slots[1][present[1]].tolist()) == [0, 1]


def test_proto_instances_have_norm_one_and_reach_from_key_to_prototype() -> None:
    case = make()
    keys, targets = case.keys[:4], case.prototypes
    torch.testing.assert_close(proco.proto_instances(keys, targets, torch.zeros(4).double()), keys)
    torch.testing.assert_close(
        proco.proto_instances(keys, targets, torch.ones(4).double()), F.normalize(targets, dim=1)
    )
    between = proco.proto_instances(keys, targets, torch.full((4,), 0.3, dtype=torch.float64))
    for i in range(4):
        torch.testing.assert_close(
            between[i].tolist(), oracle.mixed(keys[i].tolist(), targets[i].tolist(), 0.3), rtol=1e-9, atol=0
        )


@pytest.mark.parametrize("how", ["raw", "unit", "bounded"])
def test_prototypes_to_mix_against_loops(how: Any) -> None:
    prototypes = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    prototypes[0] *= 0.1
    for row, actual in zip(prototypes.tolist(), proco.prototypes_to_mix(prototypes, how).tolist(), strict=True):
        norm = sum(x * x for x in row) ** 0.5
        divisor = {"raw": 1.0, "unit": norm, "bounded": max(1.0, norm)}[how]
        assert actual == pytest.approx([x / divisor for x in row])
    zero = torch.zeros(2, 3, requires_grad=True)
    proco.prototypes_to_mix(zero, how).sum().backward()
    assert zero.grad is not None
    assert zero.grad.isfinite().all()


def test_a_bounded_prototype_always_contributes_less_than_the_key() -> None:
    """As the paper assumes below its Eq. 3; a prototype of norm 2.5 breaks it for e > 2/7, that is for 2 of 7 draws."""
    e = torch.linspace(0, 0.4, 7001, dtype=torch.float64)[:-1]
    prototypes = 2.5 * F.normalize(torch.randn(1, 8, dtype=torch.float64), dim=1)
    broken = {
        how: float((e * proco.prototypes_to_mix(prototypes, how).norm() >= 1 - e).double().mean())
        for how in ("raw", "unit", "bounded")
    }
    assert broken == {"raw": pytest.approx(2 / 7, abs=1e-3), "unit": 0.0, "bounded": 0.0}


def test_running_confidence_is_the_papers_and_leaves_absent_classes() -> None:
    logits = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels, omega = torch.tensor([0, 0, 3, 0, 3, 1, 0, 3, 0]), torch.linspace(0.01, 0.9, 5, dtype=torch.float64)
    actual = proco.running_confidence(omega, *proco.class_confidence(logits, labels), 0.95)
    assert actual.tolist() == pytest.approx(oracle.running(omega.tolist(), logits.tolist(), labels.tolist(), 0.95))
    assert actual[2] == omega[2]
    assert actual[4] == omega[4]


def test_confidence_of_two_halves_adds_up_to_the_whole() -> None:
    logits, labels = torch.randn(8, 3), torch.arange(8) % 3
    whole = torch.stack(proco.class_confidence(logits, labels))
    halves = [torch.stack(proco.class_confidence(logits[h], labels[h])) for h in (slice(0, 4), slice(4, 8))]
    torch.testing.assert_close(halves[0] + halves[1], whole)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("how", ["bias", "broadcast"])
def test_gradients(reduction: Any, how: Any) -> None:
    case = make(batch=3, slots=8, classes=3, width=3, filled=6)

    def function(queries: Tensor, embeddings: Tensor, prototypes: Tensor) -> Tensor:
        changed = case._replace(queries=queries, embeddings=embeddings, prototypes=prototypes)
        return total(changed, how, temperature=0.3, queue_reduction=reduction)

    inputs = [t.clone().requires_grad_() for t in (case.queries, case.embeddings, case.prototypes)]
    assert torch.autograd.gradcheck(function, inputs)


def test_gradient_reaches_prototypes_through_both_kinds_of_proto_instances() -> None:
    case = make()
    for which in (0, 1):
        prototypes = case.prototypes.clone().requires_grad_()
        adversarial = contrast(case._replace(prototypes=prototypes))[which][1]
        adversarial.similarity.masked_fill(~adversarial.present, 0).sum().backward()
        assert prototypes.grad is not None
        assert prototypes.grad.abs().sum() > 0


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("how", ["bias", "broadcast", "none"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    "kind", ["random", "equal", "opposite", "zero", "no positives", "no negatives", "empty", "two"]
)
def test_finite_value_and_gradient_for_finite_input(scale: float, how: Any, reduction: Any, kind: str) -> None:
    case = make(classes=2 if kind == "two" else 4, filled=0 if kind == "empty" else None)
    case = Case(*(t.float() if t.is_floating_point() else t for t in case))
    y, prototypes = case.labels, case.prototypes * scale
    changes: dict[str, dict[str, Tensor]] = {
        "equal": {"queries": case.queries[:1].expand(6, -1), "keys": case.queries[:1].expand(11, -1)},
        "opposite": {"keys": F.normalize(-prototypes[:1], dim=1).expand(11, -1)},
        "zero": {"queries": case.queries * 0, "embeddings": case.embeddings * 0, "keys": case.keys * 0},
        "no positives": {"labels": torch.zeros_like(y), "key_labels": torch.ones_like(case.key_labels)},
        "no negatives": {"labels": torch.zeros_like(y), "key_labels": torch.zeros_like(case.key_labels)},
    }
    case = case._replace(**changes.get(kind, {}), prototypes=prototypes)
    case = case._replace(omega=torch.tensor([0.0, 1e-38, 0.5, 1.0])[: len(prototypes)])
    inputs = [t.clone().requires_grad_() for t in (case.queries, case.embeddings, case.prototypes)]
    case = case._replace(queries=inputs[0], embeddings=inputs[1], prototypes=inputs[2])
    loss = total(case, how, temperature=0.07, queue_reduction=reduction)
    loss.backward()
    assert torch.isfinite(loss)
    for tensor in inputs:
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast_are_computed_in_float32(dtype: torch.dtype) -> None:
    case = make()
    half = Case(*(t.to(dtype) if t.is_floating_point() else t for t in case))
    full = Case(*(t.float() if t.is_floating_point() else t for t in half))
    with torch.autocast("cpu", torch.bfloat16):
        loss = total(half)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, total(full))


def test_losses_know_nothing_of_lightning_or_processes() -> None:
    for file in Path(proco.__file__).parent.glob("*.py"):
        assert not re.search(r"import.*(lightning|distributed|hydra)|from (lightning|hydra)", file.read_text()), (
            file.name
        )
