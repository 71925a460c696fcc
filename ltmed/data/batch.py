"""The batch that every training, validation and test step receives."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ltmed.errors import UserError


class Batch(NamedTuple):
    """B images of one split. As loaded: uint8 `[B, H, W, 3]`; inside a step: float32 `[B, 3, H, W]`, normalised.

    `Stage.on_after_batch_transfer` converts the former to the latter on the training device, so that pixels stay uint8
    until then.
    """

    images: Tensor
    """First (or only) view."""
    labels: Tensor
    """int64 `[B]`, class indices; or float32 `[B, K]` of 0, 1 and NaN (unknown) where images have several labels."""
    indices: Tensor
    """int64 `[B]`, rows of the manifest, so that every number can be traced to an image."""
    views: Tensor | None = None
    """Second view of the same images, for methods that compare two; same shape as `images`."""

    def require_views(self) -> tuple[Tensor, Tensor]:
        """Both views.

        Raises:
            UserError: the stage was given one view of each image.
        """
        if self.views is None:
            raise UserError(
                "This method compares two views of each image, and its batches have one",
                "Set method.stages.<stage>.views=2.",
            )
        return self.images, self.views


def normalise(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 `[B, H, W, 3]` -> float32 `[B, 3, H, W]`, channels last in memory: (pixels - mean) / std per channel.

    Args:
        pixels: of one view, on any device.
        mean: 3 values, in grey levels (0 to 255).
        std: likewise.
    """
    batch, height, width, channels = pixels.shape
    # Whole rows at once and in place: broadcasting 3 values does not vectorise on a CPU, and a second array of this
    # size costs more in page faults than the arithmetic.
    rows = pixels.reshape(batch, height, width * channels).float()
    rows.sub_(mean.flatten().repeat(width)).div_(std.flatten().repeat(width))
    return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)
