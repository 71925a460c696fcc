"""Whether a split has images of every class: what cannot be learned is refused, what cannot be measured is reported."""

from __future__ import annotations

import warnings

import numpy as np

from ltmed.data.manifest import Manifest
from ltmed.data.splits.protocols import Split
from ltmed.errors import UserError

_SHOWN = 10


def warn_of_unseen_classes(split: Split, manifest: Manifest) -> None:
    """Warns where a validation part lacks a class: the best epoch is chosen without it.

    Also of labels that nobody can learn, which a multi-label data set may have, see `require_training_images`.
    """
    untrained = np.flatnonzero(split.counts(manifest)["train"] == 0)
    if len(untrained) and manifest.multilabel:
        warnings.warn(
            f"{len(untrained):,} of {len(manifest.classes):,} labels have no positive training image "
            f"({_first(manifest, untrained)}): losses and metrics leave them out",
            stacklevel=2,
        )
    absent = split.absent(manifest, "val")
    if len(absent) and len(split.val):
        trained = int((split.counts(manifest)["train"] > 0).sum())
        warnings.warn(
            f"{len(absent):,} of {trained:,} classes have no validation image ({_first(manifest, absent)}): the "
            "validation metrics, and the checkpoint that they choose, do not depend on them",
            stacklevel=2,
        )


def require_training_images(split: Split, manifest: Manifest) -> None:
    """Makes sure that every class can be learned; of several labels per image at least one.

    Raises:
        UserError: naming the classes that have no training image.
    """
    missing = np.flatnonzero(split.counts(manifest)["train"] == 0)
    if len(missing) and not (manifest.multilabel and len(missing) < len(manifest.classes)):
        named = ", ".join(f"{manifest.classes[index]} ({manifest.counts[index]} in all)" for index in missing)
        raise UserError(
            f"split={split.name} of {manifest.name} has no training image of class {named}",
            "Check the data set folder, or hold out fewer images (split.test, split.val).",
        )


def _first(manifest: Manifest, classes: np.ndarray) -> str:
    """The codes of some classes, cut to fit into a message."""
    more = f" and {len(classes) - _SHOWN:,} more" if len(classes) > _SHOWN else ""
    return ", ".join(manifest.classes[index] for index in classes[:_SHOWN]) + more
