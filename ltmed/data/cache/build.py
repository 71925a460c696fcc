"""Decoding of all images of a manifest by threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np

from ltmed.data.cache.decode import BadImageError, Decoding, decode_square
from ltmed.data.manifest import Manifest
from ltmed.data.threads import keep_opencv_sequential, usable_cores
from ltmed.utils.progress import bar

UNREADABLE = "cannot be opened"
"""Prefix of the reason if the file cannot be opened, independent of its content."""

_CHUNK = 16


def read_square(manifest: Manifest, row: int, size: int, how: Decoding) -> np.ndarray | str:
    """The image of one row as a square, uint8 [size, size, 3] RGB, or the reason why it cannot be read."""
    try:
        return decode_square((manifest.root / manifest.images[row]).read_bytes(), size, *how)
    except OSError as error:
        return f"{UNREADABLE}: {error.strerror or type(error).__name__}"
    except BadImageError as error:
        return str(error)


ImageSink = Callable[[int, np.ndarray], None]
"""Stores the square of one row, uint8 [S, S, 3]; may be called by several threads at once."""


def decode_all(
    manifest: Manifest,
    size: int,
    sink: ImageSink,
    *,
    how: Decoding,
    threads: int | None,
    progress: bool | None,
) -> list[tuple[int, str]]:
    """Decodes the squares of all N rows, roughly in order.

    Args:
        manifest: N images.
        size: S, side of the squares in pixels.
        sink: called with every square that can be read.
        how: see `decode_square`.
        threads: None takes one per usable core.
        progress: see `ltmed.utils.progress.bar`.

    Returns:
        (row, reason) of the images that cannot be read, in row order.

    Raises:
        OSError: `sink` could not write; no further image is decoded.
    """
    number = len(manifest)
    bad: list[tuple[int, str]] = []
    stop = threading.Event()
    keep_opencv_sequential()

    def decode(start: int) -> int:
        end = min(start + _CHUNK, number)
        for row in range(start, end):
            if stop.is_set():
                break
            image = read_square(manifest, row, size, how)
            if isinstance(image, str):
                bad.append((row, image))
            else:
                sink(row, image)
        return end - start

    pool = ThreadPoolExecutor(threads or usable_cores(), thread_name_prefix="ltmed-decode")
    with silent_opencv():
        try:
            tasks = [pool.submit(decode, start) for start in range(0, number, _CHUNK)]
            with bar(f"decoding {manifest.name}", number, progress) as advance:
                for task in as_completed(tasks):
                    advance(task.result())
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    return sorted(bad)


def write_all(number: int, data: memoryview, offset: int) -> None:
    """Writes all data: on a full disk, a write is first partial, and only the next one fails."""
    write_at = getattr(os, "pwrite", _seek_and_write)
    while data:
        written = write_at(number, data, offset)
        data, offset = data[written:], offset + written


_TURN = threading.Lock()


def _seek_and_write(number: int, data: memoryview, offset: int) -> int:
    """`os.pwrite` for Windows, which has none: serialised, since a file has one position."""
    with _TURN:
        os.lseek(number, offset, os.SEEK_SET)
        return os.write(number, data)


@contextmanager
def silent_opencv() -> Iterator[None]:
    """Silences OpenCV's messages about damaged files, which are listed together at the end."""
    logging: Any = getattr(cv2.utils, "logging", cv2)  # In OpenCV 4 they are in cv2 itself.
    level = logging.getLogLevel()
    logging.setLogLevel(0)
    try:
        yield
    finally:
        logging.setLogLevel(level)
