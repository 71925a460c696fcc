"""Content of the image files of a data set, read once: hashes, thumbnails, sizes, bit depths, damaged files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ltmed.data.audit.copies import SIDE
from ltmed.data.cache.build import UNREADABLE, silent_opencv
from ltmed.data.cache.decode import BadImageError, decode, fitted
from ltmed.data.cache.intensity import AUTO, Intensity
from ltmed.data.manifest import Manifest
from ltmed.data.threads import keep_opencv_sequential, usable_cores


@dataclass(frozen=True, eq=False)
class Contents:
    """Content of the N image files of a manifest."""

    digests: list[bytes | None]
    """Hash of each file; None for one that cannot be opened."""
    bad: list[tuple[int, str]]
    """(row, reason) of the images that cannot be decoded, in row order; their entries below are zeros."""
    thumbnails: np.ndarray
    """uint8 `[N, SIDE, SIDE, 3]`, see `ltmed.data.audit.copies`."""
    sides: np.ndarray
    """int64 `[N, 2]`, height and width in pixels, as a viewer shows the image."""
    bits: np.ndarray
    """int64 `[N]`, of one stored value."""
    extremes: np.ndarray
    """float64 `[N, 2]`, smallest and largest stored value; NaN for images that are not scaled."""
    scaled_by: list[str]
    """The source of the black and white levels, see `ltmed.data.cache.intensity`."""


def read_contents(
    manifest: Manifest,
    *,
    intensity: Intensity = AUTO,
    threads: int | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Contents:
    """Reads every image file once, hashes and decodes it.

    Args:
        manifest: N images.
        intensity: scaling of images of more than eight bits.
        threads: None takes one per usable core.
        advance: called with the number of images read since the last call.
    """
    keep_opencv_sequential()
    number = len(manifest)
    thumbnails, sides = np.zeros((number, SIDE, SIDE, 3), np.uint8), np.zeros((number, 2), np.int64)
    contents = Contents(
        [None] * number, [], thumbnails, sides, sides[:, 0].copy(), np.full((number, 2), np.nan), [""] * number
    )

    def read(row: int) -> None:
        try:
            data = (manifest.root / manifest.images[row]).read_bytes()
            contents.digests[row] = hashlib.blake2b(data, digest_size=16).digest()
            image = decode(data, 4 * SIDE, intensity)
        except OSError as error:
            contents.bad.append((row, f"{UNREADABLE}: {error.strerror or type(error).__name__}"))
            return
        except BadImageError as error:
            contents.bad.append((row, str(error)))
            return
        thumbnails[row], sides[row] = fitted(image.image, SIDE), (image.height, image.width)
        contents.bits[row], contents.scaled_by[row] = image.bits, image.scaled_by
        if image.extremes is not None:
            contents.extremes[row] = image.extremes

    with silent_opencv(), ThreadPoolExecutor(threads or usable_cores()) as pool:
        for _ in pool.map(read, range(number)):
            advance(1)
    contents.bad.sort()
    return contents
