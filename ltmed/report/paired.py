"""Differences between rows on the same test images, with a paired bootstrap of images or of whole groups.

Letters: N images that a run tests, G groups of images (lesions, patients, or single images) over all divisions, K
classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from ltmed.evaluation.bootstrap import CHUNK_VALUES, percentile_interval, resample_weights, without_excess
from ltmed.evaluation.metrics import Evaluation, count_scores, mean_of_defined
from ltmed.evaluation.scoring import scorer_of
from ltmed.report.statistics import LEVEL
from ltmed.runs.division import Division
from ltmed.runs.reader import Run

if TYPE_CHECKING:
    import pandas as pd

Scorer = Callable[[np.ndarray], np.ndarray]
"""Weights `[r, G]` -> a metric, `[r]`."""

_NOT_FROM_COUNTS = ("macro_auroc", "quadratic_kappa", "ece")
"""Metrics that cannot be computed from counts of images and hits by class."""


@dataclass(frozen=True)
class PairedDifference:
    """One row less another, in a metric's own unit."""

    difference: float
    low: float
    high: float
    p: float
    """Two-sided, in [2 / (R + 1), 1]."""
    images: int
    units: int
    unit: str


class PairedBootstrap:
    """Compares rows with one reference on the divisions that both were run on.

    A row's figure is the mean over these divisions of the mean over its seeds, as in the tables. A resample draws
    groups of all their test images together, so that an image or group that several divisions test is resampled for
    all of them together; classes that a resample does not have are left out of its averages.

    Args:
        reference: its runs.
        metric: name as in metrics.json.
        resamples: R.
        seed: of the draws.
    """

    def __init__(
        self, reference: Sequence[Run], metric: str = "balanced_accuracy", *, resamples: int = 1000, seed: int = 0
    ) -> None:
        self.reference = reference
        self.metric = metric
        self.resamples = resamples
        self.seed = seed
        self._reference_scores: dict[frozenset[Division], tuple[_Images, np.ndarray]] = {}

    def __call__(self, row: Sequence[Run]) -> PairedDifference | str:
        """The difference of `row` to the reference, or why they cannot be compared."""
        shared = frozenset(run.division.tested for run in row) & {run.division.tested for run in self.reference}
        if not shared:
            return "no fold in common"
        try:
            if shared not in self._reference_scores:
                images = _Images([run for run in self.reference if run.division.tested in shared])
                self._reference_scores[shared] = images, self._scores(self.reference, images)
            images, reference_scores = self._reference_scores[shared]
            if not images.match(row):
                return "not the same test images"
            scores = self._scores(row, images)
        except FileNotFoundError:
            return "predictions.parquet is missing"
        difference, *resampled = np.round(scores - reference_scores, 12)
        resampled = np.array([value for value in resampled if not np.isnan(value)])
        if np.isnan(difference) or not len(resampled):
            return "undefined"
        resampled = without_excess(self.metric, resampled, difference)
        low, high = percentile_interval(resampled, LEVEL)
        # Resamples at zero count for both tails; one is added so that p is never 0 (Davison and Hinkley 1997, 4.2).
        tail = min(int((resampled <= 0).sum()), int((resampled >= 0).sum()))
        p = min(1.0, 2 * (tail + 1) / (len(resampled) + 1))
        return PairedDifference(float(difference), low, high, p, images.number, images.units, images.unit or "image")

    def _scores(self, runs: Iterable[Run], images: _Images) -> np.ndarray:
        """`[1 + R]`: the row's figure, then the same in each resample."""
        by_division: dict[Division, list[np.ndarray]] = {}
        for run in runs:
            part = run.division.tested
            if part in images.members:
                scores = score_resamples(run, self.metric, images.members[part], images.weights(self))
                by_division.setdefault(part, []).append(scores)
        return mean_of_defined(np.stack([mean_of_defined(np.stack(seeds, 1)) for seeds in by_division.values()], 1))


class _Images:
    """The test images of some divisions, and the groups that they are in.

    Args:
        runs: at least one of each division.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        first = {run.division.tested: run for run in reversed(runs)}
        self.unit: str | None = runs[0].metrics["split"]["group"]
        self.tested = {division: _tested(run) for division, run in first.items()}
        groups = [
            sorted_rows(run)[self.unit].to_numpy() if self.unit else self.tested[division][0]
            for division, run in first.items()
        ]
        known, members = np.unique(np.concatenate(groups), return_inverse=True)
        self.units = len(known)
        ends = np.cumsum([len(group) for group in groups])[:-1]
        self.members = dict(zip(first, np.split(members, ends), strict=True))
        self.number = len({image for images, _ in self.tested.values() for image in images})
        self._weights: np.ndarray | None = None

    def match(self, runs: Iterable[Run]) -> bool:
        """Whether each run of these divisions tests the same images, with the same labels."""
        return all(
            np.array_equal(values, expected)
            for run in runs
            if run.division.tested in self.tested
            for values, expected in zip(_tested(run), self.tested[run.division.tested], strict=True)
        )

    def weights(self, bootstrap: PairedBootstrap) -> np.ndarray:
        """uint16 `[1 + R, G]`: every group once, then its multiplicity in each resample."""
        if self._weights is None:
            resamples = (
                chunk.astype(np.uint16)
                for chunk in resample_weights(np.arange(self.units), bootstrap.resamples, bootstrap.seed)
            )
            self._weights = np.concatenate([np.ones((1, self.units), np.uint16), *resamples])
        return self._weights


def score_resamples(run: Run, metric: str, members: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A metric of one run for R weightings of the groups of its test images, float64 `[R]`; NaN where undefined.

    Args:
        run: its predictions are read.
        metric: name as in metrics.json.
        members: int64 `[N]`, the group of each test image, which are sorted by name.
        weights: whole numbers `[R, G]`.
    """
    tiers = {
        tier: [run.classes.index(code) for code in run.metrics["tiers"][tier]] for tier in ("head", "medium", "tail")
    }
    score = _image_scorer if run.multilabel or metric in _NOT_FROM_COUNTS else _count_scorer
    scorer = score(run, metric, members, tiers)
    rows = max(1, CHUNK_VALUES // weights.shape[1])
    chunks = (weights[start : start + rows].astype(np.float64) for start in range(0, len(weights), rows))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.concatenate([scorer(chunk) for chunk in chunks])


def _image_scorer(run: Run, metric: str, members: np.ndarray, tiers: dict[str, list[int]]) -> Scorer:
    rows = sorted_rows(run)
    probabilities = torch.tensor(rows[[f"prob_{code}" for code in run.classes]].to_numpy(np.float32))
    label = torch.tensor(_labels(run, rows) if run.multilabel else _indices(run, "label"))
    thresholds = np.array([run.metrics["test"]["thresholds"][code] for code in run.classes]) if run.multilabel else None
    predicted = Evaluation(probabilities, label, torch.arange(len(rows)), tuple(run.classes))
    scorer = scorer_of(predicted, tiers, thresholds)
    return lambda weights: scorer(weights[:, members])[metric]


def _count_scorer(run: Run, metric: str, members: np.ndarray, tiers: dict[str, list[int]]) -> Scorer:
    """A group contributes only sums by class, so that a resample is one row of a matrix product."""
    label, predicted = _indices(run, "label"), _indices(run, "predicted")
    groups_present, member = np.unique(members, return_inverse=True)
    groups, classes = len(groups_present), len(run.classes)

    def sums(classes_of: np.ndarray, included: np.ndarray) -> np.ndarray:
        index = (member * classes + classes_of)[included]
        return np.bincount(index, minlength=groups * classes).reshape(groups, classes)

    every, hit = np.ones(len(label), bool), label == predicted
    columns = [sums(label, every), sums(predicted, every), sums(label, hit)]
    products = np.concatenate(columns, axis=1).astype(np.float64)

    def score(weights: np.ndarray) -> np.ndarray:
        true, chosen, hits = np.split(weights[:, groups_present] @ products, 3, axis=1)
        return count_scores(true, chosen, hits, tiers)[metric]

    return score


def sorted_rows(run: Run) -> pd.DataFrame:
    """The predictions, by image."""
    return run.predictions.sort_values("image", ignore_index=True)


def _tested(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Test images, sorted, and their labels."""
    rows = sorted_rows(run)
    if run.multilabel:  # As bytes, in which an unknown label equals an unknown one.
        return rows["image"].to_numpy(), np.array([row.tobytes() for row in _labels(run, rows)], object)
    return rows["image"].to_numpy(), rows["label"].to_numpy()


def _labels(run: Run, rows: pd.DataFrame) -> np.ndarray:
    """float32 `[N, K]` of 0, 1 and NaN."""
    return rows[[f"label_{code}" for code in run.classes]].to_numpy(np.float32)


def _indices(run: Run, column: str) -> np.ndarray:
    """int64 `[N]`, class indices of each test image, sorted by name."""
    codes = np.array(run.classes)
    order = np.argsort(codes)
    return order[np.searchsorted(codes[order], sorted_rows(run)[column].to_numpy(str))]
