"""Metrics of subgroups of the test images (age, sex, site, ...), and tests of their differences.

Letters: N images, R resamples. The images of a subgroup are those with one value of an attribute; numbers are binned
into ranges, and subgroups with few images are withheld.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ltmed.errors import UserError
from ltmed.evaluation.bootstrap import metric_interval, percentile_interval, resample_weights, without_excess
from ltmed.evaluation.class_averages import Quantity, Scores
from ltmed.evaluation.metrics import Evaluation
from ltmed.evaluation.permutations import p_of_largest_difference, permuted_attribute
from ltmed.evaluation.scalars import better, require_metric

MIN_IMAGES = 30
"""Subgroups with fewer test images have no metrics."""
MAX_VALUES = 20
"""An attribute with more distinct values is refused, unless they are numbers."""
FEW_NUMBERS = 6
"""Numbers with at most so many distinct values (grades, codes) are names."""
AGE_EDGES = (0, 20, 40, 60, 80)
_NOT_IN_YEARS = {f"{unit}{end}" for unit in ("month", "week", "day", "hour", "group", "code") for end in ("", "s")}
_UNKNOWN = ("", "nan", "na", "n/a", "<na>", "none", "unknown", "null")
"""Cells without a value in lower case, as R, pandas and databases write them. One that was taken for a value would also
keep the numbers of its attribute from being ranges."""


@dataclass(frozen=True)
class Subgroup:
    """One value of an attribute, with the requested metric."""

    value: str
    images: int
    units: int
    """Groups (lesions, patients) or images that were resampled."""
    metric: float | None
    """None where there are too few images."""
    interval: list[float] | None


@dataclass(frozen=True)
class Gap:
    """The largest difference between two subgroups that have metrics, averages over the classes of all of them."""

    best: str
    worst: str
    difference: float
    """By how much the best is better than the worst, at least 0."""
    interval: list[float]
    """[low, high], paired bootstrap: both subgroups from the same resamples."""
    simultaneous_p: float
    """Share of permutations of the attribute whose largest difference is at least as large
    (`ltmed.evaluation.permutations`); NaN where there are too few."""
    no_p: str
    """Why there is no p, or empty."""
    classes: list[str]
    """The classes that an average is over; empty for other metrics."""


@dataclass(frozen=True)
class SubgroupReport:
    """All subgroups of one attribute, in order of value."""

    attribute: str
    metric: str
    subgroups: tuple[Subgroup, ...]
    withheld: int
    """Images in subgroups with too few, or without a value."""
    left_out: list[str]
    """Classes that an average has in a subgroup but not in the gap, as another subgroup has too few images of them
    (`ltmed.evaluation.class_averages.Scores.in_common`)."""
    gap: Gap | None
    """None where fewer than two subgroups have metrics, or have no class in common."""


def categories(values: np.ndarray, attribute: str) -> np.ndarray:
    """Attribute values as subgroup names, object `[N]`; None where unknown.

    Numbers with more than `FEW_NUMBERS` distinct values become ranges: ages in years, which an attribute is by its name
    (`age`, `age_approx`, `PatientAge`) with values from 0 to 120, have the edges `AGE_EDGES`; all others are cut at
    their quartiles, whatever their range.

    Raises:
        UserError: too many distinct values that are not numbers.
    """
    text = np.array([str(value).strip() for value in values], dtype=object)
    known = ~np.isin([value.lower() for value in text], _UNKNOWN)
    distinct = set(text[known])
    if len(distinct) <= MAX_VALUES and not _numeric(text[known], distinct):
        return np.array([value if ok else None for value, ok in zip(text, known, strict=True)], dtype=object)
    try:
        numbers = np.full(len(text), np.nan)
        numbers[known] = text[known].astype(float)
    except ValueError:
        raise UserError(
            f"The attribute '{attribute}' has {len(distinct)} different values", f"Use one with at most {MAX_VALUES}."
        ) from None
    ages = _is_age(attribute) and np.nanmin(numbers) >= 0 and np.nanmax(numbers) <= 120
    # Quartiles coincide where many values are equal.
    edges = np.unique(AGE_EDGES if ages else np.nanquantile(numbers, [0, 0.25, 0.5, 0.75]))
    bins = np.searchsorted(edges, numbers, "right") - 1
    texts = _distinct_texts(edges)
    names = [f"{low} to {high}" for low, high in pairwise(texts)] + [f"{texts[-1]} or more"]
    return np.array([names[k] if ok else None for k, ok in zip(bins, known, strict=True)], dtype=object)


def _distinct_texts(numbers: np.ndarray) -> list[str]:
    """Each of some different numbers with six digits, or as many as tell them apart (dates: 20190415)."""
    texts = [[f"{number:.{digits}g}" for number in numbers] for digits in range(6, 18)]
    return next(candidate for candidate in texts if len(set(candidate)) == len(numbers))


def _is_age(attribute: str) -> bool:
    """Whether a word of the name is `age`, not only letters of it (`stage`, `dosage`), and none another unit."""
    words = {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", attribute)}
    return "age" in words and not words & _NOT_IN_YEARS


def _numeric(text: np.ndarray, distinct: set[str]) -> bool:
    """Whether values are numbers with too many distinct values to be category names."""
    if len(distinct) <= FEW_NUMBERS:
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
    metrics: Sequence[str] = ("balanced_accuracy",),
    thresholds: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    permutations: int = 200,
    seed: int = 0,
) -> list[SubgroupReport]:
    """Scores each subgroup with intervals over whole groups, and the gap between the best and the worst.

    Args:
        evaluation: predictions `[N, K]`.
        tiers: class indices of `head`, `medium` and `tail`.
        values: object `[N]` as `categories` gives them, None where unknown.
        attribute: its name, for reports.
        metrics: as `ltmed.evaluation.scalars.require_metric` takes them: `macro_f1`, or `auroc:MEL` of one class.
        thresholds: `[K]` of several labels, from validation images.
        groups: int64 `[N]`, images that are resampled together; None for single images.
        resamples: R.
        permutations: of the attribute, for the p value of the largest gap; with 0 there is none.
        seed: of resamples and permutations.

    Returns:
        one report for each metric.

    Raises:
        UserError: an unknown metric or class.
    """
    for metric in metrics:
        require_metric(metric, evaluation.classes, multilabel=evaluation.multilabel)
    scores = Scores(evaluation, tiers, thresholds)
    members = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    names = sorted({value for value in values if value is not None}, key=_order)
    masks = {name: np.array([value == name for value in values]) for name in names}
    large = [name for name in names if masks[name].sum() >= MIN_IMAGES]
    own = {metric: Quantity(metric) for metric in metrics}
    found = {name: scores(masks[name][None].astype(float), own.values()) for name in large}
    reported = {metric: [name for name in large if scores.is_reported(metric, masks[name])] for metric in metrics}
    comparisons: dict[str, _Comparison] = {}
    for metric in metrics:
        compared = tuple(name for name in reported[metric] if not np.isnan(found[name][own[metric]][0]))
        if len(compared) > 1:
            comparisons[metric] = _Comparison(compared, *scores.in_common(metric, [masks[name] for name in compared]))
    quantities = {
        name: [*own.values(), *(c.quantity for c in comparisons.values() if c.quantity is not None and name in c.names)]
        for name in large
    }
    chunks: dict[str, list[dict[Quantity, np.ndarray]]] = {name: [] for name in large}
    for weights in resample_weights(members, resamples, seed):
        for name in large:
            chunks[name].append(scores(weights * masks[name], quantities[name]))
    samples = {
        name: {quantity: np.concatenate([chunk[quantity] for chunk in chunks[name]]) for quantity in quantities[name]}
        for name in large
    }
    gaps = _gaps(scores, comparisons, masks, samples, members, permutations, seed)
    reports = []
    for metric in metrics:
        measured: dict[str, tuple[float, list[float]]] = {}
        for name in reported[metric]:
            value = float(found[name][own[metric]][0])
            interval = metric_interval(metric.partition(":")[0], samples[name][own[metric]], value)
            measured[name] = value, interval
        subgroups = tuple(
            Subgroup(
                name, int(masks[name].sum()), len(np.unique(members[masks[name]])), *measured.get(name, (None, None))
            )
            for name in names
        )  # fmt: skip
        withheld = len(values) - sum(int(masks[name].sum()) for name in reported[metric])
        left_out = comparisons[metric].left_out if metric in comparisons else []
        reports.append(SubgroupReport(attribute, metric, subgroups, withheld, left_out, gaps.get(metric)))
    return reports


@dataclass(frozen=True)
class _Comparison:
    names: tuple[str, ...]
    """Of the subgroups that have the metric."""
    quantity: Quantity | None
    """Of the classes of all of them; None where there is no such class."""
    left_out: list[str]


def _gaps(
    scores: Scores,
    comparisons: dict[str, _Comparison],
    masks: dict[str, np.ndarray],
    samples: dict[str, dict[Quantity, np.ndarray]],
    members: np.ndarray,
    permutations: int,
    seed: int,
) -> dict[str, Gap]:
    """The largest difference by metric; comparisons of the same images and strata share their permutations."""
    alike: dict[tuple[tuple[str, ...], tuple[int, ...] | None, bytes], dict[str, Quantity]] = {}
    for metric, comparison in comparisons.items():
        if (quantity := comparison.quantity) is not None:
            key = comparison.names, quantity.images_of, scores.strata(metric).tobytes()
            alike.setdefault(key, {})[metric] = quantity
    gaps: dict[str, Gap] = {}
    for (names, *_), quantities in alike.items():
        stacked = np.stack([masks[name] for name in names])
        observed = scores(stacked.astype(float), quantities.values())
        codes, permuted = _permuted(scores, list(quantities.values()), stacked, members, permutations, seed)
        for metric, quantity in quantities.items():
            sign = -1 if better(metric.partition(":")[0]) == "min" else 1
            ranked = np.argsort(sign * observed[quantity], kind="stable")
            worst, best = names[ranked[0]], names[ranked[-1]]
            difference = float(np.ptp(observed[quantity]))
            resampled = sign * (samples[best][quantity] - samples[worst][quantity])
            interval = percentile_interval(without_excess(metric, resampled, difference))
            p, reason = p_of_largest_difference(difference, permuted[quantity], codes)
            classes = [scores.classes[k] for k in quantity.classes or ()]
            gaps[metric] = Gap(best, worst, difference, interval, p, reason, classes)
    return gaps


def _permuted(
    scores: Scores, quantities: Sequence[Quantity], masks: np.ndarray, members: np.ndarray, permutations: int, seed: int
) -> tuple[np.ndarray, dict[Quantity, np.ndarray]]:
    """Permuted attributes of n images of S subgroups, `[P, n]`, and each quantity of the same images `[P, S]`."""
    # Images of no compared subgroup (unknown, few) or class take no part: they may be harder than the others.
    images = np.flatnonzero(masks.any(0) & scores.included(quantities[0]))
    strata = scores.strata(quantities[0].metric)[images]
    values_of = masks[:, images].argmax(0).astype(np.int8)
    codes = permuted_attribute(values_of, members[images], strata, permutations, seed)
    values = {quantity: np.empty((permutations, len(masks))) for quantity in quantities}
    weights = np.zeros(masks.shape)
    for number, row in enumerate(codes):
        weights[:, images] = row == np.arange(len(masks))[:, None]
        for quantity, scored in scores(weights, quantities).items():
            values[quantity][number] = scored
    return codes, values


def _order(name: str) -> tuple[int, float, str]:
    """Numbers and ranges by their first number, then names."""
    head = name.split(" ", 1)[0]
    try:
        return 0, float(head), name
    except ValueError:
        return 1, 0.0, name
