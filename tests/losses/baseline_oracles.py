"""The baseline losses as plain loops over images and classes, straight from their definitions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Rows = Sequence[Sequence[float]]
Numbers = Sequence[float]
Labels = Sequence[int]


def softmax(row: Numbers) -> list[float]:
    total = sum(math.exp(z) for z in row)
    return [math.exp(z) / total for z in row]


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def inverse_frequency(counts: Numbers) -> list[float]:
    return [sum(counts) / (len(counts) * n) for n in counts]


def effective_number(counts: Numbers, beta: float = 0.9999) -> list[float]:
    raw = [(1 - beta) / (1 - beta**n) for n in counts]
    return [len(counts) * w / sum(raw) for w in raw]


def mean(terms: Numbers, labels: Labels, weights: Numbers | None = None) -> float:
    own = [1.0 if weights is None else weights[y] for y in labels]
    return sum(w * term for w, term in zip(own, terms, strict=True)) / sum(own)


def focal(rows: Rows, labels: Labels, gamma: float = 2.0) -> list[float]:
    """One number per image; gamma = 0 is cross-entropy."""
    own = [softmax(row)[y] for row, y in zip(rows, labels, strict=True)]
    return [-((1 - p) ** gamma) * math.log(p) for p in own]


def per_entry(
    rows: Rows, labels: Labels, positive: Callable[[float], float], negative: Callable[[float], float]
) -> list[float]:
    """Sum over classes of `positive(p)` at the label and `negative(p)` elsewhere."""
    return [
        sum(positive(sigmoid(z)) if j == y else negative(sigmoid(z)) for j, z in enumerate(row))
        for row, y in zip(rows, labels, strict=True)
    ]


def sigmoid_focal(rows: Rows, labels: Labels, gamma: float = 2.0, alpha: float | None = 0.25) -> list[float]:
    up, down = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    return per_entry(
        rows, labels,
        lambda p: -up * (1 - p) ** gamma * math.log(p), lambda p: -down * p**gamma * math.log(1 - p),
    )  # fmt: skip


def asl(
    rows: Rows, labels: Labels, gamma_pos: float = 0.0, gamma_neg: float = 4.0, margin: float = 0.05
) -> list[float]:
    def negative(p: float) -> float:
        shifted = max(p - margin, 0)
        return -(shifted**gamma_neg) * math.log(1 - shifted)

    return per_entry(rows, labels, lambda p: -((1 - p) ** gamma_pos) * math.log(p), negative)


def ldam(rows: Rows, labels: Labels, counts: Numbers, scale: float, largest: float = 0.5) -> list[float]:
    """`rows` are cosines."""
    inverse = [n**-0.25 for n in counts]
    margins = [largest * value / max(inverse) for value in inverse]
    costs = []
    for row, y in zip(rows, labels, strict=True):
        own = math.exp(scale * (row[y] - margins[y]))
        others = sum(math.exp(scale * z) for j, z in enumerate(row) if j != y)
        costs.append(-math.log(own / (own + others)))
    return costs


def balanced_softmax(rows: Rows, labels: Labels, counts: Numbers, tau: float = 1.0) -> list[float]:
    """-log of n_y^tau e^z_y / sum_j n_j^tau e^z_j."""
    costs = []
    for row, y in zip(rows, labels, strict=True):
        parts = [n**tau * math.exp(z) for n, z in zip(counts, row, strict=True)]
        costs.append(-math.log(parts[y] / sum(parts)))
    return costs


def seesaw(
    rows: Rows, labels: Labels, counts: Numbers, p: float = 0.8, q: float = 2.0, eps: float = 0.01
) -> list[float]:
    costs = []
    for row, i in zip(rows, labels, strict=True):
        s = softmax(row)
        total = 0.0
        for j, z in enumerate(row):
            mitigation = (counts[j] / counts[i]) ** p if counts[j] < counts[i] else 1.0
            ratio = s[j] / max(s[i], eps)
            compensation = ratio**q if ratio > 1 else 1.0
            total += math.exp(z) * (1.0 if j == i else mitigation * compensation)
        costs.append(-math.log(math.exp(row[i]) / total))
    return costs
