"""Names of metrics, and which way each is better. Imports nothing: commands check their options with them."""

from __future__ import annotations

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
"""Names of the single numbers of a report, in the order in which they are shown."""

PER_CLASS = ("precision", "recall", "f1", "auroc")
"""Names of the numbers of each class."""

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
"""The same where an image carries several labels (`ltmed.evaluation.multilabel`)."""

PER_LABEL = ("ap", "auroc", "f1", "precision", "recall", "prevalence", "ece")
"""Names of the numbers of each label, likewise."""

ALL_SCALARS = tuple(dict.fromkeys((*SCALARS, *MULTILABEL_SCALARS)))
"""Of runs of either kind."""

_LOWER_IS_BETTER = ("ece", "macro_ece")

LOWEST = {**dict.fromkeys(ALL_SCALARS, 0.0), "quadratic_kappa": -1.0, "mcc": -1.0}
"""The least that each can be; the greatest is 1 for all."""


def scalars_of(multilabel: bool) -> tuple[str, ...]:
    """Names of the single numbers of runs of one kind."""
    return MULTILABEL_SCALARS if multilabel else SCALARS


def better(metric: str) -> str:
    """`min` for a metric of which less is better, else `max`: how a checkpoint is chosen by it."""
    return "min" if metric in _LOWER_IS_BETTER else "max"
