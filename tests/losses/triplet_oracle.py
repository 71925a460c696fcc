"""PCCT's losses in plain Python, straight from the equations: lists, loops, nothing shared with the implementation."""

from __future__ import annotations

import math

Rows = list[list[float]]


def violators(points: Rows, labels: list[int], a: int, p: int, margin: float) -> list[int]:
    """The images of other classes nearer to a than p is, margin included; nearest first."""
    limit = math.dist(points[a], points[p]) + margin
    actual = [n for n in range(len(points)) if labels[n] != labels[a] and math.dist(points[a], points[n]) < limit]
    return sorted(actual, key=lambda n: math.dist(points[a], points[n]))


def third_class(labels: list[int], a: int, n: int) -> list[int]:
    """The images of neither class, by class and then by position."""
    actual = [m for m in range(len(labels)) if labels[m] not in (labels[a], labels[n])]
    return sorted(actual, key=lambda m: (labels[m], m))


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def sample(
    kind: str, points: Rows, labels: list[int], draws: list[Rows], margin: float, beta: float
) -> tuple[float, int]:
    """The loss between images, and the number of pairs with a positive that took part."""
    pairs = [(a, p) for a in range(len(points)) for p in range(len(points)) if a != p and labels[a] == labels[p]]
    if kind == "pairwise":
        different = [
            math.dist(points[a], points[n])
            for a in range(len(points)) for n in range(len(points)) if labels[a] != labels[n]
        ]  # fmt: skip
        pull = mean([math.dist(points[a], points[p]) for a, p in pairs])
        return pull + mean([margin - d for d in different if d < margin]), len(pairs)
    terms = []
    for a, p in pairs:
        actual = violators(points, labels, a, p, margin)
        if not actual:
            continue
        n = actual[int(draws[0][a][p] * len(actual))]
        pull = math.dist(points[a], points[p])
        term = pull + margin - math.dist(points[a], points[n])
        others = third_class(labels, a, n)
        if kind == "quadruplet" and others:
            m = others[int(draws[1][a][p] * len(others))]
            term += max(0.0, pull + beta - math.dist(points[n], points[m]))
        terms.append(term)
    return mean(terms), len(terms)


def centre(kind: str, points: Rows, labels: list[int], centres: Rows, margin: float, beta: float) -> float:
    """The loss between images and centres."""
    terms, pulls = [], []
    for x, y in zip(points, labels, strict=True):
        own = math.dist(x, centres[y])
        pulls.append(own)
        others = [j for j in range(len(centres)) if j != y]
        for j in others:
            away = math.dist(x, centres[j])
            if kind == "triplet":
                terms.append(max(0.0, own + margin - away))
            elif kind == "pairwise":
                terms.append(max(0.0, margin - away))
            else:
                for k in others:
                    if k != j:
                        between = math.dist(centres[j], centres[k])
                        terms.append(max(0.0, own + margin - away) + max(0.0, own + beta - between))
    return mean([term for term in terms if term > 0]) + (mean(pulls) if kind == "pairwise" else 0.0)
