"""What a split's predictions are worth: count metrics, ranking, calibration, per class and by class frequency.

Letters: N images, K classes. A class without images in the split is *absent*: it is named in `Report.absent`, its row
is NaN and no average includes it (images wrongly given to it still count against their true class). Every number
that is undefined is NaN, never 0, with two conventions of scikit-learn kept so that a model cannot gain by ignoring
a rare class: a present class that is never predicted has precision 0, and a constant prediction has MCC 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ltmed.errors import UserError, suggest

ECE_BINS = 15
"""Equal-width confidence bins of the calibration error (Guo et al. 2017, section 2)."""

TIER_RULE = "classes ranked by training images (ties: class order); first third head, last third tail, thirds rounded"

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

_LOWER_IS_BETTER = ("ece",)

LOWEST = {**dict.fromkeys(SCALARS, 0.0), "quadratic_kappa": -1.0, "mcc": -1.0}
"""The least that each can be; the greatest is 1 for all."""


def better(metric: str) -> str:
    """`min` for a metric of which less is better, else `max`: how a checkpoint is chosen by it."""
    return "min" if metric in _LOWER_IS_BETTER else "max"


@dataclass(frozen=True)
class Evaluation:
    """The predictions for one split, gathered from all ranks."""

    probabilities: Tensor
    """float32 `[N, K]`, rows sum to 1."""
    labels: Tensor
    """int64 `[N]`, class indices."""
    indices: Tensor
    """int64 `[N]`, rows of the manifest."""
    classes: tuple[str, ...]
    """K class codes."""


@dataclass(frozen=True)
class Report:
    """The numbers of one split; plain Python values, ready for JSON once NaN is replaced."""

    balanced_accuracy: float
    """Mean recall of the present classes, 0..1 (the same number as `macro_recall`, under the field's two names)."""
    macro_f1: float
    """Mean F1 of the present classes, 0..1."""
    macro_precision: float
    """Mean precision of the present classes, 0..1."""
    macro_recall: float
    """Mean recall of the present classes, 0..1."""
    accuracy: float
    """Share of images predicted correctly, 0..1."""
    macro_auroc: float
    """Mean one-versus-rest area under the ROC curve, on probabilities, over classes with images in and outside."""
    quadratic_kappa: float
    """Cohen's kappa with weights (i - j)^2, -1..1; it means something only where the class order does (grades)."""
    mcc: float
    """Matthews correlation of K classes (Gorodkin 2004), -1..1; NaN if the split has one class only."""
    ece: float
    """Expected calibration error of the top class, 0..1: `ECE_BINS` bins [a, b), confidence 1 in a bin of its own."""
    head_recall: float
    """Mean recall of the present head classes; NaN if there are none."""
    medium_recall: float
    """Mean recall of the present medium classes; NaN if there are none."""
    tail_recall: float
    """Mean recall of the present tail classes; NaN if there are none."""
    per_class: list[dict[str, Any]]
    """K rows: class (code), precision, recall, f1, auroc (floats), support (images in this split)."""
    absent: list[str]
    """Codes of the classes without images in this split."""
    confusion: list[list[int]]
    """K x K counts: row = true class, column = predicted class."""

    def scalars(self) -> dict[str, float]:
        """The single numbers by name, in the order of `SCALARS`."""
        return {name: getattr(self, name) for name in SCALARS}


def tiers(
    counts: Sequence[int] | np.ndarray | Tensor,
    classes: Sequence[str],
    head: Sequence[str] | None = None,
    tail: Sequence[str] | None = None,
) -> dict[str, list[int]]:
    """Sorts the classes into head, medium and tail.

    The rule (`TIER_RULE`): rank the classes by their number of training images, ties in class order; the first
    round(K/3) are head, the last round(K/3) are tail, the rest medium. A rule on ranks rather than on counts, because
    data sets differ a hundredfold in size; 2 classes give 1/0/1, 5 give 2/1/2, 7 give 2/3/2, 198 give 66/66/66.
    A data set may list its own head and tail instead; what it does not list is medium.

    Args:
        counts: `[K]`, training images per class (of the training part only).
        classes: K class codes.
        head: codes of the head classes; either list given switches the rule off.
        tail: codes of the tail classes.

    Returns:
        `{"head": [...], "medium": [...], "tail": [...]}`, class indices in class order.

    Raises:
        UserError: a listed class is unknown or listed twice.
    """
    if head is None and tail is None:
        ranks = np.argsort(-np.asarray(counts, dtype=np.int64), kind="stable").tolist()
        third = max(1, round(len(ranks) / 3))
        first, last = ranks[:third], ranks[max(third, len(ranks) - third) :]
    else:
        _check_listed([*(head or ()), *(tail or ())], classes)
        first, last = ([list(classes).index(code) for code in listed or ()] for listed in (head, tail))
    rest = set(range(len(classes))) - set(first) - set(last)
    return {"head": sorted(first), "medium": sorted(rest), "tail": sorted(last)}


def _check_listed(listed: list[str], classes: Sequence[str]) -> None:
    for position, code in enumerate(listed):
        if code not in classes:
            raise UserError(f"'{code}' in the head/tail lists is not a class of the data set", suggest(code, classes))
        if code in listed[:position]:
            raise UserError(f"Class '{code}' is listed twice in the head/tail lists", "List every class once.")


def evaluate(evaluation: Evaluation, tiers: dict[str, list[int]]) -> Report:
    """Scores one split, at the end of an epoch, from the gathered predictions.

    Args:
        evaluation: predictions `[N, K]` and labels `[N]`, on any device; they are read once.
        tiers: class indices of `head`, `medium` and `tail` (see `tiers`).

    Returns:
        The report; see its fields for definitions and for what NaN means.

    Raises:
        UserError: the split is empty, or the network's outputs are not finite.
    """
    # Here, not above: torchmetrics takes seconds to import and most commands do not score anything.
    from torchmetrics.functional import classification as tm

    probabilities = evaluation.probabilities.detach().float().cpu()
    labels = evaluation.labels.cpu()
    if not len(labels):
        raise UserError("There are no images to evaluate", "Check the split: its part is empty.")
    if not bool(torch.isfinite(probabilities).all()):
        bad = int((~torch.isfinite(probabilities)).any(1).sum())
        raise UserError(
            f"The network gave NaN or infinite outputs for {bad} of {len(labels)} images",
            "Training has diverged: lower the learning rate, or train in float32 (trainer.precision=32-true).",
        )
    # Rounding may leave 1 + 1e-7, which torchmetrics would take for a logit.
    probabilities = probabilities.clamp(0, 1)
    predicted = probabilities.argmax(1)

    options: dict[str, Any] = {"num_classes": len(evaluation.classes), "validate_args": False}
    confusion = tm.multiclass_confusion_matrix(predicted, labels, **options)
    support = confusion.sum(1)
    present = support > 0
    recall, precision, f1 = (
        score(predicted, labels, average="none", **options).double().masked_fill(~present, torch.nan)
        for score in (tm.multiclass_recall, tm.multiclass_precision, tm.multiclass_f1_score)
    )
    auroc = _one_versus_rest_auroc(probabilities, labels, present)
    columns = (evaluation.classes, *(column.tolist() for column in (precision, recall, f1, auroc, support)))
    keys = ("class", "precision", "recall", "f1", "auroc", "support")
    return Report(
        balanced_accuracy=float(recall.nanmean()),
        macro_f1=float(f1.nanmean()),
        macro_precision=float(precision.nanmean()),
        macro_recall=float(recall.nanmean()),
        accuracy=float(confusion.trace() / len(labels)),
        macro_auroc=float(auroc.nanmean()),
        quadratic_kappa=float(tm.multiclass_cohen_kappa(predicted, labels, weights="quadratic", **options)),
        mcc=_matthews(predicted, labels, confusion, options),
        ece=float(tm.multiclass_calibration_error(probabilities, labels, n_bins=ECE_BINS, **options)),
        **{f"{tier}_recall": float(recall[tiers[tier]].nanmean()) for tier in ("head", "medium", "tail")},
        per_class=[dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)],
        absent=[code for code, here in zip(evaluation.classes, present.tolist(), strict=True) if not here],
        confusion=confusion.tolist(),
    )


def _one_versus_rest_auroc(probabilities: Tensor, labels: Tensor, present: Tensor) -> Tensor:
    """float64 `[K]`; NaN for classes that no image, or every image, belongs to (torchmetrics would give 0)."""
    from torchmetrics.functional import classification as tm

    auroc = torch.full((len(present),), torch.nan, dtype=torch.float64)
    scored = present.nonzero().flatten()
    if len(scored) > 1:
        members = (labels[:, None] == scored).long()
        auroc[scored] = tm.multilabel_auroc(
            probabilities[:, scored], members, num_labels=len(scored), average="none", validate_args=False
        ).double()
    return auroc


def _matthews(predicted: Tensor, labels: Tensor, confusion: Tensor, options: dict[str, Any]) -> float:
    from torchmetrics.functional import classification as tm

    if (confusion.sum(1) > 0).sum() < 2:
        return float("nan")
    # torchmetrics replaces this 0/0 by a small number of either sign when K = 2.
    if (confusion.sum(0) > 0).sum() < 2:
        return 0.0
    return float(tm.multiclass_matthews_corrcoef(predicted, labels, **options))
