"""Names of metrics, and which way each is better. Imports nothing slow: commands check their options with them."""

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


def require_metric(metric: str, classes: Sequence[str], *, multilabel: bool) -> None:
    """Checks the name of a single number (`macro_f1`), or of a number of one class (`auroc:MEL`).

    Args:
        metric: the name.
        classes: K codes.
        multilabel: whether images carry several labels.

    Raises:
        UserError: there is no such number, or no such class.
    """
    name, of_class, code = metric.partition(":")
    known = PER_LABEL if multilabel else PER_CLASS
    if not of_class:
        if name not in scalars_of(multilabel):
            among = [*scalars_of(multilabel), *(f"{each}:{classes[0]}" for each in known)]
            raise UserError(f"There is no metric '{metric}'", suggest(metric, among))
    elif name not in known:
        raise UserError(f"'{metric}': no class has a number '{name}'", suggest(name, known))
    elif code not in classes:
        raise UserError(f"'{metric}': the run has no class '{code}'", suggest(code, classes))


def better(metric: str) -> str:
    """`min` for a metric of which less is better, else `max`: how a checkpoint is chosen by it."""
    return "min" if metric in _LOWER_IS_BETTER else "max"
