"""Pictures for tests of augmentations, and how far apart two are."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

LIMIT = 1.5  # grey levels


def lesion(size: int, seed: int) -> np.ndarray:
    """A skin-like picture: shading, a blotchy dark lesion, dark hairs, sensor noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    blotches = cv2.GaussianBlur(rng.normal(size=(size, size)), (0, 0), size / 40)
    inside = np.hypot(y - 0.5 + blotches / 20, x - 0.45) < 0.25
    picture = np.array([215, 165, 140]) - 25 * y[..., None] - inside[..., None] * np.array([95, 90, 70])
    picture = picture + 40 * blotches[..., None] / np.abs(blotches).max()
    for _ in range(6):
        ends = rng.integers(0, size, 4).tolist()
        cv2.line(picture, ends[:2], ends[2:], (60.0, 45.0, 40.0), 1, cv2.LINE_AA)
    return np.clip(picture + rng.normal(scale=3, size=picture.shape), 0, 255).astype(np.uint8)


IMAGES = {
    "lesion": lesion(256, 0),
    "saturated": cv2.normalize(
        cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (256, 256, 3)).astype(np.float32), (0, 0), 4),
        np.empty(0), -60, 320, cv2.NORM_MINMAX,
    ).clip(0, 255).astype(np.uint8),
}  # fmt: skip


def difference(ours: np.ndarray, theirs: Image.Image) -> float:
    return float(np.abs(ours.astype(int) - np.asarray(theirs).astype(int)).mean())


def empty(size: int = 224) -> np.ndarray:
    return np.full((size, size, 3), 77, np.uint8)
