"""What `ltmed check` reports of images with several labels: positives, unknowns, and which labels occur together."""

from __future__ import annotations

import numpy as np

from ltmed.data.manifest import Manifest
from ltmed.data.readers._several import groups_always_agree

MOST_PAIRS = 3


def columns(manifest: Manifest) -> tuple[list[str], list[list[str]]]:
    """Head and cells of the columns of the table of labels: positives, unknown where there are any, prevalence.

    The prevalence of a label is its share of the images in which it is known.
    """
    positives, unknown = manifest.counts, np.isnan(manifest.labels).sum(axis=0)
    known = np.maximum(len(manifest) - unknown, 1)
    head, cells = ["label", "positive"], [[f"{count:,}" for count in positives.tolist()]]
    if unknown.any():
        head.append("unknown")
        cells.append([f"{count:,}" for count in unknown.tolist()])
    head.append("prevalence")
    cells.append([f"{share:.2%}" for share in (positives / known).tolist()])
    return head, cells


def describe(manifest: Manifest) -> list[str]:
    """How many labels images have, and the pairs of labels that occur together most often."""
    present = manifest.labels == 1
    number = present.sum(axis=1)
    none, several = int((number == 0).sum()), int((number > 1).sum())
    lines = [
        f"{none:,} images without any label, {several:,} with several; {number.mean():.2f} labels an image, "
        f"at most {number.max(initial=0)}"
    ]
    together = co_occurrence(manifest.labels)
    one, other = np.triu_indices(len(together), 1)
    order = np.argsort(-together[one, other], kind="stable")[:MOST_PAIRS]
    pairs = [
        f"{manifest.classes[one[place]]} + {manifest.classes[other[place]]} {together[one[place], other[place]]:,}"
        for place in order.tolist()
        if together[one[place], other[place]]
    ]
    lines += [f"most often together: {', '.join(pairs)}"] if pairs else []
    unlabelled = int(np.isnan(manifest.labels).all(axis=1).sum())
    lines += [f"! {unlabelled:,} images have no known label at all: nothing is learned from them"] if unlabelled else []
    negative = (manifest.labels == 0).sum(axis=0)
    if always := [manifest.classes[k] for k in np.flatnonzero((negative == 0) & present.any(axis=0)).tolist()]:
        lines.append(
            f"! never known to be absent, so that nothing tells it from other labels: {', '.join(always[:10])}"
        )
    return lines


def co_occurrence(labels: np.ndarray) -> np.ndarray:
    """Images that have both of two labels, int64 `[K, K]`; the diagonal has the positives.

    Args:
        labels: float `[N, K]` of 0, 1 and NaN.
    """
    present = (labels == 1).astype(np.float64)
    return np.rint(present.T @ present).astype(np.int64)


def flags_of_groups(manifest: Manifest) -> list[str]:
    """A warning if all images of every group have the same labels: these may be of the patient, not of the image."""
    if manifest.groups is None or not groups_always_agree(manifest.labels, manifest.groups):
        return []
    unit = manifest.group_name
    return [f"! all images of every {unit} have the same labels: they may describe the {unit}, not the image"]
