"""Small image files of all kinds, written by Pillow, and what they should become."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from ltmed.data.manifest import Manifest


def picture(seed: int, height: int, width: int) -> np.ndarray:
    """Smooth coloured blobs, uint8 [height, width, 3], so that JPEG keeps them well."""
    blobs = np.random.default_rng(seed).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    return cv2.resize(blobs, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image: Image.Image | np.ndarray, kind: str = "JPEG", **options) -> bytes:
    """The bytes of an image file."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 95} if kind == "JPEG" else {}) | options)
    return file.getvalue()


def upright(data: bytes) -> np.ndarray:
    """What Pillow decodes, turned as EXIF says: uint8 [h, w, 3]."""
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def squashed(data: bytes, size: int) -> np.ndarray:
    """The whole image as a square by Pillow's antialiased bilinear resize."""
    return np.asarray(Image.fromarray(upright(data)).resize((size, size), Image.Resampling.BILINEAR))


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference in grey levels."""
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def folder_of(root: Path, files: dict[str, bytes]) -> Manifest:
    """Writes the files and lists them in a manifest of two classes."""
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    labels = np.arange(len(files)) % 2
    return Manifest("toy", root, tuple(files), labels, ("a", "b"), ("A", "B"))


def jpegs(root: Path, number: int = 6, height: int = 45, width: int = 60) -> Manifest:
    """A manifest of `number` JPEG files."""
    return folder_of(root, {f"x/{i:03d}.jpg": encoded(picture(i, height, width)) for i in range(number)})
