"""Metrics of subgroups of the test images (age, sex, site, ...), and tests of their differences.

Letters: N images, R resamples. The images of a subgroup are those with one value of an attribute; numbers are binned
into ranges, and subgroups with few images are withheld.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ltmed.errors import UserError
from ltmed.evaluation.bootstrap import percentile_interval, resample_weights
from ltmed.evaluation.metrics import Evaluation
from ltmed.evaluation.permutations import p_of_largest_difference, permuted_attribute
from ltmed.evaluation.scalars import better, require_metric
from ltmed.evaluation.scoring import scorer_of

MIN_IMAGES = 30
"""Subgroups with fewer test images have no metrics."""
MIN_IMAGES_OF_CLASS = 5
"""The metric of a class is withheld where a subgroup has fewer images with the class, or without it."""
MAX_VALUES = 20
"""An attribute with more distinct values is refused, unless they are numbers."""
AGE_EDGES = (0, 20, 40, 60, 80)
_UNKNOWN = ("", "nan", "none", "unknown", "null")


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
    """The largest difference between two subgroups that have metrics."""

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


@dataclass(frozen=True)
class SubgroupReport:
    """All subgroups of one attribute, in order of value."""

    attribute: str
    metric: str
    subgroups: tuple[Subgroup, ...]
    withheld: int
    """Images in subgroups with too few, or without a value."""
    gap: Gap | None
    """None where fewer than two subgroups have metrics."""


def categories(values: np.ndarray, attribute: str) -> np.ndarray:
    """Attribute values as subgroup names, object `[N]`; None where unknown.

    Numbers with more than `MAX_VALUES` distinct values become ranges with the edges `AGE_EDGES` (ages) if they lie
    within 0 and 120, else quartiles.

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
    ages = np.nanmin(numbers) >= 0 and np.nanmax(numbers) <= 120
    # Quartiles coincide where many values are equal.
    edges = np.unique(AGE_EDGES if ages else np.nanquantile(numbers, [0, 0.25, 0.5, 0.75]))
    bins = np.searchsorted(edges, numbers, "right") - 1
    names = [f"{low:g} to {high:g}" for low, high in pairwise(edges)] + [f"{edges[-1]:g} or more"]
    return np.array([names[k] if ok else None for k, ok in zip(bins, known, strict=True)], dtype=object)


def _numeric(text: np.ndarray, distinct: set[str]) -> bool:
    """Whether values are numbers with too many distinct values to be category names."""
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
    scorer = _SelectedMetrics(evaluation, tiers, thresholds, metrics)
    members = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    names = sorted({value for value in values if value is not None}, key=_order)
    masks = {name: np.array([value == name for value in values]) for name in names}
    large = [name for name in names if masks[name].sum() >= MIN_IMAGES]
    scores = {name: {key: float(value[0]) for key, value in scorer(masks[name][None].astype(float)).items()}
             for name in large}  # fmt: skip
    resampled: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in large}
    for weights in resample_weights(members, resamples, seed):
        for name in large:
            resampled[name].append(scorer(weights * masks[name]))
    permuted: dict[tuple[str, ...], tuple[np.ndarray, dict[str, np.ndarray]]] = {}
    reports = []
    for metric in metrics:
        reported = [name for name in large if scorer.is_reported(metric, masks[name])]
        samples = {name: np.concatenate([chunk[metric] for chunk in resampled[name]]) for name in reported}
        subgroups = tuple(
            Subgroup(
                name, int(masks[name].sum()), len(np.unique(members[masks[name]])),
                scores[name][metric] if name in samples else None,
                percentile_interval(samples[name]) if name in samples else None,
            )
            for name in names
        )  # fmt: skip
        withheld = len(values) - sum(int(masks[name].sum()) for name in reported)
        scored = {name: scores[name][metric] for name in reported if not np.isnan(scores[name][metric])}
        gap = None
        if len(compared := tuple(scored)) > 1:
            if compared not in permuted:
                permuted[compared] = _permuted(scorer, [masks[name] for name in compared], members, permutations, seed)
            codes, values_of = permuted[compared]
            gap = _gap(metric, scored, samples, codes, values_of[metric])
        reports.append(SubgroupReport(attribute, metric, subgroups, withheld, gap))
    return reports


class _SelectedMetrics:
    """The requested metrics of weighted images: name -> `[R]`."""

    def __init__(
        self,
        evaluation: Evaluation,
        tiers: dict[str, list[int]],
        thresholds: np.ndarray | None,
        metrics: Sequence[str],
    ) -> None:
        self.scorer = scorer_of(evaluation, tiers, thresholds)
        self.class_index = {code: k for k, code in enumerate(evaluation.classes)}
        self.metrics = metrics
        self.labels = evaluation.labels.cpu().numpy()

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        scores, selected = self.scorer(weights), {}
        for metric in self.metrics:
            name, of_class, code = metric.partition(":")
            selected[metric] = scores[name][:, self.class_index[code]] if of_class else scores[name]
        return selected

    def is_reported(self, metric: str, mask: np.ndarray) -> bool:
        """Whether a subgroup has enough images with and without the class of a metric."""
        _, of_class, code = metric.partition(":")
        if not of_class:
            return True
        k, labels = self.class_index[code], self.labels[mask]
        positive = labels == k if labels.ndim == 1 else labels[:, k] == 1
        negative = labels != k if labels.ndim == 1 else labels[:, k] == 0
        return min(positive.sum(), negative.sum()) >= MIN_IMAGES_OF_CLASS


def _gap(
    metric: str, scored: dict[str, float], samples: dict[str, np.ndarray], codes: np.ndarray, permuted: np.ndarray
) -> Gap:
    """The largest difference; `codes` and `permuted` as `_permuted` gives them."""
    sign = -1 if better(metric.partition(":")[0]) == "min" else 1
    ranked = sorted(scored, key=lambda name: sign * scored[name])
    worst, best = ranked[0], ranked[-1]
    difference = sign * (scored[best] - scored[worst])
    interval = percentile_interval(sign * (samples[best] - samples[worst]))
    return Gap(best, worst, difference, interval, *p_of_largest_difference(difference, permuted, codes))


def _permuted(
    scorer: _SelectedMetrics, masks: Sequence[np.ndarray], members: np.ndarray, permutations: int, seed: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Permuted attributes of the images of S subgroups, `[P, n]`, and each metric `[P, S]` with them."""
    stacked = np.stack(masks)
    # Images of no compared subgroup (unknown, few) take no part: they may be harder than the others.
    images = np.flatnonzero(stacked.any(0))
    codes = permuted_attribute(stacked[:, images].argmax(0).astype(np.int8), members[images], permutations, seed)
    values = {metric: np.empty((permutations, len(masks))) for metric in scorer.metrics}
    weights = np.zeros(stacked.shape)
    for number, row in enumerate(codes):
        weights[:, images] = row == np.arange(len(masks))[:, None]
        for metric, scores in scorer(weights).items():
            values[metric][number] = scores
    return codes, values


def _order(name: str) -> tuple[int, float, str]:
    """Numbers and ranges by their first number, then names."""
    head = name.split(" ", 1)[0]
    try:
        return 0, float(head), name
    except ValueError:
        return 1, 0.0, name
