"""How a cache keeps N squares of pixels in its folder: raw, or as JPEGs where raw would be too much.

Raw pixels are a file that is mapped into memory: an access costs nothing, an image 3 S^2 bytes. JPEGs (quality 95,
colour at full resolution) need a fraction of that on the disk and in the machine's file cache, and are decoded anew by
whoever accesses them; they differ from the raw pixels by a grey level or two.

N images, S the side of a square in pixels.
"""

from __future__ import annotations

import math
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ltmed.data.cache.build import Keep, write_all
from ltmed.errors import UserError

PIXELS, JPEGS, SPANS = "pixels.u8", "images.jpegs", "spans.i64"

_OPTIONS = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
_LEAST = 20


class Pixels(Protocol):
    """N squares, to be read by any number of threads at once."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, S, S, 3)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> np.ndarray:
        """The square of one row: uint8 [S, S, 3], RGB, read only; zeros for an image that cannot be read."""
        ...


class Store(ABC):
    """One way to keep the squares of an array of `shape` (N, S, S, 3)."""

    name: str
    """What run.json calls it."""
    key_part: str | None
    """What it adds to the key of a cache."""

    @abstractmethod
    def room(self, shape: tuple[int, ...]) -> int:
        """Bytes that the squares need, or at least need where that depends on the images."""

    @abstractmethod
    def writing(self, folder: Path, shape: tuple[int, ...]) -> AbstractContextManager[Keep]:
        """Gives the function that threads hand their squares to; at its end all of them are safely on the disk.

        Files are written piecewise and not through a memory map, which would end the process without a message when the
        disk is full.
        """

    @abstractmethod
    def open(self, folder: Path, shape: tuple[int, ...]) -> Pixels | None:
        """What was written, or None when a file has another size than it must have.

        Raises:
            OSError: a file cannot be read.
        """


class RawStore(Store):
    """One file of pixels."""

    name = "raw"
    key_part = None

    def room(self, shape: tuple[int, ...]) -> int:
        """3 S^2 N."""
        return math.prod(shape)

    @contextmanager
    def writing(self, folder: Path, shape: tuple[int, ...]) -> Iterator[Keep]:
        """Every square goes to its place; the places of bad images stay zeros."""
        with (folder / PIXELS).open("wb") as out:
            out.truncate(math.prod(shape))
            yield lambda row, image: write_all(out.fileno(), image.data.cast("B"), row * image.nbytes)
            os.fsync(out.fileno())

    def open(self, folder: Path, shape: tuple[int, ...]) -> np.ndarray | None:
        """A memory map, so that only what is used takes memory; as a plain array, which is quicker to index."""
        if (folder / PIXELS).stat().st_size != math.prod(shape):
            return None
        return np.memmap(folder / PIXELS, np.uint8, "r", shape=shape).view(np.ndarray)


class JpegStore(Store):
    """One file with all JPEGs, in the order in which they were made, and one with where each of them lies."""

    name = "jpeg"
    key_part = "jpeg95"

    def room(self, shape: tuple[int, ...]) -> int:
        """A lower bound for photographs, so that a disk that is too small is reported before anything is decoded."""
        return math.prod(shape) // _LEAST

    @contextmanager
    def writing(self, folder: Path, shape: tuple[int, ...]) -> Iterator[Keep]:
        """Every square is compressed by the thread that decoded it; only the place in the file is drawn in turn."""
        spans, end, turn = np.zeros((shape[0], 2), np.int64), 0, threading.Lock()
        with (folder / JPEGS).open("wb") as out:

            def keep(row: int, image: np.ndarray) -> None:
                nonlocal end
                data = to_jpeg(image)
                with turn:
                    start, end = end, end + data.size
                spans[row] = start, data.size
                write_all(out.fileno(), data.data, start)

            yield keep
            os.fsync(out.fileno())
        with (folder / SPANS).open("wb") as out:
            write_all(out.fileno(), spans.data.cast("B"), 0)
            os.fsync(out.fileno())

    def open(self, folder: Path, shape: tuple[int, ...]) -> JpegPixels | None:
        """Maps the JPEGs and reads their places (16 bytes an image)."""
        spans, size = np.fromfile(folder / SPANS, np.int64), (folder / JPEGS).stat().st_size
        if spans.size != 2 * shape[0] or spans[1::2].sum() != size:
            return None
        return JpegPixels(folder / JPEGS, spans.reshape(-1, 2), shape)


class JpegPixels:
    """Squares that are decoded at every access, in the thread that asks.

    Args:
        file: the JPEGs.
        spans: int64 [N, 2], where each one starts and how many bytes it has; 0 bytes for a bad image.
        shape: (N, S, S, 3).
    """

    def __init__(self, file: Path, spans: np.ndarray, shape: tuple[int, ...]) -> None:
        self.file, self.shape = file, shape
        self._spans = spans
        empty = not file.stat().st_size  # Nothing can be mapped then.
        self._data = np.empty(0, np.uint8) if empty else np.memmap(file, np.uint8, "r").view(np.ndarray)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, row: int, /) -> np.ndarray:
        """The square of one row.

        Raises:
            UserError: the file was damaged after it was opened or without a change of its size.
        """
        start, size = self._spans[row].tolist()
        if not size:
            image = np.zeros(self.shape[1:], np.uint8)
        else:
            image = from_jpeg(self._data[start : start + size])
            if image is None or image.shape != self.shape[1:]:
                raise UserError(
                    f"Image {row} in {self.file} is damaged", f"Delete {self.file.parent}: it will be built again."
                )
        image.flags.writeable = False  # As in a memory map: two views are made of one decoding.
        return image


def to_jpeg(image: np.ndarray) -> np.ndarray:
    """A square, uint8 `[S, S, 3]` RGB, -> the bytes that `JpegStore` keeps of it, uint8 `[n]`."""
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _OPTIONS)[1]


def from_jpeg(data: np.ndarray) -> np.ndarray | None:
    """The square in such bytes; None if they are damaged."""
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB, image)


RAW, JPEG = RawStore(), JpegStore()
