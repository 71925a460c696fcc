"""Smooth pictures for operations on images, and what an operation makes of them with given parameters."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ltmed.data.augment import Operation


def scene(height: int = 90, width: int = 90, seed: int = 0) -> np.ndarray:
    """Smooth blobs of all grey levels, uint8 [height, width, 3]."""
    blobs = np.random.default_rng(seed).normal(size=(height, width, 3))
    blobs = ndimage.gaussian_filter(blobs, (5, 5, 0))
    return np.clip(128 + 80 * blobs / blobs.std(), 0, 255).astype(np.uint8)


IMAGE, WIDE = scene(), scene(70, 110, 1)
NOISE = np.random.default_rng(2).integers(0, 256, (41, 52, 3), dtype=np.uint8)


def applied(operation: Operation, image: np.ndarray, drawn) -> np.ndarray:
    out = np.full_like(image, 77)
    operation.apply(image, drawn, out)
    return out
