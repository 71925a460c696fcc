"""What every training, validation and test step receives."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """B images of one split. As loaded: uint8 `[B, H, W, 3]`; inside a step: float32 `[B, 3, H, W]`, normalised.

    `Stage.on_after_batch_transfer` makes the second out of the first on the training device, so that pixels
    stay uint8 until the end.
    """

    images: Tensor
    """First (or only) view."""
    labels: Tensor
    """int64 `[B]`, class indices."""
    indices: Tensor
    """int64 `[B]`, rows of the manifest, so that every number can be traced to an image."""
    views: Tensor | None = None
    """Second view of the same images, for methods that compare two; same shape as `images`."""
