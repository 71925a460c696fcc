"""LMD's equations against loops over rows and against scipy; edge cases."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis
from scipy.special import softmax
from scipy.stats import entropy
from torch import Tensor

from ltmed.losses import lmd
from ltmed.nn.statistics import ClassMoments, ClassStatistics

Relation = Callable[..., Tensor]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def relation_oracle(ours: Tensor, theirs: Tensor, normalize: bool) -> float:
    """1/n sum_ij (A - B)_ij^2 of A_ij = a_i.a_j and B alike, for vectors a_i and b_i; rows divided by their norms."""
    matrices = []
    for vectors in (ours.tolist(), theirs.tolist()):
        rows = [[sum(p * q for p, q in zip(one, other, strict=True)) for other in vectors] for one in vectors]
        if normalize:
            rows = [[v / (math.sqrt(sum(w * w for w in row)) or 1.0) for v in row] for row in rows]
        matrices.append(rows)
    total = sum((a - b) ** 2 for one, other in zip(*matrices, strict=True) for a, b in zip(one, other, strict=True))
    return total / len(ours)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (3, 8), (1, 4), (6, 1)])
def test_relations_are_the_papers(shape: tuple[int, int], normalize: bool) -> None:
    actual, reference = normal(*shape), normal(*shape, seed=1)
    sample = lmd.sample_relation(actual, reference, normalize)
    channel = lmd.channel_relation(actual, reference, normalize)
    assert sample.item() == pytest.approx(relation_oracle(actual, reference, normalize), rel=1e-9)
    assert channel.item() == pytest.approx(relation_oracle(actual.T, reference.T, normalize), rel=1e-9)


@pytest.mark.parametrize("relation", [lmd.sample_relation, lmd.channel_relation])
def test_equal_features_have_no_difference_and_dead_ones_count_once(relation: Relation) -> None:
    z = normal(4, 4).relu()
    assert relation(z, z).item() == pytest.approx(0, abs=1e-12)
    dead = z.clone()
    dead[1, :] = 0
    dead[:, 1] = 0
    vectors = (dead, z) if relation is lmd.sample_relation else (dead.T, z.T)
    assert relation(dead, z).item() == pytest.approx(relation_oracle(*vectors, True), rel=1e-9)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("relation", [lmd.sample_relation, lmd.channel_relation])
def test_gradient_of_the_relations(relation: Relation, normalize: bool) -> None:
    reference = normal(4, 3, seed=1)
    actual = normal(4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: relation(z, reference, normalize), [actual])


@pytest.mark.parametrize("relation", [lmd.sample_relation, lmd.channel_relation])
@pytest.mark.parametrize("kind", ["zero", "equal", "tiny", "large", "one dead channel", "one image"])
def test_relations_are_finite(relation: Relation, kind: str) -> None:
    z = normal(5, 4).float()
    changed = {
        "zero": z * 0, "equal": z[:1].expand(5, -1), "tiny": z * 1e-12, "large": z * 1e4,
        "one dead channel": z * torch.tensor([1.0, 0, 1, 1]), "one image": z[:1],
    }[kind].clone().requires_grad_()  # fmt: skip
    loss = relation(changed, normal(5, 4, seed=1).float()[: len(changed)])
    loss.backward()
    assert torch.isfinite(loss)
    assert changed.grad is not None
    assert changed.grad.isfinite().all()
    assert changed.grad.abs().max() < 1e13


def test_probability_consistency_is_scipys_relative_entropy() -> None:
    student, teacher = normal(6, 4), normal(6, 4, seed=1)
    p, q = softmax(teacher.numpy(), axis=1), softmax(student.numpy(), axis=1)
    assert lmd.probability_consistency(student, teacher).item() == pytest.approx(np.mean(entropy(p, q, axis=1)))
    extreme = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = lmd.probability_consistency(extreme, torch.tensor([[-1e4, 1e4]]))
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    assert extreme.grad is not None
    assert extreme.grad.isfinite().all()


def statistics(classes: int, width: int) -> ClassStatistics:
    made = ClassStatistics(classes, width)
    roots = normal(classes, width, width, seed=3)
    actual = ClassMoments(torch.ones(classes, dtype=torch.bool), 5 + normal(classes, width), roots @ roots.mT)
    made.update(actual, momentum=0.0)
    return made


def test_distances_are_scipys_and_psi_less_phi_follows() -> None:
    known, x, labels = statistics(4, 6), 5 + 2 * normal(9, 6, seed=7).float(), torch.arange(9) % 4
    distances = lmd.mahalanobis(x, *known.whitening(known.factors()))
    inverses = np.linalg.inv(known.covariances.double().numpy())
    expected = np.array(
        [[scipy_mahalanobis(v, m, i) ** 2 for m, i in zip(known.means.double().numpy(), inverses, strict=True)]
         for v in x.double().numpy()]
    )  # fmt: skip
    np.testing.assert_allclose(distances.numpy(), expected, rtol=2e-4)
    psi = np.mean([row[y] for row, y in zip(expected, labels.tolist(), strict=True)])
    phi = np.mean([np.delete(row, y).mean() for row, y in zip(expected, labels.tolist(), strict=True)])
    value = lmd.distribution_consistency(torch.from_numpy(expected), labels)
    assert value.item() == pytest.approx(psi - phi)


def test_gradient_of_the_distances() -> None:
    known = statistics(3, 4)
    origin, transform, means = (t.double() for t in known.whitening(known.factors()))
    labels = torch.tensor([0, 2, 1, 1])

    def function(x: Tensor) -> Tensor:
        return lmd.distribution_consistency(lmd.mahalanobis(x, origin, transform, means), labels)

    assert torch.autograd.gradcheck(function, [(5 + normal(4, 4, seed=9)).requires_grad_()])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["sample_relation", "channel_relation", "probability_consistency"])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    function: Any = getattr(lmd, name)
    ours, reference = normal(5, 4).to(dtype), normal(5, 4, seed=1).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        actual = function(ours, reference)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, function(ours.float(), reference.float()))
