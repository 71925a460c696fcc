"""What the image files of a data set hold, read once: hashes, looks, sizes, depths, and which of them are damaged."""

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
    """What the N image files of a manifest hold."""

    digests: list[bytes | None]
    """Hash of each file; None for one that cannot be opened."""
    bad: list[tuple[int, str]]
    """(row, reason) of the images that cannot be decoded, in row order; below they are zeros."""
    looks: np.ndarray
    """uint8 `[N, SIDE, SIDE, 3]`, see `ltmed.data.audit.copies`."""
    sides: np.ndarray
    """int64 `[N, 2]`, height and width in pixels, as a viewer shows the image."""
    bits: np.ndarray
    """int64 `[N]`, of one stored value."""
    extremes: np.ndarray
    """float64 `[N, 2]`, smallest and largest stored value; NaN where values are kept as stored."""
    scaled_by: list[str]
    """What decided which values are black and white, see `ltmed.data.cache.intensity`."""


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
        intensity: what becomes of more than eight bits.
        threads: None takes one per usable core.
        advance: called with the number of images that are done since the last call.
    """
    keep_opencv_sequential()
    number = len(manifest)
    looks, sides = np.zeros((number, SIDE, SIDE, 3), np.uint8), np.zeros((number, 2), np.int64)
    found = Contents([None] * number, [], looks, sides, sides[:, 0].copy(), np.full((number, 2), np.nan), [""] * number)

    def look(row: int) -> None:
        try:
            data = (manifest.root / manifest.images[row]).read_bytes()
            found.digests[row] = hashlib.blake2b(data, digest_size=16).digest()
            image = decode(data, 4 * SIDE, intensity)
        except OSError as error:
            found.bad.append((row, f"{UNREADABLE}: {error.strerror or type(error).__name__}"))
            return
        except BadImageError as error:
            found.bad.append((row, str(error)))
            return
        looks[row], sides[row] = fitted(image.image, SIDE), (image.height, image.width)
        found.bits[row], found.scaled_by[row] = image.bits, image.scaled_by
        if image.extremes is not None:
            found.extremes[row] = image.extremes

    with silent_opencv(), ThreadPoolExecutor(threads or usable_cores()) as pool:
        for _ in pool.map(look, range(number)):
            advance(1)
    found.bad.sort()
    return found
