"""What can be wrong with a data set before anything is trained on it: broken files, copies, overlap, confounding."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ltmed.data.build import UNREADABLE, silent_opencv
from ltmed.data.decode import BadImageError, decode_square
from ltmed.data.manifest import Manifest
from ltmed.data.readers._files import stem
from ltmed.data.threads import keep_opencv_sequential, usable_cores

_SIDE = 16


@dataclass(frozen=True)
class Contents:
    """What the image files of a manifest hold."""

    digests: dict[int, bytes]
    """Row -> hash of the file, of every file that could be read."""
    bad: list[tuple[int, str]]
    """(row, reason) of the images that cannot be decoded, in row order."""


def read_contents(
    manifest: Manifest, *, threads: int | None = None, advance: Callable[[int], None] = lambda count: None
) -> Contents:
    """Reads every image file once, hashes and decodes it.

    Args:
        manifest: N images.
        threads: None takes one per usable core.
        advance: called with the number of images that are done since the last call.
    """
    keep_opencv_sequential()
    digests: dict[int, bytes] = {}
    bad: list[tuple[int, str]] = []

    def look(row: int) -> None:
        try:
            data = (manifest.root / manifest.images[row]).read_bytes()
            digests[row] = hashlib.blake2b(data, digest_size=16).digest()
            decode_square(data, _SIDE)
        except OSError as error:
            bad.append((row, f"{UNREADABLE}: {error.strerror or type(error).__name__}"))
        except BadImageError as error:
            bad.append((row, str(error)))

    with silent_opencv(), ThreadPoolExecutor(threads or usable_cores()) as pool:
        for _ in pool.map(look, range(len(manifest))):
            advance(1)
    return Contents(digests, sorted(bad))


def duplicates(digests: dict[int, bytes]) -> list[list[int]]:
    """Rows of equal files, at least two in each list, in row order."""
    same: dict[bytes, list[int]] = defaultdict(list)
    for row in sorted(digests):
        same[digests[row]].append(row)
    return [rows for rows in same.values() if len(rows) > 1]


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
