"""Multi-label metrics with bootstrap intervals over patients, against a loop over scikit-learn."""

from __future__ import annotations

import time

import numpy as np
import torch
from sklearn import metrics as sk

from ltmed.evaluation.bootstrap import bootstrap, resample_weights
from ltmed.evaluation.metrics import Evaluation
from ltmed.evaluation.operating_points import label_thresholds

SIZES = ((25_596, 14), (50_000, 40))
RESAMPLES = 1000


def make(images: int, labels: int) -> tuple[Evaluation, np.ndarray]:
    """Predictions of a long tail of labels (prevalence 18 % to 0.2 %), and patients with about 4 images each."""
    rng = np.random.default_rng(0)
    targets = (rng.random((images, labels)) < np.geomspace(0.18, 0.002, labels)).astype(np.float32)
    scores = 1 / (1 + np.exp(3 - rng.normal(size=targets.shape) - targets))
    classes = tuple(f"label{k}" for k in range(labels))
    made = Evaluation(torch.from_numpy(scores).float(), torch.from_numpy(targets), torch.arange(images), classes)
    return made, rng.integers(0, images // 4, images)


def main(rounds: int = 5) -> None:
    """Prints the processor seconds of all numbers with 1,000 resamples, and how long scikit-learn's loop would take."""
    for images, labels in SIZES:
        evaluation, groups = make(images, labels)
        tiers = {"head": [0], "medium": list(range(1, labels - 1)), "tail": [labels - 1]}
        thresholds = label_thresholds(evaluation)
        started = time.process_time()
        bootstrap(evaluation, tiers, thresholds=thresholds, groups=groups, unit="patient", resamples=RESAMPLES)
        actual = time.process_time() - started
        members = np.unique(groups, return_inverse=True)[1]
        weights = next(resample_weights(members, rounds, 0))
        targets, scores = evaluation.labels.numpy(), evaluation.probabilities.numpy()
        started = time.process_time()
        for row in weights:
            for k in range(labels):
                sk.average_precision_score(targets[:, k], scores[:, k], sample_weight=row)
                sk.roc_auc_score(targets[:, k], scores[:, k], sample_weight=row)
        reference = (time.process_time() - started) / len(weights) * RESAMPLES
        print(
            f"multi-label metrics {images:,} x {labels}, {RESAMPLES:,} resamples: ours {actual:.1f} s, a loop over "
            f"scikit-learn (AP and AUROC alone) {reference:.0f} s, ratio {reference / actual:.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
