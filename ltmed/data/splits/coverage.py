"""Checks that a split has training images (error) and validation images (warning) of every class."""

from __future__ import annotations

import warnings

import numpy as np

from ltmed.data.manifest import Manifest
from ltmed.data.splits.protocols import Split
from ltmed.errors import UserError

_MAX_LISTED = 10


def warn_of_unseen_classes(split: Split, manifest: Manifest) -> None:
    """Warns of classes without validation images, on which checkpoint selection does not depend.

    Also warns of labels without positive training images in multi-label data, see `require_training_images`.
    """
    untrained = np.flatnonzero(split.counts(manifest)["train"] == 0)
    if len(untrained) and manifest.multilabel:
        warnings.warn(
            f"{len(untrained):,} of {len(manifest.classes):,} labels have no positive training image "
            f"({_listed(manifest, untrained)}): losses and metrics exclude them",
            stacklevel=2,
        )
    absent = split.absent(manifest, "val")
    if len(absent) and len(split.val):
        trained = int((split.counts(manifest)["train"] > 0).sum())
        warnings.warn(
            f"{len(absent):,} of {trained:,} classes have no validation image ({_listed(manifest, absent)}): the "
            "validation metrics, and the selected checkpoint, do not depend on them",
            stacklevel=2,
        )


def require_training_images(split: Split, manifest: Manifest, unreadable: int = 0) -> None:
    """Checks that every class has training images; with several labels per image, at least one label.

    Args:
        split: of the images in use.
        manifest: the images.
        unreadable: how many were left out of the split because they cannot be decoded.

    Raises:
        UserError: naming the classes that have no training image.
    """
    missing = np.flatnonzero(split.counts(manifest)["train"] == 0)
    if len(missing) and not (manifest.multilabel and len(missing) < len(manifest.classes)):
        names = ", ".join(f"{manifest.classes[index]} ({manifest.counts[index]} in all)" for index in missing)
        without = f" without the {unreadable:,} unreadable images" if unreadable else ""
        raise UserError(
            f"split={split.name} of {manifest.name}{without} has no training image of class {names}",
            "Restore these images (dataset.on_bad_image=error lists them)."
            if unreadable
            else "Check the data set folder, or hold out fewer images (split.test, split.val).",
        )


def _listed(manifest: Manifest, classes: np.ndarray) -> str:
    """The codes of classes, truncated for a message."""
    suffix = f" and {len(classes) - _MAX_LISTED:,} more" if len(classes) > _MAX_LISTED else ""
    return ", ".join(manifest.classes[index] for index in classes[:_MAX_LISTED]) + suffix
