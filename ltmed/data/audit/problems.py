"""What can be wrong with a data set before anything is trained on it: forgotten files, overlap, confounding."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

import numpy as np

from ltmed.data.manifest import Manifest, count_labels
from ltmed.data.readers._files import stem
from ltmed.data.readers._walk import EXTENSIONS

IMAGE_LIKE = {*EXTENSIONS, ".jfif", ".jpe", ".gif", ".jp2", ".heic", ".avif", ".dcm", ".dicom", ".ima", ".svs", ".nii"}


def unlisted(manifest: Manifest) -> tuple[Counter[str], Counter[str], str]:
    """Files below the root that no row of the manifest names, hidden ones apart.

    Returns:
        By extension in lower case how many look like images by their name, and how many others; the first of the
        images, or "".
    """
    listed, images, others, first = set(manifest.images), Counter[str](), Counter[str](), ""
    for folder, folders, names in os.walk(manifest.root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        prefix = os.path.relpath(folder, manifest.root).replace(os.sep, "/")
        prefix = "" if prefix == "." else f"{prefix}/"
        for name in sorted(names):
            if name.startswith(".") or prefix + name in listed:
                continue
            kind = os.path.splitext(name)[1].lower()
            if kind in IMAGE_LIKE:
                images[kind], first = images[kind] + 1, first or prefix + name
            else:
                others[kind or "without extension"] += 1
    return images, others, first.encode(errors="replace").decode()


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
        can. 0 if there is but one class or one source. Where images have several labels, V is the largest one of any
        label that is present or absent, by source.
    """
    if manifest.sources is None:
        return None
    names, source = np.unique(manifest.sources, return_inverse=True)
    table = np.zeros((len(manifest.classes), len(names)), dtype=np.int64)
    if manifest.multilabel:
        np.add.at(table.T, source, manifest.labels == 1)
        absent = np.zeros_like(table)
        np.add.at(absent.T, source, manifest.labels == 0)
        strength = max((cramers_v(np.stack(pair)) for pair in zip(table, absent, strict=True)), default=0.0)
        return tuple(names.tolist()), table, strength
    np.add.at(table, (manifest.labels, source), 1)
    return tuple(names.tolist()), table, cramers_v(table)


def cramers_v(table: np.ndarray) -> float:
    """Association of rows and columns in [0, 1]; 0 with fewer than two rows or columns that have anything.

    Args:
        table: int64 `[K, S]`, how often each pair occurs.
    """
    present = table[table.sum(1) > 0][:, table.sum(0) > 0]
    least = min(present.shape) - 1
    if least < 1:
        return 0.0
    expected = np.outer(present.sum(1), present.sum(0)) / present.sum()
    chi_squared = ((present - expected) ** 2 / expected).sum()
    return float(np.sqrt(chi_squared / present.sum() / least))


def compare_counts(manifest: Manifest, known: tuple[int, ...]) -> np.ndarray:
    """Images per class minus the published ones, int64 `[K]`.

    Published numbers are of the training part of some data sets and of everything of others; whichever is closer is
    compared.
    """
    published = np.array(known)
    candidates = [manifest.counts]
    if manifest.parts is not None:
        candidates.append(count_labels(manifest.labels[manifest.parts == "train"], len(known)))
    return min((counts - published for counts in candidates), key=lambda difference: np.abs(difference).sum())
