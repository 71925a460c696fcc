"""Metrics of multi-label predictions: ranking, decisions and calibration of each label.

Letters: N images, K labels, R weightings of the images. Targets are 0, 1 or NaN (unknown); an unknown entry is
ignored in all metrics of its label. A label without a known positive or without a known negative is *not scored*: it is
named in `MultilabelReport.absent`, its row is NaN and no average over labels includes it. Average precision is not
interpolated: sum over distinct scores of (recall step) x precision, and areas under the ROC curve count ties half, as
in scikit-learn's `average_precision_score` and `roc_auc_score`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from ltmed.evaluation.metrics import ECE_BINS, Evaluation, mean_of_defined, require_scorable
from ltmed.evaluation.scalars import MULTILABEL_SCALARS, PER_LABEL

HALF = 0.5
"""The threshold of the metrics "at half", and of labels without a threshold from validation."""


@dataclass(frozen=True)
class MultilabelReport:
    """The numbers of one split; plain Python values, ready for JSON once NaN is replaced."""

    values: dict[str, float]
    """The single numbers, in the order of `MULTILABEL_SCALARS`.

    `macro_ap` and `macro_auroc`: means over the scored labels; `head_ap`, `medium_ap`, `tail_ap`: the former over the
    labels of a tier. `macro_f1`: mean F1 of the scored labels at the given thresholds; `micro_f1`: F1 of all known
    entries together; `..._at_half`: both at 0.5. `exact_match`: share of the images of which every known label is
    decided rightly at the given thresholds, over images with a known label. `macro_ece`: mean calibration error.
    """
    per_class: list[dict[str, Any]]
    """K rows: class (code), ap, auroc, f1, precision, recall (at the thresholds), prevalence (share of positives
    among the known), ece (floats), support (positives), unknown (images), threshold."""
    absent: list[str]
    """Codes of the labels that are not scored."""

    def scalars(self) -> dict[str, float]:
        """The single numbers by name, in the order of `MULTILABEL_SCALARS`."""
        return dict(self.values)


class MultilabelScorer:
    """All multi-label metrics for weighted images.

    Construction sorts the scores of each label once; a call takes weights `[R, N]` and returns name -> `[R]` for single
    numbers and name -> `[R, K]` for numbers of labels, like `ltmed.evaluation.metrics.WeightedScorer`; `f1_at_half` is
    of labels too. Sums over images are products of sparse matrices and the weights, so that weights are never sorted.

    Args:
        evaluation: predictions and targets `[N, K]`.
        tiers: label indices of `head`, `medium` and `tail`.
        thresholds: `[K]`; a label is predicted where its probability is at least its threshold. From other images.
    """

    per_class = PER_LABEL

    def __init__(self, evaluation: Evaluation, tiers: dict[str, list[int]], thresholds: np.ndarray) -> None:
        probabilities = evaluation.probabilities.detach().float().cpu().clamp(0, 1).numpy()
        targets = evaluation.labels.cpu().numpy()
        self.tiers, self.classes = tiers, len(evaluation.classes)
        self.known: np.ndarray = ~np.isnan(targets)
        self.positive: np.ndarray = targets == 1
        negative = self.known & ~self.positive
        counted, correct = [self.positive, negative], []
        for threshold in (thresholds, np.full(self.classes, HALF)):
            decided = probabilities >= threshold.astype(np.float32)
            counted += [self.positive & decided, negative & decided]
            correct.append(decided == self.positive)
        usable = np.any(self.known, axis=1)
        exact = usable & np.all(correct[0] | ~self.known, axis=1)
        self.counted = np.concatenate([*counted, exact[:, None], usable[:, None]], axis=1).astype(np.float64)
        columns = range(self.classes)
        self.rankings = [_Ranking(probabilities[:, k], self.positive[:, k], negative[:, k]) for k in columns]
        self.gaps = [calibration_gaps(probabilities[:, k], self.positive[:, k], self.known[:, k]) for k in columns]

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Scores R weightings of the images at once: float64 `[R, N]`, integers with a sum below 2^24."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._scores(weights)

    def _scores(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        *sums, exact = np.split(weights @ self.counted, np.arange(1, 7) * self.classes, axis=1)
        positives, negatives, hits, alarms, hits_at_half, alarms_at_half = sums
        scored = (positives > 0) & (negatives > 0)
        by_image = np.ascontiguousarray(weights.T)
        weights32 = by_image.astype(np.float32)  # Sums of integers below 2^24 are exact in float32, and twice as fast.
        areas = [ranking(weights32) for ranking in self.rankings]
        ap, auroc = (np.where(scored, np.stack(column, axis=1), np.nan) for column in zip(*areas, strict=True))
        known = positives + negatives
        ece = np.stack([np.abs(gaps @ by_image).sum(0) for gaps in self.gaps], axis=1) / known
        f1 = 2 * hits / (positives + hits + alarms)
        f1_at_half = 2 * hits_at_half / (positives + hits_at_half + alarms_at_half)
        rows = {
            "ap": ap,
            "auroc": auroc,
            "f1": f1,
            "precision": np.where(hits + alarms > 0, hits / (hits + alarms), 0),
            "recall": hits / positives,
            "prevalence": positives / known,
            "ece": ece,
            "f1_at_half": f1_at_half,
        }
        rows = {name: np.where(scored, values, np.nan) for name, values in rows.items()}
        metrics = {
            "macro_ap": mean_of_defined(ap),
            "macro_auroc": mean_of_defined(auroc),
            **{f"{tier}_ap": mean_of_defined(ap[:, self.tiers[tier]]) for tier in ("head", "medium", "tail")},
            "macro_f1": mean_of_defined(rows["f1"]),
            "micro_f1": _micro_f1(positives, hits, alarms),
            "macro_f1_at_half": mean_of_defined(rows["f1_at_half"]),
            "micro_f1_at_half": _micro_f1(positives, hits_at_half, alarms_at_half),
            "exact_match": exact[:, 0] / exact[:, 1],
            "macro_ece": mean_of_defined(rows["ece"]),
            **rows,
        }
        return {name: metrics[name] for name in (*MULTILABEL_SCALARS, *rows)}


class _Ranking:
    """Average precision and area under the ROC curve of one label, for weights by image `[N, R]`.

    With the m distinct scores of positives in falling order, everything follows from the weight of the positives at
    each of them and of the negatives at and between them: 3m + 1 sums of weights, each over some of the known images.
    """

    def __init__(self, scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> None:
        positive_rows, negative_rows = np.flatnonzero(positive), np.flatnonzero(negative)
        steps, step_of = np.unique(-scores[positive_rows], return_inverse=True)
        self.steps = m = len(steps)
        first, after = (np.searchsorted(steps, -scores[negative_rows], side) for side in ("left", "right"))
        # Row 2j is above step j (below step j - 1), row 2j + 1 at it.
        rows = np.concatenate([first + after, 2 * m + 1 + step_of])
        columns = np.concatenate([negative_rows, positive_rows])
        shape = (3 * m + 1, len(scores))
        self.sums = sparse.csr_matrix((np.ones(len(columns), np.float32), (rows, columns)), shape=shape)

    def __call__(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Average precision `[R]` and area `[R]` for integer weights; arbitrary where either side has weight 0."""
        sums, m = (self.sums @ weights).astype(np.float64), self.steps
        above = sums[: 2 * m + 1].cumsum(0)
        positives = sums[2 * m + 1 :]
        true_positives = positives.cumsum(0)
        n_positives, n_negatives = positives.sum(0), above[-1]
        predicted = true_positives + above[1::2]
        precision = np.divide(true_positives, predicted, out=np.zeros_like(true_positives), where=predicted > 0)
        lower = n_negatives - (above[: 2 * m : 2] + above[1::2]) / 2
        return (positives * precision).sum(0) / n_positives, (positives * lower).sum(0) / (n_positives * n_negatives)


def calibration_gaps(scores: np.ndarray, positive: np.ndarray, known: np.ndarray) -> sparse.csr_matrix:
    """`[bins, N]`: probability minus target of each known image, in the row of its bin [a, b) (1 in one of its own)."""
    rows = np.flatnonzero(known)
    edges = np.linspace(0, 1, ECE_BINS + 1, dtype=np.float32)
    bins = np.searchsorted(edges, scores[rows], "right") - 1
    values = scores[rows].astype(np.float64) - positive[rows]
    return sparse.csr_matrix((values, (bins, rows)), shape=(ECE_BINS + 1, len(scores)))


def _micro_f1(positives: np.ndarray, hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """F1 of all entries together, `[R]`; NaN where there is neither a positive nor an alarm."""
    return 2 * hits.sum(1) / (positives + hits + alarms).sum(1)


def report(evaluation: Evaluation, tiers: dict[str, list[int]], thresholds: np.ndarray) -> MultilabelReport:
    """Scores one split; arguments as for `MultilabelScorer`. See `MultilabelReport` for what the numbers are.

    Raises:
        UserError: the split is empty, or the network's outputs are not finite.
    """
    require_scorable(evaluation)
    scorer = MultilabelScorer(evaluation, tiers, thresholds)
    scores = {name: values[0] for name, values in scorer(np.ones((1, len(evaluation.labels)))).items()}
    support, unknown = scorer.positive.sum(0), (~scorer.known).sum(0)
    unscored = (support == 0) | (support + unknown == len(evaluation.labels))
    columns = (evaluation.classes, *(scores[name].tolist() for name in PER_LABEL), support.tolist(), unknown.tolist())
    names = ("class", *PER_LABEL, "support", "unknown", "threshold")
    rows = zip(*columns, thresholds.tolist(), strict=True)
    return MultilabelReport(
        values={name: float(scores[name]) for name in MULTILABEL_SCALARS},
        per_class=[dict(zip(names, row, strict=True)) for row in rows],
        absent=[code for code, missing in zip(evaluation.classes, unscored, strict=True) if missing],
    )
