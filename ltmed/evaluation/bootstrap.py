"""Bootstrap intervals over test images, or over whole groups of them (Efron and Tibshirani 1993).

A resample is a row of integer weights: how often each image was sampled. Every metric is computed from the weights of
many resamples at once, so no resampled prediction is ever copied. Where groups are known (images of one lesion or
one patient are correlated), whole groups are resampled: intervals over images would be too narrow (Field and Welsh
2007, "Bootstrapping clustered data"). Letters: N images, K classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ltmed.evaluation.metrics import Evaluation
from ltmed.evaluation.scalars import CALIBRATION_ERRORS
from ltmed.evaluation.scoring import scorer_of
from ltmed.utils.seeding import derive

CHUNK_VALUES = 2**21
"""Weights in memory at once (16 MiB of float64, about a CPU's cache), independent of N and R."""


@dataclass(frozen=True)
class Intervals:
    """Intervals of each metric (`metric_interval`) over resamples of the test images; plain Python values."""

    scalars: dict[str, list[float]]
    """Metric name (as in `Report.scalars`) -> [low, high]; NaN where no resample defines the metric."""
    per_class: list[dict[str, list[float]]]
    """K rows: precision, recall, f1, auroc (of several labels: `ltmed.evaluation.scalars.PER_LABEL`) -> [low, high]."""
    resamples: int
    level: float
    """Nominal coverage, 0..1."""
    unit: str
    """The resampled unit: "image", or what a group is ("lesion", "patient")."""
    units: int
    """Number of units in the split."""
    seed: int


def bootstrap(
    evaluation: Evaluation,
    tiers: dict[str, list[int]],
    *,
    thresholds: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    unit: str = "image",
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Intervals:
    """Intervals of every number of a report (`ltmed.evaluation.scoring.report_of`); no stratification.

    A class without images in a resample is excluded from that resample's averages, as in a report, and the interval
    of its own metrics is over the resamples that contain it. The result depends on the predictions, the groups and the
    seed only.

    Args:
        evaluation: predictions `[N, K]` of one split.
        tiers: class indices of `head`, `medium` and `tail`.
        thresholds: `[K]` of several labels, from validation images.
        groups: int64 `[N]`, the group of each row of the evaluation; None resamples single images.
        unit: name of the resampled unit, for reports.
        resamples: R.
        level: coverage, inside (0, 1).
        seed: of the resamples.
    """
    scorer = scorer_of(evaluation, tiers, thresholds)
    images = len(evaluation.labels)
    members = np.arange(images) if groups is None else np.unique(groups, return_inverse=True)[1]
    chunks = [scorer(weights) for weights in resample_weights(members, resamples, seed)]
    resampled = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    values = scorer(np.ones((1, images)))
    return Intervals(
        scalars={
            name: metric_interval(name, column, values[name][0], level)
            for name, column in resampled.items()
            if column.ndim == 1
        },
        per_class=[
            {name: metric_interval(name, resampled[name][:, k], values[name][0, k], level) for name in scorer.per_class}
            for k in range(len(evaluation.classes))
        ],
        resamples=resamples,
        level=level,
        unit=unit,
        units=int(members.max()) + 1,
        seed=seed,
    )


def resample_weights(members: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yields the weights of all resamples, in chunks of rows, float64 `[r, N]` holding whole numbers.

    Args:
        members: int64 `[N]`, the unit (0..G-1) that each image belongs to; a resample has G units, sampled with
            replacement.
        resamples: R, the sum of the chunks' lengths.
        seed: of the resamples, which do not depend on the size of the chunks.
    """
    generator = np.random.default_rng(derive("bootstrap", seed))
    units = int(members.max()) + 1
    rows = max(1, CHUNK_VALUES // len(members))
    for start in range(0, resamples, rows):
        weights = np.empty((min(rows, resamples - start), len(members)))
        for row in weights:
            row[:] = np.bincount(generator.integers(0, units, units), minlength=units)[members]
        yield weights


def metric_interval(metric: str, resampled: np.ndarray, value: float, level: float = 0.95) -> list[float]:
    """[low, high] of one metric: the percentile interval of `without_excess`, at least 0 for a calibration error.

    Args:
        metric: its name, without a class.
        resampled: its values in the resamples, float64 `[R]`, NaN where undefined.
        value: of the metric for the images themselves.
        level: coverage, inside (0, 1).
    """
    interval = percentile_interval(without_excess(metric, resampled, value), level)
    return np.maximum(interval, 0).tolist() if metric in CALIBRATION_ERRORS else interval


def without_excess(metric: str, resampled: np.ndarray, value: float) -> np.ndarray:
    """Resamples `[R]` of a metric, or of a difference of it; those of calibration errors have `value` as their mean.

    A calibration error is a mean of absolute differences. Resampling adds noise to each of them, so that the resamples
    exceed the value on average, and nearly all of them may (Efron and Tibshirani 1993, chapter 10).

    Args:
        metric: its name (`ece:MEL` for that of one label).
        resampled: float64 `[R]`, NaN where undefined.
        value: the metric, or the difference, of the images themselves.
    """
    if metric.partition(":")[0] not in CALIBRATION_ERRORS or np.isnan(resampled).all():
        return resampled
    return resampled - (np.nanmean(resampled) - value)


def percentile_interval(values: np.ndarray, level: float = 0.95) -> list[float]:
    """[low, high] of the resamples' values `[R]` that are defined, NaN where none is."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return [float("nan"), float("nan")]
    return np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]).tolist()
