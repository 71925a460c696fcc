"""Checks of a data set before training: unlisted files, overlap, confounding."""

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
    """Files below the root that are not in the manifest, except hidden ones.

    Returns:
        By lower-case extension, the number of files with the name of an image, and of others; the first image, or "".
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
    """The name of an image in all data sets that contain it: its stem, without ISIC 2019's `_downsampled`."""
    return stem(name).removesuffix("_downsampled")


def overlap(manifest: Manifest, names: Iterable[str]) -> np.ndarray:
    """Rows of the images that are also in `names`, by `image_id`; int64 `[n]`, sorted."""
    ids = {image_id(name) for name in names}
    return np.array([row for row, image in enumerate(manifest.images) if image_id(image) in ids], dtype=np.int64)


def confounding(manifest: Manifest) -> tuple[tuple[str, ...], np.ndarray, float] | None:
    """Association of classes and sources.

    Returns:
        None without sources, else the S sources, the images int64 `[K, S]` of each class from each source, and
        Cramer's V of that table in [0, 1]: 0, the source is independent of the class; 1, it determines the class.
        0 if there is only one class or one source. With several labels, V is the largest V of a label (present or
        absent) and source.
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
    """Association of rows and columns in [0, 1]; 0 with fewer than two non-empty rows or columns.

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


def compare_counts(manifest: Manifest, published_counts: tuple[int, ...]) -> np.ndarray:
    """Images per class minus the published ones, int64 `[K]`.

    Some data sets publish the counts of their training part, others those of all images: the closer ones are compared.
    """
    published = np.array(published_counts)
    candidates = [manifest.counts]
    if manifest.parts is not None:
        candidates.append(count_labels(manifest.labels[manifest.parts == "train"], len(published_counts)))
    return min((counts - published for counts in candidates), key=lambda difference: np.abs(difference).sum())
