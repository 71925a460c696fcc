"""Storage of the N squares of a cache: raw pixels, or JPEGs where raw pixels would be too large.

Raw pixels are a memory-mapped file: access is free, and an image takes 3 S^2 bytes. JPEGs (quality 95, without chroma
subsampling) need a fraction of that on the disk and in the page cache, and are decoded at every access; they differ
from the raw pixels by one or two grey levels.

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

from ltmed.data.cache.build import ImageSink, write_all
from ltmed.errors import UserError

PIXELS, JPEGS, SPANS = "pixels.u8", "images.jpegs", "spans.i64"

_OPTIONS = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
_MIN_COMPRESSION = 20


class Pixels(Protocol):
    """N squares, which any number of threads may read at once."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, S, S, 3)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> np.ndarray:
        """The square of one row: uint8 [S, S, 3], RGB, read only; zeros for an image that cannot be read."""
        ...


class Store(ABC):
    """A storage format of squares of `shape` (N, S, S, 3)."""

    name: str
    """Its name in run.json."""
    key_part: str | None
    """Its part of the key of a cache."""

    @abstractmethod
    def room(self, shape: tuple[int, ...]) -> int:
        """Bytes that the squares need; a lower bound where that depends on the images."""

    @abstractmethod
    def writing(self, folder: Path, shape: tuple[int, ...]) -> AbstractContextManager[ImageSink]:
        """Context of the function that threads pass their squares to; at its end all of them are synced to disk.

        Files are not written through a memory map, since the process would be killed without a message (SIGBUS) on a
        full disk.
        """

    @abstractmethod
    def open(self, folder: Path, shape: tuple[int, ...]) -> Pixels | None:
        """The stored squares, or None if a file does not have the expected size.

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
    def writing(self, folder: Path, shape: tuple[int, ...]) -> Iterator[ImageSink]:
        """Writes every square at its offset; bad images remain zeros."""
        with (folder / PIXELS).open("wb") as out:
            out.truncate(math.prod(shape))
            yield lambda row, image: write_all(out.fileno(), image.data.cast("B"), row * image.nbytes)
            os.fsync(out.fileno())

    def open(self, folder: Path, shape: tuple[int, ...]) -> np.ndarray | None:
        """A memory map, which loads only used pages; as a plain array, which is faster to index."""
        if (folder / PIXELS).stat().st_size != math.prod(shape):
            return None
        return np.memmap(folder / PIXELS, np.uint8, "r", shape=shape).view(np.ndarray)


class JpegStore(Store):
    """One file with all JPEGs, in the order of compression, and one with their offsets and sizes."""

    name = "jpeg"
    key_part = "jpeg95"

    def room(self, shape: tuple[int, ...]) -> int:
        """A lower bound for photographs, so that too little disk space is reported before decoding."""
        return math.prod(shape) // _MIN_COMPRESSION

    @contextmanager
    def writing(self, folder: Path, shape: tuple[int, ...]) -> Iterator[ImageSink]:
        """Compresses every square in the thread that decoded it; only the offset is allocated under a lock."""
        spans, end, lock = np.zeros((shape[0], 2), np.int64), 0, threading.Lock()
        with (folder / JPEGS).open("wb") as out:

            def sink(row: int, image: np.ndarray) -> None:
                nonlocal end
                data = to_jpeg(image)
                with lock:
                    start, end = end, end + data.size
                spans[row] = start, data.size
                write_all(out.fileno(), data.data, start)

            yield sink
            os.fsync(out.fileno())
        with (folder / SPANS).open("wb") as out:
            write_all(out.fileno(), spans.data.cast("B"), 0)
            os.fsync(out.fileno())

    def open(self, folder: Path, shape: tuple[int, ...]) -> JpegPixels | None:
        """Maps the JPEGs and reads their offsets and sizes (16 bytes per image)."""
        spans, size = np.fromfile(folder / SPANS, np.int64), (folder / JPEGS).stat().st_size
        if spans.size != 2 * shape[0] or spans[1::2].sum() != size:
            return None
        return JpegPixels(folder / JPEGS, spans.reshape(-1, 2), shape)


class JpegPixels:
    """Squares that are decoded at every access, in the calling thread.

    Args:
        file: the JPEGs.
        spans: int64 [N, 2], offset and size in bytes of each JPEG; size 0 for a bad image.
        shape: (N, S, S, 3).
    """

    def __init__(self, file: Path, spans: np.ndarray, shape: tuple[int, ...]) -> None:
        self.file, self.shape = file, shape
        self._spans = spans
        empty = not file.stat().st_size  # An empty file cannot be mapped.
        self._data = np.empty(0, np.uint8) if empty else np.memmap(file, np.uint8, "r").view(np.ndarray)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, row: int, /) -> np.ndarray:
        """The square of one row.

        Raises:
            UserError: the file is damaged.
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
        image.flags.writeable = False  # As in a memory map: both views use the same decoded image.
        return image


def to_jpeg(image: np.ndarray) -> np.ndarray:
    """A square, uint8 `[S, S, 3]` RGB, -> the bytes that `JpegStore` stores, uint8 `[n]`."""
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _OPTIONS)[1]


def from_jpeg(data: np.ndarray) -> np.ndarray | None:
    """The decoded square; None if the bytes are damaged."""
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB, image)


RAW, JPEG = RawStore(), JpegStore()
