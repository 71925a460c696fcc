"""ProCo written straight from the paper, with loops over queries, queue items and classes, in plain Python numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Vector = Sequence[float]


@dataclass(frozen=True)
class Item:
    """One filled slot of the queue."""

    key: Vector
    label: int
    predicted: int
    mix: float
    """e of its positive proto-instance."""


def dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def unit(a: Vector) -> list[float]:
    norm = math.sqrt(dot(a, a))
    return [x / norm for x in a]


def mixed(key: Vector, prototype: Vector, e: float) -> list[float]:
    return unit([(1 - e) * s + e * p for s, p in zip(key, prototype, strict=True)])


def hardest(query: Vector, y: int, queue: list[Item], gamma: int) -> list[Item]:
    """Eq. 1."""
    others = [item for item in queue if item.label != y]
    return sorted(others, key=lambda item: 1 - dot(unit(query), unit(item.key)))[:gamma]


def running(omega: Vector, logits: Sequence[Vector], labels: Sequence[int], beta: float) -> list[float]:
    """Eq. 4 and 5."""
    out = list(omega)
    for c in range(len(omega)):
        values = [1 / (1 + math.exp(-z[c])) for z, y in zip(logits, labels, strict=True) if y == c]
        if values:
            out[c] = beta * out[c] + (1 - beta) * sum(values) / len(values)
    return out


def recalibrated(embedding: Vector, prototypes: Sequence[Vector], omega: Vector, how: str) -> list[float]:
    """Eq. 6 in its three readings."""
    if how == "none":
        return [dot(embedding, p) for p in prototypes]
    if how == "bias":
        return [dot(embedding, p) + math.log(w) for p, w in zip(prototypes, omega, strict=True)]
    return [dot(embedding, [x + math.log(w) for x in p]) for p, w in zip(prototypes, omega, strict=True)]


def loss(
    queries: Sequence[Vector],
    logits: Sequence[Vector],
    labels: Sequence[int],
    queue: list[Item],
    prototypes: Sequence[Vector],
    negative_mix: Sequence[dict[int, float]],
    gamma: int,
    tau: float,
    reduction: str,
    proto_instances: bool,
) -> float:
    """Eq. 7; `negative_mix[j][i]` is e of query j and queue item i. `logits` are recalibrated."""
    total = 0.0
    for j, (query, y) in enumerate(zip(queries, labels, strict=True)):
        negatives = [item.key for item in queue if item.label != y]
        positives = [item.key for item in queue if item.label == y]
        if proto_instances:
            for item in hardest(query, y, queue, gamma):
                negatives.append(mixed(item.key, prototypes[y], negative_mix[j][queue.index(item)]))
            for item in queue:
                if item.label == y and item.predicted != y:
                    positives.append(mixed(item.key, prototypes[item.predicted], item.mix))
        first = sum(math.exp(dot(query, s) / tau) for s in negatives)
        second = sum(math.exp(-dot(query, s) / tau) for s in positives)
        if reduction == "mean":
            first, second = first / max(len(negatives), 1), second / max(len(positives), 1)
        first += sum(math.exp(z) for c, z in enumerate(logits[j]) if c != y)
        second += math.exp(-logits[j][y])
        total += math.log(1 + first * second)
    return total / len(queries)
