"""Label tables without images, for tests of what is done with rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ltmed.data.manifest import Manifest


def manifest_of(labels, groups=None, parts=None, folds=None, source: str = "") -> Manifest:
    """N rows named after their number; classes are c0, c1, ..."""
    labels = np.asarray(labels, dtype=np.int64)
    classes = tuple(f"c{index}" for index in range(labels.max() + 1))
    return Manifest(
        name="toy",
        root=Path("/toy"),
        images=tuple(f"images/{row:06d}.jpg" for row in range(len(labels))),
        labels=labels,
        classes=classes,
        class_names=classes,
        groups=None if groups is None else np.asarray(groups),
        group_name="lesion",
        group_source=source,
        parts=None if parts is None else np.asarray(parts),
        folds=None if folds is None else np.asarray(folds),
    )


def long_tailed(seed: int, classes: int = 5, head: int = 120, largest: int = 6) -> Manifest:
    """Lesions of 1 to `largest` images, one label each, in shuffled row order."""
    rng = np.random.default_rng(seed)
    labels, groups = [], []
    for label in range(classes):
        for _ in range(max(8, int(head * 0.5**label))):
            size = rng.choice(np.arange(1, largest + 1), p=(p := 0.5 ** np.arange(largest)) / p.sum())
            groups += [int(rng.integers(1 << 40))] * size
            labels += [label] * size
    order = rng.permutation(len(labels))
    return manifest_of(np.array(labels)[order], np.array(groups)[order])
