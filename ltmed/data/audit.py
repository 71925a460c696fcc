"""What can be wrong with a data set before anything is trained on it: broken files, copies, overlap, confounding."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ltmed.data.build import UNREADABLE, silent_opencv
from ltmed.data.copies import SIDE
from ltmed.data.decode import BadImageError, decode, fitted
from ltmed.data.intensity import AUTO, Intensity
from ltmed.data.manifest import Manifest
from ltmed.data.readers._files import stem
from ltmed.data.readers._walk import EXTENSIONS, walk
from ltmed.data.threads import keep_opencv_sequential, usable_cores

IMAGE_LIKE = {*EXTENSIONS, ".jfif", ".jpe", ".gif", ".jp2", ".heic", ".avif", ".dcm", ".dicom", ".ima", ".svs", ".nii"}


@dataclass(frozen=True, eq=False)
class Contents:
    """What the N image files of a manifest hold."""

    digests: list[bytes | None]
    """Hash of each file; None for one that cannot be opened."""
    bad: list[tuple[int, str]]
    """(row, reason) of the images that cannot be decoded, in row order; below they are zeros."""
    looks: np.ndarray
    """uint8 `[N, SIDE, SIDE, 3]`, see `ltmed.data.copies`."""
    sides: np.ndarray
    """int64 `[N, 2]`, height and width in pixels, as a viewer shows the image."""
    bits: np.ndarray
    """int64 `[N]`, of one stored value."""
    extremes: np.ndarray
    """float64 `[N, 2]`, smallest and largest stored value; NaN where values are kept as stored."""
    scaled_by: list[str]
    """What decided which values are black and white, see `ltmed.data.intensity`."""


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


def unlisted(manifest: Manifest) -> tuple[Counter[str], Counter[str], str]:
    """Files below the root that no row of the manifest names, hidden ones apart.

    Returns:
        By extension in lower case how many look like images by their name, and how many others; the first of the
        images, or "".
    """
    listed, images, others, first = set(manifest.images), Counter[str](), Counter[str](), ""
    for path in walk(manifest.root):
        if path not in listed:
            kind = os.path.splitext(path)[1].lower()
            if kind in IMAGE_LIKE:
                images[kind], first = images[kind] + 1, first or path
            else:
                others[kind or "without extension"] += 1
    return images, others, first


def image_id(name: str) -> str:
    """What an image is called in every data set that holds it: its stem, without ISIC 2019's `_downsampled`."""
    return stem(name).removesuffix("_downsampled")


def overlap(manifest: Manifest, names: Iterable[str]) -> np.ndarray:
    """Rows of the images that are in `names` too, by `image_id`; int64 `[n]`, sorted."""
    known = {image_id(name) for name in names}
    return np.array([row for row, image in enumerate(manifest.images) if image_id(image) in known], dtype=np.int64)


def confounding(manifest: Manifest) -> tuple[tuple[str, ...], np.ndarray, float] | None:
    """How classes and sources go together.

    Returns:
        None without sources, else the S sources, the images int64 `[K, S]` of each class from each source, and
        Cramer's V of that table in [0, 1]: 0, the source says nothing about the class; 1, it says everything that it
        can. 0 if there is but one class or one source.
    """
    if manifest.sources is None:
        return None
    names, source = np.unique(manifest.sources, return_inverse=True)
    table = np.zeros((len(manifest.classes), len(names)), dtype=np.int64)
    np.add.at(table, (manifest.labels, source), 1)
    present = table[table.sum(1) > 0]
    least = min(present.shape) - 1
    if least < 1:
        return tuple(names.tolist()), table, 0.0
    expected = np.outer(present.sum(1), present.sum(0)) / present.sum()
    chi_squared = ((present - expected) ** 2 / expected).sum()
    return tuple(names.tolist()), table, float(np.sqrt(chi_squared / present.sum() / least))


def compare_counts(manifest: Manifest, known: tuple[int, ...]) -> np.ndarray:
    """Images per class minus the published ones, int64 `[K]`.

    Published numbers are of the training part of some data sets and of everything of others; whichever is closer is
    compared.
    """
    published = np.array(known)
    candidates = [manifest.counts]
    if manifest.parts is not None:
        candidates.append(np.bincount(manifest.labels[manifest.parts == "train"], minlength=len(known)))
    return min((counts - published for counts in candidates), key=lambda difference: np.abs(difference).sum())
