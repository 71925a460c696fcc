"""Names of metrics and their direction. Imports nothing slow, since commands check their options with them."""

from __future__ import annotations

from collections.abc import Sequence

from ltmed.errors import UserError, suggest

SCALARS = (
    "balanced_accuracy",
    "macro_f1",
    "macro_precision",
    "macro_recall",
    "accuracy",
    "macro_auroc",
    "quadratic_kappa",
    "mcc",
    "ece",
    "head_recall",
    "medium_recall",
    "tail_recall",
)
"""Names of the scalar metrics of a report, in display order."""

PER_CLASS = ("precision", "recall", "f1", "auroc")
"""Names of the metrics of each class."""

MULTILABEL_SCALARS = (
    "macro_ap",
    "macro_auroc",
    "head_ap",
    "medium_ap",
    "tail_ap",
    "macro_f1",
    "micro_f1",
    "macro_f1_at_half",
    "micro_f1_at_half",
    "exact_match",
    "macro_ece",
)
"""The scalar metrics of multi-label data (`ltmed.evaluation.multilabel`)."""

PER_LABEL = ("ap", "auroc", "f1", "precision", "recall", "prevalence", "ece")
"""Names of the metrics of each label of multi-label data."""

AVERAGES = {
    "balanced_accuracy": "recall",
    "macro_f1": "f1",
    "macro_precision": "precision",
    "macro_recall": "recall",
    "macro_auroc": "auroc",
    "macro_ap": "ap",
    "macro_f1_at_half": "f1_at_half",
    "macro_ece": "ece",
    **{f"{tier}_recall": "recall" for tier in ("head", "medium", "tail")},
    **{f"{tier}_ap": "ap" for tier in ("head", "medium", "tail")},
}
"""Scalar metrics that are means over classes (of a tier) -> the metric of each class."""

ALL_SCALARS = tuple(dict.fromkeys((*SCALARS, *MULTILABEL_SCALARS)))
"""Scalar metrics of both kinds of runs."""

CALIBRATION_ERRORS = ("ece", "classwise_ece", "macro_ece")
"""Means of absolute differences: resampling makes them larger (`ltmed.evaluation.bootstrap.metric_interval`)."""

_LOWER_IS_BETTER = ("ece", "macro_ece")

LOWEST = {**dict.fromkeys(ALL_SCALARS, 0.0), "quadratic_kappa": -1.0, "mcc": -1.0}
"""Lowest possible value of each metric; the highest is 1 for all."""


def scalars_of(multilabel: bool) -> tuple[str, ...]:
    """Names of the scalar metrics of runs of one kind."""
    return MULTILABEL_SCALARS if multilabel else SCALARS


def require_metric(metric: str, classes: Sequence[str], *, multilabel: bool) -> None:
    """Checks the name of a scalar metric (`macro_f1`), or of a metric of one class (`auroc:MEL`).

    Args:
        metric: the name.
        classes: K codes.
        multilabel: whether images carry several labels.

    Raises:
        UserError: there is no such metric, or no such class.
    """
    name, of_class, code = metric.partition(":")
    class_numbers = PER_LABEL if multilabel else PER_CLASS
    if not of_class:
        if name not in scalars_of(multilabel):
            valid = [*scalars_of(multilabel), *(f"{number}:{classes[0]}" for number in class_numbers)]
            raise UserError(f"There is no metric '{metric}'", suggest(metric, valid))
    elif name not in class_numbers:
        raise UserError(f"'{metric}': classes have no metric '{name}'", suggest(name, class_numbers))
    elif code not in classes:
        raise UserError(f"'{metric}': the run has no class '{code}'", suggest(code, classes))


def better(metric: str) -> str:
    """`min` for a metric of which lower is better, else `max`: the mode of checkpoint selection."""
    return "min" if metric in _LOWER_IS_BETTER else "max"
