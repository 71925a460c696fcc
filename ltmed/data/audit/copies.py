"""Which images show the same: equal files, and files that look alike after compression, resizing, mirroring, turning.

An image's look is its square of `SIDE` x `SIDE` pixels. Two images are alike if their looks differ by at most `LIMIT`
grey levels (root mean square) and at most `CONTRAST` of their standard deviation (a correlation of 0.995), in any of
the eight ways in which a square can be mirrored and turned by quarters. Measured on HAM10000, BCN20000, ODIR-5K and
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
class Copies:
    """What N images have in common."""

    content: np.ndarray
    """int64 `[N]`: equal numbers for equal files; -1 for what cannot be read."""
    look: np.ndarray
    """int64 `[N]`: equal numbers for equal looks; -1 for what cannot be read or is of one colour."""
    alike: csr_array
    """bool `[L, L]`, symmetric: which of the L different looks are alike; without the diagonal."""

    @property
    def repeated(self) -> int:
        """Files that are there already, in every set of equal files one less than there are."""
        known = self.content[self.content >= 0]
        return len(known) - len(np.unique(known))

    def equal(self) -> list[np.ndarray]:
        """Rows of equal files, at least two in each array, in row order."""
        return [rows for rows in _members(self.content) if len(rows) > 1]

    def looking_alike(self) -> list[np.ndarray]:
        """Rows of each image and of the images that are alike and no equal files, in the order of their first row.

        An image that is alike to an earlier one of a list begins no list of its own.
        """
        members, seen, found = _members(self.look), np.zeros(len(self.look), bool), []
        looks = {int(self.look[rows[0]]): rows for rows in members}
        for look, rows in looks.items():
            near = self.alike.indices[self.alike.indptr[look] : self.alike.indptr[look + 1]]
            together = np.sort(np.concatenate([rows, *(looks[other] for other in near.tolist())]))
            together = together[np.unique(self.content[together], return_index=True)[1]]
            if len(together) > 1 and not seen[rows].any():
                found.append(np.sort(together))
            seen[together] |= len(together) > 1
        return found

    def partners(self, rows: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which of `rows` have a copy among `others`, the two without a row in common.

        Returns:
            bool `[n]` twice: an equal file; an image that is alike, but no equal file.
        """
        equal = np.isin(self.content[rows], np.setdiff1d(self.content[others], [-1]))
        has = np.zeros(len(self.alike.indptr), bool)  # The last place is of look -1.
        has[self.look[others]] = True
        has[-1] = False
        has[:-1] |= self.alike @ has[:-1]
        return equal, has[self.look[rows]] & ~equal

    def across(self, split: Split) -> tuple[int, int]:
        """Test images with an equal file in the training part, and others with an image there that is alike."""
        equal, alike = self.partners(split.test, split.train)
        return int(equal.sum()), int(alike.sum())


def find_copies(digests: Sequence[bytes | None], looks: np.ndarray) -> Copies:
    """Compares all images with each other.

    Args:
        digests: hash of each of N files; None for one that cannot be read.
        looks: uint8 `[N, SIDE, SIDE, 3]`.
    """
    readable = np.array([digest is not None for digest in digests], dtype=bool)
    content, look = np.full((2, len(digests)), -1, np.int64)
    content[readable] = _numbered(np.array([digest for digest in digests if digest is not None], dtype=object))
    flat = looks.reshape(len(looks), SIDE * SIDE * 3)
    rows = np.flatnonzero(readable & (_deviation(flat) >= _FLAT))
    if not len(rows):
        return Copies(content, look, csr_array((0, 0), dtype=bool))
    whole = np.ascontiguousarray(flat[rows]).view(f"V{flat.shape[1]}")[:, 0]
    _, first, look[rows] = np.unique(whole, return_index=True, return_inverse=True)
    one, other = _alike(flat[rows[first]])
    pairs = (np.ones(2 * len(one), bool), (np.r_[one, other], np.r_[other, one]))
    return Copies(content, look, csr_array(pairs, shape=(len(first), len(first))))


def of_one_colour(looks: np.ndarray) -> np.ndarray:
    """Which images show nothing, bool `[N]`."""
    return _deviation(looks.reshape(len(looks), SIDE * SIDE * 3)) < _FLAT


def _alike(looks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of different looks, uint8 `[L, D]`, that are alike: int64 `[P]` twice, the smaller number first.

    Candidates are found by a tree, in the first principal axes of the mean of all eight ways to lay a look. That mean
    and those axes are projections, so that no two looks are further apart there than in their best way.
    """
    number, size = looks.shape
    sample = _symmetric(looks[np.linspace(0, number - 1, min(number, _SAMPLE)).astype(int)])
    axes = np.linalg.eigh(np.cov(sample.T, ddof=0))[1][:, -_AXES:].astype(np.float32)
    limits = np.minimum(LIMIT, CONTRAST * _deviation(looks))
    places = np.concatenate([_symmetric(part) @ axes for part in _chunks(looks)])
    tree, keys = KDTree(places), [np.zeros(0, np.int64)]
    for start in range(0, number, _CHUNK):
        part = slice(start, start + _CHUNK)
        near = tree.query_ball_point(places[part], limits[part] * np.sqrt(size) * 1.001 + 0.01)
        one = np.repeat(np.arange(start, start + len(near)), [len(found) for found in near])
        other = np.concatenate([np.array(found, np.int64) for found in near])
        one, other = one[one < other], other[one < other]
        for begin in range(0, len(one), _CHUNK):
            a, b = one[begin : begin + _CHUNK], other[begin : begin + _CHUNK]
            good = _apart(looks[a], looks[b]) <= np.minimum(limits[a], limits[b])
            keys.append(a[good] * number + b[good])
    return np.divmod(np.unique(np.concatenate(keys)), number)


def _symmetric(looks: np.ndarray) -> np.ndarray:
    """The mean of all eight ways to lay each look, float32 `[n, D]`."""
    ways = sum(way.astype(np.float32) for way in _ways(looks.reshape(-1, SIDE, SIDE, 3)))
    return np.reshape(ways, looks.shape) / np.float32(8)


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Root mean square difference of looks, in their best way to be laid, `[n]`."""
    two = other.reshape(-1, SIDE, SIDE, 3).astype(np.float32)
    squares = [((way - two) ** 2).mean((1, 2, 3)) for way in _ways(one.reshape(-1, SIDE, SIDE, 3))]
    return np.sqrt(np.min(squares, axis=0))


def _ways(squares: np.ndarray) -> list[np.ndarray]:
    """The eight ways to lay squares, [n, S, S, 3] each."""
    return [np.rot90(side, turns, (1, 2)) for side in (squares, squares[:, :, ::-1]) for turns in range(4)]


def _deviation(looks: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.float32), *(part.std(axis=1, dtype=np.float32) for part in _chunks(looks))])


def _chunks(looks: np.ndarray) -> list[np.ndarray]:
    return [looks[start : start + _CHUNK] for start in range(0, len(looks), _CHUNK)]


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
