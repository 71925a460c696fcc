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

_LOWER_IS_BETTER = ("ece",)

LOWEST = {**dict.fromkeys(SCALARS, 0.0), "quadratic_kappa": -1.0, "mcc": -1.0}
"""The least that each can be; the greatest is 1 for all."""


def better(metric: str) -> str:
    """`min` for a metric of which less is better, else `max`: how a checkpoint is chosen by it."""
    return "min" if metric in _LOWER_IS_BETTER else "max"
