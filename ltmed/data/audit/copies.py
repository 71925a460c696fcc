"""Duplicates: equal files, and near-duplicates after compression, resizing, mirroring or rotation.

An image's thumbnail has `SIDE` x `SIDE` pixels. Two images are similar if their thumbnails differ by at most `LIMIT`
grey levels (root mean square) and at most `CONTRAST` of their standard deviation (a correlation of 0.995), in any of
the eight orientations of a square (mirrored, rotated by quarter turns). Measured on HAM10000, BCN20000, ODIR-5K and
chest radiographs: of copies compressed to JPEG of quality 40, halved, mirrored or turned, 95 to 100 % are found, of
copies of a quarter of each side 85 to 100 %; all pairs found in the data as they are show the same lesion or eye.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial import KDTree

from ltmed.data.splits.protocols import Split

SIDE = 16
LIMIT, CONTRAST = 2.5, 0.1
_FLAT = 1.0
_AXES, _SAMPLE, _CHUNK = 16, 4096, 8192


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Duplicates among N images."""

    content: np.ndarray
    """int64 `[N]`: equal numbers for equal files; -1 for unreadable files."""
    thumbnail: np.ndarray
    """int64 `[N]`: equal numbers for equal thumbnails; -1 for unreadable files and images of one colour."""
    similar: csr_array
    """bool `[L, L]`, symmetric: which of the L distinct thumbnails are similar; False on the diagonal."""

    @property
    def repeated(self) -> int:
        """Redundant files: the number of files in all sets of equal files, minus one per set."""
        readable = self.content[self.content >= 0]
        return len(readable) - len(np.unique(readable))

    def equal(self) -> list[np.ndarray]:
        """Rows of equal files, at least two in each array, in row order."""
        return [rows for rows in _members(self.content) if len(rows) > 1]

    def near_duplicates(self) -> list[np.ndarray]:
        """Rows of each image and of the similar images that are not equal files, in the order of their first row.

        An image that is in an earlier set does not start a set of its own.
        """
        members, listed, sets = _members(self.thumbnail), np.zeros(len(self.thumbnail), bool), []
        rows_of_thumbnail = {int(self.thumbnail[rows[0]]): rows for rows in members}
        for thumbnail, rows in rows_of_thumbnail.items():
            neighbours = self.similar.indices[self.similar.indptr[thumbnail] : self.similar.indptr[thumbnail + 1]]
            rows_of_set = np.sort(
                np.concatenate([rows, *(rows_of_thumbnail[neighbour] for neighbour in neighbours.tolist())])
            )
            rows_of_set = rows_of_set[np.unique(self.content[rows_of_set], return_index=True)[1]]
            if len(rows_of_set) > 1 and not listed[rows].any():
                sets.append(np.sort(rows_of_set))
            listed[rows_of_set] |= len(rows_of_set) > 1
        return sets

    def partners(self, rows: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of `rows` have a duplicate among `others`; the two are disjoint.

        Returns:
            bool `[n]` twice: has an equal file; has a similar image, but no equal file.
        """
        equal = np.isin(self.content[rows], np.setdiff1d(self.content[others], [-1]))
        has_partner = np.zeros(len(self.similar.indptr), bool)  # The last entry is that of thumbnail -1.
        has_partner[self.thumbnail[others]] = True
        has_partner[-1] = False
        has_partner[:-1] |= self.similar @ has_partner[:-1]
        return equal, has_partner[self.thumbnail[rows]] & ~equal

    def across(self, split: Split) -> tuple[int, int]:
        """Number of test images with an equal file in the training part, and of others with a similar image there."""
        equal, similar = self.partners(split.test, split.train)
        return int(equal.sum()), int(similar.sum())


def find_duplicates(digests: Sequence[bytes | None], thumbnails: np.ndarray) -> Duplicates:
    """Compares all images with each other.

    Args:
        digests: hash of each of N files; None for one that cannot be read.
        thumbnails: uint8 `[N, SIDE, SIDE, 3]`.
    """
    readable = np.array([digest is not None for digest in digests], dtype=bool)
    content, thumbnail = np.full((2, len(digests)), -1, np.int64)
    content[readable] = _numbered(np.array([digest for digest in digests if digest is not None], dtype=object))
    flat = thumbnails.reshape(len(thumbnails), SIDE * SIDE * 3)
    rows = np.flatnonzero(readable & (_deviation(flat) >= _FLAT))
    if not len(rows):
        return Duplicates(content, thumbnail, csr_array((0, 0), dtype=bool))
    as_bytes = np.ascontiguousarray(flat[rows]).view(f"V{flat.shape[1]}")[:, 0]
    _, first, thumbnail[rows] = np.unique(as_bytes, return_index=True, return_inverse=True)
    first_of_pair, second_of_pair = _similar_pairs(flat[rows[first]])
    pairs = (
        np.ones(2 * len(first_of_pair), bool),
        (np.r_[first_of_pair, second_of_pair], np.r_[second_of_pair, first_of_pair]),
    )
    return Duplicates(content, thumbnail, csr_array(pairs, shape=(len(first), len(first))))


def is_uniform(thumbnails: np.ndarray) -> np.ndarray:
    """Which images are of one colour, bool `[N]`."""
    return _deviation(thumbnails.reshape(len(thumbnails), SIDE * SIDE * 3)) < _FLAT


def _similar_pairs(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of distinct thumbnails, uint8 `[L, D]`, that are similar: int64 `[P]` twice, the smaller number first.

    Candidates are found by a k-d tree, in the first principal axes of the mean over all eight orientations. Mean and
    axes are projections, so that this distance is never larger than that of the best orientation.
    """
    number, size = thumbnails.shape
    sample = _symmetric(thumbnails[np.linspace(0, number - 1, min(number, _SAMPLE)).astype(int)])
    axes = np.linalg.eigh(np.cov(sample.T, ddof=0))[1][:, -_AXES:].astype(np.float32)
    limits = np.minimum(LIMIT, CONTRAST * _deviation(thumbnails))
    projections = np.concatenate([_symmetric(part) @ axes for part in _chunks(thumbnails)])
    tree, keys = KDTree(projections), [np.zeros(0, np.int64)]
    for start in range(0, number, _CHUNK):
        part = slice(start, start + _CHUNK)
        neighbours = tree.query_ball_point(projections[part], limits[part] * np.sqrt(size) * 1.001 + 0.01)
        first = np.repeat(np.arange(start, start + len(neighbours)), [len(indices) for indices in neighbours])
        second = np.concatenate([np.array(indices, np.int64) for indices in neighbours])
        first, second = first[first < second], second[first < second]
        for begin in range(0, len(first), _CHUNK):
            a, b = first[begin : begin + _CHUNK], second[begin : begin + _CHUNK]
            is_similar = _distance(thumbnails[a], thumbnails[b]) <= np.minimum(limits[a], limits[b])
            keys.append(a[is_similar] * number + b[is_similar])
    return np.divmod(np.unique(np.concatenate(keys)), number)


def _symmetric(thumbnails: np.ndarray) -> np.ndarray:
    """The mean of each thumbnail over all eight orientations, float32 `[n, D]`."""
    orientations = sum(
        orientation.astype(np.float32) for orientation in _orientations(thumbnails.reshape(-1, SIDE, SIDE, 3))
    )
    return np.reshape(orientations, thumbnails.shape) / np.float32(8)


def _distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Root mean square difference of thumbnails in their best orientation, `[n]`."""
    reference = second.reshape(-1, SIDE, SIDE, 3).astype(np.float32)
    squares = [
        ((orientation - reference) ** 2).mean((1, 2, 3))
        for orientation in _orientations(first.reshape(-1, SIDE, SIDE, 3))
    ]
    return np.sqrt(np.min(squares, axis=0))


def _orientations(squares: np.ndarray) -> list[np.ndarray]:
    """The eight orientations of squares, [n, S, S, 3] each."""
    return [np.rot90(side, turns, (1, 2)) for side in (squares, squares[:, :, ::-1]) for turns in range(4)]


def _deviation(thumbnails: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [np.zeros(0, np.float32), *(part.std(axis=1, dtype=np.float32) for part in _chunks(thumbnails))]
    )


def _chunks(thumbnails: np.ndarray) -> list[np.ndarray]:
    return [thumbnails[start : start + _CHUNK] for start in range(0, len(thumbnails), _CHUNK)]


def _numbered(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1] if len(values) else np.zeros(0, np.int64)


def _members(numbers: np.ndarray) -> list[np.ndarray]:
    """Rows of each number but -1, in the order of their first rows."""
    rows = np.argsort(numbers, kind="stable")
    rows = rows[np.searchsorted(numbers[rows], 0) :]
    if not len(rows):
        return []
    parts = np.split(rows, np.flatnonzero(np.diff(numbers[rows])) + 1)
    return sorted(parts, key=lambda part: int(part[0]))
