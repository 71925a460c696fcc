"""Calibration of probabilities: temperature and Platt scaling, and measures of the calibration error.

Scalings are fitted on validation predictions and applied to test predictions. Letters: N images, K classes or labels.
A softmax is invariant to a constant added to all logits, so log probabilities serve as logits throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import optimize, special

from ltmed.errors import UserError
from ltmed.evaluation.bootstrap import metric_interval, resample_weights
from ltmed.evaluation.metrics import ECE_BINS

MIN_POSITIVES = 20
"""Labels with fewer positive (or negative) validation images share one fitted scaling."""
TINY = 1e-12
"""Probabilities of labels are clipped to [TINY, 1 - TINY] before their logit, and of classes to [TINY, 1] in scores."""
_SMALLEST = float(np.finfo(np.float32).smallest_subnormal)
"""The smallest float32 above 0, about 1e-45: to what log probabilities of a softmax are cut where they serve as logits.
Networks that are overconfident reach it, and a cut at `TINY` would bound their logits' differences to 28."""
_LARGEST_LOG_TEMPERATURE = 5.0


@dataclass(frozen=True)
class Quality:
    """Calibration of probabilities; lower is better in every metric."""

    ece: float
    """Expected calibration error of the top class, 0..1 (Guo et al. 2017, Eq. 3)."""
    classwise_ece: float
    """Mean over the classes of the calibration error of that class's probability (Kull et al. 2019, Eq. 3)."""
    brier: float
    """Mean squared distance of the probabilities from the one-hot label, 0..2 (Brier 1950)."""
    nll: float
    """Mean negative log likelihood of the label, in nats."""


def quality(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> Quality:
    """Scores probabilities `[N, K]` against labels int64 `[N]`; `weights` `[N]` is how often each image counts."""
    weights = np.ones(len(labels)) if weights is None else weights
    return Quality(**{name: float(values[0]) for name, values in _scores(probabilities, labels, weights[None]).items()})


def quality_intervals(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Name of each metric of `Quality` -> its 95 % interval (`metric_interval`), over resamples of whole groups.

    Args:
        probabilities: `[N, K]`.
        labels: int64 `[N]`.
        groups: int64 `[N]`, images that are resampled together; None resamples single images.
        resamples: R.
        seed: of the resamples.
    """
    members = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    chunks = [_scores(probabilities, labels, weights) for weights in resample_weights(members, resamples, seed)]
    values = asdict(quality(probabilities, labels))
    return {
        name: metric_interval(name, np.concatenate([chunk[name] for chunk in chunks]), values[name])
        for name in chunks[0]
    }


def class_gaps(probabilities: np.ndarray, labels: np.ndarray, columns: Sequence[int] | None = None) -> float:
    """Calibration error of the probabilities of some classes taken together (all, if None): 0..1.

    Each pair of an image and a class is one event: the class's probability, and whether it is the image's.
    """
    selected = np.arange(probabilities.shape[1]) if columns is None else np.asarray(columns)
    hits = labels[:, None] == selected[None]
    return float(_binned_gap(probabilities[:, selected].ravel(), hits.ravel(), np.ones((1, hits.size)))[0])


def _scores(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of `Quality` for R weightings of the images, `[R, N]`: each `[R]`."""
    probabilities = probabilities.astype(np.float64)
    classes, total = probabilities.shape[1], weights.sum(1)
    one_hot = np.eye(classes)[labels]
    label_probabilities = np.clip(probabilities[np.arange(len(labels)), labels], TINY, 1)
    per_class = [_binned_gap(probabilities[:, k], one_hot[:, k], weights) for k in range(classes)]
    return {
        "ece": _binned_gap(probabilities.max(1), probabilities.argmax(1) == labels, weights),
        "classwise_ece": np.mean(per_class, axis=0),
        "brier": weights @ ((probabilities - one_hot) ** 2).sum(1) / total,
        "nll": weights @ -np.log(label_probabilities) / total,
    }


def _binned_gap(confidence: np.ndarray, hits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum over equal-width bins [a, b) of |weighted hits - weighted confidence|, over the total weight: `[R]`."""
    bins = np.floor(np.clip(confidence, 0, 1) * ECE_BINS).astype(int)
    gaps = np.zeros((len(confidence), ECE_BINS + 1))
    gaps[np.arange(len(confidence)), bins] = hits.astype(float) - confidence
    return np.abs(weights @ gaps).sum(1) / weights.sum(1)


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The T > 0 that minimises the negative log likelihood of softmax(z / T) (Guo et al. 2017, section 4.2).

    Args:
        probabilities: `[N, K]` of the validation images.
        labels: int64 `[N]`.

    Returns:
        T; above 1 where the network is overconfident. The loss is convex in 1/T, so the minimum is unique; T is
        bounded to [exp(-5), exp(5)], a limit that is reached if all predictions are right (or all wrong).

    Raises:
        UserError: there are no images.
    """
    if not len(labels):
        raise UserError("A temperature cannot be fitted without validation images", "Choose a split with some.")
    logits = _log(probabilities)
    label_logits = logits[np.arange(len(labels)), labels]

    def loss(log_temperature: float) -> float:
        beta = np.exp(-log_temperature)
        return float((special.logsumexp(beta * logits, axis=1) - beta * label_logits).mean())

    bounds = (-_LARGEST_LOG_TEMPERATURE, _LARGEST_LOG_TEMPERATURE)
    optimum: Any = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(optimum.x))


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log p / T), `[N, K]`; keeps the order of the classes."""
    return special.softmax(_log(probabilities) / temperature, axis=1)


def _log(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.clip(probabilities.astype(np.float64), _SMALLEST, 1))


@dataclass(frozen=True)
class Platt:
    """sigmoid(slope * logit + offset) per label (Platt 1999)."""

    slope: np.ndarray
    """float64 `[K]`."""
    offset: np.ndarray
    """float64 `[K]`."""
    pooled: tuple[int, ...]
    """Labels with too few validation images for their own scaling: they share one."""
    reversed: tuple[int, ...] = ()
    """Labels whose validation images without the label have the larger logits: slope 1, and only the offset is fitted,
    since a negative slope would reverse the ranking of the images."""

    @classmethod
    def from_dict(cls, plain: Mapping[str, Mapping[str, float]], classes: Sequence[str]) -> Platt:
        """From {label: {slope, offset}}, which does not record the pooled labels."""
        slope, offset = (np.array([plain[code][name] for code in classes]) for name in ("slope", "offset"))
        return cls(slope, offset, ())

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """Calibrated probabilities `[N, K]`."""
        return special.expit(self.slope * _logits(probabilities) + self.offset)


def fit_platt(probabilities: np.ndarray, targets: np.ndarray) -> Platt:
    """Fits a scaling per label of sigmoid networks, with Platt's smoothed targets; NaN targets are ignored.

    Args:
        probabilities: `[N, K]` of the validation images.
        targets: `[N, K]` in {0, 1, NaN}.
    """
    known = ~np.isnan(targets)
    positives, negatives = np.nansum(targets, axis=0), (known & (targets == 0)).sum(0)
    pooled = np.flatnonzero(np.minimum(positives, negatives) < MIN_POSITIVES)
    scores = _logits(probabilities)
    slope, offset = np.ones(targets.shape[1]), np.zeros(targets.shape[1])
    reversed_labels: list[int] = []
    single = [np.array([k]) for k in range(targets.shape[1]) if k not in pooled]
    for columns in [*single, *([pooled] if len(pooled) else [])]:
        is_known = known[:, columns]
        logits, truth = scores[:, columns][is_known], targets[:, columns][is_known]
        slope[columns], offset[columns] = _platt_of(logits, truth)
        if slope[columns[0]] <= 0:
            slope[columns], offset[columns] = 1.0, _offset_of(logits, truth)
            reversed_labels += columns.tolist()
    return Platt(slope, offset, tuple(pooled.tolist()), tuple(sorted(reversed_labels)))


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """Logits in float64, where `1 - TINY` is less than 1; in float32 it is not."""
    return special.logit(np.clip(probabilities.astype(np.float64), TINY, 1 - TINY))


def _platt_of(scores: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    positives, negatives = float((targets == 1).sum()), float((targets == 0).sum())
    if not positives or not negatives:
        return 1.0, 0.0  # Without positives or negatives no fit is possible: keep the probabilities.
    smoothed = _smoothed(targets)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        z = parameters[0] * scores + parameters[1]
        gap = special.expit(z) - smoothed
        value = np.logaddexp(0, z) - smoothed * z
        return float(value.mean()), np.array([(gap * scores).mean(), gap.mean()])

    slope, offset = optimize.minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    return float(slope), float(offset)


def _offset_of(scores: np.ndarray, targets: np.ndarray) -> float:
    """The offset at a slope of 1 that gives the mean probability of Platt's targets."""
    mean = float(_smoothed(targets).mean())
    return float(optimize.brentq(lambda offset: float(special.expit(scores + offset).mean()) - mean, -60, 60))  # pyright: ignore[reportArgumentType]


def _smoothed(targets: np.ndarray) -> np.ndarray:
    """Platt's targets, inside (0, 1)."""
    positives, negatives = float((targets == 1).sum()), float((targets == 0).sum())
    return np.where(targets == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
