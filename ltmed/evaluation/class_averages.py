"""Metrics averaged over chosen classes, so that subgroups of images are compared over the same ones.

A report averages over the classes that occur. Of two subgroups the one without a hard class then has the better
average, although a model may be equally good on both. Letters: N images, K classes, R weightings, S subgroups.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ltmed.evaluation.metrics import Evaluation
from ltmed.evaluation.scalars import AVERAGES
from ltmed.evaluation.scoring import scorer_of

MIN_IMAGES_OF_CLASS = 5
"""Subgroups are not compared by a class of which one of them has fewer images, or fewer without it."""


@dataclass(frozen=True)
class Quantity:
    """A metric, or a metric with a choice of the classes that it averages over."""

    metric: str
    """As `ltmed.evaluation.scalars.require_metric` takes it: `macro_f1`, or `auroc:MEL` of one class."""
    classes: tuple[int, ...] | None = None
    """Average over exactly these, undefined where one is absent; None: the metric's own, without absent ones."""
    images_of: tuple[int, ...] | None = None
    """Only images of these classes are scored; None: all."""


class Scores:
    """Quantities of weighted images.

    Args:
        evaluation: predictions `[N, K]`.
        tiers: class indices of `head`, `medium` and `tail`.
        thresholds: `[K]` of several labels, from validation images.
    """

    def __init__(self, evaluation: Evaluation, tiers: dict[str, list[int]], thresholds: np.ndarray | None) -> None:
        self.scorer = scorer_of(evaluation, tiers, thresholds)
        self.classes, self.tiers, self.multilabel = evaluation.classes, tiers, evaluation.multilabel
        labels = evaluation.labels.cpu().numpy()
        one_hot = labels if self.multilabel else labels[:, None] == np.arange(len(self.classes))
        self.positive, self.negative = one_hot == 1, one_hot == 0

    def __call__(self, weights: np.ndarray, quantities: Iterable[Quantity]) -> dict[Quantity, np.ndarray]:
        """Each quantity `[R]` of weights `[R, N]`, NaN where undefined."""
        found: dict[Quantity, np.ndarray] = {}
        scored: dict[tuple[int, ...] | None, dict[str, np.ndarray]] = {}
        for quantity in quantities:
            if quantity.images_of not in scored:
                scored[quantity.images_of] = self.scorer(weights * self.included(quantity))
            values = scored[quantity.images_of]
            name, of_class, code = quantity.metric.partition(":")
            if of_class:
                found[quantity] = values[name][:, self.classes.index(code)]
            elif quantity.classes is None:
                found[quantity] = values[name]
            else:
                found[quantity] = values[AVERAGES[name]][:, list(quantity.classes)].mean(1)
        return found

    def included(self, quantity: Quantity) -> np.ndarray:
        """The images that a quantity is about, bool `[N]`."""
        if quantity.images_of is None:
            return np.ones(len(self.positive), dtype=bool)
        return self.positive[:, list(quantity.images_of)].any(1)

    def strata(self, metric: str) -> np.ndarray:
        """Int64 `[N]`: the class of each image for a metric of classes, the same for all where their mix counts too.

        Of several labels there are no strata.
        """
        if self.multilabel or (":" not in metric and metric not in AVERAGES):
            return np.zeros(len(self.positive), dtype=np.int64)
        return self.positive.argmax(1)

    def is_reported(self, metric: str, mask: np.ndarray) -> bool:
        """Whether a subgroup, bool `[N]`, has enough images with and without the class of a metric."""
        _, of_class, code = metric.partition(":")
        if not of_class:
            return True
        k = self.classes.index(code)
        return min(self.positive[mask, k].sum(), self.negative[mask, k].sum()) >= MIN_IMAGES_OF_CLASS

    def in_common(self, metric: str, masks: Sequence[np.ndarray]) -> tuple[Quantity | None, list[str]]:
        """The quantity by which subgroups can be compared.

        An average is over the classes of which each subgroup has `MIN_IMAGES_OF_CLASS` images (of several labels, also
        as many without). Images of other classes do not count then: where they occur, they lower the precision of the
        common classes.

        Args:
            metric: its name.
            masks: the subgroups, S times bool `[N]`.

        Returns:
            the quantity, None if there is no common class (for areas under the ROC curve of one label per image: fewer
            than two); and the codes of the classes of the metric that are left out, without those of which no subgroup
            has an image.
        """
        name = metric.partition(":")[0]
        if metric not in AVERAGES:
            return Quantity(metric), []
        positives, negatives = (
            np.stack([side[mask].sum(0) for mask in masks]) for side in (self.positive, self.negative)
        )
        enough: np.ndarray = positives >= MIN_IMAGES_OF_CLASS
        if self.multilabel:
            enough &= negatives >= MIN_IMAGES_OF_CLASS
        common: np.ndarray = np.all(enough, axis=0)
        occurs: np.ndarray = np.any(positives, axis=0)
        averaged = self.tiers.get(name.partition("_")[0], range(len(self.classes)))
        classes = tuple(k for k in averaged if common[k])
        left_out = [self.classes[k] for k in averaged if occurs[k] and not common[k]]
        one_against_others = AVERAGES[name] == "auroc" and not self.multilabel
        if not classes or (one_against_others and common.sum() < 2):
            return None, left_out
        all_common = self.multilabel or np.array_equal(common, occurs)
        return Quantity(metric, classes, None if all_common else tuple(np.flatnonzero(common).tolist())), left_out
