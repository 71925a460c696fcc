"""Report of `ltmed check` on multi-label data: positives, unknowns, co-occurrence of labels."""

from __future__ import annotations

import numpy as np

from ltmed.data.manifest import Manifest
from ltmed.data.readers._multilabel import groups_always_agree

MAX_PAIRS = 3


def columns(manifest: Manifest) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the table of labels: positives, unknowns if there are any, prevalence.

    The prevalence of a label is its share of the images where it is known.
    """
    positives, unknown = manifest.counts, np.isnan(manifest.labels).sum(axis=0)
    n_known = np.maximum(len(manifest) - unknown, 1)
    head, cells = ["label", "positive"], [[f"{count:,}" for count in positives.tolist()]]
    if unknown.any():
        head.append("unknown")
        cells.append([f"{count:,}" for count in unknown.tolist()])
    head.append("prevalence")
    cells.append([f"{share:.2%}" for share in (positives / n_known).tolist()])
    return head, cells


def describe(manifest: Manifest) -> list[str]:
    """The number of labels per image, and the most frequent pairs of labels."""
    present = manifest.labels == 1
    labels_per_image = present.sum(axis=1)
    n_unlabelled, n_multilabel = int((labels_per_image == 0).sum()), int((labels_per_image > 1).sum())
    lines = [
        f"{n_unlabelled:,} images without any label, {n_multilabel:,} with several; "
        f"{labels_per_image.mean():.2f} labels an image, "
        f"at most {labels_per_image.max(initial=0)}"
    ]
    counts = co_occurrence(manifest.labels)
    first, second = np.triu_indices(len(counts), 1)
    order = np.argsort(-counts[first, second], kind="stable")[:MAX_PAIRS]
    pairs = [
        f"{manifest.classes[first[index]]} + {manifest.classes[second[index]]} {counts[first[index], second[index]]:,}"
        for index in order.tolist()
        if counts[first[index], second[index]]
    ]
    lines += [f"most often together: {', '.join(pairs)}"] if pairs else []
    unlabelled = int(np.isnan(manifest.labels).all(axis=1).sum())
    lines += [f"! {unlabelled:,} images have no known label at all: nothing is learned from them"] if unlabelled else []
    negative = (manifest.labels == 0).sum(axis=0)
    if never_absent := [manifest.classes[k] for k in np.flatnonzero((negative == 0) & present.any(axis=0)).tolist()]:
        lines.append(
            f"! never known to be absent, so that nothing tells it from other labels: {', '.join(never_absent[:10])}"
        )
    return lines


def co_occurrence(labels: np.ndarray) -> np.ndarray:
    """Number of images that have both of two labels, int64 `[K, K]`; the diagonal has the positives.

    Args:
        labels: float `[N, K]` of 0, 1 and NaN.
    """
    present = (labels == 1).astype(np.float64)
    return np.rint(present.T @ present).astype(np.int64)


def flags_of_groups(manifest: Manifest) -> list[str]:
    """A warning if all images of every group have the same labels: they may be labels of the patient, not the image."""
    if manifest.groups is None or not groups_always_agree(manifest.labels, manifest.groups):
        return []
    unit = manifest.group_name
    return [f"! all images of every {unit} have the same labels: they may describe the {unit}, not the image"]
