"""Metrics of subgroups of the test images (age, sex, site, ...), and whether their differences are more than chance.

Letters: N images, R resamples. The images of a subgroup are those with one value of an attribute; numbers are cut into
ranges, and values that few images have are withheld, not averaged away.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ltmed.errors import UserError
from ltmed.evaluation.bootstrap import draw, percentile_interval
from ltmed.evaluation.metrics import Evaluation, WeightedScorer
from ltmed.evaluation.scalars import SCALARS, better

LEAST_IMAGES = 30
"""Subgroups with fewer test images have no numbers."""
MOST_VALUES = 20
"""An attribute with more distinct values is refused, unless they are numbers."""
AGE_EDGES = (0, 20, 40, 60, 80)
_UNKNOWN = ("", "nan", "none", "unknown", "null")


@dataclass(frozen=True)
class Subgroup:
    """One value of an attribute. Metric is the one that was asked for."""

    value: str
    images: int
    units: int
    """Groups (lesions, patients) or images that were resampled."""
    metric: float | None
    """None where there are too few images."""
    interval: list[float] | None


@dataclass(frozen=True)
class Gap:
    """The largest difference between two subgroups that have numbers."""

    best: str
    worst: str
    difference: float
    """By how much the best is better than the worst, at least 0."""
    interval: list[float]
    """[low, high], paired bootstrap: both subgroups from the same resamples."""
    simultaneous_p: float
    """Share of permutations of the attribute over groups whose largest difference is at least as large."""


@dataclass(frozen=True)
class SubgroupReport:
    """All subgroups of one attribute, in order of value."""

    attribute: str
    metric: str
    subgroups: tuple[Subgroup, ...]
    withheld: int
    """Images in subgroups with too few, or without a value."""
    gap: Gap | None
    """None where fewer than two subgroups have numbers."""


def categories(values: np.ndarray, attribute: str) -> np.ndarray:
    """Attribute values as subgroup names, object `[N]`; None where unknown.

    Numbers with more than `MOST_VALUES` distinct values become ranges with the edges `AGE_EDGES` (ages) if they lie
    within 0 and 120, else quartiles.

    Raises:
        UserError: too many distinct values that are no numbers.
    """
    text = np.array([str(value).strip() for value in values], dtype=object)
    known = ~np.isin([value.lower() for value in text], _UNKNOWN)
    distinct = set(text[known])
    if len(distinct) <= MOST_VALUES and not _numeric(text[known], distinct):
        return np.array([value if ok else None for value, ok in zip(text, known, strict=True)], dtype=object)
    try:
        numbers = np.full(len(text), np.nan)
        numbers[known] = text[known].astype(float)
    except ValueError:
        raise UserError(
            f"The attribute '{attribute}' has {len(distinct)} different values", f"Use one with at most {MOST_VALUES}."
        ) from None
    ages = np.nanmin(numbers) >= 0 and np.nanmax(numbers) <= 120
    # Quartiles coincide where many values are equal.
    edges = np.unique(AGE_EDGES if ages else np.nanquantile(numbers, [0, 0.25, 0.5, 0.75]))
    place = np.searchsorted(edges, numbers, "right") - 1
    names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)] + [f"{edges[-1]:g} or more"]
    return np.array([names[k] if ok else None for k, ok in zip(place, known, strict=True)], dtype=object)


def _numeric(text: np.ndarray, distinct: set[str]) -> bool:
    """Whether values are numbers with too many different ones to be names."""
    if len(distinct) <= 6:
        return False
    try:
        text.astype(float)
    except ValueError:
        return False
    return True


def by_subgroup(
    evaluation: Evaluation,
    tiers: dict[str, list[int]],
    values: np.ndarray,
    *,
    attribute: str,
    metric: str = "balanced_accuracy",
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    permutations: int = 200,
    seed: int = 0,
) -> SubgroupReport:
    """Scores each subgroup with intervals over whole groups, and the gap between the best and the worst.

    Args:
        evaluation: predictions `[N, K]`.
        tiers: class indices of `head`, `medium` and `tail`.
        values: object `[N]` as `categories` gives them, None where unknown.
        attribute: its name, for people.
        metric: one of `ltmed.evaluation.scalars.SCALARS`.
        groups: int64 `[N]`, images that are resampled together; None for single images.
        resamples: R.
        permutations: of the attribute over groups, for the p value of the largest gap; 0 leaves it NaN.
        seed: of resamples and permutations.
    """
    if metric not in SCALARS:
        raise UserError(f"'{metric}' is no metric of a report", f"Known: {', '.join(SCALARS)}.")
    scorer = WeightedScorer(evaluation, tiers)
    members = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    names = sorted({value for value in values if value is not None}, key=_order)
    masks = {name: np.array([value == name for value in values]) for name in names}
    large = [name for name in names if masks[name].sum() >= LEAST_IMAGES]
    found = {name: _score(scorer, masks[name], metric) for name in large}
    drawn = {name: [] for name in large}
    for weights in draw(members, resamples, seed):
        for name in large:
            drawn[name].append(scorer(weights * masks[name])[metric])
    samples = {name: np.concatenate(parts) for name, parts in drawn.items()}
    subgroups = tuple(
        Subgroup(
            name, int(masks[name].sum()), len(np.unique(members[masks[name]])), found.get(name),
            percentile_interval(samples[name]) if name in samples else None,
        )
        for name in names
    )  # fmt: skip
    withheld = len(values) - sum(int(masks[name].sum()) for name in large)
    scored = {name: value for name, value in found.items() if not np.isnan(value)}
    gap = None
    if len(scored) > 1:
        sign = -1 if better(metric) == "min" else 1
        ranked = sorted(scored, key=lambda k: sign * scored[k])
        worst, best = ranked[0], ranked[-1]
        difference = sign * (scored[best] - scored[worst])
        gap = Gap(
            best, worst, difference, percentile_interval(sign * (samples[best] - samples[worst])),
            _permuted(scorer, masks, list(scored), members, metric, difference, permutations, seed),
        )  # fmt: skip
    return SubgroupReport(attribute, metric, subgroups, withheld, gap)


def _score(scorer: WeightedScorer, mask: np.ndarray, metric: str) -> float:
    return float(scorer(mask[None].astype(float))[metric][0])


def _permuted(
    scorer: WeightedScorer,
    masks: dict[str, np.ndarray],
    names: list[str],
    members: np.ndarray,
    metric: str,
    observed: float,
    permutations: int,
    seed: int,
) -> float:
    """Largest gaps when groups exchange their attribute; a group's attribute is that of its first image."""
    if not permutations:
        return float("nan")
    rng = np.random.default_rng(seed)
    code = np.full(len(members), -1)
    for k, name in enumerate(names):
        code[masks[name]] = k
    units = np.unique(members)
    first = np.array([code[np.flatnonzero(members == unit)[0]] for unit in units])
    reached = 1
    for _ in range(permutations):
        shuffled = rng.permutation(first)[np.searchsorted(units, members)]
        weights = np.stack([(shuffled == k) for k in range(len(names))]).astype(float)
        values = scorer(weights)[metric]
        reached += bool(np.nanmax(values) - np.nanmin(values) >= observed - 1e-12)
    return reached / (permutations + 1)


def _order(name: str) -> tuple[int, float, str]:
    """Numbers and ranges by their first number, then names."""
    head = name.split(" ", 1)[0]
    try:
        return 0, float(head), name
    except ValueError:
        return 1, 0.0, name
