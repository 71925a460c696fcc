"""The report and the scorer of a split's predictions, whether its images carry one label or several."""

from __future__ import annotations

import numpy as np

from ltmed.evaluation import metrics, multilabel
from ltmed.evaluation.metrics import Evaluation, Report, WeightedScorer
from ltmed.evaluation.multilabel import MultilabelReport, MultilabelScorer


def scorer_of(
    evaluation: Evaluation, tiers: dict[str, list[int]], thresholds: np.ndarray | None = None
) -> WeightedScorer | MultilabelScorer:
    """The scorer of one kind of predictions.

    Args:
        evaluation: predictions of one split.
        tiers: class indices of `head`, `medium` and `tail`.
        thresholds: `[K]` of several labels, from validation images (`operating_points.label_thresholds`).
    """
    if not evaluation.multilabel:
        return WeightedScorer(evaluation, tiers)
    assert thresholds is not None, "decisions about several labels need thresholds"
    return MultilabelScorer(evaluation, tiers, thresholds)


def report_of(
    evaluation: Evaluation, tiers: dict[str, list[int]], thresholds: np.ndarray | None = None
) -> Report | MultilabelReport:
    """The report of one kind of predictions; arguments as for `scorer_of`.

    Raises:
        UserError: the split is empty, or the network's outputs are not finite.
    """
    if not evaluation.multilabel:
        return metrics.evaluate(evaluation, tiers)
    assert thresholds is not None, "decisions about several labels need thresholds"
    return multilabel.report(evaluation, tiers, thresholds)
